"""Test files of policies: `policies/tests/*.yaml`, read from the working tree as strictly as the policies themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from promoter.adapters.documents.nodes import Node, every, find
from promoter.adapters.documents.reading import Tree, read_tree
from promoter.adapters.documents.wording import meant, type_faults
from promoter.domain.case_runs import Slip, slips
from promoter.domain.cases import CaseFile, CasesDocument
from promoter.domain.faults import Fault, Faults, Refused
from promoter.domain.policy import Policy

TESTS = "policies/tests"
SIZE_LIMIT = 2**20
COUNT_LIMIT = 500
TOTAL_LIMIT = 16 * 2**20
_NAME_IT = "say which with `policy: NAME`, or name the file after it"


@dataclass(frozen=True)
class _Reading:
    """One file: its nodes, and what they say (None where anything is wrong with them)."""

    tree: Tree
    document: CasesDocument | None
    faults: tuple[Fault, ...]


def read_cases(root: Path, policies: Mapping[str, Policy] | None) -> list[CaseFile]:
    """The test files under the folder that holds `registry.yaml`, in order. Raises `Faults` with every fault of every file.

    `policies` None: they have faults of their own, so that names of policies and rules are not checked. Raises `Refused`
    where a file cannot be read.
    """
    contents, faults = _contents(root)
    found = []
    for file, content in contents.items():
        reading = _read(file, content)
        faults += reading.faults
        name = _policy_of(file, reading)
        faults += _misnamed(file, reading, name, policies)
        if reading.document is not None and reading.tree.root is not None:
            nodes = every(reading.tree.root, "cases", "*")
            lines = tuple(reading.tree.lines.place(node.start)[0] for _, node in nodes)
            found.append(CaseFile(file, name, reading.document.cases, lines))
    if faults:
        raise Faults(faults)
    return found


def _contents(root: Path) -> tuple[dict[str, bytes], list[Fault]]:
    """The test files that can be read, and a fault for each that somebody may think is in force and is not."""
    sizes: dict[str, int] = {}
    faults: list[Fault] = []
    for file, mode, size in _listing(root):
        stem, _, ending = file.rpartition(".")
        if ending.lower() not in ("yaml", "yml"):
            continue
        if ending != "yaml":
            faults.append(Fault("not read because of its ending", file, fix=f"rename it to {stem}.yaml"))
        elif not stat.S_ISREG(mode):
            faults.append(Fault("not a regular file: not read", file))
        else:
            sizes[file] = size
    if len(sizes) > COUNT_LIMIT:
        raise Refused("files", f"more than {COUNT_LIMIT} files in {TESTS}/", "merge some of them")
    if sum(sizes.values()) > TOTAL_LIMIT:
        raise Refused("files", f"{TESTS}/ is larger than {TOTAL_LIMIT >> 20} MiB", "take cases out")
    return {file: _content(root, file) for file in sorted(sizes)}, faults


def _listing(root: Path) -> Iterator[tuple[str, int, int]]:
    """Path, mode and size of what is in the folder, links not followed."""
    folder = root / TESTS
    try:
        if folder.is_symlink() or folder.parent.is_symlink():
            raise Refused("files", f"{TESTS} is behind a symbolic link: not read", "make it a folder")
        for entry in os.scandir(folder):
            found = entry.stat(follow_symlinks=False)
            yield f"{TESTS}/{entry.name}", found.st_mode, found.st_size
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(folder, error) from None


def _content(root: Path, file: str) -> bytes:
    try:
        with (root / file).open("rb") as opened:
            return opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise _unreadable(root / file, error) from None


def _unreadable(path: Path, error: OSError) -> Refused:
    return Refused("files", f"{path}: cannot be read: {error.strerror or 'no reason given'}", "see to its permissions")


def _read(file: str, content: bytes) -> _Reading:
    tree = read_tree(file, content, SIZE_LIMIT)
    if tree.root is None:
        return _Reading(tree, None, tree.faults)
    try:
        document = CasesDocument.model_validate(tree.root.value)
    except ValidationError as error:
        return _Reading(tree, None, (*tree.faults, *type_faults(file, tree.lines, tree.root, CasesDocument, error)))
    return _Reading(tree, None if tree.faults else document, (*tree.faults, *_twice(file, tree)))


def _twice(file: str, tree: Tree) -> Iterator[Fault]:
    """Cases with one name: a report would not tell them apart."""
    first: dict[str, int] = {}
    for path, node in every(tree.root, "cases", "*", "name") if tree.root else ():
        line, column = tree.lines.place(node.start)
        if node.value in first:
            said = f"a second case of the name `{node.value:.60}`: the first is in line {first[node.value]}"
            yield Fault(said, file, path, line, column, "give each its own")
        first.setdefault(node.value, line)


def _policy_of(file: str, reading: _Reading) -> str:
    """The policy that a file is about, also where it has faults."""
    written = reading.tree.root.value.get("policy") if reading.tree.root else None
    return written if isinstance(written, str) else Path(file).stem


def _misnamed(file: str, reading: _Reading, name: str, policies: Mapping[str, Policy] | None) -> Iterator[Fault]:
    """Names of policies, rules and holders that there are not."""
    if policies is None or reading.tree.root is None or any(fault.path == ("policy",) for fault in reading.faults):
        return
    if name not in policies:
        slip = Slip(("policy",), f"there is no policy `{name:.80}`", name, tuple(policies), _NAME_IT)
        yield _fault(file, reading.tree, reading.tree.root, slip)
        return
    if reading.document is None:
        return
    for each in slips(reading.document, policies[name]):
        yield _fault(file, reading.tree, reading.tree.root, each)


def _fault(file: str, tree: Tree, root: Node, slip: Slip) -> Fault:
    fix = meant(slip.word, slip.known) or slip.fix
    node = find(root, slip.path)
    line, column = tree.lines.place(node.start if node.key is None or slip.path == ("policy",) else node.key)
    return Fault(slip.message, file, slip.path, line, column, fix)
