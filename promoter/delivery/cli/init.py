"""`promoter init`: the files to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from promoter.delivery.cli.common import build_container


def init(
    path: Annotated[Path, typer.Argument(help="The folder to write to.")] = Path(),
) -> None:
    """Write registry.yaml from the aliases of the live registry, starter policies, and schemas for editors. Overwrites nothing.

    Example: promoter init && git add registry.yaml policies schemas && git commit -m "State the registry"
    """
    from promoter.adapters.documents import render_starter_registry, render_starter_policies
    from promoter.adapters.documents.json_schema import SCHEMAS_FOLDER, render_schema_files
    from promoter.domain.faults import Fault, Faults

    schemas = {f"{SCHEMAS_FOLDER}/{name}": text for name, text in render_schema_files().items()}
    files = render_starter_policies() | {
        name: text for name, text in schemas.items() if not _has_same_content(path / name, text)
    }
    taken = [name for name in ("registry.yaml", *files) if (path / name).exists()]
    if taken:
        fix = "init writes new files only: move it away first, or edit it by hand"
        raise Faults([Fault("exists already", file=str(path / name), fix=fix) for name in taken])
    models = build_container().registry.observe_models()
    files["registry.yaml"] = render_starter_registry(
        {name: dict(model.aliases) for name, model in models.items() if model.aliases}
    )
    for name, text in sorted(files.items()):
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
        sys.stdout.write(f"wrote {target}\n")
    aliases = sum(len(model.aliases) for model in models.values())
    sys.stdout.write(f"{aliases} aliases of {sum(bool(m.aliases) for m in models.values())} models stated.\n")


def _has_same_content(target: Path, text: str) -> bool:
    return target.is_file() and target.read_bytes() == text.encode()
