"""Replay: read everything that a replay looks at, each kind in one bulk read, and let the domain run it. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from promoter.application.ports import Clock, Evidenced, Key, Ledger, Registry
from promoter.domain.audit import AuditRecord
from promoter.domain.declaration import Declaration
from promoter.domain.evidence import NOT_READ, Need, VersionEvidence
from promoter.domain.faults import Refused
from promoter.domain.ledger.retention import last_retention
from promoter.domain.names import CHAMPION
from promoter.domain.observed import ObservedModel
from promoter.domain.replay.history import History
from promoter.domain.replay.holding import Holding
from promoter.domain.replay.memory import Memory
from promoter.domain.replay.promotions import past_promotions
from promoter.domain.replay.report import ModelReplay, Replayed, Report
from promoter.domain.replay.simulate import simulate
from promoter.domain.replay.supposing import Lens

Told = Callable[[str], None]
_PATTERN = "*?["


@dataclass(frozen=True)
class Request:
    """Which policy, since when, on which models: `models` is a pattern; None: those of which an alias names the policy.

    `alias` None: the one that names the policy, else champion.
    """

    policy: str
    since: datetime
    compare: str | None = None
    models: str | None = None
    alias: str | None = None


Place = tuple[str, str]
"""Model and alias."""


class Replayer:
    """Makes reports. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock, told: Told = lambda _: None) -> None:
        """Takes the ports that it reads; `told` hears what it is doing, since it may take long."""
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._told = told

    def __call__(self, declaration: Declaration, request: Request) -> Report:
        """Raises `Refused` where there is no such policy, or no model to replay."""
        lenses = _lenses(declaration, request)
        until = self._clock.now()
        self._told("Reading the registry")
        observed = self._registry.observe(_names(declaration, request))
        places = _places(declaration, request, observed)
        asked = _aliases(lenses)
        moves = self._moves(places, asked)
        holdings = {
            (model, alias): Holding(moves.get((model, alias), ()), observed[model].aliases.get(alias), observed[model].versions)
            for model, own in places
            for alias in {own, *asked}
        }
        memory = self._memory({model for model, _ in places}, lenses)
        now = self._evidence(_wanted(places, holdings, observed, request.since, until), lenses)
        models = []
        for number, (model, alias) in enumerate(places, 1):
            self._told(f"Replaying {number} of {len(places)} models")
            own = {each: holdings[model, each] for each in {alias, *asked}}
            of_model = now.get(model, {})
            history = History(model, alias, observed[model].versions, of_model, memory, own)
            models.append(_replay(history, lenses, request.since, until, observed[model].aliases.get(alias)))
        return Report(request.since, until, lenses, tuple(models), memory.unreadable, last_retention(self._ledger.milestones()))

    def _moves(self, places: Iterable[Place], asked: frozenset[str]) -> Mapping[Place, Sequence[AuditRecord]]:
        self._told("Reading the ledger")
        return self._ledger.moves({(model, alias) for model, own in places for alias in {own, *asked}})

    def _memory(self, models: set[str], lenses: Sequence[Lens]) -> Memory:
        memory = Memory()
        for recorded in self._ledger.past_evidence(models):
            memory.learn(recorded)
        need = _need(lenses)
        if need.watched or need.tags:
            for sightings in self._ledger.sightings(models).values():
                for sighting in sightings:
                    memory.sight(sighting)
        return memory

    def _evidence(self, wanted: Sequence[Evidenced], lenses: Sequence[Lens]) -> dict[str, dict[int, VersionEvidence]]:
        """What MLflow says now, by model and number."""
        need = _need(lenses)
        self._told(f"Reading the evidence of {len(wanted)} versions")
        registry = self._registry
        ids = {each.version.run_id for each in wanted if each.version.run_id} if need.run else set()
        runs = registry.runs(ids, experiments=need.experiment) if ids else {}
        logged_models = registry.logged_models(wanted) if need.logged_model else {}
        signatures = registry.signatures(wanted) if need.signature else {}
        series = registry.series(wanted, need.series) if need.series else {}
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
                copied=version.copied,
                logged_model=logged_models.get(each.key) if need.logged_model else NOT_READ,
                series=series.get(each.key, ()),
                signature=signatures.get(each.key) if need.signature else NOT_READ,
            )
        return found


def _lenses(declaration: Declaration, request: Request) -> tuple[Lens, ...]:
    names = dict.fromkeys(name for name in (request.policy, request.compare) if name is not None)
    for name in names:
        if name not in declaration.policies:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise Refused("policies", f"there is no policy `{name}`", f"known: {known}")
    return tuple(Lens.of(declaration.policies[name]) for name in names)


def _need(lenses: Iterable[Lens]) -> Need:
    need = Need()
    for lens in lenses:
        need |= lens.policy.need
    return need


def _aliases(lenses: Iterable[Lens]) -> frozenset[str]:
    """The aliases whose past the policies look at, beside the replayed one."""
    found: set[str] = set()
    for lens in lenses:
        source = lens.source
        found |= lens.policy.need.holders | lens.policy.need.held | ({source} if source else set())
    return frozenset(found)


def _names(declaration: Declaration, request: Request) -> set[str] | None:
    """The models to read; None: all."""
    if request.models is not None:
        return None if set(request.models) & set(_PATTERN) else {request.models}
    desired = declaration.desired
    if any(request.policy in (alias.policy for alias in family.aliases.values()) for family in desired.document.families):
        return None
    return {name for name in desired.listed if _naming(declaration, request.policy, name)}


def _places(declaration: Declaration, request: Request, observed: Mapping[str, ObservedModel]) -> list[Place]:
    """What is replayed, by model."""
    found: list[Place] = []
    for model in sorted(observed):
        naming = _naming(declaration, request.policy, model)
        if request.models is not None and not fnmatchcase(model, request.models):
            continue
        if naming or request.models is not None:
            found += [(model, alias) for alias in ([request.alias] if request.alias else naming or [CHAMPION])]
    if found:
        return found
    if request.models is not None:
        raise Refused("MLflow", f"no registered model matches `{request.models}`")
    why = f"no alias of a registered model names policy `{request.policy}`"
    raise Refused("registry.yaml", why, "name the models that you mean: --model GLOB")


def _naming(declaration: Declaration, policy: str, model: str) -> list[str]:
    """The aliases of the model that the policy gates."""
    intent = declaration.desired.intent(model)
    return sorted(alias for alias, each in intent.aliases.items() if each.policy == policy) if intent else []


def _wanted(
    places: Iterable[Place],
    holdings: Mapping[Place, Holding],
    observed: Mapping[str, ObservedModel],
    since: datetime,
    until: datetime,
) -> list[Evidenced]:
    """The versions that may be judged or compared with, each once."""
    wanted: dict[Key, Evidenced] = {}
    by_model: dict[str, list[str]] = {}
    for model, alias in holdings:
        by_model.setdefault(model, []).append(alias)
    for model, alias in places:
        versions, start = observed[model].versions, holdings[model, alias].at(since)
        numbers = {number for each in by_model[model] for number in _holders(holdings[model, each], since, until)}
        for number, version in versions.items():
            newer = start.basis is not None and number > (start.version or 0)
            if version.created_at <= until and (version.created_at >= since or newer or number in numbers):
                wanted[model, number] = Evidenced(model, version)
    return list(wanted.values())


def _holders(holding: Holding, since: datetime, until: datetime) -> Iterator[int | None]:
    """Who held an alias in that time, or may have."""
    yield from (holding.at(since).version, holding.at(until).version)
    yield from (span.version for span in holding.spans if span.until is None or span.until > since)


def _replay(history: History, lenses: Sequence[Lens], since: datetime, until: datetime, held_now: int | None) -> ModelReplay:
    replays = []
    for lens in lenses:
        simulation = simulate(history, lens, since, until)
        supposed: dict[str, int] = {}
        for judged in simulation.judged:
            for alias in history.supposed_held(lens, history.versions[judged.version], judged.at):
                supposed[alias] = supposed.get(alias, 0) + 1
        past = past_promotions(history, lens, since, until)
        replays.append(Replayed(lens, simulation, past, tuple(sorted(supposed.items()))))
    actual = tuple(span for span in history.own.spans if span.until is None or span.until > since)
    return ModelReplay(history.model, history.alias, held_now, history.own.began, actual, tuple(replays))
