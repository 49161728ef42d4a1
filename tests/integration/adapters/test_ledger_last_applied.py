"""The ledger's contract on each kind of database: what was last applied, deliveries, and states of revisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.chain import RecentDeliveries
from promoter.application.ports import Ledger
from promoter.domain.audit import NewAuditRecord, RecordKind, RevisionState, WebhookDelivery
from promoter.domain.errors import PermanentError
from tests.support.fixtures.ledger import rows
from tests.support.remembered import numbers, remembered

pytestmark = pytest.mark.each_database

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
ATTEMPTED, APPLIED, REFUSED = RevisionState.ATTEMPTED, RevisionState.APPLIED, RevisionState.REFUSED


def test_last_applied_is_the_last_agreement(ledger: Ledger, database_url: str) -> None:
    """By model and alias; to agree on the same again writes nothing, to come back to an earlier version does."""
    ledger.record_last_applied(remembered({"fraud": {"champion": 7, "legacy": None}, "churn": {"champion": 1}}), "r1", NOW)
    ledger.record_last_applied(remembered({"fraud": {"champion": 7, "legacy": None}}), "r2", NOW)
    assert rows(database_url, "settled") == 3
    ledger.record_last_applied(remembered({"fraud": {"champion": 8, "legacy": 3}}), "r3", NOW)
    ledger.record_last_applied(remembered({"fraud": {"champion": 7, "legacy": None}}), "r4", NOW)
    assert rows(database_url, "settled") == 7
    assert numbers(ledger.read_last_applied()) == {"fraud": {"champion": 7, "legacy": None}, "churn": {"champion": 1}}
    assert numbers(ledger.read_last_applied(["churn"])) == {"churn": {"champion": 1}}


def test_only_first_leaves_earlier_agreements_alone(ledger: Ledger) -> None:
    """Also where that was absence."""
    ledger.record_last_applied(remembered({"fraud": {"champion": 7, "legacy": None}}), "r1", NOW)
    ledger.record_last_applied(remembered({"fraud": {"champion": 8, "legacy": 2, "shadow": 3}}), None, NOW, only_first=True)
    assert numbers(ledger.read_last_applied()) == {"fraud": {"champion": 7, "legacy": None, "shadow": 3}}


def test_last_applied_revision_is_that_of_the_last_agreement(ledger: Ledger) -> None:
    """The one that began it: neither the same again nor silence is another one; absence can be agreed on."""
    assert ledger.last_applied_revision("fraud", "champion") is None
    ledger.record_last_applied(remembered({"fraud": {"champion": 7, "legacy": 1}}), "r1", NOW)
    ledger.record_last_applied(remembered({"fraud": {"champion": 7}}), "r2", NOW)
    assert ledger.last_applied_revision("fraud", "champion") == "r1"
    ledger.record_last_applied(remembered({"fraud": {"champion": None}}), "r3", NOW)
    ledger.record_last_applied(remembered({"churn": {"champion": 2}}), "r4", NOW)
    assert ledger.last_applied_revision("fraud", "champion") == "r3"
    ledger.forget_last_applied({"fraud": ["champion", "legacy"]}, "r5", NOW)
    assert [ledger.last_applied_revision("fraud", alias) for alias in ("champion", "legacy", "shadow")] == ["r3", "r1", None]
    intent = ledger.record_intent(NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", None, 8, "r6"), None)
    assert ledger.last_applied_revision("fraud", "champion") == "r3"
    ledger.record_outcome(intent, "applied", NOW)
    assert ledger.last_applied_revision("fraud", "champion") == "r6"
    ledger.record_last_applied(remembered({"fraud": {"champion": 9}}), None, NOW)
    assert ledger.last_applied_revision("fraud", "champion") is None


def test_a_delivery_is_recorded_once_for_each_source(ledger: Ledger) -> None:
    """Two senders may use the same id."""
    first = WebhookDelivery("mlflow", "id-1", NOW, "model_version_tag.set", "fraud")
    assert ledger.record_delivery(first)
    assert not ledger.record_delivery(first)
    assert ledger.record_delivery(WebhookDelivery("github", "id-1", NOW, "push"))


def test_a_delivery_is_chained_in_front_of_the_entry_that_it_led_to(ledger: SqlLedger) -> None:
    """Once, however many entries name it as their trigger; one that led to nothing is in memory only."""
    for number in ("useful", "useless"):
        assert ledger.record_delivery(WebhookDelivery("mlflow", number, NOW, "e", "fraud"))
    assert "deliveries" not in {entry.table for entry in ledger.iterate_entries()}
    for version in (7, 8):
        record = NewAuditRecord(
            NOW, RecordKind.CHANGE, "fraud", "champion", None, version, "r1", trigger="webhook:mlflow:useful"
        )
        ledger.record_outcome(ledger.record_intent(record, None), "applied", NOW)
    chained = [entry for entry in ledger.iterate_entries() if entry.table in ("deliveries", "records")]
    assert [entry.table for entry in chained] == ["deliveries", *["records"] * 4]
    assert json.loads(chained[0].body)["delivery"] == "useful"
    assert not ledger.record_delivery(WebhookDelivery("mlflow", "useful", NOW, "e", "fraud"))
    assert not ledger.record_delivery(WebhookDelivery("mlflow", "useless", NOW, "e", "fraud"))


def test_only_the_newest_deliveries_are_remembered() -> None:
    """Memory does not grow: a duplicate of one that was forgotten is taken once more."""
    recent = RecentDeliveries(limit=2)
    sent = [WebhookDelivery("mlflow", str(number), NOW, "e") for number in range(3)]
    assert [recent.add(each) for each in (*sent, sent[2], sent[0])] == [True, True, True, False, True]


def test_a_delivery_that_no_database_can_keep_is_refused_in_words(ledger: Ledger) -> None:
    """A lone surrogate is valid JSON, and no text: it ends that delivery, not the program."""
    with pytest.raises(PermanentError, match="no database can keep"):
        ledger.record_delivery(WebhookDelivery("mlflow", "id-1", NOW, "registered_model.created", "\ud800"))


def test_a_repeated_revision_state_writes_nothing(ledger: Ledger, database_url: str) -> None:
    """The same state with the same detail is not new, unless another revision had that state in between."""
    assert ledger.find_last_revision(APPLIED) is None
    for revision, state, detail, expected in (
        ("r1", APPLIED, None, 1),
        ("r1", APPLIED, None, 1),
        ("r2", REFUSED, "line 3", 2),
        ("r1", APPLIED, None, 2),
        ("r2", REFUSED, "line 3", 2),
        ("r2", REFUSED, "line 4", 3),
        ("r3", APPLIED, None, 4),
        ("r1", APPLIED, None, 5),
        ("r1", ATTEMPTED, None, 6),
        ("r1", APPLIED, None, 7),
    ):
        ledger.record_revision_state(revision, state, NOW, detail)
        assert rows(database_url, "revisions") == expected, (revision, state, detail)
    assert [ledger.find_last_revision(state) for state in (APPLIED, REFUSED, ATTEMPTED)] == ["r1", "r2", "r1"]
