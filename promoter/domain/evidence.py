"""Evidence: what a decision may look at, gathered beforehand, at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from promoter.domain.observed import (
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
)
from promoter.domain.review import ChangeOrigin

NOT_REQUESTED = Unreadable("it was not asked for")


@dataclass(frozen=True)
class Need:
    """What rules ask for, so that evidence for many candidates is gathered in bulk, and only that.

    `holders` are aliases whose holder a rule compares with, `held` aliases of which it matters how long the version held
    them, `watched` tags of which it matters when they were set, `ensure_logged_model` and `series` metrics beyond the run's last
    values, and `loading` the one that costs seconds: it is asked for only where everything else passes. `description` is that of
    the version or of its model, `review` the pull request that brings the change, and `teams` those whose members matter there.
    """

    run: bool = False
    experiment: bool = False
    logged_model: bool = False
    series: frozenset[MetricRef] = frozenset()
    signature: bool = False
    loading: bool = False
    description: bool = False
    review: bool = False
    holders: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    watched: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()

    def __or__(self, other: Need) -> Need:
        """What both ask for."""
        return Need(**{each.name: getattr(self, each.name) | getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True)
class HeldStretch:
    """A time in which a version held an alias without a break. `until` None: it still does."""

    since: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class VersionEvidence:
    """What is known of one version.

    `run` is None where there is none that can be read. `witnessed` are the tags that the ledger saw being set, with the
    value that they have, after the version was there; `seen` is when a tag that rules look at was first seen with the value
    that it has. `held` is the longest stretch by alias, `checked` what a check for readiness showed. What no rule asked for is
    NOT_READ or None.
    """

    version: int
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    run: TrainingRun | None = None
    created_at: datetime | None = None
    source: str | None = None
    copied: bool = False
    witnessed: frozenset[str] = frozenset()
    logged_model: LoggedModel | Unreadable | None = NOT_REQUESTED
    series: tuple[MetricSeries, ...] = ()
    signature: VersionSignature | Unreadable | None = NOT_REQUESTED
    loading: LoadingResult | None = None
    held: Mapping[str, HeldStretch] = field(default_factory=dict)
    seen: Mapping[str, datetime] = field(default_factory=dict)
    checked: ReadinessCheck | None = None
    description: str | Unreadable | None = NOT_REQUESTED
    """What people wrote about the version, or else about its model; None: nothing."""

    def find_measurement(self, metric: MetricRef) -> MetricValue | None:
        """The last value of the metric, of that source and on that dataset; None where there is none."""
        if metric.source == "run":
            value = self.run.metrics.get(metric.name) if self.run else None
            return None if value is None else MetricValue(metric.name, value)
        found = self.logged_model.metrics if isinstance(self.logged_model, LoggedModel) else ()
        return next((each for each in found if (each.name, each.dataset) == (metric.name, metric.dataset)), None)

    def find_other_sources(self, metric: MetricRef) -> tuple[MetricRef, ...]:
        """Where else the version has a metric of that name."""
        found = [MetricRef(metric.name)] if self.run and metric.name in self.run.metrics else []
        if isinstance(self.logged_model, LoggedModel):
            found += [
                MetricRef(metric.name, "logged_model", each.dataset)
                for each in self.logged_model.metrics
                if each.name == metric.name
            ]
        return tuple(each for each in found if each != metric)

    def find_step_values(self, metric: MetricRef) -> Mapping[int, float]:
        """Step to value of the metric."""
        return dict(next((each.points for each in self.series if each.metric == metric), ()))


@dataclass(frozen=True)
class AliasPast:
    """What matters of an alias's own past to whether it may move now.

    `moves` are the gated moves that the ledger knows, `begun` is when the change under way began (what has begun finishes),
    `override` the reason that a commit gives for going past a freeze.
    """

    moves: tuple[datetime, ...] = ()
    begun: datetime | None = None
    override: str | None = None


@dataclass(frozen=True)
class Evidence:
    """The candidate, and who holds the aliases that it is compared with (None: nobody).

    `past` is None where no move of an alias is in question. `origin` is the pull request that brings the move: None where it
    came without one, NOT_READ where there is no telling yet (a candidate that nobody proposed so far).
    """

    at: datetime
    candidate: VersionEvidence
    holders: Mapping[str, VersionEvidence | None] = field(default_factory=dict)
    past: AliasPast | None = None
    model: str = ""
    origin: ChangeOrigin | Unreadable | None = NOT_REQUESTED

    def to_json(self) -> dict[str, Any]:
        """For the ledger. NaN and infinities become text, since JSON has no word for them."""
        tree: dict[str, Any] = json.loads(_EvidenceEnvelope(evidence=self).model_dump_json(exclude_defaults=True))["evidence"]
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Evidence:
        """What `to_json` told. Raises ValueError for anything else."""
        return _EvidenceEnvelope.model_validate({"evidence": tree}).evidence


class _EvidenceEnvelope(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings", extra="forbid")

    evidence: Evidence


@dataclass(frozen=True)
class TagObservation:
    """A tag of a version as it was seen: its value, None where the version was there without it.

    `created_at` is the version's own: a model that is deleted and registered anew may use its numbers again.
    """

    model: str
    version: int
    created_at: datetime
    tag: str
    value: str | None
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
    """What these versions' tags show now and the last sightings do not; `missing`: also that one was never there."""
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
    """When each tag was first seen with the value that it has now, in an unbroken row of sightings; oldest come first."""
    rows: dict[str, tuple[str | None, datetime]] = {}
    for each in known:
        if (each.version, each.created_at) == (version.number, version.created_at):
            value, _ = rows.get(each.tag, (None, each.at))
            if each.tag not in rows or value != each.value:
                rows[each.tag] = (each.value, each.at)
    return {tag: at for tag, (value, at) in sorted(rows.items()) if value is not None and version.tags.get(tag) == value}


def find_witnessed_tags(version: ModelVersion, known: Iterable[TagObservation]) -> frozenset[str]:
    """The tags whose present value was set while the ledger knew the version without it, or with another value."""
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
