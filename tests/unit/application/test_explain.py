"""Explanations: nothing passes where nobody holds the alias, git's version is gone, or a registration failed."""

from __future__ import annotations

import pytest

from promoter.application.explain import DecisionExplainer, DecisionExplanation
from promoter.domain.decision import Verdict
from promoter.domain.errors import PermanentError
from tests.support.app import App
from tests.support.rollbacks import POLICY, ROTATING, back

STATED = "m: {aliases: {champion: {version: 2, policy: p}, shadow: {version: 1}, free: {policy: p}}}"


@pytest.fixture
def stated(app: App) -> App:
    """Git says v2, which passes its policy and is champion; nobody holds `free`."""
    for auc in (0.6, 0.7):
        app.mlflow.version("m", auc=auc)
    app.mlflow.place("m", "champion", 2)
    app.mlflow.place("m", "shadow", 1)
    app.commit(STATED, p=POLICY)
    app.converge()
    return app


def explain(app: App, alias: str = "champion") -> DecisionExplanation:
    """Explain an alias of m, as git has it now."""
    return DecisionExplainer(app.registry, app.ledger, app.planner, app.clock).explain_alias(declaration(app), "m", alias)


def declaration(app: App):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """The revision in force."""
    found = app.revisions.declaration_in_force
    assert found
    return found


def test_a_holder_that_passes_passes(stated: App) -> None:
    """And so does one that no policy gates."""
    assert explain(stated).passes
    assert explain(stated, "shadow").passes


def test_an_alias_that_nobody_holds_does_not_pass(stated: App) -> None:
    """There is no decision to show, and that is not good news."""
    found = explain(stated, "free")
    assert (found.passes, found.decision, found.subject) == (False, None, "nobody holds m@free")


@pytest.mark.parametrize("holder", [1, None])
def test_a_version_of_gits_that_is_gone_does_not_pass(stated: App, holder: int | None) -> None:
    """Whoever holds the alias meanwhile, and however well that one does."""
    seen = stated.mlflow.models["m"]
    stated.mlflow.place("m", "champion", holder)
    del seen.versions[2]  # type: ignore[attr-defined]  # the fake's own mapping
    found = explain(stated)
    assert not found.passes
    assert found.subject == "git says v2 for m@champion, and that cannot be"
    assert any("the registry has no version 2 of this model" in note for note in found.notes)
    assert explain(stated, "shadow").passes


def test_a_version_whose_registration_failed_passes_no_policy(stated: App) -> None:
    """Asked by its number, as a holder, and where git says it: with words that name the status."""
    stated.mlflow.fail("m", 2)
    explainer = DecisionExplainer(stated.registry, stated.ledger, stated.planner, stated.clock)
    found = explainer.explain_version(declaration(stated), "m", 2, "p").decision
    assert found
    assert found.verdict is Verdict.FAIL
    assert found.summary_line.startswith("ready is fail (saw status FAILED_REGISTRATION, ")
    assert not explain(stated).passes
    stated.commit(STATED.replace("champion: {version: 2,", "champion: {"), p=POLICY)
    stated.converge()
    holder = explain(stated).decision
    assert holder
    assert holder.verdict is Verdict.FAIL


def test_a_version_whose_registration_failed_moves_nowhere(app: App) -> None:
    """Neither by rotation, nor by a commit, nor as drift that is put back, nor by a rollback."""
    for auc in (0.6, 0.7, 0.8):
        app.mlflow.version("m", auc=auc)
    app.mlflow.place("m", "champion", 1)
    app.mlflow.fail("m", 3)
    app.commit(ROTATING, p=POLICY)
    app.converge()
    assert app.aliases() == {"champion": 2}
    app.commit(ROTATING.replace("version: 1", "version: 3"), p=POLICY)
    app.converge()
    assert app.aliases() == {"champion": 2}
    assert explain(app).passes is False
    app.commit(ROTATING.replace("version: 1", "version: 2"), p=POLICY)
    app.converge()
    app.mlflow.fail("m", 2)
    app.mlflow.place("m", "champion", 1)
    app.converge()
    assert app.aliases() == {"champion": 1}
    with pytest.raises(PermanentError, match="registration failed"):
        back(app, to=3)
