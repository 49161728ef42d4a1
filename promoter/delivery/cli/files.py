"""Checks of the working tree's files, offline: policies and their tests together, so that no fault hides another."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import OutputFormat, print_json

if TYPE_CHECKING:
    from promoter.domain.cases import CaseFile
    from promoter.domain.declaration import Declaration
    from promoter.domain.faults import Fault

FolderArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder inside the GitOps repository.")]


def check_working_tree(path: Path) -> tuple[Declaration, list[CaseFile]]:
    """What the files say, and the tests of the policies. Raises `Faults` with those of every file."""
    from promoter.adapters.documents import YamlDocuments
    from promoter.adapters.documents.cases import read_test_files
    from promoter.adapters.git.worktree import WorkTree
    from promoter.domain.faults import Faults

    tree = WorkTree(path)
    try:
        declaration = YamlDocuments().parse_declaration(tree.read_sources(), None)
    except Faults as faults:
        try:
            read_test_files(tree.root_folder, None)
        except Faults as more:
            raise Faults([*faults.faults, *more.faults]) from None
        raise
    return declaration, read_test_files(tree.root_folder, declaration.policies)


def print_fault_report(output: OutputFormat, faults: Iterable[Fault], **head: Any) -> None:
    """As JSON (after what `head` says), or as a Markdown list."""
    found = list(faults)
    if output is OutputFormat.JSON:
        keys = ("file", "line", "column", "message", "fix")
        print_json({**head, "faults": [{key: getattr(fault, key) for key in keys} for fault in found]})
        return
    lines = ["**valid**"] if not found else [f"**{len(found)} faults**", "", *(f"- {fault}" for fault in found)]
    sys.stdout.write("\n".join(lines) + "\n")
