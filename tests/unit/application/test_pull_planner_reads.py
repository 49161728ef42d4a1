"""What a plan of a pull request reads of the registry: the models that it says something else of, and replays once."""

from __future__ import annotations

import pytest

from promoter.application.pull_planner import PullPlanner
from promoter.domain.errors import TransientError
from promoter.domain.pull_plan import PullPlan
from tests.support.app import POLICY, App
from tests.support.pull_request_app import GATED, STRICT, PullRequestApp, standing

OTHER = "\nn: {aliases: {champion: {version: 1, policy: champion}}}"


@pytest.fixture
def pull_app(app: App) -> PullRequestApp:
    """The usual model, and another whose champion somebody moved by hand."""
    made = standing(app)
    app.mlflow.version("n", auc=0.8)
    app.mlflow.version("n", auc=0.9)
    app.mlflow.place("n", "champion", 1)
    app.commit(GATED.format(1, 1) + OTHER)
    app.converge()
    app.mlflow.place("n", "champion", 2)
    app.mlflow.calls.clear()
    return made


def observed(pull_app: PullRequestApp) -> list[object]:
    """Which models were read since this was last asked; None: all."""
    found = [call[1] for call in pull_app.app.mlflow.calls if call[0] == "observe"]
    pull_app.app.mlflow.calls.clear()
    return found


def plan(pull_app: PullRequestApp, planner: PullPlanner, number: int) -> PullPlan:
    """That pull request's, by a process that goes on."""
    return planner(pull_app.app.git.head, pull_app.app.hub.pulls[number].head)


def test_the_models_that_it_changes(pull_app: PullRequestApp) -> None:
    """Nothing else is read, and what is due of other models is not its business."""
    pull_app.propose(GATED.format(2, 1) + OTHER)
    found = pull_app.plan
    assert observed(pull_app) == [frozenset({"m"})]
    assert pull_app.verdicts == {("m", "champion"): (2, "pass")}
    assert found.already_due_changes == ()


def test_a_model_that_it_takes_out_or_in(pull_app: PullRequestApp) -> None:
    """Both are among those that change."""
    pull_app.propose(GATED.format(1, 1) + "\no: {aliases: {champion: 1}}")
    assert pull_app.plan.brought.lacking[0].model == "o"
    assert observed(pull_app) == [frozenset({"n", "o"})]


def test_a_policy_alone(pull_app: PullRequestApp) -> None:
    """The base's judges: the replay reads the models that name it, and the plan none."""
    pull_app.propose(champion=STRICT)
    assert pull_app.plan.brought.changes == ()
    assert observed(pull_app) == [frozenset(), frozenset({"m", "n"})]


@pytest.mark.parametrize(
    "head", ["defaults: {on_drift: report}\n", "families: [{match: 'x*'}]\n", "safety: {max_changes: 9}\n"]
)
def test_settings_that_all_share(head: str, pull_app: PullRequestApp) -> None:
    """Any model may be another by them: all are read, and what is due of each is told."""
    pull_app.propose(GATED.format(2, 1) + OTHER, head)
    found = pull_app.plan
    assert observed(pull_app) == [None]
    assert {each.difference.model for each in (*found.already_due_changes, *found.brought.changes)} >= {"m"}


def test_replayed_once(pull_app: PullRequestApp) -> None:
    """Every pull request that makes the same policy of the same is told the same, for ten minutes."""
    planner = pull_app.planner
    numbers = [pull_app.propose(branch=f"strict-{number}", champion=STRICT) for number in range(3)]
    told = [plan(pull_app, planner, number).brought.policies for number in (*numbers, *numbers)]
    assert told == [told[0]] * 6
    assert told[0][0].replayed is not None
    assert observed(pull_app).count(frozenset({"m", "n"})) == 1
    pull_app.app.time.pass_time(minutes=9, seconds=59)
    plan(pull_app, planner, numbers[0])
    assert frozenset({"m", "n"}) not in observed(pull_app)
    pull_app.app.time.pass_time(seconds=1)
    plan(pull_app, planner, numbers[0])
    assert observed(pull_app).count(frozenset({"m", "n"})) == 1


def test_what_a_replay_goes_by(pull_app: PullRequestApp) -> None:
    """Another text of the policy, another base, other aliases that it gates: each is replayed by itself."""
    planner = pull_app.planner
    first = pull_app.propose(branch="first", champion=STRICT)
    plan(pull_app, planner, first)
    observed(pull_app)
    text = pull_app.propose(branch="text", champion=STRICT + b"# more\n")
    plan(pull_app, planner, text)
    assert frozenset({"m", "n"}) in observed(pull_app)
    pull_app.app.commit(GATED.format(1, 1) + OTHER, champion=POLICY + b"# more\n")
    rebased = pull_app.propose(branch="rebased", champion=STRICT)
    plan(pull_app, planner, rebased)
    assert frozenset({"m", "n"}) in observed(pull_app)
    ungated = "\nn: {aliases: {champion: {version: 1}}}"
    gates = pull_app.propose(GATED.format(1, 1) + ungated, branch="gates", champion=STRICT)
    (step,) = plan(pull_app, planner, gates).brought.policies
    assert [each.model for each in step.replayed or ()] == ["m"]


def test_a_replay_that_failed_is_tried_again(pull_app: PullRequestApp) -> None:
    """What the registry did not answer is not kept."""
    planner = pull_app.planner
    number = pull_app.propose(champion=STRICT)

    def down(call: str) -> None:
        if call == "runs":
            raise TransientError("MLflow", "cannot be reached")

    pull_app.app.mlflow.on = down
    (step,) = plan(pull_app, planner, number).brought.policies
    assert (step.replayed, step.replay_error) == (None, "cannot be reached")
    pull_app.app.mlflow.on = lambda _call: None
    (step,) = plan(pull_app, planner, number).brought.policies
    assert step.replayed is not None
