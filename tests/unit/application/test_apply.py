"""Apply and explain on fakes: a whole plan at once, and the decision behind one alias."""

from __future__ import annotations

import pytest

from promoter.application.explain import DecisionExplainer, DecisionExplanation
from promoter.domain.audit import RevisionState
from promoter.domain.decision import Verdict
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import POLICY, App


def test_faults_of_one_model_do_not_stop_the_others(app: App) -> None:
    """Every model that can be is brought to its place; what failed is named with its reason; progress is told."""
    for model in "mno":
        app.mlflow.version(model)
    app.commit("\n".join(f"{model}: {{aliases: {{champion: 1}}}}" for model in "mno"))

    def gone(call: str) -> None:
        if call in ("set_alias", "aliases") and app.mlflow.calls[-1][1] == "n":
            raise TransientError("MLflow", "gone")

    app.mlflow.on = gone
    told: list[tuple[int, int]] = []
    head = app.git.head
    result = app.apply(
        app.documents.parse_declaration(app.git.read_sources(head), head),
        "apply",
        lambda done, of: told.append((done, of)),
    )
    assert {change.difference.model for change in result.changes} >= {"m", "o"}
    assert list(result.failed) == ["n"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (app.aliases("m"), app.aliases("n"), app.aliases("o")) == ({"champion": 1}, {}, {"champion": 1})


def test_over_the_limit_nothing_is_done(app: App) -> None:
    """The plan is refused whole, and the ledger says so of the revision."""
    app.mlflow.version("m")
    aliases = ", ".join(f"a{n}: 1" for n in range(11))
    head = app.commit(f"m: {{aliases: {{{aliases}}}}}")
    result = app.apply(app.documents.parse_declaration(app.git.read_sources(head), head), "apply")
    assert result.view.plan.refused
    assert app.mlflow.writes == []
    assert app.ledger.find_last_revision(RevisionState.REFUSED) == head
    assert app.ledger.find_last_revision(RevisionState.APPLIED) is None


def explained(app: App, alias: str = "champion", model: str = "m") -> DecisionExplanation:
    """What explain says of the alias at the branch's head."""
    declaration = app.documents.parse_declaration(app.git.read_sources(app.git.head), app.git.head)
    return DecisionExplainer(app.mlflow, app.ledger, app.planner, app.clock).explain_alias(declaration, model, alias)


@pytest.fixture
def modelled(app: App) -> App:
    """Two versions, the second better by 0.1."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    return app


def test_explains_what_matters_now(modelled: App) -> None:
    """A change that git asks for, else rotation's candidate, else the holder; with what else bears on the alias."""
    modelled.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    modelled.converge()
    holder = explained(modelled)
    assert holder.subject == "v1 holds m@champion; under its policy today"
    assert holder.decision is not None
    modelled.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    assert explained(modelled).subject == "git says v2 for m@champion"
    modelled.commit("m: {aliases: {champion: {version: 1, policy: champion, rotation: pull-request}}}")
    candidate = explained(modelled)
    assert candidate.subject == "m@champion would rotate to v2"
    assert candidate.decision is not None
    assert candidate.decision.verdict is Verdict.PASS
    assert "rotation (pull-request): v2 passes champion" in candidate.notes
    modelled.commit("m: {aliases: {champion: {version: 1, policy: champion}, shadow: 1, free: {}}}")
    assert explained(modelled, "free").subject == "nobody holds m@free"
    modelled.mlflow.place("m", "shadow", 1)
    assert explained(modelled, "shadow").subject == "v1 holds m@shadow, which no policy gates"


def test_refuses_what_it_cannot_explain(modelled: App) -> None:
    """Unmanaged models, unregistered models, unknown aliases, policies and versions: each in words."""
    modelled.commit("m: {aliases: {champion: 1}}\ngone: {aliases: {champion: 1}}", champion=POLICY)
    for model, alias, said in (
        ("x", "champion", "not managed"),
        ("gone", "champion", "no registered model"),
        ("m", "y", "nothing of"),
    ):
        with pytest.raises(PermanentError, match=said):
            explained(modelled, alias, model)
    declaration = modelled.documents.parse_declaration(modelled.git.read_sources(modelled.git.head), modelled.git.head)
    explainer = DecisionExplainer(modelled.mlflow, modelled.ledger, modelled.planner, modelled.clock)
    assert explainer.explain_version(declaration, "m", 2, "champion").decision is not None
    with pytest.raises(PermanentError, match="no policy `none`"):
        explainer.explain_version(declaration, "m", 2, "none")
    with pytest.raises(PermanentError, match="no version 9"):
        explainer.explain_version(declaration, "m", 9, "champion")
