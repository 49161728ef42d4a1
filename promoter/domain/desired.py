"""Desired state: `registry.yaml` as it is written, and the settings that result for each model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from promoter.domain.allowance import ChangeAllowance
from promoter.domain.errors import DocumentPath, PermanentError
from promoter.domain.fields import (
    AliasName,
    Document,
    FormatVersion,
    ModelName,
    Moment,
    PolicyName,
    VersionNumber,
    format_utc_minute,
)
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.identity import RememberedVersion
from promoter.domain.policy.document import Policy
from promoter.domain.text import suggest_known_name

DEFAULT_OVERRIDE_DURATION = timedelta(hours=24)
"""How long an override is in force where nobody states an end; the longest is a week."""
LONGEST_OVERRIDE = timedelta(days=7)


@dataclass(frozen=True)
class Override:
    """A version that stands in for what git says of one alias, until a pull request is decided or the override ends."""

    id: int
    """The id of its audit record."""
    at: datetime
    model: str
    alias: str
    version: int
    replaces: int | None
    """The version that it took away; None: nobody held the alias."""
    reason: str
    by: str
    """The person who asked for it."""
    until: datetime
    identity: str | None = None
    """The identity of the version, as `VersionIdentity.text` writes it; None: unknown."""
    without_artifact_check: bool = False
    """Whether the person asked for the version although its artifact may not pass its check."""

    @property
    def hold(self) -> Hold:
        """The hold that the alias has while the override is in force, without its end."""
        return Hold(
            reason=self.reason, by=self.by, without_artifact_check=self.version if self.without_artifact_check else None
        )

    @property
    def target(self) -> RememberedVersion:
        """The version that was meant when the override began."""
        return RememberedVersion(self.version, self.identity, self.at)

    @property
    def description(self) -> str:
        """Version, end, person and reason in one line."""
        return f"v{self.version} until {format_utc_minute(self.until)}, by {self.by}: {self.reason}"

    def is_in_force(self, now: datetime) -> bool:
        """Return whether it has not expired."""
        return now < self.until


ABSENT = "absent"
_SHARE = re.compile(r"(100|\d{1,2})%")
_ShareText = Annotated[str, Field(json_schema_extra={"pattern": "^(100|[0-9]{1,2})%$"})]

OnDrift = Literal["revert", "report", "adopt"]


def _parse_rotation(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads a bare `off` as false


Rotation = Annotated[
    Literal["off", "commit", "pull-request"],
    BeforeValidator(_parse_rotation),
    WithJsonSchema({"enum": ["off", "commit", "pull-request", False], "type": ["string", "boolean"]}),
]


class Hold(Document):
    """Rotation leaves the alias alone until `until` (for good, where it is left out)."""

    reason: str = Field(min_length=1, max_length=1_000, description="Why.")
    by: str = Field(min_length=1, max_length=200, description="Who says so.")
    until: Moment | None = Field(
        default=None, description="Until when: a time with its zone, `2026-12-01T00:00:00Z`. Left out: for good."
    )
    without_artifact_check: VersionNumber | None = Field(
        default=None,
        description="A version that held the alias before, and returns although its artifact does not pass its check.",
    )

    def is_in_force(self, now: datetime) -> bool:
        """Return whether it has not expired."""
        return self.until is None or now < self.until

    def waives_artifact_check(self, version: int, now: datetime) -> bool:
        """Return whether the check of the artifact of exactly that version is left out, on a person's word."""
        return self.without_artifact_check == version and self.is_in_force(now)


class PromoteFrom(Document):
    """Where the versions of an alias come from: the holder of an alias of another model, or of another registry.

    `registry` is a name in the settings (left out: this one), `model` a name there (left out: the same).
    """

    registry: str | None = Field(
        default=None, min_length=1, max_length=100, description="A registry's name in Promoter's settings. Left out: this one."
    )
    model: ModelName | None = Field(default=None, description="The model's name there. Left out: the same.")
    alias: AliasName = Field(description="The alias there, whose holder is copied.")

    @model_validator(mode="after")
    def _check_other_model(self) -> PromoteFrom:
        if self.registry is None and self.model is None:
            raise ValueError("`promote_from` names a `registry`, a `model`, or both: an alias is not copied from its own model")
        return self


class ProposalSettings(Document):
    """What proposals by pull request carry (labels, reviewers, auto-merge), and when an open one is revised."""

    labels: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        strict=False,
        description="Labels of the pull request; those that the repository lacks are made.",
    )
    reviewers: tuple[str, ...] = Field(
        default=(), max_length=20, strict=False, description="Who is asked for a review: accounts, or teams as `org/team`."
    )
    auto_merge: bool = Field(default=False, description="true: the forge merges it by itself once it may.")
    revise: Literal["until-approved", "always", "never"] = Field(
        default="until-approved",
        description="When an open pull request of rotation is rewritten for a better candidate: `until-approved` (default: "
        "not once somebody has approved it), `always`, or `never`.",
    )


class SharedAlias(Document):
    """What `defaults` and `families` may say of an alias: nothing that belongs to one model's versions."""

    policy: PolicyName | None = Field(
        default=None, description="What a version must show first: the policy of `policies/NAME.yaml`."
    )
    rotation: Rotation | None = Field(
        default=None, description="How the best candidate that passes gets here: off (default), commit, or pull-request."
    )
    hold: Hold | None = Field(
        default=None,
        description='Rotation leaves the alias alone: `{reason: "bad recall", by: alice, until: 2026-12-01T00:00:00Z}`.',
    )
    promote_from: PromoteFrom | None = Field(
        default=None, description="Where its versions are copied from: `{registry: staging, alias: champion}`."
    )

    @model_validator(mode="after")
    def _check_shared_hold(self) -> SharedAlias:
        if self.hold and self.hold.without_artifact_check is not None and type(self) is SharedAlias:
            raise ValueError("`without_artifact_check` names a version of one model: write that hold at the model's own alias")
        return self


class AliasEntry(SharedAlias):
    """An alias of one model. `8` is short for `{version: 8}`; `absent` says that it must not exist."""

    version: VersionNumber | None = Field(
        default=None, description="The version that the alias points at. Left out: rotation decides."
    )
    quarantine: tuple[VersionNumber, ...] = Field(
        default=(), max_length=10_000, strict=False, description="Versions that rotation never proposes: `[9]`."
    )
    absent: bool = Field(default=False, exclude=True)


def _parse_alias_entry(value: object) -> object:
    if value == ABSENT:
        return AliasEntry(absent=True)
    if isinstance(value, int) and not isinstance(value, bool):
        return {"version": value}
    if isinstance(value, Mapping) and ABSENT in value:
        raise ValueError("write `ALIAS: absent`, without braces")
    if not isinstance(value, Mapping | AliasEntry):
        raise ValueError("an alias is a version number, `absent`, or a mapping such as {version: 8, policy: champion}")  # noqa: TRY004
    return value


_AliasShortForm = (
    Annotated[int, Field(ge=1, le=2**31 - 1, description="The version that the alias points at: short for `{version: 8}`.")]
    | Annotated[str, WithJsonSchema({"const": ABSENT, "description": "The alias must not exist."})]
)


class SharedModel(Document):
    """Settings that many models share."""

    owners: tuple[str, ...] = Field(
        default=(), max_length=100, strict=False, description="Who answers for the model: `[risk-team]`."
    )
    prune: bool = Field(default=False, description="true: aliases in the registry that are not listed here are deleted.")
    on_drift: OnDrift = Field(
        default="revert",
        description="Somebody moved an alias by hand: revert (put it back), report, or adopt (propose it to git).",
    )
    proposals: ProposalSettings = Field(
        default=ProposalSettings(),
        description="What pull requests carry: `{labels: [promoter], reviewers: [acme/risk], auto_merge: false}`, and when an "
        "open one is rewritten (`revise`).",
    )
    aliases: dict[AliasName, SharedAlias] = Field(
        default_factory=dict,
        description="What every such model says of an alias: `{champion: {policy: champion, rotation: commit}}`.",
    )


class Family(SharedModel):
    """Settings for every registered model whose name matches; the first match wins."""

    match: str = Field(min_length=1, max_length=256, description='The names that are meant: `"demand-*"`.')


class ModelEntry(SharedModel):
    """One model."""

    aliases: dict[
        AliasName,
        Annotated[AliasEntry, BeforeValidator(_parse_alias_entry, json_schema_input_type=_AliasShortForm | AliasEntry)],
    ] = Field(
        default_factory=dict,
        description="Where each alias points: a version, `absent`, or such as `{version: 7, policy: champion}`.",
    )  # type: ignore[assignment]


class Safety(Document):
    """The mass-change limit: a share of the managed aliases, or a number of changes; and whether commits must be signed."""

    max_changes: _ShareText | Annotated[int, Field(ge=0)] = Field(
        default="30%", description="A share of the managed aliases (`30%`), or a number of changes."
    )
    require_signed_commits: bool = Field(
        default=False, description="true: commits that change these files must be signed by a key in `signers/`."
    )

    @field_validator("max_changes")
    @classmethod
    def _check_share(cls, value: str | int) -> str | int:
        if isinstance(value, str) and not _SHARE.fullmatch(value):
            raise ValueError("a share between `0%` and `100%`, or a number of changes")
        return value


class RegistryDocument(Document):
    """`registry.yaml` as it is written."""

    version: FormatVersion
    defaults: SharedModel = Field(default=SharedModel(), description="Settings of every model that does not say otherwise.")
    safety: Safety = Field(
        default=Safety(), description="A plan that changes more than this is refused, once it changes more than 10 aliases."
    )
    families: tuple[Family, ...] = Field(
        default=(),
        max_length=1_000,
        strict=False,
        description='Settings by name: `{match: "demand-*", aliases: {champion: {policy: champion}}}`.',
    )
    models: dict[ModelName, ModelEntry] = Field(
        description="Each registered model, and where its aliases are to point: `{aliases: {champion: 7}}`."
    )


@dataclass(frozen=True)
class AliasIntent:
    """What git says of one alias of one model, with all settings merged."""

    model: str
    alias: str
    version: int | None = None
    """The version that git states; None without `absent`: git states nothing, and rotation decides."""
    absent: bool = False
    """Whether the alias must not exist."""
    policy: str | None = None
    rotation: str = "off"
    quarantine: frozenset[int] = frozenset()
    """Versions that rotation never proposes."""
    hold: Hold | None = None
    promote_from: PromoteFrom | None = None
    override: Override | None = None
    """The override in force; `version` and `hold` are its own then."""
    declared: AliasIntent | None = None
    """With an override: what git itself says."""

    @property
    def has_declared_target(self) -> bool:
        """Whether git says where the alias points, or that it must not exist."""
        return self.absent or self.version is not None


@dataclass(frozen=True)
class ModelIntent:
    """What git says of one model, with all settings merged."""

    name: str
    owners: tuple[str, ...] = ()
    prune: bool = False
    """Whether aliases that git does not list are deleted."""
    on_drift: OnDrift = "revert"
    proposals: ProposalSettings = field(default_factory=ProposalSettings)
    aliases: Mapping[str, AliasIntent] = field(default_factory=dict)
    """The aliases that git says anything of, by name."""

    def require_alias(self, alias: str) -> AliasIntent:
        """Return what git says of the alias. Raises `PermanentError` where it says nothing."""
        if alias not in self.aliases:
            fix = suggest_known_name(alias, self.aliases) or "list it under `aliases`"
            raise PermanentError(REGISTRY_FILE, f"`{self.name}` says nothing of an alias `{alias}`", fix)
        return self.aliases[alias]

    def apply_overrides(self, overrides: Iterable[Override]) -> ModelIntent:
        """Return the intent with each override in the place of what git says of its alias; of several, the last counts.

        An override whose version git states by now changes nothing.
        """
        aliases = dict(self.aliases)
        for each in {each.alias: each for each in sorted(overrides, key=lambda one: one.id)}.values():
            declared = self.aliases.get(each.alias)
            if declared is not None and declared.version != each.version:
                hold = each.hold.model_copy(update={"until": each.until})
                quarantine = declared.quarantine | ({each.replaces} if each.replaces else set())
                aliases[each.alias] = replace(
                    declared,
                    version=each.version,
                    absent=False,
                    hold=hold,
                    quarantine=quarantine,
                    override=each,
                    declared=declared,
                )
        return replace(self, aliases=aliases)

    def remove_overrides(self) -> ModelIntent:
        """Return the intent with what git itself says of each alias."""
        return replace(self, aliases={name: alias.declared or alias for name, alias in self.aliases.items()})


@dataclass(frozen=True)
class DesiredState:
    """The registry as git wants it. Models under `models` are merged once; others are matched by family on demand."""

    document: RegistryDocument
    listed: Mapping[str, ModelIntent]
    """The models under `models`, by name."""

    @classmethod
    def from_document(cls, document: RegistryDocument) -> DesiredState:
        """Merge the settings of every listed model."""
        return cls(document, {name: _merge_model_settings(document, name, entry) for name, entry in document.models.items()})

    def find_model_intent(self, name: str) -> ModelIntent | None:
        """Return what git says of a registered model; None where git does not manage it."""
        if name in self.listed:
            return self.listed[name]
        return _merge_model_settings(self.document, name, None) if _find_matching_family(self.document, name) else None

    def find_alias_intent(self, model: str, alias: str) -> AliasIntent | None:
        """Return what git says of an alias; None where it says nothing."""
        intent = self.find_model_intent(model)
        return intent.aliases.get(alias) if intent else None

    def require_model_intent(self, name: str) -> ModelIntent:
        """Return what git says of a registered model. Raises `PermanentError` where git does not manage it."""
        intent = self.find_model_intent(name)
        if intent is None:
            fix = suggest_known_name(name, self.listed) or "list it under `models`, or match it with a family"
            raise PermanentError(REGISTRY_FILE, f"`{name}` is not managed", fix)
        return intent

    def manages_model(self, name: str) -> bool:
        """Return whether the model is listed or belongs to a family."""
        return name in self.listed or _find_matching_family(self.document, name) is not None

    def find_shared_hold(self, model: str, alias: str) -> DocumentPath | None:
        """Return the place where `defaults` or a family holds that alias, if the alias's own entry has no hold."""
        family = _find_matching_family(self.document, model)
        layers: list[tuple[DocumentPath, SharedModel]] = [(("defaults",), self.document.defaults)]
        layers += [(("families", self.document.families.index(family)), family)] if family else []
        found: DocumentPath | None = None
        for place, layer in layers:
            shared = layer.aliases.get(alias)
            if shared is not None and "hold" in shared.model_fields_set:
                found = (*place, "aliases", alias, "hold") if shared.hold else None
        return found

    @property
    def stated_aliases(self) -> Iterator[AliasIntent]:
        """The aliases of listed models that git gives a version, or says must not exist."""
        return (alias for intent in self.listed.values() for alias in intent.aliases.values() if alias.has_declared_target)

    @property
    def stated_versions(self) -> dict[tuple[str, str], int | None]:
        """The version of each stated alias, by model and alias; None: it must not exist."""
        return {(intent.model, intent.alias): intent.version for intent in self.stated_aliases}

    @cached_property
    def managed_alias_count(self) -> int:
        """The number of stated aliases, of which the mass-change limit is a share."""
        return sum(1 for _ in self.stated_aliases)

    def list_policy_uses(self) -> Iterator[tuple[DocumentPath, str]]:
        """Yield each place in the document that names a policy, and the name."""
        document = self.document
        for alias, shared in document.defaults.aliases.items():
            if shared.policy:
                yield ("defaults", "aliases", alias, "policy"), shared.policy
        for index, family in enumerate(document.families):
            for alias, shared in family.aliases.items():
                if shared.policy:
                    yield ("families", index, "aliases", alias, "policy"), shared.policy
        for name, entry in document.models.items():
            for alias, own in entry.aliases.items():
                if own.policy:
                    yield ("models", name, "aliases", alias, "policy"), own.policy


def _find_matching_family(document: RegistryDocument, name: str) -> Family | None:
    return next((family for family in document.families if fnmatchcase(name, family.match)), None)


def _merge_model_settings(document: RegistryDocument, name: str, entry: ModelEntry | None) -> ModelIntent:
    """Merge field by field: `defaults`, then the first matching family, then the model's own entry."""
    layers: list[SharedModel] = [document.defaults]
    family = _find_matching_family(document, name)
    layers += [family] if family else []
    layers += [entry] if entry else []
    settings: dict[str, Any] = {}
    aliases: dict[str, dict[str, Any]] = {}
    for layer in layers:
        settings |= {
            key: getattr(layer, key) for key in ("owners", "prune", "on_drift", "proposals") if key in layer.model_fields_set
        }
        for alias, entry_settings in layer.aliases.items():
            aliases.setdefault(alias, {}).update({key: getattr(entry_settings, key) for key in entry_settings.model_fields_set})
    return ModelIntent(
        name=name,
        aliases={alias: _build_alias_intent(name, alias, entry_settings) for alias, entry_settings in aliases.items()},
        **settings,
    )


def _build_alias_intent(model: str, alias: str, settings: dict[str, Any]) -> AliasIntent:
    if settings.get(ABSENT):
        return AliasIntent(model=model, alias=alias, absent=True)
    settings = {
        **settings,
        "quarantine": frozenset(settings.get("quarantine", ())),
        "rotation": settings.get("rotation") or "off",
    }
    return AliasIntent(model=model, alias=alias, **settings)


@dataclass(frozen=True)
class Declaration:
    """The desired state and the policies of one revision."""

    revision: str | None
    """The commit; None for a working tree that differs from every commit."""
    desired: DesiredState
    policies: Mapping[str, Policy]
    """The policies by name."""
    allowance: ChangeAllowance | None = None
    """Leave for this revision to go past the mass-change limit; None: it has none."""

    def find_allowance(self, now: datetime) -> ChangeAllowance | None:
        """Return the allowance, where it is in force."""
        return self.allowance if self.allowance and self.allowance.is_in_force(now) else None

    def find_missing_policies(self) -> list[tuple[DocumentPath, str]]:
        """Return each place in `registry.yaml` that names a policy without a file, and the name."""
        return [(path, name) for path, name in self.desired.list_policy_uses() if name not in self.policies]

    def find_changed_models(self, other: Declaration) -> frozenset[str]:
        """Return the listed models whose merged settings differ between the two declarations."""
        names = self.desired.listed.keys() | other.desired.listed.keys()
        return frozenset(
            name for name in names if self.desired.find_model_intent(name) != other.desired.find_model_intent(name)
        )

    def count_changed_statements(self, other: Declaration) -> int:
        """Return how many aliases the two state differently: the most changes that going from one to the other can plan."""
        mine, theirs = self.desired.stated_versions, other.desired.stated_versions
        return sum(mine.get(key, 0) != theirs.get(key, 0) for key in mine.keys() | theirs.keys())
