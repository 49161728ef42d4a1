"""Edits `registry.yaml` by its characters: one span is replaced, and everything else stays as it was, byte for byte.

Nothing is trusted: the result is parsed again, and must say what the file said before with exactly the one change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promoter.adapters.documents.nodes import Mapping, Node, Scalar, Sequence
from promoter.adapters.documents.reading import Tree, read_tree, understood
from promoter.adapters.documents.scalars import written
from promoter.adapters.documents.text import Text
from promoter.domain.faults import Fault, Faults, Path
from promoter.domain.names import alias_name, model_name
from promoter.domain.proposal import REGISTRY_FILE, Edit

BY_HAND = "edit the file by hand"
_STEP = 2


@dataclass(frozen=True)
class Splice:
    """`text` in the place of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str

    def applied(self, content: str) -> str:
        """The text with the span replaced."""
        return content[: self.start] + self.text + content[self.end :]


def edited(content: bytes, edit: Edit) -> bytes:
    """The file with the alias at that version. Raises `Faults` where it is faulty, or where that cannot be done safely."""
    _check_edit(edit)
    before = read_tree(REGISTRY_FILE, content)
    _, faults = understood(before)
    if faults:
        raise Faults(faults)
    splice = _splice(before, edit)
    if splice is None:
        return content
    result = (before.text.mark + splice.applied(before.text.content)).encode()
    after = read_tree(REGISTRY_FILE, result)
    document, _ = understood(after)
    said = document is not None and _root(after).value == _intended(_root(before).value, edit)
    if not said or not _elsewhere_equal(before.text, splice, content, result):
        raise _refusal(before, splice.start, edit, "cannot be changed without changing something else")
    return result


def _check_edit(edit: Edit) -> None:
    try:
        model_name(edit.model)
        alias_name(edit.alias)
    except ValueError as error:
        raise Faults([Fault(str(error), REGISTRY_FILE)]) from None


def _elsewhere_equal(text: Text, splice: Splice, content: bytes, result: bytes) -> bool:
    head = len((text.mark + text.content[: splice.start]).encode())
    tail = len(text.content[splice.end :].encode())
    added = splice.text.encode()
    return result[:head] == content[:head] and result[head:] == added + content[len(content) - tail :]


def _intended(value: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """What the file is to say: copied only along the path to the alias, and compared to what it says."""
    model = dict(value["models"].get(edit.model) or {})
    aliases = dict(model.get("aliases") or {})
    alias = aliases.get(edit.alias)
    aliases[edit.alias] = {**alias, "version": edit.version} if isinstance(alias, dict) else edit.version
    return {**value, "models": {**value["models"], edit.model: {**model, "aliases": aliases}}}


def _splice(tree: Tree, edit: Edit) -> Splice | None:
    """What to replace; None where the file says so already."""
    path: Path = ("models", edit.model, "aliases", edit.alias, "version")
    node: Node = _root(tree)
    for depth, part in enumerate(path):
        _own(tree, node, edit)
        if not isinstance(node, Mapping):
            break
        inside = node.pairs.get(str(part))
        if inside is None:
            return _added(tree, node, path[depth:], edit)
        node = inside
    _own(tree, node, edit)
    if not isinstance(node, Scalar) or node.style in ("|", ">"):
        raise _refusal(tree, node.start, edit, "is written in a way that cannot be replaced")
    if node.value == edit.version:
        return None
    return Splice(node.start, node.end, str(edit.version))


def _own(tree: Tree, node: Node, edit: Edit) -> None:
    if node.anchored or node.target is not node:
        raise _refusal(tree, node.start, edit, "is shared through an anchor (`&` or `*`)")


def _added(tree: Tree, node: Mapping, missing: Path, edit: Edit) -> Splice:
    keys = [written(str(part)) for part in missing]
    if keys[-1] == "version" and len(keys) > 1:
        keys.pop()
    text = tree.text.content
    if keys == ["version"] and node.pairs:
        return _first(text, node, f"version: {edit.version}")
    if not node.pairs:
        return _filled(tree, node, keys, edit.version)
    return _last(tree, node, keys, edit.version)


def _first(text: str, node: Mapping, pair: str) -> Splice:
    key = node.first_key
    between = ", " if node.flow else _newline(text, key) + " " * _column(text, key)
    return Splice(key, key, pair + between)


def _filled(tree: Tree, node: Mapping, keys: list[str], version: int) -> Splice:
    """Into `{}`. A model's place in an empty `models: {}` becomes a block, since more of them will follow."""
    text = tree.text.content
    if node is _root(tree).pairs["models"] and not _root(tree).flow and text[node.start : node.end] == "{}":
        begin = len(text[: node.start].rstrip(" "))
        if text[begin - 1] == ":" and not _rest(text, node.end).strip():
            column = _indent(text, node.start) + _STEP
            return Splice(begin, node.end, _block(_newline(text, node.end), column, _STEP, keys, version))
    return Splice(node.start + 1, node.start + 1, _flow(keys, version))


def _last(tree: Tree, node: Mapping, keys: list[str], version: int) -> Splice:
    text = tree.text.content
    end = _last_character(text, next(reversed(node.pairs.values())))
    if node.flow:
        return Splice(end, end, ", " + _flow(keys, version))
    end += len(_rest(text, end))
    column = _column(text, node.first_key)
    return Splice(end, end, _block(_newline(text, end), column, _step(tree), keys, version))


def _last_character(text: str, node: Node) -> int:
    """Where a value ends. A block collection's own end lies behind the comments and blank lines that follow it."""
    while isinstance(node, Mapping | Sequence) and not node.flow:
        node = node.items[-1] if isinstance(node, Sequence) else next(reversed(node.pairs.values()))
    return len(text[: node.end].rstrip()) if isinstance(node, Scalar) and node.style in ("|", ">") else node.end


def _step(tree: Tree) -> int:
    """By how many columns the file indents: as the first model under `models` does."""
    models = _root(tree).pairs["models"]
    if not isinstance(models, Mapping) or models.flow or not models.pairs:
        return _STEP
    text = tree.text.content
    return max(_column(text, models.first_key) - _column(text, models.key or 0), 1)


def _block(newline: str, column: int, step: int, keys: list[str], version: int) -> str:
    lines = [f"{newline}{' ' * (column + step * depth)}{key}:" for depth, key in enumerate(keys)]
    return "".join(lines) + f" {version}"


def _flow(keys: list[str], version: int) -> str:
    return ": {".join(keys) + f": {version}" + "}" * (len(keys) - 1)


def _column(text: str, index: int) -> int:
    return index - _line_start(text, index)


def _indent(text: str, index: int) -> int:
    line = text[_line_start(text, index) : index]
    return len(line) - len(line.lstrip(" "))


def _line_start(text: str, index: int) -> int:
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def _rest(text: str, index: int) -> str:
    """What follows in the same line."""
    ends = [end for end in (text.find("\n", index), text.find("\r", index)) if end >= 0]
    return text[index : min(ends, default=len(text))]


def _newline(text: str, index: int) -> str:
    """How the file ends its lines: this one, or where it is the last, the one before."""
    end = text.find("\n", index)
    end = end if end >= 0 else text.rfind("\n", 0, index)
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _root(tree: Tree) -> Mapping:
    if tree.root is None:
        raise Faults(tree.faults)
    return tree.root


def _refusal(tree: Tree, start: int, edit: Edit, why: str) -> Faults:
    line, column = tree.lines.place(start)
    message = f"{edit.model}@{edit.alias} {why}"
    return Faults([Fault(message, REGISTRY_FILE, line=line, column=column, fix=BY_HAND)])
