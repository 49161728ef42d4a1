"""Hold the shape of the code: bounded files and functions, no class name twice, and few modules that are crumbs.

`python checks/shape.py [FOLDER]` names each place that is out of shape, and ends with 1 where there is one: a part of
`make lint`.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("promoter", "tests", "benchmarks", "checks", "examples")
FILE_LINES = 600
FUNCTION_LINES = 40
CRUMB_LINES = 100
CRUMBS_ALLOWED = 10
"""A crumb is a short module that a single other one imports: it belongs into that one, but for some with a reason."""
ONE_KIND_A_FILE = ("domain/policy/rules", "adapters/forges", "web/webhooks")
"""Folders whose files are one kind each, however short: the folder's `__init__.py` lists them."""


@dataclass(frozen=True)
class SourceFile:
    """A file of Python, read and parsed once."""

    path: Path
    """Relative to the project."""
    text: str
    tree: ast.Module

    @property
    def line_count(self) -> int:
        """How many lines it has, blank ones included."""
        return self.text.count("\n")

    @property
    def module(self) -> str:
        """Its dotted name; a package's for its `__init__.py`."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_sources(project: Path) -> list[SourceFile]:
    """Every Python file below the project's folders, in order of their paths."""
    paths = sorted(path for folder in FOLDERS for path in (project / folder).rglob("*.py"))
    texts = {path: path.read_text() for path in paths}
    return [SourceFile(path.relative_to(project), text, ast.parse(text, str(path))) for path, text in texts.items()]


def find_long_files(sources: list[SourceFile]) -> Iterator[str]:
    """Files with more lines than a reader keeps in mind."""
    for source in sources:
        if source.line_count > FILE_LINES:
            yield f"{source.path}: {source.line_count} lines, at most {FILE_LINES}: it holds more than one concept"


def find_long_functions(sources: list[SourceFile]) -> Iterator[str]:
    """Functions and methods that are too long, counted from `def` to their last line."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    yield f"{source.path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def find_repeated_classes(sources: list[SourceFile]) -> Iterator[str]:
    """Names that classes of several files share: whoever searches for one finds the other."""
    places: Mapping[str, list[str]] = defaultdict(list)
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{source.path}:{node.lineno}")
    for name, found in sorted(places.items()):
        if len({place.partition(":")[0] for place in found}) > 1:
            yield f"class {name} stands {len(found)} times: {', '.join(found)}"


def find_crumbs(sources: list[SourceFile]) -> Iterator[str]:
    """All crumbs of the product, where they are more than are allowed."""
    product = [source for source in sources if source.path.parts[0] == "promoter"]
    known = {source.module for source in product}
    importers: Mapping[str, set[str]] = defaultdict(set)
    for source in product:
        for imported in _list_imported_modules(source.tree, known):
            importers[imported].add(source.module)
    crumbs = [
        source
        for source in product
        if source.line_count <= CRUMB_LINES
        and source.path.name != "__init__.py"
        and source.path.parent.relative_to("promoter").as_posix() not in ONE_KIND_A_FILE
        and len(importers[source.module]) == 1
    ]
    if len(crumbs) > CRUMBS_ALLOWED:
        for source in crumbs:
            (importer,) = importers[source.module]
            count = f"{len(crumbs)} such modules, at most {CRUMBS_ALLOWED}"
            yield f"{source.path}: {source.line_count} lines that only {importer} imports ({count})"


def _list_imported_modules(tree: ast.Module, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in known else node.module


CHECKS = (find_long_files, find_long_functions, find_repeated_classes, find_crumbs)


def main() -> int:
    """Print what is out of shape; the exit code."""
    sources = read_sources(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    problems = [problem for check in CHECKS for problem in check(sources)]
    print("\n".join(problems or [f"{len(sources)} files are in shape."]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
