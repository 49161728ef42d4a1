"""Guards at work: counted over looks, a broken one puts the earlier version back by commit, with a hold and a quarantine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.status import GUARD, build_alias_rows, find_waiting_items
from promoter.domain.observed import TrainingRun
from tests.unit.application.conftest import Office

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
guards: [{metric: live, at_least: 0.85, for: 3}]
"""
ROTATING = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"


@pytest.fixture
def served(office: Office) -> Office:
    """v1 was the champion, v2 is: it came by rotation, with a good live metric. v3 is there and worse than 0.5."""
    office.mlflow.version("m", auc=0.6, live=0.9)
    office.mlflow.version("m", auc=0.7, live=0.9)
    office.mlflow.version("m", auc=0.1)
    office.mlflow.place("m", "champion", 1)
    office.commit(ROTATING, p=POLICY)
    office.converge()
    assert office.aliases() == {"champion": 2}
    return office


def live(office: Office, value: float, number: int = 2) -> None:
    """The live metric of a version is that from now on."""
    run = office.mlflow.all_runs[f"m-{number}"]
    office.mlflow.all_runs[run.run_id] = TrainingRun(run.run_id, run.status, {**run.metrics, "live": value})


def minutes(office: Office, number: int) -> None:
    """Polls, a minute apart."""
    for _ in range(number):
        office.time.pass_time(minutes=1)
        office.converge()


def test_a_broken_guard_puts_the_earlier_version_back(served: Office) -> None:
    """Three failures in a row: a commit with version, hold and quarantine, and the registry follows."""
    live(served, 0.8)
    minutes(served, 2)
    assert served.aliases() == {"champion": 2}
    minutes(served, 1)
    assert served.aliases() == {"champion": 1}
    assert served.git.subjects[-1] == "Roll back m@champion from v2 to v1"
    text = served.git.read_sources(served.git.head)["registry.yaml"].decode()
    assert "quarantine: [2]" in text
    assert "guard metric live at_least 0.85 failed 3 times in a row" in text
    assert served.moves()[-1] == (2, 1)
    commits = len(served.git.history)
    minutes(served, 5)
    assert (served.aliases(), len(served.git.history)) == ({"champion": 1}, commits)


def test_a_pass_begins_anew_and_a_steady_state_writes_nothing(served: Office) -> None:
    """Two failures, a pass, two failures: nothing happens. While all is well, the ledger is not written."""
    for value in (0.8, 0.8, 0.9, 0.8, 0.8):
        live(served, value)
        minutes(served, 1)
    assert served.aliases() == {"champion": 2}
    checks = served.ledger.find_guard_checks({("m", "champion")})["m", "champion"]
    assert [check.verdict.value for check in checks] == ["fail", "fail", "pass", "fail", "fail"]
    live(served, 0.9)
    minutes(served, 3)
    assert len(served.ledger.find_guard_checks({("m", "champion")})["m", "champion"]) == 6


def test_a_restart_does_not_forget_the_count(served: Office) -> None:
    """The count is in the ledger."""
    live(served, 0.8)
    minutes(served, 2)
    restarted = served.another()
    restarted.time.at = served.time.at
    minutes(restarted, 1)
    assert restarted.aliases() == {"champion": 1}
    restarted.close()


def test_a_version_that_is_not_ready_is_passed_over(served: Office) -> None:
    """Back to the one before it; and where none is left, nothing is proposed, and the row says why."""
    served.mlflow.unfit.add(("m", 1))
    live(served, 0.8)
    minutes(served, 4)
    assert served.aliases() == {"champion": 2}
    view = served.planner(served.revisions.declaration_in_force, {"m"}).models["m"]  # type: ignore[arg-type]
    row = build_alias_rows(view, {}, served.time.now())[0]
    assert (row.status, row.detail) == (GUARD, "nothing is proposed: v1 is not ready (sklearn; does not load: sklearn)")
    assert row.failing == "guard metric live at_least 0.85: fail, 3 of 3 in a row failed"
    assert find_waiting_items(view, served.time.now())[0].unmet[0].value == 0.8
    served.mlflow.unfit.clear()
    minutes(served, 1)
    assert served.aliases() == {"champion": 1}


@pytest.mark.parametrize(
    ("models", "policy"),
    [
        ("m: {aliases: {champion: {version: 2, policy: p}}}", POLICY),
        (ROTATING.replace("version: 1", "version: 2, hold: {reason: wait, by: ada}"), POLICY),
        (ROTATING.replace("version: 1", "version: 2"), POLICY.replace(b"rules", b"enforcement: audit\nrules")),
    ],
)
def test_what_a_person_decides_is_only_shown(served: Office, models: str, policy: bytes) -> None:
    """No rotation, a hold, a policy that only watches: the guard is broken, and nothing moves."""
    served.commit(models, p=policy)
    live(served, 0.8)
    minutes(served, 5)
    assert served.aliases() == {"champion": 2}
    assert len(served.git.history) == 3


def test_a_guard_goes_before_a_rotation_of_its_alias(served: Office) -> None:
    """A better candidate that turns up in the same look does not get past the hold."""
    live(served, 0.8)
    minutes(served, 2)
    served.mlflow.version("m", auc=0.9, live=0.9)
    seen = served.mlflow.models["m"]
    served.mlflow.models["m"] = replace(seen, versions={**seen.versions})
    served.time.pass_time(minutes=1)
    served.look()
    assert served.aliases() == {"champion": 1}
    minutes(served, 3)
    assert served.aliases() == {"champion": 1}
