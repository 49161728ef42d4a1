"""Plans of pull requests on fakes: who judges, what they bring, and what is due anyway."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.markdown.pull_plan import render_pull_plan_markdown
from promoter.application.ports import UnsignedCommit
from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.links import MlflowAddresses, PageAddresses
from promoter.domain.plan import ChangeCause
from promoter.domain.policy_diff import PolicyStepKind
from tests.support.app import POLICY, App
from tests.support.pull_request_app import ANYTHING, GATED, STRICT, PullRequestApp, registry, spread, standing


@pytest.fixture
def pull_app(app: App) -> PullRequestApp:
    """Three versions of a model, v1 is champion and shadow, and git says so; v2 is better, v3 is worse."""
    return standing(app)


def test_a_weakened_policy_and_an_alias_in_one_go(pull_app: PullRequestApp) -> None:
    """The base's policy judges, whatever the head made of it; what the head's own would say is told apart."""
    pull_app.propose(GATED.format(3, 1), champion=ANYTHING)
    assert pull_app.verdicts == {("m", "champion"): (3, "fail")}
    pull_app.look()
    state, description = pull_app.status
    assert state == "failure"
    assert description.startswith("1 of 1 change blocked: m@champion v3: metric auc beats champion by 0.005 is fail")
    assert "Once merged, policy `champion` as this pull request has it judges it: **pass**" in pull_app.comment
    assert [(each.name, each.step) for each in pull_app.plan.brought.policies] == [("champion", PolicyStepKind.CHANGED)]


def test_a_weaker_policy_that_is_named_instead(pull_app: PullRequestApp) -> None:
    """The policy that the base names judges: one that was there already, and one that the head brings."""
    pull_app.app.commit(GATED.format(1, 1), weak=ANYTHING)
    pull_app.propose("m: {aliases: {champion: {version: 3, policy: weak}, shadow: {version: 1}}}")
    assert pull_app.verdicts == {("m", "champion"): (3, "fail")}
    assert pull_app.plan.brought.gates == (
        "m@champion: policy weak takes the place of champion from the next change on; this one is judged by champion",
    )
    pull_app.propose("m: {aliases: {champion: {version: 3, policy: new}, shadow: {version: 1}}}", branch="other", new=ANYTHING)
    assert pull_app.verdicts == {("m", "champion"): (3, "fail")}
    pull_app.propose("m: {aliases: {champion: {version: 3}, shadow: {version: 1}}}", branch="third")
    assert pull_app.verdicts == {("m", "champion"): (3, "fail")}


def test_a_renamed_policy(pull_app: PullRequestApp) -> None:
    """The same policy under another name is told as that; the base's still judges, and nothing is replayed."""
    moved = "m: {aliases: {champion: {version: 3, policy: gate}, shadow: {version: 1}}}"
    pull_app.propose(moved, champion=None, gate=POLICY)
    assert pull_app.verdicts == {("m", "champion"): (3, "fail")}
    (step,) = pull_app.plan.brought.policies
    assert (step.name, step.description, step.replayed) == ("gate", "renamed, from champion", None)


def test_where_the_base_gates_nothing(pull_app: PullRequestApp) -> None:
    """A policy of the base that the head names gates at once; one that the head brings judges from the next change on."""
    pull_app.propose("m: {aliases: {champion: {version: 1, policy: champion}, shadow: {version: 3, policy: champion}}}")
    assert pull_app.verdicts == {("m", "shadow"): (3, "fail")}
    pull_app.propose(
        "m: {aliases: {champion: {version: 1, policy: champion}, shadow: {version: 3, policy: new}}}", branch="b", new=STRICT
    )
    assert pull_app.verdicts == {("m", "shadow"): (3, None)}
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    assert (
        "policy new comes with this pull request: it judges from the next change on, and no policy gates this one"
        in pull_app.comment
    )
    assert "as this pull request has it judges it: **fail**" in pull_app.comment


def test_behind_its_base(pull_app: PullRequestApp) -> None:
    """What the base did meanwhile is not undone by the plan of a branch that began before."""
    pull_app.app.commit(spread("champion: {version: 1, policy: champion}", "shadow: {version: 1}"))
    pull_app.propose(spread("champion: {version: 1, policy: champion}", "shadow: {version: 2}"))
    pull_app.app.commit(spread("champion: {version: 2, policy: champion}", "shadow: {version: 1}"))
    pull_app.app.converge()
    assert pull_app.app.aliases() == {"champion": 2, "shadow": 1}
    assert pull_app.verdicts == {("m", "shadow"): (2, None)}
    assert pull_app.plan.already_due_changes == ()


def test_what_is_due_anyway_decides_nothing(pull_app: PullRequestApp) -> None:
    """A change that the base brings and its policy blocks is shown apart, and the status is not its business."""
    pull_app.app.commit(spread("champion: {version: 3, policy: champion}", "shadow: {version: 1}"))
    pull_app.propose(spread("champion: {version: 3, policy: champion}", "shadow: {version: 2}"))
    plan = pull_app.plan
    assert [each.difference.alias for each in plan.brought.changes] == ["shadow"]
    assert [each.difference.alias for each in plan.already_due_changes] == ["champion"]
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed")
    assert "Due anyway, with or without it" in pull_app.comment


def test_drift_is_due_anyway(pull_app: PullRequestApp) -> None:
    """An alias that somebody moved by hand goes back with or without the pull request."""
    pull_app.app.mlflow.place("m", "shadow", 3)
    pull_app.propose(GATED.format(2, 1))
    assert [each.difference.cause for each in pull_app.plan.already_due_changes] == [ChangeCause.DRIFT]
    assert pull_app.verdicts == {("m", "champion"): (2, "pass")}


def test_drift_that_is_put_back_from_now_on(pull_app: PullRequestApp) -> None:
    """Where the base only reports it, and the pull request has it reverted, the move is the pull request's."""
    pull_app.app.commit("m: {on_drift: report, aliases: {champion: {version: 1, policy: champion}, shadow: {version: 1}}}")
    pull_app.app.converge()
    pull_app.app.mlflow.place("m", "shadow", 3)
    pull_app.propose(GATED.format(1, 1))
    assert pull_app.verdicts == {("m", "shadow"): (1, None)}
    assert pull_app.plan.already_due_changes == ()


def test_faults(pull_app: PullRequestApp) -> None:
    """Every fault of the merged files, each with its place; a faulty base is told as such."""
    pull_app.propose("m: {aliases: {champion: {version: 0}, v2: 1}}", champion=b"version: 1\nrules: []\n")
    pull_app.look()
    state, description = pull_app.status
    assert state == "failure"
    assert description.startswith("3 faults: policies/champion.yaml:2:8: ")
    assert "`registry.yaml:3:" in pull_app.comment
    pull_app.app.git.push({"policies/champion.yaml": b"version: 2\n"})
    pull_app.propose(GATED.format(2, 1), branch="mends", champion=POLICY)
    assert pull_app.plan.unjudged is not None
    assert pull_app.plan.unjudged.startswith("the base cannot judge, it has faults: policies/champion.yaml:")


def test_a_refused_base_does_not_judge(pull_app: PullRequestApp) -> None:
    """Where the branch's head cannot be used, the revision in force judges, and the plan says so."""
    good = pull_app.app.git.head
    pull_app.app.git.push({"policies/champion.yaml": b"version: 2\n"})
    pull_app.propose(GATED.format(3, 1), champion=ANYTHING)
    app = pull_app.app.another()
    app.revisions.refresh_head()
    PullPlanUpdater(app.hub, app.git, pull_app.planner, app.revisions, app.keys, "main").update_plan(pull_app.number)
    assert pull_app.status[0] == "failure"
    assert f"the base is refused: revision {good} judges, which is in force" in pull_app.comment


def test_the_first_registry(app: App) -> None:
    """A repository where nothing is declared yet: there is nothing to judge by, and all is planned."""
    app.mlflow.version("m", auc=0.5)
    app.git.push({"README.md": b"models\n"})
    pull_app = PullRequestApp(app)
    pull_app.propose(GATED.format(1, 1), champion=POLICY)
    assert pull_app.plan.status_state is CommitStatusState.SUCCESS
    assert pull_app.verdicts == {("m", "champion"): (1, None), ("m", "shadow"): (1, None)}


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ("m: {aliases: {shadow: {version: 9}}}", "m@shadow: the registry has no version 9 of this model (the newest is 3)"),
        ("gone: {aliases: {champion: 1}}", "gone: the registry has no model of this name: register it"),
    ],
)
def test_what_the_registry_lacks(models: str, reason: str, pull_app: PullRequestApp) -> None:
    """A failure, with words: merged, the model would stay as it is. What the base names already is not the head's doing."""
    pull_app.propose(models)
    pull_app.look()
    state, description = pull_app.status
    assert (state, description.startswith(reason)) == ("failure", True), description
    pull_app.app.commit(models)
    pull_app.propose(models + "\nn: {aliases: {champion: absent}}", branch="more")
    assert pull_app.plan.brought.lacking == () or pull_app.plan.brought.lacking[0].model == "n"


def test_mass_changes(app: App) -> None:
    """Over the limit it is refused, if it is the head that brings changes; else that is not its business."""
    names = [f"m{number}" for number in range(12)]
    for name in names:
        app.mlflow.version(name)
        app.mlflow.version(name)
        app.mlflow.place(name, "champion", 1)
    row = "{}: {{aliases: {{champion: {}}}}}"
    app.commit("\n".join(row.format(name, 1) for name in names))
    app.converge()
    pull_app = PullRequestApp(app)
    pull_app.propose("\n".join(row.format(name, 2) for name in names))
    pull_app.look()
    assert pull_app.status[0] == "failure"
    assert pull_app.status[1].startswith("12 changes of 12 managed aliases are over `safety.max_changes: 30%`")
    assert "**Refused**" in pull_app.comment
    pull_app.propose("\n".join(row.format(name, 2) for name in names), "safety: {max_changes: 100%}\n", branch="raised")
    assert pull_app.plan.status_state is CommitStatusState.SUCCESS
    assert "`safety.max_changes` is 100% instead of 30%" in pull_app.plan.brought.settings


def test_a_policy_that_only_watches(pull_app: PullRequestApp) -> None:
    """What it would block is shown, and is no failure."""
    pull_app.app.commit(GATED.format(1, 1), champion=POLICY + b"enforcement: audit\n")
    pull_app.propose(GATED.format(3, 1))
    pull_app.look()
    assert pull_app.status == ("success", "1 change, all allowed, 1 only as their policy just watches")
    assert "| m | champion | v1 | v3 | would block: fail |" in pull_app.comment


def test_a_freeze(pull_app: PullRequestApp) -> None:
    """Pending while it is in force; a trailer in the pull request does not count before it is merged, and that is told."""
    pull_app.app.commit(GATED.format(1, 1), champion=POLICY + b'freeze: [{cron: "0 0 * * *", duration: 24h}]\n')
    files = {"registry.yaml": registry(GATED.format(2, 1))}
    pull_app.app.git.push(files, trailers={"Promoter-Override-Freeze": "urgent"}, branch="change")
    pull_app.number = pull_app.app.hub.opened("change")
    pull_app.look()
    assert pull_app.status[0] == "pending"
    assert (
        "`Promoter-Override-Freeze: REASON`, in the message of the commit that merges it, ends the freeze" in pull_app.comment
    )


def test_an_override(pull_app: PullRequestApp) -> None:
    """What stands in for git's word is due anyway; what a pull request says of that alias is not judged yet, and told so."""
    app = pull_app.app
    at = app.time.at
    record = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="ada", reason="bad", until=at + timedelta(hours=24)
    )
    app.ledger.record_override(record)
    pull_app.propose(GATED.format(1, 2))
    assert pull_app.verdicts == {("m", "shadow"): (2, None)}
    assert [each.difference.cause for each in pull_app.plan.already_due_changes] == [ChangeCause.OVERRIDE]
    pull_app.propose(GATED.format(3, 1), branch="other")
    assert pull_app.verdicts == {}
    (note,) = pull_app.plan.brought.notes
    start = "m@champion: v2 is to serve under an override until 2026-11-24 12:00 UTC, by ada: bad."
    assert note == f"{start} The override stands in for git's word until it ends; this is judged after that"
    assert pull_app.plan.status_description == (
        "v2 is to serve m@champion under an override until 2026-11-24 12:00 UTC; this counts after that"
    )


def test_an_override_of_a_replaced_version(pull_app: PullRequestApp) -> None:
    """It stands in for nothing on the base either: what the base states is due anyway, and the merge does not bring it."""
    app = pull_app.app
    at = app.time.at
    record = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="ada", reason="bad", until=at + timedelta(hours=24)
    )
    app.ledger.record_override(replace(record, to_identity="another version"))
    app.commit(GATED.format(3, 1))
    pull_app.propose(GATED.format(3, 2))
    assert pull_app.verdicts == {("m", "shadow"): (2, None)}


def test_a_pull_request_that_states_what_an_override_has(pull_app: PullRequestApp) -> None:
    """It moves nothing if it is merged; what happens otherwise is told, and that only its own pull request ends it."""
    app = pull_app.app
    at = app.time.at
    record = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="ada", reason="bad", until=at + timedelta(hours=24)
    )
    app.ledger.record_override(record)
    app.converge()
    assert app.aliases()["champion"] == 2
    pull_app.propose(GATED.format(2, 1))
    assert (pull_app.verdicts, pull_app.plan.status_state) == ({}, CommitStatusState.SUCCESS)
    serves = "v2 serves under an override until 2026-11-24 12:00 UTC"
    assert pull_app.plan.status_description == (f"{serves}; merged: git states it; not merged by then: v1 returns (m@champion)")
    (note,) = pull_app.plan.brought.notes
    assert note == (
        f"m@champion: {serves}, by ada: bad. If this is merged, git states v2, and nothing moves. "
        "If git does not state it by then, v1 returns, the version that was rolled back"
    )


def test_commits_that_are_not_signed(pull_app: PullRequestApp) -> None:
    """Told where the base wants signatures: what a person merges is for him to sign, so that it is no failure."""
    app = pull_app.app
    app.commit(GATED.format(1, 1), "safety: {require_signed_commits: true}\n")
    pull_app.propose(GATED.format(2, 1), "safety: {require_signed_commits: true}\n")
    head = app.hub.pulls[pull_app.number].head
    app.git.unsigned_commits.append(UnsignedCommit(head, "Ada <ada@example.org>", "not signed"))
    plan = pull_app.plan
    assert plan.brought.notes == (
        f"commit {head[:10]} by Ada <ada@example.org> is refused if it is merged as it is: not signed",
    )
    assert plan.status_state is CommitStatusState.SUCCESS


def test_holds_releases_quarantines_and_settings(pull_app: PullRequestApp) -> None:
    """Told in words; nobody whom they name is mentioned."""
    held = 'version: 1, policy: champion, quarantine: [3], hold: {reason: "see @ada/risk #7", by: "@bob"}'
    pull_app.propose(f"m:\n  owners: [risk]\n  aliases: {{champion: {{{held}}}, shadow: absent}}")
    assert pull_app.plan.brought.settings == (
        "m: owned by risk instead of nobody",
        "m@champion: held by @bob: see @ada/risk #7",
        "m@champion: v3 in quarantine",
    )
    assert pull_app.verdicts == {("m", "shadow"): (None, None)}
    pull_app.look()
    assert "@bob" not in pull_app.comment
    assert "#7" not in pull_app.comment
    pull_app.app.hub.merge(pull_app.number)
    pull_app.propose("n: {aliases: {champion: 1}}", branch="release")
    assert pull_app.plan.brought.settings == (
        "m: no longer managed; its aliases stay as they are",
        "n: managed from now on",
        "n@champion: git says v1 instead of none",
    )


def test_what_a_changed_policy_would_have_blocked(pull_app: PullRequestApp) -> None:
    """The promotions of the last days, under both policies; one that nobody can replay is told, and fails nothing."""
    app = pull_app.app
    app.commit(GATED.format(2, 1))
    app.converge()
    pull_app.propose(champion=STRICT)
    (step,) = pull_app.plan.brought.policies
    assert step.replayed is not None
    (effect,) = step.replayed
    assert (effect.promotions, [each.version for each in effect.blocks], effect.lets) == (1, [2], ())
    assert effect.blocks[0].why.startswith("metric auc beats champion by 0.5 is fail (saw 0.9")
    pull_app.look()
    assert pull_app.status == ("success", "it moves no alias")
    assert "would have blocked the promotion of v2 (metric auc beats champion by 0.5 is fail" in pull_app.comment
    pull_app.propose(branch="spare", spare=STRICT)
    pull_app.look()
    assert pull_app.status == ("success", "it moves no alias")
    assert "Its effect is not known: no alias of a registered model names policy `spare`" in pull_app.comment


def test_a_change_that_no_policy_gates_is_compared_as_well(pull_app: PullRequestApp) -> None:
    """The metrics of both versions, and links to the versions, their runs and the commit, as far as addresses are known."""
    pull_app.propose(GATED.format(1, 2))
    mlflow = MlflowAddresses.build("https://mlflow.example", "https://mlflow.example", None)
    pages = PageAddresses.build("https://p.example", mlflow, {}, "https://git.example/acme/registry/commit/")
    text = render_pull_plan_markdown(pull_app.plan, pages)
    head = pull_app.plan.head
    assert f"[`{head[:10]}`](https://git.example/acme/registry/commit/{head}) planned as it would be merged" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert (
        "| proposed | [v2](https://mlflow.example/#/models/m/versions/2) | [`m-2`](https://mlflow.example/#/runs/m-2) |" in rows
    )
    assert (
        "| replaced | [v1](https://mlflow.example/#/models/m/versions/1) | [`m-1`](https://mlflow.example/#/runs/m-1) |" in rows
    )
    assert "| auc | 0.9 | 0.8 | +0.1 |" in rows
    bare = render_pull_plan_markdown(pull_app.plan)
    assert f"`{head[:10]}` planned" in bare
    assert "](http" not in bare
