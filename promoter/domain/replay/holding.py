"""Holding: who really held an alias when, as far as the ledger knows, or the registry shows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from promoter.domain.audit import AuditRecord, RecordKind
from promoter.domain.evidence import HeldStretch
from promoter.domain.observed import ModelVersion
from promoter.domain.past.history import AliasSpan, build_alias_spans
from promoter.domain.replay.memory import EvidenceBasis


@dataclass(frozen=True)
class AliasHolder:
    """Who held it. `basis` NOW: concluded from who holds it today; None: not known, and taken for nobody."""

    version: int | None
    basis: EvidenceBasis | None


class AliasTimeline:
    """The past of one alias of one model."""

    def __init__(self, moves: Sequence[AuditRecord], held_now: int | None, versions: Mapping[int, ModelVersion]) -> None:
        """`moves`: the alias's, oldest first. `held_now`: who holds it in the registry."""
        self.moves = moves
        self.spans: tuple[AliasSpan, ...] = tuple(build_alias_spans(list(moves)))
        self._gated = [each.fact.at for each in moves if each.fact.kind is RecordKind.CHANGE and each.fact.verdict is not None]
        self._known = [span for span in self.spans if span.since is not None]
        self._starts = [span.since for span in self._known if span.since]
        self._stretches: dict[int, list[AliasSpan]] = {}
        for span in self._known:
            if span.version is not None:
                self._stretches.setdefault(span.version, []).append(span)
        first = moves[0].fact if moves else None
        self._seen_only = first is None or (first.kind is RecordKind.OBSERVED and first.from_version is None)
        self._before = first.from_version if first else None
        self._guess = first.to_version if first else held_now
        self._versions = versions

    @property
    def recorded_since(self) -> datetime | None:
        """Since when the ledger knows of it; None: it does not."""
        return self.moves[0].fact.at if self.moves else None

    @property
    def first_observation(self) -> AuditRecord | None:
        """The record by which the ledger came to know of an alias that was there before: no move."""
        return self.moves[0] if self.moves and self._seen_only else None

    def list_gated_moves(self, before: datetime) -> tuple[datetime, ...]:
        """When a policy let it move before that moment, which is what limits count."""
        return tuple(self._gated[: bisect_left(self._gated, before)])

    def find_holder_at(self, moment: datetime) -> AliasHolder:
        """Who held it then. Where the ledger cannot know: who was seen first, or is seen now, if that version was there."""
        index = bisect_right(self._starts, moment)
        if index:
            return AliasHolder(self._known[index - 1].version, EvidenceBasis.THEN)
        if not self._seen_only and (self._before not in self._versions or self._was_registered(self._before, moment)):
            return AliasHolder(self._before, EvidenceBasis.THEN)
        if self._guess is not None and self._was_registered(self._guess, moment):
            return AliasHolder(self._guess, EvidenceBasis.NOW)
        return AliasHolder(None, None)

    def knows_version(self, version: ModelVersion) -> bool:
        """Whether the ledger can tell if that version held it: it watched since before the version, or saw it hold it."""
        return self.recorded_since is not None and (
            self.recorded_since <= version.created_at or version.number in self._stretches
        )

    def list_spans_of(self, number: int) -> list[AliasSpan]:
        """When the version held it, as the ledger knows."""
        return self._stretches.get(number, [])

    def find_longest_stretch(self, number: int, moment: datetime) -> HeldStretch | None:
        """The longest time without a break in which it had held it by then, as it would have been told then."""
        found = [
            HeldStretch(span.since, span.until if span.until and span.until <= moment else None)
            for span in self.list_spans_of(number)
            if span.since is not None and span.since <= moment
        ]
        return max(found, key=lambda each: (each.until or moment) - each.since, default=None)

    def _was_registered(self, number: int | None, moment: datetime) -> bool:
        version = self._versions.get(number or 0)
        return version is not None and version.created_at <= moment
