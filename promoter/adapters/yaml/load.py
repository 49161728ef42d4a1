"""Reads `registry.yaml`, policies and `approvers.yaml`: text, tree, types, and faults that no single field shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from promoter.adapters.yaml.messages import convert_validation_error
from promoter.adapters.yaml.tree import (
    EMPTY_FILE_MESSAGE,
    POLICY_LIMIT,
    REGISTRY_LIMIT,
    LineIndex,
    MappingNode,
    SequenceNode,
    SourceText,
    TreeReader,
    YamlNode,
    decode_source_text,
    find_matching_nodes,
    find_node,
)
from promoter.domain.approvals import ApproverDirectory, ApproversDocument
from promoter.domain.desired import DesiredState, RegistryDocument
from promoter.domain.errors import DocumentPath, Fault
from promoter.domain.fields import validate_approver_name, validate_policy_name
from promoter.domain.folder import APPROVERS_FILE, REGISTRY_FILE
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.rules import RULES

_POLICY_PATHS = (
    ("defaults", "aliases", "*", "policy"),
    ("families", "*", "aliases", "*", "policy"),
    ("models", "*", "aliases", "*", "policy"),
)
_APPROVER_PATHS = tuple((*kind.approver_keys, "*") for kind in RULES if kind.approver_keys)


@dataclass(frozen=True)
class NameReference:
    """A name in a file, and its place."""

    name: str
    path: DocumentPath
    line: int
    column: int


def find_policy_references(root: MappingNode, lines: LineIndex) -> Iterator[NameReference]:
    """Yield the places where a `registry.yaml` names policies, also in one with faults."""
    for pattern in _POLICY_PATHS:
        yield from _select_valid_names(find_matching_nodes(root, *pattern), lines, validate_policy_name)


def find_approver_references(root: MappingNode, lines: LineIndex) -> Iterator[NameReference]:
    """Yield the places where a policy names approvers or their groups, in rules however deep, also in one with faults."""
    for part in ("rules", "guards"):
        if part in root.pairs:
            for path, node in _walk_mappings(root.pairs[part], (part,)):
                for pattern in _APPROVER_PATHS:
                    found = ((path + inner, child) for inner, child in find_matching_nodes(node, *pattern))
                    yield from _select_valid_names(found, lines, validate_approver_name)


def _walk_mappings(node: YamlNode, path: DocumentPath) -> Iterator[tuple[DocumentPath, YamlNode]]:
    """Yield the mappings in a node, the node itself included. Nodes are limited in depth, so that this may recurse."""
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
    """Yield the nodes that are names; anything else there is a fault that is reported already."""
    for path, node in found:
        if isinstance(node.value, str) and not node.target.flawed and _is_valid_name(node.value, check):
            yield NameReference(node.value, path, *lines.line_and_column(node.start))


def _is_valid_name(name: str, check: Callable[[str], str]) -> bool:
    try:
        check(name)
    except ValueError:
        return False
    return True


_LIST_PARTS = ("rules", "guards", "waivers")
_SETTING_PARTS = ("candidates", "metrics")
UNEXPECTED_ERRORS = (ArithmeticError, LookupError, TypeError, RecursionError)
"""Errors that a type may raise over a value that it was not written for."""

_STAND_IN_RULES = ({"run": {"status": "FINISHED"}},)
"""Rules for a policy none of whose own can be used, so that its guards are checked all the same."""


def find_remaining_faults(root: MappingNode, faults: Iterable[Fault]) -> list[tuple[DocumentPath, str]]:
    """Return the faults that a policy has in the parts that can be read, each with its place.

    Without knowing how candidates compare and where metrics are read, nothing can be checked: no faults then.
    """
    faulty = {fault.path[:2] for fault in faults}
    if any(path[:1] == (part,) for part in _SETTING_PARTS for path in faulty):
        return []
    sound: dict[str, Any] = {"version": 1, **{key: root.value[key] for key in _SETTING_PARTS if key in root.value}}
    kept: dict[str, list[int]] = {}
    for part in _LIST_PARTS:
        items = root.value.get(part)
        items = items if isinstance(items, list) and (part,) not in faulty else []
        kept[part] = [index for index in range(len(items)) if (part, index) not in faulty]
        sound[part] = [items[index] for index in kept[part]]
    if not _is_list_sound(root, "rules", kept):
        sound["waivers"] = []  # whether they name a rule is not known
    sound["rules"] = sound["rules"] or _STAND_IN_RULES
    try:
        part_faults = PolicyDocument.model_validate(sound).find_faults()
    except (ValidationError, *UNEXPECTED_ERRORS):
        return []
    return [((path[0], kept[str(path[0])][int(path[1])], *path[2:]), message) for path, message in part_faults]


def _is_list_sound(root: MappingNode, part: str, kept: dict[str, list[int]]) -> bool:
    """Return whether every item of a list can be used."""
    items = root.value.get(part)
    return isinstance(items, list) and len(kept[part]) == len(items) > 0


_PATTERN_KEYS = frozenset(kind.pattern_key for kind in RULES if kind.pattern_key)
_PATTERNS = f"patterns ({', '.join(f'`{key}`' for key in sorted(_PATTERN_KEYS))})"
PATTERN_COUNT_LIMIT = 100
PATTERN_WEIGHT_LIMIT = 30_000
"""About 16 MiB, and a third of a second."""

_EXPRESSION_KEYS = frozenset(kind.expression_key for kind in RULES if kind.expression_key)
EXPRESSION_LIMIT = 100
"""Each set of metrics and holders that expressions name takes some 5 ms to prepare."""

TOO_MANY_PATTERNS = f"more than {PATTERN_COUNT_LIMIT} {_PATTERNS} in one policy"
TOO_MANY_EXPRESSIONS = f"more than {EXPRESSION_LIMIT} expressions in one policy"
TOO_LARGE_PATTERNS = f"the {_PATTERNS} of this policy are too large, taken together"
TOO_LARGE_PATTERNS_FIX = "counts such as `{20}` of `\\w` or `\\p{...}` cost most: name the characters, as in `[A-Za-z0-9_]`"

_TOKEN = re.compile(
    r"""(?P<wide>\\(?:[pP]\{[^}]*\}|[pP].|[wW]))
    | (?P<narrow>\\[dDsS])
    | \{\s*(?P<least>\d*)\s*(?:,\s*(?P<most>\d*)\s*)?\}
    | \[\^?\]? | \\. | .""",
    re.DOTALL | re.VERBOSE,
)
_WEIGHTS = {"wide": 110, "narrow": 25}
_ATOM_WEIGHT = 2
_VERBOSE = re.compile(r"\(\?[A-Za-z]*x")
_COUNT_MAX = 100_000


def estimate_pattern_weight(pattern: str) -> int:
    """Return an upper bound of the compiled size, in units of about half a KiB."""
    total, product = _weigh_tokens(pattern)
    # With the flag x, comments may stand between an atom and its count: take every count as one of everything.
    return total * product if _VERBOSE.search(pattern) else total


def find_excessive_pattern(root: YamlNode) -> tuple[YamlNode, str, str | None] | None:
    """Return the pattern or expression that is one too many or too large, the fault and its fix; None: all are fine."""
    over = next(islice(_find_texts(root, _EXPRESSION_KEYS), EXPRESSION_LIMIT, None), None)
    if over is not None:
        return over, TOO_MANY_EXPRESSIONS, None
    total = 0
    for count, node in enumerate(_find_texts(root, _PATTERN_KEYS), start=1):
        total += estimate_pattern_weight(str(node.value))
        if count > PATTERN_COUNT_LIMIT:
            return node, TOO_MANY_PATTERNS, None
        if total > PATTERN_WEIGHT_LIMIT:
            return node, TOO_LARGE_PATTERNS, TOO_LARGE_PATTERNS_FIX
    return None


def _weigh_tokens(pattern: str) -> tuple[int, int]:
    """Return the weight by nesting, and the product of all counts."""
    frames, last, product, classes = [0], 0, 1, 0
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token[0]
        if text[0] == "[" or (text == "(" and not classes):
            frames += [] if classes else [0]
            classes += text[0] == "["
            frames[-1] += _ATOM_WEIGHT
        elif (text == "]" and classes) or (text == ")" and not classes and len(frames) > 1):
            classes -= text == "]"
            if not classes:
                last = frames.pop()
                frames[-1] += last
        elif kind in ("least", "most") and not classes:
            times = max(_parse_count(token["least"]), _parse_count(token["most"]), 1)
            frames[-1] += last * (times - 1)
            last *= times
            product = min(product * times, _COUNT_MAX)
        else:
            last = _WEIGHTS.get(kind or "", _ATOM_WEIGHT)
            frames[-1] += last
    return sum(frames), product


def _parse_count(digits: str | None) -> int:
    return min(int(digits), _COUNT_MAX) if digits and len(digits) < len(str(_COUNT_MAX)) else _COUNT_MAX if digits else 0


def _find_texts(node: YamlNode, keys: Collection[str]) -> Iterator[YamlNode]:
    """Yield the texts under these keys, at any depth."""
    inside = node.target
    if isinstance(inside, MappingNode):
        for key, child in inside.pairs.items():
            if key in keys and isinstance(child.value, str):
                yield child
            else:
                yield from _find_texts(child, keys)
    elif isinstance(inside, SequenceNode):
        for child in inside.items:
            yield from _find_texts(child, keys)


EMPTY_FILE_FIX = "this never means that everything is to be deleted; `promoter init` writes one"
UNFORESEEN_MESSAGE = "cannot be read, and for no reason that Promoter knows"
MATCH_LIMIT = 2_000_000
"""The most pairs of a model and a family that are matched, which takes about a second."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class RegistryReading:
    """What was read of one `registry.yaml`."""

    desired: DesiredState | None
    """The desired state; None where the file has a fault."""
    faults: tuple[Fault, ...]
    uses: tuple[NameReference, ...] = ()
    """Where a file with faults names policies."""


@dataclass(frozen=True)
class PolicyReading:
    """What was read of one policy file."""

    policy: Policy | None
    """The policy, without approvers; None where the file has a fault."""
    faults: tuple[Fault, ...]
    approvers: tuple[NameReference, ...] = ()
    """Where it names approvers or groups."""


@dataclass(frozen=True)
class ApproversReading:
    """What was read of one `approvers.yaml`."""

    approvers: ApproverDirectory | None
    """The approvers; None where the file has a fault."""
    faults: tuple[Fault, ...] = ()
    words: frozenset[str] | None = None
    """The names and groups in it, also with faults; None where it cannot be read at all."""


@dataclass(frozen=True)
class YamlTree:
    """A file's text and nodes."""

    file: str
    text: SourceText
    lines: LineIndex
    root: MappingNode | None
    """The whole mapping; None where it cannot be read."""
    faults: tuple[Fault, ...]
    """The faults of its text and its syntax."""

    def build_fault(self, path: DocumentPath, message: str, fix: str | None = None) -> Fault:
        """Return a fault at the value that a path leads to."""
        node = find_node(self.root, path) if self.root else None
        return Fault(message, self.file, path, *self.lines.line_and_column(node.start if node else 0), fix)


def read_yaml_tree(file: str, content: bytes, limit: int = REGISTRY_LIMIT) -> YamlTree:
    """Read the nodes of a file of at most `limit` bytes."""
    text = decode_source_text(file, content, limit)
    if isinstance(text, list):
        return YamlTree(file, SourceText(""), LineIndex(""), None, tuple(text))
    reader = TreeReader(file, text.content)
    root = reader.read_document()
    return YamlTree(file, text, reader.lines, root, tuple(reader.faults))


def read_registry_file(content: bytes) -> RegistryReading:
    """Read `registry.yaml` by itself: the caller checks whether the policies that it names exist."""
    tree = read_yaml_tree(REGISTRY_FILE, content)
    document, faults = parse_registry_document(tree)
    if document is None:
        return RegistryReading(None, tuple(faults), tuple(find_policy_references(tree.root, tree.lines)) if tree.root else ())
    return RegistryReading(DesiredState.from_document(document), ())


def parse_registry_document(tree: YamlTree) -> tuple[RegistryDocument | None, list[Fault]]:
    """Return the document that the nodes state, and all faults; no document where there is any fault."""
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
    """Read a `registry.yaml` again for the places where it names policies, since it is rare that one is missing."""
    tree = read_yaml_tree(REGISTRY_FILE, content)
    return find_policy_references(tree.root, tree.lines) if tree.root else iter(())


def read_policy_file(file: str, name: str, content: bytes) -> PolicyReading:
    """Read `policies/NAME.yaml` by itself: the caller checks whether the approvers that it names exist."""
    tree = read_yaml_tree(file, content, POLICY_LIMIT)
    root = tree.root
    if root is None:
        return PolicyReading(None, tree.faults)
    named = tuple(find_approver_references(root, tree.lines))
    if refused := find_excessive_pattern(root):
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
    """Read `approvers.yaml`. Two names with one key are a fault: that person would count as two."""
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
    """Return the document that the nodes state, or None, with all faults; those of the text come first."""
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
