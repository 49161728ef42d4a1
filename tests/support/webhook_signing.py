"""Signs webhooks the way their senders do, and sends them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from tests.support.web_site import GITHUB_SECRET, MINIMAL, MLFLOW_SECRET, NOW, WebAnswer, WebSite

CHAMPION = {"name": "fraud", "alias": "champion", "version": "2"}
ALIAS_SET = {"entity": "model_version_alias", "action": "created", "data": CHAMPION}
PUSH = {"ref": "refs/heads/main", "before": "0" * 40, "after": "1" * 40, "created": False, "deleted": False, "forced": False}


def mlflow_headers(body: bytes, delivery: str = "d-1", at: datetime = NOW, secret: str = MLFLOW_SECRET) -> dict[str, str]:
    """What MLflow sends with the body."""
    stamp = str(int(at.timestamp()))
    made = hmac.new(secret.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(made).decode()
    return {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": stamp, "X-MLflow-Signature": signature}


def github_headers(body: bytes, event: str = "push", delivery: str = "g-1", secret: str = GITHUB_SECRET) -> dict[str, str]:
    """What GitHub sends with the body."""
    made = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": made}


def send_mlflow(web_site: WebSite, told: Any = ALIAS_SET, delivery: str = "d-1") -> WebAnswer:
    """A delivery that is signed now."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return web_site.post("/webhooks/mlflow", body, mlflow_headers(body, delivery, web_site.clock.now()))


def send_github(web_site: WebSite, told: Any, event: str = "push", delivery: str = "g-1") -> WebAnswer:
    """A delivery that is signed."""
    body = json.dumps(told).encode()
    return web_site.post("/webhooks/github", body, github_headers(body, event, delivery))


def stand(web_site: WebSite) -> WebSite:
    """With a revision in force that lists `fraud`, and nothing else."""
    web_site.registry.add("fraud", 2, champion=1)
    web_site.repository.push(MINIMAL)
    web_site.look()
    web_site.puts.clear()
    return web_site


def variants(text: bytes) -> list[bytes]:
    """The text with one byte changed, at every position; with one left out; with one more."""
    changed = [text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :] for at in range(len(text)) for bit in (1, 0x80)]
    return [*changed, *(text[:at] + text[at + 1 :] for at in range(len(text))), text + b" ", b""]
