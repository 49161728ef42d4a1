"""Desired state: settings merge by field, and every shape that is not meant is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from promoter.domain.desired import DesiredState, RegistryDocument


def desired(**parts: Any) -> DesiredState:
    """The desired state of a document."""
    return DesiredState.from_document(RegistryDocument.model_validate({"version": 1, "models": {}, **parts}))


def test_settings_merge_defaults_then_the_first_family_then_the_models_own() -> None:
    """Each written field overrides; what is not written shines through."""
    state = desired(
        defaults={"on_drift": "report", "owners": ["platform"]},
        families=[
            {"match": "fraud-*", "prune": True, "aliases": {"champion": {"policy": "strict", "rotation": "commit"}}},
            {"match": "*", "on_drift": "adopt"},
        ],
        models={"fraud-cards": {"on_drift": "revert", "aliases": {"champion": {"version": 3, "rotation": False}}}},
    )
    listed, matched = state.find_model_intent("fraud-cards"), state.find_model_intent("fraud-web")
    assert listed is not None
    assert matched is not None
    assert (listed.on_drift, listed.owners, listed.prune) == ("revert", ("platform",), True)
    champion = listed.aliases["champion"]
    assert (champion.version, champion.policy, champion.rotation) == (3, "strict", "off")
    assert (matched.on_drift, matched.aliases["champion"].rotation, matched.aliases["champion"].has_declared_target) == (
        "report", "commit", False,
    )  # fmt: skip
    assert state.find_model_intent("churn") is not None
    assert desired().find_model_intent("churn") is None


@pytest.mark.parametrize(
    "entry",
    [
        {"champion": 0}, {"champion": -1}, {"champion": True}, {"champion": "7"}, {"champion": 1.0}, {"champion": None},
        {"champion": [7]}, {"champion": {"version": 7, "verison": 8}}, {"champion": {"absent": True}}, {"latest": 1},
        {"v12": 1}, {"V1": 1}, {"LATEST": 1}, {"champion\n": 1}, {"": 1}, {"a b": 1}, {"a" * 256: 1},
        {"champion": {"rotation": "pr"}}, {"champion": {"hold": {"reason": "r"}}},
        {"champion": {"hold": {"reason": "r", "by": "b", "until": "soon"}}}, {"champion": {"quarantine": ["9"]}},
        {"champion": {"policy": "../x"}},
    ],
)  # fmt: skip
def test_an_alias_that_is_not_meant_is_refused(entry: dict[str, Any]) -> None:
    """Nothing is bent into shape."""
    with pytest.raises(ValidationError):
        desired(models={"fraud": {"aliases": entry}})


@pytest.mark.parametrize(
    "parts",
    [
        {"version": 2}, {"models": None}, {"extra": 1}, {"safety": {"max_changes": "150%"}}, {"safety": {"max_changes": -1}},
        {"safety": {"max_changes": True}}, {"defaults": {"aliases": {"champion": {"version": 1}}}}, {"families": [{}]},
        {"families": [{"match": "*", "aliases": {"c": {"quarantine": [1]}}}]}, {"models": {"a/b": {}}}, {"models": {"a:b": {}}},
        {"models": {" ": {}}}, {"models": {"m": {"on_drift": "ignore"}}},
    ],
)  # fmt: skip
def test_a_document_that_is_not_meant_is_refused(parts: dict[str, Any]) -> None:
    """Nor is anything around the aliases."""
    with pytest.raises(ValidationError):
        desired(**parts)
