"""What the command line and the demo print on a terminal alike: blocks whose lines do not end with spaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.tree import Tree


class TrimmedTable(Table):
    """A table whose lines do not end with spaces, so that what is copied out of it has none."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of the table, without the spaces that fill the last column."""
        segments = (each for each in super().__rich_console__(console, options) if isinstance(each, Segment))
        yield from trim_line_ends(segments)


class TrimmedTree(Tree):
    """A tree whose lines do not end with spaces."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of the tree, without the spaces that fill its lines."""
        segments = (each for each in super().__rich_console__(console, options) if isinstance(each, Segment))
        yield from trim_line_ends(segments)


class TrimmedBlock:
    """Anything that prints as whole lines, such as indented text, without spaces at the ends of its lines."""

    def __init__(self, content: RenderableType) -> None:
        """`content` is printed inside."""
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of the content, trimmed."""
        yield from trim_line_ends(console.render(self._content, options))


def trim_line_ends(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield the segments line by line, without the spaces at the end of each line."""
    for line in Segment.split_lines(segments):
        while line and not line[-1].text.rstrip(" "):
            line.pop()
        if line:
            text, style, control = line[-1]
            line[-1] = Segment(text.rstrip(" "), style, control)
        yield from line
        yield Segment.line()
