"""A large change, past the mass-change limit, through a pull request on a forge of each kind: real MLflow, git and daemon."""

from __future__ import annotations

import pytest

from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.support.stage.hosted_stage import HostedStage

COUNT = 12
REVIEWED = b"version: 1\nrules: [{review: {at_least: 1, from: [acme/risk]}}]\n"
MESSAGE = "Move all to v2\n\nThe retraining of all segments.\n\nPromoter-Allow-Changes: 12\n"


def stated(model: str, version: int) -> str:
    """Twelve ungated aliases, and one under a policy that names the team `acme/risk`."""
    aliases = ", ".join(f"a{number}: {version}" for number in range(COUNT))
    return f"{model}: {{aliases: {{{aliases}, champion: {{version: 1, policy: champion}}}}}}"


def prepared(stage: HostedStage, model: str) -> None:
    """All aliases are at v1, in git and in the registry."""
    stage.serving(model, 0.8, 0.85)
    for number in range(COUNT):
        stage.by_hand(model, f"a{number}", 1)
    stage.commit(stated(model, 1), champion=REVIEWED)
    stage.settle()


@pytest.mark.slow_except("gitea")
def test_a_reviewer_allows_it_once(hosted_stage: HostedStage, fresh_name: str) -> None:
    """It waits for somebody of the team that a `review` rule names; then it is merged, moves, and the ledger says who."""
    stage, model = hosted_stage, fresh_name
    prepared(stage, model)
    pull = stage.propose("ada/all", "ada", stated(model, 2), message=MESSAGE)
    stage.settle()
    stage.until_status(pull, "pending", "waits for acme/risk to approve: 12 changes at once are over `max_changes: 30%`")
    stage.approve(pull, "bob")
    stage.settle()
    stage.until_status(pull, "success", "12 changes, all allowed")
    (comment,) = stage.comments(pull)
    assert "bob approved that" in comment
    stage.merge(pull, "ada")
    world = stage.settle()
    assert stage.aliases(model) == {"champion": 1, **{f"a{number}": 2 for number in range(COUNT)}}
    events = world.ledger.find_lifecycle_events()
    (facts,) = [each.facts for each in events if each.event is LifecycleEventType.ALLOWED]
    assert (facts["by"], facts["commit"], facts["changes"], facts["allowed"]) == ("bob", pull.head, COUNT, COUNT)
    assert str(facts["pull_request"]).endswith(f"/{pull.number}")
    assert stage.run("audit", "verify").code == 0


@pytest.mark.slow
def test_nobody_who_may_allows_it(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Approved and merged by others, the revision is refused in words, by the daemon and by `promoter apply`; nothing moves."""
    stage, model = hosted_stage, fresh_name
    prepared(stage, model)
    pull = stage.propose("ada/all", "ada", stated(model, 2), message=MESSAGE)
    stage.approve(pull, "cy")
    stage.merge(pull, "cy")
    refreshed = stage.world().revisions.refresh_head()
    assert "neither approved nor merged by acme/risk" in (refreshed.refused or "")
    applied = stage.run("apply")
    assert (applied.code, "neither approved nor merged by acme/risk" in applied.err) == (1, True)
    assert stage.aliases(model)["a0"] == 1
