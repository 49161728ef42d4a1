"""Two Promoters and a person push at once, round by round; then everything that must hold is checked, and the figures told.

    python benchmarks/two_promoters.py [--rounds 200] [--kind gitlab] [--database shared] [--seed 4]

A real MLflow server, a real git remote over smart HTTP, and a forge that keeps its state, on this machine. Both Promoters
have four workers and a mirror of their own. In each round, at once: versions are registered, both Promoters look at git,
registry and pull requests, and a person pushes to the watched branch, merges or closes proposals or commits to their
branches, moves aliases by hand and has pull requests of his own. Exit code 1 where anything was violated.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the race is run by the tests as well
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


def main() -> int:
    """Race, and print what came of it."""
    from promoter.adapters.forges.detect import ForgeKind
    from promoter.adapters.mlflow.client import create_mlflow_client
    from promoter.demo.servers.mlflow import MlflowServer
    from tests.support.forges.under_test import KINDS
    from tests.support.races.race import RaceTerms, race

    parser = argparse.ArgumentParser(description="Two Promoters and a person at work at once.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument(
        "--kind", choices=KINDS, help="the forge (gitlab for the shared, gitea for separate databases, if not said)"
    )
    parser.add_argument("--database", choices=("shared", "separate"), help="one of them alone (both, if not said)")
    parser.add_argument("--folder", default="ml", help="where Promoter's files lie in the race on separate databases")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)

    def tell(number: int) -> None:
        print(f"\rround {number} of {options.rounds}", end="", file=sys.stderr, flush=True)

    failed = False
    usual: tuple[tuple[str, ForgeKind], ...] = (("shared", "gitlab"), ("separate", "gitea"))
    for database, kind in usual:
        if options.database not in (None, database):
            continue
        with tempfile.TemporaryDirectory(prefix="promoter-race-") as folder, MlflowServer(Path(folder, "mlflow")) as mlflow:
            place = Path(folder, "race")
            place.mkdir()
            folder_name = "" if database == "shared" else options.folder
            terms = RaceTerms(options.rounds, options.kind or kind, database == "shared", options.seed, folder_name)
            figures = race(terms, place, create_mlflow_client(mlflow.uri), mlflow.uri, tell)
        print(file=sys.stderr)
        print(figures.table())
        failed |= bool(figures.violations)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
