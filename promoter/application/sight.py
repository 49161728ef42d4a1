"""Sight: what of the watched tags is known, and what a survey sees of them for the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from promoter.application.ports import VersionKey, Ledger
from promoter.domain.declaration import Declaration
from promoter.domain.desired import ModelIntent
from promoter.domain.evidence import Need
from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.sightings import TagObservation, find_new_observations


@dataclass(frozen=True)
class ObservedTags:
    """What is known of each version, with what is seen now. `new` is to be recorded by whoever may write."""

    known: Mapping[VersionKey, Sequence[TagObservation]] = field(default_factory=dict)
    new: tuple[TagObservation, ...] = ()


class TagObserver:
    """Looks at the tags that a policy of the model reads. Reads only.

    That a tag is not there is worth a sighting only where it counts that it was set later: with `bound` rules, and of copies.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Takes the ledger."""
        self._ledger = ledger

    def __call__(
        self,
        declaration: Declaration,
        intents: Mapping[str, ModelIntent],
        observed: Mapping[str, ObservedModel],
        at: datetime,
    ) -> ObservedTags:
        """Every version counts from the first look on, long before it is a candidate."""
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
    """The versions whose tags are looked at: all, if any rule reads tags."""
    return observed.versions if need.watched or need.tags else {}
