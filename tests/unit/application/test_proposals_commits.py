"""Rotation on fakes: what is committed, in which order, and when nothing is."""

from __future__ import annotations

import pytest

from promoter.domain.errors import BranchProtected, PermanentError
from tests.support.app import POLICY, App

NEWEST = b"""version: 1
candidates: {from: any}
rules: [{run: {status: FINISHED}}]
"""
FROM_CHALLENGER = b"""version: 1
candidates: {from: challenger, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}]
"""


def rotating(rotation: str = "commit", more: str = "") -> str:
    """A model whose champion rotates."""
    return f"m: {{aliases: {{champion: {{version: 1, policy: champion, rotation: {rotation}{more}}}}}}}"


@pytest.fixture
def rotated(app: App) -> App:
    """A model at v1 with a better v2, v3 the best."""
    for auc in (0.8, 0.9, 0.95):
        app.mlflow.version("m", auc=auc)
    app.commit(rotating(), champion=POLICY)
    return app


def test_the_best_is_committed_then_applied(rotated: App) -> None:
    """Rotation commits one value of the file, and reconcile moves the alias with that commit as its reason."""
    before = rotated.git.read_sources(rotated.git.head)["registry.yaml"]
    rotated.converge()
    after = rotated.git.read_sources(rotated.git.head)["registry.yaml"]
    assert after == before.replace(b"version: 1, policy", b"version: 3, policy")
    assert rotated.git.subjects == ["By hand", "Rotate m@champion from v1 to v3"]
    assert rotated.aliases() == {"champion": 3}
    last = rotated.records()[-1].fact
    assert (last.actor, last.verdict, last.revision) == ("Promoter <promoter@localhost>", "pass", rotated.git.head)


def test_challenger_then_champion(app: App) -> None:
    """A new version becomes challenger, then champion from there: two commits, in that order."""
    app.mlflow.version("m", auc=0.8)
    app.commit(
        """
m:
  aliases:
    champion: {version: 1, policy: champion, rotation: commit}
    challenger: {version: 1, policy: challenger, rotation: commit}
""",
        champion=FROM_CHALLENGER,
        challenger=NEWEST,
    )
    app.converge()
    app.mlflow.version("m", auc=0.9)
    app.converge()
    assert app.git.subjects[1:] == ["Rotate m@challenger from v1 to v2", "Rotate m@champion from v1 to v2"]
    assert app.aliases() == {"champion": 2, "challenger": 2}


def test_supports_before_champion(app: App) -> None:
    """Where several aliases may move to the same version, champion is the last."""
    app.mlflow.version("m", auc=0.8)
    alias = "{version: 1, policy: champion, rotation: commit}"
    app.commit(
        f"m: {{aliases: {{champion: {alias}, shadow: {alias}}}}}",
        champion=POLICY.replace(b"beats: champion, by: 0.005", b"at_least: 0.5"),
    )
    app.converge()
    app.mlflow.version("m", auc=0.9)
    app.converge()
    assert app.git.subjects[1:] == ["Rotate m@shadow from v1 to v2", "Rotate m@champion from v1 to v2"]


@pytest.mark.parametrize(
    "models",
    [
        rotating("pull-request"),
        rotating("off"),
        rotating(more=", quarantine: [2, 3]"),
        rotating(more=", hold: {reason: freeze, by: bob}"),
    ],
    ids=["pull-request", "off", "quarantine", "hold"],
)
def test_nothing_is_committed(models: str, app: App) -> None:
    """Without a forge, without rotation, under quarantine or hold: the branch stays as it is."""
    for auc in (0.8, 0.9, 0.95):
        app.mlflow.version("m", auc=auc)
    app.commit(models, champion=POLICY)
    app.converge()
    assert app.git.subjects == ["By hand"]
    assert app.aliases() == {"champion": 1}


def test_hold_that_ends(rotated: App) -> None:
    """Once a hold's time is over, rotation goes on by itself."""
    rotated.commit(rotating(more=", hold: {reason: freeze, by: bob, until: 2026-11-23T13:00:00Z}"))
    rotated.converge()
    assert rotated.aliases() == {"champion": 1}
    rotated.time.pass_time(hours=1)
    rotated.converge()
    assert rotated.aliases() == {"champion": 3}


def test_pushed_first(rotated: App) -> None:
    """Whoever pushed in between keeps his commit, and rotation judges again on top of it."""
    rotated.git.before_commit = lambda: rotated.commit(rotating(more=", quarantine: [3]"), subject="Quarantine")
    rotated.converge()
    assert rotated.git.subjects[1:] == ["Quarantine", "Rotate m@champion from v1 to v2"]
    assert rotated.aliases() == {"champion": 2}


def test_file_that_cannot_be_edited(app: App) -> None:
    """A value that an anchor shares is not torn apart: a person is told, and everything else goes on."""
    for auc in (0.8, 0.9):
        app.mlflow.version("m", auc=auc)
    app.mlflow.version("n")
    app.commit(
        """
m: {aliases: {champion: &shared {version: 1, policy: champion, rotation: commit}, shadow: 1}}
n: {aliases: {champion: 1}}
""",
        champion=POLICY,
    )
    watch = app.converge()
    assert app.aliases() == {"champion": 1, "shadow": 1}
    assert app.aliases("n") == {"champion": 1}
    assert watch.health.current_problems == {}
    assert "shared through an anchor" in str(watch.health.failing_models)
    with pytest.raises(PermanentError, match="edit the file by hand"):
        app.model_reconciler.reconcile("m", "test")


def test_a_branch_that_takes_no_pushes(rotated: App) -> None:
    """A person is told which word to write; drift is put back all the same."""
    rotated.git.protected = True
    with pytest.raises(BranchProtected, match="write `rotation: pull-request` for m@champion"):
        rotated.look()
    rotated.mlflow.place("m", "champion", 2)
    watch = rotated.converge()
    assert rotated.aliases() == {"champion": 1}
    assert "`rotation: commit` cannot write there" in watch.health.current_problems["git"]


def test_a_model_that_only_a_family_names(app: App) -> None:
    """The commit lists it, with nothing but the alias's version; its settings stay the family's."""
    for auc in (0.8, 0.9):
        app.mlflow.version("demand-1", auc=auc)
    app.commit(
        "other: {}",
        head='families: [{match: "demand-*", aliases: {champion: {policy: champion, rotation: commit}}}]\n',
        champion=POLICY,
    )
    app.converge()
    assert app.aliases("demand-1") == {"champion": 2}
    said = app.git.read_sources(app.git.head)["registry.yaml"].decode()
    assert said.endswith("  demand-1:\n    aliases:\n      champion: 2\n")
