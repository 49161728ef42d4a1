"""A ledger that an earlier Promoter wrote: refused in words where nothing may be changed, else brought up to date."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.schema import SCHEMA, VERSION_TABLE
from promoter.adapters.ledger.stores import store_of
from promoter.adapters.ledger.upgrade import _migrate
from promoter.domain.audit import RecordFilter, RevisionState
from promoter.domain.faults import Refused
from promoter.domain.sightings import Sighting

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
ROWS = """
INSERT INTO decisions (at, model, alias, version, digest, tree, evidence) VALUES
    ('2026-11-23 18:30:00.000000', 'fraud', 'champion', 8, 'd', '{"verdict": "pass"}', '{"candidate": {"version": 8}}');
INSERT INTO records (at, kind, model, alias, from_version, to_version, outcome, decision, intent) VALUES
    ('2026-11-23 18:30:00.000000', 'change', 'fraud', 'champion', 7, 8, 'intended', 1, NULL),
    ('2026-11-23 18:30:00.000000', 'change', 'fraud', 'champion', 7, 8, 'applied', 1, 1);
INSERT INTO settled (at, model, alias, version, revision) VALUES ('2026-11-23 18:30:00.000000', 'fraud', 'champion', 8, 'r1');
INSERT INTO deliveries (at, source, id, event) VALUES ('2026-11-23 18:30:00.000000', 'mlflow', 'i', 'e');
INSERT INTO revisions (at, revision, state) VALUES ('2026-11-23 18:30:00.000000', 'r1', 'applied');
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The database of the first schema, with a row or more in each of its tables."""
    file = tmp_path / "promoter.db"
    store = store_of(f"sqlite:///{file}", 1.0)
    store.prepare()
    database = Database(store, read_only=False)
    _migrate(database, "0001")
    database.dispose()
    raw = sqlite3.connect(file)
    raw.executescript(ROWS)
    raw.close()
    return file


def schema_of(file: Path) -> str:
    """What the database says that it is."""
    raw = sqlite3.connect(file)
    found: str = raw.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0]
    raw.close()
    return found


def test_what_was_recorded_is_still_there(old: Path) -> None:
    """Every kind of row is read as before, and what is new is written beside it."""
    ledger = SqlLedger.open(f"sqlite:///{old}")
    assert schema_of(old) == SCHEMA
    assert [record.fact.to_version for record in ledger.moves([("fraud", "champion")])["fraud", "champion"]] == [8]
    assert [record.decision for record in ledger.records(RecordFilter())] == [1, 1]
    assert [row.evidence for row in ledger.past_evidence()] == [{"candidate": {"version": 8}}]
    assert ledger.settled() == {"fraud": {"champion": 8}}
    assert (ledger.settled_at("fraud", "champion"), ledger.last_revision(RevisionState.APPLIED)) == ("r1", "r1")
    assert not ledger.open_intents()
    seen = Sighting("fraud", 8, NOW, "approved_by", "risk", NOW)
    ledger.sight([seen])
    assert ledger.sightings(["fraud"]) == {"fraud": [seen]}
    ledger.dispose()


def test_it_is_not_changed_by_reading(old: Path) -> None:
    """A command that changes nothing says what does; afterwards it reads it."""
    with pytest.raises(Refused, match=rf"has schema 0001, this program reads {SCHEMA}") as caught:
        SqlLedger.open(f"sqlite:///{old}", read_only=True)
    assert caught.value.fix == "let a command that writes, such as `promoter apply`, migrate it"
    assert schema_of(old) == "0001"
    SqlLedger.open(f"sqlite:///{old}").dispose()
    reader = SqlLedger.open(f"sqlite:///{old}", read_only=True)
    assert reader.settled() == {"fraud": {"champion": 8}}
    reader.dispose()


def test_programs_that_open_it_at_once_bring_it_up_to_date_once(old: Path) -> None:
    """They take turns; the first one does the work."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: SqlLedger.open(f"sqlite:///{old}"), range(4)))
    for ledger in ledgers:
        ledger.ping()
        ledger.dispose()
    assert schema_of(old) == SCHEMA


def test_a_step_that_fails_leaves_it_as_it_was(old: Path) -> None:
    """All of a step, or nothing: here a table of the same name is in the way of the second half."""
    raw = sqlite3.connect(old)
    raw.execute("CREATE TABLE guard_checks (x)")
    raw.commit()
    with pytest.raises(Refused, match="already exists"):
        SqlLedger.open(f"sqlite:///{old}")
    assert schema_of(old) == "0001"
    assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'sightings%'").fetchone() == (0,)
    raw.close()


def test_what_was_append_only_stays_so(old: Path) -> None:
    """The rows of before are guarded as they were."""
    SqlLedger.open(f"sqlite:///{old}").dispose()
    raw = sqlite3.connect(old)
    for table in ("records", "decisions", "deliveries", "settled", "revisions"):
        for statement in (f"UPDATE {table} SET at = 'y'", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement)
    raw.close()
