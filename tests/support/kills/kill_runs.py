"""`kill -9` at random moments, again and again: of a daemon that has its hands full. Then everything is counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from promoter.adapters.git.history import read_ledger_trailers
from promoter.application.audit_verify import VerificationReport, verify_ledger
from promoter.domain.audit import ChangeOutcome, RecordKind
from tests.support.kills.checks import (
    broken_links,
    differences,
    events_of,
    kept_by,
    outcomes,
    records_of,
    strangers,
    told_by_mlflow,
)
from tests.support.kills.kill_run import CHANNEL, KillRun, KillSurroundings, KillTerms, told_by
from tests.support.kills.workload import BY_HAND
from tests.support.stage.inboxes import MLFLOW, STANDARD, SignedInbox
from tests.support.stage.stage import SECRET, Stage

REFUSED = 0.05
"""The share of events that their receiver cannot take at first."""
SLOW = 0.3
"""Seconds that it takes to answer, at most: events pile up, and some arrive of which nobody hears that they did."""


@dataclass
class KillFigures:
    """What came of it. `violations` is empty where all held."""

    terms: KillTerms
    database: str
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told = {"schema": 1, "database": self.database, "kills": self.terms.kills, "seed": self.terms.seed}
        return told | {"counts": self.counts, "violations": self.violations, "seconds": round(self.seconds, 1)}

    def table(self) -> str:
        """For people."""
        rows = {"kill -9": self.terms.kills, **self.counts, "violations": len(self.violations)}
        lines = [f"  {name:<62}{count:>8}" for name, count in rows.items()]
        head = f"kill -9 of a daemon at work, ledger in {self.database}, seed {self.terms.seed}"
        return "\n".join([head, *lines, f"  {'seconds':<62}{self.seconds:>8.1f}", *(f"  ! {each}" for each in self.violations)])


def kills(terms: KillTerms, stage: Stage, tell: Callable[[int], None] = lambda _: None) -> KillFigures:
    """Go through with it, on a stage on which nothing has been committed; `tell` is called with the number of each kill."""
    figures = KillFigures(terms, stage.database.partition(":")[0].partition("+")[0])
    begun = time.monotonic()
    luck = Random(terms.seed + 2)
    with (
        SignedInbox(SECRET, MLFLOW) as webhooks,
        SignedInbox(SECRET, STANDARD, lambda: luck.random() < REFUSED, lambda: luck.uniform(0, SLOW)) as events,
        told_by(stage, webhooks),
    ):
        killing = KillRun(terms, stage, KillSurroundings(webhooks, events))
        try:
            figures.violations += killing.go(tell)
        finally:
            for daemon in stage.daemons:
                daemon.kill()
        figures.violations += _violations(killing)
        figures.counts = _counted(killing)
        killing.ledger.close_connections()
    figures.seconds = time.monotonic() - begun
    return figures


def _violations(killing: KillRun) -> Iterator[str]:
    models = killing.stream.models
    yield from differences(told_by_mlflow(killing.around.webhooks.letters, models), kept_by(killing.ledger, models))
    yield from outcomes(killing.ledger, models)
    yield from broken_links(killing.ledger)
    yield from (f"{each.entry_range_text} {each.kind}: {each.message}" for each in _verified(killing).problems)
    yield from strangers(killing.ledger, models, killing.stream.counts[BY_HAND])
    surplus = killing.around.events.times.keys() - events_of(killing.ledger, CHANNEL)
    yield from (f"the event {each} is of no entry" for each in sorted(surplus))
    for inbox, whose in ((killing.around.webhooks, "MLflow's"), (killing.around.events, "Promoter's")):
        if inbox.forged:
            yield f"{inbox.forged} of {whose} messages had no right signature"


def _verified(killing: KillRun) -> VerificationReport:
    """What `promoter audit verify` says, in the remote's repository."""
    return verify_ledger(killing.ledger, read_ledger_trailers(killing.stage.remote.path).witnesses)


def _counted(killing: KillRun) -> dict[str, int]:
    stream = killing.stream
    told = told_by_mlflow(killing.around.webhooks.letters, stream.models)
    records = [each for model in stream.models for each in records_of(killing.ledger, model)]
    kept = kept_by(killing.ledger, stream.models)
    subjects = killing.stage.git("log", "--format=%s", killing.stage.remote.branch).splitlines()
    times = killing.around.events.times
    by_outcome = Counter(each.fact.outcome for each in records)
    return dict(sorted(killing.counts.items())) | {
        "pushes by a person": stream.person.pushes,
        "pushes that Promoter was ahead of, made again": stream.person.lost,
        "rotations that Promoter committed": sum(subject.startswith("Rotate") for subject in subjects),
        **stream.counts,
        "alias changes by MLflow's webhook": sum(map(len, told.values())),
        "alias changes in the ledger": sum(map(len, kept.values())),
        "of these: carried out": by_outcome[ChangeOutcome.APPLIED],
        "of these: found carried out after a kill": by_outcome[ChangeOutcome.RECOVERED],
        "of these: observed, made by others": sum(each.fact.kind is RecordKind.OBSERVED for each in records),
        "intents": by_outcome[ChangeOutcome.INTENDED],
        "intents closed as not carried out": by_outcome[ChangeOutcome.FAILED],
        "entries of the chain": killing.ledger.read_chain_head().entry,
        "commits that vouch for the chain": _verified(killing).vouching["commit"],
        "events": len(times),
        "events that the receiver could not take at first": killing.around.events.refused,
        "events that arrived more than once": sum(count > 1 for count in times.values()),
    }
