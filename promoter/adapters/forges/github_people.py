"""Accounts on GitHub: Promoter's own, and who is in a team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import quote

import structlog
from github.GithubException import GithubException

from promoter.adapters.forges.answers import Place
from promoter.adapters.forges.github_client import Client
from promoter.adapters.forges.github_forms import account
from promoter.domain.faults import Refused

log = structlog.get_logger(__name__)

_HIDDEN = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def own_account(client: Client, place: Place) -> str:
    """The account of the token. Raises `Refused` for a token of an app, which is not told whose it is."""
    try:
        return account(client.row("/user"))
    except GithubException as error:
        if error.status != HTTPStatus.FORBIDDEN or (error.headers or {}).get("x-ratelimit-remaining") == "0":
            raise
    message = f"the token for {place.project} at {place.url} belongs to an app, and is not told its account"
    fix = (
        "set PROMOTER_FORGE_ACCOUNT to it: github-actions[bot] for a workflow's token, else the app's name with [bot] after it"
    )
    raise Refused(place.forge, message, fix)


def members(client: Client, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. Who is only invited is none; a hidden team is left out."""
    found = {}
    for team in sorted(teams):
        org, _, slug = team.partition("/")
        try:
            rows = client.listed(f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/members") if slug else None
            if rows is not None:
                found[team] = frozenset(account(row) for row in rows)
        except GithubException as error:
            if error.status not in _HIDDEN or (error.headers or {}).get("x-ratelimit-remaining") == "0":
                raise
        if team not in found:
            log.warning("GitHub shows no such team to this account", team=team)
    return found
