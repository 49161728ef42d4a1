"""Plans of pull requests on fakes: who judges, what they bring, and what is due anyway."""

from __future__ import annotations

from datetime import timedelta

import pytest

from promoter.application.ports import UnsignedCommit
from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.plan import ChangeCause
from promoter.domain.policy_diff import PolicyStepKind
from promoter.domain.pull_plan import PullState
from tests.unit.application.conftest import POLICY, Office
from tests.unit.application.pull_desk import ANYTHING, GATED, STRICT, Desk, registry, spread, standing


@pytest.fixture
def desk(office: Office) -> Desk:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    return standing(office)


def test_a_weakened_policy_and_an_alias_in_one_go(desk: Desk) -> None:
    """The base's policy judges, whatever the head made of it; what the head's own would say is told apart."""
    desk.propose(GATED.format(3, 1), champion=ANYTHING)
    assert desk.verdicts == {("m", "champion"): (3, "fail")}
    desk.look()
    state, description = desk.status
    assert state == "failure"
    assert description.startswith("1 of 1 change blocked: m@champion v3: metric auc beats champion by 0.005 is fail")
    assert "Once merged, policy `champion` as this pull request has it judges it: **pass**" in desk.comment
    assert [(each.name, each.step) for each in desk.plan.brought.policies] == [("champion", PolicyStepKind.CHANGED)]


def test_a_weaker_policy_that_is_named_instead(desk: Desk) -> None:
    """The policy that the base names judges: one that was there already, and one that the head brings."""
    desk.office.commit(GATED.format(1, 1), weak=ANYTHING)
    desk.propose("m: {aliases: {champion: {version: 3, policy: weak}, shadow: {version: 1}}}")
    assert desk.verdicts == {("m", "champion"): (3, "fail")}
    assert desk.plan.brought.gates == (
        "m@champion: policy weak takes the place of champion from the next change on; this one is judged by champion",
    )
    desk.propose("m: {aliases: {champion: {version: 3, policy: new}, shadow: {version: 1}}}", branch="other", new=ANYTHING)
    assert desk.verdicts == {("m", "champion"): (3, "fail")}
    desk.propose("m: {aliases: {champion: {version: 3}, shadow: {version: 1}}}", branch="third")
    assert desk.verdicts == {("m", "champion"): (3, "fail")}


def test_a_renamed_policy(desk: Desk) -> None:
    """The same policy under another name is told as that; the base's still judges, and nothing is replayed."""
    moved = "m: {aliases: {champion: {version: 3, policy: gate}, shadow: {version: 1}}}"
    desk.propose(moved, champion=None, gate=POLICY)
    assert desk.verdicts == {("m", "champion"): (3, "fail")}
    (step,) = desk.plan.brought.policies
    assert (step.name, step.description, step.replayed) == ("gate", "renamed, from champion", None)


def test_where_the_base_gates_nothing(desk: Desk) -> None:
    """A policy of the base that the head names gates at once; one that the head brings judges from the next change on."""
    desk.propose("m: {aliases: {champion: {version: 1, policy: champion}, shadow: {version: 3, policy: champion}}}")
    assert desk.verdicts == {("m", "shadow"): (3, "fail")}
    desk.propose(
        "m: {aliases: {champion: {version: 1, policy: champion}, shadow: {version: 3, policy: new}}}", branch="b", new=STRICT
    )
    assert desk.verdicts == {("m", "shadow"): (3, None)}
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    assert (
        "policy new comes with this pull request: it judges from the next change on, and no policy gates this one"
        in desk.comment
    )
    assert "as this pull request has it judges it: **fail**" in desk.comment


def test_behind_its_base(desk: Desk) -> None:
    """What the base did meanwhile is not undone by the plan of a branch that began before."""
    desk.office.commit(spread("champion: {version: 1, policy: champion}", "shadow: {version: 1}"))
    desk.propose(spread("champion: {version: 1, policy: champion}", "shadow: {version: 2}"))
    desk.office.commit(spread("champion: {version: 2, policy: champion}", "shadow: {version: 1}"))
    desk.office.converge()
    assert desk.office.aliases() == {"champion": 2, "shadow": 1}
    assert desk.verdicts == {("m", "shadow"): (2, None)}
    assert desk.plan.already_due_changes == ()


def test_what_is_due_anyway_decides_nothing(desk: Desk) -> None:
    """A change that the base brings and its policy blocks is shown apart, and the status is not its business."""
    desk.office.commit(spread("champion: {version: 3, policy: champion}", "shadow: {version: 1}"))
    desk.propose(spread("champion: {version: 3, policy: champion}", "shadow: {version: 2}"))
    plan = desk.plan
    assert [each.difference.alias for each in plan.brought.changes] == ["shadow"]
    assert [each.difference.alias for each in plan.already_due_changes] == ["champion"]
    desk.look()
    assert desk.status == ("success", "1 change, all allowed")
    assert "Due anyway, with or without it" in desk.comment


def test_drift_is_due_anyway(desk: Desk) -> None:
    """An alias that somebody moved by hand goes back with or without the pull request."""
    desk.office.mlflow.place("m", "shadow", 3)
    desk.propose(GATED.format(2, 1))
    assert [each.difference.cause for each in desk.plan.already_due_changes] == [ChangeCause.DRIFT]
    assert desk.verdicts == {("m", "champion"): (2, "pass")}


def test_drift_that_is_put_back_from_now_on(desk: Desk) -> None:
    """Where the base only reports it, and the pull request has it reverted, the move is the pull request's."""
    desk.office.commit("m: {on_drift: report, aliases: {champion: {version: 1, policy: champion}, shadow: {version: 1}}}")
    desk.office.converge()
    desk.office.mlflow.place("m", "shadow", 3)
    desk.propose(GATED.format(1, 1))
    assert desk.verdicts == {("m", "shadow"): (1, None)}
    assert desk.plan.already_due_changes == ()


def test_faults(desk: Desk) -> None:
    """Every fault of the merged files, each with its place; a faulty base is told as such."""
    desk.propose("m: {aliases: {champion: {version: 0}, v2: 1}}", champion=b"version: 1\nrules: []\n")
    desk.look()
    state, description = desk.status
    assert state == "failure"
    assert description.startswith("3 faults: policies/champion.yaml:2:8: ")
    assert "`registry.yaml:3:" in desk.comment
    desk.office.git.push({"policies/champion.yaml": b"version: 2\n"})
    desk.propose(GATED.format(2, 1), branch="mends", champion=POLICY)
    assert desk.plan.unjudged is not None
    assert desk.plan.unjudged.startswith("the base cannot judge, it has faults: policies/champion.yaml:")


def test_a_refused_base_does_not_judge(desk: Desk) -> None:
    """Where the branch's head cannot be used, the revision in force judges, and the plan says so."""
    good = desk.office.git.head
    desk.office.git.push({"policies/champion.yaml": b"version: 2\n"})
    desk.propose(GATED.format(3, 1), champion=ANYTHING)
    office = desk.office.another()
    office.revisions.refresh_head()
    PullPlanUpdater(office.hub, office.git, desk.planner, office.revisions, office.keys, "main").update_plan(desk.number)
    assert desk.status[0] == "failure"
    assert f"the base is refused: revision {good} judges, which is in force" in desk.comment


def test_the_first_registry(office: Office) -> None:
    """A repository where nothing is declared yet: there is nothing to judge by, and all is planned."""
    office.mlflow.version("m", auc=0.5)
    office.git.push({"README.md": b"models\n"})
    desk = Desk(office)
    desk.propose(GATED.format(1, 1), champion=POLICY)
    assert desk.plan.status_state is PullState.SUCCESS
    assert desk.verdicts == {("m", "champion"): (1, None), ("m", "shadow"): (1, None)}


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ("m: {aliases: {shadow: {version: 9}}}", "m@shadow: the registry has no version 9 of this model (the newest is 3)"),
        ("gone: {aliases: {champion: 1}}", "gone: the registry has no model of this name: register it"),
    ],
)
def test_what_the_registry_lacks(models: str, reason: str, desk: Desk) -> None:
    """A failure, with words: merged, the model would stay as it is. What the base names already is not the head's doing."""
    desk.propose(models)
    desk.look()
    state, description = desk.status
    assert (state, description.startswith(reason)) == ("failure", True), description
    desk.office.commit(models)
    desk.propose(models + "\nn: {aliases: {champion: absent}}", branch="more")
    assert desk.plan.brought.lacking == () or desk.plan.brought.lacking[0].model == "n"


def test_mass_changes(office: Office) -> None:
    """Over the limit it is refused, if it is the head that brings changes; else that is not its business."""
    names = [f"m{number}" for number in range(12)]
    for name in names:
        office.mlflow.version(name)
        office.mlflow.version(name)
        office.mlflow.place(name, "champion", 1)
    row = "{}: {{aliases: {{champion: {}}}}}"
    office.commit("\n".join(row.format(name, 1) for name in names))
    office.converge()
    desk = Desk(office)
    desk.propose("\n".join(row.format(name, 2) for name in names))
    desk.look()
    assert desk.status[0] == "failure"
    assert desk.status[1].startswith("12 changes of 12 managed aliases are over `safety.max_changes: 30%`")
    assert "**Refused**" in desk.comment
    desk.propose("\n".join(row.format(name, 2) for name in names), "safety: {max_changes: 100%}\n", branch="raised")
    assert desk.plan.status_state is PullState.SUCCESS
    assert "`safety.max_changes` is 100% instead of 30%" in desk.plan.brought.settings


def test_a_policy_that_only_watches(desk: Desk) -> None:
    """What it would block is shown, and is no failure."""
    desk.office.commit(GATED.format(1, 1), champion=POLICY + b"enforcement: audit\n")
    desk.propose(GATED.format(3, 1))
    desk.look()
    assert desk.status == ("success", "1 change, all allowed, 1 only as their policy just watches")
    assert "| m | champion | v1 | v3 | would block: fail |" in desk.comment


def test_a_freeze(desk: Desk) -> None:
    """Pending while it is in force; a trailer in the pull request does not count before it is merged, and that is told."""
    desk.office.commit(GATED.format(1, 1), champion=POLICY + b'freeze: [{cron: "0 0 * * *", duration: 24h}]\n')
    files = {"registry.yaml": registry(GATED.format(2, 1))}
    desk.office.git.push(files, trailers={"Promoter-Override-Freeze": "urgent"}, branch="change")
    desk.number = desk.office.hub.opened("change")
    desk.look()
    assert desk.status[0] == "pending"
    assert "`Promoter-Override-Freeze: REASON`, in the message of the commit that merges it, ends the freeze" in desk.comment


def test_an_override(desk: Desk) -> None:
    """What stands in for git's word is due anyway; what a pull request says of that alias is not judged yet, and told so."""
    office = desk.office
    at = office.time.at
    record = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="ada", reason="bad", until=at + timedelta(hours=24)
    )
    office.ledger.record_override(record)
    desk.propose(GATED.format(1, 2))
    assert desk.verdicts == {("m", "shadow"): (2, None)}
    assert [each.difference.cause for each in desk.plan.already_due_changes] == [ChangeCause.OVERRIDE]
    desk.propose(GATED.format(3, 1), branch="other")
    assert desk.verdicts == {}
    (note,) = desk.plan.brought.notes
    stands = "v2 until 2026-11-24 12:00:00 UTC, by ada"
    assert note == f"m@champion: an override stands in for git's word ({stands}); it is judged after that"


def test_commits_that_are_not_signed(desk: Desk) -> None:
    """Told where the base wants signatures: what a person merges is for him to sign, so that it is no failure."""
    office = desk.office
    office.commit(GATED.format(1, 1), "safety: {require_signed_commits: true}\n")
    desk.propose(GATED.format(2, 1), "safety: {require_signed_commits: true}\n")
    head = office.hub.pulls[desk.number].head
    office.git.unsigned_commits.append(UnsignedCommit(head, "Ada <ada@example.org>", "not signed"))
    plan = desk.plan
    assert plan.brought.notes == (
        f"commit {head[:10]} by Ada <ada@example.org> is refused if it is merged as it is: not signed",
    )
    assert plan.status_state is PullState.SUCCESS


def test_holds_releases_quarantines_and_settings(desk: Desk) -> None:
    """Told in words; nobody whom they name is mentioned."""
    held = 'version: 1, policy: champion, quarantine: [3], hold: {reason: "see @ada/risk #7", by: "@bob"}'
    desk.propose(f"m:\n  owners: [risk]\n  aliases: {{champion: {{{held}}}, shadow: absent}}")
    assert desk.plan.brought.settings == (
        "m: owned by risk instead of nobody",
        "m@champion: held by @bob: see @ada/risk #7",
        "m@champion: v3 in quarantine",
    )
    assert desk.verdicts == {("m", "shadow"): (None, None)}
    desk.look()
    assert "@bob" not in desk.comment
    assert "#7" not in desk.comment
    desk.office.hub.merge(desk.number)
    desk.propose("n: {aliases: {champion: 1}}", branch="release")
    assert desk.plan.brought.settings == (
        "m: no longer managed; its aliases stay as they are",
        "n: managed from now on",
        "n@champion: git says v1 instead of nothing",
    )


def test_what_a_changed_policy_would_have_blocked(desk: Desk) -> None:
    """The promotions of the last days, under both policies; one that nobody can replay is told, and fails nothing."""
    office = desk.office
    office.commit(GATED.format(2, 1))
    office.converge()
    desk.propose(champion=STRICT)
    (step,) = desk.plan.brought.policies
    assert step.replayed is not None
    (effect,) = step.replayed
    assert (effect.promotions, [each.version for each in effect.blocks], effect.lets) == (1, [2], ())
    assert effect.blocks[0].why.startswith("metric auc beats champion by 0.5 is fail (saw 0.9")
    desk.look()
    assert desk.status == ("success", "it moves no alias")
    assert "would have blocked the promotion of v2 (metric auc beats champion by 0.5 is fail" in desk.comment
    desk.propose(branch="spare", spare=STRICT)
    desk.look()
    assert desk.status == ("success", "it moves no alias")
    assert "Its effect is not known: no alias of a registered model names policy `spare`" in desk.comment
