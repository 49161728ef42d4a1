"""What an MLflow server tells of its users, roles and grants, where it runs with `--app-name basic-auth`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from promoter.adapters._http import BoundedSession
from promoter.adapters.mlflow.answers import ImpossibleAnswer
from promoter.adapters.mlflow.client import is_not_found, is_permission_denied, redact_server_address
from promoter.adapters.mlflow.credentials import read_own_workspace
from promoter.application.ports import DEFAULT_WORKSPACE
from promoter.domain.registry_rights import (
    EDIT,
    MANAGE,
    NO_PERMISSIONS,
    AccessControl,
    RegistryRights,
    RegistryRole,
    RoleGrant,
    fold_grants,
    suffices,
)

_CURRENT_USER = "/api/2.0/mlflow/users/current"
_CURRENT_GRANTS = "/api/3.0/mlflow/users/current/permissions"
_USERS = "/api/2.0/mlflow/users/list"
_ROLES = "/api/3.0/mlflow/roles/list"
_PERMISSION = "/api/3.0/mlflow/users/permissions/get"
_MODELS = "/api/2.0/mlflow/registered-models/search?max_results=1"
_NOT_TOLD = (403, 404)
"""Promoter's user may not read it, or the server is older than this."""
_OK = 200
_MAX_THREADS = 8
_PROBE_SECONDS = 6.0
_OWN_GRANTS_ROLE = re.compile(r"__user_(\d+)__")  # the role in which MLflow keeps what one user was granted alone


_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class _KnownUser:
    name: str
    is_admin: bool
    roles: frozenset[int]
    """The ids of those of its roles that Promoter may see."""


class RightsReader:
    """Reads rights from the server that has the models. Raises what MLflow raises, and `ImpossibleAnswer`."""

    def __init__(self, client: Any, registry_uri: str) -> None:
        """`client` is an `MlflowClient`: it reads models and runs; `registry_uri` is the address of the models' server."""
        self._client = client
        self._uri = registry_uri
        self._workspace = read_own_workspace() or DEFAULT_WORKSPACE

    def read_rights(self, models: Collection[str], run_ids: Collection[str]) -> RegistryRights:
        """Read what Promoter's user may do with these models, which of these runs it may not read, and all roles."""
        if not self._uri.lower().startswith(("http://", "https://")):
            return RegistryRights(AccessControl.OTHER)
        current = self._fetch(_CURRENT_USER)
        if current is None:
            return RegistryRights(AccessControl.NONE if self._answers_strangers() else AccessControl.OTHER)
        user = _require_field(_require_field(current, "user", dict), "username", str)
        grants = self._fetch(_CURRENT_GRANTS)
        if grants is None:  # basic-auth of an older MLflow, without roles
            return RegistryRights(AccessControl.OTHER)
        is_admin = grants.get("is_admin") is True
        own = [_parse_grant(each) for each in _require_field(grants, "permissions", list)
               if each.get("workspace", self._workspace) == self._workspace]  # fmt: skip
        default = self._find_default_permission(user, own)
        users = self._list_users()
        knows_all = is_admin or fold_grants(own, "") == MANAGE  # whoever manages the workspace sees everybody's roles
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            held = list(pool.map(partial(self._find_own_permission, user, own), models if not is_admin else ()))
            withheld = list(pool.map(self._is_withheld_run, run_ids))
        return RegistryRights(
            AccessControl.ROLES,
            user,
            is_admin,
            {model: permission for model, permission in zip(models, held, strict=False) if permission is not None},
            default,
            self._list_roles(users, knows_all=knows_all),
            tuple(sorted(each.name for each in users.values() if each.is_admin and each.name != user)),
            tuple(run_id for run_id, refused in zip(run_ids, withheld, strict=True) if refused),
        )

    def _fetch(self, path: str, **parameters: str) -> dict[str, Any] | None:
        """Fetch a JSON object; None where the server does not tell it to Promoter's user."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        answer = http_request(get_default_host_creds(self._uri), path, "GET", params=parameters)
        if answer.status_code in _NOT_TOLD:
            return None
        found = json.loads(verify_rest_response(answer, path).text)
        return dict(found)

    def _answers_strangers(self) -> bool:
        """Whether the server lists models for a request without any proof of who asks."""
        from mlflow.utils.credentials import get_default_host_creds

        session = BoundedSession(_PROBE_SECONDS)
        session.auth = lambda request: request  # else a .netrc file would name a user
        answer = session.get(redact_server_address(self._uri) + _MODELS, verify=get_default_host_creds(self._uri).verify)
        try:
            return answer.status_code == _OK and isinstance(answer.json(), dict)
        except ValueError:
            return False  # a sign-in page

    def _find_default_permission(self, user: str, own: Iterable[RoleGrant]) -> str | None:
        """Find what everybody may do with every model, as far as it shows beside what Promoter's user was granted on all."""
        found = self._fetch(_PERMISSION, username=user, resource_type="registered_model", resource_id="*")
        if found is None:
            return None
        everywhere, granted = _require_field(found, "permission", str), fold_grants(own, "")
        hidden = granted is not None and suffices(granted, EDIT) and suffices(granted, everywhere)
        return None if hidden else everywhere

    def _find_own_permission(self, user: str, own: Iterable[RoleGrant], model: str) -> str | None:
        """Find what Promoter's user may do with the model; None for a model that is not registered."""
        granted = fold_grants(own, model)
        if granted is not None and suffices(granted, MANAGE):
            return granted
        try:
            self._client.get_registered_model(model)
        except Exception as error:
            if is_not_found(error):
                return None
            if not is_permission_denied(error):
                raise
        found = self._fetch(_PERMISSION, username=user, resource_type="registered_model", resource_id=model)
        return NO_PERMISSIONS if found is None else _require_field(found, "permission", str)

    def _is_withheld_run(self, run_id: str) -> bool:
        try:
            self._client.get_run(run_id)
        except Exception as error:
            if is_not_found(error):
                return False
            if is_permission_denied(error):
                return True
            raise
        return False

    def _list_users(self) -> dict[int, _KnownUser]:
        """List the users by id; none where Promoter may not read them."""
        found = self._fetch(_USERS)
        return {int(each["id"]): _parse_user(each) for each in _require_field(found, "users", list)} if found else {}

    def _list_roles(self, users: Mapping[int, _KnownUser], *, knows_all: bool) -> tuple[RegistryRole, ...] | None:
        """List the roles of the workspace; None where Promoter may not read them."""
        found = self._fetch(_ROLES, workspace=self._workspace)
        if found is None:
            return None
        return tuple(_parse_role(each, users, knows_all=knows_all) for each in _require_field(found, "roles", list))


def _require_field(answer: Mapping[str, Any], name: str, kind: type[_Kind]) -> _Kind:
    found = answer.get(name)
    if not isinstance(found, kind):
        raise ImpossibleAnswer(f"rights without `{name}`")
    return found


def _parse_grant(row: Mapping[str, Any]) -> RoleGrant:
    kind, pattern, permission = (_require_field(row, name, str) for name in ("resource_type", "resource_pattern", "permission"))
    return RoleGrant(kind, pattern, permission)


def _parse_user(row: Mapping[str, Any]) -> _KnownUser:
    roles = frozenset(int(each["id"]) for each in row.get("roles", ()))
    return _KnownUser(_require_field(row, "username", str), row.get("is_admin") is True, roles)


def _parse_role(row: Mapping[str, Any], users: Mapping[int, _KnownUser], *, knows_all: bool) -> RegistryRole:
    name, number = _require_field(row, "name", str), int(row["id"])
    grants = tuple(_parse_grant(each) for each in row.get("permissions", ()))
    if found := _OWN_GRANTS_ROLE.fullmatch(name):
        known = users.get(int(found[1]))
        return RegistryRole(name, grants, user=known.name if known else f"user number {found[1]}")
    holders = frozenset(each.name for each in users.values() if number in each.roles) if knows_all else None
    return RegistryRole(name, grants, holders)
