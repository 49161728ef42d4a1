"""Changes a YAML text by its characters: spans are replaced, and everything else stays as it was, byte for byte.

What is put in has the style of what it is put into: a pair of a block mapping has a line of its own, and in brackets all
stays in one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Values
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from promoter.adapters.documents.nodes import Collection, Mapping, Node, Scalar, Sequence
from promoter.adapters.documents.scalars import written
from promoter.adapters.documents.text import Text

STEP = 2

Pairs = Values[str, Any]
"""Keys and values to write: text, numbers, moments, lists, and mappings of them."""


@dataclass(frozen=True)
class Splice:
    """`text` in the place of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


def spliced(text: Text, splices: Iterable[Splice]) -> bytes:
    """The file with the spans replaced; of two at the same place, the first comes first.

    Every other byte is taken from the text as it was.
    """
    parts, reached = [text.mark], 0
    for splice in sorted(splices, key=lambda each: each.start):
        parts += [text.content[reached : splice.start], splice.text]
        reached = splice.end
    return "".join([*parts, text.content[reached:]]).encode()


def flow(value: object) -> str:
    """A value in one line, with braces and brackets."""
    if isinstance(value, Values):
        return "{" + _pairs(value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, datetime):
        utc = value.utcoffset() == UTC.utcoffset(None)
        return value.isoformat().removesuffix("+00:00") + "Z" if utc else value.isoformat()
    return written(value) if isinstance(value, str) else str(value)


def replaced(text: str, node: Scalar, value: object) -> Splice:
    """Another value in the place of a scalar, of an empty one too."""
    space = " " if node.start == node.end and text[node.start - 1 : node.start] == ":" else ""
    return Splice(node.start, node.end, space + flow(value))


def rewritten(text: str, node: Mapping, pairs: Pairs) -> Splice:
    """Other pairs in the place of those of a mapping, in its own style."""
    if node.flow or not node.pairs:
        return Splice(node.start, node.end, flow(pairs))
    begin = node.first_key
    line = newline(text, begin) + " " * column(text, begin)
    return Splice(begin, last_character(text, node), line.join(f"{written(key)}: {flow(item)}" for key, item in pairs.items()))


def first(text: str, node: Mapping, pairs: Pairs) -> Splice:
    """Pairs before those of a mapping that has some."""
    key = node.first_key
    between = ", " if node.flow else newline(text, key) + " " * column(text, key)
    return Splice(key, key, _pairs(pairs) + between)


def filled(node: Mapping | Sequence, value: Pairs | list[int]) -> Splice:
    """What goes into `{}` or `[]`."""
    return Splice(node.start + 1, node.start + 1, flow(value)[1:-1])


def last(text: str, node: Mapping, pairs: Pairs, step: int) -> Splice:
    """Pairs behind those of a mapping that has some. In a block, mappings become blocks too, `step` columns further in."""
    end = last_character(text, node)
    if node.flow:
        return Splice(end, end, ", " + _pairs(pairs))
    end += len(_rest(text, end))
    return Splice(end, end, _block(newline(text, end), column(text, node.first_key), step, pairs))


def appended(text: str, node: Sequence, items: list[int]) -> Splice:
    """Items behind those of a list that has some."""
    end = last_character(text, node)
    if node.flow:
        return Splice(end, end, "".join(f", {item}" for item in items))
    end += len(_rest(text, end))
    line = newline(text, end) + " " * column(text, node.start)
    return Splice(end, end, "".join(f"{line}- {item}" for item in items))


def opened(text: str, node: Mapping, pairs: Pairs) -> Splice | None:
    """A block in the place of `{}`, where it stands alone behind its key; None where it does not."""
    begin = len(text[: node.start].rstrip(" "))
    if text[node.start : node.end] != "{}" or text[begin - 1] != ":" or _rest(text, node.end).strip():
        return None
    line = text[line_start(text, node.start) : node.start]
    indent = len(line) - len(line.lstrip(" "))
    return Splice(begin, node.end, _block(newline(text, node.end), indent + STEP, STEP, pairs))


def column(text: str, index: int) -> int:
    """How many characters stand before it in its line."""
    return index - line_start(text, index)


class Block(dict[str, Any]):
    """A mapping that is written as a block, where it is put into one."""


def _pairs(pairs: Pairs) -> str:
    return ", ".join(f"{written(key)}: {flow(item)}" for key, item in pairs.items())


def _block(newline: str, indent: int, step: int, pairs: Pairs) -> str:
    told = ""
    for key, item in pairs.items():
        told += f"{newline}{' ' * indent}{written(key)}:"
        told += _block(newline, indent + step, step, item) if isinstance(item, Block) else f" {flow(item)}"
    return told


def last_character(text: str, node: Node) -> int:
    """Where the last value in a collection ends. The end of a block lies behind the comments and blank lines that follow it."""
    if isinstance(node, Collection) and (inside := _last_inside(node)):
        node = inside
        while isinstance(node, Collection) and not node.flow and (inside := _last_inside(node)):
            node = inside
    return len(text[: node.end].rstrip()) if isinstance(node, Scalar) and node.style in ("|", ">") else node.end


def _last_inside(node: Collection) -> Node | None:
    if isinstance(node, Sequence):
        return node.items[-1] if node.items else None
    return next(reversed(node.pairs.values()), None) if isinstance(node, Mapping) else None


def line_start(text: str, index: int) -> int:
    """Where the line of that character begins."""
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def _rest(text: str, index: int) -> str:
    """What follows in the same line."""
    ends = [end for end in (text.find("\n", index), text.find("\r", index)) if end >= 0]
    return text[index : min(ends, default=len(text))]


def newline(text: str, index: int) -> str:
    """How the file ends its lines: this one, or where it is the last, the one before."""
    end = text.find("\n", index)
    end = end if end >= 0 else text.rfind("\n", 0, index)
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"
