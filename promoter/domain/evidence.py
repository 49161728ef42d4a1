"""Evidence: what a decision may use, gathered beforehand, for one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from promoter.domain.identity import VersionIdentity
from promoter.domain.observed import (
    CopyOrigin,
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricSeries,
    MetricValue,
    ModelVersion,
    ReadinessCheck,
    TrainingRun,
    Unreadable,
    VersionSignature,
    find_copy_origin,
)
from promoter.domain.review import ChangeOrigin

NOT_REQUESTED = Unreadable("it was not asked for")


@dataclass(frozen=True)
class Need:
    """What rules need, so that evidence for many candidates is read in bulk, and nothing else is read."""

    run: bool = False
    """The training run, with the last value of each metric."""
    experiment: bool = False
    """The name of the run's experiment."""
    logged_model: bool = False
    """The logged model, with the last value of each metric on each dataset."""
    series: frozenset[MetricRef] = frozenset()
    """Metrics of which every value over the steps is needed."""
    signature: bool = False
    loading: bool = False
    """The result of loading the artifact, which costs seconds: only asked for where everything else passes."""
    description: bool = False
    """The description of the version or of its model."""
    review: bool = False
    """The pull request that brings the change."""
    holders: frozenset[str] = frozenset()
    """Aliases whose holder a rule compares with."""
    held: frozenset[str] = frozenset()
    """Aliases of which it matters how long the version held them."""
    watched: frozenset[str] = frozenset()
    """Tags of which it matters, for every version, when they were set."""
    tags: frozenset[str] = frozenset()
    """Tags of which it matters, for copies, when they were set."""
    teams: frozenset[str] = frozenset()
    """Teams of the forge whose members matter."""

    def __or__(self, other: Need) -> Need:
        return Need(**{each.name: getattr(self, each.name) | getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True)
class HeldStretch:
    """A time in which a version held an alias without a break."""

    since: datetime
    until: datetime | None = None
    """Its end; None: the version still holds the alias."""


@dataclass(frozen=True)
class VersionEvidence:
    """What is known of one version. What no rule needs is NOT_REQUESTED, None or empty."""

    version: int
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    run: TrainingRun | None = None
    """Its training run; None where there is none that can be read."""
    created_at: datetime | None = None
    source: str | None = None
    copied: bool = False
    """Whether it is a copy of another version."""
    witnessed: frozenset[str] = frozenset()
    """Tags whose present value the ledger saw being set after the version was there."""
    logged_model: LoggedModel | Unreadable | None = NOT_REQUESTED
    """The logged model that it was registered from; None: it was registered from none."""
    series: tuple[MetricSeries, ...] = ()
    """Values over the steps, of the metrics that rules need so."""
    signature: VersionSignature | Unreadable | None = NOT_REQUESTED
    """Its signature; None: its artifact has none."""
    loading: LoadingResult | None = None
    """The result of loading its artifact; None: not tried."""
    held: Mapping[str, HeldStretch] = field(default_factory=dict)
    """The longest stretch in which it held an alias, by alias."""
    seen: Mapping[str, datetime] = field(default_factory=dict)
    """When a tag was first observed with the value that it has now, by tag."""
    checked: ReadinessCheck | None = None
    """The result of a readiness check; None: none was made."""
    description: str | Unreadable | None = NOT_REQUESTED
    """What people wrote about the version, or else about its model; None: nothing."""
    model_created_at: datetime | None = None
    """When its model was registered; None: unknown."""
    replaced: bool = False
    """Whether the ledger knows another version of its number, so that a waiver of the number may mean that one."""

    @property
    def identity(self) -> str | None:
        """The text of its identity; None where it is not known."""
        if self.model_created_at is None or self.created_at is None:
            return None
        return VersionIdentity(self.model_created_at, self.version, self.created_at, self.run_id, self.source).text

    @property
    def copied_from(self) -> CopyOrigin | None:
        """The version that it is a copy of; None where it is no copy, or nobody knows."""
        return find_copy_origin(self.source, self.tags, self.run_id)

    def find_measurement(self, metric: MetricRef) -> MetricValue | None:
        """Return the last value of the metric, of that source and on that dataset; None where there is none."""
        if metric.source == "run":
            value = self.run.metrics.get(metric.name) if self.run else None
            return None if value is None else MetricValue(metric.name, value)
        found = self.logged_model.metrics if isinstance(self.logged_model, LoggedModel) else ()
        return next((each for each in found if (each.name, each.dataset) == (metric.name, metric.dataset)), None)

    def find_other_sources(self, metric: MetricRef) -> tuple[MetricRef, ...]:
        """Return where else the version has a metric of that name."""
        found = [MetricRef(metric.name)] if self.run and metric.name in self.run.metrics else []
        if isinstance(self.logged_model, LoggedModel):
            found += [
                MetricRef(metric.name, "logged_model", each.dataset)
                for each in self.logged_model.metrics
                if each.name == metric.name
            ]
        return tuple(each for each in found if each != metric)

    def find_step_values(self, metric: MetricRef) -> Mapping[int, float]:
        """Return the values of the metric by step."""
        return dict(next((each.points for each in self.series if each.metric == metric), ()))


@dataclass(frozen=True)
class AliasPast:
    """What decides, of an alias's own past, whether it may move now."""

    moves: tuple[datetime, ...] = ()
    """The times of the gated moves that the ledger knows."""
    begun: datetime | None = None
    """When the change under way began, since what has begun may finish in a freeze; None: none is under way."""
    override: str | None = None
    """The reason that a commit gives for going past a freeze."""


@dataclass(frozen=True)
class Evidence:
    """All that one decision may use."""

    at: datetime
    candidate: VersionEvidence
    """The version in question."""
    holders: Mapping[str, VersionEvidence | None] = field(default_factory=dict)
    """The holders of the aliases that it is compared with, by alias; None: nobody holds it."""
    past: AliasPast | None = None
    """The past of the alias that would move; None: none would."""
    model: str = ""
    origin: ChangeOrigin | Unreadable | None = NOT_REQUESTED
    """The pull request that brings the move; None: it came without one; NOT_REQUESTED: nobody proposed it so far."""
    artifact_waiver: str | None = None
    """Who wants the version back without a check of its artifact, and why; None: nobody said so."""

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as the ledger keeps it. NaN and infinities become text, since JSON has no word for them."""
        tree: dict[str, Any] = json.loads(_EvidenceEnvelope(evidence=self).model_dump_json(exclude_defaults=True))["evidence"]
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Evidence:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        return _EvidenceEnvelope.model_validate({"evidence": tree}).evidence


class _EvidenceEnvelope(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings", extra="forbid")

    evidence: Evidence


@dataclass(frozen=True)
class TagObservation:
    """A tag of a version as it was observed at a time."""

    model: str
    version: int
    created_at: datetime
    """The version's own: a model that is deleted and registered anew may use its numbers again."""
    tag: str
    value: str | None
    """Its value; None: the version was there without the tag."""
    at: datetime


def find_new_observations(
    model: str,
    versions: Iterable[ModelVersion],
    tags: Iterable[str],
    known: Iterable[TagObservation],
    at: datetime,
    *,
    missing: bool = True,
) -> tuple[TagObservation, ...]:
    """Return what these tags show now and the last observations do not; with `missing`, also that one was never there."""
    last = {(each.version, each.created_at, each.tag): each.value for each in known}
    watched = sorted(set(tags))
    found = []
    for version in versions:
        for tag in watched:
            key = (version.number, version.created_at, tag)
            value = version.tags.get(tag)
            if last[key] != value if key in last else (missing or value is not None):
                found.append(TagObservation(model, version.number, version.created_at, tag, value, at))
    return tuple(found)


def find_first_seen_times(version: ModelVersion, known: Iterable[TagObservation]) -> dict[str, datetime]:
    """Return, by tag, since when each was observed with its present value without a break. `known` has the oldest first."""
    rows: dict[str, tuple[str | None, datetime]] = {}
    for each in known:
        if (each.version, each.created_at) == (version.number, version.created_at):
            value, _ = rows.get(each.tag, (None, each.at))
            if each.tag not in rows or value != each.value:
                rows[each.tag] = (each.value, each.at)
    return {tag: at for tag, (value, at) in sorted(rows.items()) if value is not None and version.tags.get(tag) == value}


def find_witnessed_tags(version: ModelVersion, known: Iterable[TagObservation]) -> frozenset[str]:
    """Return the tags whose present value was set while the ledger knew the version without it or with another value."""
    before: dict[str, str | None] = {}
    changed: dict[str, str] = {}
    for each in known:
        if (each.version, each.created_at) != (version.number, version.created_at):
            continue
        if each.tag in before and each.value is not None and before[each.tag] != each.value:
            changed[each.tag] = each.value
        before[each.tag] = each.value
    held: Mapping[str, str] = version.tags
    seen_before = {tag for tag, value in held.items() if tag in before and before[tag] != value}
    return frozenset({tag for tag, value in changed.items() if held.get(tag) == value == before[tag]} | seen_before)
