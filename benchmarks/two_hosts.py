"""Two daemons as on two hosts, with one ledger in PostgreSQL; one is stopped in mid-change, and then the ledger is counted.

    python benchmarks/two_hosts.py [--rounds 3] [--models 12] [--drifts 3] [--stopped 4]

A real MLflow server, a real git remote over smart HTTP, a real PostgreSQL, and two `promoter serve` as processes of their own,
each with its own TMPDIR and mirror. In each round, a commit promotes every model, and then somebody moves every champion away
by hand, several times. Each time, the daemon whose intent is open is stopped with SIGSTOP for some seconds, and goes on. Every
change has to be in the ledger as one intent that was applied, and every move by hand once. Exit code 1 where that is not so.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the rounds are run by the tests as well
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


def main() -> int:
    """Run the rounds, and print what came of them."""
    from promoter.adapters.mlflow.client import create_mlflow_client
    from promoter.demo.servers.git import GitHttpServer
    from promoter.demo.servers.mlflow import MlflowServer
    from tests.support.fixtures.postgres import PostgresServer, new_database
    from tests.support.kills.kill_run import KillStage
    from tests.support.races.two_hosts import HostTerms, run_two_hosts
    from tests.support.stage.stage import Stage
    from tests.support.stage.warm import Warm

    parser = argparse.ArgumentParser(description="Two daemons on one PostgreSQL ledger, one of them stopped in mid-change.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--drifts", type=int, default=3)
    parser.add_argument("--stopped", type=float, default=4.0, help="seconds of each stop (0: nobody is stopped)")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped then, too

    def report(number: int) -> None:
        print(f"\rround {number} of {options.rounds}", end="", file=sys.stderr, flush=True)

    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="promoter-hosts-") as name, new_database(server.url()) as url:
            folder = Path(name, "run")
            folder.mkdir()
            with MlflowServer(Path(name, "mlflow")) as mlflow, GitHttpServer(Path(name, "remote")) as remote, Warm() as warm:
                stage = KillStage(Stage(folder, remote, create_mlflow_client(mlflow.uri), mlflow.uri, warm), url)
                terms = HostTerms(options.models, options.drifts, options.stopped)
                figures = run_two_hosts(stage, terms, options.rounds, report)
    finally:
        server.remove()
    print(file=sys.stderr)
    print(figures.table(f"two daemons, one ledger in PostgreSQL, {options.rounds} rounds"))
    return int(bool(figures.violations))


if __name__ == "__main__":
    sys.exit(main())
