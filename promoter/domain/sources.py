"""Sources: where the versions of an alias with `promote_from` come from, and which version here is a copy of which there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta

from promoter.domain.desired import AliasIntent, PromoteFrom, RegistryDocument
from promoter.domain.faults import OutsideError, Refused
from promoter.domain.observed import SOURCE_TAG, ModelVersion, ObservedModel, is_copy

SKEW = timedelta(seconds=1)
"""Between the clocks of two replicas of one server."""

_DIGITS = 32


@dataclass(frozen=True, order=True)
class Place:
    """An alias of a model in a registry. `registry` is a name in the settings; empty: this registry."""

    registry: str
    model: str
    alias: str

    @classmethod
    def of(cls, intent: AliasIntent) -> Place | None:
        """Where the versions of that alias come from; None where they are this model's own."""
        said = intent.promote_from
        return cls(said.registry or "", said.model or intent.model, said.alias) if said else None

    def __str__(self) -> str:
        """`fraud@champion in staging`, or `fraud-staging@champion`."""
        name = f"{self.model}@{self.alias}"
        return f"{name} in {self.registry}" if self.registry else name


@dataclass(frozen=True)
class SourceVersion:
    """A version as it stands at its source. A model that was deleted and made anew has the same numbers, not the same times."""

    registry: str
    model: str
    version: ModelVersion

    def __str__(self) -> str:
        """`v7 of fraud in staging`."""
        name = f"v{self.version.number} of {self.model}"
        return f"{name} in {self.registry}" if self.registry else name

    @property
    def tags(self) -> Mapping[str, str]:
        """What a copy bears from the moment on at which it is there: whose copy it is."""
        told = {
            "registry": self.registry,
            "model": self.model,
            "version": str(self.version.number),
            "run_id": self.version.run_id or "",
            "created_at": self.version.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        }
        return {SOURCE_TAG + key: value for key, value in told.items()}

    @property
    def digest(self) -> str:
        """One word for all of that."""
        told = "\n".join(f"{key}={value}" for key, value in sorted(self.tags.items()))
        return hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]

    def copied_as(self, version: ModelVersion) -> bool:
        """Whether that version of this registry is a copy of it.

        MLflow itself says it of a copy within one registry. Of one from elsewhere its tags do, unless MLflow says that it was
        copied here once more: tags come along then.
        """
        if self.registry:
            return not is_copy(version.source) and all(version.tags.get(key) == value for key, value in self.tags.items())
        same = version.source == f"models:/{self.model}/{self.version.number}" and version.run_id == self.version.run_id
        return same and version.created_at + SKEW >= self.version.created_at

    def copies(self, observed: ObservedModel) -> tuple[int, ...]:
        """The versions of the model that are copies of it, oldest first, also those that are not ready yet."""
        return tuple(sorted(number for number, version in observed.versions.items() if self.copied_as(version)))


@dataclass(frozen=True)
class Holding:
    """What a look at a place found: who holds the alias (None: nobody), or why there is no telling."""

    place: Place
    holder: SourceVersion | None = None
    trouble: OutsideError | None = None

    @property
    def reason(self) -> str:
        """Why there is no telling, in words."""
        if self.trouble is None:
            return ""
        return f"{self.place.registry or self.place} cannot be read: {self.trouble.message}"


@dataclass(frozen=True)
class Sourced:
    """The version that an alias with `promote_from` is to get: a copy that is there, or the one that is to be copied.

    `reason` says why it is neither. All are empty where the alias points at a copy already.
    """

    candidate: int | None = None
    missing: SourceVersion | None = None
    reason: str = ""


def sourced(intent: AliasIntent, observed: ObservedModel, holding: Holding | None) -> Sourced:
    """What follows from who holds the place now."""
    if holding is None:
        return Sourced(reason=f"{Place.of(intent)} was not looked at")
    if holding.trouble:
        return Sourced(reason=holding.reason)
    place, holder = holding.place, holding.holder
    if holder is None:
        return Sourced(reason=f"nobody holds {place}")
    if not holder.version.ready:
        return Sourced(reason=f"{place} is v{holder.version.number}, which is not ready")
    copies = holder.copies(observed)
    if not copies:
        return Sourced(missing=holder, reason=f"{holder} has {place.alias} there, and is not copied yet")
    return _of_copies(intent, observed, holder, copies)


def _of_copies(intent: AliasIntent, observed: ObservedModel, holder: SourceVersion, copies: tuple[int, ...]) -> Sourced:
    """The newest that can be used. Where one is in quarantine, no other takes its place: it would be the same."""
    held = observed.aliases.get(intent.alias)
    barred = [number for number in copies if number in intent.quarantine]
    ready = [number for number in copies if observed.versions[number].ready]
    if held in copies:
        return Sourced(reason=f"v{held} is the copy of {holder}")
    if barred:
        return Sourced(reason=f"v{barred[-1]}, the copy of {holder}, is in quarantine")
    if not ready:
        return Sourced(reason=f"v{copies[-1]}, the copy of {holder}, is not ready")
    return Sourced(candidate=ready[-1])


def unknown(registry: str) -> Refused:
    """The fault of a registry that the settings do not have."""
    return Refused(registry, f"the settings name no registry `{registry}`", "add it under `registries` in promoter.yaml")


def registries(document: RegistryDocument) -> Mapping[str, list[str]]:
    """The names of registries that `registry.yaml` uses, each with where."""
    found: dict[str, list[str]] = {}
    for where, said in _uses(document):
        if said is not None and said.registry is not None:
            found.setdefault(said.registry, []).append(where)
    return found


def _uses(document: RegistryDocument) -> Iterator[tuple[str, PromoteFrom | None]]:
    for alias, shared in document.defaults.aliases.items():
        yield f"defaults@{alias}", shared.promote_from
    for family in document.families:
        for alias, shared in family.aliases.items():
            yield f"{family.match}@{alias}", shared.promote_from
    for name, entry in document.models.items():
        for alias, own in entry.aliases.items():
            yield f"{name}@{alias}", own.promote_from
