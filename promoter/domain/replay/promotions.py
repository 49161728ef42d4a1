"""Promotions: what a policy would have said of each move that the alias really made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from promoter.domain.audit import AuditRecord, RecordKind
from promoter.domain.evaluate import evaluate_policy
from promoter.domain.evidence import AliasPast
from promoter.domain.replay.history import ReplayHistory
from promoter.domain.replay.memory import EvidenceSource
from promoter.domain.replay.supposing import ReplayPolicy
from promoter.domain.verdict import Decision, Verdict

PROMOTER_ACTOR = "Promoter"
"""The actor of drift that is put back; a rotation's is the author of its commit."""
_MOST_PAST_MOVES = 1_000  # no limit looks back further


@dataclass(frozen=True)
class JudgedPromotion:
    """A real move to a version, and what the policy says of it. `actor` None: not known."""

    at: datetime
    from_version: int | None
    to_version: int
    actor: str | None
    decision: Decision
    source: EvidenceSource
    supposed: frozenset[str] = frozenset()

    @property
    def is_blocked(self) -> bool:
        """Whether the policy would not have let it through (under `enforcement: audit`: would have said so)."""
        return self.decision.verdict is not Verdict.PASS


@dataclass(frozen=True)
class PastPromotions:
    """Every real move of the alias in the time of the replay; `ungated` of them no policy is asked about."""

    promotions: tuple[JudgedPromotion, ...] = ()
    ungated: int = 0


def judge_past_promotions(history: ReplayHistory, lens: ReplayPolicy, since: datetime, until: datetime) -> PastPromotions:
    """Each on the evidence of its time, against who really held the alias, with the limits of that time.

    Left out are deletions, and what is no new decision: the record by which the ledger first saw the alias, drift that was
    put back, and a version that returned under a hold.
    """
    found, ungated = [], 0
    for record in history.replayed_timeline.moves:
        if (
            not since <= record.fact.at <= until
            or record is history.replayed_timeline.first_observation
            or record.fact.to_version is None
        ):
            continue
        if _is_ungated(record):
            ungated += 1
            continue
        found.append(_judge_promotion(history, lens, record, record.fact.to_version))
    return PastPromotions(tuple(found), ungated)


def _judge_promotion(history: ReplayHistory, lens: ReplayPolicy, record: AuditRecord, number: int) -> JudgedPromotion:
    fact = record.fact
    known = history.memory.pasts.get(record.decision or 0, AliasPast())
    past = AliasPast(history.replayed_timeline.list_gated_moves(fact.at)[-_MOST_PAST_MOVES:], known.begun, known.override)
    evidence, seen = history.build_evidence_as_of(lens, number, fact.at, fact.from_version, past)
    decision = evaluate_policy(lens.assume_unknown(seen.unknown), history.model, history.alias, evidence)
    return JudgedPromotion(fact.at, fact.from_version, number, fact.actor, decision, seen.source, seen.unknown)


def _is_ungated(record: AuditRecord) -> bool:
    """Drift that Promoter put back has no verdict, and a return under a hold has one that no policy gave."""
    fact = record.fact
    drift = fact.verdict is None and fact.actor == PROMOTER_ACTOR
    return fact.kind is RecordKind.CHANGE and (drift or (fact.verdict is not None and fact.policy is None))
