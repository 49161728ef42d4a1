"""History: who held an alias when, from its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.audit import AuditRecord, ChangeOutcome, is_alias_move
from promoter.domain.evidence import HeldStretch

BEFORE_LEDGER = "before the ledger began"
IntentTimes = Mapping[int, datetime]
"""When the intents of these numbers were recorded: what they became happened after that."""
NO_INTENTS: IntentTimes = {}


@dataclass(frozen=True)
class AliasSpan:
    """A stretch of time in which a version held an alias. `since` None: before the ledger began. `until` None: still.

    `since` is when that was recorded. It began between `not_before` and then; `not_before` None: nobody recorded more.
    `record` is the one that put the version there; None for what was before the ledger began.
    """

    version: int | None
    since: datetime | None
    until: datetime | None
    revision: str | None
    actor: str | None
    reason: str | None
    review: Mapping[str, Any] | None = None
    not_before: datetime | None = None
    record: AuditRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of `history --format json`; `record` is the record's number."""
        return {
            "version": self.version,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "not_before": self.not_before.isoformat() if self.not_before else None,
            "revision": self.revision,
            "actor": self.actor,
            "reason": self.reason,
            "review": self.review,
            "record": self.record.id if self.record else None,
            "hash": self.record.hash if self.record else None,
        }


def collect_intent_times(records: Iterable[AuditRecord]) -> IntentTimes:
    """Of the intents among these records."""
    return {record.id: record.fact.at for record in records if record.fact.outcome is ChangeOutcome.INTENDED}


def build_alias_spans(records: Sequence[AuditRecord], intents: IntentTimes = NO_INTENTS) -> list[AliasSpan]:
    """Who held one alias when, oldest first, from that alias's records in ascending order.

    `intents`: those that are not among the records, though what they became is.
    """
    moves, known = [record for record in records if is_alias_move(record)], {**collect_intent_times(records), **intents}
    found = [build_span(move, then, known) for move, then in zip(moves, [*moves[1:], None], strict=False)]
    before = build_span_before_first(moves[0]) if moves else None
    return [before, *found] if before else found


def build_span(record: AuditRecord, then: AuditRecord | None, intents: IntentTimes) -> AliasSpan:
    """The one that this record began, and `then` ended."""
    fact = record.fact
    end = then.fact.at if then else None
    origin = (fact.revision, fact.actor, fact.reason, fact.review)
    return AliasSpan(fact.to_version, fact.at, end, *origin, find_earliest_time(record, intents), record)


def find_earliest_time(record: AuditRecord, intents: IntentTimes) -> datetime | None:
    """When at the earliest it happened; None: nobody recorded it."""
    return record.fact.not_before or intents.get(record.intent or 0)


def build_span_before_first(first: AuditRecord) -> AliasSpan | None:
    """What was before the first record, where that says so: since when, nobody knows."""
    if first.fact.from_version is None:
        return None
    return AliasSpan(first.fact.from_version, None, first.fact.at, None, None, BEFORE_LEDGER)


def find_longest_stretch(records: Sequence[AuditRecord], version: int, at: datetime) -> HeldStretch | None:
    """The longest time without a break in which the version held the alias of these moves; None where it never did.

    What was before the ledger began does not count, since nobody knows how long it was.
    """
    held = [span for span in build_alias_spans(records) if span.version == version and span.since is not None]
    found = [HeldStretch(span.since, span.until) for span in held if span.since is not None]
    return max(found, key=lambda stretch: (stretch.until or at) - stretch.since, default=None)
