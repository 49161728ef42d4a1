"""Releases an alias in `registry.yaml`: its hold is taken out, and nothing else changes."""

from __future__ import annotations

from typing import Any

from promoter.adapters.documents.nodes import Mapping, Node
from promoter.adapters.documents.reading import Tree, read_tree, understood
from promoter.adapters.documents.removal import removed
from promoter.adapters.documents.splice import spliced
from promoter.domain.desired import DesiredState
from promoter.domain.faults import Fault, Faults, Path
from promoter.domain.proposal import REGISTRY_FILE, Edit

BY_HAND = "edit the file by hand"


def released(content: bytes, edit: Edit) -> bytes:
    """The file without the hold; the very same bytes where nothing holds the alias.

    Raises `Faults` where the file is faulty, where that cannot be done safely, or where the hold is shared with others.
    """
    before = read_tree(REGISTRY_FILE, content)
    document, faults = understood(before)
    if faults or document is None or before.root is None:
        raise Faults(faults)
    path: Path = ("models", edit.model, "aliases", edit.alias)
    desired = DesiredState.of(document)
    intent = desired.intent(edit.model)
    alias = intent.aliases.get(edit.alias) if intent else None
    if alias is None or alias.hold is None:
        return content
    if shared := desired.shared_hold(edit.model, edit.alias):
        message = f"{edit.model}@{edit.alias} is held by `{shared[0]}`, with every alias that shares this hold"
        raise Faults([before.fault(shared, message, "take it out here, or write `hold: null` at the alias")])
    node = _own_mapping(before, edit, path)
    hold = node.pairs["hold"]
    if hold.anchored:
        raise _refusal(before, edit, hold.start, "is shared through an anchor (`&` or `*`)")
    result = spliced(before.text, [removed(before.text.content, node, "hold")])
    after = read_tree(REGISTRY_FILE, result)
    told, _ = understood(after)
    if told is None or after.root is None or after.root.value != _without(before.root.value, path):
        raise _refusal(before, edit, hold.start, "cannot be released without changing something else")
    return result


def _own_mapping(tree: Tree, edit: Edit, path: Path) -> Mapping:
    """The alias's own mapping, which nothing else shares."""
    node: Node | None = tree.root
    for part in (*path, None):
        if node is None or node.anchored or node.target is not node or not isinstance(node, Mapping):
            raise _refusal(tree, edit, node.start if node else 0, "is shared through an anchor (`&` or `*`)")
        if part is None:
            return node
        node = node.pairs.get(str(part))
    raise AssertionError("a path ends")


def _without(value: Any, path: Path) -> Any:
    """What the file is to say: copied only along the path."""
    if not path:
        return {key: item for key, item in value.items() if key != "hold"}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _refusal(tree: Tree, edit: Edit, start: int, why: str) -> Faults:
    line, place = tree.lines.place(start)
    return Faults([Fault(f"{edit.model}@{edit.alias} {why}", REGISTRY_FILE, line=line, column=place, fix=BY_HAND)])
