"""How long a drift waits while requests about other models hang; and the same without, in the same run.

    python benchmarks/hanging.py [--hanging 6] [--rounds 10] [--timeout 8]

A real MLflow server, a proxy in front of it that lets every request about some models hang, a real git remote and a real daemon
run on this machine. Each round moves the alias of one free model by hand, sends the signed webhook that MLflow would send, and
waits until the alias is back. `hanging` models drift as well, and stay so.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
SECRET = "benchmark-benchmark-benchmark"
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


class HangingBench:
    """The running system: models `m-000` and so on, of which the last one is free."""

    def __init__(self, folder: Path, stack: ExitStack, hanging: int, timeout: int) -> None:
        """Starts everything."""
        from promoter.demo.servers.git import GitHttpServer
        from promoter.demo.servers.mlflow import MlflowServer, find_free_port
        from tests.support.stage.hanging import HangingProxy

        server = stack.enter_context(MlflowServer(folder / "mlflow", workers=2))
        self.proxy = stack.enter_context(HangingProxy(server.uri))
        remote = stack.enter_context(GitHttpServer(folder / "git"))
        os.environ["MLFLOW_TRACKING_URI"] = server.uri
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.client: Any = mlflow.MlflowClient()
        self.names = [f"m-{number:03d}" for number in range(hanging + 1)]
        self.free = self.names[-1]
        run = self.client.create_run(self.client.create_experiment("benchmark")).info
        for name in self.names:
            self.client.create_registered_model(name)
            for _ in range(2):
                self.client.create_model_version(name, f"{run.artifact_uri}/model", run_id=run.run_id)
        lines = "".join(f"  {name}: {{aliases: {{champion: 1}}}}\n" for name in self.names)
        remote.commit_files({"registry.yaml": f"version: 1\nsafety: {{max_changes: 100%}}\nmodels:\n{lines}".encode()})
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.proxy.url,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
            "PROMOTER_REPO": remote.url,
            "PROMOTER_DATABASE_URL": f"sqlite:///{folder / 'promoter.db'}",
            "PROMOTER_LISTEN": f"127.0.0.1:{port}",
            "PROMOTER_POLL_INTERVAL": "5s",
            "PROMOTER_MLFLOW_WEBHOOK_SECRET": SECRET,
        }
        log = stack.enter_context((folder / "daemon.log").open("wb"))
        daemon = subprocess.Popen([sys.executable, "-m", "promoter", "serve"], env=environment, stderr=log, stdout=log)
        stack.callback(lambda: (self.proxy.release(), daemon.terminate(), daemon.wait(60)))
        for name in self.names:
            self.await_alias(name, "1")

    def await_alias(self, name: str, version: str, timeout: float = 300.0) -> None:
        """Wait until the registry has it there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.client.get_registered_model(name).aliases.get("champion") == version:
                return
            time.sleep(0.02)
        raise SystemExit(f"{name} did not reach v{version} within {timeout:g} s")

    def announce(self, name: str, delivery: str) -> None:
        """Send the webhook of a moved alias."""
        from promoter.domain.standard_webhooks import compute_signature

        facts = {"entity": "model_version_alias", "action": "created", "data": {"name": name}}
        body, at = json.dumps(facts).encode(), str(int(time.time()))
        signature = compute_signature(SECRET.encode(), delivery, at, body)
        headers = {
            "X-MLflow-Delivery-Id": delivery,
            "X-MLflow-Timestamp": at,
            "X-MLflow-Signature": signature,
        }
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/webhooks/mlflow", body, headers), timeout=60).close()

    def measure(self, label: str, rounds: int) -> list[float]:
        """Seconds from the webhook of a drift until the alias is back, of each round."""
        found = []
        for number in range(rounds):
            self.client.set_registered_model_alias(self.free, "champion", "2")
            start = time.perf_counter()
            self.announce(self.free, f"{label}-{number}")
            self.await_alias(self.free, "1")
            found.append(time.perf_counter() - start)
        return found


def main() -> None:
    """Measure without and with hanging models, and print both."""
    parser = argparse.ArgumentParser(description="How long a drift waits while requests about other models hang.")
    parser.add_argument("--hanging", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--timeout", type=int, default=8, help="MLFLOW_HTTP_REQUEST_TIMEOUT of the daemon, in seconds")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promoter-bench-")))
        bench = HangingBench(folder, stack, options.hanging, options.timeout)
        rows = {"without": bench.measure("without", options.rounds)}
        stuck = bench.names[:-1]
        bench.proxy.hang(*stuck)
        for name in stuck:
            bench.client.set_registered_model_alias(name, "champion", "2")
            bench.announce(name, f"stuck-{name}")
        rows[f"{options.hanging} hang"] = bench.measure("with", options.rounds)
        with urllib.request.urlopen(f"{bench.url}/metrics", timeout=20) as answer:
            shown = [
                line
                for line in answer.read().decode().splitlines()
                if line.startswith(("promoter_ready ", "promoter_late_models "))
            ]
    print(f"{'':<12}{'p50 s':>8}{'max s':>8}   n = {options.rounds}")
    for label, values in rows.items():
        print(f"{label:<12}{statistics.median(values):>8.2f}{max(values):>8.2f}")
    print(*shown, sep="\n")


if __name__ == "__main__":
    main()
