"""Open proposals that are overtaken, and those that a person says no to."""

from __future__ import annotations

import pytest

from promoter.application.comments import NOTE
from promoter.application.ports import PullRequestState
from promoter.domain.errors import TransientError
from tests.support.app import App
from tests.support.proposals import BRANCH, aliases, only, propose, settle, told, writes


@pytest.fixture
def proposed(app: App) -> App:
    """Version 2 is better than the champion, and proposed."""
    return propose(app, 0.8, 0.9)


@pytest.mark.parametrize(
    ("models", "why"),
    [
        (aliases(2), "git says v2 already"),
        (aliases(more=", hold: {reason: audit, by: bob}"), "held by bob: audit"),
        (aliases(more=", quarantine: [2]"), "v2 is in quarantine"),
        (aliases(rotation="off"), "the alias has `rotation: off` now"),
        ("n: {aliases: {}}", "git does not manage the alias any more"),
    ],
    ids=["said", "held", "quarantined", "off", "unmanaged"],
)
def test_overtaken_by_git(models: str, why: str, proposed: App) -> None:
    """Closed with one comment that says why; the branch is gone; and it is nobody's no."""
    proposed.commit(models)
    proposed.propose()
    assert proposed.hub.pulls[1].state is PullRequestState.CLOSED
    assert proposed.hub.bodies(1) == [f"{NOTE}\nOvertaken: {why}."]
    assert told(proposed.hub.pulls[1]).withdrawn == why
    assert [*proposed.git.heads] == ["main"]
    proposed.commit(aliases())
    settle(proposed)
    assert only(proposed).number == 2


def test_overtaken_by_evidence(proposed: App) -> None:
    """The candidate fails now: closed. What is not known, or cannot be read, leaves it open."""
    run = proposed.mlflow.all_runs["m-2"]
    before = writes(proposed)
    for metrics in ({"auc": 0.9}, {"auc": 0.9, "p99": float("nan")}):
        proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, metrics)
        proposed.propose()
        assert writes(proposed) == before
    proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {"auc": 0.9, "p99": 80.0})
    proposed.propose()
    assert proposed.hub.open == []
    assert "metric p99 at_most 50 is fail (saw 80," in (told(proposed.hub.pulls[1]).withdrawn or "")


def test_out_of_step(proposed: App) -> None:
    """Somebody moves the alias: that is put back first, and nothing is closed and opened again meanwhile."""
    before = writes(proposed)
    proposed.mlflow.place("m", "champion", 2)
    proposed.propose()
    assert writes(proposed) == before


def test_declined(proposed: App) -> None:
    """A person who closes it says no to that version, also after another one was proposed; the branch goes."""
    proposed.hub.decline(only(proposed).number)
    settle(proposed)
    assert (proposed.hub.open, [*proposed.git.heads]) == ([], ["main"])
    proposed.mlflow.version("m", auc=0.95, p99=30.0)
    settle(proposed)
    assert only(proposed).title == "Rotate m@champion from v1 to v3"
    proposed.mlflow.tag("m", 3)
    run = proposed.mlflow.all_runs["m-3"]
    proposed.mlflow.all_runs["m-3"] = type(run)(run.run_id, run.status, {"auc": 0.95, "p99": 99.0})
    settle(proposed)
    assert proposed.hub.open == []


def test_declined_before_another_was_merged(proposed: App) -> None:
    """A no is no for good: also where another version was merged since, and did not last."""
    proposed.hub.decline(1)
    settle(proposed)
    proposed.mlflow.version("m", auc=0.95, p99=30.0)
    settle(proposed)
    proposed.hub.merge(only(proposed).number)
    settle(proposed)
    proposed.commit(aliases(more=", quarantine: [3]"))
    proposed.mlflow.place("m", "champion", 1)
    settle(proposed)
    assert (proposed.aliases(), proposed.hub.open) == ({"champion": 1}, [])


def test_declined_without_its_marker(proposed: App) -> None:
    """Somebody has rewritten the body before he closed it: the title tells."""
    thread = proposed.hub.threads[1]
    thread.pull = type(thread.pull)(**{**vars(thread.pull), "body": "No."})
    proposed.hub.decline(1)
    settle(proposed)
    assert proposed.hub.open == []


def test_reopened(proposed: App) -> None:
    """Who changes his mind opens it again."""
    head = only(proposed).head
    proposed.hub.decline(1)
    settle(proposed)
    proposed.git.heads[BRANCH] = head
    proposed.hub.reopen(1)
    settle(proposed)
    assert only(proposed).number == 1
    proposed.hub.merge(1)
    settle(proposed)
    assert proposed.aliases() == {"champion": 2}


def test_merged_while_it_is_closed(proposed: App) -> None:
    """Who merges it in the last moment is not told that it was overtaken."""
    run = proposed.mlflow.all_runs["m-2"]
    proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {"auc": 0.9, "p99": 80.0})

    def meddle(call: str) -> None:
        if call == "pull_request":
            proposed.hub.on = lambda _: None
            proposed.hub.merge(1)

    proposed.hub.on = meddle
    settle(proposed)
    assert proposed.hub.pulls[1].state is PullRequestState.MERGED
    assert (proposed.hub.bodies(1), told(proposed.hub.pulls[1]).withdrawn) == ([], None)


def test_a_closing_that_has_begun_finishes(proposed: App) -> None:
    """Once it says that it is withdrawn, it is closed, also where the reason is not known any more."""
    run = proposed.mlflow.all_runs["m-2"]
    proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {"auc": 0.9, "p99": 80.0})

    def stop(call: str) -> None:
        if call == "comments":
            raise TransientError("forge", "gone")

    proposed.hub.on = stop
    with pytest.raises(TransientError):
        proposed.propose()
    proposed.hub.on = lambda _: None
    proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {"auc": 0.9})
    settle(proposed)
    assert proposed.hub.pulls[1].state is PullRequestState.CLOSED
    proposed.mlflow.all_runs["m-2"] = run
    settle(proposed)
    assert only(proposed).number == 2


def test_wanted_again_before_it_is_closed(proposed: App) -> None:
    """What was said of it is taken back."""
    proposed.commit(aliases(more=", hold: {reason: audit, by: bob}"))

    def stop(call: str) -> None:
        if call == "close":
            raise TransientError("forge", "gone")

    proposed.hub.on = stop
    with pytest.raises(TransientError):
        proposed.propose()
    assert len(proposed.hub.bodies(1)) == 1
    proposed.hub.on = lambda _: None
    proposed.commit(aliases())
    settle(proposed)
    assert (only(proposed).number, proposed.hub.bodies(1), told(only(proposed)).withdrawn) == (1, [], None)


def test_closed_while_it_was_to_be_revised(app: App) -> None:
    """The answer is to what it said: the pull request is not reworded any more, and the better version has one of its own."""
    propose(app, 0.8, 0.9)
    first = only(app).number
    app.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)

    def close(call: str) -> None:
        if call == "propose":
            app.git.after = lambda _call: None
            app.hub.decline(first)

    app.git.after = close
    settle(app)
    assert (told(app.hub.read_pull_request(first)).version, told(only(app)).version) == (2, 3)
