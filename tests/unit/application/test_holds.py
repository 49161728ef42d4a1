"""A person holds an alias or puts a version into quarantine, and lifts that: by commits, or by pull requests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from promoter.domain.errors import PermanentError
from promoter.domain.proposal import ProposalReason
from tests.support.app import App
from tests.support.fakes.repository import PROMOTER
from tests.support.rollbacks import BRANCH, POLICY, ROTATING, ask_hold, back, git

HOLD, RELEASE = ProposalReason.HOLD, ProposalReason.RELEASE
QUARANTINE, LIFT = ProposalReason.QUARANTINE, ProposalReason.LIFT_QUARANTINE
WHY = "audit until Friday"


def test_a_hold_keeps_rotation_away_and_moves_nothing(watched_app: App) -> None:
    """A better version stays where it is, until the hold is lifted."""
    done = ask_hold(watched_app, HOLD, reason=WHY)
    assert (done.path, done.done, done.revision, done.version) == ("commit", True, watched_app.git.head, 3)
    assert done.title_line == "m@champion: held at v3, by commit"
    assert watched_app.git.subjects[-1] == "Hold m@champion at v3"
    hold = git(watched_app).hold
    assert hold
    assert (hold.reason, hold.by, hold.until) == (WHY, "carol", None)
    assert (git(watched_app).version, git(watched_app).rotation) == (3, "commit")
    watched_app.mlflow.version("m", auc=0.9)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    lifted = ask_hold(watched_app, RELEASE, by="bob")
    assert lifted.title_line == "m@champion: released, by commit"
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 4}


def test_a_hold_ends_by_itself(watched_app: App) -> None:
    """At the time that was given with it; a time that is over is refused."""
    until = watched_app.clock.now() + timedelta(hours=72)
    done = ask_hold(watched_app, HOLD, reason=WHY, until=until)
    assert "until 2026-11-26 12:00 UTC, or `promoter hold m@champion --lift`" in done.messages[-1]
    watched_app.mlflow.version("m", auc=0.9)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    watched_app.clock.pass_time(days=3)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 4}
    with pytest.raises(PermanentError, match=r"is over: it is .* \(give --until a later time\)"):
        ask_hold(watched_app, HOLD, reason=WHY, until=until)


def test_who_holds_an_alias_already_is_named(watched_app: App) -> None:
    """Nothing is committed where the alias is held as long; a longer hold takes the place of a shorter one."""
    day = watched_app.clock.now() + timedelta(days=1)
    first = ask_hold(watched_app, HOLD, reason=WHY, by="alice", until=day)
    again = ask_hold(watched_app, HOLD, reason="mine", by="bob", until=day - timedelta(hours=1))
    assert (again.path, again.done, watched_app.git.head) == (None, True, first.revision)
    assert again.title_line == "m@champion: held at v3"
    assert again.messages[0] == (f"Nothing to do: alice (until 2026-11-24 12:00 UTC) holds m@champion already: {WHY}.")
    longer = ask_hold(watched_app, HOLD, reason="mine", by="bob")
    assert longer.messages[0] == f"It takes the place of the hold of alice (until 2026-11-24 12:00 UTC): {WHY}."
    hold = git(watched_app).hold
    assert hold
    assert (hold.by, hold.reason, hold.until) == ("bob", "mine", None)


def test_a_quarantine_keeps_a_version_from_being_proposed(watched_app: App) -> None:
    """And takes it back; the other settings stay."""
    watched_app.mlflow.version("m", auc=0.9)
    done = ask_hold(watched_app, QUARANTINE, reason="leaked labels", version=4)
    assert (done.path, done.version, done.title_line) == ("commit", 4, "m@champion: v4 in quarantine, by commit")
    assert watched_app.git.subjects[-1] == "Quarantine v4 for m@champion"
    assert (git(watched_app).quarantine, git(watched_app).version) == (frozenset({4}), 3)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    again = ask_hold(watched_app, QUARANTINE, reason="leaked labels", version=4)
    assert (again.path, again.messages) == (None, ["Nothing to do: v4 is in quarantine for m@champion already."])
    lifted = ask_hold(watched_app, LIFT, version=4)
    assert lifted.title_line == "m@champion: v4 out of quarantine, by commit"
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 4}


def test_a_quarantine_of_the_holder_says_that_it_stays(watched_app: App) -> None:
    """Nothing moves, with a reason or without; a rollback is what puts an earlier version back, and goes on from there."""
    done = ask_hold(watched_app, QUARANTINE, version=3)
    stays = "v3 holds m@champion now and stays there, since a quarantine moves nothing: `promoter rollback"
    assert done.messages[-1].startswith(stays)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    assert back(watched_app, now=True).to_version == 2
    assert git(watched_app).quarantine == {3}


def test_a_hold_and_a_quarantine_by_a_person_stop_no_rollback(watched_app: App) -> None:
    """A hold that took nothing back is no rollback, also where the alias has a quarantine."""
    ask_hold(watched_app, QUARANTINE, reason="leaked labels", version=1)
    ask_hold(watched_app, HOLD, reason=WHY)
    done = back(watched_app, now=True)
    assert (done.to_version, watched_app.aliases()) == (2, {"champion": 2})
    assert git(watched_app).quarantine == {1, 3}


@pytest.mark.parametrize(
    ("act", "asked", "words"),
    [
        (HOLD, {}, "a hold needs a reason"),
        (HOLD, {"reason": "x" * 1_001}, "at most 1,000 characters"),
        (HOLD, {"reason": WHY, "by": "Promoter"}, "is no person"),
        (RELEASE, {}, "nothing to release: git holds nothing of m@champion"),
        (LIFT, {"version": 3}, "nothing to lift: v3 is not in quarantine for m@champion; git has nothing there"),
        (QUARANTINE, {"reason": WHY, "version": 12}, r"`m` has no v12 \(it has v3, v2, v1\)"),
        (HOLD, {"reason": WHY, "alias": "campion"}, "says nothing of an alias `campion` .did you mean `champion`"),
    ],
)
def test_what_is_impossible_is_refused(watched_app: App, act: ProposalReason, asked: dict[str, Any], words: str) -> None:
    """In words, and nothing is committed."""
    head = watched_app.git.head
    with pytest.raises(PermanentError, match=words):
        ask_hold(watched_app, act, **asked)
    assert watched_app.git.head == head


def test_an_alias_that_must_not_exist_has_neither(watched_app: App) -> None:
    """Git would contradict itself."""
    watched_app.commit("m: {aliases: {champion: absent}}")
    for act in (HOLD, QUARANTINE):
        with pytest.raises(PermanentError, match="must not exist"):
            ask_hold(watched_app, act, reason=WHY, version=3 if act is QUARANTINE else None)


def test_an_alias_that_a_commit_moves_meanwhile_is_held_where_it_is(watched_app: App) -> None:
    """Somebody who pushes first is not overwritten, and the result says that the alias moved."""
    theirs = ROTATING.replace("version: 1", "version: 2")
    watched_app.git.before_commit = lambda: watched_app.commit(theirs, subject="By Ada", p=POLICY)
    done = ask_hold(watched_app, HOLD, reason=WHY)
    assert watched_app.git.subjects[-2:] == ["By Ada", "Hold m@champion at v2"]
    assert done.messages[0] == "A commit moved m@champion from v3 to v2 while this ran."
    assert (git(watched_app).version, done.title_line) == (2, "m@champion: held at v2, by commit")


@pytest.mark.parametrize(
    ("act", "title", "body"),
    [
        (HOLD, "Hold m@champion at v3", "`m@champion` is to be held at **v3**. No alias moves."),
        (QUARANTINE, "Quarantine v2 for m@champion", "**v2** is to go into quarantine for `m@champion`. No alias moves."),
        (LIFT, "Take v1 out of quarantine for m@champion", "**v1** is to leave the quarantine of `m@champion`."),
    ],
)
def test_on_a_protected_branch_it_is_a_pull_request(watched_app: App, act: ProposalReason, title: str, body: str) -> None:
    """One, however often it is asked for and looked at; merged, git states it; closed, nothing changes."""
    ask_hold(watched_app, QUARANTINE, reason="broken", version=1)
    watched_app.git.protected = True
    asked = {"reason": WHY, "version": {QUARANTINE: 2, LIFT: 1}.get(act)}
    done = ask_hold(watched_app, act, **asked)
    (pull,) = watched_app.hub.open
    assert (done.path, done.pull_request, pull.branch, pull.title) == ("pull-request", pull.url, BRANCH, title)
    assert body in pull.body
    assert f"Asked for by carol: {WHY}" in pull.body
    watched_app.converge()
    watched_app.propose()
    assert ask_hold(watched_app, act, **asked).pull_request == pull.url
    assert [each.number for each in watched_app.hub.open] == [pull.number]
    watched_app.hub.merge(pull.number)
    watched_app.converge()
    watched_app.propose()
    stated = git(watched_app)
    assert (stated.version, watched_app.aliases()) == (3, {"champion": 3})
    assert stated.quarantine == {HOLD: {1}, QUARANTINE: {1, 2}, LIFT: set()}[act]
    assert (stated.hold is not None) == (act is HOLD)
    assert watched_app.hub.open == []


def test_a_request_that_waits_is_not_overwritten_by_another(watched_app: App) -> None:
    """Its pull request is to be decided first; one that was closed is in nobody's way."""
    watched_app.git.protected = True
    ask_hold(watched_app, QUARANTINE, reason="broken", version=2)
    for act, version in ((HOLD, None), (QUARANTINE, 1)):
        with pytest.raises(PermanentError, match="another request for m@champion waits for a decision: Quarantine v2"):
            ask_hold(watched_app, act, reason=WHY, version=version)
    (pull,) = watched_app.hub.open
    watched_app.hub.decline(pull.number)
    watched_app.propose()
    ask_hold(watched_app, HOLD, reason=WHY)
    (pull,) = watched_app.hub.open
    assert pull.title == "Hold m@champion at v3"


def test_a_waiting_rollback_and_an_override_go_first(watched_app: App) -> None:
    """The branch is theirs."""
    watched_app.git.protected = True
    back(watched_app)
    with pytest.raises(PermanentError, match="another hold of m@champion waits for a decision: bad recall"):
        ask_hold(watched_app, HOLD, reason=WHY)
    back(watched_app, now=True)
    with pytest.raises(PermanentError, match="an override stands in for git"):
        ask_hold(watched_app, QUARANTINE, reason=WHY, version=1)


def test_without_a_forge_the_branch_is_pushed(watched_app: App) -> None:
    """A person opens the pull request."""
    watched_app.git.protected = True
    done = ask_hold(watched_app, HOLD, forge=False, reason=WHY)
    assert done.messages[0].startswith(f"The watched branch takes no pushes. {BRANCH} is pushed: open a pull request")


@pytest.mark.parametrize("said", ["", "x", "2", "0"])
def test_a_branch_that_does_not_state_what_its_commit_says_is_not_proposed(watched_app: App, said: str) -> None:
    """Whatever somebody writes into a trailer."""
    watched_app.git.protected = True
    trailers = {"Promoter-Aim": "quarantine", "Promoter-Model": "m", "Promoter-Alias": "champion", "Promoter-Quarantine": said}
    text = ROTATING.replace("version: 1", "version: 3, quarantine: [1]")
    files = {"registry.yaml": f"version: 1\nmodels:\n  {text}\n".encode()}
    watched_app.git.push(files, "Quarantine", PROMOTER, trailers, branch=BRANCH)
    watched_app.revisions.refresh_head()
    with pytest.raises(PermanentError, match="does not say what its commit says"):
        watched_app.propose()
    assert watched_app.hub.open == []
