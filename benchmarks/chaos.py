"""A gateway between the daemon and MLflow goes wrong in every way, in turn; meanwhile versions are really promoted.

    python benchmarks/chaos.py [--minutes 10] [--models 50] [--seed 6] [--json]

A real MLflow server behind a proxy, a real git remote over smart HTTP, and `promoter serve` with its own defaults but for a
poll interval of 5 s. The proxy answers 429, 500, a sign-in page, `null`, `{}`, nothing, half of the answer, the answer without
some of its fields (15 kinds of those), or not at all for 30 s; each for 2 to 12 s, with moments of health in between. Meanwhile
a person commits promotions, which are carried out whenever MLflow can be reached, and moves aliases by hand, which is put back.

In the end these are counted: records that are false (a move that nobody made, a change that did not take place, a decision
that says no, since every version passes its policy), moves to versions that neither git nor the person asked for, and the
seconds from the proxy's end until `/readyz` is 200. Exit code 1 where anything was false or wrong, or it took more than 10 s.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promoter.domain.audit import AuditRecord
    from tests.support.stage.stage import Daemon, Stage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the stage is that of the tests
os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}

ALIAS, VERSIONS = "champion", 4
READY_SECONDS = 10.0
POLICY = b"""version: 1
rules:
  - {run: {status: FINISHED}}
  - {metric: auc, at_least: 0.5}
  - {tag: approved_by, present: true}
"""


@dataclass
class ChaosFigures:
    """What was counted."""

    minutes: float
    models: int
    requests: int = 0
    """Requests that the proxy answered wrongly."""
    modes: dict[str, int] = field(default_factory=dict)
    """How often each mode had its turn."""
    unready: int = 0
    """How often `/readyz` was seen to be 503 while the proxy went wrong, and while it did not."""
    commits: int = 0
    by_hand: int = 0
    applied: int = 0
    """Changes that the ledger has as applied or recovered."""
    false_records: list[str] = field(default_factory=list)
    wrong_moves: list[str] = field(default_factory=list)
    ready_after: float = 0.0
    """Seconds from the proxy's end until `/readyz` was 200."""
    settled_after: float = 0.0
    """Seconds from the proxy's end until every alias was where git wants it."""

    @property
    def bad(self) -> bool:
        """Whether a goal was missed."""
        return bool(self.false_records or self.wrong_moves) or self.ready_after > READY_SECONDS


class ChaosRun:
    """The running system, and what was done to it: every write to MLflow is the person's, or one that git asks for."""

    def __init__(self, stage: Stage, proxy: Any, models: int, seed: int) -> None:
        self.stage = stage
        self.proxy = proxy
        self.random = random.Random(seed)
        self.names = [f"model-{number:02}" for number in range(models)]
        self.wanted = dict.fromkeys(self.names, 1)
        self.asked: dict[str, set[int]] = {name: {1} for name in self.names}
        """Versions that git has asked for at some time, by model."""
        self.moved_by_hand: dict[str, list[int]] = {name: [] for name in self.names}

    def seed_models(self) -> None:
        """Register the models, with their versions."""
        from tests.support.stage.seeding import MLMODEL, make_run, register

        runs = [make_run(self.stage.client, {"auc": 0.5 + number / 10}).info for number in range(1, VERSIONS + 1)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "MLmodel")
            file.write_text(MLMODEL)
            for run in runs:
                self.stage.client.log_artifact(run.run_id, str(file), "model")

        def seed(name: str) -> None:
            register(self.stage.client, name)
            for run in runs:
                source, tags = f"{run.artifact_uri}/model", {"approved_by": "risk"}
                self.stage.client.create_model_version(name, source, run.run_id, tags=tags, await_creation_for=0)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(seed, self.names))

    def commit(self) -> None:
        """Commit what is wanted of every model."""
        rows = (
            f"{name}: {{aliases: {{{ALIAS}: {{version: {number}, policy: gate}}}}}}" for name, number in self.wanted.items()
        )
        self.stage.commit("\n".join(rows), "safety: {max_changes: 100%}\n", gate=POLICY)

    def promote_some(self) -> None:
        """Commit another version for some of the models."""
        for name in self.random.sample(self.names, 3):
            self.wanted[name] = self.random.choice([each for each in range(1, VERSIONS + 1) if each != self.wanted[name]])
            self.asked[name].add(self.wanted[name])
        self.commit()

    def move_by_hand(self) -> None:
        """Move an alias past Promoter."""
        name = self.random.choice(self.names)
        version = self.random.randint(1, VERSIONS)
        self.moved_by_hand[name].append(version)
        self.stage.by_hand(name, ALIAS, version)

    def find_unsettled(self) -> list[str]:
        """The models whose alias is not where git wants it."""
        held = {model.name: model.aliases for model in self.stage.client.search_registered_models(max_results=1000)}
        return [name for name, number in self.wanted.items() if int(held.get(name, {}).get(ALIAS, 0)) != number]


def run_chaos(run: ChaosRun, daemon: Daemon, minutes: float, figures: ChaosFigures) -> None:
    """Cycle through all modes; between them, and meanwhile, people work."""
    from tests.support.stage.chaos_proxy import STRIPPED_FIELDS, ChaosMode

    ends, fields = time.monotonic() + minutes * 60, cycle(STRIPPED_FIELDS)
    for mode in cycle(ChaosMode):
        if time.monotonic() > ends:
            break
        run.proxy.fields, run.proxy.mode = next(fields), mode
        figures.modes[mode.name] = figures.modes.get(mode.name, 0) + 1
        _work_meanwhile(run, daemon, run.random.uniform(2, 12), figures)
        if run.random.random() < 0.5:
            run.proxy.mode = None
            _work_meanwhile(run, daemon, run.random.uniform(1, 8), figures)
        print(f"\r{max(0, ends - time.monotonic()):.0f} s left, {mode.name}          ", end="", file=sys.stderr, flush=True)
    figures.requests = run.proxy.hits


def _work_meanwhile(run: ChaosRun, daemon: Daemon, seconds: float, figures: ChaosFigures) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        chance = run.random.random()
        if chance < 0.08:
            run.promote_some()
            figures.commits += 1
        elif chance < 0.16:
            run.move_by_hand()
            figures.by_hand += 1
        figures.unready += daemon.ask("/readyz")[0] != 200
        time.sleep(0.5)


def await_recovery(run: ChaosRun, daemon: Daemon, figures: ChaosFigures) -> None:
    """End the proxy's faults; requests that hang go on hanging. Measure until ready, and until all is settled."""
    run.proxy.mode = None
    began = time.monotonic()
    while daemon.ask("/readyz")[0] != 200 and time.monotonic() < began + 120:
        time.sleep(0.05)
    figures.ready_after = round(time.monotonic() - began, 2)
    while run.find_unsettled() and time.monotonic() < began + 120:
        time.sleep(0.5)
    figures.settled_after = round(time.monotonic() - began, 2)
    figures.wrong_moves += [f"{name}: {daemon.ask(f'/api/v1/models/{name}')}" for name in run.find_unsettled()]
    time.sleep(12)  # two more polls, so that what follows is recorded as well


def check_records(run: ChaosRun, figures: ChaosFigures) -> None:
    """Hold the ledger, and MLflow, against what was really done."""
    for name in run.names:
        records = run.stage.records(name)
        figures.applied += sum(
            each.fact.outcome is not None and each.fact.outcome.value in ("applied", "recovered") for each in records
        )
        figures.false_records += [f"{name}: {each}" for each in _find_false_records(run, name, records)]
        figures.wrong_moves += [f"{name}: {each}" for each in _find_wrong_moves(run, name, records)]
    figures.false_records += _find_false_decisions(run)


def _find_false_records(run: ChaosRun, name: str, records: list[AuditRecord]) -> list[str]:
    """Moves that nobody made, chains of moves with a gap, and aliases that somebody is said to have removed."""
    from promoter.domain.audit import RecordKind, is_alias_move

    false, at = [], None
    hand = list(run.moved_by_hand[name])
    for record in records:
        fact = record.fact
        if fact.kind not in (RecordKind.CHANGE, RecordKind.OBSERVED):
            false.append(f"record {record.id} of kind {fact.kind.value}: {fact.reason}")
        if not is_alias_move(record):
            continue
        if fact.from_version != at:
            false.append(f"record {record.id} begins at {fact.from_version}, where {at} was")
        at = fact.to_version
        if fact.kind is RecordKind.OBSERVED and record.id and fact.to_version is None:
            false.append(f"record {record.id}: nobody removed the alias")
        elif fact.kind is RecordKind.OBSERVED and fact.from_version is not None:
            if fact.to_version not in hand:
                false.append(f"record {record.id}: nobody moved the alias to {fact.to_version}")
            else:
                hand = hand[hand.index(fact.to_version) + 1 :]
    return false


def _find_false_decisions(run: ChaosRun) -> list[str]:
    """Decisions that say anything but yes: every version passes its policy, whenever it can be seen."""
    from promoter.adapters.ledger import SqlLedger

    ledger = SqlLedger.open(run.stage.database, read_only=True)
    try:
        return [
            f"decision {each.id} on {each.tree.get('model')} v{each.tree.get('version')}: {each.tree.get('verdict')}"
            for each in ledger.iterate_decisions()
            if each.tree.get("verdict") != "pass"
        ]
    finally:
        ledger.close_connections()


def _find_wrong_moves(run: ChaosRun, name: str, records: list[AuditRecord]) -> list[str]:
    """Changes of Promoter to a version that git never asked for."""
    from promoter.domain.audit import RecordKind

    return [
        f"record {each.id} to {each.fact.to_version}"
        for each in records
        if each.fact.kind is RecordKind.CHANGE and each.fact.to_version not in run.asked[name]
    ]


def measure(minutes: float, models: int, seed: int) -> ChaosFigures:
    """Set the stage, run, and count."""
    from promoter.adapters.mlflow.client import create_mlflow_client
    from promoter.demo.servers.git import GitHttpServer
    from promoter.demo.servers.mlflow import MlflowServer
    from tests.support.stage.chaos_proxy import ChaosProxy
    from tests.support.stage.stage import Stage, until
    from tests.support.stage.warm import Warm

    figures = ChaosFigures(minutes, models)
    with (
        tempfile.TemporaryDirectory(prefix="promoter-chaos-") as folder,
        MlflowServer(Path(folder, "mlflow")) as mlflow,
        GitHttpServer(Path(folder, "remote")) as remote,
        ChaosProxy(mlflow.uri) as proxy,
        Warm() as warm,
    ):
        (place := Path(folder, "stage")).mkdir()
        stage = Stage(place, remote, create_mlflow_client(mlflow.uri, elsewhere=True), proxy.url, warm)
        run = ChaosRun(stage, proxy, models, seed)
        run.seed_models()
        run.commit()
        daemon = stage.daemon(
            cold=True,
            PROMOTER_POLL_INTERVAL="5s",
            PROMOTER_LOAD_MODELS="false",
            MLFLOW_HTTP_REQUEST_TIMEOUT="6",
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
        )
        try:
            until(lambda: not run.find_unsettled(), "every alias is set", 300, daemon.told)
            daemon.until_ready()
            run_chaos(run, daemon, minutes, figures)
            await_recovery(run, daemon, figures)
            check_records(run, figures)
            daemon.stop()
        finally:
            daemon.kill()
            Path("chaos-daemon.log").write_text(daemon.log())
    return figures


def main() -> int:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(description="The daemon behind a gateway that goes wrong in every way.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    figures = measure(options.minutes, options.models, options.seed)
    if options.json:
        print(json.dumps(asdict(figures)))
    else:
        for name, value in asdict(figures).items():
            print(f"{name:>15}: {len(value) if isinstance(value, list) else value}")
            for each in value if isinstance(value, list) else ():
                print(f"{'':>17}{each}")
    return int(figures.bad)


if __name__ == "__main__":
    sys.exit(main())
