"""What a draft wishes for on Gitea beside its words: reviews, and to be merged by itself. What is not granted is logged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog

from promoter.adapters.forges import gitea_forms as forms
from promoter.adapters.forges.answers import Place
from promoter.adapters.forges.gitea_client import AnswerError, Client, asking
from promoter.application.ports.forge import PullRequest
from promoter.domain.faults import Refused, Unavailable

log = structlog.get_logger(__name__)

_SETTLE_TRIES = 5
_SETTLE_SECONDS = 1.0
_UNSETTLED = "try again later"


class Wishes:
    """For one repository. Raises nothing of what the forge says."""

    def __init__(self, client: Client, place: Place, repo: Sequence[str]) -> None:
        """`repo`: the beginning of its paths."""
        self._client = client
        self._place = place
        self._repo = repo

    def reviews(self, number: int, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask those who were not asked, and have said nothing yet: to ask again takes an approval back. One call each."""
        if not reviewers:
            return
        try:
            there = self._there(number, row)
        except (Refused, Unavailable) as error:
            log.warning("Gitea does not tell who was asked for a review", number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if reviewer not in there:
                self._ask(number, reviewer)

    def auto_merge(self, pull: PullRequest) -> None:
        """Just after a push, Gitea still works out whether it can be merged: asked again, a few times."""
        answer = ""
        for attempt in range(_SETTLE_TRIES):
            if attempt:
                time.sleep(_SETTLE_SECONDS)
            try:
                with asking(self._place, f"set pull request #{pull.number} to merge by itself"):
                    self._merge(pull)
            except (Refused, Unavailable) as error:
                answer = error.message
                if _UNSETTLED not in answer:
                    break
            else:
                return
        log.warning("Gitea does not set it to merge by itself", number=pull.number, answer=answer)

    def _there(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """Who was asked or has said something; a team as `org/team`, its organisation being the repository's owner."""
        with asking(self._place, f"read the reviews of pull request #{number}"):
            rows = list(self._client.listed(*self._repo, "pulls", number, "reviews"))
            accounts = [each["user"] for each in rows if each.get("user")] + list(row.get("requested_reviewers") or ())
            teams = row.get("requested_reviewers_teams") or ()
            owner = self._repo[1]
            return {forms.account(each) for each in accounts} | {f"{owner}/{each['name']}" for each in teams}

    def _ask(self, number: int, reviewer: str) -> None:
        org, of_team, team = reviewer.partition("/")
        if of_team and org != self._repo[1]:
            log.warning("Gitea asks only teams of the repository's owner for a review", reviewer=reviewer, number=number)
            return
        body = {"team_reviewers": [team]} if of_team else {"reviewers": [reviewer]}
        try:
            with asking(self._place, f"ask for a review of pull request #{number}"):
                self._client.post(*self._repo, "pulls", number, "requested_reviewers", body=body)
        except (Refused, Unavailable) as error:
            log.warning("Gitea does not take this reviewer", reviewer=reviewer, number=number, answer=error.message)

    def _merge(self, pull: PullRequest) -> None:
        style = self._client.get(*self._repo).get("default_merge_style") or "merge"
        body = {"Do": style, "merge_when_checks_succeed": True, "head_commit_id": pull.head}
        try:
            self._client.post(*self._repo, "pulls", pull.number, "merge", body=body)
        except AnswerError as error:
            if error.status != HTTPStatus.CONFLICT or "scheduled" not in error.said:
                raise
