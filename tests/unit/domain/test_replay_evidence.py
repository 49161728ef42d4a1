"""Evidence of a replay: as of then, recorded later, or as of now; and the rules that nobody can answer any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Verdict
from promoter.domain.evidence import TagObservation, VersionEvidence
from promoter.domain.fields import parse_past_moment
from promoter.domain.replay.as_of import EvidenceBasis, EvidenceLog
from promoter.domain.replay.simulate import simulate_rotation
from tests.support.strategies.plans import NOW
from tests.support.strategies.replays import (
    APPROVAL,
    BOUND,
    END,
    LOADS,
    REVIEW,
    evidence,
    history,
    hours,
    lens,
    record,
)


@pytest.mark.parametrize(
    ("at", "auc", "basis", "as_of"),
    [
        (1, 0.5, EvidenceBasis.LATER, 2),
        (2, 0.5, EvidenceBasis.THEN, None),
        (5, 0.5, EvidenceBasis.THEN, None),
        (9, 0.6, EvidenceBasis.THEN, None),
    ],
)
def test_evidence_as_of_then(at: float, auc: float, basis: EvidenceBasis, as_of: float | None) -> None:
    """The last record at or before the moment, else the first after it, which says when it is from."""
    memory = EvidenceLog()
    for hour, value in ((2, 0.5), (4, 0.5), (6, 0.6)):
        memory.add_decision(record(hour, evidence(1, (0, value))))
    found = history({1: (0, 0.9)}, memory=memory).build_version_as_of(lens(), 1, hours(at))
    assert found.evidence.run is not None
    assert found.evidence.run.metrics == {"auc": auc}
    assert (found.source.basis, found.source.as_of) == (basis, hours(as_of) if as_of else None)


@pytest.mark.parametrize(
    "recorded",
    [
        replace(evidence(1, (0, 0.5)), run=None),
        replace(evidence(1, (0, 0.5)), created_at=hours(-50)),
        replace(evidence(2, (0, 0.5))),
    ],
    ids=["the run was not asked for", "an earlier model of that name", "another version"],
)
def test_evidence_as_of_now(recorded: VersionEvidence) -> None:
    """What the ledger does not know is what MLflow says now, and is told so."""
    memory = EvidenceLog()
    memory.add_decision(record(2, recorded))
    found = history({1: (0, 0.9), 2: (0, 0.9)}, memory=memory).build_version_as_of(lens(), 1, hours(5))
    assert found.evidence.run is not None
    assert (found.evidence.run.metrics, found.source.basis) == ({"auc": 0.9}, EvidenceBasis.NOW)


def test_a_judgement_is_as_good_as_its_weakest_part() -> None:
    """The versions that it compares with count, and where it comes from who held another alias."""
    memory = EvidenceLog()
    memory.add_decision(record(1, evidence(2, (0, 0.5))))
    seen = history({1: (0, 0.4), 2: (0, 0.5)}, memory=memory)
    assert seen.build_evidence_as_of(lens(), 2, hours(3), None)[1].source.basis is EvidenceBasis.THEN
    assert seen.build_evidence_as_of(lens(), 2, hours(3), 1)[1].source.basis is EvidenceBasis.NOW
    other = lens({"metric": "auc", "beats": "challenger", "order": "highest"})
    assert seen.build_evidence_as_of(other, 2, hours(3), None)[1].source.basis is EvidenceBasis.NOW
    watched = history({1: (0, 0.4), 2: (0, 0.5)}, memory=memory, challenger=[(1, None, 1), (2, 1, None)])
    assert watched.build_evidence_as_of(other, 2, hours(3), None)[1].source.basis is EvidenceBasis.THEN


def test_a_description_of_then_and_of_now() -> None:
    """MLflow keeps no history of descriptions: without a record of the ledger, the text is that of today, and says so."""
    described = lens({"description": {"present": True}}, candidates={"from": "any"})
    now = {1: replace(evidence(1, (0, 0.5)), description="Detects fraud.")}
    found = replace(history({1: (0, 0.5)}), now=now).build_version_as_of(described, 1, hours(3))
    assert (found.evidence.description, found.source.basis, found.unknown) == ("Detects fraud.", EvidenceBasis.NOW, frozenset())
    memory = EvidenceLog()
    memory.add_decision(record(2, replace(evidence(1, (0, 0.5)), description=None)))
    found = replace(history({1: (0, 0.5)}, memory=memory), now=now).build_version_as_of(described, 1, hours(3))
    assert (found.evidence.description, found.source.basis, found.unknown) == (None, EvidenceBasis.THEN, frozenset())


def test_evidence_in_an_unknown_form() -> None:
    """It is counted, and teaches nothing."""
    memory = EvidenceLog()
    memory.add_decision(RecordedDecision(1, NOW, None, {"model": "m"}, {"at": "never"}))
    assert memory.unreadable == 1
    assert history({1: (0, 0.9)}, memory=memory).build_version_as_of(lens(), 1, NOW).source.basis is EvidenceBasis.NOW


NEWEST = lens({"age": {"at_least": "1h"}}, candidates={"from": "any"})


def test_a_policy_that_looks_at_nothing_that_changes() -> None:
    """Its evidence is as of then, whoever tells it."""
    assert history({1: (0, 0.9)}).build_version_as_of(NEWEST, 1, hours(5)).source.basis is EvidenceBasis.THEN


@pytest.mark.parametrize(
    ("at", "tags", "basis"),
    [(0.5, {}, EvidenceBasis.LATER), (1, {}, EvidenceBasis.THEN), (3, {"ok": "yes"}, EvidenceBasis.THEN)],
)
def test_sightings_tell_when_a_tag_was_there(at: float, tags: dict[str, str], basis: EvidenceBasis) -> None:
    """Also where no decision was recorded; and only a tag that was seen being set counts as bound."""
    memory = EvidenceLog()
    for hour, value in ((1, None), (2, "yes")):
        memory.add_observation(TagObservation("m", 1, hours(0), "ok", value, hours(hour)))
    seen = history({1: (0, 0.9)}, memory=memory)
    seen = replace(seen, now={1: evidence(1, (0, 0.9), {"ok": "yes"})})
    policy = lens({"tag": "ok", "present": True, "bound": True}, candidates={"from": "any"})
    found = seen.build_version_as_of(policy, 1, hours(at))
    assert (found.evidence.tags, found.source.basis) == (tags, basis)
    assert (found.evidence.witnessed, found.unknown) == (frozenset(tags), frozenset())
    assert [span.since for span in simulate_rotation(seen, policy, NOW, END).spans] == [hours(2)]


@pytest.mark.parametrize(
    ("rule", "tags", "verdict"),
    [
        (LOADS, {}, Verdict.PASS),
        (APPROVAL, {}, Verdict.PASS),
        (REVIEW, {}, Verdict.PASS),
        (BOUND, {"ok": "yes"}, Verdict.PASS),
        (BOUND, {"ok": "no"}, Verdict.FAIL),
        (BOUND, {}, Verdict.PENDING),
        ({"not": LOADS}, {}, Verdict.ERROR),
        ({"not": REVIEW}, {}, Verdict.ERROR),
        ({"not": {"any_of": [APPROVAL, BOUND]}}, {"ok": "no"}, Verdict.ERROR),
        ({"any_of": [LOADS, {"tag": "x", "present": True}]}, {}, Verdict.PASS),
        ({"all_of": [LOADS, {"tag": "x", "equals": "1"}]}, {"x": "2"}, Verdict.FAIL),
    ],
)
def test_what_cannot_be_replayed_is_taken_as_passing(rule: dict[str, Any], tags: dict[str, str], verdict: Verdict) -> None:
    """Unless it stands inside `not`; and of a bound tag, the value counts."""
    policy = lens(rule)
    seen = replace(history({1: (0, 0.9)}), now={1: evidence(1, (0, 0.9), tags)})
    found = simulate_rotation(seen, policy, NOW, END).judged[0]
    assert found.decision.verdict is verdict
    assert policy.name_rules_of_kinds(found.supposed)
    assert found.decision.findings[0].rule == str(policy.policy.document.rules[0])


def test_an_approval_is_replayed_where_the_ledger_knows_of_that_very_policy() -> None:
    """Under the digest that was judged then, nobody having approved is pending; under another, nobody could have."""
    for digest, verdict in (("d" * 64, Verdict.PENDING), ("e" * 64, Verdict.PASS)):
        memory = EvidenceLog()
        memory.add_decision(record(0, evidence(1, (0, 0.9)), digest))
        found = simulate_rotation(history({1: (0, 0.9)}, memory=memory), lens(APPROVAL), NOW, END)
        assert found.judged[0].decision.verdict is verdict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00+00:00"),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("2d", "2026-11-21T12:00:00+00:00"),
        ("1d12h", "2026-11-22T00:00:00+00:00"),
        ("3 days ago", "2026-11-20T12:00:00+00:00"),
        ("1 hour ago", "2026-11-23T11:00:00+00:00"),
    ],
)
def test_since(text: str, expected: str) -> None:
    """Moments as people write them, in UTC."""
    assert parse_past_moment(text, NOW).isoformat() == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-11-20T10:00:00", "2026-13-01", "3000-01-01", "0d", "9000000 days ago", "3 moons ago"]
)
def test_no_moment(text: str) -> None:
    """A plain error, also for what is yet to come."""
    with pytest.raises(ValueError, match=r"`|duration"):
        parse_past_moment(text, NOW)
