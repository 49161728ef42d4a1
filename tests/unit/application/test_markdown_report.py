"""A report of all kinds of parts, on terminals of two widths and in Markdown, compared whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from promoter.application.markdown.report import (
    DecisionTree,
    Facts,
    Heading,
    MarkdownOnly,
    Notes,
    Paragraph,
    Part,
    StyledText,
    Table,
    TerminalOnly,
    Title,
    render_report_markdown,
)
from promoter.cli.render import WIDE_TERMINAL_COLUMNS, render_report_text

PARTS: list[Part] = [
    Title("m@champion: ", StyledText("v2", "green")),
    Notes(["seen_by @ada_", "[bold]twice[/bold]"], prefix="  "),
    Facts([("by", "renovate[bot]"), ("since", "today")], joined=True),
    TerminalOnly(),
    Heading("a|b"),
    Table(["name", "verdict"], [("a|b", StyledText("pass", "green"))], Table(["name"], [("a|b",)])),
    Table((), ()),
    DecisionTree(None),
    TerminalOnly([Paragraph("only here"), Facts([("key", "k" * 150)], label_format="{:<5}")]),
    MarkdownOnly(Paragraph("only there")),
    Notes(["*one*"], escape=str),
    Notes(["words " * 30], prefix=" - "),
]
MARKDOWN = f"""\
**m@&#8203;champion: v2**

- seen_by @&#8203;ada\\_
- \\[bold]twice[/bold]
- by: renovate[bot]
- since: today

### a\\|b

| name | verdict |
| --- | --- |
| a\\|b | pass |



only there

- *one*

- {"words " * 30}
"""
TERMINAL = f"""\
m@champion: v2
  seen_by @ada_
  [bold]twice[/bold]
by     renovate[bot]
since  today

a|b
NAME  VERDICT
a|b   pass
only here
key  {"k" * 150}
*one*
 - words words words
"""


def test_markdown_escapes_and_leaves_out() -> None:
    """An empty line between parts, also around those that show nothing; joined facts go on with the list."""
    assert render_report_markdown(PARTS) == MARKDOWN


@pytest.mark.parametrize("width", [80, WIDE_TERMINAL_COLUMNS])
def test_a_terminal_takes_no_markup(width: int) -> None:
    """A narrow one shows the narrow table; values that can be copied are not wrapped."""
    page = io.StringIO()
    render_report_text(Console(file=page, width=width), PARTS)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    expected = TERMINAL.splitlines() if width > 80 else TERMINAL.replace("NAME  VERDICT\na|b   pass", "NAME\na|b").splitlines()
    assert lines[: len(expected) - 1] == expected[:-1]
    assert lines[len(expected) - 1].startswith(expected[-1])
    assert all(line.startswith("   words") for line in lines[len(expected) :] if line)
