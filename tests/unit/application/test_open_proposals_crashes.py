"""A stop before and after each call to the outside, and two at once: one pull request, one comment, no lost edit."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from promoter.application.ports import PullRequestState
from promoter.domain.errors import ExternalError
from tests.unit.application.conftest import Office
from tests.unit.application.fake_forge import FakeForge
from tests.unit.application.fakes import FakeRegistry, FakeRepository
from tests.unit.application.proposal_scenes import SCENES, standing, updating
from tests.unit.application.proposing import BRANCH, propose, settle, told


class Stop(Exception):  # noqa: N818  # the process is gone
    """As if the process was killed."""


class Streets:
    """Offices by the dozen: each a copy of one that was prepared once."""

    def __init__(self, folder: Path) -> None:
        """None yet."""
        self._folder, self._count = folder, 0
        self._first: dict[Callable[[Office], None], Office] = {}

    def begin(self, prepare: Callable[[Office], None]) -> Office:
        """One with a version that was looked at, and then prepared."""
        first = self._first.get(prepare) or self._prepared(prepare)
        self._count += 1
        folder = self._folder / str(self._count)
        shutil.copytree(first.folder, folder)
        return Office(folder, *copy.deepcopy((first.mlflow, first.git, first.hub)))

    def _prepared(self, prepare: Callable[[Office], None]) -> Office:
        folder = self._folder / prepare.__name__
        folder.mkdir()
        office = Office(folder, FakeRegistry(), repository := FakeRepository(), FakeForge(repository))
        prepare(propose(office, 0.8))
        office.close()
        self._first[prepare] = office
        return office


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Streets:
    """One street a module."""
    return Streets(tmp_path_factory.mktemp("offices"))


def outside(office: Office, act: Callable[[str, str], None]) -> None:
    """Have that called before and after each call to forge and git."""
    for part in (office.hub, office.git):
        part.on = lambda call: act("before", call)
        part.after = lambda call: act("after", call)


def looked(office: Office, stop: int) -> bool:
    """One look that stops at that moment; whether there was such a moment."""
    seen = 0

    def count(_when: str, _call: str) -> None:
        nonlocal seen
        seen += 1
        if seen == stop:
            raise Stop

    outside(office, count)
    try:
        office.propose()
    except Stop:
        return True
    finally:
        outside(office, lambda _when, _call: None)
    return False


@pytest.mark.parametrize(("prepare", "check"), SCENES, ids=[scene[0].__name__ for scene in SCENES])
def test_a_stop_at_any_moment(prepare: Callable[[Office], None], check: Callable[[Office], None], streets: Streets) -> None:
    """Whatever was done until then, a process that has just started finishes it, and does nothing twice."""
    stop, stopped = 0, True
    while stopped:
        stop += 1
        office = streets.begin(prepare)
        stopped = looked(office, stop)
        fresh = office.another()
        settle(fresh)
        check(fresh)
        fresh.close()
        office.close()
    assert stop > 4


@pytest.mark.parametrize(("prepare", "check"), SCENES, ids=[scene[0].__name__ for scene in SCENES])
def test_two_at_once(prepare: Callable[[Office], None], check: Callable[[Office], None], streets: Streets) -> None:
    """At each moment of one look, another Promoter's whole look comes in between."""
    moment, between = 0, True
    while between:
        moment += 1
        office = streets.begin(prepare)
        between = meddled(office, moment, lambda other: other.propose())
        settle(office)
        check(office)
        office.close()
    assert moment > 4


@pytest.mark.parametrize("prepare", [standing, updating])
@pytest.mark.parametrize("act", ["merge", "decline", "push"])
def test_a_person_at_any_moment(act: str, prepare: Callable[[Office], None], streets: Streets) -> None:
    """Who merges, closes or commits while one is open, or a better candidate is being proposed, has his way."""
    moment, between = 0, True
    while between:
        moment += 1
        office = streets.begin(prepare)

        def person(other: Office) -> None:
            if act == "merge":
                other.hub.merge(1)
            elif act == "decline":
                other.hub.decline(1)
            else:
                other.git.push({"notes.md": b"wait"}, branch=BRANCH)

        between = meddled(office, moment, person)
        settle(office)
        if between:
            check_person(office, act)
        office.close()
    assert moment > 3


def check_person(office: Office, act: str) -> None:
    """What must be so, whenever it was that he came."""
    said = office.documents.parse_declaration(office.git.read_sources(office.git.head), None).desired.find_model_intent("m")
    assert said is not None
    assert office.aliases()["champion"] == said.aliases["champion"].version
    assert len(office.hub.open) <= 1
    if act == "merge":
        assert office.hub.pulls[1].state is PullRequestState.MERGED
        others = {told(pull).version for number, pull in office.hub.pulls.items() if number != 1}
        merged = office.git.read_sources(office.hub.pulls[1].merge_commit or "")["registry.yaml"]
        assert not any(b"version: %d, policy" % (version or 0) in merged for version in others)
    elif act == "decline":
        assert office.hub.pulls[1].state is PullRequestState.CLOSED
        answers = {told(each).answer_key for each in office.hub.open}
        assert told(office.hub.pulls[1]).answer_key not in answers
    else:
        assert office.git.nodes[office.git.heads[BRANCH]].files["notes.md"] == b"wait"
        assert len(office.hub.bodies(1)) == 1


def meddled(office: Office, moment: int, act: Callable[[Office], object]) -> bool:
    """One look, with that act at one moment of it; whether there was such a moment."""
    seen, done = 0, False

    def count(_when: str, _call: str) -> None:
        nonlocal seen, done
        seen += 1
        if seen == moment and not done:
            done = True
            outside(office, lambda _when, _call: None)
            other = office.another()
            act(other)
            other.close()

    outside(office, count)
    try:
        office.propose()
    except ExternalError:
        pass
    finally:
        outside(office, lambda _when, _call: None)
    return done
