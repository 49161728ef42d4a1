"""The port `Registry` on a real MLflow server."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from promoter.adapters.mlflow import registry as registry_module
from promoter.adapters.mlflow import runs
from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.demo.servers.mlflow import MlflowServer
from promoter.domain.errors import PermanentError
from promoter.domain.observed import ObservedModel, RunDataset, TrainingRun
from tests.support.stage.seeding import make_run, make_version, register


def test_a_model_is_observed_with_its_versions_and_aliases(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """Numbers are integers, times aware, and the aliases joined from where MLflow keeps them."""
    make_version(mlflow_client, fresh_name, {"auc": 0.9}, {"approved_by": "risk"})
    make_version(mlflow_client, fresh_name)
    registry.set_alias(fresh_name, "champion", 1)
    mlflow_client.update_registered_model(fresh_name, " Detects fraud. ")
    mlflow_client.update_model_version(fresh_name, "1", "x" * 1_000)

    model = registry.observe_models([fresh_name])[fresh_name]

    assert (model.name, model.aliases, set(model.versions)) == (fresh_name, {"champion": 1}, {1, 2})
    first = model.versions[1]
    assert (model.description, first.description, model.versions[2].description) == ("Detects fraud.", "x" * 500, "")
    assert first.ready
    assert first.tags == {"approved_by": "risk"}
    assert abs(datetime.now(UTC) - first.created_at) < timedelta(hours=1)
    assert first.run_id
    assert registry.read_runs([first.run_id]) == {first.run_id: TrainingRun(first.run_id, "FINISHED", {"auc": 0.9})}


@pytest.mark.slow
def test_reading_all_models_and_naming_many_say_what_reading_each_says(
    own_mlflow_server: MlflowServer, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are followed to the end, and the two ways of reading agree."""
    monkeypatch.setattr(registry_module, "_MODELS_PER_PAGE", 2)
    monkeypatch.setattr(registry_module, "_VERSIONS_PER_PAGE", 2)
    registry = MlflowRegistry(own_mlflow_server.uri)
    mlflow_client = create_mlflow_client(own_mlflow_server.uri, elsewhere=True)
    names = [f"{fresh_name}-{number}" for number in range(3)]
    for name in names:
        make_version(mlflow_client, name)
        make_version(mlflow_client, name)
        registry.set_alias(name, "champion", 2)
    register(mlflow_client, f"{fresh_name}-bare")
    names.append(f"{fresh_name}-bare")

    everything = registry.observe_models()
    one_by_one = registry.observe_models([*names, "no-such-model"])
    many = registry.observe_models([*names, *(f"no-such-model-{number}" for number in range(30))])

    assert {name: everything[name] for name in names} == one_by_one == many
    assert [len(one_by_one[name].versions) for name in names] == [2, 2, 2, 0]


def test_a_version_that_appears_between_the_two_reads_is_read_again(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """Aliases and versions are read side by side: an alias never points at a version that is not told."""
    make_version(mlflow_client, fresh_name)

    row = registry_module._ModelRow(ObservedModel(fresh_name, {"champion": 1}), frozenset({1}))
    model = registry._add_versions(row, {})

    assert set(model.versions) == {1}


def test_prompts_are_left_out(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """MLflow keeps prompts among the registered models; none of them is one."""
    mlflow_client.register_prompt(fresh_name, "Classify {{text}}")

    assert fresh_name not in registry.observe_models()
    assert registry.observe_models([fresh_name]) == {}
    assert registry.read_aliases(fresh_name) is None


@pytest.mark.parametrize("shape", ['it\'s "x" {}', "back\\slash {}\\", "under_score % {}", "dots.and;-- {}", "ünï {}"])
def test_any_name_finds_its_own_versions_and_no_other(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, shape: str
) -> None:
    """Names may hold whatever ends, escapes or widens a filter."""
    name = shape.format(fresh_name)
    lookalike = name.translate({ord(sign): "x" for sign in "'\\_%"}) + ("" if set("'\\_%") & set(name) else "x")
    for model, count in ((name, 1), (lookalike, 2)):
        register(mlflow_client, model)
        for _ in range(count):
            mlflow_client.create_model_version(model, "s3://bucket/model", await_creation_for=0)

    assert len(registry.observe_models([name])[name].versions) == 1


def test_an_alias_is_set_moved_read_back_and_deleted(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """Deleting it once more is no error."""
    make_version(mlflow_client, fresh_name)
    make_version(mlflow_client, fresh_name)

    registry.set_alias(fresh_name, "champion", 1)
    registry.set_alias(fresh_name, "champion", 2)
    assert registry.read_aliases(fresh_name) == {"champion": 2}
    registry.delete_alias(fresh_name, "champion")
    registry.delete_alias(fresh_name, "champion")
    assert registry.read_aliases(fresh_name) == {}


def test_what_does_not_exist_is_absent_when_read_and_refused_when_written(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """No write creates anything by the way."""
    assert registry.read_aliases(fresh_name) is None
    with pytest.raises(PermanentError, match="not found"):
        registry.set_alias(fresh_name, "champion", 1)
    with pytest.raises(PermanentError, match="not found"):
        registry.delete_alias(fresh_name, "champion")
    make_version(mlflow_client, fresh_name)
    with pytest.raises(PermanentError, match="version=9"):
        registry.set_alias(fresh_name, "champion", 9)
    with pytest.raises(PermanentError, match="reserved"):
        registry.set_alias(fresh_name, "v1", 1)


def test_runs_are_read_in_bulk_across_experiments(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from an experiment that is newer than the last look, with NaN kept, and in several searches."""
    monkeypatch.setattr(runs, "_RUNS_PER_SEARCH", 2)
    old = [make_run(mlflow_client, {"auc": number / 10}).info.run_id for number in range(5)]
    unknown = [uuid.uuid4().hex, "it's no run id"]
    assert set(registry.read_runs([*old, *unknown])) == set(old)

    experiment = mlflow_client.create_experiment(fresh_name)
    new = make_run(mlflow_client, {"auc": math.nan}, experiment=experiment, status=None).info.run_id
    found = registry.read_runs([*old, new, *unknown])

    assert [found[run_id].metrics["auc"] for run_id in old] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert found[new].status == "RUNNING"
    assert math.isnan(found[new].metrics["auc"])
    assert registry.read_runs([]) == {}


@pytest.mark.parametrize("others", [0, 5])
def test_a_run_tells_its_origin(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, others: int) -> None:
    """Who ran it, in which experiment (by its present name), with what: read alone, and in bulk."""
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput

    experiment = mlflow_client.create_experiment(f"{fresh_name}-old")
    run_id = mlflow_client.create_run(experiment, tags={"mlflow.user": "alice"}).info.run_id
    mlflow_client.log_param(run_id, "depth", 7)
    mlflow_client.log_metric(run_id, "ratio", -math.inf)
    inputs = [MlflowDataset(name, digest, "local", "{}") for name, digest in (("train", "d2"), ("train", "d1"))]
    mlflow_client.log_inputs(run_id, [DatasetInput(each) for each in inputs])
    mlflow_client.set_tag(run_id, "mlflow.user", "somebody-else")
    mlflow_client.rename_experiment(experiment, fresh_name)
    asked = [run_id, *(make_run(mlflow_client).info.run_id for _ in range(others))]

    run = registry.read_runs(asked, experiments=True)[run_id]

    assert run == TrainingRun(
        run_id,
        "RUNNING",
        {"ratio": -math.inf},
        experiment=fresh_name,
        user="alice",
        params={"depth": "7"},
        datasets=(RunDataset("train", "d1"), RunDataset("train", "d2")),
    )
    assert registry.read_runs(asked)[run_id].experiment is None


def test_a_user_that_nobody_named_is_none_unless_a_tag_says_one(registry: MlflowRegistry, mlflow_client: Any) -> None:
    """MLflow itself puts `unknown` there."""
    run_id = make_run(mlflow_client).info.run_id
    assert registry.read_runs([run_id])[run_id].user is None

    mlflow_client.set_tag(run_id, "mlflow.user", "bob")

    assert registry.read_runs([run_id])[run_id].user == "bob"


def test_a_tag_is_set_and_no_alias_moves(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """It is read back as it was written; a version that is not there is refused."""
    make_version(mlflow_client, fresh_name)
    registry.set_alias(fresh_name, "champion", 1)

    registry.set_version_tag(fresh_name, 1, "promoter.approval.alice", '{"signature": "..."}')

    model = registry.observe_models([fresh_name])[fresh_name]
    assert model.versions[1].tags == {"promoter.approval.alice": '{"signature": "..."}'}
    assert model.aliases == {"champion": 1}
    with pytest.raises(PermanentError, match="not found"):
        registry.set_version_tag(fresh_name, 9, "approved_by", "risk")


@pytest.mark.parametrize("others", [0, 5])
def test_deleted_runs_are_absent(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, others: int) -> None:
    """A run that was deleted, or whose experiment was, is no evidence: read alone, and in bulk."""
    experiment = mlflow_client.create_experiment(fresh_name)
    buried = make_run(mlflow_client, experiment=experiment).info.run_id
    deleted = make_run(mlflow_client).info.run_id
    kept = {make_run(mlflow_client).info.run_id for _ in range(others)}
    asked = [buried, deleted, *kept]
    assert set(registry.read_runs(asked)) == set(asked)

    mlflow_client.delete_run(deleted)
    mlflow_client.delete_experiment(experiment)

    assert set(registry.read_runs(asked)) == kept
