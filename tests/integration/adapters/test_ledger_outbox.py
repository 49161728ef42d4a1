"""The outbox's contract on each kind of database: what happened, and what became of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import AuditRecord, NewAuditRecord, RecordedDecision, RecordKind
from promoter.domain.decision import Decision, Verdict
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.notifications import ChannelCursor, DeliveryAttempt, DeliveryState, SourceEntry
from tests.support.fixtures.ledger import outside, plans_of

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SEEN = NewAuditRecord(
    NOW, RecordKind.OBSERVED, "fraud", "champion", 1, 2, reason="moved outside Promoter", not_before=NOW - SECOND
)
INTENT = NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 2, 1, hold="bad recall", cause="commit")
GATE = Decision("fraud", "champion", 3, "p", "d", Verdict.FAIL, (), NOW, Evidence(NOW, VersionEvidence(3)), gate=True)
WAITING = DeliveryAttempt("ci", DeliveryState.WAITING, NOW, 7, "led/7/changed", 2, NOW - SECOND, NOW + SECOND, "status 500")


def kinds(entries: list[SourceEntry]) -> list[str]:
    """What each of them is."""
    return [entry.fact.outcome or entry.fact.kind if isinstance(entry, AuditRecord) else "decision" for entry in entries]


def test_what_happened_comes_in_order_in_portions(ledger: SqlLedger) -> None:
    """Moves and gates, from both tables in the order of their numbers; not intents, failures, or other decisions."""
    outbox = ledger.outbox
    for number in range(6):
        ledger.record_decisions([replace(GATE, version=number)], "r1", "git")
        ledger.record_decisions([replace(GATE, version=number, alias="shadow", gate=False)], "r1")
        ledger.record_observed_moves([replace(SEEN, model=f"m{number}")])
        intent = ledger.record_intent(INTENT, None)
        ledger.record_outcome(intent, "applied" if number % 2 else "failed", NOW)
    everything = list(outbox.read_source_entries(0, 1_000).entries)
    assert sorted(kinds(everything)) == ["applied"] * 3 + ["decision"] * 6 + ["observed"] * 6
    assert all(one.id < other.id for one, other in pairwise(everything))
    found: list[SourceEntry] = []
    position = 0
    while (page := outbox.read_source_entries(position, 4)).entries:
        found += page.entries
        assert page.upto >= page.entries[-1].id
        position = page.upto
    assert found == everything
    last = position
    ledger.record_observed_moves([SEEN])
    assert [each.id for each in outbox.read_source_entries(last, 4).entries] == [outbox.read_source_entries(last, 4).upto]
    gates = [entry for entry in everything if isinstance(entry, RecordedDecision)]
    assert (gates[0].gate, gates[0].trigger, gates[0].tree["version"]) == (True, "git", 0)
    moves = [entry for entry in everything if isinstance(entry, AuditRecord) and entry.fact.kind is RecordKind.CHANGE]
    assert {(each.fact.hold, each.fact.cause) for each in moves} == {("bad recall", "commit")}
    assert (moves[0].fact.hold, moves[0]) == ("bad recall", ledger.find_audit_record(moves[0].id))


def test_overrides_and_what_is_said_of_them(ledger: SqlLedger) -> None:
    """The beginning and the end of an override, and that it ends soon, come in order; a heartbeat does not."""
    override = ledger.record_override(replace(SEEN, kind=RecordKind.OVERRIDE, actor="alice", reason="bad", until=NOW + SECOND))
    ledger.record_lifecycle_event(LifecycleEvent(NOW, LifecycleEventType.WATCHING, {"run": "r"}))
    ledger.record_lifecycle_event(LifecycleEvent(NOW, LifecycleEventType.OVERRIDE_EXPIRING, {"override": override}))
    ledger.end_override(override, NOW + SECOND, "expired")
    page = ledger.outbox.read_source_entries(0, 10)
    found = [
        each.event if isinstance(each, LifecycleEvent) else each.fact.kind
        for each in page.entries
        if not isinstance(each, RecordedDecision)
    ]
    assert found == [RecordKind.OVERRIDE, LifecycleEventType.OVERRIDE_EXPIRING, RecordKind.OVERRIDE]
    assert page.upto == page.entries[-1].id


def test_a_channel_starts_where_the_ledger_is(ledger: SqlLedger) -> None:
    """Once: whoever asks again changes nothing."""
    ledger.record_observed_moves([SEEN])
    outbox = ledger.outbox
    outbox.start_channel("ci", NOW)
    ledger.record_observed_moves([SEEN])
    outbox.start_channel("ci", NOW + SECOND)
    outbox.start_channel("mail", NOW)
    assert [(each.state, each.entry, each.at) for each in outbox.read_delivery_attempts("ci", 0)] == [
        (DeliveryState.STARTED, 2, NOW)
    ]
    assert [each.entry for each in outbox.read_delivery_attempts("mail", 0)] == [3]
    assert outbox.read_channel_cursor("ci") == ChannelCursor("ci", 2, 2)
    assert outbox.read_channel_cursor("nobody") == ChannelCursor("nobody", 0, 2)


def test_the_last_row_of_an_event_counts(ledger: SqlLedger) -> None:
    """For each channel by itself; numbers ascend."""
    outbox = ledger.outbox
    (first,) = outbox.record_delivery_attempts([WAITING])
    assert outbox.read_channel_cursor("ci").waiting == {"led/7/changed": replace(WAITING, id=1)}
    done = DeliveryAttempt("ci", DeliveryState.DELIVERED, NOW, 7, "led/7/changed")
    dead = replace(WAITING, event="led/7/drifted", state=DeliveryState.DEAD, due=None)
    kept = outbox.record_delivery_attempts([replace(WAITING, channel="mail"), done, dead])
    assert [first.id, *(each.id for each in kept)] == [1, 2, 3, 4]
    assert outbox.record_delivery_attempts([]) == []
    assert outbox.read_channel_cursor("ci") == ChannelCursor("ci", 7, 4)
    assert [each.id for each in outbox.list_undelivered_events()] == [2, 4]
    assert [each.id for each in outbox.list_undelivered_events("ci")] == [4]
    assert [each.id for each in outbox.list_undelivered_events(dead=True)] == [4]
    assert [each.id for each in outbox.list_undelivered_events(limit=1)] == [4]
    assert outbox.count_undelivered_events() == {("mail", "waiting"): 1, ("ci", "dead"): 1}
    assert outbox.find_undelivered_event(1) == outbox.find_undelivered_event(3) == replace(done, id=3)
    assert outbox.find_undelivered_event(99) is None
    outbox.start_channel("new", NOW)
    assert outbox.find_undelivered_event(5) is None, "a row about the channel itself"
    back = outbox.record_delivery_attempts([DeliveryAttempt("ci", DeliveryState.AGAIN, NOW, 7, "led/7/drifted", due=NOW)])
    assert list(outbox.read_channel_cursor("ci").waiting.values()) == list(back)
    assert outbox.count_undelivered_events() == {("mail", "waiting"): 1, ("ci", "waiting"): 1}
    assert [each.id for each in outbox.read_delivery_attempts("ci", 3)] == [4, 6]


def test_who_listens_is_called_after_each_addition(ledger: SqlLedger, database_url: str) -> None:
    """Once the entry can be read; not for what was refused."""
    reader, heard = ledger, list[int]()
    ledger = SqlLedger.open(database_url, on_append=lambda: heard.append(reader.read_chain_head().entry))
    ledger.record_observed_moves([SEEN])
    ledger.record_observed_moves([SEEN])
    with pytest.raises(PermanentError):
        ledger.record_outcome(99, "applied", NOW)
    ledger.close_connections()
    assert heard == [2, 3]


@pytest.mark.parametrize("statement", ["UPDATE dispatches SET state = 'delivered'", "DELETE FROM dispatches"])
def test_rows_are_only_ever_added(ledger: SqlLedger, database_url: str, statement: str) -> None:
    """The database itself refuses anything else."""
    ledger.outbox.record_delivery_attempts([WAITING])
    with outside(database_url) as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.exec_driver_sql(statement)
    assert len(ledger.outbox.list_undelivered_events()) == 1


def test_a_database_that_is_not_there_has_nothing_to_send(database_url: str) -> None:
    """Reading makes none."""
    if database_url.startswith("postgresql"):
        SqlLedger.open(database_url).close_connections()
    past = SqlLedger.open(database_url, read_only=True)
    assert (
        past.outbox.list_undelivered_events(),
        past.outbox.count_undelivered_events(),
        past.outbox.find_undelivered_event(1),
    ) == ([], {}, None)
    past.close_connections()


def test_a_start_reads_no_table_as_a_whole(ledger: SqlLedger, database_url: str) -> None:
    """However much was sent before: what waits is searched for by an index."""
    plans = plans_of(ledger)
    ledger.outbox.start_channel("ci", NOW)
    ledger.outbox.read_channel_cursor("ci")
    ledger.outbox.read_delivery_attempts("ci", 1)
    ledger.outbox.read_source_entries(10, 5)
    ledger.outbox.count_undelivered_events()
    ledger.outbox.list_undelivered_events("ci")
    least = 3 if database_url.startswith("sqlite") else 1  # PostgreSQL goes by what it knows of the rows, and there are none
    assert len([plan for plan in plans if "dispatches_in" in plan]) >= least, plans
    assert not [plan for plan in plans if plan.startswith("SCAN dispatches") or "Seq Scan on dispatches" in plan], plans


def test_what_waits_is_all_that_is_read(ledger: SqlLedger) -> None:
    """Thousands that were delivered cost neither rows nor memory."""
    outbox = ledger.outbox
    outbox.record_delivery_attempts(
        DeliveryAttempt("ci", DeliveryState.DELIVERED, NOW, number, f"led/{number}/changed") for number in range(3_000)
    )
    outbox.record_delivery_attempts([replace(WAITING, entry=3_000)])
    standing = outbox.read_channel_cursor("ci")
    assert (standing.entry, list(standing.waiting)) == (3_000, ["led/7/changed"])
    assert sys.getsizeof(standing.waiting) < 1_000
