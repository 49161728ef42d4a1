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

from promoter.adapters.documents.nodes import CollectionNode, MappingNode, YamlNode, ScalarNode, SequenceNode
from promoter.adapters.documents.scalars import render_scalar
from promoter.adapters.documents.text import SourceText

DEFAULT_INDENT = 2

PairsToWrite = Values[str, Any]
"""Keys and values to write: text, numbers, moments, lists, and mappings of them."""


@dataclass(frozen=True)
class TextSplice:
    """`text` in the place of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


def apply_splices(text: SourceText, splices: Iterable[TextSplice]) -> bytes:
    """The file with the spans replaced; of two at the same place, the first comes first.

    Every other byte is taken from the text as it was.
    """
    parts, reached = [text.mark], 0
    for splice in sorted(splices, key=lambda each: each.start):
        parts += [text.content[reached : splice.start], splice.text]
        reached = splice.end
    return "".join([*parts, text.content[reached:]]).encode()


def render_flow_value(value: object) -> str:
    """A value in one line, with braces and brackets."""
    if isinstance(value, Values):
        return "{" + _render_flow_pairs(value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(render_flow_value(item) for item in value) + "]"
    if isinstance(value, datetime):
        utc = value.utcoffset() == UTC.utcoffset(None)
        return value.isoformat().removesuffix("+00:00") + "Z" if utc else value.isoformat()
    return render_scalar(value) if isinstance(value, str) else str(value)


def replace_scalar(text: str, node: ScalarNode, value: object) -> TextSplice:
    """Another value in the place of a scalar, of an empty one too."""
    space = " " if node.start == node.end and text[node.start - 1 : node.start] == ":" else ""
    return TextSplice(node.start, node.end, space + render_flow_value(value))


def rewrite_mapping(text: str, node: MappingNode, pairs: PairsToWrite) -> TextSplice:
    """Other pairs in the place of those of a mapping, in its own style."""
    if node.flow or not node.pairs:
        return TextSplice(node.start, node.end, render_flow_value(pairs))
    begin = node.first_key_start
    line = detect_newline(text, begin) + " " * find_column(text, begin)
    return TextSplice(
        begin,
        find_last_character(text, node),
        line.join(f"{render_scalar(key)}: {render_flow_value(item)}" for key, item in pairs.items()),
    )


def prepend_pairs(text: str, node: MappingNode, pairs: PairsToWrite) -> TextSplice:
    """Pairs before those of a mapping that has some."""
    key = node.first_key_start
    between = ", " if node.flow else detect_newline(text, key) + " " * find_column(text, key)
    return TextSplice(key, key, _render_flow_pairs(pairs) + between)


def fill_empty_collection(node: MappingNode | SequenceNode, value: PairsToWrite | list[int]) -> TextSplice:
    """What goes into `{}` or `[]`."""
    return TextSplice(node.start + 1, node.start + 1, render_flow_value(value)[1:-1])


def append_pairs(text: str, node: MappingNode, pairs: PairsToWrite, step: int) -> TextSplice:
    """Pairs behind those of a mapping that has some. In a block, mappings become blocks too, `step` columns further in."""
    end = find_last_character(text, node)
    if node.flow:
        return TextSplice(end, end, ", " + _render_flow_pairs(pairs))
    end += len(_rest_of_line(text, end))
    return TextSplice(
        end, end, _render_block_pairs(detect_newline(text, end), find_column(text, node.first_key_start), step, pairs)
    )


def append_items(text: str, node: SequenceNode, items: list[int]) -> TextSplice:
    """Items behind those of a list that has some."""
    end = find_last_character(text, node)
    if node.flow:
        return TextSplice(end, end, "".join(f", {item}" for item in items))
    end += len(_rest_of_line(text, end))
    line = detect_newline(text, end) + " " * find_column(text, node.start)
    return TextSplice(end, end, "".join(f"{line}- {item}" for item in items))


def open_as_block(text: str, node: MappingNode, pairs: PairsToWrite) -> TextSplice | None:
    """A block in the place of `{}`, where it stands alone behind its key; None where it does not."""
    begin = len(text[: node.start].rstrip(" "))
    if text[node.start : node.end] != "{}" or text[begin - 1] != ":" or _rest_of_line(text, node.end).strip():
        return None
    line = text[find_line_start(text, node.start) : node.start]
    indent = len(line) - len(line.lstrip(" "))
    return TextSplice(
        begin, node.end, _render_block_pairs(detect_newline(text, node.end), indent + DEFAULT_INDENT, DEFAULT_INDENT, pairs)
    )


def find_column(text: str, index: int) -> int:
    """How many characters stand before it in its line."""
    return index - find_line_start(text, index)


class BlockMapping(dict[str, Any]):
    """A mapping that is written as a block, where it is put into one."""


def _render_flow_pairs(pairs: PairsToWrite) -> str:
    return ", ".join(f"{render_scalar(key)}: {render_flow_value(item)}" for key, item in pairs.items())


def _render_block_pairs(newline: str, indent: int, step: int, pairs: PairsToWrite) -> str:
    lines = ""
    for key, item in pairs.items():
        lines += f"{newline}{' ' * indent}{render_scalar(key)}:"
        lines += (
            _render_block_pairs(newline, indent + step, step, item)
            if isinstance(item, BlockMapping)
            else f" {render_flow_value(item)}"
        )
    return lines


def find_last_character(text: str, node: YamlNode) -> int:
    """Where the last value in a collection ends. The end of a block lies behind the comments and blank lines that follow it."""
    if isinstance(node, CollectionNode) and (inside := _find_last_child(node)):
        node = inside
        while isinstance(node, CollectionNode) and not node.flow and (inside := _find_last_child(node)):
            node = inside
    return len(text[: node.end].rstrip()) if isinstance(node, ScalarNode) and node.style in ("|", ">") else node.end


def _find_last_child(node: CollectionNode) -> YamlNode | None:
    if isinstance(node, SequenceNode):
        return node.items[-1] if node.items else None
    return next(reversed(node.pairs.values()), None) if isinstance(node, MappingNode) else None


def find_line_start(text: str, index: int) -> int:
    """Where the line of that character begins."""
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def _rest_of_line(text: str, index: int) -> str:
    """What follows in the same line."""
    ends = [end for end in (text.find("\n", index), text.find("\r", index)) if end >= 0]
    return text[index : min(ends, default=len(text))]


def detect_newline(text: str, index: int) -> str:
    """How the file ends its lines: this one, or where it is the last, the one before."""
    end = text.find("\n", index)
    end = end if end >= 0 else text.rfind("\n", 0, index)
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"
