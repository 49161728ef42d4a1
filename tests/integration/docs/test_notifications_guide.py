"""The guide to notifications: its settings load, and its receiver takes what Promoter sends, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from pydantic import SecretStr

from promoter.adapters.notifications.webhook import WebhookChannel
from promoter.demo.servers.mlflow import find_free_port
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.notifications import CHANNEL_EVENT_TYPES, EventBuilder
from promoter.settings import load_settings
from tests.support.stage.stage import until

GUIDE = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text()
_EXAMPLE = re.compile(r"^```\w+\n# (?P<path>[\w.-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {found["path"]: found["text"] for found in _EXAMPLE.finditer(GUIDE)}
SECRET = "hunter2"


def test_its_settings_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, but for the place of the secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROMOTER_NOTIFICATIONS", raising=False)
    Path("secret").write_text("hunter2")
    Path("promoter.yaml").write_text(FILES["promoter.yaml"].replace("/run/secrets/serving", "secret"))
    monkeypatch.setenv("PROMOTER_CONFIG", "promoter.yaml")
    settings = load_settings()
    assert [each.name for each in settings.notifications] == ["serving", "inside", "team"]
    assert settings.notifications_patience == 86_400


def test_its_receiver_takes_what_promoter_sends(tmp_path: Path) -> None:
    """Signed with its secret, now; anything else is turned away."""
    (tmp_path / "receiver.py").write_text(FILES["receiver.py"])
    port = find_free_port()
    url = f"http://127.0.0.1:{port}/events"
    environment = {**os.environ, "PROMOTER_EVENTS_SECRET": SECRET, "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "receiver.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        event = EventBuilder("led").build_test_event("n", datetime.now(UTC))

        def send(secret: str) -> bool:
            channel = WebhookChannel(
                "ci", url, SecretStr(secret), event_types=CHANNEL_EVENT_TYPES, networks=[ip_network("127.0.0.1/32")]
            )
            channel.send_event(event)
            return True

        def there() -> bool:
            try:
                return send(SECRET)
            except ExternalError:
                return False

        until(there, "the receiver answers")
        with pytest.raises(PermanentError, match="status 401"):
            send("another")
        with pytest.raises(HTTPError, match="401"):
            urlopen(Request(url, b"{}", {"Content-Type": "application/json"}, method="POST"), timeout=10)
        with pytest.raises(HTTPError, match="413"):
            urlopen(Request(url, b"a" * 70_000, method="POST"), timeout=10)
    finally:
        process.kill()
        out, _ = process.communicate()
    assert out == "dev.promoter.test test None This is a test. Nothing happened.\n"


def test_it_names_every_event() -> None:
    """And no other."""
    assert set(re.findall(r"`(dev\.promoter\.[a-z-]+\.[a-z-]+)`", GUIDE)) == {each.value for each in CHANNEL_EVENT_TYPES}
