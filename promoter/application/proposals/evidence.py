"""What a proposal's pull request shows beside its decision: the version against the one that it replaces, read in bulk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from promoter.application.ports import Evidenced, Key, Registry
from promoter.domain.evidence import VersionEvidence
from promoter.domain.metrics import MetricRef
from promoter.domain.observed import LoggedModel, ObservedModel, Run, Signature, Unread
from promoter.domain.policy import Policy
from promoter.domain.proposal import Proposal
from promoter.domain.requirements import changes

ROWS = 40
"""So many metrics are compared: those of the policy first."""
VERSIONS = 20
"""So many versions are in the picture: the newest, up to the ones that are compared."""

Differences = tuple[str, ...] | Unread
"""In words; none: the same."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of both. None: there is no such value."""

    metric: str
    value: float | None
    was: float | None


@dataclass(frozen=True)
class Past:
    """A metric over the versions, ascending; those without a finite value are left out."""

    metric: MetricRef
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Comparison:
    """A version against the one that it replaces. `replaces` None: there is none; then nothing has changed either.

    `more`: how many metrics are left out.
    """

    version: int
    replaces: int | None = None
    metrics: tuple[MetricRow, ...] = ()
    more: int = 0
    signature: Differences | None = None
    requirements: Differences | None = None
    past: Past | None = None


@dataclass(frozen=True)
class Subject:
    """A proposal for a version, the policy of its alias (None: it has none), and its model as it was observed."""

    proposal: Proposal
    policy: Policy | None
    observed: ObservedModel

    @property
    def pair(self) -> tuple[Evidenced, ...]:
        """The version, and the one that it replaces, as far as they are there."""
        return self.evidenced(each for each in (self.proposal.edit.version, self.proposal.replaces) if each is not None)

    @property
    def pictured(self) -> tuple[Evidenced, ...]:
        """The versions in the picture."""
        if self.policy is None or self.policy.rank_metric is None:
            return ()
        last = max((each.version.number for each in self.pair), default=0)
        return self.evidenced(sorted(each for each in self.observed.versions if each <= last)[-VERSIONS:])

    def evidenced(self, numbers: Iterable[int]) -> tuple[Evidenced, ...]:
        """The versions of those numbers."""
        versions = self.observed.versions
        return tuple(Evidenced(self.observed.name, versions[number]) for number in numbers if number in versions)


@dataclass
class _Wanted:
    """What all subjects together ask for."""

    run_ids: set[str] = field(default_factory=set)
    logged_models: dict[Key, Evidenced] = field(default_factory=dict)
    pairs: dict[Key, Evidenced] = field(default_factory=dict)

    def add(self, subject: Subject) -> None:
        rank = subject.policy.rank_metric if subject.policy else None
        used = subject.policy.setting.used if subject.policy else ()
        self.run_ids |= {each.version.run_id for each in (*subject.pair, *subject.pictured) if each.version.run_id}
        if rank is not None and rank.source == "logged_model":
            self.logged_models |= {each.key: each for each in subject.pictured}
        if any(metric.source == "logged_model" for metric in used):
            self.logged_models |= {each.key: each for each in subject.pair}
        if subject.proposal.replaces is not None:
            self.pairs |= {each.key: each for each in subject.pair}


@dataclass(frozen=True)
class _Read:
    runs: Mapping[str, Run]
    logged_models: Mapping[Key, LoggedModel | Unread | None]
    signatures: Mapping[Key, Signature | Unread | None]
    requirements: Mapping[Key, tuple[str, ...] | Unread | None]

    def evidence(self, each: Evidenced) -> VersionEvidence:
        run = self.runs.get(each.version.run_id) if each.version.run_id else None
        return VersionEvidence(each.version.number, run=run, logged_model=self.logged_models.get(each.key))


class Comparer:
    """Makes comparisons. Reads only."""

    def __init__(self, registry: Registry) -> None:
        """Takes the port that it reads."""
        self._registry = registry

    def __call__(self, subjects: Iterable[Subject]) -> list[Comparison | None]:
        """One for each, each kind of evidence in one read; None for a proposal without a version."""
        asked, wanted, registry = list(subjects), _Wanted(), self._registry
        for subject in asked:
            wanted.add(subject)
        pairs = list(wanted.pairs.values())
        read = _Read(
            registry.runs(sorted(wanted.run_ids)) if wanted.run_ids else {},
            registry.logged_models(list(wanted.logged_models.values())) if wanted.logged_models else {},
            registry.signatures(pairs) if pairs else {},
            registry.requirements(pairs) if pairs else {},
        )
        return [_compared(subject, read) for subject in asked]


def _compared(subject: Subject, read: _Read) -> Comparison | None:
    edit, replaces = subject.proposal.edit, subject.proposal.replaces
    if edit.version is None:
        return None
    rows = _rows(subject, read)
    keys = (edit.model, edit.version), (edit.model, replaces or 0)
    both = replaces is not None
    return Comparison(
        version=edit.version,
        replaces=replaces,
        metrics=tuple(rows[:ROWS]),
        more=max(len(rows) - ROWS, 0),
        signature=_signature(*(read.signatures.get(key) for key in keys)) if both else None,
        requirements=_requirements(*(read.requirements.get(key) for key in keys)) if both else None,
        past=_past(subject, read),
    )


def _rows(subject: Subject, read: _Read) -> list[MetricRow]:
    """The policy's metrics first, then what else the run of the version has."""
    found = {each.version.number: read.evidence(each) for each in subject.pair}
    ours = found.get(subject.proposal.edit.version or 0)
    theirs = found.get(subject.proposal.replaces or 0)
    used = subject.policy.setting.used if subject.policy else ()
    logged = sorted(ours.run.metrics) if ours and ours.run else []
    wanted = dict.fromkeys([*used, *(MetricRef(name) for name in logged)])
    return [MetricRow(str(metric), _value(ours, metric), _value(theirs, metric)) for metric in wanted]


def _value(evidence: VersionEvidence | None, metric: MetricRef) -> float | None:
    measured = evidence.measured(metric) if evidence else None
    return measured.value if measured else None


def _past(subject: Subject, read: _Read) -> Past | None:
    metric = subject.policy.rank_metric if subject.policy else None
    if metric is None:
        return None
    found = [(each.version.number, _value(read.evidence(each), metric)) for each in subject.pictured]
    return Past(metric, tuple((number, value) for number, value in found if value is not None and math.isfinite(value)))


def _signature(ours: Signature | Unread | None, theirs: Signature | Unread | None) -> Differences:
    for each in (ours, theirs):
        if isinstance(each, Unread):
            return each
    mine = ours if isinstance(ours, Signature) else None
    other = theirs if isinstance(theirs, Signature) else None
    if mine is None or other is None:
        return () if mine is other else ("it has no signature any more" if mine is None else "it has a signature now",)
    return tuple(mine.differences(other))


def _requirements(ours: tuple[str, ...] | Unread | None, theirs: tuple[str, ...] | Unread | None) -> Differences:
    for each in (ours, theirs):
        if isinstance(each, Unread):
            return each
    mine = ours if isinstance(ours, tuple) else None
    other = theirs if isinstance(theirs, tuple) else None
    if mine is None or other is None:
        return () if mine is other else ("it lists none any more" if mine is None else "it lists some now",)
    return tuple(changes(mine, other))
