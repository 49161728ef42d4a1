"""Models whose requests hang, floods of useless webhooks, and a ledger that is moved away: others are served all the same."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.standard_webhooks import compute_signature
from tests.e2e.conftest import MakeStage
from tests.support.shared_server import SharedMlflow
from tests.support.stage.hanging import HangingProxy
from tests.support.stage.stage import SECRET, Daemon, Stage, until

pytestmark = pytest.mark.slow

LINE = "{model}: {{aliases: {{champion: 1}}}}"


@pytest.fixture
def hanging(mlflow_server: SharedMlflow) -> Iterator[HangingProxy]:
    """A proxy that nothing waits in at the end."""
    with HangingProxy(mlflow_server.uri) as running:
        yield running
        running.release()


def begin(stage: Stage, *models: str, head: str = "safety: {max_changes: 100}\n", **changed: str) -> Daemon:
    """A daemon that has brought `champion` of each model to the first of two versions."""
    for model in models:
        stage.version(model, 0.8)
        stage.version(model, 0.9)
    stage.commit("\n".join(LINE.format(model=model) for model in models), head=head)
    daemon = stage.daemon(**changed)
    for model in models:
        stage.until_at(model, {"champion": 1}, daemon.log)
    daemon.until_ready()
    return daemon


def metrics(daemon: Daemon) -> dict[str, float]:
    """Each sample of /metrics by its name and labels."""
    with urllib.request.urlopen(f"{daemon.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def post(daemon: Daemon, model: str, delivery: str) -> int:
    """Send a signed webhook of MLflow about that model; the status of its answer."""
    body = json.dumps({"entity": "registered_model", "action": "created", "data": {"name": model}}).encode()
    at = str(int(time.time()))
    headers = {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": at,
        "X-MLflow-Signature": compute_signature(SECRET.encode(), delivery, at, body),
    }
    request = Request(f"{daemon.url}/webhooks/mlflow", data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def count_deliveries(stage: Stage) -> int:
    """How many deliveries the chain has."""
    ledger = SqlLedger.open(stage.database, read_only=True)
    try:
        return sum(entry.table == "deliveries" for entry in ledger.iterate_entries())
    finally:
        ledger.close_connections()


def test_ten_hanging_models_hold_up_neither_another_one_nor_the_polls(
    make_stage: MakeStage, hanging: HangingProxy, fresh_name: str
) -> None:
    """Their requests wait without an end while the last one's drift is put back; the page's data and the metrics name them."""
    stage = make_stage("hanging", uri=hanging.url)
    names = [f"{fresh_name}-{number:02d}" for number in range(11)]
    stuck, free = names[:10], names[10]
    daemon = begin(stage, *names, MLFLOW_HTTP_REQUEST_TIMEOUT="60", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    hanging.hang(*stuck)
    for name in stuck:
        stage.by_hand(name, "champion", 2)
    until(lambda: hanging.held >= len(stuck), "every one of the ten waits", told=daemon.told)
    stage.by_hand(free, "champion", 2)
    stage.until_at(free, {"champion": 1}, daemon.told)
    assert hanging.held >= len(stuck), "the ten still wait"

    until(lambda: set(daemon.ask("/readyz")[1]["late"]) == set(stuck), "the ten are named", told=daemon.told)
    status, told = daemon.ask("/readyz")
    assert (status, told["trouble"]) == (200, {}), "surveys still see every model"
    assert daemon.ask(f"/api/v1/models/{stuck[0]}")[1]["model"]["late"]["reason"]
    assert daemon.ask(f"/api/v1/models/{free}")[1]["model"]["late"] is None
    found = metrics(daemon)
    assert found["promoter_late_models"] == len(stuck)
    assert found[f'promoter_late_model_seconds{{model="{stuck[0]}"}}'] > 0
    assert found['promoter_work{kind="models"}'] >= len(stuck)

    hanging.release()
    for name in stuck:
        stage.until_at(name, {"champion": 1}, daemon.told)
    until(lambda: daemon.ask("/readyz")[1]["late"] == {}, "nobody is late any more", told=daemon.told)


def test_models_that_hang_again_and_again_are_asked_few_at_a_time(
    make_stage: MakeStage, hanging: HangingProxy, fresh_name: str
) -> None:
    """Where their requests end with the time limit, the next tries of all of them together take at most four workers."""
    stage = make_stage("hanging", uri=hanging.url)
    names = [f"{fresh_name}-{number:02d}" for number in range(13)]
    daemon = begin(stage, *names, MLFLOW_HTTP_REQUEST_TIMEOUT="4", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    hanging.hang(*names[:12])
    for name in names[:12]:
        stage.by_hand(name, "champion", 2)
    until(lambda: len(daemon.ask("/readyz")[1]["late"]) == 12, "all twelve ended with the time limit", told=daemon.told)
    for version in (2, 2, 2):
        stage.by_hand(names[12], "champion", version)
        stage.until_at(names[12], {"champion": 1}, daemon.told)
    until(lambda: 0 < hanging.held <= 8, "at most four models, two requests each, wait", told=daemon.told)
    hanging.release()
    for name in names:
        stage.until_at(name, {"champion": 1}, daemon.told)


def test_a_daemon_without_a_good_look_is_not_ready(make_stage: MakeStage, hanging: HangingProxy, fresh_name: str) -> None:
    """Its survey hangs and nothing has failed yet: after three intervals /readyz is 503, with the age and the reason."""
    stage = make_stage("stale", uri=hanging.url)
    daemon = begin(stage, fresh_name, MLFLOW_HTTP_REQUEST_TIMEOUT="120", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    hanging.everything = True
    reason = daemon.until_trouble("watching the registry")
    assert "no good look for" in reason
    assert "where 10 s are allowed" in reason
    assert "is not done yet" in reason
    told = daemon.ask("/readyz")[1]
    assert told["looks"]["registry"]["age"] >= 10
    assert told["looks"]["git"]["age"] < 10, "git is polled all the same"
    assert metrics(daemon)['promoter_look_age_seconds{kind="registry"}'] >= 10
    hanging.release()
    daemon.until_ready()


def test_a_flood_of_names_that_nobody_knows_delays_no_drift(make_stage: MakeStage, fresh_name: str) -> None:
    """4,000 signed webhooks, of names that a family matches and of others: none is asked for alone, none stays in the chain."""
    stage = make_stage("flood")
    head = f"families: [{{match: '{fresh_name}-*', aliases: {{champion: {{rotation: off}}}}}}]\n"
    daemon = begin(stage, fresh_name, head=head, PROMOTER_WEBHOOK_RATE="600000/minute")
    before = count_deliveries(stage)
    kinds = (f"{fresh_name}-ghost-", "nobody-")
    with ThreadPoolExecutor(16) as pool:
        sent = [pool.submit(post, daemon, f"{kinds[number % 2]}{number}", f"d-{number}") for number in range(4_000)]
        until(lambda: sum(each.done() for each in sent) > 200, "the flood runs", told=daemon.log)
        stage.by_hand(fresh_name, "champion", 2)
        stage.until_at(fresh_name, {"champion": 1}, daemon.told)
        during = sum(not each.done() for each in sent)
        statuses = {each.result() for each in sent}
    assert during > 0, "the drift was put back while the flood went on"
    assert statuses == {202, 200}
    assert post(daemon, f"{fresh_name}-ghost-0", "d-0") == 200, "a duplicate"
    assert "model:" not in "".join(line for line in daemon.log().splitlines() if "ghost" in line and "looking again" in line)
    assert count_deliveries(stage) - before <= 3
    assert daemon.ask("/readyz")[0] == 200
    stage.version(f"{fresh_name}-new", 0.8)
    assert post(daemon, f"{fresh_name}-new", "d-new") == 202
    until(lambda: daemon.ask(f"/api/v1/models/{fresh_name}-new")[0] == 200, "a new model is found", told=daemon.told)


def test_a_delivery_that_moves_an_alias_is_kept(make_stage: MakeStage, fresh_name: str) -> None:
    """The chain has it in front of the first entry that names it as its trigger; the chain verifies."""
    stage = make_stage("kept")
    daemon = begin(stage, fresh_name, PROMOTER_POLL_INTERVAL="1h")
    stage.by_hand(fresh_name, "champion", 2)
    assert post(daemon, fresh_name, "d-1") == 202
    stage.until_at(fresh_name, {"champion": 1}, daemon.told)
    assert post(daemon, fresh_name, "d-1") == 200
    assert post(daemon, fresh_name, "d-2") == 202
    ledger = SqlLedger.open(stage.database, read_only=True)
    try:
        entries = [(entry.table, json.loads(entry.body)) for entry in ledger.iterate_entries()]
    finally:
        ledger.close_connections()
    kept = [number for number, (table, body) in enumerate(entries) if table == "deliveries"]
    assert [entries[number][1]["delivery"] for number in kept] == ["d-1"]
    assert entries[kept[0] + 1][1]["trigger"] == "webhook:mlflow:d-1"
    triggers = [record.fact.trigger for record in stage.records(fresh_name) if record.fact.outcome]
    assert triggers[-1] == "webhook:mlflow:d-1"


def test_an_idle_daemon_notices_that_its_ledger_is_gone(make_stage: MakeStage, fresh_name: str) -> None:
    """Nothing is to be written: the next poll finds it all the same; and when the file is back, the daemon is ready again."""
    stage = make_stage("moved")
    daemon = begin(stage, fresh_name)
    file = Path(stage.folder / "promoter.db")
    file.rename(file.with_suffix(".away"))
    assert "was moved or replaced while in use" in daemon.until_trouble("ledger")
    file.with_suffix(".away").rename(file)
    daemon.until_ready()
