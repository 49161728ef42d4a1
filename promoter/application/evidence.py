"""Evidence: gathered for many questions at once, each kind in one bulk read, and only what a rule needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.ports import AuditLog, EvidenceTarget, ObservationLog, Registry, VersionKey
from promoter.domain.audit import AuditRecord, RecordKind
from promoter.domain.decision import DecisionPurpose
from promoter.domain.desired import Declaration, ModelIntent
from promoter.domain.evidence import (
    NOT_REQUESTED,
    AliasPast,
    Evidence,
    HeldStretch,
    Need,
    TagObservation,
    VersionEvidence,
    find_first_seen_times,
    find_new_observations,
    find_witnessed_tags,
)
from promoter.domain.history import find_longest_stretch
from promoter.domain.identity import PresentVersion
from promoter.domain.observed import (
    LoggedModel,
    MetricRef,
    MetricSeries,
    ModelVersion,
    ObservedModel,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.policy.document import Policy
from promoter.domain.review import ChangeOrigin

ObservationsByVersion = Mapping[VersionKey, Sequence[TagObservation]]
"""What is known of watched tags, by version, oldest first."""


@dataclass(frozen=True, eq=False)
class PolicyQuestion:
    """Whether this version may hold that alias under this policy."""

    observed: ObservedModel
    alias: str | None
    """None: any alias."""
    version: int
    policy: Policy
    started_at: datetime | None = None
    """When the reconcile's first change began, as in `AliasPast`."""
    override: str | None = None
    """The reason for going past a freeze, as in `AliasPast`."""
    origin: ChangeOrigin | Unreadable | None = NOT_REQUESTED
    """The pull request behind the change, as in `Evidence`."""
    purpose: DecisionPurpose | None = None
    """What the decision is for, as in `Decision`."""

    @property
    def rival_versions(self) -> Mapping[str, int | None]:
        """The holders of the aliases that the policy compares with. The version in question is not its own rival.

        Without an alias in question it is a rival nowhere: what it would have to beat is everybody else.
        """
        held = {alias: self.observed.aliases.get(alias) for alias in self.policy.needed_evidence.holders}
        own = {alias for alias, number in held.items() if number == self.version and self.alias in (None, alias)}
        return {alias: None if alias in own else number for alias, number in held.items()}

    @property
    def moves_alias(self) -> bool:
        """Whether the alias would move: only then its limits matter."""
        return self.alias is not None and self.observed.aliases.get(self.alias) != self.version

    def find_target(self, number: int | None) -> EvidenceTarget | None:
        """Return the version of that number, as it was observed."""
        version = self.observed.versions.get(number) if number is not None else None
        return EvidenceTarget(self.observed.name, version) if version else None


@dataclass
class _EvidenceRequest:
    """What has to be read for all questions together."""

    runs: dict[str, bool] = field(default_factory=dict)
    logged_models: dict[VersionKey, EvidenceTarget] = field(default_factory=dict)
    signatures: dict[VersionKey, EvidenceTarget] = field(default_factory=dict)
    series: dict[frozenset[MetricRef], dict[VersionKey, EvidenceTarget]] = field(default_factory=dict)
    moves: set[tuple[str, str]] = field(default_factory=set)
    waived: dict[VersionKey, PresentVersion] = field(default_factory=dict)

    def add_question(self, question: PolicyQuestion) -> None:
        need, model = question.policy.needed_evidence, question.observed.name
        present = question.observed.find_present(question.version)
        if present and any((each.model, each.version) == (model, present.number) for each in question.policy.document.waivers):
            self.waived[model, present.number] = present
        self.moves |= {(model, alias) for alias in need.held}
        if question.moves_alias and question.alias and question.policy.document.limits.has_any_limit:
            self.moves.add((model, question.alias))
        for number in {question.version, *question.rival_versions.values()}:
            each = question.find_target(number)
            if each is None:
                continue
            if need.run and each.version.run_id:
                self.runs[each.version.run_id] = self.runs.get(each.version.run_id, False) or need.experiment
            if need.logged_model:
                self.logged_models[each.version_key] = each
            if need.signature:
                self.signatures[each.version_key] = each
            if need.series:
                self.series.setdefault(need.series, {})[each.version_key] = each


@dataclass(frozen=True)
class _EvidenceReads:
    """The evidence that was read, by what it is about."""

    runs: Mapping[str, TrainingRun]
    logged_models: Mapping[VersionKey, LoggedModel | Unreadable | None]
    signatures: Mapping[VersionKey, VersionSignature | Unreadable | None]
    series: Mapping[frozenset[MetricRef], Mapping[VersionKey, tuple[MetricSeries, ...]]]
    moves: Mapping[tuple[str, str], Sequence[AuditRecord]]
    observations: ObservationsByVersion
    replaced: frozenset[VersionKey] = frozenset()
    """Versions with waivers of whose number the ledger knows another version."""


class EvidenceGatherer:
    """Gathers the evidence for questions. Reads only."""

    def __init__(self, registry: Registry, ledger: AuditLog) -> None:
        self._registry = registry
        self._ledger = ledger

    def __call__(
        self, questions: Iterable[PolicyQuestion], at: datetime, sights: ObservationsByVersion
    ) -> dict[PolicyQuestion, Evidence]:
        """Return the evidence for each question."""
        asked = list(questions)
        wanted = _EvidenceRequest()
        for question in asked:
            wanted.add_question(question)
        read = self._read_evidence(wanted, sights)
        return {question: _build_evidence(question, read, at) for question in asked}

    def _read_evidence(self, wanted: _EvidenceRequest, sights: ObservationsByVersion) -> _EvidenceReads:
        registry = self._registry
        plain = [run_id for run_id, named in wanted.runs.items() if not named]
        with_experiment = [run_id for run_id, named in wanted.runs.items() if named]
        runs = dict(registry.read_runs(plain)) if plain else {}
        runs |= registry.read_runs(with_experiment, experiments=True) if with_experiment else {}
        return _EvidenceReads(
            runs,
            registry.read_logged_models(list(wanted.logged_models.values())) if wanted.logged_models else {},
            registry.read_signatures(list(wanted.signatures.values())) if wanted.signatures else {},
            {
                metrics: registry.read_metric_series(list(versions.values()), metrics)
                for metrics, versions in wanted.series.items()
            },
            self._ledger.find_alias_moves(wanted.moves) if wanted.moves else {},
            sights,
            frozenset(key for key, present in wanted.waived.items() if self._ledger.knows_other_version(key[0], present)),
        )


def _build_evidence(question: PolicyQuestion, read: _EvidenceReads, at: datetime) -> Evidence:
    return Evidence(
        at=at,
        candidate=_build_version_evidence(question, question.version, read, at),
        holders={
            alias: None if number is None else _build_version_evidence(question, number, read, at)
            for alias, number in question.rival_versions.items()
        },
        past=_build_alias_past(question, read),
        model=question.observed.name,
        origin=question.origin,
    )


def build_registry_evidence(observed: ObservedModel, number: int) -> VersionEvidence:
    """Return what the registry itself knows of a version; only its number where there is no such version."""
    version = observed.versions.get(number)
    if version is None:
        return VersionEvidence(number)
    return VersionEvidence(
        version=number,
        tags=version.tags,
        run_id=version.run_id,
        created_at=version.created_at,
        source=version.source,
        copied=version.is_copied,
        model_created_at=observed.created_at,
    )


def _build_version_evidence(question: PolicyQuestion, number: int, read: _EvidenceReads, at: datetime) -> VersionEvidence:
    each, need = question.find_target(number), question.policy.needed_evidence
    if each is None:
        return VersionEvidence(number)
    version, key = each.version, each.version_key
    return replace(
        build_registry_evidence(question.observed, number),
        run=read.runs.get(version.run_id) if need.run and version.run_id else None,
        witnessed=find_witnessed_tags(version, read.observations.get(key, ())),
        seen=find_first_seen_times(version, read.observations.get(key, ())),
        logged_model=read.logged_models.get(key) if need.logged_model else NOT_REQUESTED,
        series=read.series.get(need.series, {}).get(key, ()),
        signature=read.signatures.get(key) if need.signature else NOT_REQUESTED,
        held=_find_held_stretches(question, number, read, at),
        description=question.observed.find_description(version) if need.description else NOT_REQUESTED,
        replaced=key in read.replaced,
    )


def _find_held_stretches(question: PolicyQuestion, number: int, read: _EvidenceReads, at: datetime) -> dict[str, HeldStretch]:
    model, present = question.observed.name, question.observed.find_present(number)
    if present is None:
        return {}
    found = {
        alias: find_longest_stretch(read.moves.get((model, alias), ()), present, at)
        for alias in sorted(question.policy.needed_evidence.held)
    }
    return {alias: stretch for alias, stretch in found.items() if stretch}


def _build_alias_past(question: PolicyQuestion, read: _EvidenceReads) -> AliasPast | None:
    if not question.moves_alias or question.alias is None:
        return None
    records = read.moves.get((question.observed.name, question.alias), ())
    # Gated moves only: that drift was put back is no decision, and must not start a cooldown.
    gated = tuple(each.fact.at for each in records if each.fact.kind is RecordKind.CHANGE and each.fact.verdict is not None)
    return AliasPast(gated, question.started_at, question.override)


@dataclass(frozen=True)
class ObservedTags:
    """The tags that policies read, as they were and are observed."""

    known: Mapping[VersionKey, Sequence[TagObservation]] = field(default_factory=dict)
    """Every observation of each version, the present ones too."""
    new: tuple[TagObservation, ...] = ()
    """The present ones that the ledger does not have: whoever may write records them."""


class TagObserver:
    """Observes the tags that a policy of the model reads. Reads only.

    That a tag is not there is worth a sighting only where it counts that it was set later: with `bound` rules, and of copies.
    """

    def __init__(self, ledger: ObservationLog) -> None:
        self._ledger = ledger

    def __call__(
        self,
        declaration: Declaration,
        intents: Mapping[str, ModelIntent],
        observed: Mapping[str, ObservedModel],
        at: datetime,
    ) -> ObservedTags:
        """Observe the tags of every version, long before it is a candidate."""
        needs = {name: _combine_needs(declaration, intent) for name, intent in intents.items() if name in observed}
        watched = {name: need for name, need in needs.items() if _find_watched_versions(need, observed[name])}
        if not watched:
            return ObservedTags()
        known = self._ledger.find_tag_observations(set(watched))
        found: list[TagObservation] = []
        for name, need in watched.items():
            versions = _find_watched_versions(need, observed[name])
            every, copies = versions.values(), [each for each in versions.values() if each.is_copied]
            past = known.get(name, ())
            found += find_new_observations(name, every, need.watched, past, at)
            found += find_new_observations(name, copies, need.tags - need.watched, past, at)
            others = [each for each in versions.values() if not each.is_copied]
            found += find_new_observations(name, others, need.tags - need.watched, past, at, missing=False)
        by_version: dict[VersionKey, list[TagObservation]] = {}
        for each in (*(each for past in known.values() for each in past), *found):
            by_version.setdefault((each.model, each.version), []).append(each)
        return ObservedTags(by_version, tuple(found))


def _combine_needs(declaration: Declaration, intent: ModelIntent) -> Need:
    need = Need()
    for name in {alias.policy for alias in intent.aliases.values() if alias.policy}:
        policy = declaration.policies.get(name)
        need |= policy.needed_evidence if policy else Need()
        need |= policy.guard_policy.needed_evidence if policy and policy.guard_policy else Need()
    return need


def _find_watched_versions(need: Need, observed: ObservedModel) -> Mapping[int, ModelVersion]:
    """Return the versions whose tags are observed: all, if any rule reads tags."""
    return observed.versions if need.watched or need.tags else {}
