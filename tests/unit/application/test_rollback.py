"""A person's rollback and release: each way into git, what is recorded, and asking again after a stop anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from promoter.application.proposals.commits import BranchOpener, Opener, ProposalCommitter
from promoter.application.proposals.comparison import VersionComparer
from promoter.application.proposals.reconciler import ProposalDeps, ProposalOpener, ProposalReconciler
from promoter.application.rollback import AliasRollback, HoldRelease, RollbackDeps
from promoter.domain.audit import RecordKind
from promoter.domain.desired import AliasIntent
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.rollback import RollbackRequest, RollbackResult
from tests.unit.application.conftest import Office

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
"""
ROTATING = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"
REASON = "bad recall"
BRANCH = "promoter/m/champion"


def rooms(office: Office, *, forge: bool = True) -> RollbackDeps:
    """What a rollback works with in that office."""
    push = BranchOpener(office.repository, office.documents)
    opener: Opener = ProposalOpener(push, ProposalReconciler(_proposing(office))) if forge else push
    into_git = ProposalCommitter(office.repository, office.documents, office.revisions)
    return RollbackDeps(
        office.registry, office.ledger, office.clock, office.locks, office.revisions, office.model_reconciler, into_git, opener
    )


def _proposing(office: Office) -> ProposalDeps:
    return ProposalDeps(
        office.hub,
        office.repository,
        office.documents,
        office.ledger,
        office.locks,
        office.clock,
        office.planner,
        office.revisions,
        VersionComparer(office.registry),
    )


def back(office: Office, *, forge: bool = True, **asked: Any) -> RollbackResult:
    """Alice rolls the champion back."""
    return AliasRollback(rooms(office, forge=forge))(
        RollbackRequest("m", "champion", **{"reason": REASON, "by": "alice", **asked})
    )


def release(office: Office, *, forge: bool = True, by: str = "bob") -> RollbackResult:
    """Bob lifts the hold."""
    return HoldRelease(rooms(office, forge=forge))("m", "champion", by)


def git(office: Office, revision: str | None = None) -> AliasIntent:
    """What git says of the champion."""
    sources = office.git.read_sources(revision or office.git.head)
    intent = office.documents.parse_declaration(sources, None).desired.find_model_intent("m")
    assert intent
    return intent.aliases["champion"]


def overrides(office: Office) -> list[int]:
    """The versions of the overrides that were ever recorded."""
    found = [each for each in office.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent is None]
    return [each.fact.to_version or 0 for each in found]


@pytest.fixture
def served(office: Office) -> Office:
    """v1, v2 and v3 were the champion one after the other, by rotation; v3 is."""
    office.mlflow.version("m", auc=0.6)
    office.mlflow.place("m", "champion", 1)
    office.commit(ROTATING, p=POLICY)
    office.converge()
    for auc in (0.7, 0.8):
        office.mlflow.version("m", auc=auc)
        office.converge()
    assert office.aliases() == {"champion": 3}
    return office


def test_an_open_branch_gets_a_commit_and_the_daemon_does_the_rest(served: Office) -> None:
    """Version, hold and quarantine in one commit by its message; rotation does not fight it."""
    done = back(served)
    assert (done.from_version, done.to_version, done.path, done.done) == (3, 2, "commit", True)
    assert done.revision == served.git.head
    assert served.git.subjects[-1] == "Roll back m@champion from v3 to v2"
    said = git(served)
    assert (said.version, said.quarantine) == (2, frozenset({3}))
    assert said.hold
    assert (said.hold.reason, said.hold.by) == (REASON, "alice")
    assert served.aliases() == {"champion": 3}
    served.converge()
    assert served.aliases() == {"champion": 2}
    assert served.records()[-1].fact.verdict == "pass"
    assert served.records()[-1].fact.policy is None
    commits = len(served.git.history)
    served.converge()
    assert (served.aliases(), len(served.git.history)) == ({"champion": 2}, commits)
    assert any("v2 returns: it held champion last in good standing before v3" in line for line in done.messages)


def test_now_brings_the_registry_along_at_once(served: Office) -> None:
    """One look at the model, with records that say what asked for it; asking again finds nothing to do."""
    done = back(served, now=True)
    assert (done.path, done.done) == ("commit", True)
    assert served.aliases() == {"champion": 2}
    assert "The registry has v2 now." in done.messages
    fact = served.records()[-1].fact
    assert (fact.trigger, fact.revision, fact.outcome) == ("rollback", served.git.head, "applied")
    again = back(served, now=True)
    assert (again.path, again.done) == (None, True)
    assert again.messages == ["Nothing to do: git says v2 for m@champion, and the registry has it."]
    assert overrides(served) == []


def test_a_new_reason_is_a_new_rollback(served: Office) -> None:
    """The version that came back is bad too: on to the one before it, and both stay in quarantine."""
    back(served, now=True)
    done = back(served, now=True, reason="v2 is bad as well")
    assert (done.from_version, done.to_version) == (2, 1)
    assert served.aliases() == {"champion": 1}
    assert git(served).quarantine == {2, 3}
    with pytest.raises(PermanentError, match=r"no earlier version .* \(v2 is in quarantine; v3 is in quarantine\) .*--to N"):
        back(served, now=True, reason="and v1 too")


def test_versions_that_cannot_return_are_passed_over_in_words(served: Office) -> None:
    """Not ready, or gone: the one before them, and it is told why."""
    served.mlflow.unfit.add(("m", 2))
    done = back(served)
    assert done.to_version == 1
    assert "Passed over: v2 is not ready (sklearn; does not load: sklearn)." in done.messages


@pytest.mark.parametrize(
    ("to", "models", "said"),
    [
        (9, ROTATING, "the registry has no v9"),
        (4, ROTATING, r"v4 is not ready"),
        (2, ROTATING.replace("version: 1", "version: 3, quarantine: [2]"), "v2 is in quarantine"),
    ],
)
def test_a_named_version_that_cannot_serve_is_refused(served: Office, to: int, models: str, said: str) -> None:
    """And nothing is written."""
    served.mlflow.version("m", auc=0.1)
    served.mlflow.unfit.add(("m", 4))
    served.commit(models.replace("version: 1", "version: 3"), p=POLICY)
    commits = len(served.git.history)
    with pytest.raises(PermanentError, match=said):
        back(served, to=to, now=True)
    assert (len(served.git.history), overrides(served)) == (commits, [])


def test_a_version_that_never_held_the_alias_is_gated_by_its_policy(served: Office) -> None:
    """It is said beforehand; git says it, and the registry stays where it is, with the reason."""
    served.mlflow.version("m", auc=0.1)
    done = back(served, to=4, now=True)
    assert (
        "v4 never held champion: policy `p` gates it, unless an override brings it, which asks for readiness only."
        in done.messages
    )
    assert not done.done
    assert any(
        line.startswith("The registry still has v3 there: v4: metric auc at_least 0.5 is fail") for line in done.messages
    )
    assert (served.aliases(), git(served).version) == ({"champion": 3}, 4)


def test_what_git_and_the_registry_have_already_is_nothing_to_do(served: Office) -> None:
    """No commit, no hold."""
    commits = len(served.git.history)
    done = back(served, to=3)
    assert (done.path, done.done, len(served.git.history)) == (None, True, commits)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"reason": "  "}, "needs a reason"),
        ({"by": ""}, "needs the name"),
        ({"lasts": timedelta(days=8)}, "up to 7 days"),
        ({"lasts": timedelta(0)}, "up to 7 days"),
    ],
)
def test_what_cannot_be_recorded_is_refused(served: Office, asked: dict[str, Any], said: str) -> None:
    """Before anything is looked at."""
    with pytest.raises(PermanentError, match=said):
        back(served, **asked)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("other: {aliases: {champion: 1}}", "`m` is not managed"),
        ("m: {aliases: {shadow: 1}}", "says nothing of an alias `champion`"),
        ("m: {aliases: {champion: absent}}", "must not exist"),
    ],
)
def test_git_has_to_manage_the_alias(served: Office, models: str, said: str) -> None:
    """In words."""
    served.commit(models)
    with pytest.raises(PermanentError, match=said):
        back(served)


def test_what_somebody_put_there_by_hand_goes_and_is_in_quarantine(served: Office) -> None:
    """Git's own version returns, with a hold."""
    served.mlflow.version("m", auc=0.9)
    served.revisions.refresh_head()
    served.mlflow.place("m", "champion", 4)
    done = back(served, now=True)
    assert (done.from_version, done.to_version, served.aliases()) == (4, 3, {"champion": 3})
    assert (git(served).version, git(served).quarantine) == (3, frozenset({4}))


def test_somebody_who_pushes_first_is_not_overwritten(served: Office) -> None:
    """It is judged again on top of his commit."""
    theirs = ROTATING.replace("version: 1", "version: 3, quarantine: [2]")
    served.git.before_commit = lambda: served.commit(theirs, subject="By Ada")
    done = back(served)
    assert (done.to_version, served.git.subjects[-2:]) == (1, ["By Ada", "Roll back m@champion from v3 to v1"])
    assert git(served).quarantine == {2, 3}


def test_a_protected_branch_gets_a_pull_request(served: Office) -> None:
    """The registry stays where it is until somebody merges it."""
    served.git.protected = True
    done = back(served)
    (pull,) = served.hub.open
    assert (done.path, done.pull_request, done.revision, done.done) == ("pull-request", pull.url, pull.head, True)
    assert (pull.branch, pull.title) == (BRANCH, "Roll back m@champion from v3 to v2")
    assert REASON in pull.body
    assert (git(served, pull.head).version, git(served).version, served.aliases()) == (2, 3, {"champion": 3})
    again = back(served)
    assert (again.pull_request, again.revision) == (done.pull_request, done.revision)
    assert len(served.hub.pulls) == 1
    served.hub.merge(pull.number)
    served.converge()
    assert served.aliases() == {"champion": 2}
    assert overrides(served) == []


def test_now_on_a_protected_branch_moves_the_alias_under_an_override(served: Office) -> None:
    """At once and recorded; the pull request follows, and the same again is neither a second override nor a second one."""
    served.git.protected = True
    done = back(served, now=True, lasts=timedelta(hours=2))
    assert (done.path, served.aliases(), done.done) == ("override", {"champion": 2}, True)
    (pull,) = served.hub.open
    assert done.pull_request == pull.url
    (override,) = served.ledger.find_open_overrides()
    assert done.override == override
    assert (override.version, override.replaces, override.by, override.reason) == (2, 3, "alice", REASON)
    assert override.until == served.time.now() + timedelta(hours=2)
    begun = next(each.fact for each in served.records() if each.fact.kind is RecordKind.OVERRIDE)
    assert (begun.revision, begun.trigger, begun.cause) == (served.git.head, "rollback", "override")
    moved = served.records()[-1].fact
    assert (moved.cause, moved.actor, moved.verdict, moved.revision) == ("override", "alice", "pass", None)
    again = back(served, now=True)
    assert (again.path, again.override, again.pull_request, again.done) == ("override", override, pull.url, True)
    assert (overrides(served), len(served.hub.pulls)) == ([2], 1)
    served.hub.merge(pull.number)
    served.converge()
    assert (served.aliases(), served.ledger.find_open_overrides(), served.ledger.read_last_applied()["m"]) == (
        {"champion": 2},
        [],
        {"champion": 2},
    )


def test_an_override_whose_version_is_not_ready_at_the_write_ends_with_words(served: Office) -> None:
    """It was ready when it was asked about. The override stands, so that the daemon goes on."""
    served.git.protected = True
    found = iter([set(), {("m", 2)}])

    def on(call: str) -> None:
        if call == "readiness":
            served.mlflow.unfit = next(found, {("m", 2)})

    served.mlflow.on = on
    done = back(served, now=True)
    assert (done.done, served.aliases(), overrides(served)) == (False, {"champion": 3}, [2])
    assert any(line.startswith("The registry still has v3 there: v2: ready is fail") for line in done.messages)
    assert done.pull_request


def test_a_second_override_replaces_the_first(served: Office) -> None:
    """Its pull request is revised, and only the newest counts."""
    served.git.protected = True
    back(served, now=True)
    done = back(served, now=True, reason="v2 is bad as well")
    assert (done.to_version, served.aliases(), overrides(served)) == (1, {"champion": 1}, [2, 1])
    (standing,) = served.ledger.find_open_overrides()
    assert standing.version == 1
    (pull,) = served.hub.open
    assert (git(served, pull.head).version, git(served, pull.head).quarantine) == (1, frozenset({2, 3}))
    ends = [each.fact.reason for each in served.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent]
    assert ends == [f"replaced by the override of record {standing.id}"]


def test_without_a_forge_a_person_opens_the_pull_request(served: Office) -> None:
    """The branch is pushed, and it is told which."""
    served.git.protected = True
    done = back(served, forge=False)
    assert (done.path, done.pull_request, done.revision) == ("pull-request", None, served.git.heads[BRANCH])
    assert any(f"open a pull request from the branch {BRANCH}" in line for line in done.messages)
    assert done.done


def test_a_forge_that_is_down_leaves_a_branch_and_the_flip(served: Office) -> None:
    """Exit code 1, in words; asking again, once the forge answers, opens it."""
    served.git.protected = True

    def down(call: str) -> None:
        raise TransientError("GitHub", f"{call}: cannot be reached")

    served.hub.on = down
    done = back(served, now=True)
    assert (done.done, served.aliases(), BRANCH in served.git.heads) == (False, {"champion": 2}, True)
    assert any("the daemon opens its pull request later: GitHub" in line for line in done.messages)
    served.hub.on = lambda _call: None
    again = back(served, now=True)
    assert (again.done, again.pull_request, overrides(served)) == (True, served.hub.open[0].url, [2])


def test_git_that_is_down_stops_it_unless_it_is_to_be_now(served: Office) -> None:
    """Nothing is done; with `now`, what git said last is in force, and the override bridges the time."""
    served.git.trouble = TransientError("git", "cannot be reached")
    with pytest.raises(TransientError):
        back(served.another())
    assert (overrides(served), served.aliases()) == ([], {"champion": 3})
    fresh = served.another()
    done = back(fresh, now=True)
    assert (done.path, done.done, done.pull_request, fresh.aliases()) == ("override", False, None, {"champion": 2})
    assert any(line.startswith("Git has no branch of it yet: git: cannot be reached.") for line in done.messages)
    served.git.trouble = None
    again = back(served.another(), now=True)
    assert (again.path, again.done, git(served).version, overrides(served)) == ("commit", True, 2, [2])
    served.converge()
    assert (served.ledger.find_open_overrides(), served.aliases()) == ([], {"champion": 2})


def test_git_that_was_never_read_here_is_no_ground_to_move_anything(served: Office) -> None:
    """Without a copy of what git says, nothing is known to be rolled back."""
    served.git.trouble = TransientError("git", "cannot be reached")
    served.git.nodes.clear()
    with pytest.raises(TransientError):
        back(served.another(), now=True)
    assert overrides(served) == []


def test_a_push_that_fails_does_not_stop_what_is_to_be_now(served: Office) -> None:
    """The remote answers the fetch, and not the push."""

    def on(call: str) -> None:
        if call == "commit":
            raise TransientError("git", "the push was cut off")

    served.git.on = on
    with pytest.raises(TransientError):
        back(served)
    done = back(served, now=True)
    assert (done.path, done.done, served.aliases()) == ("override", False, {"champion": 2})


def test_a_broken_head_is_told_and_bridged(served: Office) -> None:
    """Nobody can edit what cannot be read; with `now` the last good revision counts."""
    served.git.push({"registry.yaml": b"version: 1\nmodels: [\n"})
    with pytest.raises(PermanentError, match="the branch's head cannot be used"):
        back(served)
    done = back(served, now=True)
    assert (done.path, done.done, served.aliases()) == ("override", False, {"champion": 2})


def test_a_persons_commits_on_the_branch_are_not_overwritten(served: Office) -> None:
    """The flip stands; the branch is his."""
    served.git.protected = True
    served.git.push({"registry.yaml": b"version: 1\nmodels: {}\n"}, branch=BRANCH)
    tip = served.git.heads[BRANCH]
    with pytest.raises(PermanentError, match=f"somebody else's commits are on {BRANCH}"):
        back(served)
    done = back(served, now=True)
    assert (done.done, served.aliases(), served.git.heads[BRANCH]) == (False, {"champion": 2}, tip)


def test_a_rotation_that_is_open_is_replaced(served: Office) -> None:
    """The same pull request says from then on that it is a rollback."""
    served.commit(ROTATING.replace("version: 1", "version: 3").replace("commit", "pull-request"), p=POLICY)
    served.git.protected = True
    served.mlflow.version("m", auc=0.95)
    served.revisions.refresh_head()
    opener = rooms(served).open_proposal
    view = served.planner(served.revisions.declaration_in_force, {"m"})  # type: ignore[arg-type]
    opener(view.models["m"].proposals[0])
    (pull,) = served.hub.open
    assert pull.title == "Rotate m@champion from v3 to v4"
    done = back(served)
    (revised,) = served.hub.open
    assert (revised.number, revised.title) == (pull.number, "Roll back m@champion from v3 to v2")
    assert done.pull_request == revised.url
    assert REASON in revised.body


def test_drift_while_its_pull_request_waits_does_not_send_the_same_words_further_back(served: Office) -> None:
    """Git's own version returned over what somebody put there; the same again is that, and not one version more."""
    served.git.protected = True
    served.mlflow.version("m", auc=0.1)
    served.revisions.refresh_head()
    served.mlflow.place("m", "champion", 4)
    assert back(served).to_version == 3
    served.converge()
    assert served.aliases() == {"champion": 3}
    assert back(served).to_version == 3


def test_asking_again_keeps_everything_bad_in_quarantine(served: Office) -> None:
    """What git says and what served by hand: also when neither serves any more, and the branch is the same."""
    served.git.protected = True
    served.mlflow.version("m", auc=0.1)
    served.revisions.refresh_head()
    served.mlflow.place("m", "champion", 4)
    first = back(served, to=2, now=True)
    again = back(served, to=2, now=True)
    assert (first.revision, first.done) == (again.revision, again.done)
    assert git(served, again.revision).quarantine == {3, 4}


def test_drift_that_is_put_back_at_once_needs_no_override(served: Office) -> None:
    """Git says so already; the hold and the quarantine go through a pull request."""
    served.git.protected = True
    served.mlflow.version("m", auc=0.1)
    served.revisions.refresh_head()
    served.mlflow.place("m", "champion", 4)
    done = back(served, now=True)
    assert (done.path, done.to_version, served.aliases(), overrides(served)) == ("pull-request", 3, {"champion": 3}, [])
    assert served.records()[-1].fact.cause == "drift"


CALLS = ["git.commit", "git.propose", "hub.propose", "mlflow.set_alias"]


class Stopped(BaseException):
    """The program is killed."""


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("when", ["on", "after"])
def test_a_stop_before_or_after_any_call_leaves_one_of_each(served: Office, call: str, when: str, *, protected: bool) -> None:
    """The same command again: one override, one branch, one pull request, one commit, and the alias where it belongs."""
    served.git.protected = protected
    where, name = call.split(".")
    part: Any = {"git": served.git, "hub": served.hub, "mlflow": served.mlflow}[where]
    _stop_once(part, name, when)
    begun = len(served.git.history)
    with suppress(Stopped):
        back(served.another(), now=True)
    part.on = lambda _call: None
    done = back(served.another(), now=True)
    assert done.done
    assert served.aliases() == {"champion": 2}
    assert overrides(served) == ([2] if protected else [])
    assert len(served.hub.pulls) == (1 if protected else 0)
    assert len(served.git.history) == begun + (0 if protected else 1)
    assert served.ledger.find_open_intents() == []


def _stop_once(part: Any, name: str, when: str) -> None:
    def stop(call: str) -> None:
        if call == name:
            part.on = part.after = lambda _call: None
            raise Stopped

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
        raise Stopped

    setattr(part, name, written)


@pytest.mark.parametrize("step", ["record_override", "record_intent", "record_outcome", "end_override"])
def test_a_ledger_that_fails_between_the_steps_is_caught_up_with(served: Office, step: str) -> None:
    """Whichever record could not be written: the same command again ends well."""
    served.git.protected = True
    office = served.another()
    kept = getattr(office.ledger, step)

    def fails(*_: object, **__: object) -> None:
        setattr(office.ledger, step, kept)
        raise TransientError("ledger", "is locked")

    setattr(office.ledger, step, fails)
    with suppress(ExternalError):
        back(office, now=True)
    done = back(office, now=True)
    assert (done.done, served.aliases(), overrides(served), len(served.hub.pulls)) == (True, {"champion": 2}, [2], 1)


def test_a_release_takes_the_hold_away_and_leaves_the_quarantine(served: Office) -> None:
    """By a commit; rotation goes on with what is not in quarantine."""
    back(served, now=True)
    done = release(served)
    assert (done.path, done.done, done.revision) == ("commit", True, served.git.head)
    assert served.git.subjects[-1] == "Release m@champion"
    assert (git(served).hold, git(served).version, git(served).quarantine) == (None, 2, frozenset({3}))
    assert done.messages[-1] == "v3 stays in quarantine, until a person takes it out of registry.yaml."
    served.converge()
    assert served.aliases() == {"champion": 2}
    served.mlflow.version("m", auc=0.9)
    served.converge()
    assert served.aliases() == {"champion": 4}


def test_a_release_of_nothing_is_refused(served: Office) -> None:
    """No hold; a hold that others share; an override whose pull request is to be decided first; another hold on its way."""
    with pytest.raises(PermanentError, match="nothing to release"):
        release(served)
    shared = "defaults: {aliases: {champion: {hold: {reason: r, by: b}}}}\n"
    served.commit(ROTATING.replace("version: 1", "version: 3"), head=shared, p=POLICY)
    with pytest.raises(PermanentError, match="held by `defaults`"):
        release(served)
    served.commit(ROTATING.replace("version: 1", "version: 3, hold: {reason: r, by: b}"), p=POLICY)
    served.git.protected = True
    back(served)
    with pytest.raises(PermanentError, match="another hold of m@champion waits for a decision: bad recall"):
        release(served)
    back(served, now=True)
    with pytest.raises(PermanentError, match=f"an override stands in for git: v2 until .*, by alice: {REASON}.*merge or close"):
        release(served)


def test_a_release_on_a_protected_branch_is_a_pull_request(served: Office) -> None:
    """Once it is merged, the hold is gone."""
    back(served, now=True)
    served.git.protected = True
    done = release(served)
    (pull,) = served.hub.open
    assert (done.path, done.pull_request, pull.title) == ("pull-request", pull.url, "Release m@champion")
    assert release(served).pull_request == pull.url
    served.hub.merge(pull.number)
    served.revisions.refresh_head()
    assert git(served).hold is None


def test_a_rollback_goes_before_a_release_that_is_open(served: Office) -> None:
    """An incident does not wait for it: the pull request becomes the rollback."""
    back(served, now=True)
    served.git.protected = True
    release(served)
    done = back(served, reason="v2 is bad as well", now=True)
    (pull,) = served.hub.open
    assert (pull.title, done.to_version, served.aliases()) == ("Roll back m@champion from v2 to v1", 1, {"champion": 1})
