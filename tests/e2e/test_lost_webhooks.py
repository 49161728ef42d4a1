"""Webhooks only say when to look: with every one dropped, the same comes out as with all of them delivered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from promoter.adapters.mlflow.webhooks import MlflowWebhooks
from promoter.demo.servers.git import PushNotification
from tests.e2e.conftest import MakeStage
from tests.support.fixtures.git import Colleague
from tests.support.stage.stage import SECRET, Daemon, Move, Stage, assert_one_outcome_each, assert_unbroken

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion, by: 0.005}
  - {tag: approved_by, one_of: [risk]}
"""
REGISTRY = """version: 1
models:
  {model}:
    aliases:
      champion: {{version: {champion}, policy: champion, rotation: commit}}
      shadow: {shadow}
"""


@dataclass(frozen=True)
class FinalState:
    """What a scenario leaves behind."""

    aliases: dict[str, int]
    stated: str
    champion: list[Move]
    shadow: list[Move]


def play(stage: Stage, daemon: Daemon, model: str) -> FinalState:
    """Register, approve, commit, drift: each step once the one before it shows in the registry."""

    def reaches(**aliases: int) -> None:
        stage.until_at(model, dict(aliases), daemon.log)

    colleague = Colleague(stage.remote, stage.folder / "bob", "any")
    first = {
        "registry.yaml": REGISTRY.format(model=model, champion=1, shadow=1).encode(),
        "policies/champion.yaml": POLICY,
    }
    stage.version(model, 0.80, approved_by="risk")
    colleague.push(first)
    reaches(champion=1, shadow=1)
    second = stage.version(model, 0.90)
    stage.client.set_model_version_tag(model, str(second), "approved_by", "risk")
    reaches(champion=2, shadow=1)
    colleague.push({"registry.yaml": REGISTRY.format(model=model, champion=2, shadow=2).encode()})
    reaches(champion=2, shadow=2)
    stage.by_hand(model, "champion", 1)
    reaches(champion=2, shadow=2)
    stage.by_hand(model, "shadow", None)
    reaches(champion=2, shadow=2)
    stage.version(model, 0.903, approved_by="risk")
    stage.version(model, 0.95, approved_by="somebody")
    stage.version(model, 0.92, approved_by="risk")
    reaches(champion=5, shadow=2)
    assert_one_outcome_each(stage.records(model))
    champion, shadow = stage.moves(model, "champion"), stage.moves(model, "shadow")
    assert_unbroken(champion)
    assert_unbroken(shadow)
    return FinalState(stage.aliases(model), stage.stated().replace(model, "MODEL"), champion, shadow)


@pytest.mark.slow
def test_all_delivered_and_all_dropped(make_stage: MakeStage, mlflow_webhooks: MlflowWebhooks, fresh_name: str) -> None:
    """Delivered and hardly polling, or dropped and polling: the same aliases, the same file, the same moves in the ledger."""
    delivered, dropped = (make_stage(name) for name in ("delivered", "dropped"))
    for stage in (delivered, dropped):
        stage.remote.commit_files({"registry.yaml": b"version: 1\nmodels: {}\n"})
    told = delivered.daemon(PROMOTER_POLL_INTERVAL="1h")
    mlflow_webhooks.install_webhook(f"{told.url}/webhooks/mlflow", SECRET)
    time.sleep(1.1)  # MLflow remembers for a second, as the test server is set, that there was no webhook
    delivered.remote.notify = PushNotification(f"{told.url}/webhooks/github", SECRET)
    polling = dropped.daemon(PROMOTER_MLFLOW_WEBHOOK_SECRET="", PROMOTER_GITHUB_WEBHOOK_SECRET="")
    told.until_ready()

    with ThreadPoolExecutor(2) as pool:
        with_webhooks = pool.submit(play, delivered, told, f"{fresh_name}-told")
        without = pool.submit(play, dropped, polling, f"{fresh_name}-polled")
        ending = with_webhooks.result()
        assert without.result() == ending

    assert ending.aliases == {"champion": 5, "shadow": 2}
    assert ending.champion == [(None, 1), (1, 2), (2, 1), (1, 2), (2, 5)]
    assert ending.shadow == [(None, 1), (1, 2), (2, None), (None, 2)]
    triggers = {each.fact.trigger for each in delivered.records(f"{fresh_name}-told") if each.fact.trigger}
    sources = {trigger.rpartition(":")[0] or trigger for trigger in triggers}
    assert sources <= {"webhook:mlflow", "webhook:github", "git"}, "a poll did what a webhook should have done"
    assert "webhook:github" in sources
    assert {each.fact.trigger for each in dropped.records(f"{fresh_name}-polled")} - {None} <= {"poll", "git"}


def test_forged_stale_and_repeated(stage: Stage, fresh_name: str) -> None:
    """A forged, stale or repeated delivery, and a flood of them, changes nothing but the time of the next look."""
    stage.version(fresh_name, 0.8)
    stage.commit(f"{fresh_name}: {{aliases: {{champion: 1}}}}")
    daemon = stage.daemon(PROMOTER_POLL_INTERVAL="1h")
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    daemon.until_ready()
    body = json.dumps(
        {
            "entity": "model_version_alias",
            "action": "created",
            "timestamp": "2026-11-23T12:00:00+00:00",
            "data": {"name": fresh_name, "alias": "champion", "version": "999"},
        }
    ).encode()

    now = int(time.time())
    assert deliver(daemon, body, "one", now, secret="another secret") == 401
    assert deliver(daemon, body, "one", now - 3600) == 401
    assert deliver(daemon, body + b" ", "one", now, signed=body) == 401
    assert deliver(daemon, b"{not json", "one", now) == 400
    assert deliver(daemon, json.dumps({"entity": 7, "data": []}).encode(), "one", now) == 400
    assert deliver(daemon, b"[" * 100_000, "one", now) == 400
    assert deliver(daemon, b" " * (1024 * 1024 + 1), "one", now) == 413
    assert deliver(daemon, body, "one", now) == 202
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: deliver(daemon, body, "one", now), range(40)))
        fresh = list(pool.map(lambda n: deliver(daemon, body, f"flood-{n}", now), range(200)))
    assert set(again) == {200}
    assert set(fresh) == {202}

    stage.by_hand(fresh_name, "champion", None)
    assert deliver(daemon, body, "two", now) == 202
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, None), (None, 1)]
    assert_one_outcome_each(stage.records(fresh_name))
    assert daemon.until_ready()


def deliver(daemon: Daemon, body: bytes, number: str, at: int, *, secret: str = SECRET, signed: bytes | None = None) -> int:
    """Send a delivery as MLflow does; the status of the answer."""
    told = f"{number}.{at}.".encode() + (body if signed is None else signed)
    signature = base64.b64encode(hmac.new(secret.encode(), told, hashlib.sha256).digest()).decode()
    headers: dict[str, Any] = {
        "Content-Type": "application/json",
        "X-MLflow-Delivery-Id": number,
        "X-MLflow-Timestamp": str(at),
        "X-MLflow-Signature": f"v1,{signature}",
    }
    request = Request(f"{daemon.url}/webhooks/mlflow", data=body, headers=headers, method="POST")
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
