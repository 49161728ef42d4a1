"""`kill -9` of a daemon at work, at random moments; then ledger, MLflow, git and receivers are compared, with figures.

    python benchmarks/ledger_kills.py [--kills 300] [--database sqlite|postgresql] [--seed 5] [--json]

A real MLflow server, a real git remote over smart HTTP, and `promoter serve` as a process of its own, all on this machine.
Meanwhile a person pushes, versions are registered (rotation commits some, a policy blocks some), and an outsider moves aliases
by hand. MLflow's own webhook tells a receiver of every alias change. In the end: each of them is in the ledger once, every
intent is closed, the chain holds, git and registry and ledger agree, and every event has reached its receiver. Exit code 1
where that is not so.
`--database` names one kind of database; without it, both have their turn.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the killing is done by the tests as well
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}

DATABASES = ("sqlite", "postgresql")


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of one with nothing in it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'promoter.db'}"
        return
    from tests.support.fixtures.postgres import PostgresServer, new_database

    server = PostgresServer()
    try:
        with new_database(server.url()) as url:
            yield url
    finally:
        server.remove()


def main() -> int:
    """Kill, and print what came of it."""
    from promoter.adapters.mlflow.client import create_mlflow_client
    from promoter.demo.servers.git import GitHttpServer
    from promoter.demo.servers.mlflow import MlflowServer
    from tests.support.kills.kill_run import KillStage, KillTerms
    from tests.support.kills.kill_runs import kills
    from tests.support.stage.stage import Stage
    from tests.support.stage.warm import Warm

    parser = argparse.ArgumentParser(description="kill -9 of a daemon at work, and what its ledger says afterwards.")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--database", choices=DATABASES, help="one of them alone (both, where not given)")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one object a database instead of tables")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped then, too

    def tell(number: int) -> None:
        print(f"\rkill {number} of {options.kills}", end="", file=sys.stderr, flush=True)

    failed = False
    for kind in [options.database] if options.database else DATABASES:
        with tempfile.TemporaryDirectory(prefix="promoter-kills-") as name, database(kind, Path(name)) as url:
            folder = Path(name, "run")
            folder.mkdir()
            with MlflowServer(Path(name, "mlflow")) as mlflow, GitHttpServer(Path(name, "remote")) as remote, Warm() as warm:
                stage = KillStage(Stage(folder, remote, create_mlflow_client(mlflow.uri), mlflow.uri, warm), url)
                figures = kills(KillTerms(options.kills, options.seed), stage, tell)
        print(file=sys.stderr)
        print(json.dumps(figures.as_json()) if options.json else figures.table())
        failed |= bool(figures.violations)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
