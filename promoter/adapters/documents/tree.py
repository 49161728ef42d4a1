"""Reads YAML strictly into nodes.

The parser's events are taken one by one and put on a stack of our own. Nothing recurses and no alias is expanded, so that
a hostile file is refused as soon as it crosses a limit, and each fault keeps its place.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml
from yaml import events

from promoter.adapters.documents.nodes import AliasNode, CollectionNode, MappingNode, YamlNode, ScalarNode, SequenceNode
from promoter.adapters.documents.scalars import UnclearScalarError, ScalarValue, resolve_scalar
from promoter.adapters.documents.syntax import convert_syntax_error
from promoter.adapters.documents.text import FAULT_LIMIT, LineIndex
from promoter.domain.faults import Fault

EMPTY_FILE_MESSAGE = "the file is empty"
DEPTH_LIMIT = 50
NODE_LIMIT = 500_000
ALIAS_LIMIT = 100
EXPANSION_LIMIT = 10_000


class _StopReadingError(Exception):
    """A fault after which reading on is of no use; it is in the list already."""


class TreeReader:
    """Reads one document. `faults` grows as it goes; the tree is there as far as it can be used."""

    def __init__(self, file: str, text: str) -> None:
        """Nothing is read yet."""
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
        """The mapping that the file is; None where it is none, or where reading had to stop."""
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
    """What kind of thing a value is, with an article."""
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
