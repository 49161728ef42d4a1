"""Two daemons as on two hosts, with one ledger in PostgreSQL; one of them is stopped in mid-change, again and again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import uuid4

import psycopg

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import AuditRecord, ChangeOutcome, RecordFilter, RecordKind
from tests.support.kills.kill_run import KillStage
from tests.support.remembered import numbers
from tests.support.stage.stage import Daemon, assert_one_outcome_each, until

PATIENCE = 120.0
_WATCH_SECONDS = 0.002
_OPEN = """SELECT opened.id FROM records AS opened WHERE opened.outcome = 'intended'
AND NOT EXISTS (SELECT 1 FROM records AS closing WHERE closing.intent = opened.id)"""
_HOLDERS = """SELECT DISTINCT a.application_name FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.application_name LIKE 'promoter %'"""


@dataclass(frozen=True)
class HostTerms:
    """How many models each round has, how often each drifts, and for how many seconds a daemon is stopped (0: never)."""

    models: int = 12
    drifts: int = 3
    stopped: float = 4.0


@dataclass
class HostFigures:
    """What came of the rounds. `violations` is empty where all held."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self, head: str) -> str:
        """For people."""
        rows = {**self.counts, "violations": len(self.violations)}
        lines = [f"  {name:<52}{count:>8}" for name, count in rows.items()]
        return "\n".join([head, *lines, f"  {'seconds':<52}{self.seconds:>8.1f}", *(f"  ! {each}" for each in self.violations)])


class Stopper:
    """Stops a daemon with SIGSTOP while an intent of it is open, and lets it go on after `seconds` (0: leaves it so)."""

    def __init__(self, url: str, daemons: Sequence[Daemon], seconds: float) -> None:
        """Begins when it is entered."""
        self.stops = self.closed_meanwhile = 0
        self._url = url
        self._pids = {daemon.process.pid for daemon in daemons}
        self._seconds = seconds
        self._over = threading.Event()
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self.stops and not self._over.wait(_WATCH_SECONDS):
                opened = self._ids(connection)
                holders = self._holders(connection) if opened else set()
                if holders:
                    self._stop(connection, min(holders), opened)

    def _stop(self, connection: psycopg.Connection[tuple[int]], pid: int, opened: set[int]) -> None:
        os.kill(pid, signal.SIGSTOP)
        if not opened & self._ids(connection):
            os.kill(pid, signal.SIGCONT)  # it was over in that moment
            return
        before = self._count(connection)
        time.sleep(self._seconds)
        self.stops += bool(opened & self._ids(connection))
        self.closed_meanwhile += self._count(connection) - before
        self.stopped.set()
        if self._seconds:
            os.kill(pid, signal.SIGCONT)

    def _ids(self, connection: psycopg.Connection[tuple[int]]) -> set[int]:
        return {number for (number,) in connection.execute(_OPEN)}

    def _count(self, connection: psycopg.Connection[tuple[int]]) -> int:
        ((count,),) = connection.execute("SELECT count(*) FROM records WHERE intent IS NOT NULL").fetchall()
        return count

    def _holders(self, connection: psycopg.Connection[tuple[int]]) -> set[int]:
        names = (str(name) for (name,) in connection.execute(_HOLDERS))
        return {int(name.removeprefix("promoter ").partition("@")[0]) for name in names} & self._pids


class TwoHosts:
    """Two daemons that share a ledger and nothing else: each has its own TMPDIR and mirror."""

    def __init__(self, stage: KillStage, terms: HostTerms) -> None:
        self.stage, self.terms, self.figures = stage, terms, HostFigures()
        self.daemons: list[Daemon] = []

    def start(self) -> None:
        """Start both, and wait until both are ready."""
        self.stage.commit("", head="safety: {max_changes: 100%}\n")
        for number in range(2):
            own = self.stage.folder / f"host-{number}"
            (own / "tmp").mkdir(parents=True)
            self.daemons.append(
                self.stage.daemon(
                    TMPDIR=str(own / "tmp"),
                    PROMOTER_MIRROR=str(own / "mirror.git"),
                    MLFLOW_HTTP_REQUEST_TIMEOUT="60",
                )
            )
        for daemon in self.daemons:
            daemon.until_ready()
        named = sum("another daemon works on this ledger, which is fine" in daemon.log() for daemon in self.daemons)
        self.figures.counts["daemons that named the other at their start"] = named

    def run_round(self) -> None:
        """Promote every model once, and let each drift several times; count what the ledger has of it."""
        begun = time.monotonic()
        models = [f"host-{uuid4().hex[:6]}-{number:02}" for number in range(self.terms.models)]
        for model in models:
            for auc in (0.8, 0.9):
                self.stage.version(model, auc)
            self.stage.by_hand(model, "champion", 1)
        self._state(models, 1)
        self._rest(models, 1)
        with self._stopping():
            self._state(models, 2)
            self._rest(models, 2)
        for _ in range(self.terms.drifts):
            with self._stopping():
                for model in models:
                    self.stage.by_hand(model, "champion", 1)
                self._rest(models, 2)
        self._count(models)
        self.figures.seconds += time.monotonic() - begun

    def _state(self, models: Sequence[str], version: int) -> None:
        stated = "\n".join(f"{model}: {{aliases: {{champion: {version}}}}}" for model in models)
        self.stage.commit(stated, head="safety: {max_changes: 100%}\n", message=f"Champions are v{version}")

    def _rest(self, models: Sequence[str], version: int) -> None:
        """Wait until the registry and the ledger have every champion there, and no intent is open."""
        ledger = SqlLedger.open(self.stage.database, read_only=True)

        def rests() -> bool:
            known = numbers(ledger.read_last_known_versions(set(models)))
            return (
                all(known.get(model, {}).get("champion") == version for model in models)
                and all(self.stage.aliases(model) == {"champion": version} for model in models)
                and not ledger.find_open_intents(set(models))
            )

        try:
            until(rests, f"every champion is v{version}", PATIENCE, self._tell)
        finally:
            ledger.close_connections()

    def _tell(self) -> str:
        return "\n".join(daemon.told() for daemon in self.daemons)

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        if not self.terms.stopped:
            yield
            return
        with Stopper(self.stage.database, self.daemons, self.terms.stopped) as stopper:
            yield
        self.figures.counts["daemons stopped in mid-change"] += stopper.stops
        self.figures.counts["outcomes of the other daemon meanwhile"] += stopper.closed_meanwhile

    def _count(self, models: Sequence[str]) -> None:
        counts, wrong = self.figures.counts, self.figures.violations
        records = self._read_records(models)
        changes = [each for each in records if each.fact.kind is RecordKind.CHANGE]
        seen = [each for each in records if each.fact.kind is RecordKind.OBSERVED and each.fact.from_version is not None]
        expected = self.terms.models * (1 + self.terms.drifts)
        counts["changes"] += expected
        for outcome in ChangeOutcome:
            counts[str(outcome.value)] += sum(each.fact.outcome is outcome for each in changes)
        false = [each for each in seen if (each.fact.from_version, each.fact.to_version) != (2, 1)]
        counts["moves by hand, recorded"] += len(seen) - len(false)
        counts["false observations"] += len(false) + max(0, len(seen) - self.terms.models * self.terms.drifts)
        with self._noting(wrong):
            assert_one_outcome_each(records)
        done = Counter(str(each.fact.outcome) for each in changes)
        if done != {"intended": expected, "applied": expected} or len(seen) != self.terms.models * self.terms.drifts or false:
            wrong += [f"{dict(done)}, {len(seen)} moves seen: " + "; ".join(map(str, _explain(records)))]

    @contextlib.contextmanager
    def _noting(self, wrong: list[str]) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            wrong.append(str(error))

    def _read_records(self, models: Sequence[str]) -> list[AuditRecord]:
        ledger = SqlLedger.open(self.stage.database, read_only=True)
        try:
            found = [each for model in models for each in ledger.find_audit_records(RecordFilter(model=model, limit=10_000))]
        finally:
            ledger.close_connections()
        return sorted(found, key=lambda each: each.id)


def _explain(records: Sequence[AuditRecord]) -> Iterator[str]:
    for record in records:
        fact = record.fact
        if fact.outcome in (ChangeOutcome.FAILED, ChangeOutcome.RECOVERED):
            yield f"{record.id} {fact.model} {fact.from_version}->{fact.to_version} {fact.outcome}: {fact.reason}"


def run_two_hosts(
    stage: KillStage, terms: HostTerms, rounds: int, progress: Callable[[int], None] = lambda _round: None
) -> HostFigures:
    """Run so many rounds on a stage on which nothing has been committed; `progress` gets the number of each."""
    hosts = TwoHosts(stage, terms)
    try:
        hosts.start()
        for number in range(rounds):
            hosts.run_round()
            progress(number + 1)
    finally:
        for daemon in hosts.daemons:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.process.pid, signal.SIGCONT)
            daemon.kill()
    return hosts.figures
