"""Two daemons on two hosts, with one ledger in PostgreSQL: each change is made once, by one of them, and recorded once.

The short form; `benchmarks/two_hosts.py` goes on for several rounds of 48 changes.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from mlflow.exceptions import MlflowException

from promoter.domain.audit import RecordKind
from tests.support.kills.kill_run import KillStage
from tests.support.races.two_hosts import HostTerms, Stopper, run_two_hosts
from tests.support.stage.stage import Daemon, Stage, assert_one_outcome_each, until

pytestmark = pytest.mark.slow


def cut_connections(url: str, daemon: Daemon) -> None:
    """End every connection of that daemon on the server's side, as a server does whose peer is silent for too long."""
    with psycopg.connect(url, autocommit=True) as connection:
        of_it = f"application_name LIKE 'promoter {daemon.process.pid}@%'"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of_it}")


@pytest.mark.parametrize("stopped", [0.0, 2.5], ids=["running", "stopped"])
def test_two_daemons_with_nothing_in_common_but_the_ledger(stage: Stage, postgres_url: str, stopped: float) -> None:
    """Each has its own TMPDIR and mirror, and one may be stopped in mid-change: no change fails, none is done twice."""
    figures = run_two_hosts(KillStage(stage, postgres_url), HostTerms(models=6, drifts=2, stopped=stopped), rounds=1)
    assert not figures.violations, figures.table("two hosts")
    assert figures.counts["intended"] == figures.counts["applied"] == 18
    assert not figures.counts["failed"] + figures.counts["recovered"] + figures.counts["false observations"]
    assert (figures.counts["daemons stopped in mid-change"] > 0) == (stopped > 0)
    assert figures.counts["daemons that named the other at their start"] == 1


def test_a_daemon_that_lost_its_lock_while_it_was_stopped(stage: Stage, postgres_url: str) -> None:
    """Another one waits while the lock is alive. Once it is lost, the stopped one neither overwrites nor misreports."""
    stage = KillStage(stage, postgres_url)
    model = f"lost-{uuid4().hex[:6]}"
    for auc in (0.8, 0.9):
        stage.version(model, auc)
    stage.commit(f"{model}: {{aliases: {{champion: 1}}}}")
    one = stage.daemon()
    stage.until_at(model, {"champion": 1}, one.told)
    try:
        with Stopper(postgres_url, [one], seconds=0) as stopper:
            while not stopper.stopped.wait(0.5):
                with suppress(MlflowException):  # it may be just put back
                    stage.by_hand(model, "champion", 2)
        intent = next(record for record in reversed(stage.records(model)) if record.fact.outcome == "intended")
        other = stage.daemon()
        other.until_ready()
        assert not [record for record in stage.records(model) if record.intent == intent.id]
        cut_connections(postgres_url, one)
        until(lambda: [record for record in stage.records(model) if record.intent == intent.id], "closed", told=other.told)
        stage.until_at(model, {"champion": 1}, other.told)
        stage.commit(f"{model}: {{aliases: {{champion: 2}}}}")
        stage.until_at(model, {"champion": 2}, other.told)
    finally:
        one.process.send_signal(signal.SIGCONT)
    before = datetime.now(UTC).isoformat()
    until(lambda: one.ask("/readyz")[1] and str(one.ask("/readyz")[1]["checked"]) > before, "it looks again", told=one.told)
    one.until_ready()
    stage.until_at(model, {"champion": 2}, one.told)
    records = stage.records(model)
    assert_one_outcome_each(records)
    seen = [record.fact for record in records if record.fact.kind is RecordKind.OBSERVED and record.fact.from_version]
    assert {(fact.from_version, fact.to_version) for fact in seen} == {(1, 2)}
