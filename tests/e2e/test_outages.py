"""MLflow or the git remote gone, failing, slow or forgetting: retried, told by /readyz, nothing half written, self-mended.

A hang lasts as long as the test wants it to; MLflow's client gives up after 2 s here instead of its 30 (`Stage.environment`).
"""

from __future__ import annotations

import re
import shutil

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.demo.servers.mlflow import MlflowServer
from promoter.domain.audit import ChangeOutcome
from tests.e2e.conftest import MakeStage
from tests.support.stage.proxy import AliasWrite, Proxy, ProxyFault, alias_writes, everything
from tests.support.stage.stage import Daemon, Stage, assert_one_outcome_each, assert_unbroken, until

MODEL = "{model}: {{aliases: {{champion: {number}}}}}"


def begin(stage: Stage, model: str, **changed: str) -> Daemon:
    """A daemon that has brought `champion` to version 1 of two."""
    stage.version(model, 0.8)
    stage.version(model, 0.9)
    stage.commit(MODEL.format(model=model, number=1))
    daemon = stage.daemon(**changed)
    stage.until_at(model, {"champion": 1}, daemon.log)
    daemon.until_ready()
    return daemon


def assert_ended_well(stage: Stage, daemon: Daemon, model: str) -> None:
    """Champion is v2, the same process is ready, each intent has one outcome, and no move lacks its record."""
    stage.until_at(model, {"champion": 2}, daemon.log)
    daemon.until_ready()
    assert daemon.process.poll() is None
    records = stage.records(model)
    assert_one_outcome_each(records)
    assert_unbroken(stage.moves(model, "champion"))
    assert stage.moves(model, "champion")[-1] == (1, 2)


@pytest.mark.slow
def test_mlflow_stopped_and_started(make_stage: MakeStage, own_mlflow_server: MlflowServer, fresh_name: str) -> None:
    """A commit that comes while the MLflow server is down is carried out when it is back."""
    stage = make_stage(client=create_mlflow_client(own_mlflow_server.uri, elsewhere=True), uri=own_mlflow_server.uri)
    daemon = begin(stage, fresh_name)
    try:
        own_mlflow_server.stop()
        stage.commit(MODEL.format(model=fresh_name, number=2))
        assert "connection is refused" in daemon.until_trouble("MLflow")
        assert daemon.ask("/healthz")[0] == 200
    finally:
        own_mlflow_server.start()
    assert_ended_well(stage, daemon, fresh_name)


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "said", "tries"), [(ProxyFault.FAILS, "status 500", 3), (ProxyFault.HANGS, "in time", 2)])
def test_mlflow_fails_or_hangs(wrong: ProxyFault, said: str, tries: int, behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """One hint is enough: the look is tried again by itself, each time after a longer pause, until MLflow answers."""
    daemon = begin(behind, fresh_name, PROMOTER_POLL_INTERVAL="1h")
    with proxy.broken(wrong, everything):
        behind.commit(MODEL.format(model=fresh_name, number=2))
        assert daemon.ask("/api/v1/reconcile", "POST")[0] == 202
        assert said in daemon.until_trouble("MLflow")
        until(lambda: len(_pauses(daemon, fresh_name)) >= tries, "more tries", told=daemon.log)
        pauses = _pauses(daemon, fresh_name)
    assert pauses == sorted(set(pauses)), "each pause is longer than the one before"
    assert_ended_well(behind, daemon, fresh_name)
    assert [write for write in proxy.writes if write.model == fresh_name][1:] == [AliasWrite(fresh_name, "champion", 2)]


def _pauses(daemon: Daemon, model: str) -> list[float]:
    return [float(text) for text in re.findall(rf"looking again.* key=model:{model} seconds=([\d.]+)", daemon.log())]


@pytest.mark.slow_except("ProxyFault.LOST")
@pytest.mark.parametrize("wrong", [ProxyFault.LOST, ProxyFault.SILENT])
def test_answer_of_a_write_is_lost(wrong: ProxyFault, behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """MLflow moves the alias and never says so: read back, recorded as applied, written once as far as Promoter asks."""
    daemon = begin(behind, fresh_name)
    with proxy.broken(wrong, alias_writes):
        behind.commit(MODEL.format(model=fresh_name, number=2))
        until(lambda: behind.moves(fresh_name, "champion")[-1] == (1, 2), "the move is recorded", told=daemon.log)
    assert_ended_well(behind, daemon, fresh_name)
    outcomes = [each.fact.outcome for each in behind.records(fresh_name)]
    assert outcomes == [ChangeOutcome.INTENDED, ChangeOutcome.APPLIED] * 2


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [ProxyFault.FAILS, ProxyFault.HANGS])
def test_write_is_lost(wrong: ProxyFault, behind: Stage, proxy: Proxy, fresh_name: str) -> None:
    """MLflow answers reads and no write: each attempt is an intent with a failed outcome, the last one is applied."""
    daemon = begin(behind, fresh_name)
    with proxy.broken(wrong, alias_writes):
        behind.commit(MODEL.format(model=fresh_name, number=2))
        assert "champion reads v1 after the write" in daemon.until_trouble("MLflow")
        until(lambda: _failed(behind, fresh_name), "the attempt is closed", told=daemon.log)
        assert behind.moves(fresh_name, "champion") == [(None, 1)]
    assert_ended_well(behind, daemon, fresh_name)
    assert behind.moves(fresh_name, "champion") == [(None, 1), (1, 2)]
    assert [write for write in proxy.writes if write.model == fresh_name][1:] == [AliasWrite(fresh_name, "champion", 2)]


def _failed(stage: Stage, model: str) -> list[int]:
    return [each.id for each in stage.records(model) if each.fact.outcome is ChangeOutcome.FAILED]


@pytest.mark.slow
def test_git_remote_gone(stage: Stage, fresh_name: str) -> None:
    """Without the remote, drift is still put back to the last revision; when it returns, its news are taken."""
    daemon = begin(stage, fresh_name)
    stage.remote.stop()
    assert "cannot be reached" in daemon.until_trouble("git")
    stage.by_hand(fresh_name, "champion", 2)
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    stage.commit(MODEL.format(model=fresh_name, number=2))
    assert daemon.ask("/readyz")[0] == 503
    stage.remote.start()
    assert_ended_well(stage, daemon, fresh_name)
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, 2), (2, 1), (1, 2)]


@pytest.mark.slow
def test_forced_push(stage: Stage, fresh_name: str) -> None:
    """A branch that is forced back is what git says; so is one whose history was rewritten while nobody looked."""
    daemon = begin(stage, fresh_name)
    older = stage.head()
    stage.commit(MODEL.format(model=fresh_name, number=2))
    stage.until_at(fresh_name, {"champion": 2}, daemon.log)
    stage.force(older)
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    assert daemon.until_ready()["revision"] == older
    assert "rewritten" in daemon.log()
    assert daemon.stop() == 0

    first = stage.git("commit-tree", f"{stage.commit(MODEL.format(model=fresh_name, number=2))}^{{tree}}", "-m", "New history")
    stage.force(first)
    shutil.rmtree(stage.folder / ".promoter")
    again = stage.daemon()
    assert_ended_well(stage, again, fresh_name)
    assert again.until_ready()["revision"] == first
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, 2), (2, 1), (1, 2)]
