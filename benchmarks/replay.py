"""How long a replay of many versions takes, beside reading them from MLflow in bulk, in the same run.

    python benchmarks/replay.py [--versions 5000] [--models 50] [--rounds 5]

A real MLflow server on this machine, seeded straight in its database: every version has a run with eight metrics and two tags.
A ledger, with a recorded decision for every version, and the moves that followed. Each round measures, in turn:

reading            observe() of all models and runs() of all versions: two bulk reads, nothing else.
replay             the whole use case, without and with the ledger: it reads the same, judges every version, and tells the
                   report as text, as JSON and as a picture.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

POLICY = b"""\
version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, at_least: 0.5}
  - {metric: auc, beats: champion, by: 0.001}
  - {metric: p99_ms, at_most: 95}
  - {tag: approved_by, one_of: [risk, data-science]}
  - {run: {status: FINISHED}}
  - {age: {at_least: 1h}}
limits: {cooldown: 6h}
"""
REGISTRY = b"""\
version: 1
families:
  - match: "*"
    aliases:
      champion: {policy: champion, rotation: commit}
models: {}
"""
METRICS = ("auc", "p99_ms", "loss", "recall", "precision", "f1", "brier", "fit_s")
DAYS = 100
NOW = datetime.now(UTC).replace(microsecond=0)
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


def registered(number: int, of: int) -> datetime:
    """When the version of that number of a model was registered."""
    return NOW - timedelta(days=DAYS) * (1 - number / (of + 1))


def seed_mlflow(database: Path, models: int, each: int) -> None:
    """Rows as MLflow itself writes them."""
    chance = random.Random(20261123)
    runs: list[Any] = []
    metrics: list[Any] = []
    versions: list[Any] = []
    tags: list[Any] = []
    for model in range(models):
        name = f"model-{model:03}"
        for number in range(1, each + 1):
            run, at = f"{model * each + number:032x}", int(registered(number, each).timestamp() * 1_000)
            artifact = f"mlflow-artifacts:/0/{run}/artifacts"
            runs.append((run, run[-8:], "UNKNOWN", "bench", "bench", "FINISHED", at - 60_000, at, "active", artifact, 0))
            auc, slow = 0.6 + 0.3 * number / each + chance.gauss(0, 0.03), chance.uniform(20, 100)
            values = dict.fromkeys(METRICS, 0.5) | {"auc": auc, "p99_ms": slow}
            metrics += [(key, value, at, 0, 0, run) for key, value in values.items()]
            versions.append((name, number, at, at, f"{artifact}/model", run, "READY", "None"))
            team = "risk" if chance.random() < 0.9 else "somebody"
            tags += [("approved_by", team, name, number), ("framework", "sklearn", name, number)]
    rows = {
        "registered_models (name, creation_time, last_updated_time)": [(f"model-{model:03}", 0, 0) for model in range(models)],
        "runs (run_uuid, name, source_type, source_name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, "
        "experiment_id)": runs,
        "metrics (key, value, timestamp, step, is_nan, run_uuid)": metrics,
        "latest_metrics (key, value, timestamp, step, is_nan, run_uuid)": metrics,
        "model_versions (name, version, creation_time, last_updated_time, source, run_id, status, current_stage)": versions,
        "model_version_tags (key, value, name, version)": tags,
    }
    connection = sqlite3.connect(database)
    with connection:
        for table, values in rows.items():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values)
    connection.execute("ANALYZE")
    connection.close()


def seed_ledger(ledger: Any, registry: Any, policy: Any) -> None:
    """For every version the decision of a look two minutes after the wait that the policy asks for; and each move."""
    from promoter.domain.audit import NewAuditRecord, RecordKind
    from promoter.domain.evidence import Evidence, VersionEvidence
    from promoter.domain.policy.evaluate import evaluate_policy

    observed = registry.observe()
    runs = registry.runs([each.run_id for model in observed.values() for each in model.versions.values()])
    decisions, moves = [], []
    for name, model in observed.items():
        held: Any = None
        for number, version in sorted(model.versions.items()):
            at = version.created_at + timedelta(hours=1, minutes=2)
            seen = VersionEvidence(
                number, version.tags, version.run_id, runs[version.run_id], version.created_at, version.source
            )
            decision = evaluate_policy(policy, name, "champion", Evidence(at, seen, {"champion": held}, model=name))
            decisions.append(decision)
            if decision.lets_through:
                moves.append(NewAuditRecord(at, RecordKind.OBSERVED, name, "champion", held.version if held else None, number))
                held = seen
    ledger.decide(sorted(decisions, key=lambda each: each.at), None)
    ledger.observe(sorted(moves, key=lambda each: each.at))


class ReplayBench:
    """A seeded server, and the use case on it."""

    def __init__(self, folder: Path, stack: ExitStack, models: int, each: int) -> None:
        """Starts and seeds."""
        from promoter.adapters.ledger import SqlLedger
        from promoter.adapters.mlflow.registry import MlflowRegistry
        from promoter.adapters.system import SystemClock
        from promoter.adapters.yaml import YamlDocuments
        from promoter.demo.servers.mlflow import MlflowServer

        server = stack.enter_context(MlflowServer(folder / "mlflow", workers=4))
        seed_mlflow(server.folder / "mlflow.db", models, each)
        self.clock = SystemClock()
        self.registry = MlflowRegistry(server.uri)
        self.declaration = YamlDocuments().parse_declaration(
            {"registry.yaml": REGISTRY, "policies/champion.yaml": POLICY}, None
        )
        self.full = SqlLedger.open(f"sqlite:///{folder / 'full.db'}")
        self.empty = SqlLedger.open(f"sqlite:///{folder / 'empty.db'}")
        seed_ledger(self.full, self.registry, self.declaration.policies["champion"])

    def read(self) -> float:
        """Seconds of the bulk reads."""
        start = time.perf_counter()
        observed = self.registry.observe_models()
        runs = self.registry.read_runs(
            [each.run_id for model in observed.values() for each in model.versions.values() if each.run_id]
        )
        seconds = time.perf_counter() - start
        if len(runs) != sum(len(model.versions) for model in observed.values()):
            raise SystemExit("not every run was read")
        return seconds

    def replay(self, ledger: Any) -> tuple[float, dict[str, float], Any]:
        """Seconds of the whole, of its parts, and the report."""
        from promoter.application.replay import PolicyReplayer, ReplayRequest

        parts: list[tuple[str, float]] = []

        def told(doing: str) -> None:
            parts.append((doing.rstrip(" 0123456789").partition(" of ")[0].rstrip(" 0123456789"), time.perf_counter()))

        start = time.perf_counter()
        report = PolicyReplayer(self.registry, ledger, self.clock, told)(
            self.declaration, ReplayRequest("champion", NOW - timedelta(days=DAYS + 1))
        )
        told("Telling")
        tell(report)
        end = time.perf_counter()
        times = [*(at for _, at in parts), end]
        spent: dict[str, float] = {}
        for (doing, at), until in zip(parts, times[1:], strict=True):
            spent[doing] = spent.get(doing, 0.0) + until - at
        return end - start, spent, report


def tell(report: Any) -> None:
    """As text, as JSON, and as a picture."""
    from rich.console import Console

    from promoter.application.responses.policies import ReplayResponse
    from promoter.cli import replay
    from promoter.cli.render import render_report_text
    from promoter.domain.replay.chart import render_replay_chart

    render_report_text(Console(file=io.StringIO(), width=160), replay.build_replay_report(report))
    json.dumps(ReplayResponse.from_report(report).to_json())
    render_replay_chart(report)


def rounds(count: int, measures: dict[str, Callable[[], float]]) -> Iterator[tuple[str, list[float]]]:
    """Each in turn, after one round to warm up."""
    seen: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(count + 1):
        for name, measure in measures.items():
            value = measure()
            if number:
                seen[name].append(value)
        print(f"\rround {number + 1} of {count + 1}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    yield from seen.items()


def main() -> None:
    """Seed, measure in turn, print both sides, the ratio and the parts."""
    parser = argparse.ArgumentParser(description="A replay beside reading the same versions in bulk.")
    parser.add_argument("--versions", type=int, default=5_000)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promoter-bench-")))
        bench = ReplayBench(folder, stack, options.models, max(options.versions // options.models, 1))
        parts: dict[str, dict[str, float]] = {}
        reports: dict[str, Any] = {}

        def replay(name: str, ledger: Any) -> float:
            seconds, parts[name], reports[name] = bench.replay(ledger)
            return seconds

        measures: dict[str, Callable[[], float]] = {
            "reading": bench.read,
            "replay, no ledger": lambda: replay("replay, no ledger", bench.empty),
            "replay, full ledger": lambda: replay("replay, full ledger", bench.full),
        }
        seen = dict(rounds(options.rounds, measures))
        for ledger in (bench.empty, bench.full):
            ledger.close_connections()
    judged = {name: sum(len(each.simulation.judged) for _, each in report.every()) for name, report in reports.items()}
    reading = statistics.median(seen["reading"])
    print(f"{'':<21}{'median s':>9}{'least':>8}{'most':>8}{'ratio':>8}{'judged':>8}   n = {options.rounds}")
    for name, values in seen.items():
        middle = statistics.median(values)
        print(
            f"{name:<21}{middle:>9.2f}{min(values):>8.2f}{max(values):>8.2f}{middle / reading:>8.2f}{judged.get(name, '-'):>8}"
        )
    for name, spent in parts.items():
        told = ", ".join(f"{doing.lower()} {seconds:.2f}" for doing, seconds in spent.items())
        print(f"{name}, last round: {told}")


if __name__ == "__main__":
    main()
