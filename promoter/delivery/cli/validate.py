"""`promoter validate`: checks the files, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from promoter.delivery.cli.common import Format, FormatOption
from promoter.delivery.cli.files import Folder, checked, tell_faults_as


def validate(path: Folder = Path(), output: FormatOption = Format.TEXT) -> None:
    """Check registry.yaml, policies and their tests, offline: every fault at once, with file, line and column.

    Example: promoter validate && git push
    """
    from promoter.domain.faults import Faults

    try:
        declaration, cases = checked(path)
    except Faults as faults:
        if output is Format.TEXT:
            raise
        tell_faults_as(output, faults.faults, valid=False)
        raise typer.Exit(1) from None
    if output is not Format.TEXT:
        tell_faults_as(output, (), valid=True)
        return
    models, policies = len(declaration.desired.listed), len(declaration.policies)
    aliases = sum(len(intent.aliases) for intent in declaration.desired.listed.values())
    told = [_count(models, "model"), _count(aliases, "alias", "aliases"), _count(policies, "policy", "policies")]
    told += [_count(sum(len(file.cases) for file in cases), "case")] if cases else []
    sys.stdout.write(f"valid: {', '.join(told)}\n")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
