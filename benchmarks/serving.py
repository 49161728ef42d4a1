"""How long each model server of examples/tabular serves the old version after the alias moved; both in one run, under load.

    python benchmarks/serving.py [--moves 12]

A real MLflow server, a real git remote and a real daemon run on this machine. A commit moves the alias between two versions;
the daemon tells both servers by its signed event. Four connections to each server ask, five times a second each.

serve        serve.py, which loads each version into its own process.
supervise    supervise.py, which starts `mlflow models serve` anew for each version.

A figure is the time from the moment at which a reader of the registry sees the alias moved to the last answer by the version
before. Requests that fail, or that another version answered than the answer names, are counted: there should be none.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
SLOPES = {1: 2.0, 2: -3.0}


def main() -> int:
    """Run, and print a line for each server."""
    parser = argparse.ArgumentParser(description="How long a model server serves the old version.")
    parser.add_argument("--moves", type=int, default=12)
    moves = parser.parse_args().moves
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    from promoter.adapters.mlflow.client import create_mlflow_client
    from promoter.demo.servers.git import GitHttpServer
    from promoter.demo.servers.mlflow import MlflowServer
    from tests.support.stage.serving_load import ServingLoad
    from tests.support.stage.stage import Stage
    from tests.support.stage.warm import Warm

    with (
        tempfile.TemporaryDirectory(prefix="promoter-serving-") as folder,
        MlflowServer(Path(folder, "mlflow")) as mlflow,
        GitHttpServer(Path(folder, "remote")) as remote,
        Warm() as warm,
    ):
        (place := Path(folder, "stage")).mkdir()
        stage = Stage(place, remote, create_mlflow_client(mlflow.uri, elsewhere=True), mlflow.uri, warm)
        begun = time.monotonic()
        with ServingLoad(stage, "lines", Path(folder), SLOPES) as load:
            for number in range(moves):
                load.state(2 - number % 2)
                print(f"move {number + 1} of {moves}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
        print(f"{'':10} {'moves':>6} {'p50 s':>7} {'p95 s':>7} {'longest':>8} {'answers':>8} {'failed':>7}")
        for name, stream in load.streams.items():
            old = load.measure_old_answers(name)
            p95 = statistics.quantiles(old, n=20, method="inclusive")[-1]
            print(
                f"{name:10} {len(old):6} {statistics.median(old):7.2f} {p95:7.2f} {max(old):8.2f}"
                f" {len(stream.answers):8} {len(stream.faults):7}"
            )
    return int(any(stream.faults for stream in load.streams.values()))


if __name__ == "__main__":
    sys.exit(main())
