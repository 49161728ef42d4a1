"""The whole loop through pull requests, on a forge of each kind: real MLflow, git, webhooks and daemon."""

from __future__ import annotations

import pytest

from promoter.application.comments import NOTE
from promoter.application.markdown.plan import APART
from promoter.domain.audit import ChangeOutcome
from tests.support.forges.model import Pull
from tests.support.stage.hosted_stage import BOT, REVIEWED, HostedStage
from tests.support.stage.stage import POLICY, until

ROTATING = """
{model}:
  proposals: {{labels: [promoter, models], reviewers: [ada, bob]}}
  aliases:
    champion: {{version: 1, policy: champion, rotation: pull-request{more}}}
"""
TWO = "{model}: {{aliases: {{champion: {{version: {champion}, policy: champion}}, shadow: {shadow}}}}}"
TAGGED = b"version: 1\nrules: [{metric: auc, at_least: 0.7}, {tag: approved_by, present: true}]\n"
STRICT = b"version: 1\nrules: [{metric: auc, at_least: 0.9}]\n"
ADOPTING = "{model}: {{on_drift: adopt, aliases: {{champion: 1}}}}"


def rotating(stage: HostedStage, model: str, more: str = "", policy: bytes = POLICY) -> None:
    """Commit that the champion rotates by pull request."""
    stage.commit(ROTATING.format(model=model, more=more), champion=policy)


def on(kind: str) -> pytest.MarkDecorator:
    """One kind of forge is enough: the contract suite holds all three to the same port."""
    return pytest.mark.parametrize("hosted_stage", [kind], indirect=True)


@pytest.mark.slow_except("gitlab")
def test_from_a_version_to_its_record(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Registered, proposed, revised for a better one, reviewed by two, merged, applied, and told by the ledger."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.85)
    rotating(stage, model, policy=REVIEWED)
    stage.daemon()

    pull = stage.until_open(model, f"Rotate {model}@champion from v1 to v2")
    stage.until_status(pull, "pending", "waiting")
    assert (pull.branch, pull.base, pull.author) == (f"promoter/{model}/champion", "main", BOT)
    assert (sorted(pull.labels), sorted(pull.reviewers)) == (["models", "promoter"], ["ada", "bob"])
    assert_a_reviewer_can_decide(stage, pull)
    better = stage.version(model, 0.9)

    again = stage.until_open(model, f"to v{better}")
    assert again.number == pull.number
    stage.until_status(again, "pending", "waiting")
    stage.approve(again, "ada", "bob")
    stage.until_status(again, "success", "all allowed")
    (comment,) = stage.comments(again)
    assert f"approve #{again.number}" in comment.replace(APART, ""), "the body counts no approvals, the plan does"
    assert stage.aliases(model) == {"champion": 1}, "moved before it was merged"
    commit = stage.merge(again, "cy")

    stage.until_at(model, {"champion": better}, told=stage.told)
    assert_told(stage, model, commit, better)
    until(lambda: stage.branch(model) not in stage.home.git.heads(), "its branch is gone", told=stage.told)
    assert len(stage.pulls()) == 1
    stage.forge.post.wait()
    assert set(stage.forge.post.statuses) <= {200, 202}


def assert_a_reviewer_can_decide(stage: HostedStage, pull: Pull) -> None:
    """The body has the metrics in order, links to both versions and their runs, and what follows each answer."""
    for told in (
        "| auc | higher |",
        "metric auc beats champion by 0.005",
        "pending: `review",
        "- **Nobody decides**: v1 stays",
    ):
        assert told in pull.body, pull.body
    assert "no pull request yet" not in pull.body
    for number in (1, 2):
        run = stage.client.get_model_version(find_model(pull), str(number)).run_id
        assert f"[v{number}]({stage.tracking_uri}/#/models/{find_model(pull)}/versions/{number})" in pull.body
        assert f"[`{run}`]({stage.tracking_uri}/#/runs/{run})" in pull.body


def find_model(pull: Pull) -> str:
    """Return the model that Promoter's branch is for."""
    return pull.branch.split("/")[1]


def assert_told(stage: HostedStage, model: str, commit: str, version: int) -> None:
    """The ledger's commands tell who wrote it, who reviewed it, who merged it, and what that made."""
    listed = stage.run("audit", "list", "--model", model, "--format", "json").told["records"]
    moved = [each for each in listed if each["outcome"] in ("intended", "applied")]
    assert [(each["from"], each["to"], each["outcome"]) for each in moved] == [
        (1, version, "intended"),
        (1, version, "applied"),
    ]
    for each in moved:
        assert (each["revision"], each["verdict"], each["policy"]) == (commit, "pass", "champion")
        review = each["review"]
        assert review.pop("pull_request").endswith("/1")
        assert review == {
            "number": 1,
            "author": BOT,
            "reviewers": ["ada", "bob"],
            "merged_by": "cy",
            "merge_commit": commit,
        }
    spans = stage.run("history", f"{model}@champion", "--format", "json").told["spans"]
    assert [(each["version"], each["revision"]) for each in spans][-1] == (version, commit)


@pytest.mark.slow
def test_a_person_s_pull_request(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Webhooks alone bring one comment and a status, kept up to date; evidence that changes too; merged, it is applied."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.85)
    stage.by_hand(model, "shadow", 1)
    stage.commit(TWO.format(model=model, champion=1, shadow=1), champion=TAGGED)
    stage.daemon(patient=True).until_ready()

    pull = stage.propose("ada/two", "ada", TWO.format(model=model, champion=2, shadow=1))
    stage.until_status(pull, "pending", "tag approved_by")
    (comment,) = stage.comments(pull)
    assert "champion | v1 | v2" in comment
    stage.push("ada/two", "ada", TWO.format(model=model, champion=2, shadow=2))
    stage.until_status(pull, "pending", "1 of 2 changes waiting")
    assert "shadow | v1 | v2" in stage.comments(pull)[0]
    stage.client.set_model_version_tag(model, "2", "approved_by", "risk")
    stage.settle()  # another Promoter's poll
    stage.until_status(pull, "success", "2 changes, all allowed")
    assert len(stage.comments(pull)) == 1
    assert len({each.id for each in pull.remarks}) == 1
    assert pull.remarks[0].created_at <= pull.remarks[0].updated_at
    commit = stage.merge(pull, "bob")

    stage.until_at(model, {"champion": 2, "shadow": 2}, told=stage.told)
    review = stage.records(model, "champion")[-1].to_event_data()["review"]
    assert (review["author"], review["merged_by"], review["merge_commit"]) == ("ada", "bob", commit)
    stage.forge.post.wait()
    assert set(stage.forge.post.statuses) <= {200, 202}
    assert 202 in stage.forge.post.statuses


@pytest.mark.slow
@on("github")
def test_a_policy_that_is_weakened_with_what_it_lets_through(hosted_stage: HostedStage, fresh_name: str) -> None:
    """The base's policy judges it: a failure. Merged past that, the new policy is in force, as was told before, and decides."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.95, 0.6)
    stage.by_hand(model, "shadow", 1)
    stage.commit(TWO.format(model=model, champion=1, shadow=1), champion=STRICT)
    pull = stage.propose(
        "ada/weak", "ada", TWO.format(model=model, champion=2, shadow=1), champion=STRICT.replace(b"0.9", b"0.5")
    )
    stage.settle()
    stage.until_status(pull, "failure", "1 of 1 change blocked")
    (comment,) = stage.comments(pull)
    assert "metric auc at_least 0.9" in comment
    assert "policy `champion` as this pull request has it judges it: **pass**" in comment
    assert stage.aliases(model) == {"champion": 1, "shadow": 1}

    commit = stage.merge(pull, "cy")
    stage.settle()
    assert stage.aliases(model) == {"champion": 2, "shadow": 1}
    record = stage.records(model, "champion")[-1].to_event_data()
    assert (record["outcome"], record["verdict"], record["revision"]) == ("applied", "pass", commit)
    assert (record["review"]["author"], record["review"]["reviewers"], record["review"]["merged_by"]) == ("ada", [], "cy")


@pytest.mark.slow
@on("gitlab")
def test_overtaken_and_wanted_again(hosted_stage: HostedStage, fresh_name: str) -> None:
    """What git puts in quarantine is closed with a comment; that was no person's no: once it is out again, it is proposed."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    rotating(stage, model)
    stage.settle()
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    rotating(stage, model, ", quarantine: [2]")
    stage.settle()
    assert (pull.state, pull.closed_by) == ("closed", BOT)
    assert "quarantine" in "".join(stage.comments(pull, NOTE))
    assert stage.branch(model) not in stage.home.git.heads()
    rotating(stage, model)
    stage.settle()
    assert [each.state for each in stage.pulls()] == ["closed", "open"]


@pytest.mark.slow
@on("gitea")
def test_a_no_is_a_no(hosted_stage: HostedStage, fresh_name: str) -> None:
    """What a person closes is not proposed again, by no Promoter; another candidate is."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    rotating(stage, model)
    stage.settle()
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    stage.decline(pull)
    stage.settle()
    assert [each.state for each in stage.pulls()] == ["closed"]
    assert stage.branch(model) not in stage.home.git.heads()
    stage.version(model, 0.95)
    stage.settle()
    assert [(each.state, each.title) for each in stage.pulls()][1:] == [("open", f"Rotate {model}@champion from v1 to v3")]


@pytest.mark.slow
@on("gitlab")
def test_a_person_s_commit_on_promoter_s_branch(hosted_stage: HostedStage, fresh_name: str) -> None:
    """It stays, and a comment says so; a better version does not touch it. Merged, the person's word counts."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    rotating(stage, model)
    stage.settle()
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    mine = ROTATING.format(model=model, more="").replace("version: 1", "version: 2") + "    # wait\n"
    tip = stage.push(stage.branch(model), "bob", mine)
    stage.version(model, 0.95)
    stage.settle()
    assert stage.home.git.heads()[stage.branch(model)] == tip
    assert stage.open_pull(model, "to v2") is not None
    (note,) = stage.comments(pull, NOTE)
    assert "not Promoter's" in note
    assert len(stage.comments(pull)) == 1, "its body does not say any more what it brings: the plan does"
    stage.merge(pull)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}
    assert "# wait" in stage.stated()
    assert [each.title for each in stage.pulls(state="open")] == [f"Rotate {model}@champion from v2 to v3"]


@pytest.mark.slow
@on("gitea")
def test_drift_that_is_adopted(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Moved by hand, it is proposed that git says so: closed when the alias goes back, and once merged, git agrees."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    stage.commit(ADOPTING.format(model=model))
    stage.settle()
    stage.by_hand(model, "champion", 2)
    stage.settle()
    first = stage.open_pull(model, f"Adopt v2 as {model}@champion")
    assert first is not None
    stage.by_hand(model, "champion", 1)
    stage.settle()
    assert (first.state, first.closed_by) == ("closed", BOT)

    stage.by_hand(model, "champion", 2)
    stage.settle()
    second = stage.open_pull(model, f"Adopt v2 as {model}@champion")
    assert second is not None
    assert second.number != first.number
    stage.merge(second)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}
    assert "champion: 2" in stage.stated()
    assert stage.pulls(state="open") == []
    assert [each for each in stage.records(model) if each.fact.outcome is ChangeOutcome.INTENDED] == [], (
        "Promoter moved nothing"
    )


@pytest.mark.slow_except("gitlab")
def test_a_pull_request_from_a_fork(hosted_stage: HostedStage, fresh_name: str) -> None:
    """It is a failure that says why there is no plan, and the same commit on a branch here gets one."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.85)
    stage.by_hand(model, "shadow", 1)
    stage.commit(TWO.format(model=model, champion=1, shadow=1), champion=POLICY)
    head = stage.push("eve/two", "eve", TWO.format(model=model, champion=2, shadow=1))
    with stage.forge.using():
        pull = stage.home.open_from_fork("eve", "eve/registry", "two", head, "Two")
        stage.home.git.delete("refs/heads/eve/two")  # it never was a branch of this repository
    stage.settle()
    if stage.scene.kind == "gitlab":  # it shows no status of this project there
        assert stage.status(pull) is None
        (comment,) = stage.comments(pull)
        assert "it comes from a fork" in comment
        assert f"promoter plan --base main --head {head}" in comment
    else:
        stage.until_status(pull, "failure", "from a fork, so not planned")
        assert stage.comments(pull) == []

    with stage.forge.using():
        stage.home.git.point("refs/heads/ada/two", head)
        ours = stage.home.open("ada", "ada/two", "Two, from here")
    stage.settle()
    stage.until_status(ours, "success", "1 change, all allowed")
