"""Where files name what another file must have: policies in `registry.yaml`, approvers and groups in policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from promoter.adapters.documents.nodes import Mapping, Node, Sequence, every
from promoter.adapters.documents.text import Lines
from promoter.domain.faults import Path
from promoter.domain.names import approver_name, policy_name

_POLICIES = (
    ("defaults", "aliases", "*", "policy"),
    ("families", "*", "aliases", "*", "policy"),
    ("models", "*", "aliases", "*", "policy"),
)
_APPROVERS = ("approval", "from", "*")


@dataclass(frozen=True)
class Use:
    """A name, and where it stands."""

    name: str
    path: Path
    line: int
    column: int


def policy_uses(root: Mapping, lines: Lines) -> Iterator[Use]:
    """Where a `registry.yaml` names policies, also one with faults."""
    for pattern in _POLICIES:
        yield from _named(every(root, *pattern), lines, policy_name)


def approver_uses(root: Mapping, lines: Lines) -> Iterator[Use]:
    """Where a policy names approvers or their groups: in `approval` rules, however deep, also in a policy with faults."""
    for part in ("rules", "guards"):
        if part in root.pairs:
            for path, node in _mappings(root.pairs[part], (part,)):
                found = ((path + inner, child) for inner, child in every(node, *_APPROVERS))
                yield from _named(found, lines, approver_name)


def _mappings(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """The mappings in a node, itself among them. Nodes are at most so deep that this may recurse."""
    inside = node.target
    if isinstance(inside, Mapping):
        yield path, node
        for key, child in inside.pairs.items():
            yield from _mappings(child, (*path, key))
    elif isinstance(inside, Sequence):
        for index, child in enumerate(inside.items):
            yield from _mappings(child, (*path, index))


def _named(found: Iterator[tuple[Path, Node]], lines: Lines, check: Callable[[str], str]) -> Iterator[Use]:
    """Those that are names; what else stands there is a fault that is told already."""
    for path, node in found:
        if isinstance(node.value, str) and not node.target.flawed and _passes(node.value, check):
            yield Use(node.value, path, *lines.place(node.start))


def _passes(name: str, check: Callable[[str], str]) -> bool:
    try:
        check(name)
    except ValueError:
        return False
    return True
