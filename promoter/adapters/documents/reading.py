"""Reads the two kinds of file: text, tree, types, and what no single field shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from pydantic import ValidationError

from promoter.adapters.documents.nodes import Mapping, every, find
from promoter.adapters.documents.text import POLICY_LIMIT, REGISTRY_LIMIT, Lines, Text, read_text
from promoter.adapters.documents.tree import EMPTY, TreeReader
from promoter.adapters.documents.wording import type_faults
from promoter.domain.desired import DesiredState, RegistryDocument
from promoter.domain.faults import Fault, Path
from promoter.domain.names import policy_name
from promoter.domain.policy import Policy, PolicyDocument
from promoter.domain.proposal import REGISTRY_FILE

NEVER = "this never means that everything is to be deleted; `promoter init` writes one"
PATTERN_COUNT_LIMIT = 100
_USES = (
    ("defaults", "aliases", "*", "policy"),
    ("families", "*", "aliases", "*", "policy"),
    ("models", "*", "aliases", "*", "policy"),
)


@dataclass(frozen=True)
class Use:
    """Where `registry.yaml` names a policy."""

    policy: str
    path: Path
    line: int
    column: int


@dataclass(frozen=True)
class RegistryReading:
    """What there is to know of one `registry.yaml`. `desired` is None where anything is wrong with it."""

    desired: DesiredState | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class PolicyReading:
    """What there is to know of one policy file. `policy` is None where anything is wrong with it."""

    policy: Policy | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Tree:
    """A file's text and nodes. `root` is None where it cannot be read; `faults` are those found on the way."""

    text: Text
    lines: Lines
    root: Mapping | None
    faults: tuple[Fault, ...]


def read_tree(file: str, content: bytes, limit: int = REGISTRY_LIMIT) -> Tree:
    """The nodes of a file. `limit` is in bytes."""
    text = read_text(file, content, limit)
    if isinstance(text, list):
        return Tree(Text(""), Lines(""), None, tuple(text))
    reader = TreeReader(file, text.content)
    root = reader.read()
    return Tree(text, reader.lines, root, tuple(reader.faults))


def read_registry(content: bytes) -> RegistryReading:
    """`registry.yaml`, by itself: whether the policies that it names are there is for the caller to see."""
    document, faults = understood(read_tree(REGISTRY_FILE, content))
    return RegistryReading(DesiredState.of(document) if document else None, tuple(faults))


def understood(tree: Tree) -> tuple[RegistryDocument | None, list[Fault]]:
    """What the nodes of a `registry.yaml` say; None where anything is wrong with them."""
    if tree.root is None:
        return None, [replace(fault, fix=NEVER) if fault.message == EMPTY else fault for fault in tree.faults]
    faults = list(tree.faults)
    try:
        document = RegistryDocument.model_validate(tree.root.value)
    except ValidationError as error:
        return None, faults + type_faults(REGISTRY_FILE, tree.lines, tree.root, RegistryDocument, error)
    return (None if faults else document), faults


def policy_uses(content: bytes) -> Iterator[Use]:
    """Where a `registry.yaml` names policies, also one with faults."""
    tree = read_tree(REGISTRY_FILE, content)
    for pattern in _USES:
        for path, node in every(tree.root, *pattern) if tree.root else ():
            if isinstance(node.value, str) and not node.target.flawed and _is_name(node.value):
                yield Use(node.value, path, *tree.lines.place(node.start))


def read_policy(file: str, name: str, content: bytes) -> PolicyReading:
    """`policies/NAME.yaml`."""
    tree = read_tree(file, content, POLICY_LIMIT)
    root = tree.root
    if root is None:
        return PolicyReading(None, tree.faults)
    if _patterns(root) > PATTERN_COUNT_LIMIT:
        return PolicyReading(None, (*tree.faults, Fault(f"more than {PATTERN_COUNT_LIMIT} patterns (`matches`)", file)))
    faults, document = list(tree.faults), None
    try:
        document = PolicyDocument.model_validate(root.value)
        told = document.faults()
    except ValidationError as error:
        faults += type_faults(file, tree.lines, root, PolicyDocument, error)
        told = _remaining(root, faults)
    for path, message in told:
        line, column = tree.lines.place(find(root, path).start)
        faults.append(Fault(message, file, path, line, column))
    policy = Policy(name, sha256(content).hexdigest(), document) if document and not faults else None
    return PolicyReading(policy, tuple(faults))


def _is_name(name: str) -> bool:
    try:
        policy_name(name)
    except ValueError:
        return False
    return True


def _patterns(root: Mapping) -> int:
    """How many regular expressions there are: compiling one can take a third of a second."""
    count, left = 0, [root.value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            count += "matches" in value
            left += value.values()
        elif isinstance(value, list):
            left += value
    return count


def _remaining(root: Mapping, faults: list[Fault]) -> list[tuple[Path, str]]:
    """What a policy with faulty parts shows without these parts, so that all is told at once."""
    heads = {fault.path[0] for fault in faults if fault.path}
    broken = {fault.path[1] for fault in faults if fault.path[:1] == ("rules",) and len(fault.path) > 1}
    rules = root.value.get("rules")
    if "candidates" in heads or not isinstance(rules, list):
        return []
    kept = [index for index in range(len(rules)) if index not in broken]
    sound = {"version": 1, "rules": [rules[index] for index in kept]}
    if "candidates" in root.value:
        sound["candidates"] = root.value["candidates"]
    try:
        told = PolicyDocument.model_validate(sound).faults()
    except ValidationError:
        return []
    return [((path[0], kept[int(path[1])], *path[2:]), message) for path, message in told]
