"""Events: which entries are told, as what, and in which words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from promoter.application.responses.ledger import RecordResponse
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.notifications import (
    _SENTENCES,
    CHANNEL_EVENT_TYPES,
    LIFECYCLE_SOURCES,
    EventBuilder,
    EventType,
    NotificationEvent,
    _name_subject,
    select_event_types,
)
from promoter.settings import EventName

NOW = datetime(2026, 11, 23, 18, 30, 0, 5, tzinfo=UTC)
TELLER = EventBuilder("led-1")
CHANGE = NewAuditRecord(
    NOW,
    RecordKind.CHANGE,
    "fraud",
    "champion",
    7,
    8,
    revision="r1",
    actor="Alice <alice@example.org>",
    trigger="webhook:mlflow",
    policy="champion",
    verdict="pass",
    outcome=ChangeOutcome.APPLIED,
    reason="Rotate fraud@champion from v7 to v8",
    cause="commit",
)
SEEN = NewAuditRecord(NOW, RecordKind.OBSERVED, "fraud", "champion", 8, 9, reason="moved outside Promoter")
TREE: dict[str, Any] = {
    "model": "fraud",
    "alias": "champion",
    "version": 9,
    "policy": "champion",
    "policy_digest": "d1",
    "verdict": "fail",
    "enforcement": "enforce",
    "at": NOW.isoformat(),
    "rules": [
        {"rule": "metric auc at least 0.9", "verdict": "fail", "value": 0.8, "expected": "at least 0.9"},
        {"rule": "tag approved_by", "verdict": "pass", "value": "risk", "expected": "present"},
        {"rule": "age at least 1d", "verdict": "pending", "value": 0, "expected": "1d"},
    ],
}
BLOCKED = RecordedDecision(31, NOW, "r2", TREE, None, gate=True, trigger="git", tool="0.1.0", hash="h31")


def told(fact: NewAuditRecord, number: int = 12) -> list[str]:
    """The words of the types of what a record stands for."""
    return [each.type.short_name for each in TELLER.build_events(AuditRecord(number, fact, hash="h"))]


@pytest.mark.parametrize(
    ("changed", "types"),
    [
        ({}, ["changed"]),
        ({"outcome": ChangeOutcome.RECOVERED}, ["changed"]),
        ({"outcome": ChangeOutcome.FAILED}, []),
        ({"outcome": ChangeOutcome.INTENDED}, []),
        ({"kind": RecordKind.OVERRIDE, "outcome": None, "cause": "override", "until": NOW}, ["override-started"]),
        ({"to_version": None, "cause": "prune"}, ["changed"]),
        ({"from_version": None}, ["changed"]),
        ({"cause": "drift", "hold": "bad recall", "to_version": 6}, ["changed"]),
        ({"cause": "override"}, ["changed", "rolled-back"]),
        ({"cause": "override", "outcome": ChangeOutcome.RECOVERED}, ["changed", "rolled-back"]),
        ({"to_version": 6}, ["changed"]),
        ({"to_version": 6, "hold": "bad recall"}, ["changed", "rolled-back"]),
        ({"to_version": 6, "hold": "bad recall", "outcome": ChangeOutcome.FAILED}, []),
        ({"to_version": 9, "hold": "bad recall"}, ["changed"]),
        ({"to_version": None, "hold": "bad recall"}, ["changed"]),
        ({"to_version": 6, "policy": None}, ["changed", "rolled-back"]),
        ({"to_version": 6, "policy": None, "verdict": None}, ["changed"]),
    ],
)
def test_what_a_change_is_told_as(changed: dict[str, Any], types: list[str]) -> None:
    """Moves only; rolled back is what an override brings, or a commit with a lower version under a hold."""
    assert told(replace(CHANGE, **changed)) == types


@pytest.mark.parametrize(
    ("changed", "types"),
    [
        ({}, ["changed", "drifted"]),
        ({"to_version": None}, ["changed", "drifted"]),
        ({"from_version": None}, ["changed", "drifted"]),
        ({"from_version": None, "reason": "first seen"}, []),
    ],
)
def test_what_others_moved_is_drift(changed: dict[str, Any], types: list[str]) -> None:
    """An alias that was deleted and comes back moved; one that Promoter sees for the first time did not."""
    assert told(replace(SEEN, **changed)) == types


@pytest.mark.parametrize(
    ("decision", "types"),
    [
        (BLOCKED, ["blocked"]),
        (replace(BLOCKED, tree={**TREE, "verdict": "pending"}), ["blocked"]),
        (replace(BLOCKED, tree={**TREE, "verdict": "error"}), ["blocked"]),
        (replace(BLOCKED, tree={**TREE, "verdict": "pass"}), []),
        (replace(BLOCKED, tree={**TREE, "enforcement": "audit"}), []),
        (replace(BLOCKED, gate=False), []),
    ],
)
def test_only_a_gate_that_stops_a_change_blocks(decision: RecordedDecision, types: list[str]) -> None:
    """Not a candidate that was judged, nor a policy that only watches."""
    assert [each.type.short_name for each in TELLER.build_events(decision)] == types


def test_the_form_of_an_event() -> None:
    """CloudEvents 1.0: the same bytes each time, in order as text, with everything that the record tells."""
    (event,) = TELLER.build_events(AuditRecord(12, CHANGE, intent=11, decision=10, hash="h12"))
    form = event.to_json()
    data = form.pop("data")
    assert form == {
        "specversion": "1.0",
        "id": "led-1/12/changed",
        "type": "dev.promoter.alias.changed",
        "source": "urn:promoter:led-1",
        "subject": "fraud@champion",
        "time": "2026-11-23T18:30:00.000005Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:promoter:schema:event:1",
        "sequence": "00000000000000000012",
    }
    record = RecordResponse.from_value(AuditRecord(12, CHANGE, intent=11, decision=10, hash="h12")).to_json()
    summary = "fraud@champion moved from v7 to v8: Rotate fraud@champion from v7 to v8 (by Alice)"
    common = {
        "entry": 12,
        "version": 8,
        "previous_version": 7,
        "run_id": None,
        "model_uri": "models:/fraud/8",
        "tracking_uri": None,
        "pull_request": None,
        "links": dict.fromkeys(("page", "version", "run", "pull_request")),
    }
    assert data == {"schema": 1, "ledger": "led-1", "summary": summary, **common, **record}
    assert list(data)[:4] == ["schema", "ledger", "entry", "summary"]
    assert json.loads(json.dumps(event.to_json())) == event.to_json()
    assert "." not in event.id, "a signature is over ID.TIME.BODY"


def test_the_form_of_a_blocked_change() -> None:
    """The tree of the decision, and which rules stand in the way."""
    (event,) = TELLER.build_events(BLOCKED)
    assert (event.id, event.subject, event.entry) == ("led-1/31/blocked", "fraud@champion", 31)
    assert event.summary_line == (
        "fraud@champion does not move to v9: policy champion says fail: "
        "metric auc at least 0.9 is fail; age at least 1d is pending"
    )
    assert (event.data["rules"], event.data["version"], event.data["revision"]) == (TREE["rules"], 9, "r2")


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (
            replace(SEEN, not_before=NOW - timedelta(minutes=5)),
            "fraud@champion was moved from v8 to v9 outside of Promoter between 2026-11-23 18:25 UTC and 2026-11-23 18:30 UTC",
        ),
        (replace(SEEN, to_version=None), "fraud@champion was moved from v8 to none outside of Promoter"),
        (replace(CHANGE, reason=None, actor=None), "fraud@champion moved from v7 to v8"),
        (replace(CHANGE, reason="a\x1b[31m\nb", actor=None), r"fraud@champion moved from v7 to v8: a\x1b[31m\nb"),
    ],
)
def test_words(fact: NewAuditRecord, words: str) -> None:
    """For people; nothing in them paints over a terminal."""
    assert TELLER.build_events(AuditRecord(1, fact))[0].summary_line == words


def test_a_rollback_says_so() -> None:
    """Both events have the words of what they are."""
    fact = replace(CHANGE, from_version=8, to_version=7, cause="override", reason="bad recall")
    changed, back = TELLER.build_events(AuditRecord(4, fact))
    assert changed.summary_line == "fraud@champion moved from v8 to v7: bad recall (by Alice)"
    assert back.summary_line == "fraud@champion went back from v8 to v7: bad recall (by Alice)"
    assert (changed.id, back.id) == ("led-1/4/changed", "led-1/4/rolled-back")


def test_whose_events_they_are() -> None:
    """The address of this Promoter is the source, where it is known; the ids stay the same."""
    known = EventBuilder("led-1", "https://promoter.example.org/")
    (here,), (nowhere,) = (each.build_events(AuditRecord(12, CHANGE)) for each in (known, TELLER))
    assert here.source == "https://promoter.example.org"
    assert here.id == nowhere.id


def test_a_test_tells_nothing() -> None:
    """It is of a type of its own, which nobody takes for news."""
    event = TELLER.build_test_event("n1", NOW)
    assert isinstance(event, NotificationEvent)
    assert (event.id, event.type.value, event.entry) == ("led-1/test/n1", "dev.promoter.test", 0)
    assert EventType.TEST not in CHANNEL_EVENT_TYPES
    assert {each.short_name for each in CHANNEL_EVENT_TYPES} == set(get_args(EventName))


def test_an_override_that_ends_soon() -> None:
    """A lifecycle event of the ledger is an event of its own; the others are none."""
    facts = {"override": 4, "model": "fraud", "alias": "champion", "version": 1, "replaces": 2}
    facts |= {"until": NOW.isoformat()}
    (event,) = TELLER.build_events(LifecycleEvent(NOW, LifecycleEventType.OVERRIDE_EXPIRING, facts, 9))
    assert (event.id, event.type.value, event.subject) == (
        "led-1/9/override-expiring",
        "dev.promoter.override.expiring",
        "fraud@champion",
    )
    assert event.summary_line == (
        "the override of fraud@champion to v1 ends at 2026-11-23 18:30 UTC: then v2 returns, unless it is merged"
    )
    assert TELLER.build_events(LifecycleEvent(NOW, LifecycleEventType.WATCHING, {}, 10)) == ()


def test_every_lifecycle_source_has_a_sentence() -> None:
    """A type of lifecycle event that is an event has its words, so that no round of a channel stops at it."""
    assert set(_SENTENCES) == set(LIFECYCLE_SOURCES.values())
    assert _name_subject({"revision": "abc", "reason": "2 faults"}) == "abc"
    assert _name_subject({"model": "fraud", "alias": "champion", "revision": "abc"}) == "fraud@champion"


def test_who_asks_for_rollbacks_hears_of_overrides() -> None:
    """At the end of an override the version returns that was rolled back."""
    overrides = {"override-started", "override-expiring", "override-ended"}
    assert {each.short_name for each in select_event_types(["blocked"])} == {"blocked", *overrides}
    assert {each.short_name for each in select_event_types(["rolled-back", "changed"])} == {
        "rolled-back",
        "changed",
        *overrides,
    }
    assert {each.short_name for each in select_event_types(["changed"])} == {"changed"}
    assert select_event_types([]) == frozenset(CHANNEL_EVENT_TYPES)
