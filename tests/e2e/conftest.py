"""Fixtures of the end-to-end tests. Servers and daemons are ended by process id, also when a test fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from promoter.demo.servers.git import GitHttpServer
from tests.support.forges.under_test import KINDS, hosted
from tests.support.shared_server import SharedMlflow
from tests.support.stage.hosted_stage import HostedStage
from tests.support.stage.proxy import Proxy
from tests.support.stage.stage import Stage
from tests.support.stage.warm import Warm

MakeStage = Callable[..., Stage]


@pytest.fixture
def passing_client(mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow's own client; the models of the test go with it, since each daemon of a later one would list them every second."""
    made: set[str] = set()
    create = mlflow_client.create_registered_model

    def create_registered_model(name: str, *arguments: Any, **named: Any) -> Any:
        made.add(name)
        return create(name, *arguments, **named)

    monkeypatch.setattr(mlflow_client, "create_registered_model", create_registered_model)
    yield mlflow_client
    for model in mlflow_client.search_registered_models(f"name LIKE '{fresh_name}%'"):
        made.add(model.name)  # by a copy, or by a Promoter
    for name in made:
        with contextlib.suppress(MlflowException):  # the test deleted it
            mlflow_client.delete_registered_model(name)


@pytest.fixture
def make_stage(mlflow_server: SharedMlflow, passing_client: Any, warm: Warm, tmp_path: Path) -> Iterator[MakeStage]:
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
def proxy(mlflow_server: SharedMlflow) -> Iterator[Proxy]:
    """A proxy in front of the shared MLflow server."""
    with Proxy(mlflow_server.uri) as running:
        yield running


@pytest.fixture
def behind(make_stage: MakeStage, proxy: Proxy) -> Stage:
    """A stage whose Promoters reach MLflow through the proxy."""
    return make_stage("behind", uri=proxy.url)


@pytest.fixture(params=KINDS)
def hosted_stage(
    request: pytest.FixtureRequest, mlflow_server: SharedMlflow, passing_client: Any, warm: Warm, tmp_path: Path
) -> Iterator[HostedStage]:
    """A stage on a hosted forge, of each kind in turn."""
    with hosted(request.param, tmp_path) as scene:
        stage = HostedStage(tmp_path, scene, passing_client, mlflow_server.uri, warm)
        yield stage
        for daemon in stage.daemons:
            daemon.kill()
