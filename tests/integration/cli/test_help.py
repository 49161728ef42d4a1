"""The help of each command."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from promoter.cli import app


def test_a_paragraph_of_the_help_is_wrapped_at_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a docstring that is longer than the terminal does not leave a short line behind."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["apply", "--help"]).output
    lines = [line.strip() for line in shown.partition("─ Options")[0].splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("The branch is PROMOTER_BRANCH"))
    paragraph = lines[begin : lines.index("", begin)]
    assert min(map(len, paragraph[:-1])) > 60, paragraph
