"""Approved pull requests of Promoter, on a forge of each kind: kept, made again by meaning, and put back where unreviewed."""

from __future__ import annotations

import pytest

from promoter.application.comments import NOTE
from promoter.application.proposals.approved import APPROVALS
from tests.support.stage.hosted_stage import BOT, HostedStage

REVIEWED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion, by: 0.0005}
  - {review: {at_least: 1}}
"""
ROTATING = """
{model}:
  proposals: {{reviewers: [ada]}}
  aliases:
    champion: {{version: 1, policy: champion, rotation: pull-request{more}}}
"""


def rotating(stage: HostedStage, model: str, *measured: float, more: str = "") -> None:
    """Commit that the champion rotates by pull request; register versions, of which the first serves."""
    if measured:
        stage.serving(model, *measured)
    stage.commit(ROTATING.format(model=model, more=more), champion=REVIEWED)
    stage.settle()


@pytest.mark.slow_except("gitea")
def test_an_approved_pull_request_stays_for_a_slightly_better_version(hosted_stage: HostedStage, fresh_name: str) -> None:
    """v3 is 0.001 better: head and approval stay, a note tells; merged, v2 serves and v3 is proposed."""
    stage, model = hosted_stage, fresh_name
    stage.home.dismisses_stale = True
    rotating(stage, model, 0.8, 0.9)
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    head = pull.head
    stage.approve(pull, "ada")
    stage.version(model, 0.901)
    stage.settle()
    assert (pull.head, pull.title) == (head, f"Rotate {model}@champion from v1 to v2")
    assert stage.home.approvals_of(pull.number) == {"ada"}
    (note,) = stage.comments(pull, NOTE)
    assert "v3 is a better candidate by now" in note
    stage.merge(pull)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}
    assert stage.open_pull(model, "from v2 to v3") is not None


@pytest.mark.slow
def test_a_line_elsewhere_leaves_the_branch_alone(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Git can merge it: no push, no comment, and the approval counts when it is merged."""
    stage, model = hosted_stage, fresh_name
    stage.home.dismisses_stale = True
    rotating(stage, model, 0.8, 0.9)
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    head = pull.head
    stage.approve(pull, "ada")
    stage.version(f"{model}-other", 0.5)
    stage.commit(f"{model}-other: {{aliases: {{shadow: 1}}}}\n# -\n" + ROTATING.format(model=model, more=""), champion=REVIEWED)
    stage.settle()
    assert pull.head == head
    assert stage.comments(pull, APPROVALS) == []
    stage.merge(pull)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}


@pytest.mark.slow_except("github")
def test_a_neighbouring_line_moves_the_one_value_and_asks_again(hosted_stage: HostedStage, fresh_name: str) -> None:
    """A conflict: made again with the same edit, the reviewer is told and asked; approved again and merged, v2 serves."""
    stage, model = hosted_stage, fresh_name
    stage.home.dismisses_stale = True
    rotating(stage, model, 0.8, 0.9)
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    head = pull.head
    stage.approve(pull, "ada")
    rotating(stage, model, more=", quarantine: [7]")
    assert pull.head != head
    (comment,) = stage.comments(pull, APPROVALS)
    assert f"git could not merge commit {head[:10]}" in comment
    assert "@ada, please look at it again" in comment
    assert "ada" in pull.reviewers
    stage.version(model, 0.95)
    stage.settle()
    assert "to v2" in pull.title, "it counts as approved, and waits for nobody"
    assert stage.comments(pull, APPROVALS) == [comment]
    stage.approve(pull, "ada")
    stage.merge(pull)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}
    assert "quarantine: [7]" in stage.stated()


@pytest.mark.slow_except("gitlab")
def test_a_merge_that_races_a_revision_is_put_back(hosted_stage: HostedStage, fresh_name: str) -> None:
    """What is merged was never approved: the alias stays, git is put back by a proposal, and rotation goes on."""
    stage, model = hosted_stage, fresh_name
    rotating(stage, model, 0.8, 0.9)
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    stage.version(model, 0.95)
    stage.settle()
    stage.merge(pull)  # ada meant v2, and never approved v3
    stage.settle()
    assert stage.aliases(model) == {"champion": 1}
    back = stage.open_pull(model, f"Put git back to v1 for {model}@champion, from v3")
    assert back is not None
    assert back.author == BOT
    stage.merge(back)
    stage.settle()
    again = stage.open_pull(model, "from v1 to v3")
    assert again is not None
    stage.approve(again, "ada")
    stage.merge(again)
    stage.settle()
    assert stage.aliases(model) == {"champion": 3}
    assert stage.pulls(state="open") == []
