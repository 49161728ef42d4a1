"""Sources of `promote_from`: where an alias's versions come from, and which version here is a copy of which there."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta

from promoter.domain.approvals import APPROVAL_TAG_PREFIX
from promoter.domain.desired import AliasIntent, PromoteFrom, RegistryDocument
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.observed import (
    SOURCE_OWN_TAG_PREFIX,
    SOURCE_TAG_PREFIX,
    ModelVersion,
    ObservedModel,
    is_copy_source,
)
from promoter.domain.policy.document import Policy

REPLICA_CLOCK_SKEW = timedelta(seconds=1)
"""Between the clocks of two replicas of one server."""

_DIGEST_DIGITS = 32
_TAG_KEY_LIMIT = 250
"""Characters of a tag's key: MLflow takes no more."""
APPROVAL_TAG = "approved_by"
"""The tag by which people approve a version, also before a policy asks for it."""


def find_withheld_tags(policies: Iterable[Policy]) -> frozenset[str]:
    """Return the tags that a copy must not have from its source, as a person is to set them on the copy itself.

    They are those that rules of these policies read and do not accept of a copy (`copied: accept`), those whose values at the
    source a rule reads under `promoter.source.tag.`, and `approved_by`.
    """
    withheld, accepted = {APPROVAL_TAG}, set[str]()
    for policy in policies:
        for outer in (*policy.document.rules, *policy.document.guards):
            for rule in outer.walk_rules():
                need, used = rule.needed_evidence(policy.rule_context), rule.used_tags() or frozenset()
                withheld |= need.tags | need.watched
                accepted |= used - need.tags - need.watched
    at_source = {tag.removeprefix(SOURCE_OWN_TAG_PREFIX) for tag in accepted if tag.startswith(SOURCE_OWN_TAG_PREFIX)}
    return frozenset(tag for tag in withheld - accepted | at_source if not tag.startswith(SOURCE_TAG_PREFIX))


@dataclass(frozen=True, order=True)
class AliasRef:
    """An alias of a model in a registry."""

    registry: str
    """A name in the settings; empty: this registry."""
    model: str
    alias: str

    @classmethod
    def from_intent(cls, intent: AliasIntent) -> AliasRef | None:
        """Return where the versions of that alias come from; None where they are its model's own."""
        promote_from = intent.promote_from
        return (
            cls(promote_from.registry or "", promote_from.model or intent.model, promote_from.alias) if promote_from else None
        )

    def __str__(self) -> str:
        name = f"{self.model}@{self.alias}"
        return f"{name} in {self.registry}" if self.registry else name


@dataclass(frozen=True)
class SourceVersion:
    """A version at its source. A model that was deleted and registered anew has the same numbers, not the same times."""

    registry: str
    model: str
    version: ModelVersion

    def __str__(self) -> str:
        name = f"v{self.version.number} of {self.model}"
        return f"{name} in {self.registry}" if self.registry else name

    @property
    def copy_tags(self) -> Mapping[str, str]:
        """The tags of its copy, which say from the copy's first moment whose copy it is."""
        origin = {
            "registry": self.registry,
            "model": self.model,
            "version": str(self.version.number),
            "run_id": self.version.run_id or "",
            "created_at": self.version.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        }
        return {SOURCE_TAG_PREFIX + key: value for key, value in origin.items()}

    def select_copied_tags(self, withheld: Collection[str]) -> Mapping[str, str]:
        """Return the tags that its copy gets from it: all as they are, but the `withheld` ones and signed approvals.

        The copy keeps these under `promoter.source.tag.NAME`, so that nothing said of the source passes for said of the copy.
        What the source keeps so itself is left out, and between two registries also whose copy the source is.
        """
        found = {}
        for key, value in self.version.tags.items():
            if key.startswith(SOURCE_TAG_PREFIX if self.registry else SOURCE_OWN_TAG_PREFIX):
                continue
            kept = SOURCE_OWN_TAG_PREFIX + key if key in withheld or key.startswith(APPROVAL_TAG_PREFIX) else key
            if len(kept) <= _TAG_KEY_LIMIT:
                found[kept] = value
        return {**found, **self.copy_tags} if self.registry else found

    @property
    def short_digest(self) -> str:
        """A short hash of its identity."""
        text = "\n".join(f"{key}={value}" for key, value in sorted(self.copy_tags.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]

    def is_copied_as(self, version: ModelVersion) -> bool:
        """Return whether that version of this registry is a copy of it.

        MLflow itself marks a copy within one registry. A copy from another one has its tags, unless MLflow says that it was
        copied here once more: tags come along then.
        """
        if self.registry:
            return not is_copy_source(version.source) and all(
                version.tags.get(key) == value for key, value in self.copy_tags.items()
            )
        same = version.source == f"models:/{self.model}/{self.version.number}" and version.run_id == self.version.run_id
        return same and version.created_at + REPLICA_CLOCK_SKEW >= self.version.created_at

    def find_copies(self, observed: ObservedModel) -> tuple[int, ...]:
        """Return the model's versions that are copies of it, the oldest first, those that are not ready too."""
        return tuple(sorted(number for number, version in observed.versions.items() if self.is_copied_as(version)))


@dataclass(frozen=True)
class SourceAlias:
    """What was read of an alias at its source."""

    place: AliasRef
    holder: SourceVersion | None = None
    """The version that holds it; None: nobody does, or it could not be read."""
    trouble: ExternalError | None = None
    """Why it could not be read."""

    @property
    def trouble_reason(self) -> str:
        """Why it could not be read, in words."""
        if self.trouble is None:
            return ""
        return f"{self.place.registry or self.place} cannot be read: {self.trouble.message}"


@dataclass(frozen=True)
class SourceSelection:
    """The version that an alias with `promote_from` should get. All are empty where the alias has a copy of it already."""

    candidate: int | None = None
    """A copy that is in this registry."""
    missing: SourceVersion | None = None
    """The version that has to be copied first."""
    reason: str = ""
    """Why it is neither."""


def select_source_version(intent: AliasIntent, observed: ObservedModel, source_alias: SourceAlias | None) -> SourceSelection:
    """Decide which copy an alias should get, given who holds the alias at the source now."""
    if source_alias is None:
        return SourceSelection(reason=f"{AliasRef.from_intent(intent)} was not looked at")
    if source_alias.trouble:
        return SourceSelection(reason=source_alias.trouble_reason)
    place, holder = source_alias.place, source_alias.holder
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
    """Return the newest copy that can be used; none where one is in quarantine, since another would be the same."""
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
    """Return the fault of a registry that the settings do not have."""
    return PermanentError(registry, f"the settings name no registry `{registry}`", "add it to PROMOTER_REGISTRIES")


def list_used_registries(document: RegistryDocument) -> Mapping[str, list[str]]:
    """Return the registries that `registry.yaml` names, each with its place."""
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
