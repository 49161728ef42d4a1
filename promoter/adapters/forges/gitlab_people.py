"""Accounts and groups on GitLab: ids of names, members of groups, and who is behind a mail address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from gitlab.exceptions import GitlabError

from promoter.adapters.forges.answers import ForgeProject
from promoter.adapters.forges.gitlab_client import GitLabClient, collect_bounded, get_status_code

log = structlog.get_logger(__name__)

_PRIVATE_MAIL = re.compile(r"\d+-(?P<account>[A-Za-z0-9_.-]+)@users\.noreply\.(?P<host>[A-Za-z0-9.-]+)")
_MAX_MAIL_LOOKUPS = 20
"""Mail addresses that are asked for, for one merge request."""
_HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class GitLabAccounts:
    """What an instance tells about its accounts. Runs inside `asking`: errors of the client are for there."""

    def __init__(self, client: GitLabClient, place: ForgeProject) -> None:
        """Asks nothing yet."""
        self._client = client
        self._host = (urlsplit(place.url).hostname or "").lower()

    def find_account_ids(self, names: Iterable[str]) -> dict[str, int]:
        """The ids of these accounts; logged are those that GitLab does not know, and groups, which cannot review."""
        found = {}
        for name in names:
            rows = [] if "/" in name else self._search_users(username=name)
            if rows:
                found[name] = int(rows[0]["id"])
            else:
                log.warning("GitLab has no such account to ask for a review", reviewer=name)
        return found

    def list_group_members(self, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """The active members of these groups, those of the groups above among them. A group that is not shown is left out."""
        found = {}
        for team in sorted(teams):
            try:
                listed = self._client.groups.get(team.strip("/"), lazy=True).members_all.list(iterator=True)
                rows = collect_bounded(listed, "members of a group")
            except GitlabError as error:
                if get_status_code(error) not in _HIDDEN_STATUSES:
                    raise
                log.warning("GitLab shows no such group to this account", team=team)
                continue
            found[team] = frozenset(str(row["username"]) for row in rows if row["state"] == "active")
        return found

    def find_accounts_by_mail(self, mails: Iterable[str]) -> frozenset[str]:
        """The accounts behind mail addresses, as far as GitLab tells them."""
        found, lookups = set(), 0
        for mail in dict.fromkeys(mails):
            private = _PRIVATE_MAIL.fullmatch(mail)
            if private and private["host"].lower() == self._host:
                found.add(private["account"])
            elif "@" in mail and lookups < _MAX_MAIL_LOOKUPS:
                lookups += 1
                found.update(str(row["username"]) for row in self._search_users(search=mail))
        return frozenset(found)

    def _search_users(self, **filters: str) -> list[dict[str, Any]]:
        try:
            return collect_bounded(self._client.users.list(iterator=True, **filters), "accounts")
        except GitlabError as error:
            if get_status_code(error) not in _HIDDEN_STATUSES:
                raise
            return []
