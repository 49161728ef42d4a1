"""Promotions: what a policy would have said of each move that the alias really made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from promoter.domain.audit import AuditRecord, Kind
from promoter.domain.evaluate import evaluate
from promoter.domain.evidence import AliasPast
from promoter.domain.replay.history import History
from promoter.domain.replay.memory import Source
from promoter.domain.replay.supposing import Lens
from promoter.domain.verdict import Decision, Verdict

PROMOTER = "Promoter"
"""The actor of drift that is put back; a rotation's is the author of its commit."""
_MOST = 1_000  # no limit looks back further


@dataclass(frozen=True)
class Promotion:
    """A real move to a version, and what the policy says of it. `actor` None: not known."""

    at: datetime
    from_version: int | None
    to_version: int
    actor: str | None
    decision: Decision
    source: Source
    supposed: frozenset[str] = frozenset()

    @property
    def blocked(self) -> bool:
        """Whether the policy would not have let it through (under `enforcement: audit`: would have said so)."""
        return self.decision.verdict is not Verdict.PASS


@dataclass(frozen=True)
class Past:
    """Every real move of the alias in the time of the replay; `ungated` of them no policy is asked about."""

    promotions: tuple[Promotion, ...] = ()
    ungated: int = 0


def past_promotions(history: History, lens: Lens, since: datetime, until: datetime) -> Past:
    """Each on the evidence of its time, against who really held the alias, with the limits of that time.

    Left out are deletions, and what is no new decision: the record by which the ledger first saw the alias, drift that was
    put back, and a version that returned under a hold.
    """
    found, ungated = [], 0
    for record in history.own.moves:
        if not since <= record.fact.at <= until or record is history.own.first_seen or record.fact.to_version is None:
            continue
        if _ungated(record):
            ungated += 1
            continue
        found.append(_judged(history, lens, record, record.fact.to_version))
    return Past(tuple(found), ungated)


def _judged(history: History, lens: Lens, record: AuditRecord, number: int) -> Promotion:
    fact = record.fact
    known = history.memory.pasts.get(record.decision or 0, AliasPast())
    past = AliasPast(history.own.gated(fact.at)[-_MOST:], known.begun, known.override)
    evidence, seen = history.question(lens, number, fact.at, fact.from_version, past)
    decision = evaluate(lens.supposing(seen.unknown), history.model, history.alias, evidence)
    return Promotion(fact.at, fact.from_version, number, fact.actor, decision, seen.source, seen.unknown)


def _ungated(record: AuditRecord) -> bool:
    """Drift that Promoter put back has no verdict, and a return under a hold has one that no policy gave."""
    fact = record.fact
    drift = fact.verdict is None and fact.actor == PROMOTER
    return fact.kind is Kind.CHANGE and (drift or (fact.verdict is not None and fact.policy is None))
