"""Overrides in the ledger: begun, ended, kept apart from what moved; and a database from before there were any."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import SCHEMA_REVISION
from promoter.application.ports import Ledger
from promoter.application.status import load_alias_history
from promoter.domain.audit import NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.desired import Override
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.plan import ChangeCause
from tests.support.fixtures.ledger import make_older, outside, plans_of, rows, schema_of
from tests.support.remembered import numbers, present

pytestmark = pytest.mark.each_database

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
BEGIN = NewAuditRecord(
    NOW,
    RecordKind.OVERRIDE,
    "fraud",
    "champion",
    8,
    7,
    revision="r1",
    actor="alice",
    trigger="rollback",
    reason="bad recall",
    cause=ChangeCause.OVERRIDE.value,
    until=NOW + timedelta(hours=24),
)


def test_one_that_began_stands_until_it_ends(ledger: Ledger) -> None:
    """Also past its end in time: the next reconcile ends it. To end it twice writes one record."""
    number = ledger.record_override(BEGIN)
    stands = Override(number, NOW, "fraud", "champion", 7, 8, "bad recall", "alice", NOW + timedelta(hours=24))
    assert ledger.find_open_overrides() == [stands]
    assert ledger.find_open_overrides({"fraud"}) == [stands]
    assert ledger.find_open_overrides({"churn"}) == []
    ledger.end_override(number, NOW, "expired")
    ledger.end_override(number, NOW, "expired")
    assert ledger.find_open_overrides() == []
    begun, ended = ledger.find_audit_records(RecordFilter())
    assert (begun.status_label, begun.description) == ("override", "until 2026-11-24 18:30 UTC: bad recall")
    assert (ended.status_label, ended.description, ended.intent) == ("override over", "expired", number)
    assert (ended.fact.actor, ended.fact.until, ended.fact.cause) == ("alice", begun.fact.until, "override")


def test_several_are_listed_oldest_first(ledger: Ledger) -> None:
    """Of whichever model."""
    numbers = [ledger.record_override(replace(BEGIN, model=model)) for model in ("fraud", "churn", "fraud")]
    assert [each.id for each in ledger.find_open_overrides()] == numbers
    ledger.end_override(numbers[0], NOW, "over")
    assert [each.id for each in ledger.find_open_overrides({"fraud", "churn"})] == numbers[1:]


def test_only_an_override_can_be_ended(ledger: Ledger) -> None:
    """Neither another record, nor the end of one."""
    intent = ledger.record_intent(NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 8, 7), None)
    number = ledger.record_override(BEGIN)
    ledger.end_override(number, NOW, "over")
    for wrong in (intent, number + 1, 99):
        with pytest.raises(PermanentError, match=f"there is no override {wrong}"):
            ledger.end_override(wrong, NOW, "over")


@pytest.mark.parametrize("lacking", ["until", "to_version", "actor", "reason"])
def test_one_without_its_facts_is_a_mistake(ledger: Ledger, lacking: str) -> None:
    """Version, person, reason, end."""
    with pytest.raises(ValueError, match="a version, a person, a reason and an end"):
        ledger.record_override(replace(BEGIN, **{lacking: None}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a version"):
        ledger.record_override(replace(BEGIN, kind=RecordKind.CHANGE))


def test_it_says_nothing_of_where_the_alias_was(ledger: Ledger) -> None:
    """No move, no intent, no agreement; and what is seen of the alias after it is still seen for the first time."""
    number = ledger.record_override(BEGIN)
    assert (
        numbers(ledger.read_last_known_versions()),
        ledger.find_alias_moves({("fraud", "champion")}),
        ledger.find_open_intents(),
    ) == (
        {},
        {("fraud", "champion"): []},
        [],
    )
    assert not ledger.has_held_alias("fraud", "champion", present(7, NOW))
    first = NewAuditRecord(NOW, RecordKind.OBSERVED, "fraud", "champion", None, 8, reason="first seen")
    ledger.record_observed_moves([first], only_first=True)
    ledger.record_observed_moves([first], only_first=True)
    ledger.end_override(number, NOW, "over")
    assert numbers(ledger.read_last_known_versions()) == {"fraud": {"champion": 8}}
    assert [span.version for span in load_alias_history(ledger, "fraud", "champion")] == [8]
    assert ledger.find_open_intents({"fraud"}) == ledger.find_open_intents() == []
    assert len(ledger.find_audit_records(RecordFilter(kind=RecordKind.OVERRIDE))) == 2


@pytest.mark.parametrize(
    ("cause", "last_applied"), [(ChangeCause.OVERRIDE, {}), (ChangeCause.COMMIT, {"fraud": {"champion": 7}})]
)
def test_what_an_override_moved_is_not_agreed_on(
    ledger: Ledger, cause: ChangeCause, last_applied: dict[str, dict[str, int]]
) -> None:
    """Git does not say so. It held the alias all the same."""
    fact = NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 8, 7, "r1", cause=cause.value)
    ledger.record_outcome(ledger.record_intent(fact, None), "applied", NOW)
    assert numbers(ledger.read_last_applied()) == last_applied
    assert ledger.has_held_alias("fraud", "champion", present(7, NOW))


def test_an_end_by_a_revision_is_an_agreement_on_it(ledger: Ledger, database_url: str) -> None:
    """In the same transaction; what was agreed on already is not written again."""
    number = ledger.record_override(BEGIN)
    ledger.end_override(number, NOW, "decided", revision="r2")
    assert (numbers(ledger.read_last_applied()), ledger.last_applied_revision("fraud", "champion")) == (
        {"fraud": {"champion": 7}},
        "r2",
    )
    ledger.end_override(number, NOW, "decided", revision="r3")
    ledger.end_override(ledger.record_override(BEGIN), NOW, "decided", revision="r4")
    assert (ledger.last_applied_revision("fraud", "champion"), rows(database_url, "settled")) == ("r2", 1)


def test_a_ledger_from_before_keeps_its_records_and_takes_overrides(database_url: str) -> None:
    """What the old rows know nothing of is null; every row stays as it is for ever, the new ones too."""
    make_older(
        database_url,
        "0002",
        "INSERT INTO records (at, kind, model, alias, from_version, to_version, outcome, intent) VALUES"
        " ({now}, 'change', 'fraud', 'champion', 7, 8, 'intended', NULL),"
        " ({now}, 'change', 'fraud', 'champion', 7, 8, 'applied', 1)",
    )
    ledger = SqlLedger.open(database_url)
    assert [(each.fact.to_version, each.fact.cause, each.fact.until) for each in ledger.find_audit_records(RecordFilter())] == [
        (8, None, None)
    ] * 2
    assert ledger.find_open_overrides() == []
    number = ledger.record_override(BEGIN)
    plans = plans_of(ledger)
    assert [each.id for each in ledger.find_open_overrides()] == [number]
    assert "records_overrides" in str(plans)
    ledger.close_connections()
    assert schema_of(database_url) == SCHEMA_REVISION
    for statement in ("UPDATE records SET id = id", "DELETE FROM records"):
        with outside(database_url) as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))


def test_the_end_of_one_is_announced_once_whoever_does_it(database_url: str) -> None:
    """Four writers at once, none of which holds a lock; another override has an announcement of its own."""
    ledgers = [SqlLedger.open(database_url) for _ in range(4)]
    first, second = ledgers[0].record_override(BEGIN), ledgers[0].record_override(BEGIN)

    def announce(ledger: SqlLedger, number: int) -> None:
        ledger.announce_expiring_override(LifecycleEvent(NOW, LifecycleEventType.OVERRIDE_EXPIRING, {"override": number}))

    with ThreadPoolExecutor(len(ledgers)) as pool:
        list(pool.map(announce, ledgers * 3, [first] * 12))
    assert ledgers[1].find_announced_overrides([first, second]) == {first}
    announce(ledgers[2], second)
    assert ledgers[1].find_announced_overrides([first, second]) == {first, second}
    assert ledgers[1].find_announced_overrides([]) == frozenset()
    named = [each.facts["override"] for each in ledgers[3].find_lifecycle_events() if "override" in each.facts]
    assert named == [first, second]
    for each in ledgers:
        each.close_connections()
