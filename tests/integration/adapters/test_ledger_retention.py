"""Retention in each kind of database: what only old decisions refer to goes, in portions that are each accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from promoter.adapters.ledger import SqlLedger, decisions
from promoter.domain.decision import Decision, DecisionBasis, DecisionPurpose, RuleFinding, Verdict
from promoter.domain.errors import TransientError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.ledger.chain import LedgerHead, advance_head, parse_entry_facts, seal_entry
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from tests.support.fixtures.ledger import NOW, outside, rows

pytestmark = pytest.mark.each_database

CUT = NOW + timedelta(days=10)
LATER = NOW + timedelta(days=400)
BASIS = DecisionBasis("version: 1\nrules: []\n", "version: 1\napprovers: {}\n")


def decision(day: float, version: int, evidence: Evidence | None = None) -> Decision:
    """Of that many days after the beginning."""
    at = NOW + timedelta(days=day)
    found = RuleFinding("metric auc at_least 0.9", Verdict.PASS, 0.93, "at least 0.9")
    own = evidence or Evidence(at, VersionEvidence(version, {"day": str(day)}))
    return Decision(
        "fraud", "champion", version, "p", "d", Verdict.PASS, (found,), at, own, basis=BASIS, purpose=DecisionPurpose.GATE
    )


def retentions(ledger: SqlLedger) -> Sequence[LifecycleEvent]:
    """What the ledger says of them."""
    return [each for each in ledger.find_lifecycle_events() if each.event is LifecycleEventType.RETENTION]


def kept(ledger: SqlLedger) -> list[int]:
    """The versions of the decisions whose evidence is there."""
    return [int(each.tree["version"]) for each in ledger.iterate_decisions_with_evidence()]


def unbroken(ledger: SqlLedger) -> bool:
    """Whether every entry has the hash of the one before it, and none is missing."""
    head = LedgerHead()
    for entry in ledger.iterate_entries():
        again = seal_entry(head, entry.table, parse_entry_facts(entry))
        if (again.id, again.body, again.hash) != (entry.id, entry.body, entry.hash):
            return False
        head = advance_head(head, entry)
    return head.entry > 0


def test_only_what_old_decisions_alone_refer_to_goes(ledger: SqlLedger) -> None:
    """The same evidence behind a newer one stays, and so do the policy's text and the approvers'; the chain is as it was."""
    shared = Evidence(NOW, VersionEvidence(7))
    ledger.record_decisions(
        [decision(0, 1), decision(9.9, 2), decision(1, 3, shared), decision(10, 4), decision(11, 5, shared)], "r1"
    )
    before = [entry.body for entry in ledger.iterate_entries()]
    assert ledger.count_evidence_before(CUT) == 2
    assert ledger.drop_evidence_before(CUT, "alice", LATER) == 2
    assert kept(ledger) == [3, 4, 5]
    assert [entry.body for entry in ledger.iterate_entries()][: len(before)] == before
    assert unbroken(ledger)
    (dropped,) = retentions(ledger)
    assert dropped.facts == {"actor": "alice", "before": CUT.isoformat(timespec="microseconds"), "dropped": 2}
    assert dropped.at == LATER
    first = next(iter(ledger.iterate_decisions()))
    assert first.evidence is None
    assert ledger.find_blob_text(str(first.evidence_digest)) is None
    assert first.approvers is not None
    assert ledger.find_blob_text(first.approvers) == BASIS.approvers


def test_what_is_dropped_is_dropped_once(ledger: SqlLedger) -> None:
    """Nothing to drop leaves no trace; a decision that says the same later brings its evidence along anew."""
    ledger.record_decisions([decision(0, 1)], None)
    assert ledger.drop_evidence_before(NOW, "alice", LATER) == 0
    assert not retentions(ledger)
    assert [ledger.drop_evidence_before(CUT, "alice", LATER) for _ in range(2)] == [1, 0]
    assert len(retentions(ledger)) == 1
    ledger.record_decisions([replace(decision(20, 1), enforcement="audit")], None)
    assert kept(ledger) == [1]


def test_portions_are_each_accounted_for(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops it in between: what is missing has been recorded, and the next call drops the rest."""
    monkeypatch.setattr(decisions, "DROP_BATCH_SIZE", 3)
    ledger.record_decisions([decision(0, version) for version in range(1, 9)], None)
    drop, calls = SqlLedger._drop_evidence_batch, 0

    def stopped(self: SqlLedger, portion: Sequence[str], before: datetime, actor: str, at: datetime) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise TransientError("ledger", "gone")
        return drop(self, portion, before, actor, at)

    monkeypatch.setattr(SqlLedger, "_drop_evidence_batch", stopped)
    with pytest.raises(TransientError):
        ledger.drop_evidence_before(CUT, "alice", LATER)
    assert [each.facts["dropped"] for each in retentions(ledger)] == [3, 3]
    assert len(kept(ledger)) == 2
    assert ledger.drop_evidence_before(CUT, "alice", LATER) == 2
    assert not kept(ledger)
    assert unbroken(ledger)


def test_text_and_lifecycle_event_go_in_one_transaction(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the record cannot be made, nothing is dropped."""
    ledger.record_decisions([decision(0, 1)], None)

    def fails(*_: object) -> int:
        raise TransientError("ledger", "disk full")

    monkeypatch.setattr(decisions, "append_lifecycle_event", fails)
    with pytest.raises(TransientError):
        ledger.drop_evidence_before(CUT, "alice", LATER)
    assert kept(ledger) == [1]


def test_others_write_between_portions(ledger: SqlLedger, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock is held from one portion to the next."""
    monkeypatch.setattr(decisions, "DROP_BATCH_SIZE", 1)
    ledger.record_decisions([decision(0, version) for version in range(1, 4)], None)
    other, drop = SqlLedger.open(database_url, busy_timeout=0.1), SqlLedger._drop_evidence_batch

    def meanwhile(self: SqlLedger, portion: Sequence[str], before: datetime, actor: str, at: datetime) -> int:
        other.record_decisions([decision(20, 100 + rows(database_url, "decisions"))], None)
        return drop(self, portion, before, actor, at)

    monkeypatch.setattr(SqlLedger, "_drop_evidence_batch", meanwhile)
    assert ledger.drop_evidence_before(CUT, "alice", LATER) == 3
    other.close_connections()
    assert len(kept(ledger)) == 3
    assert unbroken(ledger)


def test_nothing_but_texts_can_be_deleted(ledger: SqlLedger, database_url: str) -> None:
    """By anybody: an entry stays."""
    ledger.record_decisions([decision(0, 1)], None)
    with outside(database_url) as connection, pytest.raises(Exception, match="append-only"):
        connection.exec_driver_sql("DELETE FROM decisions")
    assert rows(database_url, "decisions") == 1


def test_the_purpose_and_the_texts_digests_are_part_of_the_entry(ledger: SqlLedger) -> None:
    """So that nobody changes what a decision was made for, or on, without a trace."""
    ledger.record_decisions([decision(0, 1)], "r1", "webhook:mlflow:d-1")
    (entry,) = [each for each in ledger.iterate_entries() if each.table == "decisions"]
    (recorded,) = ledger.iterate_decisions()
    facts = parse_entry_facts(entry)
    assert (facts["purpose"], facts["trigger"]) == ("gate", "webhook:mlflow:d-1")
    assert (recorded.purpose, recorded.trigger, recorded.evidence_digest) == ("gate", "webhook:mlflow:d-1", facts["evidence"])
    assert (recorded.approvers, recorded.tool) == (facts["approvers"], facts["tool"])
