"""The settings of notifications: from the file or as JSON, every fault at once, no secret repeated."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from promoter.domain.errors import Faults
from promoter.settings import load_settings


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMOTER_CONFIG", "settings.yaml")
    (tmp_path / "settings.yaml").touch()
    for name in ("NOTIFICATIONS", "NOTIFICATIONS_PATIENCE"):
        monkeypatch.delenv(f"PROMOTER_{name}", raising=False)


def test_none_unless_they_are_named() -> None:
    """An event is tried for a day."""
    assert (load_settings().notifications, load_settings().notifications_patience) == ([], 86_400.0)


def test_channels_from_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret stands there, or in a file of its own; the environment goes before it."""
    Path("key").write_text("hunter2\n")
    Path("settings.yaml").write_text(
        "notifications:\n"
        "  - {name: serving, url: 'https://serve.example.org/events', secret_file: key, networks: [10.0.0.0/8, '::1/128']}\n"
        "  - {name: team, apprise: 'slack://hunter2', events: [blocked, rolled-back]}\n"
        "notifications_patience: 2h\n"
    )
    serving, team = load_settings().notifications
    assert (serving.name, serving.url, serving.signing_secret.get_secret_value()) == (
        "serving",
        "https://serve.example.org/events",
        "hunter2",
    )
    assert (serving.networks, serving.events) == ([ip_network("10.0.0.0/8"), ip_network("::1/128")], [])
    assert (team.url, team.events, load_settings().notifications_patience) == (None, ["blocked", "rolled-back"], 7200.0)
    assert team.apprise
    assert "hunter2" not in repr(load_settings()) + str(load_settings())
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", json.dumps([{"name": "x", "url": "http://x/", "secret": "hunter2"}]))
    (only,) = load_settings().notifications
    assert (only.name, only.signing_secret.get_secret_value()) == ("x", "hunter2")
    assert "hunter2" not in repr(load_settings())


URL = {"name": "x", "url": "http://x/", "secret": "hunter2"}


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([{**URL, "name": "Big Name"}], "channel 1, `name` must be a name of small letters"),
        ([{**URL, "url": "ftp://x/"}], "channel 1, `url` must be an address such as https://example.com/events"),
        ([{**URL, "url": "http://"}], "channel 1, `url` must be an address"),
        ([{**URL, "url": "http://x:70000/"}], "channel 1, `url` must be an address"),
        ([{**URL, "url": "http://me:hunter2@x/"}], "channel 1, `url` must be an address without a user or a password"),
        ([{**URL, "networks": ["10.0.0.1/8"]}], "channel 1, `networks` 1 must be a network such as 10.0.0.0/8"),
        ([{**URL, "networks": ["10.0.0.0/8", "hunter2"]}], "channel 1, `networks` 2 must be a network"),
        (
            [{**URL, "events": ["moved"]}],
            "channel 1, `events` 1 must be 'changed', 'drifted', 'rolled-back', 'replaced', ",
        ),
        ([{**URL, "hunter": 2}], "channel 1, `hunter`: there is no such setting"),
        ([{"name": "x"}], "channel 1 must be either `url` or `apprise`"),
        ([{**URL, "apprise": "slack://x"}], "either `url` or `apprise`"),
        ([{"name": "x", "url": "http://x/"}], "with `url` either `secret` or `secret_file`"),
        ([{**URL, "secret_file": "key"}], "with `url` either `secret` or `secret_file`"),
        ([{"name": "x", "url": "http://x/", "secret_file": "key"}], "a `secret_file` that can be read: No such file"),
        ([{**URL, "secret": ""}], "a secret that is not empty"),
        ([{**URL, "secret": "whsec_"}], "a secret that is not empty"),
        ([{**URL, "secret": "whsec_hunter2!"}], "a secret that is text, in base64 if it begins with whsec_"),
        ([{"name": "x", "apprise": "slack://x", "secret": "hunter2"}], "without `secret`, `secret_file` and `networks`"),
        ([URL, URL], "a list in which each name stands once (x)"),
        ([{**URL, "url": {"hunter2": 1}}], "channel 1, `url` must be a valid string"),
        ({"x": 1}, "PROMOTER_NOTIFICATIONS must be a valid list"),
    ],
)
def test_what_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, channels: object, said: str) -> None:
    """Where it stands, and what it must be; never what stands there."""
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", json.dumps(channels))
    with pytest.raises(Faults) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_every_fault_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every channel, and of the other settings."""
    given = [{**URL, "url": "x", "networks": ["x"]}, {**URL, "name": "y", "typo": 1}]
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", json.dumps(given))
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS_PATIENCE", "for ever")
    with pytest.raises(Faults) as caught:
        load_settings()
    assert len(caught.value.faults) == 4
    assert "PROMOTER_NOTIFICATIONS_PATIENCE must be a duration" in str(caught.value)


def test_what_is_no_json_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the variable, not of the file."""
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", "[hunter2")
    with pytest.raises(Faults, match="PROMOTER_NOTIFICATIONS must be JSON") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
