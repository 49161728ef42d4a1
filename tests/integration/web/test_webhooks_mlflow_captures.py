"""Signatures: what a real MLflow server signed is accepted as it came, within its window, and not otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.datastructures import Headers

from promoter.domain.standard_webhooks import InvalidSignature
from promoter.web.webhooks import github, mlflow
from tests.support.fixtures.web import ReadLines
from tests.support.web_site import GITHUB_SECRET, MLFLOW_SECRET, WebSite
from tests.support.webhook_signing import PUSH, github_headers, stand, variants

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CAPTURES = sorted(Path(__file__).parent.joinpath("mlflow_webhooks").glob("*.json"))


def read(capture: Path) -> tuple[dict[str, str], bytes, datetime]:
    """Headers and body as they came, and the time of the timestamp."""
    recorded = json.loads(capture.read_text())
    stamp = int(recorded["headers"]["X-MLflow-Timestamp"])
    return recorded["headers"], recorded["raw_body"].encode(), datetime.fromtimestamp(stamp, UTC)


def test_the_captures_are_there() -> None:
    """An empty folder would let every test below pass."""
    assert len(CAPTURES) == 15


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_capture_is_accepted_within_its_window_only(web_site: WebSite, capture: Path) -> None:
    """At 300 seconds it is still in, at 301 it is out, in both directions, and a refusal spends no delivery id."""
    stand(web_site)
    headers, body, stamped = read(capture)
    for seconds in (301, -301):
        web_site.clock.time = stamped + timedelta(seconds=seconds)
        assert web_site.post("/webhooks/mlflow", body, headers).status == 401
    assert not web_site.puts
    name = json.loads(body)["data"]["name"]
    ours = name == "fraud"
    web_site.clock.time = stamped + timedelta(seconds=300)
    assert web_site.post("/webhooks/mlflow", body, headers).status == (202 if ours else 200)
    web_site.clock.time = stamped - timedelta(seconds=300)
    again = web_site.post("/webhooks/mlflow", body, headers)
    assert (again.status, again.json["result"]) == (200, "duplicate" if ours else "not for us")
    assert web_site.puts == ([("model:fraud", f"webhook:mlflow:{headers['X-MLflow-Delivery-Id']}")] if ours else [])


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_capture_with_one_byte_changed_anywhere_is_refused(capture: Path) -> None:
    """In the body, in the id, in the timestamp or in the signature, while all else is as it came."""
    headers, body, stamped = read(capture)

    def accepted(headers: Mapping[str, str], body: bytes) -> bool:
        try:
            mlflow.verify_signature(Headers(headers), body, MLFLOW_SECRET, stamped)
        except InvalidSignature:
            return False
        return True

    assert accepted(headers, body)
    assert not any(accepted(headers, other) for other in variants(body))
    for name in ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"):
        for other in variants(headers[name].encode()):
            assert not accepted({**headers, name: other.decode("latin-1")}, body), (name, other)


def test_changed_captures_are_refused_over_http(web_site: WebSite, log_lines: ReadLines) -> None:
    """One byte of each part, and each header left out: 401, no look, and nothing of what was sent in the log."""
    headers, body, stamped = read(CAPTURES[6])
    web_site.clock.time = stamped
    changed: list[tuple[dict[str, str], bytes]] = [(headers, body.replace(b'"1"', b'"2"')), (headers, body + b"\n")]
    for name in ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"):
        last = headers[name][-2]
        changed.append(({**headers, name: headers[name][:-2] + ("0" if last != "0" else "1") + headers[name][-1]}, body))
        changed.append(({key: value for key, value in headers.items() if key != name}, body))
    for sent, content in changed:
        assert web_site.post("/webhooks/mlflow", content, sent).status == 401
    lines = log_lines()
    assert [line["status"] for line in lines] == [401] * len(changed)
    assert not web_site.puts
    for secret in (MLFLOW_SECRET, headers["X-MLflow-Signature"][3:20], "champion"):
        assert secret not in json.dumps(lines)


def test_github_signatures_cover_every_byte() -> None:
    """Of the body, and of the signature itself."""
    body = json.dumps(PUSH).encode()
    headers = github_headers(body)
    assert github.verify_signature(Headers(headers), body, GITHUB_SECRET, NOW) == "g-1"
    changed = [(headers, other) for other in variants(body)]
    name = "X-Hub-Signature-256"
    changed += [({**headers, name: other.decode("latin-1")}, body) for other in variants(headers[name].encode())]
    for sent, content in changed:
        with pytest.raises(InvalidSignature):
            github.verify_signature(Headers(sent), content, GITHUB_SECRET, NOW)
