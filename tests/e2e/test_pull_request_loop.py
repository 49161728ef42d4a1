"""The whole loop through pull requests, on a forge of each kind: real MLflow, git, webhooks and daemon."""

from __future__ import annotations

from tests.e2e.hosted_stage import REVIEWED, HostedStage, changes

ROTATING = """
{model}:
  proposals: {{labels: [promoter, models], reviewers: [ada, bob]}}
  aliases:
    champion: {{version: 1, policy: champion, rotation: pull-request}}
"""


def test_from_a_version_to_its_record(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Registered, proposed, revised for a better one, reviewed by two, merged, applied, and told by the ledger."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8)
    stage.commit(ROTATING.format(model=model), champion=REVIEWED)
    stage.daemon()
    stage.until_at(model, {"champion": 1}, told=stage.told)
    first = stage.version(model, 0.85)

    pull = stage.until_open(model, f"Rotate {model}@champion from v1 to v{first}")
    stage.until_status(pull, "pending", "waiting")
    assert (pull.branch, pull.base, pull.author) == (f"promoter/{model}/champion", "main", "promoter-bot")
    assert (sorted(pull.labels), sorted(pull.reviewers)) == (["models", "promoter"], ["ada", "bob"])
    assert "| auc |" in pull.body
    assert "review" in pull.body
    better = stage.version(model, 0.9)

    again = stage.until_open(model, f"to v{better}")
    assert again.number == pull.number
    stage.until_status(again, "pending", "waiting")
    stage.approve(again, "ada")
    stage.approve(again, "bob")
    stage.until_status(again, "success", "all allowed")
    assert stage.aliases(model) == {"champion": 1}, "moved before it was merged"
    commit = stage.merge(again, "cy")

    stage.until_at(model, {"champion": better}, told=stage.told)
    listed = stage.run("audit", "list", "--model", model, "--format", "json").told["records"]
    assert [(each["from"], each["to"], each["outcome"]) for each in listed if each["outcome"] == "applied"] == [(1, better, "applied")]
    for each in listed[-2:]:
        assert each["revision"] == commit
        assert each["verdict"] == "pass"
        review = each["review"]
        assert review["number"] == pull.number
        assert (review["author"], review["reviewers"]) == ("promoter-bot", ["ada", "bob"])
        assert (review["merged_by"], review["merge_commit"]) == ("cy", commit)
    spans = stage.run("history", f"{model}@champion", "--format", "json").told["spans"]
    assert [each["version"] for each in spans] == [1, better]
    assert spans[-1]["revision"] == commit
