"""The ledger's contract on each kind of database: observed tags, checks of guards, and moves in bulk."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordFilter, RecordKind, is_alias_move
from promoter.domain.decision import Verdict
from promoter.domain.evidence import TagObservation
from promoter.domain.policy.guards import GuardCheck
from tests.support.fixtures.ledger import inside, locked, plans_of, rows, waiting_for_the_lock

NOW = datetime(2026, 11, 23, 18, 30, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
BORN = NOW - 24 * HOUR
SEEN = TagObservation("fraud", 8, BORN, "approved_by", None, NOW)
CHECK = GuardCheck("fraud", "champion", 8, "metric val_auc at least 0.9", Verdict.FAIL, NOW)


def test_observations_come_back_oldest_first_by_model(ledger: SqlLedger) -> None:
    """As they were recorded, whatever the zone; a model that was never observed has none, and no other model is returned."""
    set_later = replace(SEEN, value="Grün \N{CHECK MARK}", at=NOW + HOUR)
    other = replace(SEEN, version=1, created_at=BORN.astimezone(timezone(timedelta(hours=2))), tag="a")
    ledger.record_tag_observations([SEEN, other, replace(SEEN, model="churn"), set_later])
    assert ledger.find_tag_observations({"fraud", "nobody"}) == {"fraud": [SEEN, other, set_later], "nobody": []}
    assert ledger.find_tag_observations(["fraud"])["fraud"][1].created_at.utcoffset() == timedelta(0)
    assert ledger.find_tag_observations([]) == {}


@pytest.mark.parametrize(
    ("again", "is_new"),
    [
        (SEEN, False),
        (replace(SEEN, at=NOW + HOUR), False),
        (replace(SEEN, created_at=BORN.astimezone(timezone(HOUR))), False),
        (replace(SEEN, value=""), True),
        (replace(SEEN, value="risk"), True),
        (replace(SEEN, tag="owner"), True),
        (replace(SEEN, version=9), True),
        (replace(SEEN, model="churn"), True),
        (replace(SEEN, created_at=BORN + timedelta(microseconds=1)), True),
    ],
)
def test_only_what_is_new_is_recorded(again: TagObservation, is_new: bool, ledger: SqlLedger, database_url: str) -> None:
    """What repeats the last observation of its tag is skipped: in another call, and within one."""
    ledger.record_tag_observations([SEEN])
    ledger.record_tag_observations([again])
    assert rows(database_url, "sightings") == 1 + is_new
    ledger.record_tag_observations([again, again])
    assert rows(database_url, "sightings") == 1 + is_new
    ledger.record_tag_observations([replace(each, model="m") for each in (SEEN, again, again)])
    assert len(ledger.find_tag_observations(["m"])["m"]) == 1 + (is_new and again.model == SEEN.model)


def test_each_version_has_its_own_last_observation(ledger: SqlLedger, database_url: str) -> None:
    """A model that was deleted and registered anew uses its numbers again."""
    observations = [
        SEEN,
        replace(SEEN, created_at=NOW, value="a"),
        replace(SEEN, version=9, value="b"),
        replace(SEEN, tag="owner"),
    ]
    ledger.record_tag_observations(observations)
    for each in observations:
        ledger.record_tag_observations([each])
    assert rows(database_url, "sightings") == len(observations)


def test_a_value_that_returns_is_new(ledger: SqlLedger) -> None:
    """Only the last observation counts, not any before it."""
    observations = [replace(SEEN, value=value) for value in (None, "a", None, "a")]
    for each in observations:
        ledger.record_tag_observations([each])
    ledger.record_tag_observations(observations[:3])
    assert [each.value for each in ledger.find_tag_observations(["fraud"])["fraud"]] == [None, "a", None, "a", None, "a", None]


def test_many_observations_at_once(ledger: SqlLedger) -> None:
    """More than fit into one statement; of models that have many versions, and of many models."""
    observations = [replace(SEEN, model=f"m{number % 40}", version=number // 40 + 1) for number in range(4_000)]
    observations += [replace(SEEN, model=f"n{number}") for number in range(2_500)]
    ledger.record_tag_observations(observations)
    changed = [replace(each, value="x") for each in observations[::100]]
    ledger.record_tag_observations([*observations[1::100], *changed])
    found = ledger.find_tag_observations({each.model for each in observations})
    assert sum(map(len, found.values())) == len(observations) + len(changed)
    assert [each for each in found["m0"] if each.value] == [each for each in changed if each.model == "m0"]


def test_observations_are_compared_again_under_the_lock(ledger: SqlLedger, database_url: str) -> None:
    """Somebody else records the same between the first comparison and the lock: it is recorded once."""
    waits = waiting_for_the_lock(ledger)
    with ThreadPoolExecutor(1) as pool:
        with locked(database_url) as connection:
            waiting = pool.submit(ledger.record_tag_observations, [SEEN, replace(SEEN, tag="owner")])
            assert waits.wait(10)
            inside(connection).record_tag_observations([SEEN])
        waiting.result()
    assert ledger.find_tag_observations(["fraud"]) == {"fraud": [SEEN, replace(SEEN, tag="owner")]}


def test_many_writers_record_an_observation_once(ledger: SqlLedger) -> None:
    """Threads that saw the same at once: what they saw is recorded once."""
    observations = [replace(SEEN, version=number) for number in range(1, 51)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ledger.record_tag_observations(observations), range(8)))
    assert ledger.find_tag_observations(["fraud"])["fraud"] == observations


def test_nothing_new_takes_no_lock(ledger: SqlLedger, database_url: str) -> None:
    """While another program writes, a call that finds nothing to record does not wait for it."""
    ledger.record_tag_observations([SEEN])
    impatient = SqlLedger.open(database_url, busy_timeout=0.05)
    with locked(database_url):
        impatient.record_tag_observations([replace(SEEN, at=NOW + HOUR)])
        impatient.record_tag_observations([])
        impatient.record_guard_checks([])
    impatient.close_connections()


def test_checks_come_back_oldest_first_by_alias(ledger: SqlLedger) -> None:
    """Exactly the requested ones, also where two aliases share a model or a name; each with its verdict."""
    passed = replace(CHECK, verdict=Verdict.PASS, at=NOW + HOUR)
    shadow, churn = replace(CHECK, alias="shadow"), replace(CHECK, model="churn", verdict=Verdict.PENDING)
    ledger.record_guard_checks([CHECK, shadow, churn])
    ledger.record_guard_checks([passed, replace(CHECK, rule="age", verdict=Verdict.ERROR), CHECK])
    champion = [CHECK, passed, replace(CHECK, rule="age", verdict=Verdict.ERROR), CHECK]
    assert ledger.find_guard_checks([("fraud", "champion")]) == {("fraud", "champion"): champion}
    assert ledger.find_guard_checks({("fraud", "shadow"), ("churn", "champion"), ("churn", "shadow")}) == {
        ("fraud", "shadow"): [shadow],
        ("churn", "champion"): [churn],
        ("churn", "shadow"): [],
    }
    assert ledger.find_guard_checks([]) == {}


def test_the_last_thousand_checks_of_each_alias_are_read(ledger: SqlLedger) -> None:
    """Each alias has its own thousand, however many another one has."""
    ledger.record_guard_checks([replace(CHECK, version=number) for number in range(1_300)] + [replace(CHECK, alias="shadow")])
    found = ledger.find_guard_checks([("fraud", "champion"), ("fraud", "shadow")])
    assert [check.version for check in found["fraud", "champion"]] == list(range(300, 1_300))
    assert len(found["fraud", "shadow"]) == 1


def test_moves_in_bulk_are_those_of_each_alias(ledger: SqlLedger) -> None:
    """The records of an alias for which `is_alias_move` holds, in order: no intents, no failures, nothing of another alias."""
    names = [(f"m{number % 50}", f"a{number // 50}") for number in range(1_500)]
    ledger.record_observed_moves([NewAuditRecord(NOW, RecordKind.OBSERVED, model, alias, None, 1) for model, alias in names])
    outcomes = ("applied", "failed", "recovered", None)
    for number, (model, alias) in enumerate(names[:40] * 2):
        intent = ledger.record_intent(NewAuditRecord(NOW, RecordKind.CHANGE, model, alias, 1, 10 - number // 40), None)
        if outcome := outcomes[number % 4]:
            ledger.record_outcome(intent, outcome, NOW)
    aliases = [*names[:1_200], ("m0", "never"), ("never", "a0")]
    found = ledger.find_alias_moves(aliases)
    assert found.keys() == set(aliases)
    for model, alias in [*names[:60], names[1_199], *aliases[-2:]]:
        alone = ledger.find_audit_records(RecordFilter(model=model, alias=alias))
        assert found[model, alias] == [record for record in alone if is_alias_move(record)], (model, alias)
    assert [record.fact.to_version for record in found["m0", "a0"]] == [1, 10, 9]
    assert ledger.find_alias_moves([]) == {}


@pytest.mark.parametrize(
    ("query", "index", "table"),
    [
        ("find_alias_moves", "records_(moved|stood)", "records"),
        ("find_guard_checks", "guard_checks_of", "guard_checks"),
        ("record_tag_observations", "sightings_of", "sightings"),
    ],
)
def test_queries_are_answered_by_an_index(query: str, index: str, table: str, ledger: SqlLedger) -> None:
    """A few aliases or versions cost no scan of all that was ever recorded."""
    plans = plans_of(ledger)
    if query == "record_tag_observations":
        ledger.record_tag_observations([SEEN])
    else:
        getattr(ledger, query)([("a", "b"), ("c", "d")])
    searched = re.compile(rf"INDEX {index} \(model=\? AND |Scan using {index} on {table}")
    assert any(searched.search(plan) for plan in plans), plans
    assert not [plan for plan in plans if plan.startswith(f"SCAN {table}") or f"Seq Scan on {table}" in plan], plans
