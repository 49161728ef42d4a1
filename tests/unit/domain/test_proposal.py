"""Proposals: the branch that each has to itself, and the commits that say what they are for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from promoter.application.proposals.comparison import describe_requirement_changes
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import AliasIntent, Hold, ModelIntent, OnDrift
from promoter.domain.plan import AliasDifference, ChangeCause, ModelComparison
from promoter.domain.proposal import (
    Proposal,
    ProposalReason,
    RegistryEdit,
    build_adoption_proposals,
)

HOLD = Hold(reason="bad recall", by="alice")
BACK = Proposal(
    RegistryEdit("m", "champion", 7, HOLD, (9,)), 9, None, ProposalReason.ROLL_BACK, "alice\nPromoter-Aim: x", "bad recall"
)
RELEASE = Proposal(
    RegistryEdit("m", "champion", None, release=True), None, None, ProposalReason.RELEASE, "alice", "audit\nis over"
)
WAITING = Decision("m", "champion", 9, "p", "d", Verdict.PENDING, (), datetime(2026, 11, 23, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (
            BACK,
            (
                "Roll back m@champion from v9 to v7\n\nbad recall\n\n"
                "The hold keeps rotation away until a person lifts it; v9 is in quarantine.\n\n"
                "Promoter-Aim: rollback\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-Version: 7\n"
                "Promoter-By: alice Promoter-Aim: x\n"
            ),
        ),
        (
            RELEASE,
            (
                "Release m@champion\n\naudit\nis over\n\nThe hold on champion is lifted: rotation may move it again.\n\n"
                "Promoter-Aim: release\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-By: alice\n"
                "Promoter-Reason: audit is over\n"
            ),
        ),
        (
            Proposal(RegistryEdit("m", "champion", None, HOLD), 7, None, ProposalReason.HOLD, "alice", "bad recall"),
            (
                "Hold m@champion at v7\n\nbad recall\n\n"
                "The hold keeps rotation and guards away from champion until a person lifts it.\n\n"
                "Promoter-Aim: hold\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-By: alice\n"
                "Promoter-Reason: bad recall\n"
            ),
        ),
        (
            Proposal(
                RegistryEdit("m", "champion", None, quarantine=(9,)), 7, None, ProposalReason.QUARANTINE, "alice", "leaked"
            ),
            (
                "Quarantine v9 for m@champion\n\nleaked\n\n"
                "v9 is in quarantine: rotation never proposes it for champion, and no rollback returns to it.\n\n"
                "Promoter-Aim: quarantine\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-By: alice\n"
                "Promoter-Quarantine: 9\nPromoter-Reason: leaked\n"
            ),
        ),
        (
            Proposal(RegistryEdit("m", "champion", None, lifted=9), 7, None, ProposalReason.LIFT_QUARANTINE, "alice"),
            (
                "Take v9 out of quarantine for m@champion\n\nv9 is out of quarantine: rotation may propose it for champion "
                "again, and a rollback may return to it.\n\n"
                "Promoter-Aim: lift-quarantine\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-By: alice\n"
                "Promoter-Quarantine: 9\n"
            ),
        ),
        (
            Proposal(RegistryEdit("m", "champion", 9), None, None, ProposalReason.ADOPT),
            (
                "Adopt v9 as m@champion, from none\n\n"
                "Somebody moved the alias in the registry, and `on_drift: adopt` asks whether that is to stay.\n\n"
                "Promoter-Aim: adopt\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-Version: 9\n"
            ),
        ),
        (
            Proposal(RegistryEdit("m", "champion", 9), 7, WAITING),
            (
                "Rotate m@champion from v7 to v9\n\n"
                "Version 9 is the best candidate. It waits for nothing but reviews under policy `p`\n"
                "(d), as of 2026-11-23T12:00:00Z.\n\n"
                "Evidence:\n\n\nPromoter-Aim: rotate\nPromoter-Model: m\nPromoter-Alias: champion\nPromoter-Version: 9\n"
                f"Promoter-Policy: p\nPromoter-Decision: {WAITING.compute_digest()}\n"
            ),
        ),
    ],
    ids=["rollback", "release", "hold", "quarantine", "lift", "adopt", "reviews"],
)
def test_the_commit_says_what_it_is_for(proposal: Proposal, message: str) -> None:
    """In words, and in trailers that are read back; nothing that a person says can pass for another trailer."""
    assert proposal.commit_message == message


def drift(was: int | None, now: int | None) -> AliasDifference:
    """The registry has `now`, git says `was`."""
    return AliasDifference("m", "champion", now, was, ChangeCause.DRIFT, AliasIntent("m", "champion", was))


@pytest.mark.parametrize(
    ("on_drift", "difference", "proposed"),
    [
        ("adopt", drift(7, 9), (9, 7)),
        ("adopt", drift(None, 9), (9, None)),
        ("adopt", drift(7, None), None),
        ("report", drift(7, 9), None),
    ],
)
def test_drift_is_adopted_where_git_can_say_so(
    on_drift: OnDrift, difference: AliasDifference, proposed: tuple[int, int | None] | None
) -> None:
    """A version that somebody put there; a deletion is only reported."""
    found = build_adoption_proposals(ModelIntent("m", on_drift=on_drift), ModelComparison(reported=(difference,)))
    assert [(each.aim, each.edit.version, each.replaces) for each in found] == (
        [(ProposalReason.ADOPT, *proposed)] if proposed else []
    )


def test_requirements_that_changed() -> None:
    """By the name of the package, however it is written; what is no package counts as a line."""
    was = ("mlflow==3.3.0", "scikit_learn==1.5.0  # pinned", "numpy", "old>=1", "-r other.txt")
    now = ("MLflow == 3.4.0", "scikit-learn==1.5.0", "numpy<3", "pandas[parquet]==2.2", "git+https://a/b.git")
    assert describe_requirement_changes(now, was) == [
        "-r other.txt is gone",
        "git+https://a/b.git is new",
        "mlflow is == 3.4.0, was ==3.3.0",
        "numpy is <3, was any",
        "old is gone (it was >=1)",
        "pandas[parquet] is new (==2.2)",
    ]
    assert describe_requirement_changes(now, now) == []


def test_a_commit_says_whose_word_stands_in_for_a_check() -> None:
    """Of exactly the version that the hold names; anything else is checked, and nothing is said."""
    hold = Hold(reason="bad recall", by="alice", without_artifact_check=1)
    proposal = Proposal(RegistryEdit("m", "champion", 1, hold, (2,)), 2, None, ProposalReason.ROLL_BACK, "alice", "bad recall")
    sentence = "v1 held the alias before, and returns without a check of its artifact, on the word of alice.\n"
    assert sentence in proposal.commit_message
    other = replace(proposal, edit=replace(proposal.edit, hold=hold.model_copy(update={"without_artifact_check": 3})))
    assert (other.unchecked_note, "without a check" in other.commit_message) == ("", False)
