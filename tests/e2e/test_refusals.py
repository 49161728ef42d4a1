"""A person closes Promoter's pull requests, on each kind of forge: real MLflow, git, ledger, daemon and commands."""

from __future__ import annotations

import pytest

from tests.support.stage.hosted_stage import HostedStage
from tests.support.stage.stage import registry_yaml, until

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion, by: 0.005}]
"""
ROTATING = "{model}: {{aliases: {{champion: {{version: 1, policy: champion, rotation: {rotation}}}}}}}"


def rotating(stage: HostedStage, model: str, rotation: str = "pull-request") -> None:
    """Commit that the champion rotates; the same files lie where commands are run."""
    models = ROTATING.format(model=model, rotation=rotation)
    stage.commit(models, champion=POLICY)
    (stage.folder / "policies").mkdir(exist_ok=True)
    (stage.folder / "policies" / "champion.yaml").write_bytes(POLICY)
    (stage.folder / "registry.yaml").write_bytes(registry_yaml(models))


@pytest.mark.slow_except("gitlab")
def test_the_next_best_follows_and_everything_shows_the_refusal(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Closed, v2 is refused by name in `explain`, page and API, and v3 is proposed; `reconsider` brings v2 back."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.90, 0.93, 0.92)
    rotating(stage, model)
    daemon = stage.daemon()
    first = stage.until_open(model, "from v1 to v2")
    stage.decline(first, "carol")
    second = stage.until_open(model, "from v1 to v3")
    assert second.number != first.number

    explained = stage.run("explain", f"{model}@champion")
    assert (explained.code, explained.out.splitlines()[0].strip()) == (0, f"{model}@champion would rotate to v3")
    told = " ".join(explained.out.split())
    assert "v2 was refused by carol on" in told
    assert f"`promoter reconsider {model}@champion 2` takes that back" in told

    def listed() -> list[dict[str, object]]:
        return [each for each in daemon.ask("/api/v1/refusals")[1]["refusals"] if each["model"] == model]

    (shown,) = until(listed, "the API lists the refusal", told=stage.told)
    assert (shown["version"], shown["by"], str(shown["pull_request"]).rpartition("/")[2]) == (2, "carol", str(first.number))
    stage.decline(second, "dan")

    def status() -> tuple[str, str]:
        (row,) = daemon.ask(f"/api/v1/models/{model}")[1]["model"]["aliases"]
        return row["status"], row["detail"]

    until(lambda: status()[0] == "refused" and "by dan" in status()[1], "the status says so", told=lambda: str(status()))
    wrong = stage.run("reconsider", f"{model}@champion", "9", "--as", "alice")
    assert (wrong.code, "what was refused: v2, v3" in wrong.err) == (1, True)
    back = stage.run("reconsider", f"{model}@champion", "2", "--as", "alice", "--reason", "measured again")
    assert back.code == 0, back.err
    again = stage.until_open(model, "from v1 to v2")
    assert again.number not in (first.number, second.number)
    stage.merge(again, "bob")
    stage.until_at(model, {"champion": 2}, told=stage.told)
    assert stage.run("audit", "verify").code == 0


@pytest.mark.slow
def test_opened_again_and_closed_again(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Opening it again takes the refusal back; closed by another person, it is that person's; `commit` believes it too."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.90, 0.93)
    rotating(stage, model)
    stage.settle()
    pull = stage.open_pull(model, "to v2")
    assert pull is not None
    head = stage.home.git.heads()[stage.branch(model)]
    stage.decline(pull, "carol")
    stage.settle()
    assert stage.branch(model) not in stage.home.git.heads()
    stage.home.git.point(f"refs/heads/{stage.branch(model)}", head)
    stage.home.reopen(pull.number, "carol")
    stage.settle()
    assert [(each.number, each.state) for each in stage.pulls()] == [(pull.number, "open")]
    stage.decline(pull, "dan")
    stage.settle()
    explained = " ".join(stage.run("explain", f"{model}@champion").out.split())
    assert "v2 was refused by dan on" in explained
    assert "carol" not in explained
    rotating(stage, model, "commit")
    stage.settle()
    assert stage.aliases(model) == {"champion": 1}
