"""`promoter validate`: checks the files, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from promoter.delivery.cli.common import OutputFormat, FormatOption
from promoter.delivery.cli.files import FolderArgument, check_working_tree, print_fault_report


def validate(path: FolderArgument = Path(), output: FormatOption = OutputFormat.TEXT) -> None:
    """Check registry.yaml, policies and their tests, offline: every fault at once, with file, line and column.

    Example: promoter validate && git push
    """
    from promoter.domain.faults import Faults

    try:
        declaration, cases = check_working_tree(path)
    except Faults as faults:
        if output is OutputFormat.TEXT:
            raise
        print_fault_report(output, faults.faults, valid=False)
        raise typer.Exit(1) from None
    if output is not OutputFormat.TEXT:
        print_fault_report(output, (), valid=True)
        return
    models, policies = len(declaration.desired.listed), len(declaration.policies)
    aliases = sum(len(intent.aliases) for intent in declaration.desired.listed.values())
    counts = [
        _format_count(models, "model"),
        _format_count(aliases, "alias", "aliases"),
        _format_count(policies, "policy", "policies"),
    ]
    counts += [_format_count(sum(len(file.cases) for file in cases), "case")] if cases else []
    sys.stdout.write(f"valid: {', '.join(counts)}\n")


def _format_count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
