"""`kill -9` at random moments: every alias change is in the ledger once, and everything else that must hold does.

The short form; `benchmarks/ledger_kills.py` goes on for 300 kills.
"""

from __future__ import annotations

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.demo.servers.mlflow import MlflowServer
from tests.e2e.conftest import MakeStage
from tests.support.kills.kill_run import KillStage, KillTerms
from tests.support.kills.kill_runs import kills

pytestmark = pytest.mark.slow

KILLS = 6


def test_ledger_after_kills(make_stage: MakeStage, own_mlflow_server: MlflowServer, database_url: str) -> None:
    """What MLflow's webhook told, what the ledger has, what git says and what receivers got agree, whenever the daemon dies."""
    stage = make_stage(client=create_mlflow_client(own_mlflow_server.uri, elsewhere=True), uri=own_mlflow_server.uri)
    killed = KillStage(stage, database_url)
    figures = kills(KillTerms(KILLS), killed)
    assert not figures.violations, figures.table()
    assert figures.counts["alias changes by MLflow's webhook"] > KILLS, figures.table()
