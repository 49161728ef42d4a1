"""Takes a key and its value out of a mapping: the words of people around it and in it, which are comments, stay."""

from __future__ import annotations

import re
from collections.abc import Iterator

from promoter.adapters.documents.nodes import CollectionNode, MappingNode, YamlNode, ScalarNode, SequenceNode
from promoter.adapters.documents.splice import TextSplice, find_column, find_last_character, find_line_start, detect_newline

_COMMENT = re.compile(r"(?:^|(?<=[ \t\r\n]))#[^\r\n]*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_BREAK = re.compile(r"[\r\n]")
_BLOCK_SCALARS = ("|", ">")


def remove_pair(text: str, node: MappingNode, key: str) -> TextSplice:
    """The mapping without that key, which it has: lines less in a block, a pair less in braces."""
    value, names = node.pairs[key], list(node.pairs)
    if not node.flow:
        return _remove_from_block(text, value, alone=len(names) == 1)
    place = names.index(key)
    return _remove_from_braces(text, value, node.pairs[names[place - 1]] if place else None)


def _remove_from_block(text: str, value: YamlNode, *, alone: bool) -> TextSplice:
    """Whole lines go. What was said in them, or behind them, in comments becomes lines of its own."""
    begin, end = _find_pair_span(text, value)
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
    """The comma behind it goes too; where there is none, the one before. Comments stay in their place."""
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
    """From where its key begins to where the value ends."""
    begin = value.start if value.key is None else value.key
    return begin, max(_find_value_end(text, value), begin)


def _find_value_end(text: str, node: YamlNode) -> int:
    return node.end if isinstance(node, CollectionNode) and node.flow else find_last_character(text, node)


def _collect_comments(text: str, begin: int, end: int, node: YamlNode) -> list[str]:
    """The comments between two places, of which only the scalars of the node are no place for any."""
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
