"""Fixtures of the command line: a ledger with an entry of every kind, and `promoter audit` beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from tests.support.fixtures.ledger import fill

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger in it that has an entry of every kind, and no repository around it; one stands in it."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    fill(ledger)
    ledger.close_connections()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def run(ledger_here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `promoter audit` there, in 80 columns: exit code, output, errors."""

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(ledger_here)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["promoter", "audit", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capfd.readouterr()
        return int(str(ended.value.code or 0)), told.out, told.err

    return ran


@pytest.fixture
def run_promoter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `promoter` where one stands, on a line as wide as it needs: exit code, output, errors; never a traceback."""

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "500")
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(str(ended.value.code or 0)), out, err

    return ran
