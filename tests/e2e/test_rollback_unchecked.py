"""Back to a version that served and has no MLmodel file, on a real MLflow server, a real remote and each forge."""

from __future__ import annotations

from typing import Any

import pytest

from promoter.domain.audit import RecordKind
from tests.support.forges.under_test import KINDS
from tests.support.stage.hosted_stage import HostedStage
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import converge, until

POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
CHAMPION = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}"
UNCHECKED = ("--to", "1", "--without-artifact-check")


@pytest.fixture
def served(hosted_stage: HostedStage, fresh_name: str) -> HostedStage:
    """v1 was the champion, from a run that logged no MLmodel file; v2 is."""
    make_version(hosted_stage.client, fresh_name, {"auc": 0.8}, mlmodel=None)
    hosted_stage.version(fresh_name, 0.9)
    for version in (1, 2):
        hosted_stage.commit(CHAMPION.format(model=fresh_name, version=version), champion=POLICY)
        converge(hosted_stage.world())
    assert hosted_stage.moves(fresh_name, "champion") == [(None, 1), (1, 2)]
    return hosted_stage


def rollback(stage: HostedStage, model: str, *more: str) -> Any:
    """Alice runs it."""
    given = ("--reason", "bad recall", "--as", "alice", "--format", "json")
    return stage.run("rollback", f"{model}@champion", *given, *more)


@pytest.mark.slow
def test_a_person_puts_it_back_on_a_protected_branch(served: HostedStage, fresh_name: str) -> None:
    """It is refused by name with the way past it; then it serves at once, the pull request says so, and git keeps it there."""
    stage, model = served, fresh_name
    stage.protect()
    refused = rollback(stage, model, "--now", "--to", "1")
    assert refused.code == 1
    text = " ".join((refused.out + refused.err).split())
    assert "v1 served until " in text
    assert "and is not ready (no MLmodel file)" in text
    assert "`--to 1 --without-artifact-check` puts it back all the same" in text
    assert stage.aliases(model) == {"champion": 2}

    done = rollback(stage, model, "--now", *UNCHECKED)
    assert done.code == 0, done.out + done.err
    assert stage.aliases(model) == {"champion": 1}
    stage.daemon()
    pull = stage.until_open(model, f"Roll back {model}@champion from v2 to v1")
    assert "v1 held the alias before, and returns without a check of its artifact, on the word of alice" in pull.body
    stage.by_hand(model, "champion", 2)
    until(lambda: stage.aliases(model) == {"champion": 1}, "the override counts", told=stage.told)
    stage.merge(pull)
    ended = lambda: [each for each in stage.records(model) if each.fact.kind is RecordKind.OVERRIDE and each.intent]  # noqa: E731
    until(lambda: len(ended()) == 1, "the override is over", told=stage.told)
    stage.settle()
    assert stage.aliases(model) == {"champion": 1}
    assert 'hold: {reason: "bad recall", by: alice, without_artifact_check: 1}' in stage.stated()


@pytest.mark.slow
@pytest.mark.parametrize("hosted_stage", KINDS[:1], indirect=True)
def test_the_daemon_lets_it_through_by_commit(served: HostedStage, fresh_name: str) -> None:
    """The alias moves, and the record says whose word stood in for the check."""
    stage, model = served, fresh_name
    assert rollback(stage, model, *UNCHECKED).code == 0
    converge(stage.world())
    assert stage.aliases(model) == {"champion": 1}
    last = stage.records(model, "champion")[-1]
    assert (last.fact.actor, last.fact.policy, last.fact.verdict) == ("alice", None, "pass")
    assert last.fact.reason == "bad recall; ready without artifact check, by alice: bad recall"
