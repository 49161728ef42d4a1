"""What counts as agreed: only that tells drift, which is put back unasked, from a decision, which is gated."""

from __future__ import annotations

import pytest

from tests.support.app import POLICY, App
from tests.support.remembered import numbers


@pytest.fixture
def gated(app: App) -> App:
    """Version 1, by far the better one, is champion; git asks for version 2, and the policy blocks it."""
    app.mlflow.version("m", auc=0.9)
    app.mlflow.version("m", auc=0.8)
    app.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    app.converge()
    app.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    app.converge()
    assert app.aliases() == {"champion": 1}
    return app


def test_a_gate_cannot_be_passed_by_hand(gated: App) -> None:
    """Somebody moves the alias to what the policy blocks, and back: Promoter itself never writes the blocked version."""
    gated.mlflow.place("m", "champion", 2)
    gated.converge()
    gated.mlflow.place("m", "champion", 1)
    gated.converge()
    assert gated.aliases() == {"champion": 1}
    assert [fact.kind for fact in (record.fact for record in gated.records())][-2:] == ["observed", "observed"]


def test_what_promoter_wrote_is_agreed_in_the_same_transaction(app: App) -> None:
    """A move that went through is put back after drift, though the policy would not let it through again."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    app.converge()
    app.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    app.converge()
    assert numbers(app.ledger.read_last_applied({"m"})) == {"m": {"champion": 2}}
    app.mlflow.place("m", "champion", 1)
    app.converge()
    assert app.aliases() == {"champion": 2}
    assert app.records()[-1].fact.reason == "drift put back: git still says so"


def test_an_alias_that_is_listed_again_is_a_new_decision(gated: App) -> None:
    """What was agreed on before git stopped speaking of the alias counts no more."""
    gated.commit("other: {}")
    gated.converge()
    assert numbers(gated.ledger.read_last_applied({"m"})) == {}
    gated.mlflow.place("m", "champion", 2)
    gated.commit("m: {aliases: {champion: {version: 1, policy: champion}}}")
    gated.converge()
    fact = gated.records()[-1].fact
    assert (gated.aliases(), fact.policy, fact.verdict) == ({"champion": 1}, "champion", "pass")
