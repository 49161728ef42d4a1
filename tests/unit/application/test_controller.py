"""What the daemon does with a key: faults of the world become pauses and words, and one model's never stop another's."""

from __future__ import annotations

from itertools import cycle

from promoter.application.controller import MAX_SURVEY_DELAY, Controller
from promoter.application.work_items import GIT, REGISTRY, WorkItem, WorkKind
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import App

MODEL_M = WorkItem(WorkKind.MODEL, "m")


def test_pauses_grow_and_end(app: App) -> None:
    """Each failure in a row counts for the next pause; a success ends the count, and the trouble."""
    app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    app.git.trouble = TransientError("git", "gone")
    watch = app.build_controller(lambda failures: 10.0 * failures)
    assert [watch.run_work_item(GIT, "poll") for _ in range(3)] == [10.0, 20.0, 30.0]
    assert watch.health.current_problems == {"git": "gone"}
    app.git.trouble = None
    assert watch.run_work_item(GIT, "poll") is None
    assert watch.health.current_problems == {}
    app.git.trouble = TransientError("git", "gone")
    assert watch.run_work_item(GIT, "poll") == 10.0


def test_one_model_in_trouble(app: App) -> None:
    """Its write is refused; the other model is brought to where git wants it, and the trouble is told until it is over."""
    for model in "mn":
        app.mlflow.version(model)
    app.commit("m: {aliases: {champion: 1}}\nn: {aliases: {champion: 1}}")

    def no_permission(call: str) -> None:
        if call == "set_alias" and app.mlflow.calls[-1][1] == "m":
            raise PermanentError("MLflow", "no permission", about_one_model=own)

    own = True
    app.mlflow.on = no_permission
    watch = app.converge()
    assert (app.aliases("m"), app.aliases("n")) == ({}, {"champion": 1})
    assert watch.health.current_problems == {}
    assert {name: each.reason for name, each in watch.health.failing_models.items()} == {"m": "MLflow: no permission"}
    own = False
    assert watch.run_work_item(MODEL_M, "webhook") is None
    assert watch.health.current_problems == {"MLflow": "no permission"}
    assert watch.health.failing_models == {}
    app.mlflow.on = lambda _call: None
    assert watch.run_work_item(MODEL_M, "webhook") is None
    assert (watch.health.current_problems, watch.health.failing_models) == ({}, {})


def test_registry_that_never_rests(app: App) -> None:
    """A model that changes under each look is left for the next one: that is its own fault, and ends with it."""
    for _ in range(3):
        app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    watch = app.build_controller(lambda _: 1.0)

    places = cycle((2, 3))

    def restless(call: str) -> None:
        if call == "observe":
            app.mlflow.place("m", "champion", next(places))

    app.mlflow.on = restless
    assert watch.run_work_item(MODEL_M, "webhook") == 1.0
    assert watch.health.current_problems == {}
    assert "kept changing" in watch.health.failing_models["m"].reason
    app.mlflow.on = lambda _call: None
    assert watch.run_work_item(MODEL_M, "webhook") is None
    assert watch.health.failing_models == {}


def test_views_and_what_is_asked_for(app: App) -> None:
    """A survey keeps what it saw, and asks for a look only at models where something is to be done."""
    for model in "mno":
        app.mlflow.version(model)
    app.commit("m: {aliases: {champion: 1}}\nn: {aliases: {champion: 1}}")
    watch = app.converge()
    app.mlflow.place("n", "champion", None)
    assert app.run(watch, REGISTRY) == [WorkItem(WorkKind.MODEL, "n")]
    assert watch.snapshots.keys() == {"m", "n"}
    assert watch.snapshots["n"].observed == app.mlflow.models["n"]


def test_nothing_in_force(app: App) -> None:
    """Before the first good revision, a survey and a look do nothing and are no trouble."""
    watch = app.build_controller(lambda _: 1.0)
    assert watch.run_work_item(REGISTRY, "start") is None
    assert watch.run_work_item(MODEL_M, "webhook") is None
    assert watch.health.current_problems == {}
    assert app.mlflow.calls == []


def deliver(app: App, watch: Controller, trigger: str) -> None:
    """Fetch git under that trigger, and do what follows, each item under the trigger that asked for it."""
    app.requested[:] = [(GIT, trigger)]
    while app.requested:
        item, cause = app.requested.pop(0)
        if item.kind in (WorkKind.GIT, WorkKind.MODEL, WorkKind.REGISTRY):
            watch.run_work_item(item, cause)


def test_a_delivery_is_told_all_the_way(app: App) -> None:
    """Of a push, by way of the revision that it brought, to the records and the decision behind them; a poll tells of git."""
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n")
    watch = app.build_controller(float)
    deliver(app, watch, "webhook:github:g-7")
    assert [each.fact.trigger for each in app.records() if each.fact.outcome] == ["webhook:github:g-7"] * 2
    assert [each.trigger for each in app.ledger.list_recent_decisions()] == ["webhook:github:g-7"]
    app.commit("m: {aliases: {champion: absent}}")
    deliver(app, watch, "poll")
    assert app.records()[-1].fact.trigger == "git"


def test_the_registry_is_read_again_soon_however_often_that_failed(app: App) -> None:
    """All other work on the registry waits for it, so its pauses do not grow beyond some seconds."""
    app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    watch = app.build_controller(lambda failures: failures * 10.0)
    assert watch.run_work_item(GIT, "start") is None

    def unreachable(call: str) -> None:
        if call == "observe":
            raise TransientError("MLflow", "gone")

    app.mlflow.on = unreachable
    assert {watch.run_work_item(REGISTRY, "poll") for _ in range(3)} == {MAX_SURVEY_DELAY}
