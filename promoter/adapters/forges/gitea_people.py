"""Teams on Gitea, and who is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import structlog

from promoter.adapters.forges.gitea_client import AnswerError, Client

log = structlog.get_logger(__name__)

_HIDDEN = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def members(client: Client, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. A team that is not shown to the token is left out."""
    found = {}
    for team in sorted(teams):
        try:
            accounts = _members(client, *team.split("/", 1)) if "/" in team else None
        except AnswerError as error:
            if error.status not in _HIDDEN:
                raise
            accounts = None
        if accounts is None:
            log.warning("Gitea shows no such team to this account", team=team)
        else:
            found[team] = accounts
    return found


def _members(client: Client, org: str, name: str) -> frozenset[str] | None:
    rows = client.listed("orgs", org, "teams", "search", within="data", q=name, include_desc="false")
    number = next((int(row["id"]) for row in rows if row["name"].lower() == name.lower()), None)
    if number is None:
        return None
    return frozenset(str(row["login"]) for row in client.listed("teams", number, "members"))
