"""A ledger on a SQLite file, for the tests of its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database that is not there yet."""
    return tmp_path / "promoter.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[SqlLedger]:
    """An empty ledger."""
    opened = SqlLedger.open(f"sqlite:///{file}")
    yield opened
    opened.dispose()


def rows(file: Path, table: str) -> int:
    """How many rows a table has, seen from outside."""
    raw = sqlite3.connect(file)
    count: int = raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    raw.close()
    return count
