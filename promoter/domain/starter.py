"""What a repository starts with: policies whose metrics, bounds and tags come from the versions that hold aliases now."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from promoter.domain.fields import CHAMPION, find_model_name_flaw
from promoter.domain.metric_direction import find_latency_metrics, find_metric_order, rank_deciding_metrics, split_metric_name
from promoter.domain.observed import ObservedModel
from promoter.domain.policy.rules.base import RankOrder

CHALLENGER = "challenger"
GROUP_LIMIT = 8
"""Pairs of policies that are written: whoever has more deciding metrics than that writes the rest by hand."""
FAMILY_SIZE = 100
"""Models whose names share a beginning, from which on a family says what they have in common."""
_FAMILY_DEPTH = 3
_FREE_CHANGES, _USUAL_SHARE = 10, Decimal("0.3")
_VALUE_LIMIT, _VALUE_LENGTH = 10, 100
_APPROVAL = re.compile(r"approv(al|ed|er|ers)|review(ed|er)?|sign(ed|off)|validat(ed|ion|or)")
_FREE_TEXT = re.compile(r"at|comment|date|id|link|note|on|reason|ticket|time|timestamp|url|when")
_OWNER_KEYS = frozenset(("owner", "owners", "owned_by", "owning_team", "team", "teams"))


@dataclass(frozen=True)
class ChosenMetric:
    """The metric that decides about versions."""

    name: str
    order: RankOrder
    """Which values are better."""


@dataclass(frozen=True)
class HolderEvidence:
    """What is known of a version that holds an alias."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The finite metrics of its run."""
    tags: Mapping[str, str] = field(default_factory=dict)
    finished: bool = True
    """Whether its run is there, and came to its end."""


@dataclass(frozen=True)
class StarterModel:
    """A registered model as a starter knows it."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    """The aliases that the registry has."""
    new_aliases: Mapping[str, int] = field(default_factory=dict)
    """The aliases that the registry does not have yet: they come from stages."""
    owners: tuple[str, ...] = ()
    holders: Mapping[int, HolderEvidence] = field(default_factory=dict)
    """The holders of its aliases, old and new, by version."""

    @property
    def stated(self) -> dict[str, int]:
        """All aliases that `registry.yaml` is to state."""
        return {**self.new_aliases, **self.aliases}

    def find_holder(self, alias: str) -> HolderEvidence | None:
        """Return what is known of the version that holds an alias; None where nobody holds it."""
        number = self.stated.get(alias)
        return None if number is None else self.holders.get(number)

    @property
    def main_holder(self) -> HolderEvidence | None:
        """The holder that stands for the model: the champion, else the challenger, else that of the first alias."""
        found = (self.find_holder(alias) for alias in (CHAMPION, CHALLENGER, *sorted(self.stated)))
        return next((holder for holder in found if holder), None)


@dataclass(frozen=True)
class TagDemand:
    """A tag that a version must have, since the holders have it."""

    key: str
    values: tuple[str, ...] = ()
    """The values that the holders have; empty: any value."""


@dataclass(frozen=True)
class StarterPolicies:
    """A pair of policies for models that the same metric decides about."""

    champion: str = CHAMPION
    """The name of the policy for champions."""
    challenger: str = CHALLENGER
    """The name of the policy for challengers."""
    metric: ChosenMetric = ChosenMetric("val_auc", "highest")
    champion_bound: Decimal | None = Decimal("0.90")
    """The worst value that a champion may have; None: the values of the holders have too little in common."""
    challenger_bound: Decimal | None = Decimal("0.80")
    margin: str = "0.005"
    """By how much the champion must be beaten, as it is written in YAML; empty: by anything."""
    tags: tuple[TagDemand, ...] = (TagDemand("approved_by", ("data-science", "risk")),)
    latencies: Mapping[str, Decimal] = field(default_factory=dict)
    """Bounds for measured times, which are only suggested."""
    models: frozenset[str] = frozenset()
    """The models that are gated by them."""

    def passes(self, holder: HolderEvidence, alias: str) -> bool:
        """Return whether the alias's policy would let this version through, where nobody holds the alias."""
        value = holder.metrics.get(self.metric.name)
        if value is None or not holder.finished:
            return False
        bound = self.champion_bound if alias == CHAMPION else self.challenger_bound
        if bound is not None and (value < bound if self.metric.order == "highest" else value > bound):
            return False
        demands = self.tags if alias == CHAMPION else ()
        found = ((holder.tags.get(each.key), each.values) for each in demands)
        return all(value in values if values else value is not None for value, values in found)

    def find_gate(self, model: StarterModel, alias: str) -> str | None:
        """Return which of the two gates an alias of one of its models; None where none does."""
        if alias not in (CHAMPION, CHALLENGER) or alias not in model.stated:
            return None
        holder = model.find_holder(alias)
        if alias in model.new_aliases and not (holder and self.passes(holder, alias)):
            return None
        return self.champion if alias == CHAMPION else self.challenger


@dataclass(frozen=True)
class StarterFamily:
    """Models whose names share a beginning, and their policies."""

    prefix: str
    policies: StarterPolicies
    count: int


@dataclass(frozen=True)
class UndecidedMetric:
    """Metrics among which a person must choose, and how many models have them."""

    candidates: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Starter:
    """What the files of a new repository say."""

    models: tuple[StarterModel, ...] = ()
    """The models that have aliases, by name."""
    policies: tuple[StarterPolicies, ...] = (StarterPolicies(),)
    """The pairs of policies, that of the most models first."""
    families: tuple[StarterFamily, ...] = ()
    undecided: tuple[UndecidedMetric, ...] = ()
    """Metrics among which nobody has chosen, those of the most models first."""
    unmeasured: tuple[str, ...] = ()
    """Models whose holders have no metric that could decide."""
    left_out: tuple[str, ...] = ()
    """Models and aliases whose names `registry.yaml` cannot hold."""

    @property
    def new_count(self) -> int:
        """How many aliases the registry does not have yet."""
        return sum(len(model.new_aliases) for model in self.models)

    @property
    def exceeds_limit(self) -> bool:
        """Whether the new aliases are more than `safety.max_changes` usually allows in one plan."""
        stated = sum(len(model.stated) for model in self.models)
        return self.new_count > _FREE_CHANGES and self.new_count > stated * _USUAL_SHARE

    @property
    def needs_choice(self) -> bool:
        """Whether a person must choose the metric: it is undecided for more models than it is decided for."""
        decided = sum(len(each.models) for each in self.policies)
        return sum(len(each.models) for each in self.undecided) > decided

    def find_policy(self, model: StarterModel, alias: str) -> str | None:
        """Return the policy that gates an alias; None where none does.

        A new alias is gated only where its version passes: it was chosen before there was a policy.
        """
        policies = next((each for each in self.policies if model.name in each.models), None)
        return policies.find_gate(model, alias) if policies else None

    def find_family(self, name: str) -> StarterFamily | None:
        """Return the first family that a name belongs to."""
        return next((each for each in self.families if name.startswith(each.prefix)), None)


@dataclass(frozen=True)
class UnmappedVersion:
    """A version whose stage became no alias."""

    model: str
    version: int
    stage: str
    reason: str


STAGE_ALIASES: Mapping[str, str] = {"Production": CHAMPION, "Staging": CHALLENGER}
"""The aliases that take the place of MLflow 2's stages; Archived needs none."""


def map_stages(model: ObservedModel, stages: Mapping[int, str]) -> tuple[dict[str, int], list[UnmappedVersion]]:
    """Return the aliases that the stages of a model's versions stand for and that it does not have, and what is left.

    The newest version of a stage that is ready counts. An alias that the model has already stays as it is.
    """
    new: dict[str, int] = {}
    left: list[UnmappedVersion] = []
    for number, stage in sorted(stages.items(), reverse=True):
        alias = STAGE_ALIASES.get(stage)
        version = model.versions.get(number)
        if alias is None or version is None or number == model.aliases.get(alias):
            continue
        if alias in model.aliases:
            left.append(UnmappedVersion(model.name, number, stage, f"{alias} is v{model.aliases[alias]} already"))
        elif not version.ready:
            left.append(UnmappedVersion(model.name, number, stage, "its registration is not complete"))
        elif alias in new:
            left.append(UnmappedVersion(model.name, number, stage, f"{alias} becomes v{new[alias]}, which is newer"))
        else:
            new[alias] = number
    return new, left


def build_starter(
    models: Iterable[StarterModel], registered: Iterable[str] = (), wanted: Sequence[ChosenMetric] = ()
) -> Starter:
    """Choose metrics, bounds, tags and families.

    `registered`: the names of all models. `wanted`: the metrics that a person chose, the first that a model has counts.
    """
    kept, left_out = _drop_unusable_names(models)
    groups: dict[ChosenMetric, list[StarterModel]] = {}
    undecided: dict[tuple[str, ...], list[str]] = {}
    unmeasured = []
    for model in kept:
        candidates = _find_candidates(model, wanted)
        if len(candidates) == 1 and (metric := candidates[0])[1] is not None:
            groups.setdefault(ChosenMetric(metric[0], metric[1]), []).append(model)
        elif candidates:
            undecided.setdefault(tuple(name for name, _ in candidates), []).append(model.name)
        else:
            unmeasured.append(model.name)
    ordered = sorted(groups, key=lambda each: (-len(groups[each]), each.name))
    pairs = tuple(_build_policies(groups, ordered[:GROUP_LIMIT])) or (_build_unmeasured_policies(wanted),)
    unmeasured += [model.name for metric in ordered[GROUP_LIMIT:] for model in groups[metric]]
    return Starter(
        tuple(kept),
        pairs,
        tuple(_find_families({*registered, *(model.name for model in kept)}, pairs, kept)),
        tuple(
            UndecidedMetric(names, tuple(found)) for names, found in sorted(undecided.items(), key=lambda each: -len(each[1]))
        ),
        tuple(sorted(unmeasured)),
        tuple(left_out),
    )


def find_owners(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the owners that a registered model's tags name, such as `owner: risk, fraud`."""
    values = (tags[key] for key in sorted(tags) if key.casefold() in _OWNER_KEYS)
    names = (name.strip() for value in values for name in re.split(r"[,;]", value))
    return tuple(dict.fromkeys(name for name in names if name and name.isprintable() and len(name) <= _VALUE_LENGTH))[:20]


def _drop_unusable_names(models: Iterable[StarterModel]) -> tuple[list[StarterModel], list[str]]:
    kept, left_out = [], []
    for model in sorted(models, key=lambda each: each.name):
        if find_model_name_flaw(model.name) is not None:
            left_out.append(model.name)
        elif model.stated:
            kept.append(model)
    return kept, left_out


def _find_candidates(model: StarterModel, wanted: Sequence[ChosenMetric]) -> list[tuple[str, RankOrder | None]]:
    holder = model.main_holder
    metrics = holder.metrics if holder else {}
    for each in wanted:
        if each.name in metrics:
            return [(each.name, each.order)]
    return [(name, find_metric_order(name)) for name in rank_deciding_metrics(metrics)]


def _build_unmeasured_policies(wanted: Sequence[ChosenMetric]) -> StarterPolicies:
    """Return policies to begin with where no version was measured: the default, or what a person wants, without bounds."""
    if not wanted:
        return StarterPolicies()
    return StarterPolicies(metric=wanted[0], champion_bound=None, challenger_bound=None, margin="", tags=())


def _build_policies(
    groups: Mapping[ChosenMetric, Sequence[StarterModel]], ordered: Sequence[ChosenMetric]
) -> Iterator[StarterPolicies]:
    taken: set[str] = set()
    for metric in ordered:
        suffix = _name_group(metric.name, taken) if taken else ""
        taken.add(suffix)
        models = groups[metric]
        champions = [holder for model in models if (holder := model.find_holder(CHAMPION))]
        holders = champions or [holder for model in models if (holder := model.main_holder)]
        values = [Decimal(repr(each.metrics[metric.name])) for each in holders if metric.name in each.metrics]
        yield StarterPolicies(
            CHAMPION + suffix,
            CHALLENGER + suffix,
            metric,
            _choose_bound(values, metric.order, Decimal(1)),
            _choose_bound(values, metric.order, Decimal(2)),
            _choose_margin(values, metric.order),
            tuple(_find_tag_demands(holders)),
            _find_latency_bounds(holders),
            frozenset(model.name for model in models),
        )


def _name_group(metric: str, taken: set[str]) -> str:
    """Return what the names of the policies for a metric end with, unlike all others."""
    name = "-" + (re.sub(r"[^a-z0-9]+", "-", metric.lower()).strip("-")[:60] or "other")
    return next(each for each in (name, *(f"{name}-{number}" for number in range(2, 99))) if each not in taken)


def _is_share(values: Sequence[Decimal]) -> bool:
    return bool(values) and all(0 <= value <= 1 for value in values)


_SPREAD_LIMIT = 10
"""How many times larger than the smallest the largest value may be, so that one bound suits all of them."""
_EXPONENT_LIMIT = 11


def _choose_bound(values: Sequence[Decimal], order: RankOrder, room: Decimal) -> Decimal | None:
    """Return the worst of the values with some room; None where they differ so much that no bound suits all of them."""
    if not values:
        return None
    worst = min(values) if order == "highest" else max(values)
    if order == "highest" and _is_share(values):
        return max(Decimal(0), (worst - Decimal("0.02") * room).quantize(Decimal("0.01"), ROUND_FLOOR))
    best = max(values) if order == "highest" else min(values)
    low, high = sorted((abs(worst), abs(best)))
    if worst * best < 0 or high > low * _SPREAD_LIMIT:
        return None
    return _round_bound(worst + abs(worst) * room / 10 * (1 if order == "lowest" else -1), order)


def _round_bound(value: Decimal, order: RankOrder) -> Decimal | None:
    """Return two digits of a number, rounded away from what is better; None for one that nobody would write down."""
    if value == 0:
        return Decimal(0)
    if abs(value.adjusted()) > _EXPONENT_LIMIT:
        return None
    step = Decimal(1).scaleb(value.adjusted() - 1)
    rounded = value.quantize(step, ROUND_CEILING if order == "lowest" else ROUND_FLOOR)
    return Decimal(format(rounded, "f"))


def _choose_margin(values: Sequence[Decimal], order: RankOrder) -> str:
    """Return by how much a champion is to be beaten: a little of a share, where there is room for it; else one per cent."""
    if order == "highest" and _is_share(values):
        return "0.005" if max(values) < Decimal("0.98") else ""
    return "1%"


def _find_tag_demands(holders: Sequence[HolderEvidence]) -> Iterator[TagDemand]:
    """Yield the tags that look like approvals, and that most holders have."""
    counts = Counter(key for holder in holders for key, value in holder.tags.items() if value)
    for key, count in sorted(counts.items()):
        words = split_metric_name(key)
        if not any(map(_APPROVAL.fullmatch, words)) or key.startswith(("mlflow.", "promoter.")) or 2 * count <= len(holders):
            continue
        values = sorted({holder.tags[key] for holder in holders if holder.tags.get(key)})
        free = any(map(_FREE_TEXT.fullmatch, words)) or len(values) > _VALUE_LIMIT or max(map(len, values)) > _VALUE_LENGTH
        yield TagDemand(key, () if free or not all(map(str.isprintable, values)) else tuple(values))


def _find_latency_bounds(holders: Sequence[HolderEvidence]) -> dict[str, Decimal]:
    """Return times that every holder was measured for, with the greatest one and some room."""
    shared = set.intersection(*(set(holder.metrics) for holder in holders)) if holders else set()
    found = {
        name: _round_bound(Decimal(repr(max(holder.metrics[name] for holder in holders))) * Decimal("1.2"), "lowest")
        for name in find_latency_metrics(shared)
    }
    return {name: bound for name, bound in found.items() if bound is not None and bound > 0}


def _find_families(
    registered: set[str], policies: Sequence[StarterPolicies], models: Sequence[StarterModel]
) -> Iterator[StarterFamily]:
    """Yield the beginnings that many names share, where the same policies suit all of these models that have aliases."""
    own = {name: number for number, each in enumerate(policies) for name in each.models}
    gated: dict[str, int | None] = {}
    for model in models:
        if gates := {CHAMPION, CHALLENGER} & model.stated.keys():
            number = own.get(model.name)
            whole = number is not None and all(policies[number].find_gate(model, alias) for alias in gates)
            gated[model.name] = number if whole else None
    for prefix, number, count in _split_family(sorted(registered), gated, 1):
        yield StarterFamily(prefix, policies[number], count)


def _split_family(names: Sequence[str], gated: Mapping[str, int | None], depth: int) -> Iterator[tuple[str, int, int]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        found = re.match(rf"(?:[^-_. ]*[-_. ]){{{depth}}}", name)
        if found and not set(found[0]) & set("*?[]"):
            groups.setdefault(found[0], []).append(name)
    for prefix, members in groups.items():
        if len(members) < FAMILY_SIZE:
            continue
        suited = {gated[name] for name in members if name in gated}
        policies = suited.pop() if len(suited) == 1 else None
        if policies is not None:
            yield prefix, policies, len(members)
        elif depth < _FAMILY_DEPTH:
            yield from _split_family(members, gated, depth + 1)
