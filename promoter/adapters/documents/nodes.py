"""A document as nodes: each knows its value and where it stands in the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promoter.domain.faults import DocumentPath


class YamlNode:
    """A value in a file. `start` and `end` count characters from 0; `flawed` ones have had their fault reported.

    `key` is where its key starts, for a value of a mapping.
    """

    __slots__ = ("anchored", "end", "flawed", "key", "start", "value")
    size: int = 1
    height: int = 0

    def __init__(self, start: int, end: int, value: Any, anchored: bool = False) -> None:
        """`value` is what it means in Python; of a collection that is still being read, as far as it is known."""
        self.start = start
        self.end = end
        self.value = value
        self.anchored = anchored
        self.flawed = False
        self.key: int | None = None

    @property
    def target(self) -> YamlNode:
        """What it stands for: itself, but for an alias."""
        return self


class ScalarNode(YamlNode):
    """A single value. `style` is the quote or block character it is written with, `''` for none."""

    __slots__ = ("style", "text")

    def __init__(self, start: int, end: int, text: str, style: str, anchored: bool) -> None:
        """Its value is its text until it is resolved."""
        super().__init__(start, end, text, anchored)
        self.text = text
        self.style = style


class CollectionNode(YamlNode):
    """A list or a mapping. `flow`: in brackets. `size` and `height` count what aliases bring in as if written out."""

    __slots__ = ("flow", "height", "size")

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        """Empty; `end` is set when it is closed."""
        super().__init__(start, start, None, anchored)
        self.flow = flow
        self.size = 1
        self.height = 1

    def add_child(self, child: YamlNode) -> None:
        """Count a child in."""
        self.size += child.size
        self.height = max(self.height, child.height + 1)


class SequenceNode(CollectionNode):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        """Empty."""
        super().__init__(start, flow, anchored)
        self.value = []
        self.items: list[YamlNode] = []


class MappingNode(CollectionNode):
    """Keys and values. `pairs` leaves out what cannot be used, such as the second of two equal keys."""

    __slots__ = ("pairs",)

    def __init__(self, start: int, flow: bool, anchored: bool) -> None:
        """Empty."""
        super().__init__(start, flow, anchored)
        self.value = {}
        self.pairs: dict[str, YamlNode] = {}

    @property
    def first_key_start(self) -> int:
        """Where the first key starts; the mapping's own start, where it is empty."""
        return next((node.key for node in self.pairs.values() if node.key is not None), self.start)


class AliasNode(YamlNode):
    """`*name`: the value that was anchored above."""

    __slots__ = ("_target", "height", "size")

    def __init__(self, start: int, end: int, target: YamlNode) -> None:
        """Shares the value of its target."""
        super().__init__(start, end, target.value)
        self._target = target
        self.size = target.size
        self.height = target.height

    @property
    def target(self) -> YamlNode:
        """What it stands for."""
        return self._target


def find_node(root: YamlNode, path: DocumentPath) -> YamlNode:
    """The value that a path leads to; the last that is there, where it leads on."""
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
    """The nodes that a path leads to, in which `*` is every key or every item."""
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
