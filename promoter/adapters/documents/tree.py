"""Reads YAML strictly into nodes.

The parser's events are taken one by one and put on a stack of our own. Nothing recurses and no alias is expanded, so that
a hostile file is refused as soon as it crosses a limit, and each fault keeps its place.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml
from yaml import events

from promoter.adapters.documents.nodes import Alias, Collection, Mapping, Node, Scalar, Sequence
from promoter.adapters.documents.scalars import UnclearError, Value, resolve
from promoter.adapters.documents.syntax import syntax_fault
from promoter.adapters.documents.text import FAULT_LIMIT, Lines
from promoter.domain.faults import Fault

EMPTY = "the file is empty"
DEPTH_LIMIT = 50
NODE_LIMIT = 500_000
ALIAS_LIMIT = 100
EXPANSION_LIMIT = 10_000


class _StopError(Exception):
    """A fault after which reading on is of no use; it is in the list already."""


class TreeReader:
    """Reads one document. `faults` grows as it goes; the tree is there as far as it can be used."""

    def __init__(self, file: str, text: str) -> None:
        """Nothing is read yet."""
        self.file = file
        self.faults: list[Fault] = []
        self.lines = Lines(text)
        self._text = text
        self._root: Node | None = None
        self._open: list[Collection] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}
        self._known: dict[str, Value] = {}
        self._nodes = self._aliases = self._expanded = 0
        self._documents = 0

    def read(self) -> Mapping | None:
        """The mapping that the file is; None where it is none, or where reading had to stop."""
        loader = yaml.CSafeLoader(self._text)
        try:
            while not isinstance(event := loader.get_event(), events.StreamEndEvent):
                self._take(event)
        except yaml.YAMLError as error:
            self.faults.append(syntax_fault(self.file, self._text, error))
            return None
        except _StopError:
            return None
        finally:
            loader.dispose()
        return self._mapping()

    def _mapping(self) -> Mapping | None:
        root = self._root
        if isinstance(root, Mapping):
            return root
        if root is None or (isinstance(root, Scalar) and root.value is None and not root.flawed):
            self.faults.append(Fault(EMPTY, self.file, line=1, column=1))
        else:
            self._fault(root.start, "the file is not a mapping of keys such as `version: 1`")
        return None

    def _take(self, event: Any) -> None:
        kind = type(event)
        if kind is events.ScalarEvent:
            self._add(self._scalar(event))
        elif kind is events.MappingStartEvent:
            self._begin(event, Mapping)
        elif kind is events.SequenceStartEvent:
            self._begin(event, Sequence)
        elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
            node = self._open.pop()
            self._keys.pop()
            node.end = event.end_mark.index
            self._add(node)
        elif kind is events.AliasEvent:
            self._add(self._alias(event))
        elif kind is events.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                self._stop(event.start_mark.index, "a second document", "a file holds one: take `---` and what follows out")

    def _begin(self, event: Any, kind: type[Mapping | Sequence]) -> None:
        if len(self._open) == DEPTH_LIMIT:
            self._stop(event.start_mark.index, f"nested deeper than {DEPTH_LIMIT} levels")
        self._properties(event)
        node = kind(event.start_mark.index, bool(event.flow_style), event.anchor is not None)
        self._open.append(node)
        self._keys.append(None)
        if event.anchor is not None:
            self._anchors[event.anchor] = node

    def _scalar(self, event: Any) -> Scalar:
        node = Scalar(event.start_mark.index, event.end_mark.index, event.value, event.style or "", event.anchor is not None)
        if event.anchor is not None or event.tag is not None:
            self._properties(event)
            self._anchors[event.anchor or ""] = node
        if not node.style:
            self._resolve(node)
        return node

    def _resolve(self, node: Scalar) -> None:
        text = node.text
        if text in self._known:
            node.value = self._known[text]
            return
        try:
            node.value = self._known[text] = resolve(text)
        except UnclearError as error:
            self._flaw(node, str(error), error.fix)

    def _alias(self, event: Any) -> Node:
        self._aliases += 1
        if self._aliases > ALIAS_LIMIT:
            self._stop(event.start_mark.index, f"more than {ALIAS_LIMIT} aliases (`*name`)")
        target = self._anchors.get(event.anchor)
        if target is None:
            node = Scalar(event.start_mark.index, event.end_mark.index, "", "*", anchored=False)
            self._flaw(node, f"`*{event.anchor}` has no `&{event.anchor}` above it")
            return node
        if any(collection is target for collection in self._open):
            self._stop(event.start_mark.index, f"`*{event.anchor}` stands inside what it stands for")
        self._expanded += target.size
        if self._expanded > EXPANSION_LIMIT:
            self._stop(event.start_mark.index, f"aliases (`*name`) add more than {EXPANSION_LIMIT} values")
        if len(self._open) + target.height > DEPTH_LIMIT:
            self._stop(event.start_mark.index, f"nested deeper than {DEPTH_LIMIT} levels")
        return Alias(event.start_mark.index, event.end_mark.index, target)

    def _properties(self, event: Any) -> None:
        if event.tag is not None:
            self._fault(event.start_mark.index, "tags are not allowed", "take it out, or quote the value if it is text")
        if event.anchor is not None and event.anchor in self._anchors:
            self._fault(event.start_mark.index, f"`&{event.anchor}` is given twice")

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            self._stop(node.start, f"more than {NODE_LIMIT} values")
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.adopt(node)
        if isinstance(parent, Sequence):
            parent.items.append(node)
            parent.value.append(node.value)
        elif isinstance(parent, Mapping):
            key = self._keys[-1]
            if key is None:
                self._keys[-1] = node
            else:
                self._keys[-1] = None
                self._pair(parent, key, node)

    def _pair(self, parent: Mapping, key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            self._fault(key.start, "a key is a name, written out")
            return
        if key.text == "<<" and not key.style:
            self._fault(key.start, "merge keys (`<<`) are not allowed", "use `defaults` or `families`")
            return
        if not isinstance(key.value, str) and not key.flawed:
            written = f"`{key.text:.40}`" if key.text else "nothing"
            self._flaw(key, f"a key is text, and YAML reads {written} as {in_words(key.value)}", f'quote it: "{key.text:.40}"')
        if key.text in parent.pairs:
            line, _ = self.lines.place(parent.pairs[key.text].key or 0)
            self._fault(key.start, f"duplicate key `{key.text:.60}`: the first is in line {line}")
            return
        value.key = key.start
        parent.pairs[key.text] = value
        parent.value[key.text] = value.value

    def _flaw(self, node: Node, message: str, fix: str | None = None) -> None:
        node.flawed = True
        self._fault(node.start, message, fix)

    def _fault(self, start: int, message: str, fix: str | None = None) -> None:
        line, column = self.lines.place(start)
        self.faults.append(Fault(message, self.file, line=line, column=column, fix=fix))
        if len(self.faults) >= FAULT_LIMIT:
            raise _StopError

    def _stop(self, start: int, message: str, fix: str | None = None) -> NoReturn:
        self._fault(start, message, fix)
        raise _StopError


def in_words(value: object) -> str:
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
