"""Sources: where the versions of an alias with `promote_from` come from, and which version here is a copy of which there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta

from promoter.domain.desired import AliasIntent, PromoteFrom, RegistryDocument
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.observed import SOURCE_TAG_PREFIX, ModelVersion, ObservedModel, is_copy_source

REPLICA_CLOCK_SKEW = timedelta(seconds=1)
"""Between the clocks of two replicas of one server."""

_DIGEST_DIGITS = 32


@dataclass(frozen=True, order=True)
class AliasRef:
    """An alias of a model in a registry. `registry` is a name in the settings; empty: this registry."""

    registry: str
    model: str
    alias: str

    @classmethod
    def from_intent(cls, intent: AliasIntent) -> AliasRef | None:
        """Where the versions of that alias come from; None where they are this model's own."""
        promote_from = intent.promote_from
        return (
            cls(promote_from.registry or "", promote_from.model or intent.model, promote_from.alias) if promote_from else None
        )

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
    def copy_tags(self) -> Mapping[str, str]:
        """What a copy bears from the moment on at which it is there: whose copy it is."""
        origin = {
            "registry": self.registry,
            "model": self.model,
            "version": str(self.version.number),
            "run_id": self.version.run_id or "",
            "created_at": self.version.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        }
        return {SOURCE_TAG_PREFIX + key: value for key, value in origin.items()}

    @property
    def short_digest(self) -> str:
        """One word for all of that."""
        text = "\n".join(f"{key}={value}" for key, value in sorted(self.copy_tags.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]

    def is_copied_as(self, version: ModelVersion) -> bool:
        """Whether that version of this registry is a copy of it.

        MLflow itself says it of a copy within one registry. Of one from elsewhere its tags do, unless MLflow says that it was
        copied here once more: tags come along then.
        """
        if self.registry:
            return not is_copy_source(version.source) and all(
                version.tags.get(key) == value for key, value in self.copy_tags.items()
            )
        same = version.source == f"models:/{self.model}/{self.version.number}" and version.run_id == self.version.run_id
        return same and version.created_at + REPLICA_CLOCK_SKEW >= self.version.created_at

    def find_copies(self, observed: ObservedModel) -> tuple[int, ...]:
        """The versions of the model that are copies of it, oldest first, also those that are not ready yet."""
        return tuple(sorted(number for number, version in observed.versions.items() if self.is_copied_as(version)))


@dataclass(frozen=True)
class SourceAlias:
    """What a look at a place found: who holds the alias (None: nobody), or why there is no telling."""

    place: AliasRef
    holder: SourceVersion | None = None
    trouble: ExternalError | None = None

    @property
    def trouble_reason(self) -> str:
        """Why there is no telling, in words."""
        if self.trouble is None:
            return ""
        return f"{self.place.registry or self.place} cannot be read: {self.trouble.message}"


@dataclass(frozen=True)
class SourceSelection:
    """The version that an alias with `promote_from` is to get: a copy that is there, or the one that is to be copied.

    `reason` says why it is neither. All are empty where the alias points at a copy already.
    """

    candidate: int | None = None
    missing: SourceVersion | None = None
    reason: str = ""


def select_source_version(intent: AliasIntent, observed: ObservedModel, holding: SourceAlias | None) -> SourceSelection:
    """What follows from who holds the place now."""
    if holding is None:
        return SourceSelection(reason=f"{AliasRef.from_intent(intent)} was not looked at")
    if holding.trouble:
        return SourceSelection(reason=holding.trouble_reason)
    place, holder = holding.place, holding.holder
    if holder is None:
        return SourceSelection(reason=f"nobody holds {place}")
    if not holder.version.ready:
        return SourceSelection(reason=f"{place} is v{holder.version.number}, which is not ready")
    copies = holder.find_copies(observed)
    if not copies:
        return SourceSelection(missing=holder, reason=f"{holder} has {place.alias} there, and is not copied yet")
    return _select_usable_copy(intent, observed, holder, copies)


def _select_usable_copy(
    intent: AliasIntent, observed: ObservedModel, holder: SourceVersion, copies: tuple[int, ...]
) -> SourceSelection:
    """The newest that can be used. Where one is in quarantine, no other takes its place: it would be the same."""
    held = observed.aliases.get(intent.alias)
    barred = [number for number in copies if number in intent.quarantine]
    ready = [number for number in copies if observed.versions[number].ready]
    if held in copies:
        return SourceSelection(reason=f"v{held} is the copy of {holder}")
    if barred:
        return SourceSelection(reason=f"v{barred[-1]}, the copy of {holder}, is in quarantine")
    if not ready:
        return SourceSelection(reason=f"v{copies[-1]}, the copy of {holder}, is not ready")
    return SourceSelection(candidate=ready[-1])


def build_unknown_registry_error(registry: str) -> PermanentError:
    """The fault of a registry that the settings do not have."""
    return PermanentError(registry, f"the settings name no registry `{registry}`", "add it under `registries` in promoter.yaml")


def list_used_registries(document: RegistryDocument) -> Mapping[str, list[str]]:
    """The names of registries that `registry.yaml` uses, each with where."""
    found: dict[str, list[str]] = {}
    for where, promote_from in _list_promote_from_uses(document):
        if promote_from is not None and promote_from.registry is not None:
            found.setdefault(promote_from.registry, []).append(where)
    return found


def _list_promote_from_uses(document: RegistryDocument) -> Iterator[tuple[str, PromoteFrom | None]]:
    for alias, shared in document.defaults.aliases.items():
        yield f"defaults@{alias}", shared.promote_from
    for family in document.families:
        for alias, shared in family.aliases.items():
            yield f"{family.match}@{alias}", shared.promote_from
    for name, entry in document.models.items():
        for alias, own in entry.aliases.items():
            yield f"{name}@{alias}", own.promote_from
