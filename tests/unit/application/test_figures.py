"""The figures of the daemon's work, as Prometheus reads them."""

from __future__ import annotations

import pytest
from flask import Flask

from promoter.application.controller import Controller
from promoter.application.work_items import GIT, REGISTRY, WorkItem, WorkKind
from promoter.domain.errors import PermanentError, TransientError
from promoter.web.health import build_health_blueprint
from tests.support.app import App

STRICT = b"version: 1\nrules: [{metric: auc, at_least: 0.9}]\n"


def scrape(watch: Controller) -> dict[str, float]:
    """What /metrics says, by series."""
    web = Flask("test")
    web.register_blueprint(build_health_blueprint(watch, dict))
    lines = web.test_client().get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def change(outcome: str, cause: str) -> str:
    """The series of alias changes that ended so."""
    return f'promoter_alias_changes_total{{cause="{cause}",outcome="{outcome}"}}'


def test_changes_are_counted_by_outcome_and_cause(app: App) -> None:
    """A commit, drift that is put back, and a write that MLflow refuses; each series is there before its first event."""
    for auc in (0.8, 0.95):
        app.mlflow.version("m", auc=auc)
    watch = app.build_controller(float)
    assert scrape(watch)[change("applied", "commit")] == 0
    app.commit("m: {aliases: {champion: 1}}")
    app.run_all(watch, "poll", GIT, REGISTRY)
    app.mlflow.place("m", "champion", 2)
    app.run_all(watch, "poll", REGISTRY)
    assert [scrape(watch)[change("applied", each)] for each in ("commit", "drift")] == [1, 1]

    def refuse(call: str) -> None:
        if call == "set_alias":
            raise PermanentError("MLflow", "not allowed")

    app.mlflow.on = refuse
    app.commit("m: {aliases: {champion: 2}}")
    app.run_all(watch, "poll", GIT)
    assert scrape(watch)[change("failed", "commit")] >= 1
    assert scrape(watch)['promoter_reconcile_failures_total{kind="model"}'] >= 1


def test_a_block_is_counted_once_while_it_lasts(app: App) -> None:
    """However often it is found; another one counts anew."""
    app.mlflow.version("m", auc=0.5)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}, next: 7}}", p=STRICT)
    watch = app.build_controller(float)
    for _ in range(3):
        app.run_all(watch, "poll", GIT, REGISTRY)
    assert scrape(watch)['promoter_alias_blocks_total{verdict="missing"}'] == 1
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=STRICT)
    for _ in range(3):
        app.run_all(watch, "poll", GIT, REGISTRY)
    assert scrape(watch)['promoter_alias_blocks_total{verdict="fail"}'] == 1


@pytest.mark.parametrize("error", [TransientError("MLflow", "is down"), PermanentError("MLflow", "does not know us")])
def test_failures_and_durations_are_counted_by_kind(app: App, error: TransientError | PermanentError) -> None:
    """Whatever becomes of a piece of work, its time counts; the classes of durations add up."""
    app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    watch = app.converge()

    def fail(_call: str) -> None:
        raise error

    app.mlflow.on = fail
    before = scrape(watch)
    for _ in range(2):
        watch.run_work_item(WorkItem(WorkKind.MODEL, "m"), "poll")
    after = scrape(watch)
    failures, count = (
        'promoter_reconcile_failures_total{kind="model"}',
        'promoter_reconcile_duration_seconds_count{kind="model"}',
    )
    assert after[failures] - before[failures] == 2
    assert after[count] - before[count] == 2
    assert after['promoter_reconcile_duration_seconds_bucket{kind="model",le="+Inf"}'] == after[count]
    assert after['promoter_reconcile_duration_seconds_sum{kind="model"}'] > 0
