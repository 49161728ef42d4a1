"""What the daemon finds is a line of its log, once."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from promoter.application.controller import Controller
from promoter.application.work_items import GIT, REGISTRY, WorkItem, WorkKind
from tests.support.app import App

POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.9}, {age: {at_least: 24h}}]\n"
FOUND = ("alias drifted", "change blocked")


def poll(app: App, watch: Controller, times: int = 1) -> list[dict[str, Any]]:
    """Let the daemon look at everything so often; what its log says of drift and blocks."""
    with capture_logs() as lines:
        for _ in range(times):
            app.run_all(watch, "poll", GIT, REGISTRY)
            app.time.pass_time(minutes=1)
    return [dict(each) for each in lines if each["event"] in FOUND]


def test_drift_is_logged_each_time_that_it_happens(app: App) -> None:
    """Put back, and moved again: two findings; a poll that finds nothing logs nothing."""
    for _ in range(3):
        app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    watch = app.converge()
    for version in (2, 2, 3):
        app.mlflow.place("m", "champion", version)
        (line,) = poll(app, watch, 3)
        assert line["log_level"] == "warning"
        assert (line["model"], line["alias"], line["registry"], line["git"]) == ("m", "champion", f"v{version}", "v1")
        assert line["then"] == "it is put back"
    assert poll(app, watch, 3) == []


def test_drift_that_stays_is_logged_once(app: App) -> None:
    """Reported, or to be adopted: not at each poll, and again where it is another drift, or after a restart."""
    for _ in range(3):
        app.mlflow.version("m")
    app.commit("m: {on_drift: report, aliases: {champion: 1}}")
    watch = app.converge()
    app.mlflow.place("m", "champion", 2)
    assert [each["then"] for each in poll(app, watch, 5)] == ["it is only reported"]
    app.mlflow.place("m", "champion", 3)
    assert [each["registry"] for each in poll(app, watch, 5)] == ["v3"]
    app.mlflow.place("m", "champion", 1)
    assert poll(app, watch, 2) == []
    app.mlflow.place("m", "champion", 3)
    assert len(poll(app, watch, 2)) == 1
    assert len(poll(app, app.another().build_controller(float), 2)) == 1


def test_a_block_is_logged_once_though_its_reason_counts_the_hours(app: App) -> None:
    """Pending is information, no is a warning; a version that is not there blocks the model."""
    app.mlflow.version("m", auc=0.95)
    app.mlflow.version("m", auc=0.5)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=POLICY)
    watch = app.build_controller(float)
    (line,) = poll(app, watch, 200)
    assert (line["event"], line["model"], line["alias"], line["log_level"]) == ("change blocked", "m", "champion", "info")
    assert line["why"].startswith("v1: age")
    assert (line["version"], line["policy"], line["unmet"]) == ("v1", "p", "age at_least 1d is pending")
    app.commit("m: {aliases: {champion: {version: 2, policy: p}}}", p=POLICY)
    (line,) = poll(app, watch, 3)
    assert (line["log_level"], line["why"][:15]) == ("warning", "v2: metric auc ")
    app.commit("m: {aliases: {champion: 9}}\nnobody: {aliases: {champion: 1}}")
    lines = poll(app, watch, 3)
    assert [(each["model"], each.get("alias")) for each in lines] == [("m", "champion"), ("nobody", None)]
    watch.run_work_item(WorkItem(WorkKind.MODEL, "m"), "webhook")
    assert poll(app, watch) == []


def test_a_head_that_is_refused_is_logged_once(app: App) -> None:
    """Until another one is refused."""
    app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    watch = app.converge()
    for text in ("m: {aliases: {champion: one}}", "m: {aliases: {champion: {versoin: 2}}}"):
        app.commit(text)
        with capture_logs() as lines:
            for _ in range(3):
                watch.run_work_item(GIT, "poll")
        assert [each["log_level"] for each in lines if "refused" in each["event"]] == ["error"]
