"""A person's rollback and release: each way into git, what is recorded, and asking again after a stop anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from promoter.domain.audit import RecordKind
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from tests.support.app import App
from tests.support.remembered import numbers
from tests.support.rollbacks import BRANCH, POLICY, REASON, ROTATING, back, git, opener, overrides, release


def test_an_open_branch_gets_a_commit_and_the_daemon_does_the_rest(watched_app: App) -> None:
    """Version, hold and quarantine in one commit by its message; rotation does not fight it."""
    done = back(watched_app)
    assert (done.from_version, done.to_version, done.path, done.done) == (3, 2, "commit", True)
    assert done.revision == watched_app.git.head
    assert watched_app.git.subjects[-1] == "Roll back m@champion from v3 to v2"
    said = git(watched_app)
    assert (said.version, said.quarantine) == (2, frozenset({3}))
    assert said.hold
    assert (said.hold.reason, said.hold.by) == (REASON, "alice")
    assert watched_app.aliases() == {"champion": 3}
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 2}
    assert watched_app.records()[-1].fact.verdict == "pass"
    assert watched_app.records()[-1].fact.policy is None
    commits = len(watched_app.git.history)
    watched_app.converge()
    assert (watched_app.aliases(), len(watched_app.git.history)) == ({"champion": 2}, commits)
    assert any("v2 returns: it held champion last in good standing before v3" in line for line in done.messages)


def test_now_brings_the_registry_along_at_once(watched_app: App) -> None:
    """One look at the model, with records that say what asked for it; asking again finds nothing to do."""
    done = back(watched_app, now=True)
    assert (done.path, done.done) == ("commit", True)
    assert watched_app.aliases() == {"champion": 2}
    assert "The registry has v2 now." in done.messages
    fact = watched_app.records()[-1].fact
    assert (fact.trigger, fact.revision, fact.outcome) == ("rollback", watched_app.git.head, "applied")
    again = back(watched_app, now=True)
    assert (again.path, again.done) == (None, True)
    assert again.messages == ["Nothing to do: git says v2 for m@champion, and the registry has it."]
    assert overrides(watched_app) == []


def test_a_version_by_name_goes_past_a_rollback_that_holds(watched_app: App) -> None:
    """The version that came back is bad too: on to the one before it, and both stay in quarantine."""
    back(watched_app, now=True)
    done = back(watched_app, now=True, reason="v2 is bad as well", to=1)
    assert (done.from_version, done.to_version) == (2, 1)
    assert watched_app.aliases() == {"champion": 1}
    assert git(watched_app).quarantine == {2, 3}
    release(watched_app)
    with pytest.raises(PermanentError, match=r"no earlier version .* \(v2 is in quarantine; v3 is in quarantine\) .*--to N"):
        back(watched_app, now=True, reason="and v1 too")


def test_versions_that_cannot_return_are_passed_over_in_words(watched_app: App) -> None:
    """Not ready, or gone: the one before them, and it is told why."""
    watched_app.mlflow.unfit.add(("m", 2))
    done = back(watched_app)
    assert done.to_version == 1
    (passed,) = [line for line in done.messages if line.startswith("Passed over: v2 served until ")]
    assert passed.endswith(" UTC, and is not ready (sklearn; does not load: sklearn).")


@pytest.mark.parametrize(
    ("to", "models", "said"),
    [
        (9, ROTATING, "the registry has no v9"),
        (4, ROTATING, r"v4 is not ready"),
        (2, ROTATING.replace("version: 1", "version: 3, quarantine: [2]"), "v2 is in quarantine"),
    ],
)
def test_a_named_version_that_cannot_serve_is_refused(watched_app: App, to: int, models: str, said: str) -> None:
    """And nothing is written."""
    watched_app.mlflow.version("m", auc=0.1)
    watched_app.mlflow.unfit.add(("m", 4))
    watched_app.commit(models.replace("version: 1", "version: 3"), p=POLICY)
    commits = len(watched_app.git.history)
    with pytest.raises(PermanentError, match=said):
        back(watched_app, to=to, now=True)
    assert (len(watched_app.git.history), overrides(watched_app)) == (commits, [])


def test_a_version_that_never_held_the_alias_is_gated_by_its_policy(watched_app: App) -> None:
    """It is said beforehand; git says it, and the registry stays where it is, with the reason."""
    watched_app.mlflow.version("m", auc=0.1)
    done = back(watched_app, to=4, now=True)
    assert (
        "v4 never held champion: policy `p` gates it, unless an override brings it, which asks for readiness only."
        in done.messages
    )
    assert not done.done
    assert any(
        line.startswith("The registry still has v3 there: v4: metric auc at_least 0.5 is fail") for line in done.messages
    )
    assert (watched_app.aliases(), git(watched_app).version) == ({"champion": 3}, 4)


def test_what_git_and_the_registry_have_already_is_nothing_to_do(watched_app: App) -> None:
    """No commit, no hold."""
    commits = len(watched_app.git.history)
    done = back(watched_app, to=3)
    assert (done.path, done.done, len(watched_app.git.history)) == (None, True, commits)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"reason": "  "}, "needs a reason"),
        ({"reason": "x" * 1_001}, "at most 1,000 characters"),
        ({"by": ""}, "needs the name"),
        ({"by": "x" * 201}, "of 1 to 200 characters"),
        ({"by": " promoter <p@localhost>"}, "is no person"),
        ({"by": "Unknown"}, "is no person"),
        ({"by": "Pro\u200bmoter"}, "is no person"),
        ({"by": "\uff30romoter."}, "is no person"),
        ({"lasts": timedelta(days=8)}, "up to 7 days"),
        ({"lasts": timedelta(0)}, "up to 7 days"),
    ],
)
def test_what_cannot_be_recorded_is_refused(watched_app: App, asked: dict[str, Any], said: str) -> None:
    """Before anything is looked at."""
    with pytest.raises(PermanentError, match=said):
        back(watched_app, **asked)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("other: {aliases: {champion: 1}}", "`m` is not managed"),
        ("m: {aliases: {shadow: 1}}", "says nothing of an alias `champion`"),
        ("m: {aliases: {champion: absent}}", "must not exist"),
    ],
)
def test_git_has_to_manage_the_alias(watched_app: App, models: str, said: str) -> None:
    """In words."""
    watched_app.commit(models)
    with pytest.raises(PermanentError, match=said):
        back(watched_app)


def test_what_somebody_put_there_by_hand_goes_and_is_in_quarantine(watched_app: App) -> None:
    """Git's own version returns, with a hold."""
    watched_app.mlflow.version("m", auc=0.9)
    watched_app.revisions.refresh_head()
    watched_app.mlflow.place("m", "champion", 4)
    done = back(watched_app, now=True)
    assert (done.from_version, done.to_version, watched_app.aliases()) == (4, 3, {"champion": 3})
    assert (git(watched_app).version, git(watched_app).quarantine) == (3, frozenset({4}))


def test_somebody_who_pushes_first_is_not_overwritten(watched_app: App) -> None:
    """It is judged again on top of his commit."""
    theirs = ROTATING.replace("version: 1", "version: 3, quarantine: [2]")
    watched_app.git.before_commit = lambda: watched_app.commit(theirs, subject="By Ada")
    done = back(watched_app)
    assert (done.to_version, watched_app.git.subjects[-2:]) == (1, ["By Ada", "Roll back m@champion from v3 to v1"])
    assert git(watched_app).quarantine == {2, 3}


def test_a_protected_branch_gets_a_pull_request(watched_app: App) -> None:
    """The registry stays where it is until somebody merges it."""
    watched_app.git.protected = True
    done = back(watched_app)
    (pull,) = watched_app.hub.open
    assert (done.path, done.pull_request, done.revision, done.done) == ("pull-request", pull.url, pull.head, True)
    assert (pull.branch, pull.title) == (BRANCH, "Roll back m@champion from v3 to v2")
    assert REASON in pull.body
    assert (git(watched_app, pull.head).version, git(watched_app).version, watched_app.aliases()) == (2, 3, {"champion": 3})
    again = back(watched_app)
    assert (again.pull_request, again.revision) == (done.pull_request, done.revision)
    assert len(watched_app.hub.pulls) == 1
    watched_app.hub.merge(pull.number)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 2}
    assert overrides(watched_app) == []


def test_without_a_forge_no_pull_request_is_promised(watched_app: App) -> None:
    """What ends the override is what Promoter can see: git, and the clock; what follows is told."""
    watched_app.git.protected = True
    done = back(watched_app, forge=False, now=True)
    said = " ".join(done.messages)
    assert "Once git states it, as by a merge of the branch, nothing moves, and the override is over." in said
    assert "Without that, the override ends, and v3 returns, the version that was rolled back." in said
    assert "is closed" not in said


def test_now_on_a_protected_branch_moves_the_alias_under_an_override(watched_app: App) -> None:
    """At once and recorded; the pull request follows, and the same again is neither a second override nor a second one."""
    watched_app.git.protected = True
    done = back(watched_app, now=True, lasts=timedelta(hours=2))
    assert (done.path, watched_app.aliases(), done.done) == ("override", {"champion": 2}, True)
    (pull,) = watched_app.hub.open
    assert done.pull_request == pull.url
    (override,) = watched_app.ledger.find_open_overrides()
    assert done.override == override
    assert (override.version, override.replaces, override.by, override.reason) == (2, 3, "alice", REASON)
    assert override.until == watched_app.time.now() + timedelta(hours=2)
    begun = next(each.fact for each in watched_app.records() if each.fact.kind is RecordKind.OVERRIDE)
    assert (begun.revision, begun.trigger, begun.cause) == (watched_app.git.head, "rollback", "override")
    moved = watched_app.records()[-1].fact
    assert (moved.cause, moved.actor, moved.verdict, moved.revision) == ("override", "alice", "pass", None)
    again = back(watched_app, now=True)
    assert (again.path, again.override, again.pull_request, again.done) == ("override", override, pull.url, True)
    assert (overrides(watched_app), len(watched_app.hub.pulls)) == ([2], 1)
    watched_app.hub.merge(pull.number)
    watched_app.converge()
    assert (
        watched_app.aliases(),
        watched_app.ledger.find_open_overrides(),
        numbers(watched_app.ledger.read_last_applied())["m"],
    ) == (
        {"champion": 2},
        [],
        {"champion": 2},
    )


def test_an_override_whose_version_is_not_ready_at_the_write_ends_with_words(watched_app: App) -> None:
    """It was ready when it was asked about. The override stands, so that the daemon goes on."""
    watched_app.git.protected = True
    found = iter([set(), {("m", 2)}])

    def on(call: str) -> None:
        if call == "readiness":
            watched_app.mlflow.unfit = next(found, {("m", 2)})

    watched_app.mlflow.on = on
    done = back(watched_app, now=True)
    assert (done.done, watched_app.aliases(), overrides(watched_app)) == (False, {"champion": 3}, [2])
    assert any(line.startswith("The registry still has v3 there: v2: ready is fail") for line in done.messages)
    assert done.pull_request


def test_a_second_override_replaces_the_first(watched_app: App) -> None:
    """Its pull request is revised, and only the newest counts."""
    watched_app.git.protected = True
    back(watched_app, now=True)
    done = back(watched_app, now=True, reason="v2 is bad as well", to=1)
    assert (done.to_version, watched_app.aliases(), overrides(watched_app)) == (1, {"champion": 1}, [2, 1])
    (standing,) = watched_app.ledger.find_open_overrides()
    assert standing.version == 1
    (pull,) = watched_app.hub.open
    assert (git(watched_app, pull.head).version, git(watched_app, pull.head).quarantine) == (1, frozenset({2, 3}))
    ends = [each.fact.reason for each in watched_app.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent]
    assert ends == [f"replaced by the override of record {standing.id}"]


def test_without_a_forge_a_person_opens_the_pull_request(watched_app: App) -> None:
    """The branch is pushed, and it is told which."""
    watched_app.git.protected = True
    done = back(watched_app, forge=False)
    assert (done.path, done.pull_request, done.revision) == ("pull-request", None, watched_app.git.heads[BRANCH])
    assert any(f"open a pull request from the branch {BRANCH}" in line for line in done.messages)
    assert done.done


def test_a_forge_that_is_down_leaves_a_branch_and_the_flip(watched_app: App) -> None:
    """Exit code 1, in words; asking again, once the forge answers, opens it."""
    watched_app.git.protected = True

    def down(call: str) -> None:
        raise TransientError("GitHub", f"{call}: cannot be reached")

    watched_app.hub.on = down
    done = back(watched_app, now=True)
    assert (done.done, watched_app.aliases(), BRANCH in watched_app.git.heads) == (False, {"champion": 2}, True)
    assert any("the daemon opens its pull request later: GitHub" in line for line in done.messages)
    watched_app.hub.on = lambda _call: None
    again = back(watched_app, now=True)
    assert (again.done, again.pull_request, overrides(watched_app)) == (True, watched_app.hub.open[0].url, [2])


def test_git_that_is_down_stops_it_unless_it_is_to_be_now(watched_app: App) -> None:
    """Nothing is done; with `now`, what git said last is in force, and the override bridges the time."""
    watched_app.git.trouble = TransientError("git", "cannot be reached")
    with pytest.raises(TransientError):
        back(watched_app.another())
    assert (overrides(watched_app), watched_app.aliases()) == ([], {"champion": 3})
    fresh = watched_app.another()
    done = back(fresh, now=True)
    assert (done.path, done.done, done.pull_request, fresh.aliases()) == ("override", False, None, {"champion": 2})
    assert any(line.startswith("Git has no branch of it yet: git: cannot be reached.") for line in done.messages)
    watched_app.git.trouble = None
    again = back(watched_app.another(), now=True)
    assert (again.path, again.done, git(watched_app).version, overrides(watched_app)) == ("commit", True, 2, [2])
    watched_app.converge()
    assert (watched_app.ledger.find_open_overrides(), watched_app.aliases()) == ([], {"champion": 2})


def test_git_that_was_never_read_here_is_no_ground_to_move_anything(watched_app: App) -> None:
    """Without a copy of what git says, nothing is known to be rolled back."""
    watched_app.git.trouble = TransientError("git", "cannot be reached")
    watched_app.git.nodes.clear()
    with pytest.raises(TransientError):
        back(watched_app.another(), now=True)
    assert overrides(watched_app) == []


def test_a_push_that_fails_does_not_stop_what_is_to_be_now(watched_app: App) -> None:
    """The remote answers the fetch, and not the push."""

    def on(call: str) -> None:
        if call == "commit":
            raise TransientError("git", "the push was cut off")

    watched_app.git.on = on
    with pytest.raises(TransientError):
        back(watched_app)
    done = back(watched_app, now=True)
    assert (done.path, done.done, watched_app.aliases()) == ("override", False, {"champion": 2})


def test_a_broken_head_is_told_and_bridged(watched_app: App) -> None:
    """Nobody can edit what cannot be read; with `now` the last good revision counts."""
    watched_app.git.push({"registry.yaml": b"version: 1\nmodels: [\n"})
    with pytest.raises(PermanentError, match="the branch's head cannot be used"):
        back(watched_app)
    done = back(watched_app, now=True)
    assert (done.path, done.done, watched_app.aliases()) == ("override", False, {"champion": 2})


def test_a_persons_commits_on_the_branch_are_not_overwritten(watched_app: App) -> None:
    """The flip stands; the branch is his."""
    watched_app.git.protected = True
    watched_app.git.push({"registry.yaml": b"version: 1\nmodels: {}\n"}, branch=BRANCH)
    tip = watched_app.git.heads[BRANCH]
    with pytest.raises(PermanentError, match=f"somebody else's commits are on {BRANCH}"):
        back(watched_app)
    done = back(watched_app, now=True)
    assert (done.done, watched_app.aliases(), watched_app.git.heads[BRANCH]) == (False, {"champion": 2}, tip)


def test_a_rotation_that_is_open_is_replaced(watched_app: App) -> None:
    """The same pull request says from then on that it is a rollback."""
    watched_app.commit(ROTATING.replace("version: 1", "version: 3").replace("commit", "pull-request"), p=POLICY)
    watched_app.git.protected = True
    watched_app.mlflow.version("m", auc=0.95)
    watched_app.revisions.refresh_head()
    view = watched_app.planner(watched_app.revisions.declaration_in_force, {"m"})  # type: ignore[arg-type]
    opener(watched_app)(view.models["m"].proposals[0])
    (pull,) = watched_app.hub.open
    assert pull.title == "Rotate m@champion from v3 to v4"
    done = back(watched_app)
    (revised,) = watched_app.hub.open
    assert (revised.number, revised.title) == (pull.number, "Roll back m@champion from v3 to v2")
    assert done.pull_request == revised.url
    assert REASON in revised.body


def test_drift_while_its_pull_request_waits_does_not_send_the_same_words_further_back(watched_app: App) -> None:
    """Git's own version returned over what somebody put there; the same again is that, and not one version more."""
    watched_app.git.protected = True
    watched_app.mlflow.version("m", auc=0.1)
    watched_app.revisions.refresh_head()
    watched_app.mlflow.place("m", "champion", 4)
    assert back(watched_app).to_version == 3
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    assert back(watched_app).to_version == 3


def test_asking_again_keeps_everything_bad_in_quarantine(watched_app: App) -> None:
    """What git says and what served by hand: also when neither serves any more, and the branch is the same."""
    watched_app.git.protected = True
    watched_app.mlflow.version("m", auc=0.1)
    watched_app.revisions.refresh_head()
    watched_app.mlflow.place("m", "champion", 4)
    first = back(watched_app, to=2, now=True)
    again = back(watched_app, to=2, now=True)
    assert (first.revision, first.done) == (again.revision, again.done)
    assert git(watched_app, again.revision).quarantine == {3, 4}


def test_drift_that_is_put_back_at_once_needs_no_override(watched_app: App) -> None:
    """Git says so already; the hold and the quarantine go through a pull request."""
    watched_app.git.protected = True
    watched_app.mlflow.version("m", auc=0.1)
    watched_app.revisions.refresh_head()
    watched_app.mlflow.place("m", "champion", 4)
    done = back(watched_app, now=True)
    assert (done.path, done.to_version, watched_app.aliases(), overrides(watched_app)) == (
        "pull-request",
        3,
        {"champion": 3},
        [],
    )
    assert watched_app.records()[-1].fact.cause == "drift"


CALLS = ["git.commit", "git.propose", "hub.propose", "mlflow.set_alias"]


class ProgramKilled(BaseException):
    """The program is killed."""


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("when", ["on", "after"])
def test_a_stop_before_or_after_any_call_leaves_one_of_each(watched_app: App, call: str, when: str, *, protected: bool) -> None:
    """The same command again: one override, one branch, one pull request, one commit, and the alias where it belongs."""
    watched_app.git.protected = protected
    where, name = call.split(".")
    part: Any = {"git": watched_app.git, "hub": watched_app.hub, "mlflow": watched_app.mlflow}[where]
    _stop_once(part, name, when)
    begun = len(watched_app.git.history)
    with suppress(ProgramKilled):
        back(watched_app.another(), now=True)
    part.on = lambda _call: None
    done = back(watched_app.another(), now=True)
    assert done.done
    assert watched_app.aliases() == {"champion": 2}
    assert overrides(watched_app) == ([2] if protected else [])
    assert len(watched_app.hub.pulls) == (1 if protected else 0)
    assert len(watched_app.git.history) == begun + (0 if protected else 1)
    assert watched_app.ledger.find_open_intents() == []


def _stop_once(part: Any, name: str, when: str) -> None:
    def stop(call: str) -> None:
        if call == name:
            part.on = part.after = lambda _call: None
            raise ProgramKilled

    if hasattr(part, "after"):
        setattr(part, when, stop)
        return
    if when == "on":
        part.on = stop
        return
    write: Callable[[str, str, int], None] = getattr(part, name)

    def written(model: str, alias: str, version: int) -> None:
        setattr(part, name, write)
        write(model, alias, version)
        raise ProgramKilled

    setattr(part, name, written)


@pytest.mark.parametrize("step", ["record_override", "record_intent", "record_outcome", "end_override"])
def test_a_ledger_that_fails_between_the_steps_is_caught_up_with(watched_app: App, step: str) -> None:
    """Whichever record could not be written: the same command again ends well."""
    watched_app.git.protected = True
    app = watched_app.another()
    kept = getattr(app.ledger, step)

    def fails(*_: object, **__: object) -> None:
        setattr(app.ledger, step, kept)
        raise TransientError("ledger", "is locked")

    setattr(app.ledger, step, fails)
    with suppress(ExternalError):
        back(app, now=True)
    done = back(app, now=True)
    assert (done.done, watched_app.aliases(), overrides(watched_app), len(watched_app.hub.pulls)) == (
        True,
        {"champion": 2},
        [2],
        1,
    )


def test_a_release_takes_the_hold_away_and_leaves_the_quarantine(watched_app: App) -> None:
    """By a commit; rotation goes on with what is not in quarantine."""
    back(watched_app, now=True)
    done = release(watched_app)
    assert (done.path, done.done, done.revision) == ("commit", True, watched_app.git.head)
    assert watched_app.git.subjects[-1] == "Release m@champion"
    assert (git(watched_app).hold, git(watched_app).version, git(watched_app).quarantine) == (None, 2, frozenset({3}))
    assert done.messages[-1] == "v3 stays in quarantine, until `promoter quarantine m@champion N --lift` takes it out."
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 2}
    watched_app.mlflow.version("m", auc=0.9)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 4}


def test_a_release_of_nothing_is_refused(watched_app: App) -> None:
    """No hold; a hold that others share; an override whose pull request is to be decided first; another hold on its way."""
    with pytest.raises(PermanentError, match="nothing to release"):
        release(watched_app)
    shared = "defaults: {aliases: {champion: {hold: {reason: r, by: b}}}}\n"
    watched_app.commit(ROTATING.replace("version: 1", "version: 3"), head=shared, p=POLICY)
    with pytest.raises(PermanentError, match="held by `defaults`"):
        release(watched_app)
    watched_app.commit(ROTATING.replace("version: 1", "version: 3, hold: {reason: r, by: b}"), p=POLICY)
    watched_app.git.protected = True
    back(watched_app)
    with pytest.raises(PermanentError, match="another hold of m@champion waits for a decision: bad recall"):
        release(watched_app)
    back(watched_app, now=True)
    with pytest.raises(PermanentError, match=f"an override stands in for git: v2 until .*, by alice: {REASON}.*merge or close"):
        release(watched_app)


def test_a_release_on_a_protected_branch_is_a_pull_request(watched_app: App) -> None:
    """Once it is merged, the hold is gone."""
    back(watched_app, now=True)
    watched_app.git.protected = True
    done = release(watched_app)
    (pull,) = watched_app.hub.open
    assert (done.path, done.pull_request, pull.title) == ("pull-request", pull.url, "Release m@champion")
    assert release(watched_app).pull_request == pull.url
    watched_app.hub.merge(pull.number)
    watched_app.revisions.refresh_head()
    assert git(watched_app).hold is None


def test_a_rollback_goes_before_a_release_that_is_open(watched_app: App) -> None:
    """An incident does not wait for it: the pull request becomes the rollback."""
    back(watched_app, now=True)
    watched_app.git.protected = True
    release(watched_app)
    done = back(watched_app, reason="v2 is bad as well", now=True, to=1)
    (pull,) = watched_app.hub.open
    assert (pull.title, done.to_version, watched_app.aliases()) == ("Roll back m@champion from v2 to v1", 1, {"champion": 1})
