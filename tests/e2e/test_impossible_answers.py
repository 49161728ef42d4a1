"""A real daemon behind a gateway that answers in MLflow's place: unavailable, nothing recorded, and ready again by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeStage
from tests.support.shared_server import SharedMlflow
from tests.support.stage.chaos_proxy import ChaosMode, ChaosProxy
from tests.support.stage.stage import Daemon, Stage, until

ROWS = "{model}: {{aliases: {{champion: {{version: 1, policy: gate}}}}}}"
POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.5}, {tag: approved_by, present: true}]\n"
LOOKS = 12
"""Requests that get a wrong answer before all is well again: several looks at everything."""


@pytest.fixture
def chaos(mlflow_server: SharedMlflow) -> Iterator[ChaosProxy]:
    """The gateway."""
    with ChaosProxy(mlflow_server.uri) as proxy:
        yield proxy


@pytest.fixture
def settled(make_stage: MakeStage, chaos: ChaosProxy, fresh_name: str) -> tuple[Stage, Daemon]:
    """A daemon that has brought `champion` to version 1, gated, through the gateway."""
    stage = make_stage("behind", uri=chaos.url)
    stage.version(fresh_name, 0.9, approved_by="risk")
    stage.commit(ROWS.format(model=fresh_name), gate=POLICY)
    daemon = stage.daemon(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    daemon.until_ready()
    return stage, daemon


def go_through(chaos: ChaosProxy, daemon: Daemon, mode: ChaosMode, fields: tuple[str, ...] = ()) -> str:
    """Answer wrongly for some looks, then well again until the daemon is ready; what `/readyz` said meanwhile."""
    chaos.hits, chaos.fields, chaos.mode = 0, fields, mode
    told = daemon.until_trouble("MLflow")
    until(lambda: chaos.hits >= LOOKS, "more looks", told=daemon.told)
    chaos.mode = None
    daemon.until_ready()
    return told


@pytest.mark.slow_except("EMPTY")
@pytest.mark.parametrize(
    ("modes", "words"),
    [
        pytest.param([ChaosMode.EMPTY, ChaosMode.NOTHING], "an answer cannot be true", id="EMPTY"),
        pytest.param([ChaosMode.WEB_PAGE], "a web page in the place of MLflow's JSON", id="WEB_PAGE"),
        pytest.param([ChaosMode.NULL, ChaosMode.TRUNCATED], "MLflow's JSON", id="NULL"),
        pytest.param([ChaosMode.RATE_LIMITED, ChaosMode.FAILING], "status", id="STATUS"),
    ],
)
def test_a_gateway_answers_in_the_place_of_mlflow(
    settled: tuple[Stage, Daemon], chaos: ChaosProxy, fresh_name: str, modes: list[ChaosMode], words: str
) -> None:
    """503 with what came; not one record of a move that nobody made, not one write; ready again when MLflow answers."""
    stage, daemon = settled
    before = [each.id for each in stage.records(fresh_name)]

    for mode in modes:
        told = go_through(chaos, daemon, mode)
        assert words in told or "cut off" in told or "web page" in told
        assert chaos.url in told

    assert [each.id for each in stage.records(fresh_name)] == before
    assert stage.aliases(fresh_name) == {"champion": 1}


@pytest.mark.slow_except("aliases")
@pytest.mark.parametrize(
    "fields",
    [
        ("aliases",),
        ("registered_models", "model_versions"),
        ("name",),
        ("version",),
        ("status",),
        ("tags",),
        ("metrics", "value"),
        ("run_id", "run_uuid"),
        ("source",),
    ],
    ids=lambda fields: fields[0],
)
def test_answers_lose_some_of_their_fields(
    settled: tuple[Stage, Daemon], chaos: ChaosProxy, fresh_name: str, fields: tuple[str, ...]
) -> None:
    """An answer that is half there is worth no more than none."""
    stage, daemon = settled
    before = [each.id for each in stage.records(fresh_name)]

    go_through(chaos, daemon, ChaosMode.STRIPPED, fields)

    assert [each.id for each in stage.records(fresh_name)] == before
    assert stage.aliases(fresh_name) == {"champion": 1}
