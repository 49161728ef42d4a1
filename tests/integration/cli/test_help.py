"""The help of each command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from promoter import __version__
from promoter.cli import app


def test_a_paragraph_of_the_help_is_wrapped_at_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a docstring that is longer than the terminal does not leave a short line behind."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["apply", "--help"]).output
    lines = [line.strip() for line in shown.partition("─ Options")[0].splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("The branch is PROMOTER_BRANCH"))
    paragraph = lines[begin : lines.index("", begin)]
    assert min(map(len, paragraph[:-1])) > 60, paragraph


def test_the_version_is_shown() -> None:
    """`--version` prints the name and the version, and stops."""
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"promoter {__version__}\n")


def test_commands_stand_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of commands has a heading for each occasion, and each command stands under one."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["--help"]).output
    groups = ("Start", "Check a change", "Change what serves", "Look back", "Run the daemon")
    assert [shown.index(f"─ {name} ─") for name in groups] == sorted(shown.index(f"─ {name} ─") for name in groups)
    assert "─ Commands ─" not in shown


def _list_commands(commands: typer.Typer) -> Iterator[list[str]]:
    """The words of each command, those of groups included."""
    yield from ([command.name or command.callback.__name__] for command in commands.registered_commands if command.callback)
    for group in commands.registered_groups:
        if group.typer_instance and group.name:
            yield from ([group.name, *words] for words in _list_commands(group.typer_instance))


@pytest.mark.parametrize("words", [*_list_commands(app)], ids=" ".join)
def test_no_option_is_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """Whoever reads the help can type each option as it stands there."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*words, "--help"])
    table = [line for line in shown.output.splitlines() if line.startswith("│")]
    assert (shown.exit_code, [line for line in table if "…" in line]) == (0, [])
