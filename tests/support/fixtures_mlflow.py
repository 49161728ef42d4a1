"""A real MLflow server for each test process, and the adapters on it. Tests share it: each uses model names of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.webhooks import MlflowWebhooks
from promoter.demo.servers.mlflow import MlflowServer


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for the whole session; stopped also when tests fail."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_client(mlflow_server: MlflowServer) -> Any:
    """MLflow's own client, to seed and to check with."""
    return create_mlflow_client(mlflow_server.uri)


@pytest.fixture(scope="session")
def staging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A second server, for those tests that need two; started for the first of them."""
    with MlflowServer(tmp_path_factory.mktemp("staging")) as server:
        yield server


@pytest.fixture(scope="session")
def staging_client(staging_server: MlflowServer) -> Any:
    """MLflow's own client for the second server."""
    return create_mlflow_client(staging_server.uri, elsewhere=True)


@pytest.fixture
def ambient_mlflow(mlflow_server: MlflowServer) -> Iterator[None]:
    """MLflow's own functions, which ask the server that the process is set to, ask the shared one: until the test ends."""
    import mlflow

    mlflow.set_tracking_uri(mlflow_server.uri)
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture
def registry(mlflow_server: MlflowServer) -> MlflowRegistry:
    """The adapter under test."""
    return MlflowRegistry(mlflow_server.uri)


@pytest.fixture
def mlflow_webhooks(mlflow_server: MlflowServer) -> Iterator[MlflowWebhooks]:
    """The webhooks of the shared server; Promoter's is removed again."""
    webhooks = MlflowWebhooks(mlflow_server.uri)
    yield webhooks
    webhooks.remove_webhooks()


@pytest.fixture
def fresh_name() -> str:
    """A model name that no other test uses."""
    return f"model-{uuid.uuid4().hex[:12]}"
