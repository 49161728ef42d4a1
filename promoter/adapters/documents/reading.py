"""Reads the three kinds of file: text, tree, types, and what no single field shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from promoter.adapters.documents import patterns
from promoter.adapters.documents.nodes import Mapping, every, find
from promoter.adapters.documents.remaining import STRAY, remaining
from promoter.adapters.documents.text import POLICY_LIMIT, REGISTRY_LIMIT, Lines, Text, read_text
from promoter.adapters.documents.tree import EMPTY, TreeReader
from promoter.adapters.documents.uses import Use, approver_uses, policy_uses
from promoter.adapters.documents.wording import type_faults
from promoter.domain.approvers import Approvers, ApproversDocument
from promoter.domain.desired import DesiredState, RegistryDocument
from promoter.domain.faults import Fault, Path
from promoter.domain.policy import Policy, PolicyDocument
from promoter.domain.proposal import REGISTRY_FILE

APPROVERS_FILE = "approvers.yaml"
NEVER = "this never means that everything is to be deleted; `promoter init` writes one"
UNFORESEEN = "cannot be read, and for no reason that Promoter knows"
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
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class PolicyReading:
    """What there is to know of one policy file. `policy` is None where anything is wrong with it, and knows no approvers.

    `approvers` are the places where it names approvers or groups.
    """

    policy: Policy | None
    faults: tuple[Fault, ...]
    approvers: tuple[Use, ...] = ()


@dataclass(frozen=True)
class ApproversReading:
    """What there is to know of one `approvers.yaml`. `approvers` is None where anything is wrong with it.

    `words` are the names and the groups that it has all the same; None where it cannot be read at all.
    """

    approvers: Approvers | None
    faults: tuple[Fault, ...] = ()
    words: frozenset[str] | None = None


@dataclass(frozen=True)
class Tree:
    """A file's text and nodes. `root` is None where it cannot be read; `faults` are those found on the way."""

    file: str
    text: Text
    lines: Lines
    root: Mapping | None
    faults: tuple[Fault, ...]

    def fault(self, path: Path, message: str, fix: str | None = None) -> Fault:
        """A fault at the value that a path leads to."""
        node = find(self.root, path) if self.root else None
        return Fault(message, self.file, path, *self.lines.place(node.start if node else 0), fix)


def read_tree(file: str, content: bytes, limit: int = REGISTRY_LIMIT) -> Tree:
    """The nodes of a file. `limit` is in bytes."""
    text = read_text(file, content, limit)
    if isinstance(text, list):
        return Tree(file, Text(""), Lines(""), None, tuple(text))
    reader = TreeReader(file, text.content)
    root = reader.read()
    return Tree(file, text, reader.lines, root, tuple(reader.faults))


def read_registry(content: bytes) -> RegistryReading:
    """`registry.yaml`, by itself: whether the policies that it names are there is for the caller to see."""
    tree = read_tree(REGISTRY_FILE, content)
    document, faults = understood(tree)
    if document is None:
        return RegistryReading(None, tuple(faults), tuple(policy_uses(tree.root, tree.lines)) if tree.root else ())
    return RegistryReading(DesiredState.of(document), ())


def understood(tree: Tree) -> tuple[RegistryDocument | None, list[Fault]]:
    """What the nodes of a `registry.yaml` say; None where anything is wrong with them."""
    if tree.root is None:
        return None, [replace(fault, fix=NEVER) if fault.message == EMPTY else fault for fault in tree.faults]
    document, faults = _typed(tree, tree.root, RegistryDocument)
    if document and len(document.families) * len(document.models) > MATCH_LIMIT:
        message = f"`families` and `models` come to more than {MATCH_LIMIT} pairs: too many to match"
        faults.append(tree.fault(("families",), message, "let one family match more models"))
    return (None if faults else document), faults


def uses_of_policies(content: bytes) -> Iterator[Use]:
    """Where a `registry.yaml` names policies. Reads it once more: that one is missing is rare."""
    tree = read_tree(REGISTRY_FILE, content)
    return policy_uses(tree.root, tree.lines) if tree.root else iter(())


def read_policy(file: str, name: str, content: bytes) -> PolicyReading:
    """`policies/NAME.yaml`, by itself: whether the approvers that it names are there is for the caller to see."""
    tree = read_tree(file, content, POLICY_LIMIT)
    root = tree.root
    if root is None:
        return PolicyReading(None, tree.faults)
    named = tuple(approver_uses(root, tree.lines))
    if refused := patterns.refused(root):
        node, message, fix = refused
        return PolicyReading(None, (*tree.faults, Fault(message, file, (), *tree.lines.place(node.start), fix)), named)
    document, faults = _typed(tree, root, PolicyDocument)
    told = document.faults() if document else remaining(root, faults)
    faults += [tree.fault(path, message) for path, message in told]
    policy = None
    if document and not faults:
        policy = Policy(name, sha256(content).hexdigest(), document, source=content.decode())
    return PolicyReading(policy, tuple(faults), named)


def read_approvers(content: bytes) -> ApproversReading:
    """`approvers.yaml`. Two names with one key are a fault: that person would count as two."""
    tree = read_tree(APPROVERS_FILE, content, POLICY_LIMIT)
    if tree.root is None:
        return ApproversReading(None, tree.faults)
    document, faults = _typed(tree, tree.root, ApproversDocument)
    first: dict[bytes, str] = {}
    for name, approver in document.approvers.items() if document else ():
        if (other := first.setdefault(approver.raw_key, name)) != name:
            faults.append(tree.fault(("approvers", name, "key"), f"`{name}` has the key of `{other}`: one person counts once"))
    approvers = Approvers(document.approvers) if document and not faults else None
    return ApproversReading(approvers, tuple(faults), approvers.words if approvers else _words(tree.root))


def _typed(tree: Tree, root: Mapping, model: type[_Model]) -> tuple[_Model | None, list[Fault]]:
    """The document that the nodes are; None where they are none. Faults found on the way come first."""
    faults = list(tree.faults)
    try:
        return model.model_validate(root.value), faults
    except ValidationError as error:
        return None, faults + type_faults(tree.file, tree.lines, root, model, error)
    except STRAY as error:
        # Fail closed: whatever value a type was not written for is a fault of that file, never of the daemon.
        return None, [*faults, Fault(UNFORESEEN, tree.file, fix=f"please report this: {type(error).__name__}")]


def _words(root: Mapping) -> frozenset[str]:
    names = (str(path[-1]) for path, _ in every(root, "approvers", "*"))
    groups = (node.value for _, node in every(root, "approvers", "*", "groups", "*") if isinstance(node.value, str))
    return frozenset(names) | frozenset(groups)
