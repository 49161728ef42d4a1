"""The child process that the demo and the tests run MLflow in."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.webhooks import MlflowWebhooks
from promoter.demo.servers.mlflow import MlflowServer
from promoter.domain.errors import PermanentError, TransientError
from tests.support.stage.seeding import register

pytestmark = pytest.mark.slow


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same port; and with another webhook key, what fails is named: the webhooks, and why."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with MlflowServer(tmp_path) as server:
        registry, webhooks = MlflowRegistry(server.uri), MlflowWebhooks(server.uri)
        register(create_mlflow_client(server.uri), "kept")
        webhooks.install_webhook("http://127.0.0.1:9/webhooks/mlflow", "secret")

        server.kill()
        assert not server.is_running
        with pytest.raises(TransientError):
            registry.read_aliases("kept")

        (tmp_path / "webhook.key").unlink()
        server.start()
        assert set(registry.observe_models()) == {"kept"}
        with pytest.raises(PermanentError, match="MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"):
            webhooks.list_webhooks()
    assert not server.is_running


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of its log is in the error."""
    (tmp_path / "mlflow.db").write_text("this is no database")

    with pytest.raises(RuntimeError, match="file is not a database"):
        MlflowServer(tmp_path).start()
