"""Takes a key and its value out of a mapping: the words of people around it and in it, which are comments, stay."""

from __future__ import annotations

import re
from collections.abc import Iterator

from promoter.adapters.documents.nodes import Collection, Mapping, Node, Scalar, Sequence
from promoter.adapters.documents.splice import Splice, column, last_character, line_start, newline

_COMMENT = re.compile(r"(?:^|(?<=[ \t\r\n]))#[^\r\n]*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_BREAK = re.compile(r"[\r\n]")
_BLOCK_SCALARS = ("|", ">")


def removed(text: str, node: Mapping, key: str) -> Splice:
    """The mapping without that key, which it has: lines less in a block, a pair less in braces."""
    value, names = node.pairs[key], list(node.pairs)
    if not node.flow:
        return _from_block(text, value, alone=len(names) == 1)
    place = names.index(key)
    return _from_braces(text, value, node.pairs[names[place - 1]] if place else None)


def _from_block(text: str, value: Node, *, alone: bool) -> Splice:
    """Whole lines go. What was said in them, or behind them, in comments becomes lines of its own."""
    begin, end = _span(text, value)
    line, end = line_start(text, begin), _line_end(text, end)
    indent = text[line:begin]
    told = [indent + each for each in [*(["{}"] if alone else []), *_comments(text, begin, end, value)]]
    if told:
        return Splice(line, end, newline(text, begin).join(told))
    if end < len(text):
        return Splice(line, end + len(newline(text, end)), "")
    return Splice(line - len(newline(text, line - 1)), end, "")  # no line break at the end of the file: the one before goes


def _from_braces(text: str, value: Node, before: Node | None) -> Splice:
    """The comma behind it goes too; where there is none, the one before. Comments stay in their place."""
    begin, end = _span(text, value)
    told = " ".join(_comments(text, begin, end, value))
    if told:
        told += newline(text, begin) + " " * column(text, begin)
    comma = _COMMA.match(text, end)
    if comma:
        return Splice(begin, comma.end(), told)
    if before is not None and not told:
        last = _end(text, before)
        begin = begin if _COMMENT.search(text, last, begin) else last
    return Splice(begin, end, told)


def _span(text: str, value: Node) -> tuple[int, int]:
    """From where its key begins to where the value ends."""
    begin = value.start if value.key is None else value.key
    return begin, max(_end(text, value), begin)


def _end(text: str, node: Node) -> int:
    return node.end if isinstance(node, Collection) and node.flow else last_character(text, node)


def _comments(text: str, begin: int, end: int, node: Node) -> list[str]:
    """The comments between two places, of which only the scalars of the node are no place for any."""
    found, reached = [], begin
    for start, stop in [*sorted(_scalars(text, node)), (end, end)]:
        found += [match[0].rstrip() for match in _COMMENT.finditer(text, reached, max(start, reached))]
        reached = stop
    return found


def _scalars(text: str, node: Node) -> Iterator[tuple[int, int]]:
    if isinstance(node, Scalar):
        start = node.start
        if node.style in _BLOCK_SCALARS:  # a comment may follow its `|`
            start = _line_end(text, start)
        yield start, max(last_character(text, node), start)
    elif isinstance(node, Collection):
        for each in node.items if isinstance(node, Sequence) else node.pairs.values() if isinstance(node, Mapping) else ():
            yield from _scalars(text, each)


def _line_end(text: str, index: int) -> int:
    found = _BREAK.search(text, index)
    return found.start() if found else len(text)
