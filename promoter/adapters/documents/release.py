"""Releases an alias in `registry.yaml`: its hold is taken out, and nothing else changes."""

from __future__ import annotations

from typing import Any

from promoter.adapters.documents.nodes import MappingNode, YamlNode
from promoter.adapters.documents.reading import YamlTree, read_yaml_tree, parse_registry_document
from promoter.adapters.documents.removal import remove_pair
from promoter.adapters.documents.splice import apply_splices
from promoter.domain.desired import DesiredState
from promoter.domain.faults import Fault, Faults, DocumentPath
from promoter.domain.proposal import REGISTRY_FILE, RegistryEdit

EDIT_BY_HAND = "edit the file by hand"


def release_alias(content: bytes, edit: RegistryEdit) -> bytes:
    """The file without the hold; the very same bytes where nothing holds the alias.

    Raises `Faults` where the file is faulty, where that cannot be done safely, or where the hold is shared with others.
    """
    before = read_yaml_tree(REGISTRY_FILE, content)
    document, faults = parse_registry_document(before)
    if faults or document is None or before.root is None:
        raise Faults(faults)
    path: DocumentPath = ("models", edit.model, "aliases", edit.alias)
    desired = DesiredState.from_document(document)
    intent = desired.find_model_intent(edit.model)
    alias = intent.aliases.get(edit.alias) if intent else None
    if alias is None or alias.hold is None:
        return content
    if shared := desired.find_shared_hold(edit.model, edit.alias):
        message = f"{edit.model}@{edit.alias} is held by `{shared[0]}`, with every alias that shares this hold"
        raise Faults([before.build_fault(shared, message, "take it out here, or write `hold: null` at the alias")])
    node = _require_alias_mapping(before, edit, path)
    hold = node.pairs["hold"]
    if hold.anchored:
        raise _build_release_fault(before, edit, hold.start, "is shared through an anchor (`&` or `*`)")
    result = apply_splices(before.text, [remove_pair(before.text.content, node, "hold")])
    after = read_yaml_tree(REGISTRY_FILE, result)
    released_document, _ = parse_registry_document(after)
    if released_document is None or after.root is None or after.root.value != _remove_hold(before.root.value, path):
        raise _build_release_fault(before, edit, hold.start, "cannot be released without changing something else")
    return result


def _require_alias_mapping(tree: YamlTree, edit: RegistryEdit, path: DocumentPath) -> MappingNode:
    """The alias's own mapping, which nothing else shares."""
    node: YamlNode | None = tree.root
    for part in (*path, None):
        if node is None or node.anchored or node.target is not node or not isinstance(node, MappingNode):
            raise _build_release_fault(tree, edit, node.start if node else 0, "is shared through an anchor (`&` or `*`)")
        if part is None:
            return node
        node = node.pairs.get(str(part))
    raise AssertionError("a path ends")


def _remove_hold(value: Any, path: DocumentPath) -> Any:
    """What the file is to say: copied only along the path."""
    if not path:
        return {key: item for key, item in value.items() if key != "hold"}
    return {**value, path[0]: _remove_hold(value[path[0]], path[1:])}


def _build_release_fault(tree: YamlTree, edit: RegistryEdit, start: int, why: str) -> Faults:
    line, place = tree.lines.line_and_column(start)
    return Faults([Fault(f"{edit.model}@{edit.alias} {why}", REGISTRY_FILE, line=line, column=place, fix=EDIT_BY_HAND)])
