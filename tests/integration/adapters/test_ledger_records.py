"""The ledger's contract on each kind of database: intents, outcomes, observations."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import IntegrityError

from promoter.adapters.ledger import SqlLedger
from promoter.application.ports import Ledger
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.errors import Conflict, PermanentError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import TrainingRun
from tests.support.fixtures.ledger import insert_record, rows
from tests.support.remembered import numbers, present, remembered

pytestmark = pytest.mark.each_database

NOW = datetime(2026, 11, 23, 18, 30, 0, 123456, tzinfo=UTC)
FINDING = RuleFinding("metric val_auc at least 0.9", Verdict.PASS, 0.93, "at least 0.9")
DECISION = Decision("fraud", "champion", 8, "champion", "d1", Verdict.PASS, (FINDING,), NOW)


def change(model: str = "fraud", alias: str = "champion", to: int | None = 8) -> NewAuditRecord:
    """A change with every field filled in."""
    return NewAuditRecord(
        NOW, RecordKind.CHANGE, model, alias, 7, to, "abc", "alice", "poll", "champion", "pass", None, "passes champion"
    )


def seen(model: str = "fraud", alias: str = "champion", to: int | None = 8, since: int | None = None) -> NewAuditRecord:
    """A move that Promoter did not make."""
    return NewAuditRecord(NOW, RecordKind.OBSERVED, model, alias, since, to)


def test_a_closed_intent_leaves_two_rows_of_the_same_facts(ledger: Ledger) -> None:
    """The outcome repeats the facts of the intent, names it, and both name the decision."""
    intent = ledger.record_intent(change(), DECISION)
    later = NOW + timedelta(microseconds=1)
    ledger.record_outcome(intent, "applied", later)
    opened, closed = ledger.find_audit_records(RecordFilter())
    decision = ledger.list_recent_decisions()[0].id
    assert opened.fact == replace(change(), outcome=ChangeOutcome.INTENDED)
    assert (opened.id, opened.intent, opened.decision) == (intent, None, decision)
    assert closed.fact == replace(change(), at=later, outcome=ChangeOutcome.APPLIED)
    assert (closed.intent, closed.decision) == (intent, decision)
    assert closed.id > opened.id


def test_detail_becomes_the_reason_of_the_outcome(ledger: Ledger) -> None:
    """The error stands in the row of the outcome."""
    ledger.record_outcome(ledger.record_intent(change(), None), "failed", NOW, "MLflow answered 503")
    assert [record.fact.reason for record in ledger.find_audit_records(RecordFilter())] == [
        "passes champion",
        "MLflow answered 503",
    ]


def test_an_intent_has_one_outcome(ledger: Ledger) -> None:
    """A second one is refused in words, as is the outcome of no intent."""
    intent = ledger.record_intent(change(), None)
    ledger.record_outcome(intent, "applied", NOW)
    with pytest.raises(Conflict, match=f"intent {intent} is closed already: applied"):
        ledger.record_outcome(intent, "failed", NOW)
    with pytest.raises(PermanentError, match="there is no intent"):
        ledger.record_outcome(intent + 1, "applied", NOW)
    with pytest.raises(ValueError, match="not by another intent"):
        ledger.record_outcome(intent, "intended", NOW)
    assert len(ledger.find_audit_records(RecordFilter())) == 2


def test_the_database_itself_refuses_a_second_outcome(ledger: Ledger, database_url: str) -> None:
    """The rule does not rest on the program."""
    intent = ledger.record_intent(change(), None)
    ledger.record_outcome(intent, "applied", NOW)
    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        insert_record(database_url, kind="change", model="m", alias="a", intent=intent)
    assert rows(database_url, "records") == 2


def test_open_intents_are_those_without_an_outcome(ledger: Ledger) -> None:
    """Of all models or of some, in order of their ids."""
    ids = [ledger.record_intent(change(model), None) for model in ("b", "a", "c", "a")]
    ledger.record_outcome(ids[0], "failed", NOW)
    assert [record.id for record in ledger.find_open_intents()] == ids[1:]
    assert [record.id for record in ledger.find_open_intents({"a", "b"})] == [ids[1], ids[3]]
    assert not ledger.find_open_intents([])


def test_times_keep_their_microseconds_and_come_back_in_utc(ledger: Ledger) -> None:
    """Whatever zone they were given in."""
    given = datetime(2026, 1, 1, 1, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))
    ledger.record_observed_moves([replace(seen(), at=given)])
    at = ledger.find_audit_records(RecordFilter())[0].fact.at
    assert at == given
    assert at.isoformat() == "2025-12-31T23:00:00.000007+00:00"
    with pytest.raises(PermanentError, match="without a zone"):
        ledger.record_observed_moves([replace(seen(), at=given.replace(tzinfo=None))])


def test_last_known_is_where_the_last_move_left_each_alias(ledger: Ledger) -> None:
    """Intents and failures move nothing; a deletion leaves None; models that were not requested are left out."""
    ledger.record_observed_moves([seen(to=5), seen(alias="shadow", to=None), seen("churn", to=3)])
    ledger.record_outcome(ledger.record_intent(change(to=6), None), "applied", NOW)
    ledger.record_outcome(ledger.record_intent(change(to=7), None), "failed", NOW)
    ledger.record_outcome(ledger.record_intent(change("churn", to=4), None), "recovered", NOW)
    ledger.record_intent(change("churn", to=9), None)
    everything = {"fraud": {"champion": 6, "shadow": None}, "churn": {"champion": 4}}
    assert numbers(ledger.read_last_known_versions()) == everything
    assert numbers(ledger.read_last_known_versions(["churn", "nobody"])) == {"churn": {"champion": 4}}
    assert (
        numbers(ledger.read_last_known_versions([*(f"m{number}" for number in range(5_000)), "fraud", "churn"])) == everything
    )
    assert numbers(ledger.read_last_known_versions([])) == {}


def test_only_first_leaves_alone_what_is_recorded(ledger: Ledger) -> None:
    """Any record counts, an open intent too, and so does an earlier one of the same call."""
    ledger.record_intent(change(), None)
    ledger.record_observed_moves(
        [seen(to=1), seen("churn", to=2), seen("churn", to=3), seen(alias="shadow", to=4)], only_first=True
    )
    ledger.record_observed_moves([seen("churn", to=9)], only_first=True)
    assert numbers(ledger.read_last_known_versions()) == {"churn": {"champion": 2}, "fraud": {"shadow": 4}}
    ledger.record_observed_moves([seen("churn", to=9)])
    assert numbers(ledger.read_last_known_versions(["churn"])) == {"churn": {"champion": 9}}


def test_held_before_knows_moves_agreements_and_the_first_holder(ledger: Ledger) -> None:
    """Not what was only intended, nor what another alias held."""
    ledger.record_observed_moves([seen(to=5, since=4), seen(to=None, since=5)])
    ledger.record_last_applied(remembered({"fraud": {"champion": 2}}), "abc", NOW)
    ledger.record_intent(change(to=9), None)
    held = [version for version in range(1, 10) if ledger.has_held_alias("fraud", "champion", present(version, NOW))]
    assert held == [2, 4, 5]
    assert not ledger.has_held_alias("fraud", "shadow", present(5, NOW))


def test_records_are_filtered_and_paged(ledger: Ledger) -> None:
    """Each restriction by itself and together, upwards from an id, or the newest; ascending in any case."""
    ledger.record_observed_moves([seen("a", to=1), seen("b", to=2), seen("a", "shadow", to=3)])
    intent = ledger.record_intent(change("a", to=4), None)

    def found(**where: object) -> list[int | None]:
        return [record.fact.to_version for record in ledger.find_audit_records(RecordFilter(**where))]  # type: ignore[arg-type]

    assert found() == [1, 2, 3, 4]
    assert found(model="a") == [1, 3, 4]
    assert found(model="a", alias="champion") == [1, 4]
    assert found(kind=RecordKind.OBSERVED, model="a") == [1, 3]
    assert found(outcome=ChangeOutcome.INTENDED) == [4]
    assert found(after=intent - 1) == [4]
    assert found(limit=2) == [1, 2]
    assert found(limit=2, newest=True) == [3, 4]


def test_a_decision_that_says_the_same_again_is_one_row(ledger: Ledger) -> None:
    """The time and the revision do not make it another; the intents name the same row, until another decision comes."""
    again = replace(DECISION, at=NOW + timedelta(hours=1))
    other = replace(DECISION, verdict=Verdict.FAIL)
    for decision in (DECISION, again, other, DECISION):
        ledger.record_intent(change(), decision)
    first, second, third, fourth = (record.decision for record in ledger.find_audit_records(RecordFilter()))
    assert first == second
    assert len({first, third, fourth}) == 3
    assert len(ledger.list_recent_decisions()) == 3


def test_decisions_in_bulk_are_recorded_once(ledger: Ledger) -> None:
    """Per model, alias (or none) and version; within one call as well."""
    decisions = [
        DECISION,
        replace(DECISION, alias=None),
        replace(DECISION, version=9),
        replace(DECISION, model="churn"),
        DECISION,
    ]
    ledger.record_decisions(decisions, "abc")
    ledger.record_decisions(decisions, "def")
    assert len(ledger.list_recent_decisions()) == 4
    failing = replace(DECISION, verdict=Verdict.FAIL)
    ledger.record_decisions([failing, DECISION], "ghi")
    assert [row.tree["verdict"] for row in ledger.list_recent_decisions("fraud", "champion", limit=2)] == ["pass", "fail"]
    assert [row.tree["model"] for row in ledger.list_recent_decisions("churn")] == ["churn"]


def test_a_decision_comes_back_with_its_tree_and_its_evidence(ledger: Ledger) -> None:
    """As they were recorded, NaN in words, and null where there was none."""
    run = TrainingRun("r1", "FINISHED", {"auc": float("nan"), "loss": float("-inf")})
    evidence = Evidence(NOW, VersionEvidence(8, {"team": "Grün"}, "r1", run), {"champion": None}, model="fraud")
    ledger.record_decisions([replace(DECISION, evidence=evidence, enforcement="audit"), replace(DECISION, version=9)], "abc")
    without, having = ledger.list_recent_decisions()
    assert (having.at, having.revision, having.tree) == (NOW, "abc", replace(DECISION, enforcement="audit").to_json())
    assert having.evidence == evidence.to_json()
    assert Evidence.from_json(having.evidence).to_json() == evidence.to_json()
    assert without.evidence is None


def test_an_enforcement_that_changes_is_another_decision(ledger: Ledger) -> None:
    """Whether a verdict blocks is part of what was decided."""
    ledger.record_decisions([DECISION, replace(DECISION, enforcement="audit"), replace(DECISION, enforcement="audit")], "abc")
    assert [row.tree["enforcement"] for row in ledger.list_recent_decisions()] == ["audit", "enforce"]


def test_past_evidence_is_that_of_every_decision_oldest_first(ledger: Ledger) -> None:
    """Of all models, of some, and of more than fit into one statement; decisions without evidence are left out."""
    evidence = Evidence(NOW, VersionEvidence(8))
    names = [f"m{number % 5}" for number in range(250)]
    given = [
        replace(DECISION, model=name, version=number, evidence=evidence if number % 2 else None)
        for number, name in enumerate(names)
    ]
    ledger.record_decisions(given, "abc")

    def found(models: list[str] | None = None) -> list[tuple[str, int]]:
        return [(row.tree["model"], row.tree["version"]) for row in ledger.iterate_decisions_with_evidence(models)]

    everything = [(name, number) for number, name in enumerate(names) if number % 2]
    assert found() == everything
    assert found(["m1", "m3", "nobody"]) == [(name, number) for name, number in everything if name in {"m1", "m3"}]
    assert found(["m1", "m3", *(f"n{number}" for number in range(5_000))]) == found(["m1", "m3"])
    assert found([]) == []
    assert {(row.at, row.revision) for row in ledger.iterate_decisions_with_evidence()} == {(NOW, "abc")}


def test_past_evidence_takes_no_more_memory_than_a_page_of_it(ledger: Ledger) -> None:
    """However much there is; whoever stops in the middle holds nothing any more, and others may write meanwhile."""
    large = Evidence(NOW, VersionEvidence(8, {"note": "x" * 20_000}))
    ledger.record_decisions([replace(DECISION, version=number, evidence=large) for number in range(1_000)], "abc")
    tracemalloc.start()
    try:
        stream = ledger.iterate_decisions_with_evidence()
        assert next(stream).tree["version"] == 0
        ledger.record_decisions([replace(DECISION, version=1_000, evidence=large)], "abc")
        assert sum(1 for _ in stream) == 999
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    stopped = ledger.iterate_decisions_with_evidence()
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert ledger._database._engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_only_next_leaves_out_what_somebody_else_has_recorded(ledger: Ledger, database_url: str) -> None:
    """Another replica was faster: the same move is not recorded twice, and an older one not behind a newer one."""
    other = SqlLedger.open(database_url)
    other.record_observed_moves([seen(to=1), seen("churn", to=2)], only_first=True)
    ledger.record_observed_moves([seen(to=1), seen("churn", to=3), seen("fresh", to=4)], only_next=True)
    assert [(each.fact.model, each.fact.to_version) for each in ledger.find_audit_records(RecordFilter())] == [
        ("fraud", 1), ("churn", 2), ("fresh", 4),
    ]  # fmt: skip
    other.record_observed_moves([seen(to=2, since=1), seen(to=1, since=2)], only_next=True)
    ledger.record_observed_moves([seen(to=None, since=1)], only_next=True)
    ledger.record_observed_moves([seen(to=5, since=1)], only_next=True)
    assert [each.fact.to_version for each in ledger.find_audit_records(RecordFilter(model="fraud"))] == [1, 2, 1, None]
    other.close_connections()


def test_of_replicas_that_see_the_same_at_once_one_records_it(ledger: Ledger, database_url: str) -> None:
    """One reconciles all models, one holds a model's lock: what is recorded is read in the transaction that adds."""
    models = [f"m-{number:02}" for number in range(30)]
    other, together = SqlLedger.open(database_url), threading.Barrier(2, timeout=20)

    def record(one: SqlLedger | Ledger, how: str) -> None:
        for model in models:
            together.wait()
            one.record_observed_moves([seen(model, to=1)], **{how: True})

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(record, ledger, "only_next"), pool.submit(record, other, "only_first")]:
            each.result()
    assert sorted(each.fact.model for each in ledger.find_audit_records(RecordFilter())) == models
    other.close_connections()
