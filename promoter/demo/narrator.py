"""How the demo prints its story: acts, deeds with their time, and effects with the seconds since."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from promoter.terminal import TrimmedBlock

PIPE_WIDTH = 120
_LEFT = 10
_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "pending": ("…", "yellow"), "error": ("!", "magenta")}


class WorkProgress:
    """The progress of long work. Only a terminal shows it."""

    def __init__(self, status: Any) -> None:
        """`status` is rich's; None where there is no terminal."""
        self._status = status

    def show_progress(self, text: str) -> None:
        """Show what is being done."""
        if self._status is not None:
            self._status.update(text)


class StoryNarrator:
    """Writes to standard output: colours and spinners on a terminal, plain lines into a pipe. Respects NO_COLOR and COLUMNS."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ gets a ?, not a traceback
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        self.console = Console(width=width, highlight=False)
        self._act_count = 0

    @property
    def command_environment(self) -> Mapping[str, str]:
        """Return the environment for a command, so that its output fits into the story's width."""
        colours = {"FORCE_COLOR": "1"} if self.console.is_terminal and self.console.color_system else {"NO_COLOR": "1"}
        return {"COLUMNS": str(max(40, self.console.width - _LEFT)), **colours}

    def print_title(self, text: str, *below: str) -> None:
        """Print the title, with lines below it."""
        self._print_trimmed(Text(text, style="bold"))
        for line in below:
            self._print_trimmed(Text(line))

    def print_act_heading(self, heading: str) -> None:
        """Print the heading of a new act."""
        self._act_count += 1
        self.console.print()
        self.console.print(Rule(Text(f"{self._act_count}. {heading}", style="bold"), align="left", style="dim"))

    def print_note(self, text: str) -> None:
        """Print a sentence between the lines."""
        self._print_row("", Text(text, style="dim"))

    def print_fact(self, text: str) -> None:
        """Print a new fact, with the time."""
        self._print_row(_format_current_time(), Text(text))

    def print_deed(self, who: str, what: str) -> float:
        """Print what somebody does, and return the moment from which its effects are measured."""
        self._print_row(_format_current_time(), Text.assemble((who, "bold cyan"), f" {what}"))
        return time.monotonic()

    def print_effect(self, seconds: float, text: str, why: Iterable[Text] = ()) -> None:
        """Print what followed after so many seconds, and why, one line each."""
        self._print_row(f"+{seconds:.1f} s", Text.assemble(("→ ", "bold green"), text))
        for line in why:
            self._print_row("", line, _LEFT + 2)

    def print_command_output(self, command: str, output: str) -> None:
        """Print a command as a person types it, and its output."""
        self._print_row("", Text(f"$ {command}", style="bold"))
        self.print_block(Text.from_ansi(output.rstrip("\n")))

    def print_code(self, code: str) -> None:
        """Print what a person writes in Python."""
        self.print_block(Text(code, style="bold"))

    def print_block(self, content: RenderableType) -> None:
        """Print a block set apart; text is shown as it is."""
        shown = Text(content) if isinstance(content, str) else content
        self._print_trimmed(Padding(shown, (0, 0, 0, _LEFT), expand=False))

    def print_table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
        """Print a small table set apart; cells fold instead of being cut."""
        made = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
        for column in columns:
            made.add_column(column, overflow="fold")
        for row in rows:
            made.add_row(*row)
        self.print_block(made)

    def print_failure(self, text: str) -> None:
        """Print what went wrong."""
        self.console.print()
        self._print_trimmed(Text.assemble(("The demo failed. ", "bold red"), text[:1].upper(), text[1:]))

    @contextmanager
    def track_progress(self, text: str) -> Iterator[WorkProgress]:
        """Show long work: a spinner on a terminal, one line elsewhere."""
        if not self.console.is_terminal:
            self._print_row(_format_current_time(), Text(f"{text} ..."))
            yield WorkProgress(None)
            return
        with self.console.status(text) as status:
            yield WorkProgress(status)

    def _print_row(self, left: str, right: Text, indent: int = _LEFT) -> None:
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=indent - 1, justify="right" if left.startswith("+") else "left", style="dim")
        row.add_column(overflow="fold")
        row.add_row(left, right)
        self._print_trimmed(row)

    def _print_trimmed(self, content: RenderableType) -> None:
        self.console.print(TrimmedBlock(content), end="")


def render_rule_lines(
    decision: Mapping[str, Any] | None, only: Sequence[str] = ("pass", "fail", "pending", "error")
) -> list[Text]:
    """Return a line for each rule of a decision: verdict, rule, value and expectation."""
    lines = []
    for rule in decision["rules"] if decision else ():
        if rule["verdict"] not in only:
            continue
        mark, style = _MARKS[rule["verdict"]]
        seen = "nothing yet" if rule["value"] is None else rule["value"]
        seen = f"{seen:.4f}" if isinstance(seen, float) else seen
        lines.append(Text.assemble((f"{mark} ", style), f"{rule['rule']}: {seen}", (f", expected {rule['expected']}", "dim")))
    return lines


def _format_current_time() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}"
