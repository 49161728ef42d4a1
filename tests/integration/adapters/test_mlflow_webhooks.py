"""Webhooks on a real MLflow server, with a real receiver."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from promoter.adapters.mlflow.webhooks import WEBHOOK_EVENTS, InstallOutcome, MlflowWebhooks, WebhookTestResult
from promoter.domain.errors import PermanentError


@dataclass
class HookReceiver:
    """Takes deliveries, and checks who signed them."""

    url: str = ""
    status: int = 202
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def last_signed_with(self, secret: str) -> bool:
        """Whether the last delivery is signed with that secret."""
        headers, body = self.deliveries[-1]
        signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return headers["X-MLflow-Signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    """A receiver on this machine."""
    taken = HookReceiver()

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            canonical = {
                f"X-MLflow-{name}": self.headers[f"X-MLflow-{name}"] for name in ("Delivery-Id", "Timestamp", "Signature")
            }
            taken.deliveries.append((canonical, body))
            self.send_response(taken.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    taken.url = f"http://127.0.0.1:{server.server_port}/webhooks/mlflow"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield taken
    server.shutdown()
    server.server_close()


def test_installing_again_leaves_one_webhook_as_asked(
    mlflow_webhooks: MlflowWebhooks, mlflow_client: Any, receiver: HookReceiver
) -> None:
    """Also where somebody made a second one, changed its events, or switched it off."""
    assert mlflow_webhooks.install_webhook(receiver.url, "one").outcome is InstallOutcome.CREATED
    assert mlflow_webhooks.install_webhook(receiver.url, "one").outcome is InstallOutcome.UNCHANGED
    mlflow_client.create_webhook("promoter", "http://127.0.0.1:9/old", ["model_version.created"], secret="old")
    for webhook in mlflow_webhooks.list_webhooks():
        mlflow_client.update_webhook(webhook.id, events=["model_version.created"], status="DISABLED")

    installed = mlflow_webhooks.install_webhook(receiver.url, "one")

    assert installed.outcome is InstallOutcome.UPDATED
    assert mlflow_webhooks.list_webhooks() == (installed.webhook,)
    assert (installed.webhook.url, installed.webhook.events, installed.webhook.active) == (receiver.url, WEBHOOK_EVENTS, True)


def test_the_secret_is_the_one_of_the_last_install(mlflow_webhooks: MlflowWebhooks, receiver: HookReceiver) -> None:
    """It cannot be read back, so the signature of a test delivery tells."""
    mlflow_webhooks.install_webhook(receiver.url, "one")
    mlflow_webhooks.install_webhook(receiver.url, "two")

    assert mlflow_webhooks.send_test_event() == WebhookTestResult(ok=True, status=202, error=None)
    assert receiver.last_signed_with("two")
    assert not receiver.last_signed_with("one")


def test_a_test_says_what_the_receiver_answers(mlflow_webhooks: MlflowWebhooks, receiver: HookReceiver) -> None:
    """Such as that the secret is wrong."""
    receiver.status = 401
    mlflow_webhooks.install_webhook(receiver.url, "one")
    assert mlflow_webhooks.send_test_event() == WebhookTestResult(ok=False, status=401, error="the receiver answers 401")


def test_others_webhooks_are_listed_and_left_alone(
    mlflow_webhooks: MlflowWebhooks, mlflow_client: Any, receiver: HookReceiver
) -> None:
    """Their addresses are shown without what may be secret; removing removes Promoter's own."""
    theirs = mlflow_client.create_webhook("chat", "http://bob:pw@127.0.0.1:9/x?token=abc", ["model_version.created"])
    try:
        mlflow_webhooks.install_webhook(receiver.url, "one")
        assert [(webhook.name, webhook.url) for webhook in mlflow_webhooks.list_webhooks()] == [
            ("chat", "http://127.0.0.1:9/x"),
            ("promoter", receiver.url),
        ]
        assert mlflow_webhooks.remove_webhooks() == 1
        assert mlflow_webhooks.remove_webhooks() == 0
        assert [webhook.name for webhook in mlflow_webhooks.list_webhooks()] == ["chat"]
    finally:
        mlflow_client.delete_webhook(theirs.webhook_id)


def test_what_cannot_work_is_refused(mlflow_webhooks: MlflowWebhooks) -> None:
    """No secret, an address that MLflow does not call, a test of nothing."""
    with pytest.raises(PermanentError, match="PROMOTER_MLFLOW_WEBHOOK_SECRET"):
        mlflow_webhooks.install_webhook("http://127.0.0.1:9/", "")
    with pytest.raises(PermanentError, match="scheme"):
        mlflow_webhooks.install_webhook("ftp://127.0.0.1/", "one")
    with pytest.raises(PermanentError, match="promoter webhooks install"):
        mlflow_webhooks.send_test_event()
