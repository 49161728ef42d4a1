"""Pasts to replay: histories of a model with what the ledger knows of them, made by hand or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind
from promoter.domain.evidence import AliasPast, Evidence, VersionEvidence
from promoter.domain.observed import ModelVersion, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.replay.as_of import AliasTimeline, EvidenceLog, ReplayHistory, ReplayPolicy
from tests.support.strategies.plans import NOW

Version = tuple[float, float | None]
"""When it was registered, in hours, and its auc."""
Move = tuple[float, int | None, int | None]
"""When, in hours; from and to."""

BEATS = {"metric": "auc", "beats": "champion", "order": "highest"}
ANY = {"from": "any", "rank": {"metric": "auc", "order": "highest"}}
CHALLENGER = {"from": "challenger"}
END = NOW + timedelta(hours=100)


def hours(count: float) -> datetime:
    """That long after the beginning."""
    return NOW + timedelta(hours=count)


def lens(*rules: dict[str, Any], **more: Any) -> ReplayPolicy:
    """Of a policy with those rules: the auc beats the champion's, if none are given."""
    document = {"version": 1, "candidates": ANY, "rules": list(rules) or [BEATS], **more}
    return ReplayPolicy.from_policy(Policy("p", "d" * 64, PolicyDocument.model_validate(document)))


def evidence(number: int, version: Version, tags: Mapping[str, str] | None = None) -> VersionEvidence:
    """What is known of a version with a finished run."""
    hour, auc = version
    run = TrainingRun(f"run-{number}", "FINISHED", {} if auc is None else {"auc": auc})
    return VersionEvidence(number, dict(tags or {}), run.run_id, run, hours(hour))


def holding(moves: Sequence[Move], versions: Mapping[int, ModelVersion], now: int | None = None, **more: Any) -> AliasTimeline:
    """The past of an alias: moves that a policy let through, unless `more` says otherwise."""
    told = {"kind": RecordKind.CHANGE, "outcome": ChangeOutcome.APPLIED, "policy": "p", "verdict": "pass", **more}
    facts = [NewAuditRecord(at=hours(hour), model="m", alias="a", from_version=a, to_version=b, **told) for hour, a, b in moves]
    return AliasTimeline([AuditRecord(number, fact) for number, fact in enumerate(facts, 1)], now, versions)


def history(
    versions: Mapping[int, Version], *, memory: EvidenceLog | None = None, now: int | None = None, **moves: Sequence[Move]
) -> ReplayHistory:
    """Of a model with these versions, and these moves of its aliases in the ledger."""
    made = {number: ModelVersion(number, hours(hour), f"run-{number}") for number, (hour, _) in versions.items()}
    known = {number: evidence(number, version) for number, version in versions.items()}
    holdings = {
        alias: holding(moves.get(alias, ()), made, now if alias == "champion" else None) for alias in ("champion", "challenger")
    }
    return ReplayHistory("m", "champion", made, known, memory or EvidenceLog(), holdings)


def record(at: float, candidate: VersionEvidence, policy: str = "d" * 64, past: AliasPast | None = None) -> RecordedDecision:
    """A decision of the ledger on that evidence."""
    told = Evidence(hours(at), candidate, past=past).to_json()
    return RecordedDecision(int(at * 10) + 1_000, hours(at), None, {"model": "m", "policy_digest": policy}, told)


LOADS: dict[str, Any] = {"loads": True}
APPROVAL: dict[str, Any] = {"approval": {"from": ["risk"]}}
REVIEW: dict[str, Any] = {"review": {"at_least": 2}}
BOUND: dict[str, Any] = {"tag": "ok", "equals": "yes", "bound": True}


ENOUGH: dict[str, Any] = {"metric": "auc", "at_least": 0.2}
SOAKED: dict[str, Any] = {"soak": {"alias": "challenger", "at_least": "2h"}}


@st.composite
def lives(draw: st.DrawFn) -> tuple[ReplayHistory, ReplayPolicy]:
    """Any history of some versions with what the ledger happens to know of them, and any of some policies."""
    count = draw(st.integers(0, 8))
    auc = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3, 0.4, float("nan")]))
    created = sorted(draw(st.lists(st.integers(-10, 60), min_size=count, max_size=count)))
    versions = {number: (float(hour), draw(auc)) for number, hour in enumerate(created, 1)}
    memory = EvidenceLog()
    for hour in sorted(draw(st.lists(st.integers(0, 90), max_size=10))) if versions else []:
        number = draw(st.sampled_from(sorted(versions)))
        memory.add_decision(
            record(hour, evidence(number, (versions[number][0], draw(auc)), {"ok": draw(st.sampled_from("ab"))}))
        )
    moves = {}
    for alias in ("champion", "challenger"):
        held, told = None, []
        for hour in sorted(draw(st.lists(st.integers(0, 90), max_size=4, unique=True))):
            there = [number for number, (born, _) in versions.items() if born <= hour]
            if there:
                target = draw(st.sampled_from(there))
                told.append((float(hour), held, target))
                held = target
        moves[alias] = told
    limits = draw(st.sampled_from([{}, {"cooldown": "7h"}, {"max_per_day": 1}]))
    freeze = draw(st.sampled_from([[], [{"cron": "0 18 * * *", "duration": "9h"}]]))
    rules = draw(
        st.lists(
            st.sampled_from([BEATS, LOADS, ENOUGH, {"age": {"at_least": "3h"}}, {"tag": "ok", "equals": "a"}, SOAKED]),
            min_size=1,
            max_size=3,
        )
    )
    candidates = draw(st.sampled_from([ANY, {"from": "any"}, CHALLENGER]))
    return history(versions, memory=memory, **moves), lens(*rules, limits=limits, freeze=freeze, candidates=candidates)
