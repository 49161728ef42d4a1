"""Approvals last: an approved pull request stays as it is, and where its branch has to be made again, the people are told."""

from __future__ import annotations

import pytest

from promoter.application.comments import NOTE
from promoter.application.proposals.approved import APPROVALS
from promoter.domain.proposal import ProposalReason
from tests.support.app import App
from tests.support.proposals import RULES, aliases, only, propose, says, settle, told, writes

REVIEWED = RULES.replace(b"rules:\n", b"rules:\n  - {review: {at_least: 1}}\n")


@pytest.fixture
def approved(app: App) -> App:
    """Version 2 is proposed, and ada approves it."""
    propose(app, 0.8, 0.9)
    app.hub.approve(1, "ada")
    return app


def better(app: App, auc: float = 0.95) -> None:
    """One more version, with that figure; the proposals are looked at until nothing is left to do."""
    app.mlflow.version("m", auc=auc, p99=30.0, live=0.9)
    settle(app)


def notes(app: App, mark: str = NOTE) -> list[str]:
    """Promoter's comments with that mark on the first pull request."""
    return [each for each in app.hub.bodies(1) if each.startswith(mark)]


def test_an_approved_pull_request_waits_for_no_better_candidate(approved: App) -> None:
    """Branch, title and body stay; a note names the better version; after the merge, that one is proposed."""
    before = only(approved)
    better(approved)
    better(approved, 0.97)
    after = only(approved)
    assert (after.head, after.title) == (before.head, before.title)
    (note,) = notes(approved)
    assert "v4 is a better candidate by now. This pull request stays as it is, since somebody has approved it." in note
    again = writes(approved)
    settle(approved.another())
    assert writes(approved) == again
    approved.hub.merge(1)
    settle(approved)
    assert approved.aliases() == {"champion": 2}
    assert only(approved).title == "Rotate m@champion from v2 to v4"


def test_closed_the_better_one_follows(approved: App) -> None:
    """A person says no to the approved version, and the better one comes in its place."""
    better(approved)
    approved.hub.decline(1)
    settle(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v3"


@pytest.mark.parametrize(("by", "head"), [("promoter-bot", ""), ("ada", "earlier")])
def test_what_is_no_approval_keeps_nothing(app: App, by: str, head: str) -> None:
    """Promoter's own, or one of an earlier commit: the pull request says the better version, as without any."""
    propose(app, 0.8, 0.9)
    app.hub.threads[1].approvals.append((by, head or only(app).head))
    better(app)
    assert only(app).title == "Rotate m@champion from v1 to v3"
    assert app.hub.bodies(1) == []


def test_an_approval_that_is_taken_back_keeps_nothing(approved: App) -> None:
    """Within ten minutes the pull request says the better version, and the note is gone."""
    better(approved)
    approved.hub.threads[1].approvals.clear()
    approved.time.pass_time(hours=1)
    settle(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v3"
    assert notes(approved) == []


def test_an_approved_version_that_fails_by_now(approved: App) -> None:
    """Quarantine: an approval keeps nothing that git or the policy is against."""
    approved.commit(aliases(more=", quarantine: [2]"), champion=RULES)
    better(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v3"


def test_an_approved_version_that_is_another_one_by_now(approved: App) -> None:
    """Its number was registered anew: people approved what is gone."""
    head = only(approved).head
    approved.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)
    tip = approved.git.nodes[head]
    trailers = {**tip.commit.trailers, "Promoter-Identity": "another"}
    approved.git.push(dict(tip.files), tip.commit.subject, tip.commit.author, trailers, only(approved).branch)
    approved.hub.approve(1, "ada")
    settle(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v3"


def test_always(approved: App) -> None:
    """`revise: always`: the pull request says the better version; who approved the other one is told, and asked again."""
    approved.commit(aliases(model="proposals: {revise: always}, "), champion=RULES)
    better(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v3"
    (comment,) = notes(approved, APPROVALS)
    assert "This pull request proposes v3 now." in comment
    assert "which was approved, proposed v2" in comment
    assert "@ada" in comment
    assert ("request_again", 1, "ada") in approved.hub.calls
    assert told(only(approved)).approvals == ()
    before = writes(approved)
    settle(approved.another())
    assert writes(approved) == before


def test_never(app: App) -> None:
    """`revise: never`: also one that nobody has approved stays, and the note says why."""
    propose(app, 0.8, 0.9)
    app.commit(aliases(model="proposals: {revise: never}, "), champion=RULES)
    better(app)
    assert says(app, only(app))["version"] == 2
    assert only(app).title == "Rotate m@champion from v1 to v2"
    assert "`proposals.revise` is `never`" in notes(app)[0]


def test_a_neighbouring_line_changes(approved: App) -> None:
    """Git cannot merge it: the one value is moved on the new base, the people are asked again, and it still waits for none."""
    head = only(approved).head
    approved.commit(aliases(more=", quarantine: [7]"), champion=REVIEWED)
    settle(approved)
    assert says(approved, only(approved)) == {"version": 2, "quarantine": [7], "hold": None}
    (comment,) = notes(approved, APPROVALS)
    assert f"git could not merge commit {head[:10]}" in comment
    assert "The policy's rule `review` counts only approvals of the newest commit: @ada" in comment
    assert ("request_again", 1, "ada") in approved.hub.calls
    better(approved)
    assert only(approved).title == "Rotate m@champion from v1 to v2"
    assert len(notes(approved, APPROVALS)) == 1


@pytest.mark.parametrize("call", ["revise", "propose", "comment", "request_again"])
@pytest.mark.parametrize("when", ["on", "after"])
def test_a_stop_while_the_branch_is_made_again(approved: App, call: str, when: str) -> None:
    """Whatever it stops at: in the end the branch merges, one comment tells, and the people were asked."""
    approved.commit(aliases(more=", quarantine: [7]"), champion=RULES)

    def stop(done: str) -> None:
        if done == call:
            for place in (approved.hub, approved.git):
                setattr(place, when, lambda _: None)
            raise KeyboardInterrupt

    for place in (approved.hub, approved.git):
        setattr(place, when, stop)
    with pytest.raises(KeyboardInterrupt) if (call, when) != ("request_again", "after") else pytest.MonkeyPatch.context():
        approved.propose()
    settle(approved.another())
    assert says(approved, only(approved)) == {"version": 2, "quarantine": [7], "hold": None}
    assert len(notes(approved, APPROVALS)) == 1
    assert told(only(approved)).announced


def test_merged_while_the_branch_is_made_again(approved: App) -> None:
    """The merge comes right before the push: nothing is pushed, and the merged version is promoted."""
    approved.commit(aliases(), head="defaults: {proposals: {revise: always}}\n", champion=RULES)
    approved.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)

    def merge(call: str) -> None:
        if call == "origin":
            approved.hub.on = lambda _: None
            approved.hub.merge(1)

    approved.hub.on = merge
    settle(approved)
    settle(approved)  # the merge was after the look
    assert approved.aliases() == {"champion": 2}
    assert only(approved).title == "Rotate m@champion from v2 to v3"


@pytest.fixture
def unreviewed(app: App) -> App:
    """Version 2 needs a review, and is merged without one."""
    propose(app, 0.8)
    app.commit(aliases(), champion=REVIEWED)
    settle(app)
    better(app, 0.9)
    app.hub.merge(only(app).number)
    settle(app)
    return app


def test_merged_without_its_review(unreviewed: App) -> None:
    """Git is put back by a proposal, which moves no alias; after it, rotation proposes the version anew."""
    pull = only(unreviewed)
    assert pull.title == "Put git back to v1 for m@champion, from v2"
    assert told(pull).aim is ProposalReason.PUT_BACK
    assert "merged without the reviews that its policy asks for" in pull.body
    assert "Metrics" not in pull.body, "no version moves"
    assert unreviewed.aliases() == {"champion": 1}
    unreviewed.hub.merge(pull.number)
    settle(unreviewed)
    again = only(unreviewed)
    assert again.title == "Rotate m@champion from v1 to v2"
    unreviewed.hub.approve(again.number, "ada")
    unreviewed.hub.merge(again.number)
    settle(unreviewed)
    assert unreviewed.aliases() == {"champion": 2}
    assert unreviewed.hub.open == []


def test_a_way_back_that_is_refused(unreviewed: App) -> None:
    """It is not proposed again; what git says stays, and so does the alias."""
    unreviewed.hub.decline(only(unreviewed).number)
    settle(unreviewed)
    assert unreviewed.hub.open == []
    assert unreviewed.aliases() == {"champion": 1}


def test_a_way_back_is_never_merged_by_itself(app: App) -> None:
    """With `auto_merge`, rotation and the way back would follow each other for ever."""
    propose(app, 0.8)
    app.commit(aliases(model="proposals: {auto_merge: true}, "), champion=REVIEWED)
    settle(app)
    better(app, 0.9)
    app.hub.merge(only(app).number)
    settle(app)
    assert not app.hub.threads[only(app).number].auto_merge


def test_a_way_back_that_is_not_needed_any_more(unreviewed: App) -> None:
    """The policy asks for no review by now: the alias moves, and the pull request is closed."""
    unreviewed.commit(aliases(version=2), champion=RULES)
    settle(unreviewed)
    assert unreviewed.aliases() == {"champion": 2}
    assert unreviewed.hub.open == []


def test_a_hold_is_put_back_by_nobody(unreviewed: App) -> None:
    """A person holds the alias at what was merged: then a person is at work on it."""
    unreviewed.commit(aliases(version=2, more=", hold: {reason: audit, by: bob}"), champion=REVIEWED)
    settle(unreviewed)
    assert unreviewed.hub.open == []
