"""Memory: what the ledger recorded of versions, part by part, so that one can ask what was known at a moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from promoter.domain.audit import RecordedDecision
from promoter.domain.evidence import AliasPast, Evidence, VersionEvidence
from promoter.domain.metrics import MetricRef
from promoter.domain.observed import Unread
from promoter.domain.sightings import Sighting


class Basis(StrEnum):
    """Where evidence comes from: the ledger as of THEN, the ledger's first record LATER than that, or MLflow as of NOW."""

    THEN = "then"
    LATER = "later"
    NOW = "now"


WEAKEST = (Basis.THEN, Basis.LATER, Basis.NOW)


@dataclass(frozen=True)
class Source:
    """The basis of a whole judgement: that of its weakest part. `as_of` is the time of the latest record that is LATER."""

    basis: Basis = Basis.THEN
    as_of: datetime | None = None

    def __or__(self, other: Source) -> Source:
        """Of both together."""
        basis = max(self.basis, other.basis, key=WEAKEST.index)
        times = [each.as_of for each in (self, other) if each.as_of]
        return Source(basis, max(times, default=None) if basis is Basis.LATER else None)

    def as_json(self) -> dict[str, Any]:
        """`basis` and `as_of`."""
        return {"basis": self.basis.value, "as_of": self.as_of.isoformat() if self.as_of else None}


THEN, NOW = Source(Basis.THEN), Source(Basis.NOW)


@dataclass
class Track:
    """One part of one version over time: only its changes."""

    times: list[datetime] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def learn(self, at: datetime, value: Any) -> None:
        """What it was at that time, which is none before the last."""
        if not self.values or self.values[-1] != value:
            self.times.append(max([at, *self.times[-1:]]))
            self.values.append(value)

    def recall(self, at: datetime) -> tuple[Any, Source]:
        """The last value at or before that time; else the first one after it."""
        index = bisect_right(self.times, at)
        return (self.values[index - 1], THEN) if index else (self.values[0], Source(Basis.LATER, self.times[0]))


Part = str | MetricRef
"""`tags`, `run`, `logged_model`, `signature` or `loading`; a metric stands for its values over the steps."""


@dataclass
class Known:
    """What the ledger recorded of one version.

    `seen_tags` are sightings by tag, `sightings` the same in their order, `digests` those of the policies that judged it.
    """

    parts: dict[Part, Track] = field(default_factory=dict)
    seen_tags: dict[str, Track] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    def changes(self, *, first: bool) -> Iterator[datetime]:
        """When something new of it was recorded. The `first` record of a part is no news: it is what was recalled before."""
        for track in self.parts.values():
            yield from track.times if first else track.times[1:]
        for track in self.seen_tags.values():
            yield from track.times

    def learn(self, evidence: VersionEvidence, at: datetime) -> None:
        """What a decision saw of it. What no rule of that decision asked for is not there, and teaches nothing."""
        told: dict[Part, Any] = {"tags": evidence.tags}
        if evidence.run is not None:
            told["run"] = evidence.run
        if evidence.loading is not None:
            told["loading"] = evidence.loading
        for part in ("logged_model", "signature"):
            value = getattr(evidence, part)
            if not isinstance(value, Unread):
                told[part] = value
        told |= {series.metric: series for series in evidence.series}
        for key, value in told.items():
            self.parts.setdefault(key, Track()).learn(at, value)

    def sight(self, sighting: Sighting) -> None:
        """A tag that was seen, or seen missing."""
        self.sightings.append(sighting)
        self.seen_tags.setdefault(sighting.tag, Track()).learn(sighting.at, sighting.value)


NOTHING = Known()
Key = tuple[str, int]


class Memory:
    """By model, number and time of creation, since a model that is registered anew may use its numbers again."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._known: dict[Key, dict[datetime, Known]] = {}
        self.pasts: dict[int, AliasPast] = {}
        """What a recorded decision, by its id, knew of its alias."""
        self.unreadable = 0
        """How many records of evidence are in a form that is not known any more."""

    def learn(self, recorded: RecordedDecision) -> None:
        """A decision of the ledger; in their order."""
        try:
            evidence = Evidence.from_json(recorded.evidence or {})
        except ValueError:
            self.unreadable += 1
            return
        model = str(recorded.tree.get("model"))
        for version in (evidence.candidate, *evidence.holders.values()):
            if version is not None and version.created_at is not None:
                self._of(model, version.version, version.created_at).learn(version, recorded.at)
        candidate = evidence.candidate
        if candidate.created_at is not None:
            self._of(model, candidate.version, candidate.created_at).digests.add(str(recorded.tree.get("policy_digest")))
        if evidence.past is not None:
            self.pasts[recorded.id] = evidence.past

    def sight(self, sighting: Sighting) -> None:
        """A sighting of the ledger; in their order."""
        self._of(sighting.model, sighting.version, sighting.created_at).sight(sighting)

    def of(self, model: str, number: int, created_at: datetime | None) -> Known:
        """What is known of that version; `created_at` None, for one that is gone: of the last one of that number."""
        found: Mapping[datetime, Known] = self._known.get((model, number), {})
        if created_at is None:
            return found[max(found)] if found else NOTHING
        return found.get(created_at, NOTHING)

    def _of(self, model: str, number: int, created_at: datetime) -> Known:
        return self._known.setdefault((model, number), {}).setdefault(created_at, Known())
