"""Plans of pull requests are kept on fakes: one comment and one status, whatever crashes or races."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.application.ports import CommitStatusState
from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.errors import TransientError
from tests.unit.application.conftest import POLICY, Office
from tests.unit.application.pull_desk import GATED, STRICT, Desk, registry, standing


@pytest.fixture
def desk(office: Office) -> Desk:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    return standing(office)


def test_an_allowed_change(desk: Desk) -> None:
    """One comment with the move and the decision, one status on the head; nothing is written to the ledger."""
    desk.propose(GATED.format(2, 1))
    before = desk.office.ledger.list_recent_decisions()
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    assert desk.comment.startswith(COMMENT_MARKER)
    assert "| m | champion | v1 | v2 | pass |" in desk.comment
    assert "metric auc beats champion" in desk.comment
    assert list(desk.office.ledger.list_recent_decisions()) == list(before)


def test_a_second_look_writes_nothing(desk: Desk) -> None:
    """Also by another process, also later, as long as nothing changed."""
    desk.propose(GATED.format(2, 1), champion=STRICT)
    desk.look()
    desk.office.hub.calls.clear()
    desk.office.time.pass_time(hours=5)
    desk.look()
    assert desk.office.hub.writes == []


def test_a_conflict(desk: Desk) -> None:
    """No plan, and the file that does not merge; resolved by the next push, the same comment has the plan."""
    desk.propose(GATED.format(2, 1))
    desk.office.commit(GATED.format(1, 2))
    desk.look()
    assert desk.status == ("failure", "conflicts with the base in registry.yaml: merge the base into it")
    assert "- `registry.yaml`" in desk.comment
    git = desk.office.git
    git.heads["change"] = git.head
    desk.push(GATED.format(2, 2))
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    assert "Conflicts" not in desk.comment


def test_pending_until_the_evidence_is_there(desk: Desk) -> None:
    """A run that still goes on: pending; the same commit is a success once it has finished, by looking again."""
    office = desk.office
    office.mlflow.version("m", status="RUNNING", auc=0.95)
    waiting = POLICY.replace(b"rules: [", b"rules: [{run: {status: FINISHED}}, ")
    office.commit(GATED.format(1, 1), champion=waiting)
    desk.propose(GATED.format(4, 1))
    desk.look()
    assert desk.status[0] == "pending"
    assert desk.status[1].startswith("1 of 1 change waiting: m@champion v4: run status FINISHED is pending")
    office.mlflow.all_runs["m-4"] = replace(office.mlflow.all_runs["m-4"], status="FINISHED")
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")


def test_reviews(desk: Desk) -> None:
    """The approvals of the open pull request, as they are now; those of another are not asked for what it does not bring."""
    office, hub = desk.office, desk.office.hub
    reviewed = POLICY.replace(b"rules: [", b"rules: [{review: {at_least: 1, from: [acme/risk]}}, ")
    hub.teams["acme/risk"] = frozenset({"ada", "bob"})
    office.commit(GATED.format(1, 1), champion=reviewed)
    desk.propose(GATED.format(2, 1))
    hub.approve(desk.number, "ada")
    desk.look()
    assert desk.status[0] == "pending"
    assert "an author" in desk.comment
    hub.approve(desk.number, "bob")
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    desk.push(GATED.format(2, 2))
    desk.look()
    assert desk.status[0] == "pending"
    assert "approved an earlier commit" in desk.comment
    hub.approve(desk.number, "bob")
    hub.merge(desk.number)
    hub.calls.clear()
    desk.propose(GATED.format(2, 1), branch="next")
    (due,) = desk.plan.already_due_changes
    assert (due.difference.alias, due.gate_verdict and due.gate_verdict.value) == ("champion", "pass")
    assert "brought" in {call[0] for call in hub.calls}


def test_the_forge_is_not_asked_without_need(desk: Desk) -> None:
    """Of reviews, where no policy asks for them."""
    desk.propose(GATED.format(2, 1))
    desk.look()
    assert "origin" not in {call[0] for call in desk.office.hub.calls}


def test_only_its_own_kind(desk: Desk) -> None:
    """Closed ones, forks, other bases: nothing is fetched, nothing is said. Other files: only that there is nothing to say."""
    office = desk.office
    office.git.push({"README.md": b"x"}, branch="docs")
    docs = office.hub.opened("docs")
    fork = desk.propose(GATED.format(2, 1), branch="fork")
    office.hub.threads[fork].pull = replace(office.hub.threads[fork].pull, fork=True)
    other = desk.propose(GATED.format(2, 1), branch="other")
    office.hub.threads[other].pull = replace(office.hub.threads[other].pull, base="release")
    closed = desk.propose(GATED.format(2, 1), branch="closed")
    office.hub.decline(closed)
    office.mlflow.calls.clear()
    for number in (docs, fork, other, closed):
        desk.look(number)
    assert office.mlflow.calls == []
    assert office.hub.writes == [("set_status", office.git.heads["docs"])]
    plans = PullPlanUpdater(office.hub, office.git, desk.planner, office.revisions, office.keys, "main")
    assert plans.find_relevant_numbers(list(office.hub.pulls.values())) == [docs]


def test_what_no_longer_touches_the_files(desk: Desk) -> None:
    """Once it was planned, and now it is about something else: the comment says so, and nothing stands in its way."""
    desk.propose(GATED.format(3, 1))
    desk.look()
    assert desk.status[0] == "failure"
    desk.push(GATED.format(1, 1))
    desk.look()
    assert desk.status == ("success", "it changes no file that Promoter reads")
    assert (
        desk.comment
        == f"{COMMENT_MARKER}\n### ✓ Promoter: nothing to plan\n\nIt no longer changes any file that Promoter reads.\n"
    )
    desk.office.hub.calls.clear()
    desk.look()
    assert desk.office.hub.writes == []


def test_promoters_own_proposals_have_a_status_only(desk: Desk) -> None:
    """Their body has the decision; once a person commits to the branch, the comment says what that makes of it."""
    office = desk.office
    content = registry(GATED.format(2, 1))
    office.git.push_proposal("promoter/m/champion", None, office.git.head, content, "Rotate m@champion from v1 to v2")
    desk.number = office.hub.opened("promoter/m/champion", "promoter-bot")
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    assert office.hub.bodies(desk.number) == []
    desk.push(GATED.format(3, 1), branch="promoter/m/champion")
    desk.look()
    assert desk.status[0] == "failure"
    assert "| m | champion | v1 | v3 | blocked: fail |" in desk.comment


def test_surplus_comments_go(desk: Desk) -> None:
    """Two Promoters wrote one each: the older stays. What people write, and what else Promoter wrote, is left alone."""
    desk.propose(GATED.format(2, 1))
    hub = desk.office.hub
    hub.remark(desk.number, "eve", COMMENT_MARKER + "\nAll is well.")
    hub.remark(desk.number, "promoter-bot", "A word of another kind.")
    raced = False

    def race(call: str) -> None:
        nonlocal raced
        if call == "comment" and not raced:
            raced = True
            desk.look()

    hub.on = race
    desk.look()
    assert [each.by for each in hub.threads[desk.number].remarks] == ["eve", "promoter-bot", "promoter-bot"]
    assert hub.bodies(desk.number)[0] == "A word of another kind."


def test_a_head_that_moves_meanwhile(desk: Desk) -> None:
    """The status belongs to the revision that was planned; the new one gets its own with the next look."""
    desk.propose(GATED.format(2, 1))
    old = desk.office.hub.pulls[desk.number].head

    def meddle(call: str) -> None:
        if call == "comments":
            desk.office.hub.on = lambda _call: None
            desk.push(GATED.format(3, 1))

    desk.office.hub.on = meddle
    desk.look()
    new = desk.office.hub.pulls[desk.number].head
    assert new != old
    assert set(desk.office.hub.statuses) == {old}
    assert desk.office.hub.statuses[old].state is CommitStatusState.SUCCESS
    desk.look()
    assert desk.status[0] == "failure"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commented", ["never", "before", "twice"])
def test_a_crash_at_any_call(when: str, commented: str, desk: Desk) -> None:
    """Before or after each call to the forge: the next look leaves one comment, what it should say, and the status."""
    hub = desk.office.hub
    desk.propose(GATED.format(2, 1))
    if commented != "never":
        desk.look()
        if commented == "twice":
            hub.remark(desk.number, "promoter-bot", hub.bodies(desk.number)[0])
        desk.push(GATED.format(3, 1))
    desk.look()
    expected, calls = desk.comment, len(hub.calls)
    state = desk.status
    for crash in range(1, calls + 1):
        again = Desk(desk.office)
        again.propose(GATED.format(2, 1), branch=f"{when}-{crash}")
        if commented != "never":
            again.look()
            if commented == "twice":
                hub.remark(again.number, "promoter-bot", hub.bodies(again.number)[0])
            again.push(GATED.format(3, 1), branch=f"{when}-{crash}")
        _crash(hub_on=lambda hook: setattr(hub, "on" if when == "before" else "after", hook), at=crash)
        with contextlib.suppress(TransientError):
            again.look()
        hub.on = hub.after = lambda _call: None
        again.look()
        again.look()
        assert again.status == state
        head, was = hub.pulls[again.number].head[:10], hub.pulls[desk.number].head[:10]
        assert again.comment.replace(head, was) == expected


def _crash(hub_on: Callable[[Callable[[str], None]], None], at: int) -> None:
    left = at

    def hook(_call: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise TransientError("Fake", "gone")

    hub_on(hook)


def test_a_registry_that_is_down(desk: Desk) -> None:
    """Nothing is said that is not known: what the pull request has stays, and the look is tried again."""
    desk.propose(GATED.format(2, 1))

    def down(_call: str) -> None:
        raise TransientError("MLflow", "cannot be reached")

    desk.office.mlflow.on = down
    with pytest.raises(TransientError):
        desk.look()
    assert desk.office.hub.writes == []
