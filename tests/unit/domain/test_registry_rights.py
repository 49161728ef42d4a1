"""Rights in the registry: what is needed, what is missing, and who else may move an alias."""

from __future__ import annotations

import pytest

from promoter.domain.desired import AliasIntent, ModelIntent, PromoteFrom
from promoter.domain.registry_rights import (
    AccessControl,
    RegistryRights,
    RegistryRole,
    RoleGrant,
    find_alias_writers,
    find_missing_rights,
    find_needed_rights,
    fold_grants,
)

EDIT = RoleGrant("registered_model", "fraud", "EDIT")
EVERYWHERE = RoleGrant("registered_model", "*", "MANAGE")
DENIED = RoleGrant("registered_model", "fraud", "DENY")
WORKSPACE = RoleGrant("workspace", "*", "MANAGE")


def model(name: str, *aliases: AliasIntent, prune: bool = False) -> ModelIntent:
    """What git says of a model."""
    return ModelIntent(name, prune=prune, aliases={each.alias: each for each in aliases})


def test_each_model_needs_its_highest_right() -> None:
    """EDIT to set, MANAGE to delete, READ to copy from; other registries have rights of their own."""
    here, there = PromoteFrom(model="dev", alias="c"), PromoteFrom(registry="staging", alias="c")
    needs = find_needed_rights(
        [
            model("copied", AliasIntent("copied", "champion", promote_from=here)),
            model("elsewhere", AliasIntent("elsewhere", "champion", promote_from=there)),
            model("old", AliasIntent("old", "champion", 1), AliasIntent("old", "legacy", absent=True)),
            model("pruned", prune=True),
        ]
    )
    assert list(map(str, needs)) == [
        "EDIT on copied to set champion and make copies",
        "READ on dev to copy from it to copied",
        "EDIT on elsewhere to set champion and make copies",
        "MANAGE on old to delete legacy (`absent`)",
        "MANAGE on pruned to delete aliases (`prune`)",
    ]


@pytest.mark.parametrize(
    ("held", "missing"),
    [("MANAGE", False), ("EDIT", False), ("READ", True), ("NO_PERMISSIONS", True), ("DENY", True), ("NEWER", True)],
)
def test_a_right_that_is_missing(held: str, missing: bool) -> None:
    """A higher one includes it; a denial and a word that nobody knows include nothing."""
    needs = find_needed_rights([model("fraud", AliasIntent("fraud", "champion", 1))])
    rights = RegistryRights(AccessControl.ROLES, "promoter", permissions={"fraud": held})
    assert bool(find_missing_rights(needs, rights)) is missing


def test_nothing_is_missing_where_nobody_can_know_or_all_is_allowed() -> None:
    """Models that are not registered, administrators, and servers without roles."""
    needs = find_needed_rights([model("fraud", AliasIntent("fraud", "champion", 1))])
    none = {"fraud": "NO_PERMISSIONS"}
    assert not find_missing_rights(needs, RegistryRights(AccessControl.ROLES, "promoter"))
    assert not find_missing_rights(needs, RegistryRights(AccessControl.ROLES, "admin", is_admin=True, permissions=none))
    assert not find_missing_rights(needs, RegistryRights(AccessControl.OTHER, permissions=none))


@pytest.mark.parametrize(
    ("grants", "folded"),
    [
        ((), None),
        ((RoleGrant("prompt", "*", "MANAGE"), RoleGrant("registered_model", "fraud-dev", "EDIT")), None),
        ((EDIT, EVERYWHERE), "MANAGE"),
        ((EDIT, DENIED, EVERYWHERE), "DENY"),
        ((DENIED, WORKSPACE), "MANAGE"),
        ((RoleGrant("workspace", "*", "USE"), EDIT), "EDIT"),
    ],
)
def test_grants_of_one_user(grants: tuple[RoleGrant, ...], folded: str | None) -> None:
    """As MLflow folds them."""
    assert fold_grants(grants, "fraud") == folded


def test_who_else_may_move_an_alias() -> None:
    """Persons of known roles, names of unknown ones, and never Promoter itself, administrators, or who was denied."""
    known = frozenset({"ann", "promoter", "root", "dan"})
    roles = (
        RegistryRole("writers", (EDIT,), known),
        RegistryRole("strangers", (EVERYWHERE,)),
        RegistryRole("readers", (RoleGrant("registered_model", "*", "READ"),)),
        RegistryRole("nobody's", (EDIT,), frozenset()),
        RegistryRole("__user_4__", (DENIED,), user="dan"),
        RegistryRole("__user_5__", (EVERYWHERE,), user="eve"),
    )
    rights = RegistryRights(AccessControl.ROLES, "promoter", roles=roles, administrators=("root",))
    found = find_alias_writers(rights, {"fraud", "churn"})
    assert {name: list(map(str, writers)) for name, writers in found.items()} == {
        "churn": ["eve (MANAGE)", "role strangers (MANAGE)"],
        "fraud": ["ann (EDIT)", "eve (MANAGE)", "role strangers (MANAGE)"],
    }
    assert find_alias_writers(RegistryRights(AccessControl.ROLES, "promoter", roles=None), {"fraud"}) == {}
