"""Notifications of real programs: killed between sending and recording, and a daemon that tells of what it does."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest
from jsonschema import Draft202012Validator

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordKind
from tests.support.http_receiver import Server, plain, serving
from tests.support.stage.stage import Daemon, Stage, until
from tests.support.stage.warm import Warm

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "event.schema.json").read_text())
FLOOR = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
MOVE = NewAuditRecord(
    datetime(2026, 11, 23, tzinfo=UTC), RecordKind.OBSERVED, "fraud", "champion", 1, 2, reason="moved outside Promoter"
)


def channels(server: Server, *events: str) -> str:
    """PROMOTER_NOTIFICATIONS for one channel."""
    secret = {"secret": "hunter2", "networks": ["127.0.0.1/32"]}
    return json.dumps([{"name": "ci", "url": server.url, "events": events, **secret}])


def notifier(warm: Warm, folder: Path, url: str, server: Server, *words: str) -> int:
    """Run one round in a process of its own; its exit code."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PROMOTER_", "MLFLOW_"))}
    environment |= {"PROMOTER_DATABASE_URL": url, "PROMOTER_NOTIFICATIONS": channels(server, "changed")}
    return warm.run("tests.support.kills.killed_notifier", words, folder, environment).returncode


@pytest.mark.slow_except("sqlite-before")
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_record_of_what_was_sent(
    ledger: SqlLedger, database_url: str, tmp_path: Path, warm: Warm, when: str
) -> None:
    """What was sent and not recorded is sent again with the same id; nothing is left out."""
    ledger.outbox.start_channel("ci", MOVE.at)
    ledger.record_observed_moves([MOVE] * 3)
    with serving() as server:
        assert notifier(warm, tmp_path, database_url, server, when) == -signal.SIGKILL
        assert len(server.came) == 1
        assert notifier(warm, tmp_path, database_url, server) == 0
        assert notifier(warm, tmp_path, database_url, server) == 0
        told = Counter(each.headers["webhook-id"] for each in server.came)
    first, *rest = sorted(told)
    assert (told[first], [told[each] for each in rest]) == (2 if when == "before" else 1, [1, 1])
    assert [each.state.value for each in ledger.outbox.read_delivery_attempts("ci", 1)] == ["delivered"] * 3


def told(server: Server) -> list[tuple[str, str, int]]:
    """Type, subject and version of what came, once each: in the order of the ledger, and by type where one entry gave two."""
    events = {each.headers["webhook-id"]: json.loads(each.body) for each in server.came}
    ordered = sorted(events.values(), key=lambda event: (str(event["sequence"]), str(event["type"])))
    return [
        (each["type"].rpartition(".")[2], each["subject"], each["data"].get("to", each["data"].get("version")))
        for each in ordered
    ]


def until_told(server: Server, expected: tuple[tuple[str, str, int], ...], daemon: Daemon) -> None:
    """Wait until exactly these events have come."""
    until(lambda: tuple(told(server)) == expected, f"{expected} arrive", told=daemon.log)


def figures(daemon: Daemon) -> list[str]:
    """What /metrics says of notifications."""
    with urlopen(f"{daemon.url}/metrics", timeout=10) as answer:
        return [line for line in answer.read().decode().splitlines() if line.startswith("promoter_notifications{")]


@pytest.mark.slow
def test_a_daemon_tells_of_what_it_does(stage: Stage, fresh_name: str) -> None:
    """At once; what cannot be delivered waits through a stop, and arrives after the next start."""
    for auc in (0.8, 0.9):
        stage.version(fresh_name, auc)
    stage.commit(f"{fresh_name}: {{aliases: {{champion: 1}}}}")
    name = f"{fresh_name}@champion"
    with serving() as server:
        settings = {"PROMOTER_NOTIFICATIONS": channels(server), "PROMOTER_URL": "https://promoter.example.org"}
        daemon = stage.daemon(**settings)
        stage.until_at(fresh_name, {"champion": 1}, daemon.log)
        until(lambda: told(server) == [("changed", name, 1)], "the first event arrives", told=daemon.log)
        assert json.loads(server.came[0].body)["source"] == "https://promoter.example.org"
        server.say(plain(503))
        stage.by_hand(fresh_name, "champion", 2)
        waiting = 'promoter_notifications{channel="ci",state="waiting"} 3.0'
        until(lambda: waiting in figures(daemon), "three events wait", told=daemon.log)
        assert daemon.stop() == 0
        server.came.clear()
        server.say(plain(204))
        again = stage.daemon(**settings)
        expected = [("changed", name, 2), ("drifted", name, 2), ("changed", name, 1)]
        until(lambda: told(server) == expected, "what waited arrives", told=again.log)
        until(lambda: not [each for each in figures(again) if not each.endswith(" 0.0")], "nothing waits", told=again.log)
        assert again.stop() == 0
        assert "Traceback" not in daemon.log() + again.log()
        assert "hunter2" not in daemon.log() + again.log()


@pytest.mark.slow
def test_events_that_one_can_act_on(stage: Stage, fresh_name: str) -> None:
    """By the published schema, with MLflow's own run and no password; and a return to a higher number is a return."""
    name, uri = f"{fresh_name}@champion", stage.tracking_uri
    for auc in (0.8, 0.9, 0.1):
        stage.version(fresh_name, auc)
    back = [("changed", name, 2), ("rolled-back", name, 2)]
    steps = [(2, [("changed", name, 2)]), (1, [("changed", name, 1)]), (2, back), (3, [("blocked", name, 3)])]
    settings = {"PROMOTER_URL": "https://promoter.example.org", "MLFLOW_TRACKING_URI": uri.replace("//", "//bot:hunter3@")}
    expected: list[tuple[str, str, int]] = []
    with serving() as server:
        daemon = stage.daemon(**settings, PROMOTER_NOTIFICATIONS=channels(server))
        for version, more in steps:
            stage.commit(f"{fresh_name}: {{aliases: {{champion: {{version: {version}, policy: p}}}}}}", p=FLOOR)
            expected += more
            until_told(server, tuple(expected), daemon)
        assert daemon.stop() == 0
    events = {each["type"].rpartition(".")[2]: each for each in (json.loads(came.body) for came in server.came)}
    for each in events.values():
        Draft202012Validator(SCHEMA).validate(each["data"])
        assert each["dataschema"] == SCHEMA["$id"]
    returned, blocked = events["rolled-back"]["data"], events["blocked"]["data"]
    for data, version, before in ((returned, 2, 1), (blocked, 3, 2)):
        run = stage.client.get_model_version(fresh_name, str(version)).run_id
        assert (data["version"], data["previous_version"], data["run_id"]) == (version, before, run)
        assert (data["model_uri"], data["tracking_uri"]) == (f"models:/{fresh_name}/{version}", uri)
        assert data["links"]["run"] == f"{uri}/#/runs/{run}"
    assert b"hunter3" not in b"".join(came.body for came in server.came) + daemon.log().encode()
