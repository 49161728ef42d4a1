"""`promoter schema`: the JSON Schemas of the files, for editors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def schema(
    document: Annotated[str | None, typer.Argument(help="Whose: registry, policy, approvers or policy-tests.")] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", file_okay=False, help="Write all of them to this folder instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a file, or write all of them: editors that know them complete and check while one types.

    Example: promoter schema --write schemas
    """
    from promoter.adapters.documents.json_schema import DOCUMENTS, render_schema_files, render_schema_text

    if (document is None) == (write is None):
        raise typer.BadParameter("give either the name of a document, or --write DIR")
    if document is not None:
        if document not in DOCUMENTS:
            raise typer.BadParameter(f"there is no schema of `{document}`: there are {', '.join(DOCUMENTS)}")
        sys.stdout.write(render_schema_text(document))
        return
    for name, text in render_schema_files().items():
        _write_schema_file(Path(write or ".") / name, text)


def _write_schema_file(target: Path, text: str) -> None:
    """Writes the file where it is not so already, and says what it did. Raises `PermanentError` where it cannot."""
    from promoter.domain.faults import PermanentError

    try:
        if target.is_file() and target.read_bytes() == text.encode():
            sys.stdout.write(f"unchanged {target}\n")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PermanentError("files", f"{target} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"wrote {target}\n")
