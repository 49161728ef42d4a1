"""Reads YAML strictly into nodes.

The parser's events are taken one by one and put on a stack of our own. Nothing recurses and no alias is expanded, so that
a hostile file is refused as soon as it crosses a limit, and each fault keeps its place.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from typing import Any, NoReturn

import yaml
from yaml import MarkedYAMLError, YAMLError, events

from promoter.domain.errors import DocumentPath, Fault


class YamlNode:
    """A value in a file. `start` and `end` count characters from 0; a `flawed` one has had its fault reported.

    `key` is where its key starts, for a value of a mapping.
    """

    __slots__ = ("anchored", "end", "flawed", "key", "start", "value")
    size: int = 1
    height: int = 0

    def __init__(self, start: int, end: int, value: Any, anchored: bool = False) -> None:
        """Take its place and its Python value; a collection's value grows while it is read."""
        self.start = start
        self.end = end
        self.value = value
        self.anchored = anchored
        self.flawed = False
        self.key: int | None = None

    @property
    def target(self) -> YamlNode:
        """The node itself; of an alias, the node that it stands for."""
        return self


class ScalarNode(YamlNode):
    """A single value. `style` is the quote or block character it is written with, `''` for none."""

    __slots__ = ("style", "text")

    def __init__(self, start: int, end: int, text: str, style: str, anchored: bool) -> None:
        """Take its text as the value until it is resolved."""
        super().__init__(start, end, text, anchored)
        self.text = text
        self.style = style


class CollectionNode(YamlNode):
    """A list or a mapping. `flow`: in brackets. `size` and `height` count what aliases bring in, as if written out."""

    __slots__ = ("flow", "height", "size")

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        """Begin it empty; `end` is set when it is closed."""
        super().__init__(start, start, None, anchored)
        self.flow = flow
        self.size = 1
        self.height = 1

    def add_child(self, child: YamlNode) -> None:
        """Add the size and the height of a child."""
        self.size += child.size
        self.height = max(self.height, child.height + 1)


class SequenceNode(CollectionNode):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        super().__init__(start, flow, anchored)
        self.value = []
        self.items: list[YamlNode] = []


class MappingNode(CollectionNode):
    """Keys and values. `pairs` leaves out what cannot be used, such as the second of two equal keys."""

    __slots__ = ("pairs",)

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        super().__init__(start, flow, anchored)
        self.value = {}
        self.pairs: dict[str, YamlNode] = {}

    @property
    def first_key_start(self) -> int:
        """Where the first key starts; the mapping's own start where it is empty."""
        return next((node.key for node in self.pairs.values() if node.key is not None), self.start)


class AliasNode(YamlNode):
    """`*name`: the value that was anchored above."""

    __slots__ = ("_target", "height", "size")

    def __init__(self, start: int, end: int, target: YamlNode) -> None:
        super().__init__(start, end, target.value)
        self._target = target
        self.size = target.size
        self.height = target.height

    @property
    def target(self) -> YamlNode:
        """The anchored node."""
        return self._target


def find_node(root: YamlNode, path: DocumentPath) -> YamlNode:
    """Return the value that a path leads to, or the last one on the way that exists."""
    node = root
    for part in path:
        inside = node.target
        if isinstance(inside, MappingNode) and part in inside.pairs:
            node = inside.pairs[str(part)]
        elif isinstance(inside, SequenceNode) and isinstance(part, int) and part < len(inside.items):
            node = inside.items[part]
        else:
            break
    return node


def find_matching_nodes(node: YamlNode, *path: str) -> Iterator[tuple[DocumentPath, YamlNode]]:
    """Yield the nodes that a path leads to, in which `*` is every key or every item."""
    if not path:
        yield (), node
        return
    head, rest = path[0], path[1:]
    inside = node.target
    children: list[tuple[str | int, YamlNode]] = []
    if isinstance(inside, MappingNode):
        children = [(key, child) for key, child in inside.pairs.items() if head in ("*", key)]
    elif isinstance(inside, SequenceNode) and head == "*":
        children = list(enumerate(inside.items))
    for part, child in children:
        for tail, found in find_matching_nodes(child, *rest):
            yield (part, *tail), found


REGISTRY_LIMIT = 5 * 2**20
POLICY_LIMIT = 256 * 2**10
FAULT_LIMIT = 1_000
BYTE_ORDER_MARK = "\ufeff"

# Beyond what YAML forbids: characters that some readers take for a line break (every later position would be off), and
# those that turn the direction of text (what a reviewer sees would not be what is applied).
_INVISIBLE_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)
_LINE_BREAK = re.compile("\r\n|\r|\n")


@dataclass(frozen=True)
class SourceText:
    """A file's text."""

    content: str
    mark: str = ""
    """The byte order mark before it, kept for writing the file again."""

    def encode_source(self) -> bytes:
        """Return the very bytes that it came from."""
        return (self.mark + self.content).encode()


class LineIndex:
    """Finds the line and the column of a character, which only the few faults need."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in _LINE_BREAK.finditer(self._text))]

    def line_and_column(self, index: int) -> tuple[int, int]:
        """Return line and column, from 1, of the character at `index` (from 0)."""
        line = bisect_right(self._line_starts, index)
        return line, index - self._line_starts[line - 1] + 1


def decode_source_text(file: str, content: bytes, limit: int) -> SourceText | list[Fault]:
    """Return the text of at most `limit` bytes, or the faults that make it unreadable."""
    if len(content) > limit:
        size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
        return [Fault(f"larger than {size}: not read", file)]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return [_build_utf8_fault(file, content, error.start)]
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    body = text[len(mark) :]
    if faults := _find_invisible_faults(file, body):
        return faults
    return SourceText(body, mark)


def _escape_refused(text: str) -> str:
    """Return the text with each character that `decode_source_text` refuses as an escape of a double-quoted scalar."""
    return _INVISIBLE_CHARACTER.sub(lambda found: f"\\U{ord(found[0]):08x}", text)


def _build_utf8_fault(file: str, content: bytes, offset: int) -> Fault:
    begin = content.rfind(b"\n", 0, offset) + 1
    line, column = content.count(b"\n", 0, offset) + 1, len(content[begin:offset].decode(errors="replace")) + 1
    return Fault("not UTF-8 text", file, line=line, column=column, fix="save the file as UTF-8")


def _find_invisible_faults(file: str, text: str) -> list[Fault]:
    faults: list[Fault] = []
    lines = LineIndex(text)
    for found in islice(_INVISIBLE_CHARACTER.finditer(text), FAULT_LIMIT):
        line, column = lines.line_and_column(found.start())
        message = f"invisible or control character U+{ord(found[0]):04X}"
        faults.append(Fault(message, file, line=line, column=column, fix="take it out, or escape it in double quotes"))
    return faults


_COLON = ("a `:` where none can stand", "quote a value that has `: ` in it, and see whether the line before lacks its own")
_INDENTED = (
    "this line does not belong to what is above it",
    "line it up with its neighbours, and close every quote",
)
_NAMELESS = ("`*` and `&` need a name", "quote the value if it is text")
_ESCAPE = ("a `\\` escape that YAML does not know", "write `\\\\` for a backslash, or use single quotes")
_DIRECTIVE = ("a `%` line that YAML does not know", "quote the value if it is text")

_PARSER_MESSAGES: dict[str, tuple[str, str]] = {
    "mapping values are not allowed in this context": _COLON,
    "mapping keys are not allowed in this context": ("a key where none can stand", "quote a value that begins with `? `"),
    "block sequence entries are not allowed in this context": ("a list where none can stand", "begin it on a line of its own"),
    "could not find expected ':'": ("a key without `: ` after it", "write `key: value`, or check the indentation"),
    "did not find expected key": _INDENTED,
    "did not find expected '-' indicator": _INDENTED,
    "did not find expected <document start>": _INDENTED,
    "did not find expected node content": ("no value can begin here", "quote it if it is text, and close every bracket"),
    "found unexpected document indicator": ("`---` or `...` inside quotes", "close the quote before it"),
    "did not find expected alphabetic or numeric character": _NAMELESS,
    "found unknown escape character": _ESCAPE,
    "did not find expected hexdecimal number": _ESCAPE,
    "found invalid Unicode character escape code": _ESCAPE,
    "found unknown directive name": _DIRECTIVE,
    "could not find expected directive name": _DIRECTIVE,
    "found incompatible YAML document": ("a YAML version that is not supported", "take the `%YAML` line out"),
    "found undefined tag handle": ("tags are not allowed", "take it out, or quote the value if it is text"),
    "found a tab character where an indentation space is expected": ("a tab as indentation", "indent with spaces"),
    "found a tab character that violates indentation": ("a tab as indentation", "indent with spaces"),
    "did not find expected comment or line break": ("text where the line should end", "begin the text on the next line"),
}
_UNREADABLE_MESSAGE = "this is not YAML that can be read"


def convert_syntax_error(file: str, text: str, error: YAMLError) -> Fault:
    """Return the fault that stopped the parser. A file has at most one: nothing behind it can be read."""
    if not isinstance(error, MarkedYAMLError) or (mark := error.problem_mark or error.context_mark) is None:
        return Fault(_UNREADABLE_MESSAGE, file)
    problem, begin = error.problem or "", error.context_mark
    message, fix = _PARSER_MESSAGES.get(problem, (_UNREADABLE_MESSAGE, None))
    if problem == "found character that cannot start any token":
        message, fix = _explain_bad_start(text[mark.index : mark.index + 1])
    elif problem == "could not find expected ':'" and begin:
        mark = begin
    elif problem == "found unexpected end of stream" and begin:
        message, fix, mark = "a quote that is never closed", "close it", begin
    elif problem.startswith("did not find expected ',' or ") and begin:
        closing = problem[-2:-1]
        message = f"`,` or `{closing}` is missing before this: the bracket was opened in line {begin.line + 1}"
        fix = f"close it with `{closing}`"
        if mark.index >= len(text):
            message, mark = "a bracket that is never closed", begin
    # At the end of a file without a last line break the parser counts a line too many: its index is right.
    line, column = LineIndex(text).line_and_column(min(mark.index, len(text)))
    return Fault(message, file, line=line, column=column, fix=fix)


def _explain_bad_start(character: str) -> tuple[str, str]:
    if character == "\t":
        return "a tab as indentation", "indent with spaces"
    return f"a value cannot begin with `{character}`", "quote it"


ScalarValue = str | int | float | bool | date | datetime | None

_PLAIN_WORDS: dict[str, ScalarValue] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_PLAIN_WORDS |= {form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())}
_PLAIN_WORDS |= {form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())}

_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,38})")
_DECIMAL = re.compile(
    r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[1-9][0-9]*[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)
_TIME_PATTERN = re.compile(
    r"\d{4}-\d\d-\d\d(([Tt]|[ \t]+)\d{1,2}:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:?\d\d)?))?)?",
    re.ASCII,
)
_UNCLEAR = re.compile(
    r"[-+]?(0[bB][01_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?)"
)
_NUMERIC = frozenset("+-.0123456789")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class UnclearScalarError(ValueError):
    """A plain scalar with more than one meaning: carries what is wrong, and what to write instead."""

    def __init__(self, message: str, fix: str) -> None:
        self.fix = fix
        super().__init__(message)


def resolve_scalar(text: str) -> ScalarValue:
    """Return the value of a plain scalar. Raises UnclearScalarError."""
    if text in _PLAIN_WORDS:
        return _PLAIN_WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return _parse_float(text)
    if _TIME_PATTERN.fullmatch(text):
        return _parse_time(text)
    if _UNCLEAR.fullmatch(text):
        message = f"readers of YAML disagree about what `{text:.40}` is"
        raise UnclearScalarError(message, "write a number in plain decimal digits, or quote it if it is text")
    return text


def render_scalar(text: str) -> str:
    """Return a text as a scalar: plain where no reader of YAML could take it for something else, else in double quotes."""
    if _PLAIN_NAME.fullmatch(text) and text not in _PLAIN_WORDS and text.lower() not in ("y", "n"):
        return text
    return _escape_refused(json.dumps(text, ensure_ascii=False))


def _parse_float(text: str) -> float:
    special = text.lower().lstrip("+-")
    if special in (".inf", ".nan"):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    value = float(text)
    if math.isfinite(value) and not _is_exact(text, value):
        message = f"`{text:.40}` has more digits than a number here can hold"
        raise UnclearScalarError(message, f"write {value!r}, or quote it if it is text")
    return value


def _is_exact(text: str, value: float) -> bool:
    """Return whether the digits of a text are those that the number is shown with: no rule may read as another than it is."""
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent beyond what any number has
        return False


def _parse_time(text: str) -> date | datetime:
    try:
        return datetime.fromisoformat(text) if ":" in text else date.fromisoformat(text)
    except ValueError:
        message = f"`{text:.40}` is not a time that exists"
        raise UnclearScalarError(message, "write one like 2026-12-01T00:00:00Z, or quote it if it is text") from None


EMPTY_FILE_MESSAGE = "the file is empty"
DEPTH_LIMIT = 50
NODE_LIMIT = 500_000
ALIAS_LIMIT = 100
EXPANSION_LIMIT = 10_000


class _StopReadingError(Exception):
    """Stops reading after a fault that leaves nothing to read; the fault is in the list already."""


class TreeReader:
    """Reads one document. `faults` grows on the way; the tree is there as far as it can be used."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.lines = LineIndex(text)
        self._text = text
        self._root: YamlNode | None = None
        self._open: list[CollectionNode] = []
        self._keys: list[YamlNode | None] = []
        self._anchors: dict[str, YamlNode] = {}
        self._known: dict[str, ScalarValue] = {}
        self._nodes = self._aliases = self._expanded = 0
        self._documents = 0

    def read_document(self) -> MappingNode | None:
        """Return the mapping of the file; None where it is none, or where reading had to stop."""
        loader = yaml.CSafeLoader(self._text)
        try:
            while not isinstance(event := loader.get_event(), events.StreamEndEvent):
                self._consume_event(event)
        except yaml.YAMLError as error:
            self.faults.append(convert_syntax_error(self.file, self._text, error))
            return None
        except _StopReadingError:
            return None
        finally:
            loader.dispose()
        return self._require_mapping_root()

    def _require_mapping_root(self) -> MappingNode | None:
        root = self._root
        if isinstance(root, MappingNode):
            return root
        if root is None or (isinstance(root, ScalarNode) and root.value is None and not root.flawed):
            self.faults.append(Fault(EMPTY_FILE_MESSAGE, self.file, line=1, column=1))
        else:
            self._add_fault(root.start, "the file is not a mapping of keys such as `version: 1`")
        return None

    def _consume_event(self, event: Any) -> None:
        kind = type(event)
        if kind is events.ScalarEvent:
            self._add_node(self._build_scalar(event))
        elif kind is events.MappingStartEvent:
            self._begin_collection(event, MappingNode)
        elif kind is events.SequenceStartEvent:
            self._begin_collection(event, SequenceNode)
        elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
            node = self._open.pop()
            self._keys.pop()
            node.end = event.end_mark.index
            self._add_node(node)
        elif kind is events.AliasEvent:
            self._add_node(self._build_alias(event))
        elif kind is events.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                self._stop_reading(
                    event.start_mark.index, "a second document", "a file holds one: take `---` and what follows out"
                )

    def _begin_collection(self, event: Any, kind: type[MappingNode | SequenceNode]) -> None:
        if len(self._open) == DEPTH_LIMIT:
            self._stop_reading(event.start_mark.index, f"nested deeper than {DEPTH_LIMIT} levels")
        self._check_properties(event)
        node = kind(event.start_mark.index, bool(event.flow_style), event.anchor is not None)
        self._open.append(node)
        self._keys.append(None)
        if event.anchor is not None:
            self._anchors[event.anchor] = node

    def _build_scalar(self, event: Any) -> ScalarNode:
        node = ScalarNode(
            event.start_mark.index, event.end_mark.index, event.value, event.style or "", event.anchor is not None
        )
        if event.anchor is not None or event.tag is not None:
            self._check_properties(event)
            self._anchors[event.anchor or ""] = node
        if not node.style:
            self._resolve_value(node)
        return node

    def _resolve_value(self, node: ScalarNode) -> None:
        text = node.text
        if text in self._known:
            node.value = self._known[text]
            return
        try:
            node.value = self._known[text] = resolve_scalar(text)
        except UnclearScalarError as error:
            self._mark_flawed(node, str(error), error.fix)

    def _build_alias(self, event: Any) -> YamlNode:
        self._aliases += 1
        if self._aliases > ALIAS_LIMIT:
            self._stop_reading(event.start_mark.index, f"more than {ALIAS_LIMIT} aliases (`*name`)")
        target = self._anchors.get(event.anchor)
        if target is None:
            node = ScalarNode(event.start_mark.index, event.end_mark.index, "", "*", anchored=False)
            self._mark_flawed(node, f"`*{event.anchor}` has no `&{event.anchor}` above it")
            return node
        if any(collection is target for collection in self._open):
            self._stop_reading(event.start_mark.index, f"`*{event.anchor}` stands inside what it stands for")
        self._expanded += target.size
        if self._expanded > EXPANSION_LIMIT:
            self._stop_reading(event.start_mark.index, f"aliases (`*name`) add more than {EXPANSION_LIMIT} values")
        if len(self._open) + target.height > DEPTH_LIMIT:
            self._stop_reading(event.start_mark.index, f"nested deeper than {DEPTH_LIMIT} levels")
        return AliasNode(event.start_mark.index, event.end_mark.index, target)

    def _check_properties(self, event: Any) -> None:
        if event.tag is not None:
            self._add_fault(event.start_mark.index, "tags are not allowed", "take it out, or quote the value if it is text")
        if event.anchor is not None and event.anchor in self._anchors:
            self._add_fault(event.start_mark.index, f"`&{event.anchor}` is given twice")

    def _add_node(self, node: YamlNode) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            self._stop_reading(node.start, f"more than {NODE_LIMIT} values")
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.add_child(node)
        if isinstance(parent, SequenceNode):
            parent.items.append(node)
            parent.value.append(node.value)
        elif isinstance(parent, MappingNode):
            key = self._keys[-1]
            if key is None:
                self._keys[-1] = node
            else:
                self._keys[-1] = None
                self._add_pair(parent, key, node)

    def _add_pair(self, parent: MappingNode, key: YamlNode, value: YamlNode) -> None:
        if not isinstance(key, ScalarNode):
            self._add_fault(key.start, "a key is a name, written out")
            return
        if key.text == "<<" and not key.style:
            self._add_fault(key.start, "merge keys (`<<`) are not allowed", "use `defaults` or `families`")
            return
        if not isinstance(key.value, str) and not key.flawed:
            written = f"`{key.text:.40}`" if key.text else "nothing"
            self._mark_flawed(
                key,
                f"a key is text, and YAML reads {written} as {describe_value_type(key.value)}",
                f'quote it: "{key.text:.40}"',
            )
        if key.text in parent.pairs:
            line, _ = self.lines.line_and_column(parent.pairs[key.text].key or 0)
            self._add_fault(key.start, f"duplicate key `{key.text:.60}`: the first is in line {line}")
            return
        value.key = key.start
        parent.pairs[key.text] = value
        parent.value[key.text] = value.value

    def _mark_flawed(self, node: YamlNode, message: str, fix: str | None = None) -> None:
        node.flawed = True
        self._add_fault(node.start, message, fix)

    def _add_fault(self, start: int, message: str, fix: str | None = None) -> None:
        line, column = self.lines.line_and_column(start)
        self.faults.append(Fault(message, self.file, line=line, column=column, fix=fix))
        if len(self.faults) >= FAULT_LIMIT:
            raise _StopReadingError

    def _stop_reading(self, start: int, message: str, fix: str | None = None) -> NoReturn:
        self._add_fault(start, message, fix)
        raise _StopReadingError


def describe_value_type(value: object) -> str:
    """Return what kind of value it is, with an article."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "a date"
