"""Edits `registry.yaml`: an alias gets a version, a hold, and versions in quarantine, or is released, and nothing else changes.

Nothing is trusted: the result is parsed again, and must say what the file said before with exactly that change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promoter.adapters.documents.nodes import Mapping, Node, Scalar, Sequence
from promoter.adapters.documents.reading import Tree, read_tree, understood
from promoter.adapters.documents.release import BY_HAND, released
from promoter.adapters.documents.splice import (
    STEP,
    Block,
    Splice,
    appended,
    column,
    filled,
    first,
    last,
    opened,
    replaced,
    rewritten,
    spliced,
)
from promoter.domain.desired import ABSENT, Hold
from promoter.domain.faults import Fault, Faults
from promoter.domain.names import alias_name, model_name
from promoter.domain.proposal import REGISTRY_FILE, Edit


def edited(content: bytes, edit: Edit) -> bytes:
    """The file with the edit in it. Raises `Faults` where it is faulty, or where that cannot be done safely."""
    _check_edit(edit)
    if edit.release and not edit.hold:
        content = released(content, edit)
    before = read_tree(REGISTRY_FILE, content)
    document, faults = understood(before)
    if faults:
        raise Faults(faults)
    entry = document.models.get(edit.model) if document else None
    alias = entry.aliases.get(edit.alias) if entry else None
    return _Editing(before, edit, alias.hold if alias else None).result(content)


def _check_edit(edit: Edit) -> None:
    try:
        model_name(edit.model)
        alias_name(edit.alias)
    except ValueError as error:
        raise Faults([Fault(str(error), REGISTRY_FILE)]) from None


class _Editing:
    """One edit of one file. `hold` is the one that is there."""

    def __init__(self, tree: Tree, edit: Edit, hold: Hold | None) -> None:
        """A hold that is there already, and versions that are in quarantine, are not written again."""
        self.tree = tree
        self.edit = edit
        self.text = tree.text.content
        self.hold = _told(edit.hold) if edit.hold and edit.hold != hold else None

    def result(self, content: bytes) -> bytes:
        """The bytes of the edited file; the very same ones where it says so already."""
        splices = list(self._splices())
        if not splices:
            return content
        result = spliced(self.tree.text, splices)
        after = read_tree(REGISTRY_FILE, result)
        document, _ = understood(after)
        if document is None or _root(after).value != self._intended(_root(self.tree).value):
            raise self._refusal(splices[0].start, "cannot be changed without changing something else")
        return result

    def _intended(self, value: dict[str, Any]) -> dict[str, Any]:
        """What the file is to say: copied only along the path to the alias."""
        model = dict(value["models"].get(self.edit.model) or {})
        aliases = dict(model.get("aliases") or {})
        alias = aliases.get(self.edit.alias)
        if isinstance(alias, dict):
            aliases[self.edit.alias] = {**alias, **self._changes(alias)}
        else:
            aliases[self.edit.alias] = self._entry(alias)
        return {**value, "models": {**value["models"], self.edit.model: {**model, "aliases": aliases}}}

    def _changes(self, alias: dict[str, Any]) -> dict[str, Any]:
        """The values of a mapping that are to be others, or to be there."""
        changes: dict[str, Any] = {"version": self.edit.version} if self.edit.version is not None else {}
        changes |= {"hold": self.hold} if self.hold else {}
        there = alias.get("quarantine", [])
        added = [number for number in dict.fromkeys(self.edit.quarantine) if number not in there]
        return changes | ({"quarantine": [*there, *added]} if added else {})

    def _entry(self, there: object = None) -> object:
        """An alias that is written anew: the short form, where that says it all. `there`: what it says in its short form."""
        changes = self._changes({})
        if self.edit.version is None and isinstance(there, int):
            return {"version": there, **changes} if changes else there
        return changes if changes.keys() != {"version"} else self.edit.version

    def _splices(self) -> Iterator[Splice]:
        if not self._changes({}):
            return
        path = ("models", self.edit.model, "aliases", self.edit.alias)
        node: Node = _root(self.tree)
        for depth, part in enumerate(path):
            inside = self._own_mapping(node).pairs.get(part)
            if inside is None:
                yield self._added(self._own_mapping(node), path[depth:])
                return
            node = inside
        if isinstance(node.target, Mapping):
            yield from self._in_mapping(self._own_mapping(node))
        elif self.edit.version is None and node.value == ABSENT:
            raise self._refusal(node.start, "is `absent`, and has neither a hold nor a quarantine")
        elif node.value != self._entry(node.value):
            yield replaced(self.text, self._own_scalar(node), self._entry(node.value))

    def _added(self, node: Mapping, missing: tuple[str, ...]) -> Splice:
        """The alias, and what it stands in, where that is not there. A block, where a block holds it.

        A model's place in an empty `models: {}` becomes a block, since more of them will follow.
        """
        pairs = {missing[-1]: self._entry()}
        for key in reversed(missing[:-1]):
            pairs = {key: Block(pairs)}
        if node.pairs:
            return last(self.text, node, pairs, self._step())
        root = _root(self.tree)
        block = opened(self.text, node, pairs) if node is root.pairs["models"] and not root.flow else None
        return block or filled(node, pairs)

    def _in_mapping(self, node: Mapping) -> Iterator[Splice]:
        changes = self._changes(node.value)
        if not node.pairs:
            yield filled(node, changes)
            return
        if "version" in changes and "version" not in node.pairs:
            yield first(self.text, node, {"version": changes.pop("version")})
        missing = {key: changes.pop(key) for key in list(changes) if key not in node.pairs}
        for key, value in changes.items():
            there = node.pairs[key]
            if there.value != value:
                yield self._other(there, value)
        if missing:
            yield last(self.text, node, missing, self._step())

    def _other(self, node: Node, value: Any) -> Splice:
        """Another value: of a list, one that goes on after what is there."""
        if isinstance(node.target, Mapping):
            return rewritten(self.text, self._own_mapping(node), value)
        if isinstance(node.target, Sequence):
            self._own(node)
            added = value[len(node.value) :]
            return appended(self.text, node.target, added) if node.value else filled(node.target, added)
        return replaced(self.text, self._own_scalar(node), value)

    def _own(self, node: Node) -> None:
        if node.anchored or node.target is not node:
            raise self._refusal(node.start, "is shared through an anchor (`&` or `*`)")

    def _own_mapping(self, node: Node) -> Mapping:
        self._own(node)
        if not isinstance(node, Mapping):
            raise self._refusal(node.start, "stands in what is no mapping")
        return node

    def _own_scalar(self, node: Node) -> Scalar:
        self._own(node)
        if not isinstance(node, Scalar) or node.style in ("|", ">"):
            raise self._refusal(node.start, "is written in a way that cannot be replaced")
        return node

    def _step(self) -> int:
        """By how many columns the file indents: as the first model under `models` does."""
        models = _root(self.tree).pairs["models"]
        if not isinstance(models, Mapping) or models.flow or not models.pairs:
            return STEP
        return max(column(self.text, models.first_key) - column(self.text, models.key or 0), 1)

    def _refusal(self, start: int, why: str) -> Faults:
        line, place = self.tree.lines.place(start)
        message = f"{self.edit.model}@{self.edit.alias} {why}"
        return Faults([Fault(message, REGISTRY_FILE, line=line, column=place, fix=BY_HAND)])


def _told(hold: Hold) -> dict[str, Any]:
    """A hold as it is written."""
    told: dict[str, Any] = {"reason": hold.reason, "by": hold.by}
    return told | ({"until": hold.until} if hold.until else {})


def _root(tree: Tree) -> Mapping:
    if tree.root is None:
        raise Faults(tree.faults)
    return tree.root
