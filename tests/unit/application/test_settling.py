"""What counts as agreed: only that tells drift, which is put back unasked, from a decision, which is gated."""

from __future__ import annotations

import pytest

from tests.unit.application.conftest import POLICY, Office


@pytest.fixture
def gated(office: Office) -> Office:
    """Version 1, by far the better one, is champion; git asks for version 2, and the policy blocks it."""
    office.mlflow.version("m", auc=0.9)
    office.mlflow.version("m", auc=0.8)
    office.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    office.converge()
    office.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    office.converge()
    assert office.aliases() == {"champion": 1}
    return office


def test_a_gate_cannot_be_passed_by_hand(gated: Office) -> None:
    """Somebody moves the alias to what the policy blocks, and back: Promoter itself never writes the blocked version."""
    gated.mlflow.place("m", "champion", 2)
    gated.converge()
    gated.mlflow.place("m", "champion", 1)
    gated.converge()
    assert gated.aliases() == {"champion": 1}
    assert [fact.kind for fact in (record.fact for record in gated.records())][-2:] == ["observed", "observed"]


def test_what_promoter_wrote_is_agreed_in_the_same_transaction(office: Office) -> None:
    """A move that went through is put back after drift, though the policy would not let it through again."""
    office.mlflow.version("m", auc=0.8)
    office.mlflow.version("m", auc=0.9)
    office.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    office.converge()
    office.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    office.converge()
    assert office.ledger.read_last_applied({"m"}) == {"m": {"champion": 2}}
    office.mlflow.place("m", "champion", 1)
    office.converge()
    assert office.aliases() == {"champion": 2}
    assert office.records()[-1].fact.reason == "drift put back: git still says so"


def test_an_alias_that_is_listed_again_is_a_new_decision(gated: Office) -> None:
    """What was agreed on before git stopped speaking of the alias counts no more."""
    gated.commit("other: {}")
    gated.converge()
    assert gated.ledger.read_last_applied({"m"}) == {}
    gated.mlflow.place("m", "champion", 2)
    gated.commit("m: {aliases: {champion: {version: 1, policy: champion}}}")
    gated.converge()
    fact = gated.records()[-1].fact
    assert (gated.aliases(), fact.policy, fact.verdict) == ({"champion": 1}, "champion", "pass")
