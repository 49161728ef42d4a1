"""Accounts on GitHub: Promoter's own, and who is in a team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import quote

import structlog
from github.GithubException import GithubException

from promoter.adapters.forges.answers import ForgeProject
from promoter.adapters.forges.github_client import GitHubClient
from promoter.adapters.forges.github_forms import parse_account_name
from promoter.domain.faults import PermanentError

log = structlog.get_logger(__name__)

_HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def fetch_own_account(client: GitHubClient, place: ForgeProject) -> str:
    """The account of the token. Raises `PermanentError` for a token of an app, which is not told whose it is."""
    try:
        return parse_account_name(client.get_json_object("/user"))
    except GithubException as error:
        if error.status != HTTPStatus.FORBIDDEN or (error.headers or {}).get("x-ratelimit-remaining") == "0":
            raise
    message = f"the token for {place.project} at {place.url} belongs to an app, and is not told its account"
    fix = (
        "set PROMOTER_FORGE_ACCOUNT to it: github-actions[bot] for a workflow's token, else the app's name with [bot] after it"
    )
    raise PermanentError(place.forge, message, fix)


def list_team_members(client: GitHubClient, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. Who is only invited is none; a hidden team is left out."""
    found = {}
    for team in sorted(teams):
        org, _, slug = team.partition("/")
        try:
            rows = client.iterate_items(f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/members") if slug else None
            if rows is not None:
                found[team] = frozenset(parse_account_name(row) for row in rows)
        except GithubException as error:
            if error.status not in _HIDDEN_STATUSES or (error.headers or {}).get("x-ratelimit-remaining") == "0":
                raise
        if team not in found:
            log.warning("GitHub shows no such team to this account", team=team)
    return found
