"""Where files name what another file must have: policies in `registry.yaml`, approvers and groups in policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from promoter.adapters.documents.nodes import MappingNode, YamlNode, SequenceNode, find_matching_nodes
from promoter.adapters.documents.text import LineIndex
from promoter.domain.faults import DocumentPath
from promoter.domain.names import validate_approver_name, validate_policy_name

_POLICY_PATHS = (
    ("defaults", "aliases", "*", "policy"),
    ("families", "*", "aliases", "*", "policy"),
    ("models", "*", "aliases", "*", "policy"),
)
_APPROVER_PATH = ("approval", "from", "*")


@dataclass(frozen=True)
class NameReference:
    """A name, and where it stands."""

    name: str
    path: DocumentPath
    line: int
    column: int


def find_policy_references(root: MappingNode, lines: LineIndex) -> Iterator[NameReference]:
    """Where a `registry.yaml` names policies, also one with faults."""
    for pattern in _POLICY_PATHS:
        yield from _select_valid_names(find_matching_nodes(root, *pattern), lines, validate_policy_name)


def find_approver_references(root: MappingNode, lines: LineIndex) -> Iterator[NameReference]:
    """Where a policy names approvers or their groups: in `approval` rules, however deep, also in a policy with faults."""
    for part in ("rules", "guards"):
        if part in root.pairs:
            for path, node in _walk_mappings(root.pairs[part], (part,)):
                found = ((path + inner, child) for inner, child in find_matching_nodes(node, *_APPROVER_PATH))
                yield from _select_valid_names(found, lines, validate_approver_name)


def _walk_mappings(node: YamlNode, path: DocumentPath) -> Iterator[tuple[DocumentPath, YamlNode]]:
    """The mappings in a node, itself among them. Nodes are at most so deep that this may recurse."""
    inside = node.target
    if isinstance(inside, MappingNode):
        yield path, node
        for key, child in inside.pairs.items():
            yield from _walk_mappings(child, (*path, key))
    elif isinstance(inside, SequenceNode):
        for index, child in enumerate(inside.items):
            yield from _walk_mappings(child, (*path, index))


def _select_valid_names(
    found: Iterator[tuple[DocumentPath, YamlNode]], lines: LineIndex, check: Callable[[str], str]
) -> Iterator[NameReference]:
    """Those that are names; what else stands there is a fault that is told already."""
    for path, node in found:
        if isinstance(node.value, str) and not node.target.flawed and _is_valid_name(node.value, check):
            yield NameReference(node.value, path, *lines.line_and_column(node.start))


def _is_valid_name(name: str, check: Callable[[str], str]) -> bool:
    try:
        check(name)
    except ValueError:
        return False
    return True
