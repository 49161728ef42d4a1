"""What a command reports, in parts, and the parts as Markdown. `cli.render` shows the same parts on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from promoter.application.markdown.plan import inline_text, render_decision_markdown, render_table, table_cell
from promoter.domain.decision import Decision

Escape = Callable[[str], str]


@dataclass(frozen=True)
class StyledText:
    """Text that a terminal shows in a style."""

    text: str
    style: str
    """The style in words of rich; Markdown shows the text alone."""

    def __str__(self) -> str:
        return self.text


Cell = str | StyledText


@dataclass(frozen=True)
class Title:
    """The first line of a report."""

    text: str
    ending: StyledText | None = None
    """What follows the text in a style of its own."""
    style: str = "bold"
    escape: Escape = inline_text


@dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str
    style: str = "bold"


@dataclass(frozen=True)
class Paragraph:
    """Running text, a paragraph in Markdown."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Notes:
    """Sentences, on a line each on a terminal, as a list in Markdown."""

    lines: Iterable[str]
    prefix: str = ""
    """The text before each of them on a terminal, which indents what does not fit on the first line by as much."""
    style: str = "yellow"
    escape: Escape = inline_text


@dataclass(frozen=True)
class Facts:
    """Names and their values, in two columns on a terminal, as a list in Markdown."""

    rows: Iterable[tuple[str, str]]
    label_format: str = ""
    """The format of the names where a terminal wraps no value, so that it can be copied."""
    joined: bool = False
    """Whether Markdown appends them to the list above them."""


@dataclass(frozen=True)
class Table:
    """Columns and rows. Without columns, nothing is shown."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    narrow: Table | None = None
    """The table that a narrow terminal shows in its place."""


@dataclass(frozen=True)
class DecisionTree:
    """A decision with its rules. Without a decision, nothing is shown."""

    decision: Decision | None
    guards: bool = False
    """Whether the rules are guards of a holder."""


@dataclass(frozen=True)
class TerminalOnly:
    """Parts that Markdown leaves out. Without parts: an empty line."""

    parts: Sequence[Part] = field(default=())


@dataclass(frozen=True)
class MarkdownOnly:
    """A part that terminals leave out."""

    part: Part


Part = Title | Heading | Paragraph | Notes | Facts | Table | DecisionTree | TerminalOnly | MarkdownOnly


def render_report_markdown(parts: Iterable[Part]) -> str:
    """Write the parts with an empty line between them."""
    lines: list[str] = []
    for part in parts:
        if not isinstance(part, TerminalOnly):
            lines += [""] if lines and not (isinstance(part, Facts) and part.joined) else []
            lines += _render_part(part)
    return "\n".join(lines) + "\n"


def _render_part(part: Part) -> Iterator[str]:
    match part:
        case Title():
            yield f"**{part.escape(part.text + (part.ending.text if part.ending else ''))}**"
        case Heading():
            yield f"### {table_cell(part.text)}"
        case Paragraph():
            yield inline_text(part.text)
        case Notes():
            yield from (f"- {part.escape(line)}" for line in part.lines)
        case Facts():
            yield from (f"- {name}: {inline_text(value)}" for name, value in part.rows)
        case Table(columns=[_, *_]):
            yield from render_table(part.columns, ([table_cell(str(cell)) for cell in row] for row in part.rows))
        case DecisionTree(decision=Decision() as decision):
            yield from render_decision_markdown(decision, guards=part.guards)
        case MarkdownOnly():
            yield from _render_part(part.part)
