"""Gather evidence: for many questions at once, each kind in one bulk read, and only what a rule looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.ports import Evidenced, Key, Ledger, Registry
from promoter.domain.audit import AuditRecord, Kind
from promoter.domain.evidence import NOT_READ, AliasPast, Evidence, Need, Stretch, VersionEvidence
from promoter.domain.metrics import MetricRef, Series
from promoter.domain.observed import LoggedModel, ObservedModel, Run, Signature, Unread
from promoter.domain.past.history import longest_stretch
from promoter.domain.policy import Policy
from promoter.domain.review import Origin
from promoter.domain.sightings import Sighting, first_seen, witnessed
from promoter.domain.verdict import Purpose

Sights = Mapping[Key, Sequence[Sighting]]
"""What is known of watched tags, by version, oldest first."""


@dataclass(frozen=True, eq=False)
class Question:
    """Whether this version may hold that alias under this policy. `begun`, `override`: see `AliasPast`.

    `origin`: see `Evidence`; `purpose`: see `Decision`.
    """

    observed: ObservedModel
    alias: str | None
    version: int
    policy: Policy
    begun: datetime | None = None
    override: str | None = None
    origin: Origin | Unread | None = NOT_READ
    purpose: Purpose | None = None

    @property
    def rivals(self) -> Mapping[str, int | None]:
        """Who holds the aliases that the policy compares with. The version in question is not its own rival.

        Without an alias in question it is a rival nowhere: what it would have to beat is everybody else.
        """
        held = {alias: self.observed.aliases.get(alias) for alias in self.policy.need.holders}
        own = {alias for alias, number in held.items() if number == self.version and self.alias in (None, alias)}
        return {alias: None if alias in own else number for alias, number in held.items()}

    @property
    def moves(self) -> bool:
        """Whether the alias would move by it: only then its limits matter."""
        return self.alias is not None and self.observed.aliases.get(self.alias) != self.version

    def evidenced(self, number: int | None) -> Evidenced | None:
        """The version of that number, as it was observed."""
        version = self.observed.versions.get(number) if number is not None else None
        return Evidenced(self.observed.name, version) if version else None


@dataclass
class _Wanted:
    """What all questions together ask for."""

    runs: dict[str, bool] = field(default_factory=dict)
    logged_models: dict[Key, Evidenced] = field(default_factory=dict)
    signatures: dict[Key, Evidenced] = field(default_factory=dict)
    series: dict[frozenset[MetricRef], dict[Key, Evidenced]] = field(default_factory=dict)
    moves: set[tuple[str, str]] = field(default_factory=set)

    def add(self, question: Question) -> None:
        need, model = question.policy.need, question.observed.name
        self.moves |= {(model, alias) for alias in need.held}
        if question.moves and question.alias and question.policy.document.limits.bounded:
            self.moves.add((model, question.alias))
        for number in {question.version, *question.rivals.values()}:
            each = question.evidenced(number)
            if each is None:
                continue
            if need.run and each.version.run_id:
                self.runs[each.version.run_id] = self.runs.get(each.version.run_id, False) or need.experiment
            if need.logged_model:
                self.logged_models[each.key] = each
            if need.signature:
                self.signatures[each.key] = each
            if need.series:
                self.series.setdefault(need.series, {})[each.key] = each


@dataclass(frozen=True)
class _Read:
    """What was read."""

    runs: Mapping[str, Run]
    logged_models: Mapping[Key, LoggedModel | Unread | None]
    signatures: Mapping[Key, Signature | Unread | None]
    series: Mapping[frozenset[MetricRef], Mapping[Key, tuple[Series, ...]]]
    moves: Mapping[tuple[str, str], Sequence[AuditRecord]]
    sights: Sights


class Gatherer:
    """Gathers evidence. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger

    def __call__(self, questions: Iterable[Question], at: datetime, sights: Sights) -> dict[Question, Evidence]:
        """One piece of evidence a question."""
        asked = list(questions)
        wanted = _Wanted()
        for question in asked:
            wanted.add(question)
        read = self._read(wanted, sights)
        return {question: _evidence(question, read, at) for question in asked}

    def _read(self, wanted: _Wanted, sights: Sights) -> _Read:
        registry = self._registry
        plain = [run_id for run_id, named in wanted.runs.items() if not named]
        with_experiment = [run_id for run_id, named in wanted.runs.items() if named]
        runs = dict(registry.runs(plain)) if plain else {}
        runs |= registry.runs(with_experiment, experiments=True) if with_experiment else {}
        return _Read(
            runs,
            registry.logged_models(list(wanted.logged_models.values())) if wanted.logged_models else {},
            registry.signatures(list(wanted.signatures.values())) if wanted.signatures else {},
            {metrics: registry.series(list(versions.values()), metrics) for metrics, versions in wanted.series.items()},
            self._ledger.moves(wanted.moves) if wanted.moves else {},
            sights,
        )


def _evidence(question: Question, read: _Read, at: datetime) -> Evidence:
    return Evidence(
        at=at,
        candidate=_version(question, question.version, read, at),
        holders={
            alias: None if number is None else _version(question, number, read, at) for alias, number in question.rivals.items()
        },
        past=_past(question, read),
        model=question.observed.name,
        origin=question.origin,
    )


def told_by_registry(observed: ObservedModel, number: int) -> VersionEvidence:
    """What the registry itself says of a version; nothing but its number, where it has none of that number."""
    version = observed.versions.get(number)
    if version is None:
        return VersionEvidence(number)
    return VersionEvidence(
        version=number,
        tags=version.tags,
        run_id=version.run_id,
        created_at=version.created_at,
        source=version.source,
        copied=version.copied,
    )


def _version(question: Question, number: int, read: _Read, at: datetime) -> VersionEvidence:
    each, need = question.evidenced(number), question.policy.need
    if each is None:
        return VersionEvidence(number)
    version, key = each.version, each.key
    return replace(
        told_by_registry(question.observed, number),
        run=read.runs.get(version.run_id) if need.run and version.run_id else None,
        witnessed=witnessed(version, read.sights.get(key, ())),
        seen=first_seen(version, read.sights.get(key, ())),
        logged_model=read.logged_models.get(key) if need.logged_model else NOT_READ,
        series=read.series.get(need.series, {}).get(key, ()),
        signature=read.signatures.get(key) if need.signature else NOT_READ,
        held=_held(each, need, read, at),
    )


def _held(each: Evidenced, need: Need, read: _Read, at: datetime) -> dict[str, Stretch]:
    found = {
        alias: longest_stretch(read.moves.get((each.model, alias), ()), each.version.number, at) for alias in sorted(need.held)
    }
    return {alias: stretch for alias, stretch in found.items() if stretch}


def _past(question: Question, read: _Read) -> AliasPast | None:
    if not question.moves or question.alias is None:
        return None
    records = read.moves.get((question.observed.name, question.alias), ())
    # Gated moves only: that drift was put back is no decision, and must not start a cooldown.
    gated = tuple(each.fact.at for each in records if each.fact.kind is Kind.CHANGE and each.fact.verdict is not None)
    return AliasPast(gated, question.begun, question.override)
