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
from promoter.domain.observed import Unreadable
from promoter.domain.sightings import TagObservation


class EvidenceBasis(StrEnum):
    """Where evidence comes from: the ledger as of THEN, the ledger's first record LATER than that, or MLflow as of NOW."""

    THEN = "then"
    LATER = "later"
    NOW = "now"


WEAKEST_LAST = (EvidenceBasis.THEN, EvidenceBasis.LATER, EvidenceBasis.NOW)


@dataclass(frozen=True)
class EvidenceSource:
    """The basis of a whole judgement: that of its weakest part. `as_of` is the time of the latest record that is LATER."""

    basis: EvidenceBasis = EvidenceBasis.THEN
    as_of: datetime | None = None

    def __or__(self, other: EvidenceSource) -> EvidenceSource:
        """Of both together."""
        basis = max(self.basis, other.basis, key=WEAKEST_LAST.index)
        times = [each.as_of for each in (self, other) if each.as_of]
        return EvidenceSource(basis, max(times, default=None) if basis is EvidenceBasis.LATER else None)

    def to_json(self) -> dict[str, Any]:
        """`basis` and `as_of`."""
        return {"basis": self.basis.value, "as_of": self.as_of.isoformat() if self.as_of else None}


SOURCE_THEN, SOURCE_NOW = EvidenceSource(EvidenceBasis.THEN), EvidenceSource(EvidenceBasis.NOW)


@dataclass
class PartTrack:
    """One part of one version over time: only its changes."""

    times: list[datetime] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add_value(self, at: datetime, value: Any) -> None:
        """What it was at that time, which is none before the last."""
        if not self.values or self.values[-1] != value:
            self.times.append(max([at, *self.times[-1:]]))
            self.values.append(value)

    def recall_value(self, at: datetime) -> tuple[Any, EvidenceSource]:
        """The last value at or before that time; else the first one after it."""
        index = bisect_right(self.times, at)
        return (
            (self.values[index - 1], SOURCE_THEN)
            if index
            else (self.values[0], EvidenceSource(EvidenceBasis.LATER, self.times[0]))
        )


EvidencePart = str | MetricRef
"""`tags`, `run`, `ensure_logged_model`, `signature` or `loading`; a metric stands for its values over the steps."""


@dataclass
class VersionTrack:
    """What the ledger recorded of one version.

    `seen_tags` are sightings by tag, `sightings` the same in their order, `digests` those of the policies that judged it.
    """

    parts: dict[EvidencePart, PartTrack] = field(default_factory=dict)
    seen_tags: dict[str, PartTrack] = field(default_factory=dict)
    sightings: list[TagObservation] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    def list_change_times(self, *, first: bool) -> Iterator[datetime]:
        """When something new of it was recorded. The `first` record of a part is no news: it is what was recalled before."""
        for track in self.parts.values():
            yield from track.times if first else track.times[1:]
        for track in self.seen_tags.values():
            yield from track.times

    def add_evidence(self, evidence: VersionEvidence, at: datetime) -> None:
        """What a decision saw of it. What no rule of that decision asked for is not there, and teaches nothing."""
        values: dict[EvidencePart, Any] = {"tags": evidence.tags}
        if evidence.run is not None:
            values["run"] = evidence.run
        if evidence.loading is not None:
            values["loading"] = evidence.loading
        for part in ("logged_model", "signature"):
            value = getattr(evidence, part)
            if not isinstance(value, Unreadable):
                values[part] = value
        values |= {series.metric: series for series in evidence.series}
        for key, value in values.items():
            self.parts.setdefault(key, PartTrack()).add_value(at, value)

    def add_observation(self, sighting: TagObservation) -> None:
        """A tag that was seen, or seen missing."""
        self.sightings.append(sighting)
        self.seen_tags.setdefault(sighting.tag, PartTrack()).add_value(sighting.at, sighting.value)


EMPTY_TRACK = VersionTrack()
VersionKey = tuple[str, int]


class EvidenceLog:
    """By model, number and time of creation, since a model that is registered anew may use its numbers again."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._known: dict[VersionKey, dict[datetime, VersionTrack]] = {}
        self.pasts: dict[int, AliasPast] = {}
        """What a recorded decision, by its id, knew of its alias."""
        self.unreadable = 0
        """How many records of evidence are in a form that is not known any more."""

    def add_decision(self, recorded: RecordedDecision) -> None:
        """A decision of the ledger; in their order."""
        try:
            evidence = Evidence.from_json(recorded.evidence or {})
        except ValueError:
            self.unreadable += 1
            return
        model = str(recorded.tree.get("model"))
        for version in (evidence.candidate, *evidence.holders.values()):
            if version is not None and version.created_at is not None:
                self._ensure_version_track(model, version.version, version.created_at).add_evidence(version, recorded.at)
        candidate = evidence.candidate
        if candidate.created_at is not None:
            self._ensure_version_track(model, candidate.version, candidate.created_at).digests.add(
                str(recorded.tree.get("policy_digest"))
            )
        if evidence.past is not None:
            self.pasts[recorded.id] = evidence.past

    def add_observation(self, sighting: TagObservation) -> None:
        """A sighting of the ledger; in their order."""
        self._ensure_version_track(sighting.model, sighting.version, sighting.created_at).add_observation(sighting)

    def find_version_track(self, model: str, number: int, created_at: datetime | None) -> VersionTrack:
        """What is known of that version; `created_at` None, for one that is gone: of the last one of that number."""
        found: Mapping[datetime, VersionTrack] = self._known.get((model, number), {})
        if created_at is None:
            return found[max(found)] if found else EMPTY_TRACK
        return found.get(created_at, EMPTY_TRACK)

    def _ensure_version_track(self, model: str, number: int, created_at: datetime) -> VersionTrack:
        return self._known.setdefault((model, number), {}).setdefault(created_at, VersionTrack())
