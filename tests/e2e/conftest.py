"""Fixtures of the end-to-end tests. Servers and daemons are ended by process id, also when a test fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from promoter.demo.servers.git import GitHttpServer
from promoter.demo.servers.mlflow import MlflowServer
from tests.support.forges.under_test import KINDS, hosted
from tests.support.stage.hosted_stage import HostedStage
from tests.support.stage.proxy import Proxy
from tests.support.stage.stage import Stage
from tests.support.stage.warm import Warm

MakeStage = Callable[..., Stage]


@pytest.fixture
def passing_client(mlflow_client: Any) -> Iterator[Any]:
    """MLflow's own client; the models of the test go with it, since each daemon of a later one would list them every second."""
    before = _models(mlflow_client)
    yield mlflow_client
    for name in _models(mlflow_client) - before:
        mlflow_client.delete_registered_model(name)


def _models(client: Any) -> set[str]:
    return {model.name for model in client.search_registered_models(max_results=1_000)}


@pytest.fixture
def make_stage(mlflow_server: MlflowServer, passing_client: Any, warm: Warm, tmp_path: Path) -> Iterator[MakeStage]:
    """Makes stages on the shared MLflow server (or on `client` and `uri`); ends all that was started on them."""
    with contextlib.ExitStack() as stack:

        def make(name: str = "stage", client: Any = None, uri: str | None = None) -> Stage:
            folder = tmp_path / name
            folder.mkdir()
            remote = stack.enter_context(GitHttpServer(folder / "remote"))
            stage = Stage(folder, remote, client or passing_client, uri or mlflow_server.uri, warm)
            stack.callback(lambda: [daemon.kill() for daemon in stage.daemons])
            return stage

        yield make


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A stage straight on the shared MLflow server."""
    return make_stage()


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[Proxy]:
    """A proxy in front of the shared MLflow server."""
    with Proxy(mlflow_server.uri) as running:
        yield running


@pytest.fixture
def behind(make_stage: MakeStage, proxy: Proxy) -> Stage:
    """A stage whose Promoters reach MLflow through the proxy."""
    return make_stage("behind", uri=proxy.url)


@pytest.fixture(params=KINDS)
def hosted_stage(
    request: pytest.FixtureRequest, mlflow_server: MlflowServer, passing_client: Any, warm: Warm, tmp_path: Path
) -> Iterator[HostedStage]:
    """A stage on a hosted forge, of each kind in turn."""
    with hosted(request.param, tmp_path) as scene:
        stage = HostedStage(tmp_path, scene, passing_client, mlflow_server.uri, warm)
        yield stage
        for daemon in stage.daemons:
            daemon.kill()
