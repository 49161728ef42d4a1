"""A ledger that an earlier Promoter wrote: refused in words where nothing may be changed, else brought up to date."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import SCHEMA_REVISION
from promoter.domain.audit import RecordFilter, RevisionState, WebhookDelivery
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import TagObservation
from promoter.domain.ledger.chain import LedgerHead, advance_head, digest_bytes
from tests.support.fixtures.ledger import make_older, outside, schema_of
from tests.support.remembered import numbers

pytestmark = pytest.mark.each_database

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
    assert schema_of(old) == SCHEMA_REVISION
    assert [record.fact.to_version for record in ledger.find_alias_moves([("fraud", "champion")])["fraud", "champion"]] == [8]
    first, second = ledger.find_audit_records(RecordFilter())
    assert first.decision == second.decision == ledger.list_recent_decisions()[0].id
    assert (first.intent, second.intent) == (None, first.id)
    assert (first.fact.at, ledger.list_recent_decisions()[0].at) == (NOW, NOW)
    assert not ledger.record_delivery(WebhookDelivery("mlflow", "i", NOW, "e"))
    assert [row.evidence for row in ledger.iterate_decisions_with_evidence()] == [{"candidate": {"version": 8}}]
    assert numbers(ledger.read_last_applied()) == {"fraud": {"champion": 8}}
    assert (ledger.last_applied_revision("fraud", "champion"), ledger.find_last_revision(RevisionState.APPLIED)) == ("r1", "r1")
    assert not ledger.find_open_intents()
    seen = TagObservation("fraud", 8, NOW, "approved_by", "risk", NOW)
    ledger.record_tag_observations([seen])
    assert ledger.find_tag_observations(["fraud"]) == {"fraud": [seen]}
    ledger.close_connections()


def test_all_that_was_there_is_in_the_chain(old: str) -> None:
    """Row by row, and what comes later stands behind it."""
    ledger = SqlLedger.open(old)
    ledger.record_revision_state("r2", RevisionState.APPLIED, NOW)
    head = LedgerHead(ledger.read_chain_head().ledger)
    for entry in ledger.iterate_entries():
        facts = json.loads(entry.body)
        assert (entry.id, facts["id"], facts["table"], facts["previous"]) == (head.entry + 1, entry.id, entry.table, head.hash)
        assert digest_bytes(entry.body) == entry.hash
        head = advance_head(head, entry)
    assert (head, head.entry) == (ledger.read_chain_head(), 8)
    ledger.close_connections()


def test_it_is_not_changed_by_reading(old: str) -> None:
    """A command that changes nothing says what does; afterwards it reads it."""
    with pytest.raises(PermanentError, match=rf"has schema 0001, this program reads {SCHEMA_REVISION}") as caught:
        SqlLedger.open(old, read_only=True)
    assert caught.value.fix == "let a command that writes, such as `promoter apply`, migrate it"
    assert schema_of(old) == "0001"
    SqlLedger.open(old).close_connections()
    reader = SqlLedger.open(old, read_only=True)
    assert numbers(reader.read_last_applied()) == {"fraud": {"champion": 8}}
    reader.close_connections()


def test_programs_that_open_it_at_once_bring_it_up_to_date_once(old: str) -> None:
    """They take turns; the first one does the work."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: SqlLedger.open(old), range(4)))
    for ledger in ledgers:
        ledger.read_chain_head()
        ledger.close_connections()
    assert schema_of(old) == SCHEMA_REVISION


def test_a_step_that_fails_leaves_it_as_it_was(old: str) -> None:
    """All of a step, or nothing: here a table of the same name is in the way of the second half."""
    with outside(old) as connection:
        connection.execute(text("CREATE TABLE guard_checks (x integer)"))
        with pytest.raises(PermanentError, match="already exists"):
            SqlLedger.open(old)
        assert schema_of(old) == "0001"
        assert "sightings" not in inspect(connection).get_table_names()


def test_what_was_append_only_stays_so(old: str) -> None:
    """The rows of before are guarded as they were."""
    SqlLedger.open(old).close_connections()
    for table in ("records", "decisions", "deliveries", "settled", "revisions"):
        for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}"):
            with outside(old) as connection, pytest.raises(DBAPIError, match="append-only"):
                connection.execute(text(statement))
