"""A ledger that commit 98ef34f wrote still verifies, reruns and reads in every word, through the command line alone.

`old_ledger/ledger.sql` is that ledger: a dump of the SQLite database, with an entry of every kind, and decisions of every
purpose on evidence of every kind of rule. The other files are what that commit printed of it, but for the word `none` where an
alias has no version, which was `-` then. Do not write them anew: what is stored and hashed must stay readable, and these files
prove it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from promoter.__main__ import main

OLD = Path(__file__).parent / "old_ledger"
COMMANDS = {
    "verify": ["audit", "verify"],
    "rerun": ["audit", "rerun", "--all"],
    "list": ["audit", "list"],
    "history": ["history", "fraud@champion"],
}
CHANGES = {
    "a reason": ("a better one", "a bettor one"),
    "evidence": ('"p99_ms":40.5', '"p99_ms":40.4'),
    "a verdict": ('"verdict":"pass","version":2', '"verdict":"fail","version":2'),
    "a policy": ("by: 0.005", "by: 0.006"),
    "a hash": ("'5abc1cc83fba", "'5abc1cc83fbb"),
}
"""A little of the database, before and after. The last is the head's own hash."""
Run = Callable[..., tuple[int, str]]


def restore(folder: Path, dump: str) -> None:
    """Make the database of the dump in the folder."""
    connection = sqlite3.connect(folder / "promoter.db")
    connection.executescript(dump)
    connection.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `promoter` in a folder that is in no repository, in 100 columns; the exit code and the output."""
    for name in [name for name in os.environ if name.startswith("PROMOTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def ran(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capfd.readouterr()
        assert errors == ""
        return int(str(ended.value.code or 0)), output

    return ran


@pytest.mark.parametrize("name", COMMANDS)
def test_every_word_is_as_it_was(run: Run, tmp_path: Path, name: str) -> None:
    """The ledger is sound, every decision comes out the same, and text and JSON equal those of the old commit."""
    restore(tmp_path, (OLD / "ledger.sql").read_text())
    assert run(*COMMANDS[name]) == (0, (OLD / f"{name}.txt").read_text())
    assert run(*COMMANDS[name], "--format", "json") == (0, (OLD / f"{name}.json").read_text())


def test_the_export_is_as_it_was(run: Run, tmp_path: Path) -> None:
    """Each line but the first, which says when it was made, equals that of the old commit's export; and that one verifies."""
    restore(tmp_path, (OLD / "ledger.sql").read_text())
    code, _ = run("audit", "export", "--output", "export.jsonl")
    old, new = (OLD / "export.jsonl").read_bytes().splitlines(), (tmp_path / "export.jsonl").read_bytes().splitlines()
    assert code == 0
    assert new[1:] == old[1:]
    assert json.loads(new[0]) | {"made": None, "tool": None} == json.loads(old[0]) | {"made": None, "tool": None}
    (tmp_path / "promoter.db").unlink()
    code, output = run("audit", "verify", "--export", str(OLD / "export.jsonl"), "--format", "json")
    assert code == 0
    expected = json.loads((OLD / "verify.json").read_text())
    assert json.loads(output) == expected


@pytest.mark.parametrize("what", CHANGES)
def test_the_smallest_change_is_found(run: Run, tmp_path: Path, what: str) -> None:
    """Wherever it is, `promoter audit verify` ends with exit code 1."""
    before, after = CHANGES[what]
    dump = (OLD / "ledger.sql").read_text()
    assert before in dump
    restore(tmp_path, dump.replace(before, after, 1))
    assert run("audit", "verify")[0] == 1
