"""The published schema of events: every type of event keeps to it, and it names every field that any of them has."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.links import MlflowAddresses
from promoter.domain.notifications import (
    EVENT_DATA_SCHEMA,
    EntryContext,
    EventBuilder,
    EventType,
    NotificationEvent,
    SourceEntry,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "event.schema.json").read_text())
NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
REVIEW = {
    "pull_request": "https://git.example.org/ml/registry/pull/7",
    "number": 7,
    "author": "bob",
    "reviewers": ["carol"],
    "merged_by": None,
    "merge_commit": None,
}
MLFLOW = MlflowAddresses.build("https://bot:hunter2@mlflow.example.org", "https://bot:hunter2@mlflow.example.org", None)
BUILDER = EventBuilder("led", "https://promoter.example.org", MLFLOW)
CHANGE = NewAuditRecord(
    NOW,
    RecordKind.CHANGE,
    "fraud",
    "champion",
    8,
    7,
    "r1",
    policy="champion",
    outcome=ChangeOutcome.APPLIED,
    cause="commit",
    review=REVIEW,
    run_id="run-7",
    from_identity="i8",
    to_identity="i7",
)
OVERRIDE = replace(CHANGE, kind=RecordKind.OVERRIDE, outcome=None, actor="alice", reason="bad", until=NOW + timedelta(hours=24))
INTERVAL = {"low": 0.01, "high": 0.2, "level": 0.95}
RULES = [
    {"rule": "auc", "verdict": "fail", "value": 0.8, "expected": "at least 0.9"},
    {"rule": "any of", "verdict": "fail", "value": None, "expected": "one of", "rules": [], "interval": INTERVAL},
    {"rule": "tag", "verdict": "pass", "value": "x", "expected": "y", "waived": {"verdict": "fail", "waiver": "w"}},
]
TREE = {"model": "fraud", "alias": "champion", "version": 9, "policy": "champion", "policy_digest": "d", "verdict": "fail"}
BLOCKED = RecordedDecision(31, NOW, "r2", {**TREE, "rules": RULES}, None, gate=True, trigger="git", tool="1", hash="h")
EXPIRING = {"override": 4, "model": "fraud", "alias": "champion", "version": 7, "replaces": 8, "by": "alice", "reason": "bad"}
EXPIRING |= {"then": "v8 returns"}
REFUSED = {"revision": "abc", "reason": "one\ntwo", "in_force": None, "author": "bob <b@example.org>"}
SOURCES: list[tuple[SourceEntry, EntryContext]] = [
    (AuditRecord(1, CHANGE, 2, 3, "h"), EntryContext(is_return=True)),
    (AuditRecord(2, replace(CHANGE, kind=RecordKind.OBSERVED, outcome=None, not_before=NOW, to_version=None)), EntryContext()),
    (AuditRecord(3, replace(CHANGE, kind=RecordKind.REPLACED, outcome=None, cause="replaced")), EntryContext()),
    (AuditRecord(4, replace(OVERRIDE, workspace="team-a")), EntryContext()),
    (AuditRecord(5, OVERRIDE, intent=4), EntryContext()),
    (BLOCKED, EntryContext(8, "run-9", REVIEW["pull_request"], workspace="team-a")),
    (
        LifecycleEvent(NOW, LifecycleEventType.OVERRIDE_EXPIRING, {**EXPIRING, "until": NOW.isoformat()}, 6),
        EntryContext(run_id="run-7"),
    ),
    (LifecycleEvent(NOW, LifecycleEventType.REVISION_REFUSED, REFUSED, 7), EntryContext()),
]


def build_all() -> dict[EventType, NotificationEvent]:
    """One event of each type, the last one of those that there are."""
    events = [event for entry, context in SOURCES for event in BUILDER.build_events(entry, context)]
    return {event.type: event for event in (*events, BUILDER.build_test_event("n", NOW))}


@pytest.mark.parametrize("of", EventType)
def test_an_event_keeps_to_the_schema(of: EventType) -> None:
    """By the schema that its `dataschema` names; a receiver finds each of its fields there, with what it means."""
    event = build_all()[of]
    assert event.to_json()["dataschema"] == EVENT_DATA_SCHEMA == SCHEMA["$id"]
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(event.to_json()["data"])))
    assert event.data.keys() <= SCHEMA["properties"].keys()
    for name, each in SCHEMA["properties"].items():
        assert each.get("description") or "$ref" in str(each), name


def test_what_one_can_act_on() -> None:
    """What moved or did not, by which addresses it is found, and where it is decided; no address has a password."""
    events = build_all()
    back, blocked, ends = (events[of].data for of in (EventType.ROLLED_BACK, EventType.BLOCKED, EventType.OVERRIDE_EXPIRING))
    version = "https://mlflow.example.org/#/models/fraud/versions/"
    assert (back["version"], back["previous_version"], back["run_id"], back["entry"]) == (7, 8, "run-7", 1)
    assert (back["model_uri"], back["tracking_uri"]) == ("models:/fraud/7", "https://mlflow.example.org")
    assert back["links"] == {
        "page": "https://promoter.example.org/?q=fraud",
        "version": f"{version}7",
        "run": "https://mlflow.example.org/#/runs/run-7",
        "pull_request": REVIEW["pull_request"],
    }
    assert (blocked["version"], blocked["previous_version"], blocked["run_id"]) == (9, 8, "run-9")
    assert (blocked["policy"], blocked["decision"], blocked["pull_request"]) == ("champion", 31, REVIEW["pull_request"])
    assert (ends["version"], ends["previous_version"], ends["model_uri"]) == (7, 8, "models:/fraud/7")
    gone = events[EventType.DRIFTED].data
    assert (gone["version"], gone["model_uri"], gone["links"]["version"]) == (None, None, None)
    assert "hunter2" not in json.dumps([each.to_json() for each in events.values()])
