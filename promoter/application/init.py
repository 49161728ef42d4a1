"""`promoter init`: a registry is read in bulk, and what the files of a new repository say is worked out. Writes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from promoter.application.ports import Registry
from promoter.domain.fields import find_model_name_flaw, validate_alias_name
from promoter.domain.observed import ModelVersion, ObservedModel, TrainingRun
from promoter.domain.starter import (
    STAGE_ALIASES,
    ChosenMetric,
    HolderEvidence,
    Starter,
    StarterModel,
    UnmappedVersion,
    build_starter,
    find_owners,
    map_stages,
)

_FINISHED = "FINISHED"
METRIC_NAME_LIMIT = 250
"""Characters of a metric's name in a rule."""


@dataclass(frozen=True)
class StarterSurvey:
    """What a registry gives a new repository."""

    starter: Starter
    unmapped: tuple[UnmappedVersion, ...] = ()
    """Versions whose stage became no alias, though stages were to be read."""
    other_stages: Mapping[str, int] = field(default_factory=dict)
    """How many versions have a stage that no alias stands for, such as Archived."""
    has_stages: bool = False
    """Whether versions are in Staging or Production."""
    bad_aliases: tuple[str, ...] = ()
    """Aliases that `registry.yaml` cannot state, as `MODEL@ALIAS`."""


def survey_registry(registry: Registry, wanted: Sequence[ChosenMetric] = (), *, from_stages: bool = False) -> StarterSurvey:
    """Read all models, their tags and the runs of those that hold aliases. Raises `TransientError` or `PermanentError`.

    `wanted`: the metrics that a person chose. `from_stages`: stages stand for aliases that are not there.
    """
    observed = registry.observe_models()
    labels = registry.read_model_labels()
    unmapped: list[UnmappedVersion] = []
    other, has_stages = Counter[str](), False
    drafts: list[StarterModel] = []
    bad: list[str] = []
    for name, model in sorted(observed.items()):
        own = labels.get(name)
        stages = own.stages if own else {}
        has_stages = has_stages or not STAGE_ALIASES.keys().isdisjoint(stages.values())
        other.update(stage for stage in stages.values() if stage not in STAGE_ALIASES)
        new, left = map_stages(model, stages) if from_stages else ({}, [])
        unmapped += left
        aliases = {alias: number for alias, number in model.aliases.items() if _can_be_stated(alias)}
        bad += [f"{name}@{alias}" for alias in model.aliases.keys() - aliases.keys()]
        drafts.append(StarterModel(name, aliases, new, find_owners(own.tags) if own else ()))
    models = _read_holders(registry, observed, drafts)
    starter = build_starter(models, [name for name in observed if find_model_name_flaw(name) is None], wanted)
    return StarterSurvey(starter, tuple(unmapped), dict(other) if from_stages else {}, has_stages, tuple(sorted(bad)))


def _read_holders(
    registry: Registry, observed: Mapping[str, ObservedModel], drafts: Sequence[StarterModel]
) -> list[StarterModel]:
    holders = {
        (draft.name, number): version
        for draft in drafts
        for number in draft.stated.values()
        if (version := observed[draft.name].versions.get(number))
    }
    runs = registry.read_runs({version.run_id for version in holders.values() if version.run_id})
    return [
        StarterModel(
            draft.name,
            draft.aliases,
            draft.new_aliases,
            draft.owners,
            {
                number: _describe_holder(version, runs)
                for number in draft.stated.values()
                if (version := holders.get((draft.name, number)))
            },
        )
        for draft in drafts
    ]


def _describe_holder(version: ModelVersion, runs: Mapping[str, TrainingRun]) -> HolderEvidence:
    run = runs.get(version.run_id or "")
    metrics = {name: value for name, value in run.metrics.items() if _can_be_compared(name, value)} if run else {}
    tags = {} if version.is_copied else version.tags  # an approval that came with a copy counts for nothing
    return HolderEvidence(metrics, tags, run is not None and run.status == _FINISHED)


def _can_be_stated(alias: str) -> bool:
    try:
        validate_alias_name(alias)
    except ValueError:
        return False
    return True


def _can_be_compared(metric: str, value: float) -> bool:
    return math.isfinite(value) and len(metric) <= METRIC_NAME_LIMIT
