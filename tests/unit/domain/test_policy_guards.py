"""Guards: how failures are counted, what is recorded, and where an alias returns to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import ObservedModel, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.policy.guards import (
    GuardCheck,
    GuardStatus,
    add_rollback_proposal,
    evaluate_guards,
    find_earlier_versions,
    find_rollback_obstacle,
)
from tests.support.strategies.plans import NOW, versions

MINUTE = timedelta(minutes=1)
RULE = "metric live at_least 0.85"
NAN = float("nan")


def standing(values: list[float | None], *, apart: timedelta = MINUTE, guard: dict[str, Any] | None = None) -> GuardStatus:
    """Where the guards stand after looks that saw these values one after the other; what is to be recorded is recorded."""
    written = guard or {"metric": "live", "at_least": 0.85, "for": 3}
    document = PolicyDocument.model_validate({"version": 1, "rules": [{"tag": "x", "present": True}], "guards": [written]})
    guarding = Policy("p", "d", document).guard_policy
    assert guarding is not None
    known: list[GuardCheck] = []
    found = None
    for number, value in enumerate(values):
        run = TrainingRun("r", "FINISHED", {} if value is None else {"live": value})
        decision = evaluate_policy(guarding, "m", "champion", Evidence(NOW + number * apart, VersionEvidence(9, run=run)))
        found = evaluate_guards(decision, guarding.document.rules, known)
        known += found.checks
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("values", "failed", "recorded"),
    [
        ([0.9], 0, []),
        ([0.8], 1, ["fail"]),
        ([0.8, 0.8], 2, ["fail"]),
        ([0.8, 0.8, 0.8], 3, ["fail"]),
        ([0.8, 0.8, 0.8, 0.8], 3, []),
        ([0.8, 0.8, 0.9], 0, ["pass"]),
        ([0.8, 0.9, 0.9], 0, []),
        ([0.8, 0.8, 0.9, 0.8], 1, ["fail"]),
        ([0.8, NAN, None, 0.8], 2, ["fail"]),
        ([0.8, 0.8, NAN], 2, []),
    ],
)
def test_failures_in_a_row_are_counted(values: list[float | None], failed: int, recorded: list[str]) -> None:
    """A pass ends a row; what is unknown neither counts nor ends it; and where nothing changes nothing is written."""
    found = standing(values)
    assert (found.rows[0].failed, [check.verdict.value for check in found.checks]) == (failed, recorded)
    assert bool(found.broken_guards) == (failed == 3)


def test_a_burst_of_events_counts_once() -> None:
    """Two checks count only if they are a minute apart, or as far as the guard says."""
    assert standing([0.8] * 5, apart=timedelta(seconds=11)).rows[0].failed == 1
    every = {"metric": "live", "at_least": 0.85, "for": 3, "every": "10s"}
    assert standing([0.8] * 5, apart=timedelta(seconds=11), guard=every).rows[0].failed == 3
    assert standing([0.8], guard={"metric": "live", "at_least": 0.85}).broken_guards[0].needed == 1


def test_failures_of_another_version_or_another_threshold_do_not_count() -> None:
    """The alias has moved, or the guard was rewritten: a new row begins."""
    found = standing([0.8])
    others = [
        GuardCheck("m", "champion", 8, RULE, Verdict.FAIL, NOW - MINUTE),
        GuardCheck("m", "champion", 9, "metric live at_least 0.95", Verdict.FAIL, NOW - MINUTE),
    ]
    guard = PolicyDocument.model_validate({"version": 1, "rules": [{"metric": "live", "at_least": 0.85, "for": 3}]}).rules
    assert evaluate_guards(found.decision, guard, others).rows[0].failed == 1


def moved(number: int, from_version: int | None, to_version: int | None, kind: RecordKind = RecordKind.CHANGE) -> AuditRecord:
    """A record of a move."""
    return AuditRecord(
        number, NewAuditRecord(NOW, kind, "m", "champion", from_version, to_version, outcome=ChangeOutcome.APPLIED)
    )


INTENT = AliasIntent("m", "champion", version=4, policy="p", rotation="commit")
OBSERVED = ObservedModel("m", {"champion": 4}, versions(5))


def test_an_alias_returns_to_who_held_it_last() -> None:
    """The latest first; not the bad one, not what is in quarantine, gone, or not ready."""
    moves = [moved(1, None, 1, RecordKind.OBSERVED), moved(2, 1, 2), moved(3, 2, 3), moved(4, 3, 2), moved(5, 2, 4)]
    assert find_earlier_versions(INTENT, OBSERVED, moves, 4) == [2, 3, 1]
    assert find_earlier_versions(replace(INTENT, quarantine=frozenset({2})), OBSERVED, moves, 4) == [3, 1]
    gone = {number: each for number, each in versions(5).items() if number != 2}
    unready = replace(OBSERVED, versions={**gone, 3: replace(gone[3], ready=False)})
    assert find_earlier_versions(INTENT, unready, moves, 4) == [1]
    assert find_earlier_versions(INTENT, OBSERVED, [moved(1, None, 4)], 4) == []


def test_what_somebody_put_there_past_git_is_no_place_to_return_to() -> None:
    """Drift that was put back leaves no trace in the choice."""
    moves = [moved(1, None, 1), moved(2, 1, 4), moved(3, 4, 2, RecordKind.OBSERVED), moved(4, 2, 4)]
    assert find_earlier_versions(INTENT, OBSERVED, moves, 4) == [1]


@pytest.mark.parametrize(
    ("intent", "told"),
    [
        (INTENT, None),
        (replace(INTENT, hold=Hold(reason="r", by="ada")), "held by ada: a person decides"),
        (replace(INTENT, version=3), "git and the registry are out of step: that comes first"),
        (replace(INTENT, rotation="off"), "`rotation: off`: a person decides"),
    ],
)
def test_when_nothing_is_proposed(intent: AliasIntent, told: str | None) -> None:
    """A hold is never fought, and what a person moves by hand a person moves back."""
    assert find_rollback_obstacle(intent, OBSERVED, NOW) == told


def test_the_proposal_puts_a_hold_and_a_quarantine() -> None:
    """The whole commit message, compared."""
    proposal = add_rollback_proposal(standing([0.8, 0.8, 0.8]), 7).proposal
    assert proposal is not None
    reason = f"guard {RULE} failed 3 times in a row"
    assert (proposal.edit.version, proposal.edit.quarantine, proposal.edit.hold) == (
        7,
        (9,),
        Hold(reason=reason, by="Promoter"),
    )
    assert proposal.commit_message == (
        "Roll back m@champion from v9 to v7\n\n"
        "Version 9 no longer holds what the guards say of policy `p`\n(d), as of 2026-11-23T12:02:00Z.\n"
        f"{reason}.\nThe hold keeps rotation away until a person lifts it; v9 is in quarantine.\n\n"
        f"Evidence:\n- fail: {RULE}: 0.8, expected at least 0.85\n\n"
        "Promoter-Aim: guard\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-Version: 7\nPromoter-Policy: p\n"
        f"Promoter-Decision: {proposal.decision.compute_digest()}\n"
    )
