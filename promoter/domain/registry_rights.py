"""Rights in the registry: what Promoter's user needs for what git asks, what it lacks, and who else may move an alias."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from promoter.domain.desired import ModelIntent

READ, EDIT, MANAGE, DENY, NO_PERMISSIONS = "READ", "EDIT", "MANAGE", "DENY", "NO_PERMISSIONS"
_RANKS = {NO_PERMISSIONS: 0, READ: 1, "USE": 2, EDIT: 3, MANAGE: 4}
_MODEL_TYPE, _WORKSPACE_TYPE, _ANY = "registered_model", "workspace", "*"


class AccessControl(StrEnum):
    """How the registry decides who may do what."""

    NONE = "none"
    """It takes requests from whoever reaches it."""
    ROLES = "roles"
    """It knows its users, and tells which grants they have: MLflow's basic-auth."""
    OTHER = "other"
    """It refuses strangers, and tells nothing of its users and their grants."""


@dataclass(frozen=True)
class RoleGrant:
    """One permission, on one resource or (`*`) on all of a type."""

    resource_type: str
    pattern: str
    permission: str


@dataclass(frozen=True)
class RegistryRole:
    """A role, or what one user was granted alone."""

    name: str
    grants: tuple[RoleGrant, ...]
    holders: frozenset[str] | None = None
    """The users who have it; None: Promoter may not know them all."""
    user: str | None = None
    """The one user whose own grants these are; None: it is a role."""


@dataclass(frozen=True)
class RightNeed:
    """A right without which Promoter cannot do what git asks for."""

    model: str
    permission: str
    purpose: str
    """What it is for: "to set its aliases"."""

    def __str__(self) -> str:
        return f"{self.permission} on {self.model} {self.purpose}"


@dataclass(frozen=True)
class RegistryRights:
    """What the registry tells of rights. With other access control than roles, all but `control` is empty."""

    control: AccessControl
    user: str = ""
    """The user that Promoter is."""
    is_admin: bool = False
    """Whether that user is an administrator, who may do everything."""
    permissions: Mapping[str, str] = field(default_factory=dict)
    """What that user may do with each model that is there, or may not be read."""
    default: str | None = None
    """What everybody may do with every model; None: Promoter may not know it."""
    roles: tuple[RegistryRole, ...] | None = ()
    """Roles with grants, and users with grants of their own; None: Promoter may not read them."""
    administrators: tuple[str, ...] = ()
    """The users who may do everything, without Promoter's own."""
    withheld_runs: tuple[str, ...] = ()
    """The runs that were asked for and that Promoter may not read."""


@dataclass(frozen=True, order=True)
class AliasWriter:
    """Somebody else who may move the aliases of a model."""

    name: str
    """A user, or a role whose users are not known: "role trainers"."""
    permission: str

    def __str__(self) -> str:
        return f"{self.name} ({self.permission})"


def find_needed_rights(intents: Iterable[ModelIntent]) -> tuple[RightNeed, ...]:
    """Return what Promoter needs on each model, the highest right of each only, by model."""
    needs: dict[str, RightNeed] = {}
    for need in (each for intent in intents for each in _iterate_needs(intent)):
        known = needs.get(need.model)
        if known is None or _RANKS[known.permission] < _RANKS[need.permission]:
            needs[need.model] = need
    return tuple(needs[name] for name in sorted(needs))


def _iterate_needs(intent: ModelIntent) -> Iterator[RightNeed]:
    if intent.prune:
        yield RightNeed(intent.name, MANAGE, "to delete aliases (`prune`)")
    for alias in intent.aliases.values():
        if alias.absent:
            yield RightNeed(intent.name, MANAGE, f"to delete {alias.alias} (`absent`)")
        else:
            copies = " and make copies" if alias.promote_from else ""
            yield RightNeed(intent.name, EDIT, f"to set {alias.alias}{copies}")
        if alias.promote_from and alias.promote_from.registry is None and alias.promote_from.model:
            yield RightNeed(alias.promote_from.model, READ, f"to copy from it to {intent.name}")


def suffices(held: str, needed: str) -> bool:
    """Return whether one permission includes another; what is unknown, and DENY, include nothing."""
    return _RANKS.get(held, -1) >= _RANKS.get(needed, len(_RANKS))


def find_missing_rights(needs: Iterable[RightNeed], rights: RegistryRights) -> list[RightNeed]:
    """Return the needs that Promoter's user does not have. A model that is not registered yet is left out."""
    if rights.control is not AccessControl.ROLES or rights.is_admin:
        return []
    return [each for each in needs if each.model in rights.permissions
            and not suffices(rights.permissions[each.model], each.permission)]  # fmt: skip


def fold_grants(grants: Iterable[RoleGrant], model: str) -> str | None:
    """Return what these grants of one user together give on the model; None: they say nothing of it.

    Whoever manages the workspace manages its models. Else a denial goes before everything, and the highest counts.
    """
    found = list(grants)
    if RoleGrant(_WORKSPACE_TYPE, _ANY, MANAGE) in found:
        return MANAGE
    given = {each.permission for each in found if each.resource_type == _MODEL_TYPE and each.pattern in (model, _ANY)}
    return DENY if DENY in given else max(given, key=lambda each: _RANKS.get(each, -1), default=None)


def find_alias_writers(rights: RegistryRights, models: Collection[str]) -> Mapping[str, tuple[AliasWriter, ...]]:
    """Return who may set aliases of each model beside Promoter and the administrators; models with nobody are left out."""
    by_user: dict[str, list[RoleGrant]] = {}
    unknown: list[RegistryRole] = []
    for role in rights.roles or ():
        if role.user is None and role.holders is None:
            unknown.append(role)
        for user in role.holders or ((role.user,) if role.user else ()):
            by_user.setdefault(user, []).extend(role.grants)
    holders = {**{user: grants for user, grants in by_user.items() if user not in (rights.user, *rights.administrators)},
               **{f"role {role.name}": list(role.grants) for role in unknown}}  # fmt: skip
    found = {}
    for model in sorted(models):
        folded = [(name, fold_grants(grants, model)) for name, grants in holders.items()]
        writers = sorted(AliasWriter(name, held) for name, held in folded if held and suffices(held, EDIT))
        if writers:
            found[model] = tuple(writers)
    return found
