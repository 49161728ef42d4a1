"""What vanished between two looks, or against the ledger, is confirmed before anything follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.absences import AbsenceMemory, find_absences
from promoter.application.ports import Absence
from promoter.application.work_items import GIT, REGISTRY
from promoter.domain.errors import TransientError
from promoter.domain.observed import ModelVersion, ObservedModel
from tests.support.app import App
from tests.support.fakes.registry import START, FakeRegistry


def model(*numbers: int, tags: dict[str, str] | None = None, **aliases: int) -> ObservedModel:
    """A model with these versions and aliases."""
    return ObservedModel("m", aliases, {number: ModelVersion(number, START, tags=tags or {}) for number in numbers})


@pytest.mark.parametrize(
    ("before", "known", "now", "absences"),
    [
        (None, {}, None, []),
        (None, {"champion": None}, None, []),
        (None, {}, model(1), []),
        (None, {"champion": 1}, None, [Absence("m")]),
        (model(1), {}, None, [Absence("m")]),
        (None, {"champion": 1}, model(1), [Absence("m", "champion")]),
        (None, {"champion": 1}, model(2, champion=2), [Absence("m", version=1)]),
        (model(1, 2, shadow=1), {}, model(2), [Absence("m", "shadow"), Absence("m", version=1)]),
        (model(1), {}, model(1, 2, champion=2), []),
        (model(1, tags={"a": "b"}), {}, model(1), [Absence("m", version=1, tag="a", value="b")]),
        (model(1, tags={"a": "b"}), {}, model(1, tags={"a": "c"}), []),
    ],
)
def test_what_was_there_and_is_not_is_an_absence(
    before: ObservedModel | None, known: dict[str, int | None], now: ObservedModel | None, absences: list[Absence]
) -> None:
    """By the last look and by the ledger; what never was there, and what only changed, is none."""
    assert list(find_absences("m", before, known, now)) == absences


def test_tags_of_another_version_with_the_same_number_are_not_lost() -> None:
    """A version that was registered anew has its own tags."""
    anew = model(1)
    versions = {1: replace(anew.versions[1], created_at=START.replace(year=START.year + 1))}

    assert list(find_absences("m", model(1, tags={"a": "b"}), {}, replace(anew, versions=versions))) == []


def test_an_answer_that_lost_an_alias_is_refused_and_one_that_tells_the_truth_is_asked_about_once() -> None:
    """The registry is asked by name for what is missing; what is gone indeed is not asked for again at each look."""
    registry = FakeRegistry()
    registry.version("m")
    registry.place("m", "champion", 1)
    asked: list[Absence] = []
    confirm = registry.confirm_absences

    class Listening(FakeRegistry):
        def confirm_absences(self, absences: object) -> None:
            asked.extend(absences)  # type: ignore[call-overload]
            confirm(absences)  # type: ignore[arg-type]

    memory = AbsenceMemory(Listening())
    memory.check(registry.models, {}, None)
    memory.remember(registry.models, ["m"])

    lost = {"m": replace(registry.models["m"], aliases={})}
    with pytest.raises(TransientError, match="m@champion was missing"):
        memory.check(lost, {"m": {"champion": 1}}, None)
    with pytest.raises(TransientError, match="model m was missing"):
        memory.check({}, {"m": {"champion": 1}}, ["m"])

    registry.place("m", "champion", None)
    asked.clear()
    for _ in range(3):
        memory.check(registry.models, {"m": {"champion": 1}}, None)
        memory.remember(registry.models, ["m"])
    assert asked == [Absence("m", "champion")]


@pytest.mark.parametrize("restarted", [False, True])
def test_versions_that_lost_their_runs_are_no_other_versions(app: App, restarted: bool) -> None:
    """The run is a part of what a version is: an answer without it does not make another version of it."""
    app.mlflow.version("m", auc=0.8)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    before, whole = app.outcomes(), app.mlflow.models["m"]
    app = app.another() if restarted else app
    app.revisions.refresh_head()
    lost = {number: replace(version, run_id=None) for number, version in whole.versions.items()}
    app.mlflow.models["m"] = replace(whole, versions=lost)
    if not restarted:
        app.mlflow._has = lambda _model, _absence: True  # type: ignore[method-assign]  # the search finds it all the same

    with pytest.raises(TransientError, match="the run"):
        app.look()

    app.mlflow.models["m"] = whole
    app.look()
    assert app.outcomes() == before


@pytest.fixture
def settled(app: App) -> App:
    """A model with two versions, whose champion git and the registry agree on."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    return app


@pytest.mark.parametrize("restarted", [False, True])
def test_answers_without_their_aliases_are_unavailable_and_nothing_is_recorded(settled: App, restarted: bool) -> None:
    """By the last look, and after a restart by the ledger; nothing is written either. When answers are whole, all is well."""
    app = settled.another() if restarted else settled
    watch = app.build_controller(float)
    watch.run_work_item(GIT, "start")
    before, writes = app.outcomes(), list(app.mlflow.writes)
    app.mlflow.loses_aliases = True

    assert watch.run_work_item(REGISTRY, "poll") is not None
    assert "m@champion was missing" in watch.health.current_problems["MLflow"]
    with pytest.raises(TransientError):
        app.look()
    assert (app.outcomes(), list(app.mlflow.writes)) == (before, writes)

    app.mlflow.loses_aliases = False
    assert watch.run_work_item(REGISTRY, "poll") is None
    assert (watch.health.current_problems, app.outcomes()) == ({}, before)


def test_a_read_back_without_aliases_leaves_the_intent_open(settled: App) -> None:
    """What was written is neither failed nor moved by somebody else: the next run closes it by what it can read."""
    settled.commit("m: {aliases: {champion: 2}}")

    def lose_what_comes_after(call: str) -> None:
        settled.mlflow.loses_aliases |= call == "set_alias"

    settled.mlflow.on = lose_what_comes_after
    for _ in range(2):
        with pytest.raises(TransientError, match="m@champion was missing"):
            settled.look()
        assert settled.outcomes()[-1] == "intended"

    settled.mlflow.on, settled.mlflow.loses_aliases = lambda _call: None, False
    settled.look()
    assert (settled.outcomes()[-2:], settled.moves()) == (["intended", "recovered"], [(None, 1), (1, 2)])


def test_a_delete_that_only_seems_done_is_not_recorded_as_done(settled: App) -> None:
    """The request never arrived, and the answer that shows no alias has lost them all."""
    settled.commit("m: {aliases: {champion: absent}}")
    delete, settled.mlflow.delete_alias = settled.mlflow.delete_alias, lambda _model, _alias: None  # type: ignore[method-assign]

    def lose_what_comes_after(call: str) -> None:
        settled.mlflow.loses_aliases |= call == "aliases"

    settled.mlflow.on = lose_what_comes_after
    with pytest.raises(TransientError, match="m@champion was missing"):
        settled.look()
    assert settled.outcomes()[-1] == "intended"

    settled.mlflow.delete_alias = delete  # type: ignore[method-assign]
    settled.mlflow.on, settled.mlflow.loses_aliases = lambda _call: None, False
    settled.look()
    assert settled.outcomes()[-3:] == ["failed", "intended", "applied"]


def test_a_rival_that_an_answer_lost_does_not_open_the_gate(app: App) -> None:
    """`beats` passes where nobody holds the alias. Nobody manages that alias, so that neither memory nor ledger know of it."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.mlflow.place("m", "best", 2)
    policy = b"version: 1\nrules: [{metric: auc, beats: best, order: highest}]\n"
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=policy)
    app.mlflow.loses_aliases = True

    with pytest.raises(TransientError, match="m@best was missing"):
        app.look()

    assert (app.aliases(), app.mlflow.writes) == ({"best": 2}, [])
