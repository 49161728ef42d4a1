"""Guards at work: counted over looks, a broken one puts the earlier version back by commit, with a hold and a quarantine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.status import GUARD, build_alias_rows, find_waiting_items
from promoter.domain.observed import TrainingRun
from tests.support.app import App

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
guards: [{metric: live, at_least: 0.85, for: 3}]
"""
ROTATING = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"


@pytest.fixture
def watched_app(app: App) -> App:
    """v1 was the champion, v2 is: it came by rotation, with a good live metric. v3 is there and worse than 0.5."""
    app.mlflow.version("m", auc=0.6, live=0.9)
    app.mlflow.version("m", auc=0.7, live=0.9)
    app.mlflow.version("m", auc=0.1)
    app.mlflow.place("m", "champion", 1)
    app.commit(ROTATING, p=POLICY)
    app.converge()
    assert app.aliases() == {"champion": 2}
    return app


def live(app: App, value: float, number: int = 2) -> None:
    """The live metric of a version is that from now on."""
    run = app.mlflow.all_runs[f"m-{number}"]
    app.mlflow.all_runs[run.run_id] = TrainingRun(run.run_id, run.status, {**run.metrics, "live": value})


def minutes(app: App, number: int) -> None:
    """Polls, a minute apart."""
    for _ in range(number):
        app.time.pass_time(minutes=1)
        app.converge()


def test_a_broken_guard_puts_the_earlier_version_back(watched_app: App) -> None:
    """Three failures in a row: a commit with version, hold and quarantine, and the registry follows."""
    live(watched_app, 0.8)
    minutes(watched_app, 2)
    assert watched_app.aliases() == {"champion": 2}
    minutes(watched_app, 1)
    assert watched_app.aliases() == {"champion": 1}
    assert watched_app.git.subjects[-1] == "Roll back m@champion from v2 to v1"
    text = watched_app.git.read_sources(watched_app.git.head)["registry.yaml"].decode()
    assert "quarantine: [2]" in text
    assert "guard metric live at_least 0.85 failed 3 times in a row" in text
    assert watched_app.moves()[-1] == (2, 1)
    commits = len(watched_app.git.history)
    minutes(watched_app, 5)
    assert (watched_app.aliases(), len(watched_app.git.history)) == ({"champion": 1}, commits)


def test_a_pass_begins_anew_and_a_steady_state_writes_nothing(watched_app: App) -> None:
    """Two failures, a pass, two failures: nothing happens. While all is well, the ledger is not written."""
    for value in (0.8, 0.8, 0.9, 0.8, 0.8):
        live(watched_app, value)
        minutes(watched_app, 1)
    assert watched_app.aliases() == {"champion": 2}
    checks = watched_app.ledger.find_guard_checks({("m", "champion")})["m", "champion"]
    assert [check.verdict.value for check in checks] == ["fail", "fail", "pass", "fail", "fail"]
    live(watched_app, 0.9)
    minutes(watched_app, 3)
    assert len(watched_app.ledger.find_guard_checks({("m", "champion")})["m", "champion"]) == 6


def test_a_restart_does_not_forget_the_count(watched_app: App) -> None:
    """The count is in the ledger."""
    live(watched_app, 0.8)
    minutes(watched_app, 2)
    restarted = watched_app.another()
    restarted.time.at = watched_app.time.at
    minutes(restarted, 1)
    assert restarted.aliases() == {"champion": 1}
    restarted.close()


def test_a_version_that_is_not_ready_is_passed_over(watched_app: App) -> None:
    """Back to the one before it; and where none is left, nothing is proposed, and the row says why."""
    watched_app.mlflow.unfit.add(("m", 1))
    live(watched_app, 0.8)
    minutes(watched_app, 4)
    assert watched_app.aliases() == {"champion": 2}
    view = watched_app.planner(watched_app.revisions.declaration_in_force, {"m"}).models["m"]  # type: ignore[arg-type]
    row = build_alias_rows(view, {}, watched_app.time.now())[0]
    assert (row.status, row.detail) == (GUARD, "nothing is proposed: v1 is not ready (sklearn; does not load: sklearn)")
    assert row.failing == "guard metric live at_least 0.85: fail, 3 of 3 in a row failed"
    assert find_waiting_items(view, watched_app.time.now())[0].unmet[0].value == 0.8
    watched_app.mlflow.unfit.clear()
    minutes(watched_app, 1)
    assert watched_app.aliases() == {"champion": 1}


@pytest.mark.parametrize(
    ("models", "policy"),
    [
        ("m: {aliases: {champion: {version: 2, policy: p}}}", POLICY),
        (ROTATING.replace("version: 1", "version: 2, hold: {reason: wait, by: ada}"), POLICY),
        (ROTATING.replace("version: 1", "version: 2"), POLICY.replace(b"rules", b"enforcement: audit\nrules")),
    ],
)
def test_what_a_person_decides_is_only_shown(watched_app: App, models: str, policy: bytes) -> None:
    """No rotation, a hold, a policy that only watches: the guard is broken, and nothing moves."""
    watched_app.commit(models, p=policy)
    live(watched_app, 0.8)
    minutes(watched_app, 5)
    assert watched_app.aliases() == {"champion": 2}
    assert len(watched_app.git.history) == 3


def test_a_guard_goes_before_a_rotation_of_its_alias(watched_app: App) -> None:
    """A better candidate that turns up in the same look does not get past the hold."""
    live(watched_app, 0.8)
    minutes(watched_app, 2)
    watched_app.mlflow.version("m", auc=0.9, live=0.9)
    seen = watched_app.mlflow.models["m"]
    watched_app.mlflow.models["m"] = replace(seen, versions={**seen.versions})
    watched_app.time.pass_time(minutes=1)
    watched_app.look()
    assert watched_app.aliases() == {"champion": 1}
    minutes(watched_app, 3)
    assert watched_app.aliases() == {"champion": 1}
