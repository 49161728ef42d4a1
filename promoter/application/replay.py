"""Replay: read all that a replay needs, each kind in one bulk read, and run it. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from promoter.application.ports import Clock, EvidenceTarget, Ledger, Registry, VersionKey
from promoter.domain.audit import AliasKey, AuditRecord
from promoter.domain.desired import Declaration
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import NOT_REQUESTED, Need, VersionEvidence
from promoter.domain.fields import CHAMPION
from promoter.domain.ledger.checkpoints import find_last_retention
from promoter.domain.observed import ObservedModel
from promoter.domain.replay.as_of import AliasTimeline, EvidenceLog, ReplayHistory, ReplayPolicy
from promoter.domain.replay.report import ModelReplay, PolicyReplay, ReplayReport
from promoter.domain.replay.simulate import judge_past_promotions, simulate_rotation

ShowProgress = Callable[[str], None]
_PATTERN = "*?["


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay."""

    policy: str
    """The policy."""
    since: datetime
    """The begin of the replayed time."""
    compare: str | None = None
    """A second policy to compare with."""
    models: str | None = None
    """A pattern for models' names; None: models of which an alias names the policy."""
    alias: str | None = None
    """The alias; None: the one that names the policy, else champion."""


class PolicyReplayer:
    """Builds replay reports."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock, show_progress: ShowProgress = lambda _: None) -> None:
        """`show_progress` is called with what is being read, since a replay may take long."""
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._show_progress = show_progress

    def __call__(self, declaration: Declaration, request: ReplayRequest) -> ReplayReport:
        """Return the report. Raises `PermanentError` where there is no such policy, or no model to replay."""
        lenses = _find_replay_policies(declaration, request)
        until = self._clock.now()
        self._show_progress("Reading the registry")
        observed = self._registry.observe_models(_find_model_names(declaration, request))
        places = _find_replayed_aliases(declaration, request, observed)
        asked = _find_compared_aliases(lenses)
        moves = self._read_moves(places, asked)
        holdings = {
            (model, alias): AliasTimeline(
                moves.get((model, alias), ()), observed[model].aliases.get(alias), observed[model].versions
            )
            for model, own in places
            for alias in {own, *asked}
        }
        evidence_log = self._build_evidence_log({model for model, _ in places}, lenses)
        needed = _find_needed_versions(places, holdings, observed, request.since, until)
        now = self._read_current_evidence(needed, observed, lenses)
        models = []
        for number, (model, alias) in enumerate(places, 1):
            self._show_progress(f"Replaying {number} of {len(places)} models")
            own = {each: holdings[model, each] for each in {alias, *asked}}
            of_model = now.get(model, {})
            history = ReplayHistory(model, alias, observed[model].versions, of_model, evidence_log, own)
            models.append(_replay_alias(history, lenses, request.since, until, observed[model].aliases.get(alias)))
        return ReplayReport(
            request.since,
            until,
            lenses,
            tuple(models),
            evidence_log.unreadable,
            find_last_retention(self._ledger.find_lifecycle_events()),
        )

    def _read_moves(self, places: Iterable[AliasKey], asked: frozenset[str]) -> Mapping[AliasKey, Sequence[AuditRecord]]:
        self._show_progress("Reading the ledger")
        return self._ledger.find_alias_moves({(model, alias) for model, own in places for alias in {own, *asked}})

    def _build_evidence_log(self, models: set[str], lenses: Sequence[ReplayPolicy]) -> EvidenceLog:
        evidence_log = EvidenceLog()
        for recorded in self._ledger.iterate_decisions_with_evidence(models):
            evidence_log.add_decision(recorded)
        need = _combine_needs(lenses)
        if need.watched or need.tags:
            for sightings in self._ledger.find_tag_observations(models).values():
                for sighting in sightings:
                    evidence_log.add_observation(sighting)
        return evidence_log

    def _read_current_evidence(
        self, wanted: Sequence[EvidenceTarget], observed: Mapping[str, ObservedModel], lenses: Sequence[ReplayPolicy]
    ) -> dict[str, dict[int, VersionEvidence]]:
        """Return MLflow's present evidence, by model and number."""
        need = _combine_needs(lenses)
        self._show_progress(f"Reading the evidence of {len(wanted)} versions")
        registry = self._registry
        ids = {each.version.run_id for each in wanted if each.version.run_id} if need.run else set()
        runs = registry.read_runs(ids, experiments=need.experiment) if ids else {}
        logged_models = registry.read_logged_models(wanted) if need.logged_model else {}
        signatures = registry.read_signatures(wanted) if need.signature else {}
        series = registry.read_metric_series(wanted, need.series) if need.series else {}
        found: dict[str, dict[int, VersionEvidence]] = {}
        for each in wanted:
            version = each.version
            found.setdefault(each.model, {})[version.number] = VersionEvidence(
                version=version.number,
                tags=version.tags,
                run_id=version.run_id,
                run=runs.get(version.run_id) if version.run_id else None,
                created_at=version.created_at,
                source=version.source,
                copied=version.is_copied,
                model_created_at=observed[each.model].created_at,
                logged_model=logged_models.get(each.version_key) if need.logged_model else NOT_REQUESTED,
                series=series.get(each.version_key, ()),
                signature=signatures.get(each.version_key) if need.signature else NOT_REQUESTED,
                description=observed[each.model].find_description(version) if need.description else NOT_REQUESTED,
            )
        return found


def _find_replay_policies(declaration: Declaration, request: ReplayRequest) -> tuple[ReplayPolicy, ...]:
    names = dict.fromkeys(name for name in (request.policy, request.compare) if name is not None)
    for name in names:
        if name not in declaration.policies:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise PermanentError("policies", f"there is no policy `{name}`", f"known: {known}")
    return tuple(ReplayPolicy.from_policy(declaration.policies[name]) for name in names)


def _combine_needs(lenses: Iterable[ReplayPolicy]) -> Need:
    need = Need()
    for lens in lenses:
        need |= lens.policy.needed_evidence
    return need


def _find_compared_aliases(lenses: Iterable[ReplayPolicy]) -> frozenset[str]:
    """Return the aliases that the policies read beside the replayed one."""
    found: set[str] = set()
    for lens in lenses:
        source = lens.candidate_alias
        found |= lens.policy.needed_evidence.holders | lens.policy.needed_evidence.held | ({source} if source else set())
    return frozenset(found)


def _find_model_names(declaration: Declaration, request: ReplayRequest) -> set[str] | None:
    """Return the models to read; None: all."""
    if request.models is not None:
        return None if set(request.models) & set(_PATTERN) else {request.models}
    desired = declaration.desired
    if any(request.policy in (alias.policy for alias in family.aliases.values()) for family in desired.document.families):
        return None
    return {name for name in desired.listed if _find_gated_aliases(declaration, request.policy, name)}


def _find_replayed_aliases(
    declaration: Declaration, request: ReplayRequest, observed: Mapping[str, ObservedModel]
) -> list[AliasKey]:
    """Return the model and alias of each replay."""
    found: list[AliasKey] = []
    for model in sorted(observed):
        naming = _find_gated_aliases(declaration, request.policy, model)
        if request.models is not None and not fnmatchcase(model, request.models):
            continue
        if naming or request.models is not None:
            found += [(model, alias) for alias in ([request.alias] if request.alias else naming or [CHAMPION])]
    if found:
        return found
    if request.models is not None:
        raise PermanentError("MLflow", f"no registered model matches `{request.models}`")
    why = f"no alias of a registered model names policy `{request.policy}`"
    raise PermanentError("registry.yaml", why, "name the models that you mean: --model GLOB")


def _find_gated_aliases(declaration: Declaration, policy: str, model: str) -> list[str]:
    """Return the aliases of the model that the policy gates."""
    intent = declaration.desired.find_model_intent(model)
    return sorted(alias for alias, each in intent.aliases.items() if each.policy == policy) if intent else []


def _find_needed_versions(
    places: Iterable[AliasKey],
    holdings: Mapping[AliasKey, AliasTimeline],
    observed: Mapping[str, ObservedModel],
    since: datetime,
    until: datetime,
) -> list[EvidenceTarget]:
    """Return the versions that may be evaluated or compared with, each once."""
    wanted: dict[VersionKey, EvidenceTarget] = {}
    by_model: dict[str, list[str]] = {}
    for model, alias in holdings:
        by_model.setdefault(model, []).append(alias)
    for model, alias in places:
        versions, start = observed[model].versions, holdings[model, alias].find_holder_at(since)
        numbers = {number for each in by_model[model] for number in _find_alias_holders(holdings[model, each], since, until)}
        for number, version in versions.items():
            newer = start.basis is not None and number > (start.version or 0)
            if version.created_at <= until and (version.created_at >= since or newer or number in numbers):
                wanted[model, number] = EvidenceTarget(model, version)
    return list(wanted.values())


def _find_alias_holders(holding: AliasTimeline, since: datetime, until: datetime) -> Iterator[int | None]:
    """Yield who held the alias in that time, or may have held it."""
    yield from (holding.find_holder_at(since).version, holding.find_holder_at(until).version)
    yield from (span.version for span in holding.spans if span.until is None or span.until > since)


def _replay_alias(
    history: ReplayHistory, lenses: Sequence[ReplayPolicy], since: datetime, until: datetime, held_now: int | None
) -> ModelReplay:
    replays = []
    for lens in lenses:
        simulation = simulate_rotation(history, lens, since, until)
        supposed: dict[str, int] = {}
        for judged in simulation.judged:
            for alias in history.list_assumed_held_aliases(lens, history.versions[judged.version], judged.at):
                supposed[alias] = supposed.get(alias, 0) + 1
        past = judge_past_promotions(history, lens, since, until)
        replays.append(PolicyReplay(lens, simulation, past, tuple(sorted(supposed.items()))))
    actual = tuple(span for span in history.replayed_timeline.spans if span.until is None or span.until > since)
    return ModelReplay(history.model, history.alias, held_now, history.replayed_timeline.recorded_since, actual, tuple(replays))
