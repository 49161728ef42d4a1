"""Answers that MLflow cannot have given: a real server behind a proxy that loses or replaces parts of what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from promoter.adapters.mlflow import artifacts
from promoter.adapters.mlflow.client import redact_server_address
from promoter.adapters.mlflow.copy import MlflowCopies
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.application.ports import Absence, EvidenceTarget
from promoter.domain.copy_source import SourceVersion
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.observed import MetricRef, ModelVersion
from tests.support.shared_server import SharedMlflow
from tests.support.stage.chaos_proxy import ChaosMode, ChaosProxy
from tests.support.stage.seeding import make_run, make_version

FULL = [ChaosMode.WEB_PAGE, ChaosMode.NULL, ChaosMode.TRUNCATED, ChaosMode.RATE_LIMITED, ChaosMode.FAILING]


@pytest.fixture
def chaos(mlflow_server: SharedMlflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChaosProxy]:
    """The proxy, in front of the shared server; MLflow's client does not try again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ChaosProxy(mlflow_server.uri) as proxy:
        yield proxy


@pytest.fixture
def behind_chaos(chaos: ChaosProxy) -> MlflowRegistry:
    """The adapter, which reaches the server through the proxy."""
    return MlflowRegistry(chaos.url)


@pytest.fixture
def seeded(mlflow_client: Any, fresh_name: str) -> str:
    """A model with one version, which has a tag and the alias `champion`."""
    make_version(mlflow_client, fresh_name, {"auc": 0.9}, {"approved_by": "risk"}, mlmodel=None)
    mlflow_client.set_registered_model_alias(fresh_name, "champion", "1")
    return fresh_name


@pytest.mark.parametrize("mode", FULL, ids=lambda mode: mode.name)
def test_what_is_no_answer_of_mlflow_is_unavailable(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, seeded: str, mlflow_client: Any, mode: ChaosMode
) -> None:
    """Also with status 200: a sign-in page, `null`, half a body. The message says from where, and what came."""
    run = make_run(mlflow_client).info.run_id
    chaos.mode = mode

    for read in (
        lambda: behind_chaos.observe_models([seeded]),
        behind_chaos.observe_models,
        lambda: behind_chaos.read_runs([run]),
    ):
        with pytest.raises(TransientError) as caught:
            read()
        assert chaos.url in str(caught.value)
    if mode is ChaosMode.WEB_PAGE:
        assert "a web page in the place of MLflow's JSON: `<!doctype html>" in str(caught.value)
    if mode is ChaosMode.TRUNCATED:
        assert "cut off" in str(caught.value)


@pytest.mark.parametrize("mode", [ChaosMode.EMPTY, ChaosMode.NOTHING], ids=lambda mode: mode.name)
def test_an_empty_object_is_no_model_no_run_and_no_version(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, seeded: str, mlflow_client: Any, mode: ChaosMode
) -> None:
    """What asks for one thing gets it or MLflow's own "does not exist"; `{}` is neither."""
    run = make_run(mlflow_client).info.run_id
    chaos.mode = mode

    for read in (
        lambda: behind_chaos.observe_models([seeded]),
        lambda: behind_chaos.read_aliases(seeded),
        lambda: behind_chaos.read_runs([run]),
        lambda: behind_chaos.check_readiness(seeded, 1),
        lambda: behind_chaos.confirm_absences([Absence(seeded)]),
        lambda: behind_chaos.confirm_absences([Absence(seeded, "champion")]),
        lambda: behind_chaos.confirm_absences([Absence(seeded, version=1)]),
    ):
        with pytest.raises(TransientError, match="an answer cannot be true"):
            read()


@pytest.mark.parametrize("field", ["name", "version", "creation_timestamp", "status", "key", "value", "alias"])
def test_an_object_without_what_every_one_has_is_no_answer(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, seeded: str, field: str
) -> None:
    """A metric or a tag without its value would read as zero or as empty; a version without a status as one that failed."""
    chaos.mode, chaos.fields = ChaosMode.STRIPPED, (field,)

    with pytest.raises(TransientError, match=f"without `{field}`"):
        behind_chaos.observe_models([seeded])


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        (("model_versions",), ("model-versions/search",)),
        (("registered_models",), ("registered-models/search",)),
        (("model_versions", "aliases"), ("model-versions/search", "registered-models/search")),
    ],
    ids=["versions", "models", "versions-and-aliases"],
)
def test_a_list_that_contradicts_another_one_is_doubted(
    chaos: ChaosProxy,
    behind_chaos: MlflowRegistry,
    seeded: str,
    fields: tuple[str, ...],
    paths: tuple[str, ...],
) -> None:
    """Models name their latest versions, and versions their models: one that lost its rows is found out at the first look."""
    chaos.mode, chaos.fields, chaos.only = ChaosMode.STRIPPED, fields, paths

    found = _list_names_or_doubt(behind_chaos)

    assert seeded in found or "cannot be true" in found[0]  # few enough are read one by one instead


def _list_names_or_doubt(registry: MlflowRegistry) -> list[str]:
    try:
        return list(registry.observe_models())
    except TransientError as error:
        return [str(error)]


def test_what_vanished_is_confirmed_by_name_and_what_is_there_contradicts(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, seeded: str, mlflow_client: Any
) -> None:
    """An alias, a version, a tag, a model: what is gone for real is gone; what an answer lost is there when asked for."""
    make_version(mlflow_client, f"{seeded}-gone", mlmodel=None)
    mlflow_client.delete_registered_model(f"{seeded}-gone")
    behind_chaos.confirm_absences(
        [
            Absence(f"{seeded}-gone"),
            Absence(f"{seeded}-gone", "champion"),
            Absence(seeded, "challenger"),
            Absence(seeded, "champion", 2),
            Absence(seeded, version=2),
            Absence(seeded, version=1, tag="waived_by", value="bob"),
        ]
    )
    chaos.mode, chaos.fields = ChaosMode.STRIPPED, ("aliases", "tags")

    for lost, words in (
        (Absence(seeded), f"model {seeded} was missing"),
        (Absence(seeded, "champion"), f"alias {seeded}@champion was missing"),
        (Absence(seeded, "champion", 1), "at version 1 was missing"),
        (Absence(seeded, version=1), "version 1 of model"),
        (Absence(seeded, version=1, tag="approved_by", value="risk"), "tag approved_by of version 1"),
    ):
        with pytest.raises(TransientError, match=words):
            behind_chaos.confirm_absences([lost])


def test_a_run_that_loses_its_metrics_is_no_answer(chaos: ChaosProxy, behind_chaos: MlflowRegistry, mlflow_client: Any) -> None:
    """MLflow never forgets a metric; a run that answers `{}` is read another way, or is left out where others can be read."""
    runs = [make_run(mlflow_client, {"auc": number / 10}).info.run_id for number in (1, 2)]
    assert behind_chaos.read_runs(runs)[runs[0]].metrics == {"auc": 0.1}

    chaos.mode, chaos.fields, chaos.only = ChaosMode.STRIPPED, ("metrics",), ("runs/get", "runs/search")
    with pytest.raises(TransientError, match="without what it had logged, such as auc"):
        behind_chaos.read_runs(runs)

    chaos.mode, chaos.only = ChaosMode.EMPTY, ("runs/get",)
    assert behind_chaos.read_runs(runs)[runs[1]].metrics == {"auc": 0.2}

    chaos.only = ("runs/get", "runs/search")
    with pytest.raises(TransientError, match="an answer cannot be true"):
        behind_chaos.read_runs(runs)


def test_runs_that_a_search_loses_are_read_by_their_ids(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, mlflow_client: Any
) -> None:
    """A search that answers `{}` is no proof that there are no runs."""
    runs = [make_run(mlflow_client, {"auc": number / 10}).info.run_id for number in range(5)]
    chaos.mode, chaos.only = ChaosMode.EMPTY, ("runs/search",)

    assert set(behind_chaos.read_runs(runs)) == set(runs)


def test_a_server_that_fails_while_an_artifact_is_read_is_unavailable(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No verdict is made, and none recorded, where it is the server that cannot be read; what only one artifact has is one."""
    make_version(mlflow_client, fresh_name)
    fetch = artifacts._download_file

    def fail_from_then_on(*arguments: Any) -> bytes | None:
        chaos.mode = ChaosMode.FAILING
        return fetch(*arguments)

    chaos.mode, chaos.only = ChaosMode.FAILING, ("/mlflow-artifacts/artifacts", "/MLmodel")
    assert behind_chaos.check_readiness(fresh_name, 1).flaw
    chaos.mode, chaos.only = None, ()
    monkeypatch.setattr(artifacts, "_download_file", fail_from_then_on)

    with pytest.raises(TransientError, match="status 500"):
        behind_chaos.check_readiness(fresh_name, 1)


def test_a_copy_that_lost_its_tags_is_not_made_again(chaos: ChaosProxy, mlflow_client: Any, fresh_name: str) -> None:
    """A version's tags say whose copy it is: where an answer lost them, a search for them still finds it."""
    source = SourceVersion("staging", "it's m", ModelVersion(3, datetime(2026, 1, 1, tzinfo=UTC), "a" * 32))
    other = replace(source, version=replace(source.version, number=4))
    number = make_version(mlflow_client, fresh_name, tags=source.copy_tags, mlmodel=None)
    copies = MlflowCopies(chaos.url, {})
    assert copies.copy_version(source, fresh_name) == number
    assert copies._find_ready_copy(other, fresh_name) is None
    chaos.mode, chaos.fields = ChaosMode.STRIPPED, ("tags",)

    with pytest.raises(TransientError, match=f"version {number} of model {fresh_name} was without tags"):
        copies.copy_version(source, fresh_name)


def test_an_empty_registry_is_believed_only_from_mlflow(chaos: ChaosProxy, behind_chaos: MlflowRegistry) -> None:
    """Where nothing is known yet, `{}` could be a registry without models: `promoter init` would write that down."""
    chaos.mode, chaos.fields, chaos.only = ChaosMode.STRIPPED, ("registered_models", "model_versions"), ("/search",)
    assert behind_chaos.observe_models() == {}

    chaos.mode, chaos.only = ChaosMode.EMPTY, ()
    with pytest.raises(TransientError, match="an answer cannot be true"):
        behind_chaos.observe_models()


def test_a_metric_without_its_history_is_no_answer(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """The run has the metric, so that it has at least one value."""
    make_version(mlflow_client, fresh_name, {"auc": 0.9}, mlmodel=None)
    versions = [EvidenceTarget(fresh_name, behind_chaos.observe_models([fresh_name])[fresh_name].versions[1])]
    chaos.mode, chaos.only = ChaosMode.EMPTY, ("metrics/get-history",)

    with pytest.raises(TransientError, match="no history of metric auc"):
        behind_chaos.read_metric_series(versions, [MetricRef("auc")])


def test_a_file_that_a_list_lost_is_no_missing_file(
    chaos: ChaosProxy, behind_chaos: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """An empty list of files looks like `{}`; and a gateway's page is no `MLmodel`. Neither is certain, neither is kept."""
    make_version(mlflow_client, fresh_name)
    chaos.mode, chaos.only = ChaosMode.EMPTY, ("/mlflow-artifacts/artifacts",)

    lost = behind_chaos.check_readiness(fresh_name, 1)
    chaos.mode, chaos.only = ChaosMode.WEB_PAGE, ("/MLmodel",)
    replaced = behind_chaos.check_readiness(fresh_name, 1)
    chaos.mode = None

    assert (lost.certain, replaced.certain) == (False, False)
    assert "yet it can be fetched" in str(lost.flaw)
    assert "where its list says" in str(replaced.flaw)
    assert behind_chaos.check_readiness(fresh_name, 1).flaw is None


def test_first_reads_from_many_threads_find_a_client(mlflow_server: SharedMlflow, seeded: str) -> None:
    """MLflow fills its table of stores on first use, without a lock: here that is done before any thread reads."""
    barrier = threading.Barrier(8)

    def read(registry: MlflowRegistry) -> bool:
        barrier.wait()
        return registry.read_aliases(seeded) == {"champion": 1}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, [MlflowRegistry(f"{mlflow_server.uri}/") for _ in range(8)]))


def test_the_registry_may_be_another_server_than_the_tracking_server(
    chaos: ChaosProxy, mlflow_server: SharedMlflow, seeded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_REGISTRY_URI is obeyed, and named with its address in whatever goes wrong there; runs are read where they are."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", chaos.url)
    registry = MlflowRegistry(mlflow_server.uri)
    run = registry.observe_models([seeded])[seeded].versions[1].run_id or ""
    assert registry.read_server().address == chaos.url, "a ledger is bound to the server that has the models"
    chaos.mode = ChaosMode.EMPTY

    with pytest.raises(TransientError, match=rf"{chaos.url} \(MLFLOW_REGISTRY_URI\)"):
        registry.observe_models([seeded])
    with pytest.raises(TransientError, match=rf"{chaos.url} \(MLFLOW_REGISTRY_URI\)"):
        registry.read_server()
    assert run in registry.read_runs([run])
    assert seeded in MlflowRegistry(mlflow_server.uri, elsewhere=True).observe_models([seeded])
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "https://")
    with pytest.raises(PermanentError, match=r"registry URI names no server.*set MLFLOW_REGISTRY_URI"):
        MlflowRegistry(mlflow_server.uri).read_aliases(seeded)


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc", "databricks://profile"])
def test_a_databricks_address_is_shown_as_it_is(uri: str) -> None:
    """It is no local store; a folder is."""
    assert redact_server_address(uri) == uri
    assert redact_server_address("./mlruns") == redact_server_address("file:///tmp/x") == "the local store"
