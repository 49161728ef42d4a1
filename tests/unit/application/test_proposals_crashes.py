"""A stop before and after each call to the outside, and two at once: one pull request, one comment, no lost edit."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from promoter.application.ports import PullRequestState
from promoter.domain.errors import ExternalError
from tests.support.app import App
from tests.support.fakes.forge import FakeForge
from tests.support.fakes.registry import FakeRegistry, FakeRepository
from tests.support.proposal_situations import SCENES, standing, updating
from tests.support.proposals import BRANCH, propose, settle, told


class ProcessStop(Exception):  # noqa: N818  # the process is gone
    """As if the process was killed."""


class PreparedApps:
    """Apps by the dozen: each is a copy of one that was prepared once."""

    def __init__(self, folder: Path) -> None:
        """None yet."""
        self._folder, self._count = folder, 0
        self._first: dict[Callable[[App], None], App] = {}

    def begin(self, prepare: Callable[[App], None]) -> App:
        """One with a version that was looked at, and then prepared."""
        first = self._first.get(prepare) or self._prepared(prepare)
        self._count += 1
        folder = self._folder / str(self._count)
        shutil.copytree(first.folder, folder)
        return App(folder, *copy.deepcopy((first.mlflow, first.git, first.hub)))

    def _prepared(self, prepare: Callable[[App], None]) -> App:
        folder = self._folder / prepare.__name__
        folder.mkdir()
        app = App(folder, FakeRegistry(), repository := FakeRepository(), FakeForge(repository))
        prepare(propose(app, 0.8))
        app.close()
        repository.record_own = lambda _revision, _message: None  # the ledger of this app, which no copy shares
        self._first[prepare] = app
        return app


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedApps:
    """One set of them a module."""
    return PreparedApps(tmp_path_factory.mktemp("apps"))


def outside(app: App, act: Callable[[str, str], None]) -> None:
    """Have that called before and after each call to forge and git."""
    for part in (app.hub, app.git):
        part.on = lambda call: act("before", call)
        part.after = lambda call: act("after", call)


def looked(app: App, stop: int) -> bool:
    """One look that stops at that moment; whether there was such a moment."""
    seen = 0

    def count(_when: str, _call: str) -> None:
        nonlocal seen
        seen += 1
        if seen == stop:
            raise ProcessStop

    outside(app, count)
    try:
        app.propose()
    except ProcessStop:
        return True
    finally:
        outside(app, lambda _when, _call: None)
    return False


@pytest.mark.slow_except("opening")
@pytest.mark.parametrize(("prepare", "check"), SCENES, ids=[scene[0].__name__ for scene in SCENES])
def test_a_stop_at_any_moment(prepare: Callable[[App], None], check: Callable[[App], None], prepared: PreparedApps) -> None:
    """Whatever was done until then, a process that has just started finishes it, and does nothing twice."""
    stop, stopped = 0, True
    while stopped:
        stop += 1
        app = prepared.begin(prepare)
        stopped = looked(app, stop)
        fresh = app.another()
        settle(fresh)
        check(fresh)
        fresh.close()
        app.close()
    assert stop > 4


@pytest.mark.slow_except("leaving")
@pytest.mark.parametrize(("prepare", "check"), SCENES, ids=[scene[0].__name__ for scene in SCENES])
def test_two_at_once(prepare: Callable[[App], None], check: Callable[[App], None], prepared: PreparedApps) -> None:
    """At each moment of one look, another Promoter's whole look comes in between."""
    moment, between = 0, True
    while between:
        moment += 1
        app = prepared.begin(prepare)
        between = meddled(app, moment, lambda other: other.propose())
        settle(app)
        check(app)
        app.close()
    assert moment > 4


@pytest.mark.slow_except("merge-standing")
@pytest.mark.parametrize("prepare", [standing, updating])
@pytest.mark.parametrize("act", ["merge", "decline", "push"])
def test_a_person_at_any_moment(act: str, prepare: Callable[[App], None], prepared: PreparedApps) -> None:
    """Who merges, closes or commits while one is open, or a better candidate is being proposed, has his way."""
    moment, between = 0, True
    while between:
        moment += 1
        app = prepared.begin(prepare)

        def person(other: App) -> None:
            if act == "merge":
                other.hub.merge(1)
            elif act == "decline":
                other.hub.decline(1)
            else:
                other.git.push({"notes.md": b"wait"}, branch=BRANCH)

        between = meddled(app, moment, person)
        settle(app)
        if between:
            check_person(app, act)
        app.close()
    assert moment > 3


def check_person(app: App, act: str) -> None:
    """What must be so, whenever it was that he came."""
    said = app.documents.parse_declaration(app.git.read_sources(app.git.head), None).desired.find_model_intent("m")
    assert said is not None
    assert app.aliases()["champion"] == said.aliases["champion"].version
    assert len(app.hub.open) <= 1
    if act == "merge":
        assert app.hub.pulls[1].state is PullRequestState.MERGED
        others = {told(pull).version for number, pull in app.hub.pulls.items() if number != 1}
        merged = app.git.read_sources(app.hub.pulls[1].merge_commit or "")["registry.yaml"]
        assert not any(b"version: %d, policy" % (version or 0) in merged for version in others)
    elif act == "decline":
        assert app.hub.pulls[1].state is PullRequestState.CLOSED
        answers = {told(each).answer_key for each in app.hub.open}
        assert told(app.hub.pulls[1]).answer_key not in answers
    else:
        assert app.git.nodes[app.git.heads[BRANCH]].files["notes.md"] == b"wait"
        assert len(app.hub.bodies(1)) == 1


def meddled(app: App, moment: int, act: Callable[[App], object]) -> bool:
    """One look, with that act at one moment of it; whether there was such a moment."""
    seen, done = 0, False

    def count(_when: str, _call: str) -> None:
        nonlocal seen, done
        seen += 1
        if seen == moment and not done:
            done = True
            outside(app, lambda _when, _call: None)
            other = app.another()
            act(other)
            other.close()

    outside(app, count)
    try:
        app.propose()
    except ExternalError:
        pass
    finally:
        outside(app, lambda _when, _call: None)
    return done
