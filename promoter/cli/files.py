"""`promoter validate` and `schema`: the files of a GitOps repository are checked, and their schemas printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, print_json
from promoter.cli.completion import complete_words
from promoter.cli.render import print_report
from promoter.domain.text import format_count

if TYPE_CHECKING:
    from promoter.domain.desired import Declaration
    from promoter.domain.errors import Fault
    from promoter.domain.policy.test_cases import CaseFile


FolderArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder inside the GitOps repository.")]


def check_working_tree(path: Path) -> tuple[Declaration, list[CaseFile]]:
    """Parse all files, and the tests of the policies with them, so that no fault hides another. Raises `Faults`.

    `path`: a folder in the clone; the one that one stands in gives way to PROMOTER_PATH.
    """
    from promoter.adapters.git.checkout import WorkTree
    from promoter.adapters.yaml import YamlDocuments
    from promoter.adapters.yaml.policy_tests import read_test_files
    from promoter.domain.errors import Faults
    from promoter.settings import load_folder

    tree = WorkTree(path, load_folder() if path == Path() else None)
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
    """Print the faults as JSON (behind the fields of `head`), or as a Markdown list."""
    found = list(faults)
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import FaultsResponse, ValidationResponse

        print_json((ValidationResponse if head else FaultsResponse).from_values(**head, faults=found))
        return
    title = Title(format_count(len(found), "fault") if found else "valid")
    print_report(output, [title, *([Notes(map(str, found))] if found else [])])


def validate(path: FolderArgument = Path(), output: FormatOption = OutputFormat.TEXT) -> None:
    """Check registry.yaml, policies and their tests, offline: every fault at once, with file, line and column.

    Example: promoter validate && git push
    """
    from promoter.domain.errors import Faults

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
        format_count(models, "model"),
        format_count(aliases, "alias", "aliases"),
        format_count(policies, "policy", "policies"),
    ]
    counts += [format_count(sum(len(file.cases) for file in cases), "case")] if cases else []
    sys.stdout.write(f"valid: {', '.join(counts)}\n")


def schema(
    document: Annotated[
        str | None,
        typer.Argument(
            help="Whose: registry, policy, approvers or policy-tests; or event: the data of events.",
            autocompletion=complete_words("registry", "policy", "approvers", "policy-tests", "event"),
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", file_okay=False, help="Write all of them to this folder instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a file, or write all of them: editors that know them complete and check while one types.

    Example: promoter schema --write schemas
    """
    from promoter.adapters.yaml.json_schema import (
        DOCUMENTS,
        EVENT_SCHEMA_NAME,
        render_event_schema_text,
        render_schema_files,
        render_schema_text,
        schema_file_name,
    )

    if (document is None) == (write is None):
        raise typer.BadParameter("give either the name of a document, or --write DIR")
    if document is not None:
        if document not in (*DOCUMENTS, EVENT_SCHEMA_NAME):
            names = ", ".join((*DOCUMENTS, EVENT_SCHEMA_NAME))
            raise typer.BadParameter(f"there is no schema of `{document}`: there are {names}")
        sys.stdout.write(render_event_schema_text() if document == EVENT_SCHEMA_NAME else render_schema_text(document))
        return
    files = {**render_schema_files(), schema_file_name(EVENT_SCHEMA_NAME): render_event_schema_text()}
    for name, text in files.items():
        _write_schema_file(Path(write or ".") / name, text)


def _write_schema_file(target: Path, text: str) -> None:
    """Write the file unless it has this text already, and print which of both. Raises `PermanentError`."""
    from promoter.domain.errors import PermanentError

    try:
        if target.is_file() and target.read_bytes() == text.encode():
            sys.stdout.write(f"unchanged {target}\n")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PermanentError("files", f"{target} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"wrote {target}\n")
