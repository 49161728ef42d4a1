"""How long from a new version, and from a push, to the alias in the registry; beside the bare calls, from the same run.

    python benchmarks/latency.py [--rounds 50]

A real MLflow server, a real git remote over smart HTTP, and a real daemon run on this machine. Each round measures:

version -> alias   from the version's creation (MLflow's own clock, its own webhook) to the audit record that closes the
                   change: evaluated, committed, pushed, written and read back.
push -> alias      from the return of `git push` (the remote's own webhook) to that audit record.

and, in turn with them, the bare cost: the calls that nobody who does this job can leave out, one after the other, with
MLflow's own client and git's own command, without any evaluation, ledger or second look:

bare rotation      read the model, its versions and the run; commit and push; set the alias; read it back.
bare push          fetch the branch, read the file; read the model; set the alias; read it back.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SECRET = "benchmark-benchmark-benchmark"
MODEL = "prices"
POLICY = """\
version: 1
candidates: {from: any, rank: {metric: score, order: highest}}
rules:
  - {metric: score, beats: champion}
  - {run: {status: FINISHED}}
"""
REGISTRY = """\
version: 1
models:
  prices:
    aliases:
      champion: {version: 1, policy: champion, rotation: commit}
      shadow: 1
"""
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ |= {"MLFLOW_WEBHOOK_CACHE_TTL": "1"}


class LatencyBench:
    """The running system, and a person's clone of its repository."""

    def __init__(self, folder: Path, stack: ExitStack, workers: int) -> None:
        """Starts everything."""
        from promoter.demo.servers.git import GitHttpServer, PushNotification
        from promoter.demo.servers.mlflow import MlflowServer, find_free_port

        port = find_free_port()
        self.daemon_url = f"http://127.0.0.1:{port}"
        self.mlflow = stack.enter_context(MlflowServer(folder / "mlflow", workers=workers))
        notify = PushNotification(f"{self.daemon_url}/webhooks/github", SECRET)
        self.remote = stack.enter_context(GitHttpServer(folder / "git", notify=notify))
        self.bare_remote = stack.enter_context(GitHttpServer(folder / "bare"))
        files = {"registry.yaml": REGISTRY.encode(), "policies/champion.yaml": POLICY.encode()}
        for remote in (self.remote, self.bare_remote):
            remote.commit_files(files)
        os.environ["MLFLOW_TRACKING_URI"] = self.mlflow.uri
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.client: Any = mlflow.MlflowClient()
        self.experiment = self.client.create_experiment("benchmark")
        self.score = 0.0
        for name in (MODEL, "bare"):
            self.client.create_registered_model(name)
            self.register(name)
        self.database = f"sqlite:///{folder / 'promoter.db'}"
        self.environment = {
            **os.environ,
            "PROMOTER_REPO": self.remote.url,
            "PROMOTER_DATABASE_URL": self.database,
            "PROMOTER_LISTEN": f"127.0.0.1:{port}",
            "PROMOTER_POLL_INTERVAL": "1h",
            "PROMOTER_MLFLOW_WEBHOOK_SECRET": SECRET,
            "PROMOTER_GITHUB_WEBHOOK_SECRET": SECRET,
        }
        self.log = folder / "daemon.log"
        self.start_daemon(stack)
        self.clones = {}
        for name, remote in (("person", self.remote), ("bare", self.bare_remote)):
            self.clones[name] = folder / f"{name}-clone"
            git(folder, "clone", "-q", remote.url, str(self.clones[name]))

    def start_daemon(self, stack: ExitStack) -> None:
        """Have MLflow announce to it what happens, start it, and wait until it is ready."""
        self.promoter("webhooks", "install", "--url", self.daemon_url)
        log = stack.enter_context(self.log.open("wb"))
        daemon = subprocess.Popen([sys.executable, "-m", "promoter", "serve"], env=self.environment, stderr=log, stdout=log)
        stack.callback(lambda: (daemon.terminate(), daemon.wait(30)))
        self.await_ready()

    def promoter(self, *arguments: str) -> None:
        """Run a command of Promoter's."""
        subprocess.run(
            [sys.executable, "-m", "promoter", *arguments], env=self.environment, check=True, stdout=subprocess.DEVNULL
        )

    def await_ready(self, timeout: float = 60.0) -> None:
        """Until the daemon has its first revision in force."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.daemon_url}/readyz", timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit("the daemon did not get ready")

    def register(self, name: str) -> Any:
        """A finished run with a better score than all before, and a version of it."""
        self.score += 0.001
        run = self.client.create_run(self.experiment)
        self.client.log_metric(run.info.run_id, "score", self.score)
        self.client.set_terminated(run.info.run_id)
        return self.client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)

    def applied(self, alias: str, version: int, after: datetime | None = None, timeout: float = 60.0) -> datetime:
        """When the ledger closed the change of that alias to that version; asked of the database, not of the servers."""
        from promoter.adapters.ledger import SqlLedger
        from promoter.domain.audit import ChangeOutcome, RecordFilter

        ledger = SqlLedger.open(self.database, read_only=True)
        where = RecordFilter(model=MODEL, alias=alias, limit=5, newest=True)
        deadline = time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                for record in ledger.find_audit_records(where):
                    fact = record.fact
                    if (
                        fact.to_version == version
                        and fact.outcome is ChangeOutcome.APPLIED
                        and (after is None or fact.at > after)
                    ):
                        return fact.at
                time.sleep(0.005)
        finally:
            ledger.close_connections()
        raise SystemExit(
            f"{alias} did not reach v{version} within {timeout} s; the daemon says:\n{self.log.read_text()[-3000:]}"
        )


def git(folder: Path, *arguments: str) -> str:
    """Git's own command."""
    author = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    done = subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def version_to_alias(bench: LatencyBench) -> float:
    """Seconds from the version's creation to the closed audit record."""
    made = bench.register(MODEL)
    created = datetime.fromtimestamp(made.creation_timestamp / 1_000, UTC)
    return (bench.applied("champion", int(made.version)) - created).total_seconds()


def push_to_alias(bench: LatencyBench) -> float:
    """Seconds from the return of the push to the closed audit record."""
    clone = bench.clones["person"]
    git(clone, "pull", "-q", "--rebase")
    file = clone / "registry.yaml"
    target = 2 if "shadow: 1" in file.read_text() else 1
    file.write_text(file.read_text().replace(f"shadow: {3 - target}", f"shadow: {target}"))
    git(clone, "commit", "-qam", f"Shadow v{target}")
    before = datetime.now(UTC)
    git(clone, "push", "-q")
    pushed = datetime.now(UTC)
    return (bench.applied("shadow", target, after=before) - pushed).total_seconds()


def bare_rotation(bench: LatencyBench) -> float:
    """Seconds of the calls that a rotation cannot leave out."""
    made = bench.register("bare")
    clone, client = bench.clones["bare"], bench.client
    start = time.perf_counter()
    client.get_registered_model("bare")
    client.search_model_versions("name='bare'")
    client.get_run(made.run_id)
    file = clone / "registry.yaml"
    file.write_text(file.read_text() + f"# {made.version}\n")
    git(clone, "commit", "-qam", f"Rotate to v{made.version}")
    git(clone, "push", "-q")
    client.set_registered_model_alias("bare", "champion", made.version)
    client.get_registered_model("bare")
    return time.perf_counter() - start


def bare_push(bench: LatencyBench) -> float:
    """Seconds of the calls that following a push cannot leave out."""
    clone, client = bench.clones["bare"], bench.client
    start = time.perf_counter()
    git(clone, "fetch", "-q")
    git(clone, "show", "origin/main:registry.yaml")
    client.get_registered_model("bare")
    client.set_registered_model_alias("bare", "shadow", "1")
    client.get_registered_model("bare")
    return time.perf_counter() - start


def main() -> None:
    """Warm up, measure in turn, print both sides and the ratio."""
    parser = argparse.ArgumentParser(description="Latency from a version, and from a push, to the alias.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=4, help="server workers of MLflow (its default is 4)")
    options = parser.parse_args()
    measures: dict[str, Callable[[LatencyBench], float]] = {
        "version -> alias": version_to_alias,
        "bare rotation": bare_rotation,
        "push -> alias": push_to_alias,
        "bare push": bare_push,
    }
    seen: dict[str, list[float]] = {name: [] for name in measures}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promoter-bench-")))
        bench = LatencyBench(folder, stack, options.workers)
        bench.applied("champion", 1)
        bench.applied("shadow", 1)
        time.sleep(2)  # MLflow caches the list of webhooks for a second here
        for number in range(options.rounds + 2):
            for name, measure in measures.items():
                value = measure(bench)
                if number >= 2:  # the first two rounds warm up
                    seen[name].append(value)
            print(f"\rround {number + 1} of {options.rounds + 2}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{'':<18}{'p50 ms':>9}{'p95 ms':>9}   n = {options.rounds}, MLflow workers = {options.workers}")
    for name, values in seen.items():
        print(f"{name:<18}{1_000 * statistics.median(values):>9.0f}{1_000 * p95(values):>9.0f}")
    for ours, bare in (("version -> alias", "bare rotation"), ("push -> alias", "bare push")):
        ratio = statistics.median(seen[ours]) / statistics.median(seen[bare])
        print(f"{ours} / {bare}: p50 ratio {ratio:.2f}")


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


if __name__ == "__main__":
    main()
