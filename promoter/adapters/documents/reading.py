"""Reads the three kinds of file: text, tree, types, and what no single field shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from promoter.adapters.documents import patterns
from promoter.adapters.documents.nodes import MappingNode, find_matching_nodes, find_node
from promoter.adapters.documents.remaining import UNEXPECTED_ERRORS, find_remaining_faults
from promoter.adapters.documents.text import POLICY_LIMIT, REGISTRY_LIMIT, LineIndex, SourceText, decode_source_text
from promoter.adapters.documents.tree import EMPTY_FILE_MESSAGE, TreeReader
from promoter.adapters.documents.uses import NameReference, find_approver_references, find_policy_references
from promoter.adapters.documents.wording import convert_validation_error
from promoter.domain.approvers import ApproverDirectory, ApproversDocument
from promoter.domain.desired import DesiredState, RegistryDocument
from promoter.domain.faults import Fault, DocumentPath
from promoter.domain.policy import Policy, PolicyDocument
from promoter.domain.proposal import REGISTRY_FILE

APPROVERS_FILE = "approvers.yaml"
EMPTY_FILE_FIX = "this never means that everything is to be deleted; `promoter init` writes one"
UNFORESEEN_MESSAGE = "cannot be read, and for no reason that Promoter knows"
MATCH_LIMIT = 2_000_000
"""How many models may be held against how many families: about a second."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class RegistryReading:
    """What there is to know of one `registry.yaml`. `desired` is None where anything is wrong with it.

    `uses` are then the places where it names policies all the same.
    """

    desired: DesiredState | None
    faults: tuple[Fault, ...]
    uses: tuple[NameReference, ...] = ()


@dataclass(frozen=True)
class PolicyReading:
    """What there is to know of one policy file. `policy` is None where anything is wrong with it, and knows no approvers.

    `approvers` are the places where it names approvers or groups.
    """

    policy: Policy | None
    faults: tuple[Fault, ...]
    approvers: tuple[NameReference, ...] = ()


@dataclass(frozen=True)
class ApproversReading:
    """What there is to know of one `approvers.yaml`. `approvers` is None where anything is wrong with it.

    `words` are the names and the groups that it has all the same; None where it cannot be read at all.
    """

    approvers: ApproverDirectory | None
    faults: tuple[Fault, ...] = ()
    words: frozenset[str] | None = None


@dataclass(frozen=True)
class YamlTree:
    """A file's text and nodes. `root` is None where it cannot be read; `faults` are those found on the way."""

    file: str
    text: SourceText
    lines: LineIndex
    root: MappingNode | None
    faults: tuple[Fault, ...]

    def build_fault(self, path: DocumentPath, message: str, fix: str | None = None) -> Fault:
        """A fault at the value that a path leads to."""
        node = find_node(self.root, path) if self.root else None
        return Fault(message, self.file, path, *self.lines.line_and_column(node.start if node else 0), fix)


def read_yaml_tree(file: str, content: bytes, limit: int = REGISTRY_LIMIT) -> YamlTree:
    """The nodes of a file. `limit` is in bytes."""
    text = decode_source_text(file, content, limit)
    if isinstance(text, list):
        return YamlTree(file, SourceText(""), LineIndex(""), None, tuple(text))
    reader = TreeReader(file, text.content)
    root = reader.read_document()
    return YamlTree(file, text, reader.lines, root, tuple(reader.faults))


def read_registry_file(content: bytes) -> RegistryReading:
    """`registry.yaml`, by itself: whether the policies that it names are there is for the caller to see."""
    tree = read_yaml_tree(REGISTRY_FILE, content)
    document, faults = parse_registry_document(tree)
    if document is None:
        return RegistryReading(None, tuple(faults), tuple(find_policy_references(tree.root, tree.lines)) if tree.root else ())
    return RegistryReading(DesiredState.from_document(document), ())


def parse_registry_document(tree: YamlTree) -> tuple[RegistryDocument | None, list[Fault]]:
    """What the nodes of a `registry.yaml` say; None where anything is wrong with them."""
    if tree.root is None:
        return None, [
            replace(fault, fix=EMPTY_FILE_FIX) if fault.message == EMPTY_FILE_MESSAGE else fault for fault in tree.faults
        ]
    document, faults = _validate_tree(tree, tree.root, RegistryDocument)
    if document and len(document.families) * len(document.models) > MATCH_LIMIT:
        message = f"`families` and `models` come to more than {MATCH_LIMIT} pairs: too many to match"
        faults.append(tree.build_fault(("families",), message, "let one family match more models"))
    return (None if faults else document), faults


def reread_policy_references(content: bytes) -> Iterator[NameReference]:
    """Where a `registry.yaml` names policies. Reads it once more: that one is missing is rare."""
    tree = read_yaml_tree(REGISTRY_FILE, content)
    return find_policy_references(tree.root, tree.lines) if tree.root else iter(())


def read_policy_file(file: str, name: str, content: bytes) -> PolicyReading:
    """`policies/NAME.yaml`, by itself: whether the approvers that it names are there is for the caller to see."""
    tree = read_yaml_tree(file, content, POLICY_LIMIT)
    root = tree.root
    if root is None:
        return PolicyReading(None, tree.faults)
    named = tuple(find_approver_references(root, tree.lines))
    if refused := patterns.find_excessive_pattern(root):
        node, message, fix = refused
        return PolicyReading(
            None, (*tree.faults, Fault(message, file, (), *tree.lines.line_and_column(node.start), fix)), named
        )
    document, faults = _validate_tree(tree, root, PolicyDocument)
    part_faults = document.find_faults() if document else find_remaining_faults(root, faults)
    faults += [tree.build_fault(path, message) for path, message in part_faults]
    policy = None
    if document and not faults:
        policy = Policy(name, sha256(content).hexdigest(), document, source=content.decode())
    return PolicyReading(policy, tuple(faults), named)


def read_approvers_file(content: bytes) -> ApproversReading:
    """`approvers.yaml`. Two names with one key are a fault: that person would count as two."""
    tree = read_yaml_tree(APPROVERS_FILE, content, POLICY_LIMIT)
    if tree.root is None:
        return ApproversReading(None, tree.faults)
    document, faults = _validate_tree(tree, tree.root, ApproversDocument)
    first: dict[bytes, str] = {}
    for name, approver in document.approvers.items() if document else ():
        if (other := first.setdefault(approver.raw_key, name)) != name:
            faults.append(
                tree.build_fault(("approvers", name, "key"), f"`{name}` has the key of `{other}`: one person counts once")
            )
    approvers = ApproverDirectory(document.approvers) if document and not faults else None
    return ApproversReading(
        approvers, tuple(faults), approvers.names_and_groups if approvers else _collect_approver_names(tree.root)
    )


def _validate_tree(tree: YamlTree, root: MappingNode, model: type[_Model]) -> tuple[_Model | None, list[Fault]]:
    """The document that the nodes are; None where they are none. Faults found on the way come first."""
    faults = list(tree.faults)
    try:
        return model.model_validate(root.value), faults
    except ValidationError as error:
        return None, faults + convert_validation_error(tree.file, tree.lines, root, model, error)
    except UNEXPECTED_ERRORS as error:
        # Fail closed: whatever value a type was not written for is a fault of that file, never of the daemon.
        return None, [*faults, Fault(UNFORESEEN_MESSAGE, tree.file, fix=f"please report this: {type(error).__name__}")]


def _collect_approver_names(root: MappingNode) -> frozenset[str]:
    names = (str(path[-1]) for path, _ in find_matching_nodes(root, "approvers", "*"))
    groups = (
        node.value for _, node in find_matching_nodes(root, "approvers", "*", "groups", "*") if isinstance(node.value, str)
    )
    return frozenset(names) | frozenset(groups)
