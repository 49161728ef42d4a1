"""Signatures: as MLflow writes them, as a real server gives them, and as nobody should write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from promoter.adapters.mlflow import artifacts
from promoter.adapters.mlflow.artifacts import ArtifactError, parse_signature
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.observed import Unreadable, VersionSignature
from tests.support.stage.seeding import MLMODEL, evidenced, make_version


def test_what_mlflow_writes_is_flattened_to_a_line_a_field() -> None:
    """Columns with nested types, tensors, and parameters, as MLflow's own types put them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, Map, Object, Property
    from numpy import dtype

    message = Object([Property("role", DataType.string), Property("a.b", DataType.double, required=False)])
    written = ModelSignature(
        inputs=Schema(
            [
                ColSpec("long", "age"),
                ColSpec("string", "note", required=False),
                ColSpec(Array(message), "messages"),
                ColSpec(Map(DataType.long), "counts"),
            ]
        ),
        outputs=Schema([TensorSpec(dtype("float64"), (-1, 3))]),
        params=ParamSchema([ParamSpec("temperature", "double", 0.5), ParamSpec("stop", "string", ["a"], shape=(-1,))]),
    ).to_dict()

    assert parse_signature({"signature": written}) == VersionSignature(
        {
            "input age": "long",
            "input note": "string, optional",
            "input messages": "array",
            "input messages[]": "object",
            "input messages[].role": "string",
            'input messages[]."a.b"': "double, optional",
            "input counts": "map",
            "input counts{}": "long",
            "output 0": "tensor float64 (-1, 3)",
            "param temperature": "double, default 0.5",
            "param stop": 'string (-1,), default ["a"]',
        }
    )


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("text", "its signature is not one that Promoter understands"),
        ({"inputs": "{}"}, "its signature is not one that Promoter understands"),
        ({"inputs": "[1]"}, "its signature is not one that Promoter understands"),
        ({"inputs": [{"type": "long"}]}, "its signature is not one that Promoter understands"),
        ({"inputs": '[{"name": "x"}]'}, "its signature is not one that Promoter understands"),
        (
            {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int"}}]'},
            "its signature is not one that Promoter understands",
        ),
        ({"inputs": "[" * 100_000}, "its signature is not one that Promoter understands"),
        ({"inputs": '[{"type": "long", "name": "x"}, {"type": "string", "name": "x"}]'}, "its signature names input x twice"),
        (
            {"inputs": '[{"type": "array"' + ', "items": {"type": "array"' * 31 + "}" * 32 + "]"},
            "its signature is nested more than 30 deep",
        ),
    ],
)
def test_what_is_no_signature_is_not_guessed_at(declared: object, reason: str) -> None:
    """Neither as an empty signature, nor as a crash."""
    with pytest.raises(ArtifactError) as caught:
        parse_signature({"signature": declared})
    assert caught.value.reason == reason


@pytest.mark.parametrize("description", [{}, {"signature": None}, {"signature": {"inputs": None, "outputs": None}}])
def test_a_model_may_have_none(description: Mapping[str, Any]) -> None:
    """That is None, not an empty signature that equals others."""
    assert parse_signature(description) is None


@pytest.mark.slow
def test_signatures_are_read_from_the_artifacts(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """Present, changed, absent, and not to be read; a copy has that of its source."""
    for kind in ("long", "double"):
        columns = json.dumps([{"name": "age", "type": kind}])
        make_version(mlflow_client, fresh_name, mlmodel=f"{MLMODEL}signature:\n  inputs: '{columns}'\n")
    make_version(mlflow_client, fresh_name)
    make_version(mlflow_client, fresh_name, mlmodel="[unclosed")
    make_version(mlflow_client, fresh_name, mlmodel=None)
    mlflow_client.copy_model_version(f"models:/{fresh_name}/1", f"{fresh_name}-copy")

    found = registry.read_signatures(evidenced(registry, fresh_name, f"{fresh_name}-copy"))

    before, after = found[fresh_name, 1], found[fresh_name, 2]
    assert isinstance(before, VersionSignature)
    assert isinstance(after, VersionSignature)
    assert after.describe_differences(before) == ["input age is double, was long"]
    assert found[fresh_name, 3] is None
    assert found[fresh_name, 4] == Unreadable("MLmodel is not YAML")
    assert found[fresh_name, 5] == Unreadable("no MLmodel file")
    assert found[f"{fresh_name}-copy", 1] == before


def test_what_was_read_is_remembered_and_what_failed_is_tried_again(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Artifacts do not change; storage that does not answer may, and does not hold up a look for long."""
    make_version(mlflow_client, fresh_name)
    asked = evidenced(registry, fresh_name)
    usual = artifacts._TOTAL_SECONDS
    monkeypatch.setattr(artifacts, "_TOTAL_SECONDS", 0.0)
    assert registry.read_signatures(asked) == {(fresh_name, 1): Unreadable("MLmodel did not arrive within 0 s")}
    monkeypatch.setattr(artifacts, "_TOTAL_SECONDS", usual)
    assert registry.read_signatures(asked) == {(fresh_name, 1): None}

    mlflow_client.delete_model_version(fresh_name, "1")

    assert registry.read_signatures(asked) == {(fresh_name, 1): None}
    asked = [type(asked[0])(f"{fresh_name}-other", asked[0].version)]
    (unread,) = registry.read_signatures(asked).values()
    assert isinstance(unread, Unreadable)
    assert "not found" in unread.reason
