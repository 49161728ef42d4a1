"""A ledger is about one folder of one repository: a Promoter of another one is refused, until a person accepts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.domain.errors import PermanentError
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.support.app import App
from tests.support.fakes.repository import FakeRepository

ML, NLP = RepositoryFolder("ml"), RepositoryFolder("nlp")


@pytest.fixture
def stated(app: App) -> App:
    """A model whose champion is v1, in git and in the registry; the ledger is about the top of the repository."""
    for _ in range(2):
        app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    return app


def beside(app: App, folder: RepositoryFolder) -> App:
    """The Promoter of another folder of the same repository, which is given the same ledger."""
    return App(app.folder, app.mlflow, replace(app.git, folder=folder), app.hub)


def bindings(app: App) -> list[dict[str, object]]:
    """What the ledger has of its repository."""
    events = app.ledger.find_lifecycle_events()
    return [dict(each.facts) for each in events if each.event is LifecycleEventType.REPOSITORY]


def test_a_ledger_is_bound_once(stated: App) -> None:
    """By the first revision that is in force; a restart adds nothing."""
    stated.another().converge()
    assert bindings(stated) == [{"address": "https://git.example/models", "folder": ""}]


def test_no_revision_no_binding(app: App) -> None:
    """A Promoter whose settings are wrong, and that never had a good revision, keeps the ledger for the right ones."""
    app.git.push({"registry.yaml": b"version: 1\nmodles: {}\n"})
    app.converge()
    assert bindings(app) == []


@pytest.mark.parametrize("folder", [ML, NLP])
def test_another_folder_is_refused(stated: App, folder: RepositoryFolder) -> None:
    """Nothing of it is in force, nothing moves, no pull request is planned; the first Promoter goes on undisturbed."""
    stated.git.push({"registry.yaml": b"version: 1\nmodels: {m: {aliases: {champion: 2}}}\n"}, branch="change")
    number = stated.hub.opened("change")
    stated.hub.calls.clear()
    other = beside(stated, folder)
    other.mlflow.place("m", "champion", 2)
    watch = other.converge()
    assert "about another folder" in watch.health.current_problems["ledger"]
    assert other.revisions.declaration_in_force is None
    assert other.aliases() == {"champion": 2}
    assert stated.hub.bodies(number) == []
    with pytest.raises(PermanentError, match="about another folder"):
        other.revisions.refresh_head()
    with pytest.raises(PermanentError, match="about another folder"):
        other.model_reconciler.reconcile("m", "test")
    stated.converge()
    assert stated.aliases() == {"champion": 1}


def test_another_folder_without_git(stated: App) -> None:
    """The last good revision is not read with the other folder's eyes either."""
    other = beside(stated, ML)
    other.git.trouble = PermanentError("git", "gone")
    other.converge()
    assert other.revisions.declaration_in_force is None


def test_a_folder_that_a_person_accepts(stated: App) -> None:
    """The files have moved: who said so is recorded, what the old place stated is no longer managed, and the old one stops."""
    other = beside(stated, ML)
    other.repository_binding.accept("alice", "moved to ml/")
    other.converge()
    assert other.revisions.is_head_in_force
    assert [each.get("actor") for each in bindings(stated)] == [None, "alice"]
    with pytest.raises(PermanentError, match="about another folder of the repository \\(ml/"):
        stated.revisions.refresh_head()
    with pytest.raises(PermanentError, match="about another folder"):
        stated.model_reconciler.reconcile("m", "test")


def test_a_repository_that_has_moved(stated: App) -> None:
    """Under another address, as over ssh, it is the same one: it has the revision that was last in force."""
    moved = App(stated.folder, stated.mlflow, replace(stated.git, address="git@git.example:moved/models"), stated.hub)
    moved.commit("m: {aliases: {champion: 2}}")
    moved.converge()
    assert moved.aliases() == {"champion": 2}
    assert len(bindings(stated)) == 1


def test_another_repository(stated: App) -> None:
    """It lacks that revision, so that its files say nothing of what this ledger remembers."""
    elsewhere = FakeRepository(address="https://git.example/others")
    other = App(stated.folder, stated.mlflow, elsewhere, stated.hub)
    other.commit("m: {aliases: {champion: 2}}")
    watch = other.converge()
    assert "about another repository" in watch.health.current_problems["ledger"]
    assert other.aliases() == {"champion": 1}


def test_a_branch_that_was_rewritten(stated: App) -> None:
    """At the same address it is the same repository: that is recorded as a rewritten branch, as before."""
    other = App(stated.folder, stated.mlflow, FakeRepository(), stated.hub)
    other.commit("m: {aliases: {champion: 2}}")
    other.converge()
    assert other.aliases() == {"champion": 2}
