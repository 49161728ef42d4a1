"""Rotation: which versions are candidates, which is chosen, and every reason to leave an alias alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import ObservedModel, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.rotation import RotationStatus, choose_best_candidate, find_candidates
from tests.support.strategies.plans import NOW, versions

ANY = {"from": "any", "rank": {"metric": "auc", "order": "highest"}}
CHALLENGER = {"from": "challenger", "rank": {"metric": "auc", "order": "highest"}}


def policy(candidates: dict[str, Any] | None = ANY, order: str = "highest") -> Policy:
    """A policy that asks for an auc of at least 0.5."""
    document: dict[str, Any] = {"version": 1, "rules": [{"metric": "auc", "at_least": 0.5}]}
    if candidates:
        rank = {**candidates["rank"], "order": order}
        document["candidates"] = {**candidates, "rank": rank}
    return Policy("champion", "d" * 64, PolicyDocument.model_validate(document))


INTENT = AliasIntent("fraud", "champion", version=2, policy="champion", rotation="commit")
OBSERVED = ObservedModel("fraud", {"champion": 2}, versions(5))
HOLD = Hold(reason="bad recall", by="alice", until=NOW + timedelta(days=1))


def test_candidates_under_any_are_newer_ready_and_not_in_quarantine() -> None:
    """Versions up to the alias's own are never candidates."""
    observed = replace(OBSERVED, versions={**versions(5), 4: replace(versions(5)[4], ready=False)})
    intent = replace(INTENT, quarantine=frozenset({3}))
    assert find_candidates(intent, policy(), observed, {}, NOW).versions == (5,)


def test_a_candidate_may_come_from_another_alias() -> None:
    """The holder of the challenger, whatever newer versions there are."""
    observed = replace(OBSERVED, aliases={"champion": 2, "challenger": 4})
    assert find_candidates(INTENT, policy(CHALLENGER), observed, {}, NOW).versions == (4,)


@pytest.mark.parametrize(
    ("intent", "aliases", "candidates", "reason"),
    [
        (replace(INTENT, hold=HOLD), {"champion": 2}, ANY, "held by alice until 2026-11-24 12:00 UTC: bad recall"),
        (replace(INTENT, absent=True), {}, ANY, "git says that the alias must not exist"),
        (INTENT, {"champion": 1}, ANY, "git says v2 and the registry v1: that comes first"),
        (INTENT, {}, ANY, "git says v2 and the registry none: that comes first"),
        (replace(INTENT, version=5), {"champion": 5}, ANY, "no newer version"),
        (replace(INTENT, quarantine=frozenset({3, 4, 5})), {"champion": 2}, ANY,
         "every newer version is in quarantine or not ready"),
        (INTENT, {"champion": 2}, None, "policy `champion` says no `candidates`"),
        (INTENT, {"champion": 2}, CHALLENGER, "nobody holds challenger"),
        (INTENT, {"champion": 2, "challenger": 2}, CHALLENGER, "challenger and champion are both v2"),
        (replace(INTENT, quarantine=frozenset({4})), {"champion": 2, "challenger": 4}, CHALLENGER,
         "challenger is v4, which is in quarantine"),
    ],
)  # fmt: skip
def test_rotation_says_why_it_leaves_an_alias_alone(
    intent: AliasIntent, aliases: dict[str, int], candidates: dict[str, Any] | None, reason: str
) -> None:
    """Each reason in full."""
    found = find_candidates(intent, policy(candidates), replace(OBSERVED, aliases=aliases), {}, NOW)
    assert (found.versions, found.reason) == ((), reason)


def test_a_challenger_that_was_moved_by_hand_is_no_candidate() -> None:
    """Where git says who the challenger is, nobody else is promoted through it."""
    stated = {"challenger": AliasIntent("fraud", "challenger", version=3)}
    observed = replace(OBSERVED, aliases={"champion": 2, "challenger": 5})
    found = find_candidates(INTENT, policy(CHALLENGER), observed, stated, NOW)
    assert (found.versions, found.reason) == ((), "challenger is out of step: git says v3, the registry v5")


def test_without_a_policy_rotation_refuses() -> None:
    """A reviewed commit is enough for people, not for rotation."""
    assert find_candidates(INTENT, None, OBSERVED, {}, NOW).reason == "rotation needs a policy, and the alias names none"


def test_an_expired_hold_holds_nothing() -> None:
    """A hold ends by itself."""
    intent = replace(INTENT, hold=Hold(reason="r", by="b", until=NOW))
    assert find_candidates(intent, policy(), OBSERVED, {}, NOW).versions == (3, 4, 5)


def chosen(values: dict[int, float | None], order: str = "highest") -> RotationStatus:
    """What rotation chooses among versions with these values of the ranked metric."""
    judged = policy(order=order)
    evidence = {
        number: Evidence(
            NOW, VersionEvidence(number, run=TrainingRun(f"run-{number}", "FINISHED", {} if value is None else {"auc": value}))
        )
        for number, value in values.items()
    }
    decisions = {number: evaluate_policy(judged, "fraud", "champion", seen) for number, seen in evidence.items()}
    return choose_best_candidate(INTENT, judged, 2, decisions)


@pytest.mark.parametrize(
    ("values", "order", "best"),
    [
        ({3: 0.7, 4: 0.9, 5: 0.8}, "highest", 4),
        ({3: 0.7, 4: 0.9, 5: 0.8}, "lowest", 3),
        ({3: 0.9, 4: 0.9}, "highest", 4),
        ({3: 0.4, 4: 0.3}, "highest", None),
        ({3: 0.6, 4: None, 5: float("nan")}, "highest", 3),
        ({3: -0.5, 4: float("inf")}, "highest", None),
    ],
)
def test_the_best_by_rank_that_passes_is_proposed(values: dict[int, float | None], order: str, best: int | None) -> None:
    """Of equals the newest; what cannot be ranked is never proposed."""
    standing = chosen(values, order)
    assert (standing.proposal.edit.version if standing.proposal else None) == best
    assert len(standing.decisions) == len(values)


@pytest.mark.parametrize(
    ("rotation", "auc", "proposed", "reason"),
    [
        ("pull-request", 0.9, 4, "v4 waits for reviews only: review at_least 1 is pending"),
        ("commit", 0.9, None, "v4: review at_least 1 is pending"),
        ("pull-request", 0.1, None, "v4: metric auc at_least 0.5 is fail"),
        ("pull-request", None, None, "v4: metric auc at_least 0.5 is pending"),
    ],
)
def test_reviews_come_from_the_pull_request(rotation: str, auc: float | None, proposed: int | None, reason: str) -> None:
    """A candidate for which nothing but reviews is pending is proposed by pull request, and never committed."""
    document = {"version": 1, "candidates": ANY, "rules": [{"metric": "auc", "at_least": 0.5}, {"review": {"at_least": 1}}]}
    reviewed = Policy("champion", "d" * 64, PolicyDocument.model_validate(document))
    run = TrainingRun("r", "FINISHED", {} if auc is None else {"auc": auc})
    evidence = Evidence(NOW, VersionEvidence(4, run_id="r", run=run), model="fraud")
    decision = evaluate_policy(reviewed, "fraud", "champion", evidence)
    standing = choose_best_candidate(replace(INTENT, rotation=rotation), reviewed, 2, {4: decision})
    assert (standing.proposal.edit.version if standing.proposal else None) == proposed
    assert standing.reason.startswith(reason)


def test_the_commit_says_what_why_and_on_which_evidence() -> None:
    """The whole message, compared."""
    proposal = chosen({3: 0.7, 4: 0.9}).proposal
    assert proposal is not None
    assert proposal.commit_message == (
        "Rotate fraud@champion from v2 to v4\n\n"
        "Version 4 is the best candidate that passes policy `champion`\n"
        f"({'d' * 64}), as of 2026-11-23T12:00:00Z.\n\n"
        "Evidence:\n- pass: metric auc at_least 0.5: 0.9, expected at least 0.5\n\n"
        "Promoter-Aim: rotate\nPromoter-Model: fraud\nPromoter-Alias: champion\nPromoter-Version: 4\n"
        "Promoter-Policy: champion\n"
        f"Promoter-Decision: {proposal.decision.compute_digest()}\n"
    )
