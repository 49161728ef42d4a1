"""Requirements: the lines of the file in the artifact, from a real server, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from promoter.adapters.mlflow import artifacts
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.observed import Unreadable
from tests.support.stage.seeding import MLMODEL, evidenced, make_version


def with_requirements(client: Any, model: str, text: str | None, tmp_path: Any) -> int:
    """The next version of the model, with such a file beside its `MLmodel`."""
    number = make_version(client, model, mlmodel=MLMODEL)
    if text is not None:
        file = tmp_path / "requirements.txt"
        file.write_text(text)
        client.log_artifact(client.get_model_version(model, str(number)).run_id, str(file), "model")
    return number


def test_requirements_are_read_from_the_artifacts(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, tmp_path: Any
) -> None:
    """Lines without comments; absent; too long; a copy has those of its source."""
    with_requirements(mlflow_client, fresh_name, "# made by MLflow\nmlflow==3.3.0\n\n  scikit-learn==1.6.1\n", tmp_path)
    with_requirements(mlflow_client, fresh_name, None, tmp_path)
    with_requirements(mlflow_client, fresh_name, "a" * 501, tmp_path)
    mlflow_client.copy_model_version(f"models:/{fresh_name}/1", f"{fresh_name}-copy")

    found = registry.read_requirements(evidenced(registry, fresh_name, f"{fresh_name}-copy"))

    assert found[fresh_name, 1] == ("mlflow==3.3.0", "scikit-learn==1.6.1")
    assert found[fresh_name, 2] is None
    assert found[fresh_name, 3] == Unreadable("requirements.txt has more than 5000 lines, or one of more than 500 characters")
    assert found[f"{fresh_name}-copy", 1] == found[fresh_name, 1]


def test_a_file_that_is_too_large_does_not_travel(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is known before; and what was read once is remembered."""
    with_requirements(mlflow_client, fresh_name, "mlflow==3.3.0\n", tmp_path)
    asked = evidenced(registry, fresh_name)
    monkeypatch.setattr(artifacts, "_MAX_FILE_BYTES", 5)
    assert registry.read_requirements(asked) == {(fresh_name, 1): Unreadable("requirements.txt has 14 bytes, more than 5")}
    monkeypatch.undo()
    assert registry.read_requirements(asked) == {(fresh_name, 1): ("mlflow==3.3.0",)}
    mlflow_client.delete_model_version(fresh_name, "1")
    assert registry.read_requirements(asked) == {(fresh_name, 1): ("mlflow==3.3.0",)}
