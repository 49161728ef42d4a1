"""What a plan of a pull request reads of the registry: the models that it says something else of, and replays once."""

from __future__ import annotations

import pytest

from promoter.application.pull_plans import PullPlanner
from promoter.domain.errors import TransientError
from promoter.domain.pull_plan import PullPlan
from tests.unit.application.conftest import POLICY, Office
from tests.unit.application.pull_desk import GATED, STRICT, Desk, standing

OTHER = "\nn: {aliases: {champion: {version: 1, policy: champion}}}"


@pytest.fixture
def desk(office: Office) -> Desk:
    """The usual model, and another whose champion somebody moved by hand."""
    made = standing(office)
    office.mlflow.version("n", auc=0.8)
    office.mlflow.version("n", auc=0.9)
    office.mlflow.place("n", "champion", 1)
    office.commit(GATED.format(1, 1) + OTHER)
    office.converge()
    office.mlflow.place("n", "champion", 2)
    office.mlflow.calls.clear()
    return made


def observed(desk: Desk) -> list[object]:
    """Which models were read since this was last asked; None: all."""
    found = [call[1] for call in desk.office.mlflow.calls if call[0] == "observe"]
    desk.office.mlflow.calls.clear()
    return found


def plan(desk: Desk, planner: PullPlanner, number: int) -> PullPlan:
    """That pull request's, by a process that goes on."""
    return planner(desk.office.git.head, desk.office.hub.pulls[number].head)


def test_the_models_that_it_changes(desk: Desk) -> None:
    """Nothing else is read, and what is due of other models is not its business."""
    desk.propose(GATED.format(2, 1) + OTHER)
    found = desk.plan
    assert observed(desk) == [frozenset({"m"})]
    assert desk.verdicts == {("m", "champion"): (2, "pass")}
    assert found.already_due_changes == ()


def test_a_model_that_it_takes_out_or_in(desk: Desk) -> None:
    """Both are among those that change."""
    desk.propose(GATED.format(1, 1) + "\no: {aliases: {champion: 1}}")
    assert desk.plan.brought.lacking[0].model == "o"
    assert observed(desk) == [frozenset({"n", "o"})]


def test_a_policy_alone(desk: Desk) -> None:
    """The base's judges: the replay reads the models that name it, and the plan none."""
    desk.propose(champion=STRICT)
    assert desk.plan.brought.changes == ()
    assert observed(desk) == [frozenset(), frozenset({"m", "n"})]


@pytest.mark.parametrize(
    "head", ["defaults: {on_drift: report}\n", "families: [{match: 'x*'}]\n", "safety: {max_changes: 9}\n"]
)
def test_settings_that_all_share(head: str, desk: Desk) -> None:
    """Any model may be another by them: all are read, and what is due of each is told."""
    desk.propose(GATED.format(2, 1) + OTHER, head)
    found = desk.plan
    assert observed(desk) == [None]
    assert {each.difference.model for each in (*found.already_due_changes, *found.brought.changes)} >= {"m"}


def test_replayed_once(desk: Desk) -> None:
    """Every pull request that makes the same policy of the same is told the same, for ten minutes."""
    planner = desk.planner
    numbers = [desk.propose(branch=f"strict-{number}", champion=STRICT) for number in range(3)]
    told = [plan(desk, planner, number).brought.policies for number in (*numbers, *numbers)]
    assert told == [told[0]] * 6
    assert told[0][0].replayed is not None
    assert observed(desk).count(frozenset({"m", "n"})) == 1
    desk.office.time.pass_time(minutes=9, seconds=59)
    plan(desk, planner, numbers[0])
    assert frozenset({"m", "n"}) not in observed(desk)
    desk.office.time.pass_time(seconds=1)
    plan(desk, planner, numbers[0])
    assert observed(desk).count(frozenset({"m", "n"})) == 1


def test_what_a_replay_goes_by(desk: Desk) -> None:
    """Another text of the policy, another base, other aliases that it gates: each is replayed by itself."""
    planner = desk.planner
    first = desk.propose(branch="first", champion=STRICT)
    plan(desk, planner, first)
    observed(desk)
    text = desk.propose(branch="text", champion=STRICT + b"# more\n")
    plan(desk, planner, text)
    assert frozenset({"m", "n"}) in observed(desk)
    desk.office.commit(GATED.format(1, 1) + OTHER, champion=POLICY + b"# more\n")
    rebased = desk.propose(branch="rebased", champion=STRICT)
    plan(desk, planner, rebased)
    assert frozenset({"m", "n"}) in observed(desk)
    ungated = "\nn: {aliases: {champion: {version: 1}}}"
    gates = desk.propose(GATED.format(1, 1) + ungated, branch="gates", champion=STRICT)
    (step,) = plan(desk, planner, gates).brought.policies
    assert [each.model for each in step.replayed or ()] == ["m"]


def test_a_replay_that_failed_is_tried_again(desk: Desk) -> None:
    """What the registry did not answer is not kept."""
    planner = desk.planner
    number = desk.propose(champion=STRICT)

    def down(call: str) -> None:
        if call == "runs":
            raise TransientError("MLflow", "cannot be reached")

    desk.office.mlflow.on = down
    (step,) = plan(desk, planner, number).brought.policies
    assert (step.replayed, step.replay_error) == (None, "cannot be reached")
    desk.office.mlflow.on = lambda _call: None
    (step,) = plan(desk, planner, number).brought.policies
    assert step.replayed is not None
