"""`promoter validate`: checks the files, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, tell_json


def validate(
    path: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder inside the GitOps repository.")] = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Check registry.yaml and policies/*.yaml, offline: every fault at once, with file, line and column.

    Example: promoter validate && git push
    """
    from promoter.adapters.documents import YamlDocuments
    from promoter.adapters.git.worktree import WorkTree
    from promoter.domain.faults import Faults

    tree = WorkTree(path)
    try:
        declaration = YamlDocuments().parse(tree.sources(), None)
    except Faults as faults:
        if output is Format.TEXT:
            raise
        _tell(output, faults)
        raise typer.Exit(1) from None
    if output is Format.TEXT:
        models, policies = len(declaration.desired.listed), len(declaration.policies)
        aliases = sum(len(intent.aliases) for intent in declaration.desired.listed.values())
        told = (_count(models, "model"), _count(aliases, "alias", "aliases"), _count(policies, "policy", "policies"))
        sys.stdout.write(f"valid: {', '.join(told)}\n")
    else:
        _tell(output, Faults([]))


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _tell(output: Format, faults: Exception) -> None:
    found = getattr(faults, "faults", ())
    if output is Format.JSON:
        keys = ("file", "line", "column", "message", "fix")
        tell_json({"valid": not found, "faults": [{key: getattr(fault, key) for key in keys} for fault in found]})
        return
    lines = ["**valid**"] if not found else [f"**{len(found)} faults**", "", *(f"- {fault}" for fault in found)]
    sys.stdout.write("\n".join(lines) + "\n")
