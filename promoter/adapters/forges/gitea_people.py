"""Teams on Gitea, and who is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import structlog

from promoter.adapters.forges.gitea_client import GiteaStatusError, GiteaClient

log = structlog.get_logger(__name__)

_HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def list_team_members(client: GiteaClient, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. A team that is not shown to the token is left out."""
    found = {}
    for team in sorted(teams):
        try:
            accounts = _find_team_members(client, *team.split("/", 1)) if "/" in team else None
        except GiteaStatusError as error:
            if error.status not in _HIDDEN_STATUSES:
                raise
            accounts = None
        if accounts is None:
            log.warning("Gitea shows no such team to this account", team=team)
        else:
            found[team] = accounts
    return found


def _find_team_members(client: GiteaClient, org: str, name: str) -> frozenset[str] | None:
    rows = client.iterate_items("orgs", org, "teams", "search", within="data", q=name, include_desc="false")
    number = next((int(row["id"]) for row in rows if row["name"].lower() == name.lower()), None)
    if number is None:
        return None
    return frozenset(str(row["login"]) for row in client.iterate_items("teams", number, "members"))
