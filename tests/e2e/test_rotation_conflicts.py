"""Rotation against others: a push that comes first, drift, holds, quarantine, families, prune; and two Promoters at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from promoter.application.status import build_alias_rows
from promoter.container import Container
from tests.support.driven import DrivenContainer
from tests.support.stage.stage import POLICY, Stage, assert_one_outcome_each, assert_unbroken, converge, registry_yaml

HIGHEST = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}]
"""


class Overtaking:
    """A repository in which somebody else pushes in the moment between Promoter's read and its push."""

    def __init__(self, repository: Any, push: Any) -> None:
        """`push` is called once, right before the first commit."""
        self._repository = repository
        self._push = push

    def __getattr__(self, name: str) -> Any:
        """The repository's own."""
        return getattr(self._repository, name)

    def commit_file(self, *args: Any) -> str:
        """Too late, the first time."""
        if self._push:
            push, self._push = self._push, None
            push()
        return str(self._repository.commit_file(*args))


def rotating(model: str, alias: str, more: str = "") -> str:
    """A model whose champion rotates."""
    return f"{model}: {{aliases: {{champion: {{version: 1, policy: champion, rotation: commit{more}}}{alias}}}}}"


def test_somebody_pushes_first(stage: Stage, fresh_name: str) -> None:
    """Their commit stays, rotation judges again on top of it, and both are carried out."""
    stage.version(fresh_name, 0.8)
    stage.commit(rotating(fresh_name, ""), champion=POLICY)
    converge(DrivenContainer(stage.settings()))
    stage.version(fresh_name, 0.9)
    overtaken = Overtaking(
        Container(stage.settings()).repository,
        lambda: stage.commit(rotating(fresh_name, ", shadow: 1"), message="Add a shadow"),
    )
    world = DrivenContainer(stage.settings(), repository=overtaken)
    converge(world)
    assert stage.git("log", "--format=%s", "-2").splitlines() == [f"Rotate {fresh_name}@champion from v1 to v2", "Add a shadow"]
    assert stage.aliases(fresh_name) == {"champion": 2, "shadow": 1}
    assert "champion: {version: 2, policy" in stage.stated()
    assert ", shadow: 1" in stage.stated()


def test_somebody_holds_first(stage: Stage, fresh_name: str) -> None:
    """Where the commit that came first forbids what rotation was about to do, it is not done."""
    stage.version(fresh_name, 0.8)
    stage.commit(rotating(fresh_name, ""), champion=POLICY)
    converge(DrivenContainer(stage.settings()))
    stage.version(fresh_name, 0.9)
    held = rotating(fresh_name, "", ", hold: {reason: not today, by: alice}")
    overtaken = Overtaking(Container(stage.settings()).repository, lambda: stage.commit(held, message="Hold"))
    world = DrivenContainer(stage.settings(), repository=overtaken)
    converge(world)
    assert stage.git("log", "--format=%s", "-1") == "Hold"
    assert stage.aliases(fresh_name) == {"champion": 1}


@pytest.mark.slow
def test_what_registry_yaml_may_say(stage: Stage, fresh_name: str) -> None:
    """`report` moves nothing and is shown; hold and quarantine stop rotation; `absent` and `prune` delete; families rotate."""
    reported, held, shunned, pruned, unlisted = (f"{fresh_name}-{word}" for word in ("rep", "held", "shun", "prune", "fam-new"))
    for model in (reported, held, shunned, pruned, unlisted):
        stage.version(model, 0.8)
        stage.version(model, 0.9)
    stage.version(shunned, 0.95)
    stage.by_hand(pruned, "stray", 1)
    stage.by_hand(pruned, "legacy", 1)
    stage.commit(
        f"""
{reported}: {{on_drift: report, aliases: {{champion: 1}}}}
{rotating(held, "", ", hold: {reason: not today, by: alice, until: 2099-01-01T00:00:00Z}")}
{rotating(shunned, "", ", quarantine: [3]")}
{pruned}: {{prune: true, aliases: {{champion: 1, legacy: absent}}}}
""",
        head=f'families: [{{match: "{fresh_name}-fam-*", aliases: {{champion: {{policy: champion, rotation: commit}}}}}}]\n',
        champion=POLICY,
    )
    world = DrivenContainer(stage.settings())
    converge(world)
    stage.by_hand(reported, "champion", 2)
    watch = converge(world)

    assert stage.aliases(reported) == {"champion": 2}
    rows = build_alias_rows(watch.snapshots[reported], {}, world.clock.now())
    assert [(row.status, row.detail, row.held) for row in rows] == [("drift", "git says v1; only reported", 2)]
    assert stage.moves(reported, "champion") == [(None, 1), (1, 2)]
    assert stage.aliases(held) == {"champion": 1}
    assert build_alias_rows(watch.snapshots[held], {}, world.clock.now())[0].status == "held"
    assert stage.aliases(shunned) == {"champion": 2}
    assert stage.aliases(pruned) == {"champion": 1}
    assert stage.moves(pruned, "stray") == [(1, None)]
    assert stage.moves(pruned, "legacy") == [(None, 1), (1, None)]
    assert stage.aliases(unlisted) == {"champion": 2}
    assert f"  {unlisted}:\n    aliases:\n      champion: 2\n" in stage.stated() + "\n"
    for model in (reported, held, shunned, pruned, unlisted):
        assert_one_outcome_each(stage.records(model))


def test_replica_that_missed_a_commit(stage: Stage, fresh_name: str) -> None:
    """A replica that has not fetched yet learns from the ledger that another went ahead, and does not undo its work."""
    stage.version(fresh_name, 0.8)
    stage.version(fresh_name, 0.9)
    stage.commit(f"{fresh_name}: {{aliases: {{shadow: 1}}}}")
    ahead, behind = DrivenContainer(stage.settings()), DrivenContainer(stage.settings())
    for world in (ahead, behind):
        converge(world)
    stage.commit(f"{fresh_name}: {{aliases: {{shadow: 2}}}}")
    converge(ahead)
    assert stage.aliases(fresh_name) == {"shadow": 2}
    behind.model_reconciler.reconcile(fresh_name, "webhook:mlflow")
    assert stage.aliases(fresh_name) == {"shadow": 2}
    assert stage.moves(fresh_name, "shadow") == [(None, 1), (1, 2)]


@pytest.mark.slow
def test_two_promoters(stage: Stage, fresh_name: str) -> None:
    """Two daemons on one database, a stream of versions, aliases moved by hand: all agree at the end, and all is recorded."""
    models = [f"{fresh_name}-{letter}" for letter in "ab"]
    for model in models:
        stage.version(model, 0.5)
    stage.commit("\n".join(rotating(model, ", shadow: 1") for model in models), champion=HIGHEST)
    daemons = [stage.daemon() for _ in range(2)]

    def stream(model: str) -> None:
        for number in range(10):
            stage.version(model, 0.6 + number / 100)
            stage.by_hand(model, ("champion", "shadow")[number % 2], 1)

    streams = [threading.Thread(target=stream, args=(model,)) for model in models]
    for thread in streams:
        thread.start()
    for thread in streams:
        thread.join()
    said = lambda: "\n".join(daemon.told() for daemon in daemons)  # noqa: E731
    for model in models:
        stage.until_at(model, {"champion": 11, "shadow": 1}, said)
    for daemon in daemons:
        daemon.until_ready()
        assert daemon.stop() == 0

    expected = "\n".join(rotating(model, ", shadow: 1").replace("version: 1", "version: 11") for model in models)
    assert stage.stated() == registry_yaml(expected).decode().strip()
    for model in models:
        records = stage.records(model)
        assert_one_outcome_each(records)
        for alias in ("champion", "shadow"):
            assert_unbroken(stage.moves(model, alias))
        to_one = [each for each in records if each.fact.alias == "champion" and each.fact.to_version == 1 and each.intent]
        assert len(to_one) <= 1, "Promoter moved the champion back to where git said it was before"
    assert "Traceback" not in said()
