"""Plans of pull requests are kept on fakes: one comment and one status, whatever crashes or races."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import POLICY, App
from tests.support.pull_request_app import GATED, STRICT, PullRequestApp, registry, standing


@pytest.fixture
def pull_app(app: App) -> PullRequestApp:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    return standing(app)


def test_an_allowed_change(pull_app: PullRequestApp) -> None:
    """One comment with the move and the decision, one status on the head; nothing is written to the ledger."""
    pull_app.propose(GATED.format(2, 1))
    before = pull_app.app.ledger.list_recent_decisions()
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    assert pull_app.comment.startswith(COMMENT_MARKER)
    assert "| m | champion | v1 | v2 | pass |" in pull_app.comment
    assert "metric auc beats champion" in pull_app.comment
    assert list(pull_app.app.ledger.list_recent_decisions()) == list(before)


def test_a_second_look_writes_nothing(pull_app: PullRequestApp) -> None:
    """Also by another process, also later, as long as nothing changed."""
    pull_app.propose(GATED.format(2, 1), champion=STRICT)
    pull_app.look()
    pull_app.app.hub.calls.clear()
    pull_app.app.time.pass_time(hours=5)
    pull_app.look()
    assert pull_app.app.hub.writes == []


def test_a_conflict(pull_app: PullRequestApp) -> None:
    """No plan, and the file that does not merge; resolved by the next push, the same comment has the plan."""
    pull_app.propose(GATED.format(2, 1))
    pull_app.app.commit(GATED.format(1, 2))
    pull_app.look()
    assert pull_app.status == ("failure", "conflicts with the base in registry.yaml: merge the base into it")
    assert "- `registry.yaml`" in pull_app.comment
    git = pull_app.app.git
    git.heads["change"] = git.head
    pull_app.push(GATED.format(2, 2))
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    assert "Conflicts" not in pull_app.comment


def test_pending_until_the_evidence_is_there(pull_app: PullRequestApp) -> None:
    """A run that still goes on: pending; the same commit is a success once it has finished, by looking again."""
    app = pull_app.app
    app.mlflow.version("m", status="RUNNING", auc=0.95)
    waiting = POLICY.replace(b"rules: [", b"rules: [{run: {status: FINISHED}}, ")
    app.commit(GATED.format(1, 1), champion=waiting)
    pull_app.propose(GATED.format(4, 1))
    pull_app.look()
    assert pull_app.status[0] == "pending"
    assert pull_app.status[1].startswith("1 of 1 change waiting: m@champion v4: run status FINISHED is pending")
    app.mlflow.all_runs["m-4"] = replace(app.mlflow.all_runs["m-4"], status="FINISHED")
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")


def test_reviews(pull_app: PullRequestApp) -> None:
    """The approvals of the open pull request, as they are now; those of another are not asked for what it does not bring."""
    app, hub = pull_app.app, pull_app.app.hub
    reviewed = POLICY.replace(b"rules: [", b"rules: [{review: {at_least: 1, from: [acme/risk]}}, ")
    hub.teams["acme/risk"] = frozenset({"ada", "bob"})
    app.commit(GATED.format(1, 1), champion=reviewed)
    pull_app.propose(GATED.format(2, 1))
    hub.approve(pull_app.number, "ada")
    pull_app.look()
    assert pull_app.status[0] == "pending"
    assert "an author" in pull_app.comment
    hub.approve(pull_app.number, "bob")
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    pull_app.push(GATED.format(2, 2))
    pull_app.look()
    assert pull_app.status[0] == "pending"
    assert "approved an earlier commit" in pull_app.comment
    hub.approve(pull_app.number, "bob")
    hub.merge(pull_app.number)
    hub.calls.clear()
    pull_app.propose(GATED.format(2, 1), branch="next")
    (due,) = pull_app.plan.already_due_changes
    assert (due.difference.alias, due.gate_verdict and due.gate_verdict.value) == ("champion", "pass")
    assert "brought" in {call[0] for call in hub.calls}


def test_the_forge_is_not_asked_without_need(pull_app: PullRequestApp) -> None:
    """Of reviews, where no policy asks for them."""
    pull_app.propose(GATED.format(2, 1))
    pull_app.look()
    assert "origin" not in {call[0] for call in pull_app.app.hub.calls}


def test_only_its_own_kind(pull_app: PullRequestApp) -> None:
    """Closed ones, other bases: nothing is fetched, nothing is said. Other files: only that there is nothing to say."""
    app = pull_app.app
    app.git.push({"README.md": b"x"}, branch="docs")
    docs = app.hub.opened("docs")
    fork = pull_app.propose(GATED.format(2, 1), branch="fork")
    app.hub.threads[fork].pull = replace(app.hub.threads[fork].pull, fork=True)
    other = pull_app.propose(GATED.format(2, 1), branch="other")
    app.hub.threads[other].pull = replace(app.hub.threads[other].pull, base="release")
    closed = pull_app.propose(GATED.format(2, 1), branch="closed")
    app.hub.decline(closed)
    app.mlflow.calls.clear()
    for number in (docs, fork, other, closed):
        pull_app.look(number)
    assert app.mlflow.calls == []
    assert app.hub.writes == [("set_status", app.git.heads["docs"])]
    plans = PullPlanUpdater(app.hub, app.git, pull_app.planner, app.revisions, app.keys, "main")
    assert plans.find_relevant_numbers(list(app.hub.pulls.values())) == [docs, fork]


class Polling:
    """A process that polls the pull requests of an app."""

    def __init__(self, pull_app: PullRequestApp) -> None:
        """Nothing is known yet."""
        app = self.app = pull_app.app
        self.plans = PullPlanUpdater(app.hub, app.git, pull_app.planner, app.revisions, app.keys, "main")

    def poll(self) -> list[tuple[object, ...]]:
        """Update all that is relevant; the calls that this took, but for the list."""
        hub = self.app.hub
        hub.calls.clear()
        for number in self.plans.find_relevant_numbers(hub.open):
            self.plans.update_plan(number)
        return list(hub.calls)


def from_fork(pull_app: PullRequestApp, branch: str = "fork") -> int:
    """Somebody opens a pull request from a fork, which moves the champion."""
    number = pull_app.propose(GATED.format(2, 1), branch=branch)
    thread = pull_app.app.hub.threads[number]
    thread.pull = replace(thread.pull, fork=True)
    return number


def test_a_fork_is_told_once_why_it_has_no_plan(pull_app: PullRequestApp) -> None:
    """A failure with the way out, on each new head; nothing is fetched or planned, and no poll asks again."""
    app, polling = pull_app.app, Polling(pull_app)
    number = from_fork(pull_app)
    app.mlflow.calls.clear()
    assert [call[0] for call in polling.poll()] == ["status", "set_status"]
    assert pull_app.status[0] == "failure"
    assert "promoter plan --base main" in pull_app.status[1]
    assert (polling.poll(), app.mlflow.calls, app.hub.bodies(number)) == ([], [], [])
    pull_app.push(GATED.format(3, 1), branch="fork")
    assert [call[0] for call in polling.poll()] == ["status", "set_status"]
    assert [call[0] for call in Polling(pull_app).poll()] == ["status"], "after a restart"


def test_a_fork_whose_branch_was_pushed_here(pull_app: PullRequestApp) -> None:
    """The commit has the plan of this repository's pull request, and the fork's takes nothing from it; later it does again."""
    app, polling = pull_app.app, Polling(pull_app)
    from_fork(pull_app)
    polling.poll()
    app.git.heads["here"] = app.git.heads["fork"]
    here = app.hub.opened("here")
    for _ in range(3):
        polling.poll()
        assert pull_app.status == ("success", "1 change, all allowed")
    app.hub.decline(here)
    polling.poll()
    assert pull_app.status[0] == "failure"


def test_a_forge_that_shows_no_statuses_of_forks(pull_app: PullRequestApp) -> None:
    """One comment in the place of the status, in the place of a plan."""
    app = pull_app.app
    app.hub.shows_fork_statuses = False
    number = from_fork(pull_app)
    for polling in (Polling(pull_app), Polling(pull_app)):
        polling.poll()
        polling.poll()
    (body,) = app.hub.bodies(number)
    assert body.startswith(COMMENT_MARKER)
    assert "it comes from a fork" in body
    assert not app.hub.statuses


def test_a_notice_that_the_forge_refuses(pull_app: PullRequestApp) -> None:
    """It is no failure of anything else, and is not tried again and again."""
    app, polling = pull_app.app, Polling(pull_app)
    from_fork(pull_app)

    def refuse(call: str) -> None:
        if call == "set_status":
            raise PermanentError("Fake", "no such commit")

    app.hub.on = refuse
    assert "set_status" in [call[0] for call in polling.poll()]
    assert polling.poll() == []


def test_what_no_longer_touches_the_files(pull_app: PullRequestApp) -> None:
    """Once it was planned, and now it is about something else: the comment says so, and nothing stands in its way."""
    pull_app.propose(GATED.format(3, 1))
    pull_app.look()
    assert pull_app.status[0] == "failure"
    pull_app.push(GATED.format(1, 1))
    pull_app.look()
    assert pull_app.status == ("success", "it changes no file that Promoter reads")
    assert (
        pull_app.comment
        == f"{COMMENT_MARKER}\n### ✓ Promoter: nothing to plan\n\nIt no longer changes any file that Promoter reads.\n"
    )
    pull_app.app.hub.calls.clear()
    pull_app.look()
    assert pull_app.app.hub.writes == []


def test_promoters_own_proposals_have_a_plan_too(pull_app: PullRequestApp) -> None:
    """Their body has the decision as it was; the comment has it as it is, also once a person commits to the branch."""
    app = pull_app.app
    content = registry(GATED.format(2, 1))
    app.git.push_proposal("promoter/m/champion", None, app.git.head, content, "Rotate m@champion from v1 to v2")
    pull_app.number = app.hub.opened("promoter/m/champion", "promoter-bot")
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    assert "| m | champion | v1 | v2 | pass |" in pull_app.comment
    assert "| auc | higher | 0.9 | 0.8 | +0.1, better |" in pull_app.comment
    pull_app.push(GATED.format(3, 1), branch="promoter/m/champion")
    pull_app.look()
    assert pull_app.status[0] == "failure"
    assert "| m | champion | v1 | v3 | blocked: fail |" in pull_app.comment


def test_surplus_comments_go(pull_app: PullRequestApp) -> None:
    """Two Promoters wrote one each: the older stays. What people write, and what else Promoter wrote, is left alone."""
    pull_app.propose(GATED.format(2, 1))
    hub = pull_app.app.hub
    hub.remark(pull_app.number, "eve", COMMENT_MARKER + "\nAll is well.")
    hub.remark(pull_app.number, "promoter-bot", "A word of another kind.")
    raced = False

    def race(call: str) -> None:
        nonlocal raced
        if call == "comment" and not raced:
            raced = True
            pull_app.look()

    hub.on = race
    pull_app.look()
    assert [each.by for each in hub.threads[pull_app.number].remarks] == ["eve", "promoter-bot", "promoter-bot"]
    assert hub.bodies(pull_app.number)[0] == "A word of another kind."


def test_a_head_that_moves_meanwhile(pull_app: PullRequestApp) -> None:
    """The status belongs to the revision that was planned; the new one gets its own with the next look."""
    pull_app.propose(GATED.format(2, 1))
    old = pull_app.app.hub.pulls[pull_app.number].head

    def meddle(call: str) -> None:
        if call == "comments":
            pull_app.app.hub.on = lambda _call: None
            pull_app.push(GATED.format(3, 1))

    pull_app.app.hub.on = meddle
    pull_app.look()
    new = pull_app.app.hub.pulls[pull_app.number].head
    assert new != old
    assert set(pull_app.app.hub.statuses) == {old}
    assert pull_app.app.hub.statuses[old].state is CommitStatusState.SUCCESS
    pull_app.look()
    assert pull_app.status[0] == "failure"


@pytest.mark.parametrize("meanwhile", ["closed", "pushed", "nothing"])
def test_a_commit_that_the_forge_does_not_know_any_more(meanwhile: str, pull_app: PullRequestApp) -> None:
    """No person has to act where the pull request was closed or pushed to in that moment; else the forge's answer is told."""
    pull_app.propose(GATED.format(2, 1))
    hub = pull_app.app.hub

    def forget(call: str) -> None:
        if call == "set_status":
            hub.on = lambda _call: None
            if meanwhile == "closed":
                hub.decline(pull_app.number)
            elif meanwhile == "pushed":
                pull_app.push(GATED.format(3, 1))
            raise PermanentError("Fake", "References for commit Not Found")

    hub.on = forget
    expected = {"pushed": TransientError, "nothing": PermanentError}.get(meanwhile)
    with pytest.raises(expected) if expected else contextlib.nullcontext():
        pull_app.look()
    assert hub.statuses == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commented", ["never", "before", "twice"])
def test_a_crash_at_any_call(when: str, commented: str, pull_app: PullRequestApp) -> None:
    """Before or after each call to the forge: the next look leaves one comment, what it should say, and the status."""
    hub = pull_app.app.hub
    pull_app.propose(GATED.format(2, 1))
    if commented != "never":
        pull_app.look()
        if commented == "twice":
            hub.remark(pull_app.number, "promoter-bot", hub.bodies(pull_app.number)[0])
        pull_app.push(GATED.format(3, 1))
    pull_app.look()
    expected, calls = pull_app.comment, len(hub.calls)
    state = pull_app.status
    for crash in range(1, calls + 1):
        again = PullRequestApp(pull_app.app)
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
        head, was = hub.pulls[again.number].head[:10], hub.pulls[pull_app.number].head[:10]
        assert again.comment.replace(head, was) == expected


def _crash(hub_on: Callable[[Callable[[str], None]], None], at: int) -> None:
    left = at

    def hook(_call: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise TransientError("Fake", "gone")

    hub_on(hook)


def test_a_registry_that_is_down(pull_app: PullRequestApp) -> None:
    """Nothing is said that is not known: what the pull request has stays, and the look is tried again."""
    pull_app.propose(GATED.format(2, 1))

    def down(_call: str) -> None:
        raise TransientError("MLflow", "cannot be reached")

    pull_app.app.mlflow.on = down
    with pytest.raises(TransientError):
        pull_app.look()
    assert pull_app.app.hub.writes == []


def test_nothing_to_read_is_no_success(pull_app: PullRequestApp) -> None:
    """A branch without a registry.yaml, such as another folder's, makes the check red, and says why; nobody gets a comment."""
    git = pull_app.app.git
    for name in ("main", "change"):
        revision = git.push({"README": name.encode()}, branch=name)
        node = git.nodes[revision]
        git.nodes[revision] = replace(node, files={"README": name.encode()})
    pull_app.number = pull_app.app.hub.opened("change")
    pull_app.look()
    state, description = pull_app.status
    assert (state, "registry.yaml: neither base nor head has it" in description) == ("failure", True), description
    assert pull_app.app.hub.list_own_comments(pull_app.number) == []
