"""Test files of policies: `policies/tests/*.yaml`, read from the working tree as strictly as the policies themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from promoter.adapters.yaml.load import YamlTree, read_yaml_tree
from promoter.adapters.yaml.messages import convert_validation_error
from promoter.adapters.yaml.tree import YamlNode, find_matching_nodes, find_node
from promoter.domain.errors import Fault, Faults, PermanentError
from promoter.domain.policy.document import Policy
from promoter.domain.policy.test_cases import CaseFile, CasesDocument
from promoter.domain.policy.test_runner import CaseFault, find_case_faults
from promoter.domain.text import suggest_known_name

TESTS_FOLDER = "policies/tests"
SIZE_LIMIT = 2**20
COUNT_LIMIT = 500
TOTAL_LIMIT = 16 * 2**20
_NAME_POLICY_FIX = "say which with `policy: NAME`, or name the file after it"


@dataclass(frozen=True)
class _TestFileReading:
    """What was read of one test file."""

    tree: YamlTree
    document: CasesDocument | None
    """Its cases; None where the file has a fault."""
    faults: tuple[Fault, ...]


def read_test_files(root: Path, policies: Mapping[str, Policy] | None) -> list[CaseFile]:
    """Return the test files under the folder of `registry.yaml`, in order. Raises `Faults` with every fault of every file.

    `policies` None: they have faults themselves, so that names of policies and rules are not checked. Raises `PermanentError`
    where a file cannot be read.
    """
    contents, faults = _read_contents(root)
    found = []
    for file, content in contents.items():
        reading = _read_test_file(file, content)
        faults += reading.faults
        name = _find_policy_name(file, reading)
        faults += _find_unknown_names(file, reading, name, policies)
        if reading.document is not None and reading.tree.root is not None:
            nodes = find_matching_nodes(reading.tree.root, "cases", "*")
            lines = tuple(reading.tree.lines.line_and_column(node.start)[0] for _, node in nodes)
            found.append(CaseFile(file, name, reading.document.cases, lines))
    if faults:
        raise Faults(faults)
    return found


def _read_contents(root: Path) -> tuple[dict[str, bytes], list[Fault]]:
    """Return the test files that can be read, and a fault for each that looks as if it were one and is not."""
    sizes: dict[str, int] = {}
    faults: list[Fault] = []
    for file, mode, size in _list_test_folder(root):
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
        raise PermanentError("files", f"more than {COUNT_LIMIT} files in {TESTS_FOLDER}/", "merge some of them")
    if sum(sizes.values()) > TOTAL_LIMIT:
        raise PermanentError("files", f"{TESTS_FOLDER}/ is larger than {TOTAL_LIMIT >> 20} MiB", "take cases out")
    return {file: _read_content(root, file) for file in sorted(sizes)}, faults


def _list_test_folder(root: Path) -> Iterator[tuple[str, int, int]]:
    """Return path, mode and size of the entries of the folder, without following links."""
    folder = root / TESTS_FOLDER
    try:
        if folder.is_symlink() or folder.parent.is_symlink():
            raise PermanentError("files", f"{TESTS_FOLDER} is behind a symbolic link: not read", "make it a folder")
        for entry in os.scandir(folder):
            found = entry.stat(follow_symlinks=False)
            yield f"{TESTS_FOLDER}/{entry.name}", found.st_mode, found.st_size
    except FileNotFoundError:
        return
    except OSError as error:
        raise _build_unreadable_error(folder, error) from None


def _read_content(root: Path, file: str) -> bytes:
    try:
        with (root / file).open("rb") as opened:
            return opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise _build_unreadable_error(root / file, error) from None


def _build_unreadable_error(path: Path, error: OSError) -> PermanentError:
    return PermanentError("files", f"{path}: cannot be read: {error.strerror or 'no reason given'}", "see to its permissions")


def _read_test_file(file: str, content: bytes) -> _TestFileReading:
    tree = read_yaml_tree(file, content, SIZE_LIMIT)
    if tree.root is None:
        return _TestFileReading(tree, None, tree.faults)
    try:
        document = CasesDocument.model_validate(tree.root.value)
    except ValidationError as error:
        return _TestFileReading(
            tree, None, (*tree.faults, *convert_validation_error(file, tree.lines, tree.root, CasesDocument, error))
        )
    return _TestFileReading(tree, None if tree.faults else document, (*tree.faults, *_find_duplicate_names(file, tree)))


def _find_duplicate_names(file: str, tree: YamlTree) -> Iterator[Fault]:
    """Yield a fault for each case whose name another one has: a report could not tell them apart."""
    first: dict[str, int] = {}
    for path, node in find_matching_nodes(tree.root, "cases", "*", "name") if tree.root else ():
        line, column = tree.lines.line_and_column(node.start)
        if node.value in first:
            message = f"a second case of the name `{node.value:.60}`: the first is in line {first[node.value]}"
            yield Fault(message, file, path, line, column, "give each its own")
        first.setdefault(node.value, line)


def _find_policy_name(file: str, reading: _TestFileReading) -> str:
    """Return the policy that a file is about, also where the file has faults."""
    written = reading.tree.root.value.get("policy") if reading.tree.root else None
    return written if isinstance(written, str) else Path(file).stem


def _find_unknown_names(
    file: str, reading: _TestFileReading, name: str, policies: Mapping[str, Policy] | None
) -> Iterator[Fault]:
    """Yield faults for names of policies, rules and holders that do not exist."""
    if policies is None or reading.tree.root is None or any(fault.path == ("policy",) for fault in reading.faults):
        return
    if name not in policies:
        slip = CaseFault(("policy",), f"there is no policy `{name:.80}`", name, tuple(policies), _NAME_POLICY_FIX)
        yield _build_slip_fault(file, reading.tree, reading.tree.root, slip)
        return
    if reading.document is None:
        return
    for each in find_case_faults(reading.document, policies[name]):
        yield _build_slip_fault(file, reading.tree, reading.tree.root, each)


def _build_slip_fault(file: str, tree: YamlTree, root: YamlNode, slip: CaseFault) -> Fault:
    fix = suggest_known_name(slip.word, slip.known) or slip.fix
    node = find_node(root, slip.path)
    line, column = tree.lines.line_and_column(node.start if node.key is None or slip.path == ("policy",) else node.key)
    return Fault(slip.message, file, slip.path, line, column, fix)
