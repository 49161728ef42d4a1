"""A ledger that an earlier Promoter wrote: refused in words where nothing may be changed, else brought up to date."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import SCHEMA
from promoter.domain.audit import Delivery, RecordFilter, RevisionState
from promoter.domain.faults import Refused
from promoter.domain.ledger.chain import Head, after, digest_of
from promoter.domain.sightings import Sighting
from tests.fixtures_ledger import make_older, outside, schema_of

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
ROWS = (
    """INSERT INTO decisions (at, model, alias, version, digest, tree, evidence) VALUES
    ({now}, 'fraud', 'champion', 8, 'd', '{"verdict": "pass"}', '{"candidate": {"version": 8}}')""",
    """INSERT INTO records (at, kind, model, alias, from_version, to_version, outcome, decision, intent) VALUES
    ({now}, 'change', 'fraud', 'champion', 7, 8, 'intended', 1, NULL),
    ({now}, 'change', 'fraud', 'champion', 7, 8, 'applied', 1, 1)""",
    "INSERT INTO settled (at, model, alias, version, revision) VALUES ({now}, 'fraud', 'champion', 8, 'r1')",
    "INSERT INTO deliveries (at, source, id, event) VALUES ({now}, 'mlflow', 'i', 'e')",
    "INSERT INTO revisions (at, revision, state) VALUES ({now}, 'r1', 'applied')",
)


@pytest.fixture
def old(database_url: str) -> str:
    """The database of the first schema, with a row or more in each of its tables."""
    make_older(database_url, "0001", *ROWS)
    return database_url


def test_what_was_recorded_is_still_there(old: str) -> None:
    """Every kind of row is read as before, and what is new is written beside it."""
    ledger = SqlLedger.open(old)
    assert schema_of(old) == SCHEMA
    assert [record.fact.to_version for record in ledger.moves([("fraud", "champion")])["fraud", "champion"]] == [8]
    first, second = ledger.records(RecordFilter())
    assert first.decision == second.decision == ledger.decisions()[0].id
    assert (first.intent, second.intent) == (None, first.id)
    assert (first.fact.at, ledger.decisions()[0].at) == (NOW, NOW)
    assert not ledger.deliver(Delivery("mlflow", "i", NOW, "e"))
    assert [row.evidence for row in ledger.past_evidence()] == [{"candidate": {"version": 8}}]
    assert ledger.settled() == {"fraud": {"champion": 8}}
    assert (ledger.settled_at("fraud", "champion"), ledger.last_revision(RevisionState.APPLIED)) == ("r1", "r1")
    assert not ledger.open_intents()
    seen = Sighting("fraud", 8, NOW, "approved_by", "risk", NOW)
    ledger.sight([seen])
    assert ledger.sightings(["fraud"]) == {"fraud": [seen]}
    ledger.dispose()


def test_all_that_was_there_is_in_the_chain(old: str) -> None:
    """Row by row, and what comes later stands behind it."""
    ledger = SqlLedger.open(old)
    ledger.mark_revision("r2", RevisionState.APPLIED, NOW)
    head = Head(ledger.head().ledger)
    for entry in ledger.entries():
        told = json.loads(entry.body)
        assert (entry.id, told["id"], told["table"], told["previous"]) == (head.entry + 1, entry.id, entry.table, head.hash)
        assert digest_of(entry.body) == entry.hash
        head = after(head, entry)
    assert (head, head.entry) == (ledger.head(), 8)
    ledger.dispose()


def test_it_is_not_changed_by_reading(old: str) -> None:
    """A command that changes nothing says what does; afterwards it reads it."""
    with pytest.raises(Refused, match=rf"has schema 0001, this program reads {SCHEMA}") as caught:
        SqlLedger.open(old, read_only=True)
    assert caught.value.fix == "let a command that writes, such as `promoter apply`, migrate it"
    assert schema_of(old) == "0001"
    SqlLedger.open(old).dispose()
    reader = SqlLedger.open(old, read_only=True)
    assert reader.settled() == {"fraud": {"champion": 8}}
    reader.dispose()


def test_programs_that_open_it_at_once_bring_it_up_to_date_once(old: str) -> None:
    """They take turns; the first one does the work."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: SqlLedger.open(old), range(4)))
    for ledger in ledgers:
        ledger.ping()
        ledger.dispose()
    assert schema_of(old) == SCHEMA


def test_a_step_that_fails_leaves_it_as_it_was(old: str) -> None:
    """All of a step, or nothing: here a table of the same name is in the way of the second half."""
    with outside(old) as connection:
        connection.execute(text("CREATE TABLE guard_checks (x integer)"))
        with pytest.raises(Refused, match="already exists"):
            SqlLedger.open(old)
        assert schema_of(old) == "0001"
        assert "sightings" not in inspect(connection).get_table_names()


def test_what_was_append_only_stays_so(old: str) -> None:
    """The rows of before are guarded as they were."""
    SqlLedger.open(old).dispose()
    for table in ("records", "decisions", "deliveries", "settled", "revisions"):
        for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}"):
            with outside(old) as connection, pytest.raises(DBAPIError, match="append-only"):
                connection.execute(text(statement))
