"""The logged models behind versions, on a real MLflow server."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from promoter.adapters.mlflow import logged_models
from promoter.adapters.mlflow.logged_models import LoggedModelReader
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.application.ports import EvidenceTarget
from promoter.domain.observed import LoggedModel, MetricValue, ModelVersion, Unreadable
from tests.support.stage.seeding import evidenced, make_logged_version, make_version

HOLDOUT = ("holdout", "d1")
LIVE = ("live", "d2")


def test_a_logged_model_has_values_of_its_own_on_each_dataset(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """The same key may have another value on the run, and on each dataset; the last one counts, whichever its digest."""
    _, run_id, model_id = make_logged_version(
        mlflow_client,
        fresh_name,
        [
            ("auc", 0.7, 0, HOLDOUT),
            ("auc", 0.8, 1, HOLDOUT),
            ("auc", 0.6, 0, ("holdout", "newer")),
            ("auc", 0.5, 0, LIVE),
            ("auc", 0.4, 0, None),
            ("worst", math.inf, 0, None),
        ],
    )
    mlflow_client.log_metric(run_id, "auc", 0.99, step=9)
    make_version(mlflow_client, fresh_name)

    found = registry.read_logged_models(evidenced(registry, fresh_name))

    assert found == {
        (fresh_name, 1): LoggedModel(
            model_id,
            (
                MetricValue("auc", 0.4),
                MetricValue("auc", 0.6, "holdout", "newer"),
                MetricValue("auc", 0.5, "live", "d2"),
                MetricValue("worst", math.inf),
            ),
        ),
        (fresh_name, 2): None,
    }
    assert registry.read_runs([run_id])[run_id].metrics["auc"] == 0.99


def test_a_nan_of_a_logged_model_is_told_from_a_zero(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """MLflow keeps both as 0 on the logged model: the run's history tells them apart."""
    make_logged_version(mlflow_client, fresh_name, [("loss", math.nan, 0, HOLDOUT), ("errors", 0.0, 0, HOLDOUT)])

    for _ in range(2):  # the second time from memory
        (found,) = registry.read_logged_models(evidenced(registry, fresh_name)).values()
        assert isinstance(found, LoggedModel)
        values = {each.name: each.value for each in found.metrics}
        assert values["errors"] == 0.0
        assert math.isnan(values["loss"])


def test_copies_of_copies_lead_to_the_logged_model(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each copy's source names the version before it, whether that was asked for as well or not; the bound is in words.

    Many of one model are searched for together, and say the same.
    """
    make_logged_version(mlflow_client, fresh_name, [("auc", 0.7, 0, HOLDOUT)])
    for source, copy in ((fresh_name, f"{fresh_name}-b"), (f"{fresh_name}-b", f"{fresh_name}-c")):
        mlflow_client.copy_model_version(f"models:/{source}/1", copy)

    (original,) = registry.read_logged_models(evidenced(registry, fresh_name)).values()
    (last,) = registry.read_logged_models(evidenced(registry, f"{fresh_name}-c")).values()
    together = registry.read_logged_models(evidenced(registry, f"{fresh_name}-c", fresh_name, f"{fresh_name}-b"))

    assert isinstance(original, LoggedModel)
    assert last == original
    assert set(together.values()) == {original}
    monkeypatch.setattr(logged_models, "_MAX_SINGLE_VERSION_READS", 0)
    assert registry.read_logged_models(evidenced(registry, f"{fresh_name}-c")) == {(f"{fresh_name}-c", 1): original}
    monkeypatch.setattr(logged_models, "_MAX_COPY_DEPTH", 1)
    (last,) = registry.read_logged_models(evidenced(registry, f"{fresh_name}-c")).values()
    assert last == Unreadable("its source is a copy of a copy, more than 1 deep")


@pytest.mark.parametrize("few", [0, 8])
def test_a_deleted_logged_model_and_a_deleted_link_are_told(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A copy outlives what it was copied from, its evidence does not."""
    monkeypatch.setattr(logged_models, "_MAX_SINGLE_VERSION_READS", few)
    _, _, model_id = make_logged_version(mlflow_client, fresh_name)
    copies = [f"{fresh_name}-b", f"{fresh_name}-c"]
    for source, copy in zip([fresh_name, *copies], copies, strict=False):
        mlflow_client.copy_model_version(f"models:/{source}/1", copy)
    mlflow_client.delete_logged_model(model_id)
    mlflow_client.delete_model_version(copies[0], "1")

    found = registry.read_logged_models(evidenced(registry, fresh_name, copies[1]))

    assert found == {
        (fresh_name, 1): Unreadable(f"its logged model {model_id} does not exist: it may have been deleted"),
        (copies[1], 1): Unreadable(f"version 1 of model {copies[0]}, its source, does not exist"),
    }


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["models:/x/1"], Unreadable("its source leads in a circle, by version 1 of model x")),
        (["models:/x/2", "models:/x/1"], Unreadable("its source leads in a circle, by version 1 of model x")),
        (["models:/x@champion"], Unreadable("its source models:/x@champion names neither a logged model nor a version")),
        (["models:/x/" + "9" * 20], Unreadable(f"its source models:/x/{'9' * 20} names neither a logged model nor a version")),
        (["models:/m-1' OR 1=1"], Unreadable("its source models:/m-1' OR 1=1 names neither a logged model nor a version")),
        (["models:/m-none"], Unreadable("its logged model m-none does not exist: it may have been deleted")),
        (["models:/x/2", "s3://bucket/model"], None),
        ([None], None),
    ],
)
def test_a_source_is_followed_as_far_as_it_leads(
    registry: MlflowRegistry, sources: list[str | None], expected: Unreadable | None
) -> None:
    """Versions 1, 2, ... of model x with these sources, some of which MLflow would not take today."""
    asked = [
        EvidenceTarget("x", ModelVersion(number, datetime(2026, 1, 1, tzinfo=UTC), source=source))
        for number, source in enumerate(sources, 1)
    ]

    assert registry.read_logged_models(asked)["x", 1] == expected


def test_a_source_that_was_registered_anew_is_not_what_was_copied(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are used again once a model was deleted: better values may not slip in under an old copy."""
    monkeypatch.setattr(logged_models, "_MAX_CLOCK_SKEW", timedelta(0))
    make_logged_version(mlflow_client, fresh_name, [("auc", 0.5, 0, None)])
    mlflow_client.copy_model_version(f"models:/{fresh_name}/1", f"{fresh_name}-copy")
    mlflow_client.delete_registered_model(fresh_name)
    make_logged_version(mlflow_client, fresh_name, [("auc", 0.99, 0, None)])

    (found,) = registry.read_logged_models(evidenced(registry, f"{fresh_name}-copy")).values()

    assert found == Unreadable(f"version 1 of model {fresh_name}, its source, was registered after it was copied")


def test_many_are_searched_across_experiments(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of an experiment that is newer than the last look, and one that is gone; with the same answers as one by one."""
    monkeypatch.setattr(logged_models, "_MODELS_PER_SEARCH", 2)
    for number in range(5):
        make_logged_version(mlflow_client, fresh_name, [("auc", number / 10, 0, HOLDOUT)])
    registry.read_logged_models(evidenced(registry, fresh_name))
    new = mlflow_client.create_experiment(fresh_name)
    make_logged_version(mlflow_client, fresh_name, [("auc", 0.9, 0, HOLDOUT)], experiment=new)
    _, _, gone = make_logged_version(mlflow_client, fresh_name)
    mlflow_client.delete_logged_model(gone)
    asked = evidenced(registry, fresh_name)
    alone: list[str] = []
    read = LoggedModelReader._fetch_logged_model

    def noted(self: LoggedModelReader, model_id: str) -> object:
        alone.append(model_id)
        return read(self, model_id)

    monkeypatch.setattr(LoggedModelReader, "_fetch_logged_model", noted)

    found = registry.read_logged_models(asked)

    assert alone == [gone]
    assert found == {each.version_key: registry.read_logged_models([each])[each.version_key] for each in asked}
    values = [each.metrics[0].value for _, each in sorted(found.items()) if isinstance(each, LoggedModel)]
    assert values == [0.0, 0.1, 0.2, 0.3, 0.4, 0.9]
    assert isinstance(found[fresh_name, 7], Unreadable)
