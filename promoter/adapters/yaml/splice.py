"""Changes a YAML text by its characters: spans are replaced, and everything else stays as it was, byte for byte.

A new value takes the style of the collection around it: a pair of a block mapping gets its own line, and inside brackets
everything stays on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Values
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from promoter.adapters.yaml.tree import (
    CollectionNode,
    MappingNode,
    ScalarNode,
    SequenceNode,
    SourceText,
    YamlNode,
    render_scalar,
)

DEFAULT_INDENT = 2

PairsToWrite = Values[str, Any]
"""Keys and values to write: text, numbers, moments, lists, and mappings of them."""


@dataclass(frozen=True)
class TextSplice:
    """Text in the place of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


def apply_splices(text: SourceText, splices: Iterable[TextSplice]) -> bytes:
    """Return the file with the spans replaced; of two at the same place, the first comes first.

    Every other byte is taken from the text unchanged.
    """
    parts, reached = [text.mark], 0
    for splice in sorted(splices, key=lambda each: each.start):
        parts += [text.content[reached : splice.start], splice.text]
        reached = splice.end
    return "".join([*parts, text.content[reached:]]).encode()


def render_flow_value(value: object) -> str:
    """Return a value on one line, with braces and brackets."""
    if isinstance(value, Values):
        return "{" + _render_flow_pairs(value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(render_flow_value(item) for item in value) + "]"
    if isinstance(value, datetime):
        utc = value.utcoffset() == UTC.utcoffset(None)
        return value.isoformat().removesuffix("+00:00") + "Z" if utc else value.isoformat()
    return render_scalar(value) if isinstance(value, str) else str(value)


def replace_scalar(text: str, node: ScalarNode, value: object) -> TextSplice:
    """Put another value in the place of a scalar, also of an empty one."""
    space = " " if node.start == node.end and text[node.start - 1 : node.start] == ":" else ""
    return TextSplice(node.start, node.end, space + render_flow_value(value))


def rewrite_mapping(text: str, node: MappingNode, pairs: PairsToWrite) -> TextSplice:
    """Put other pairs in the place of those of a mapping, in its own style."""
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
    """Insert pairs before those of a mapping that has some."""
    key = node.first_key_start
    between = ", " if node.flow else detect_newline(text, key) + " " * find_column(text, key)
    return TextSplice(key, key, _render_flow_pairs(pairs) + between)


def fill_empty_collection(node: MappingNode | SequenceNode, value: PairsToWrite | list[int]) -> TextSplice:
    """Return what goes into `{}` or `[]`."""
    return TextSplice(node.start + 1, node.start + 1, render_flow_value(value)[1:-1])


def append_pairs(text: str, node: MappingNode, pairs: PairsToWrite, step: int) -> TextSplice:
    """Insert pairs behind those of a mapping that has some. In a block, mappings become blocks, `step` columns further in."""
    end = find_last_character(text, node)
    if node.flow:
        return TextSplice(end, end, ", " + _render_flow_pairs(pairs))
    end += len(_rest_of_line(text, end))
    return TextSplice(
        end, end, _render_block_pairs(detect_newline(text, end), find_column(text, node.first_key_start), step, pairs)
    )


def append_items(text: str, node: SequenceNode, items: list[int]) -> TextSplice:
    """Insert items behind those of a list that has some."""
    end = find_last_character(text, node)
    if node.flow:
        return TextSplice(end, end, "".join(f", {item}" for item in items))
    end += len(_rest_of_line(text, end))
    line = detect_newline(text, end) + " " * find_column(text, node.start)
    return TextSplice(end, end, "".join(f"{line}- {item}" for item in items))


def open_as_block(text: str, node: MappingNode, pairs: PairsToWrite) -> TextSplice | None:
    """Replace `{}` by a block where it is alone behind its key; return None where it is not."""
    begin = len(text[: node.start].rstrip(" "))
    if text[node.start : node.end] != "{}" or text[begin - 1] != ":" or _rest_of_line(text, node.end).strip():
        return None
    line = text[find_line_start(text, node.start) : node.start]
    indent = len(line) - len(line.lstrip(" "))
    return TextSplice(
        begin, node.end, _render_block_pairs(detect_newline(text, node.end), indent + DEFAULT_INDENT, DEFAULT_INDENT, pairs)
    )


def find_column(text: str, index: int) -> int:
    """Return how many characters precede it in its line."""
    return index - find_line_start(text, index)


class BlockMapping(dict[str, Any]):
    """A mapping that is written as a block when it is inserted into one."""


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
    """Return where the last value of a collection ends. A block itself ends behind the comments and blank lines that follow."""
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
    """Return where the line of that character begins."""
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def _rest_of_line(text: str, index: int) -> str:
    """Return what follows on the same line."""
    ends = [end for end in (text.find("\n", index), text.find("\r", index)) if end >= 0]
    return text[index : min(ends, default=len(text))]


def detect_newline(text: str, index: int) -> str:
    """Return the newline of the line around that place; on the last line, that of the line before."""
    end = text.find("\n", index)
    end = end if end >= 0 else text.rfind("\n", 0, index)
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


_COMMENT = re.compile(r"(?:^|(?<=[ \t\r\n]))#[^\r\n]*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_BREAK = re.compile(r"[\r\n]")
_BLOCK_SCALARS = ("|", ">")


def remove_pair(text: str, node: MappingNode, key: str) -> TextSplice:
    """Remove a key that the mapping has: whole lines of a block, one pair in braces."""
    value, names = node.pairs[key], list(node.pairs)
    if not node.flow:
        return _remove_from_block(text, value, _find_pair_span(text, value), alone=len(names) == 1)
    place = names.index(key)
    return _remove_from_braces(text, value, node.pairs[names[place - 1]] if place else None)


def remove_item(text: str, node: SequenceNode, place: int) -> TextSplice:
    """Remove one item of a list that has others: whole lines of a block, one item in brackets."""
    value = node.items[place]
    if node.flow:
        return _remove_from_braces(text, value, node.items[place - 1] if place else None)
    begin, end = _find_pair_span(text, value)
    return _remove_from_block(text, value, (text.rindex("-", 0, begin), end), alone=False)


def _remove_from_block(text: str, value: YamlNode, span: tuple[int, int], *, alone: bool) -> TextSplice:
    """Remove whole lines. Comments in them, or behind them, become lines of their own."""
    begin, end = span
    line, end = find_line_start(text, begin), _find_line_end(text, end)
    indent = text[line:begin]
    kept_lines = [indent + each for each in [*(["{}"] if alone else []), *_collect_comments(text, begin, end, value)]]
    if kept_lines:
        return TextSplice(line, end, detect_newline(text, begin).join(kept_lines))
    if end < len(text):
        return TextSplice(line, end + len(detect_newline(text, end)), "")
    return TextSplice(
        line - len(detect_newline(text, line - 1)), end, ""
    )  # no line break at the end of the file: the one before goes


def _remove_from_braces(text: str, value: YamlNode, before: YamlNode | None) -> TextSplice:
    """Remove the pair with the comma behind it, or else the one before it. Comments stay in their place."""
    begin, end = _find_pair_span(text, value)
    kept_comments = " ".join(_collect_comments(text, begin, end, value))
    if kept_comments:
        kept_comments += detect_newline(text, begin) + " " * find_column(text, begin)
    comma = _COMMA.match(text, end)
    if comma:
        return TextSplice(begin, comma.end(), kept_comments)
    if before is not None and not kept_comments:
        last = _find_value_end(text, before)
        begin = begin if _COMMENT.search(text, last, begin) else last
    return TextSplice(begin, end, kept_comments)


def _find_pair_span(text: str, value: YamlNode) -> tuple[int, int]:
    """Return the span from the beginning of the key to the end of the value."""
    begin = value.start if value.key is None else value.key
    return begin, max(_find_value_end(text, value), begin)


def _find_value_end(text: str, node: YamlNode) -> int:
    return node.end if isinstance(node, CollectionNode) and node.flow else find_last_character(text, node)


def _collect_comments(text: str, begin: int, end: int, node: YamlNode) -> list[str]:
    """Return the comments between two places; a `#` inside a scalar of the node begins none."""
    found, reached = [], begin
    for start, stop in [*sorted(_find_scalar_spans(text, node)), (end, end)]:
        found += [match[0].rstrip() for match in _COMMENT.finditer(text, reached, max(start, reached))]
        reached = stop
    return found


def _find_scalar_spans(text: str, node: YamlNode) -> Iterator[tuple[int, int]]:
    if isinstance(node, ScalarNode):
        start = node.start
        if node.style in _BLOCK_SCALARS:  # a comment may follow its `|`
            start = _find_line_end(text, start)
        yield start, max(find_last_character(text, node), start)
    elif isinstance(node, CollectionNode):
        for each in (
            node.items if isinstance(node, SequenceNode) else node.pairs.values() if isinstance(node, MappingNode) else ()
        ):
            yield from _find_scalar_spans(text, each)


def _find_line_end(text: str, index: int) -> int:
    found = _BREAK.search(text, index)
    return found.start() if found else len(text)
