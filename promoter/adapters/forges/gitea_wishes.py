"""What a draft wishes for on Gitea beside its words: reviews, and to be merged by itself. What is not granted is logged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog

from promoter.adapters.forges import gitea_forms as forms
from promoter.adapters.forges.answers import ForgeProject
from promoter.adapters.forges.gitea_client import GiteaStatusError, GiteaClient, translate_errors
from promoter.application.ports.forge import PullRequest
from promoter.domain.faults import PermanentError, TransientError

log = structlog.get_logger(__name__)

_SETTLE_TRIES = 5
_SETTLE_SECONDS = 1.0
_NOT_READY_MESSAGE = "try again later"


class GiteaPullRequestSetup:
    """For one repository. Raises nothing of what the forge says."""

    def __init__(self, client: GiteaClient, place: ForgeProject, repo: Sequence[str]) -> None:
        """`repo`: the beginning of its paths."""
        self._client = client
        self._place = place
        self._repo = repo

    def request_reviews(self, number: int, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask those who were not asked, and have said nothing yet: to ask again takes an approval back. One call each."""
        if not reviewers:
            return
        try:
            there = self._list_known_reviewers(number, row)
        except (PermanentError, TransientError) as error:
            log.warning("Gitea does not tell who was asked for a review", number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if reviewer not in there:
                self._request_review(number, reviewer)

    def enable_auto_merge(self, pull: PullRequest) -> None:
        """Just after a push, Gitea still works out whether it can be merged: asked again, a few times."""
        answer = ""
        for attempt in range(_SETTLE_TRIES):
            if attempt:
                time.sleep(_SETTLE_SECONDS)
            try:
                with translate_errors(self._place, f"set pull request #{pull.number} to merge by itself"):
                    self._schedule_merge(pull)
            except (PermanentError, TransientError) as error:
                answer = error.message
                if _NOT_READY_MESSAGE not in answer:
                    break
            else:
                return
        log.warning("Gitea does not set it to merge by itself", number=pull.number, answer=answer)

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """Who was asked or has said something; a team as `org/team`, its organisation being the repository's owner."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            rows = list(self._client.iterate_items(*self._repo, "pulls", number, "reviews"))
            accounts = [each["user"] for each in rows if each.get("user")] + list(row.get("requested_reviewers") or ())
            teams = row.get("requested_reviewers_teams") or ()
            owner = self._repo[1]
            return {forms.parse_account_name(each) for each in accounts} | {f"{owner}/{each['name']}" for each in teams}

    def _request_review(self, number: int, reviewer: str) -> None:
        org, of_team, team = reviewer.partition("/")
        if of_team and org != self._repo[1]:
            log.warning("Gitea asks only teams of the repository's owner for a review", reviewer=reviewer, number=number)
            return
        body = {"team_reviewers": [team]} if of_team else {"reviewers": [reviewer]}
        try:
            with translate_errors(self._place, f"ask for a review of pull request #{number}"):
                self._client.post_json(*self._repo, "pulls", number, "requested_reviewers", body=body)
        except (PermanentError, TransientError) as error:
            log.warning("Gitea does not take this reviewer", reviewer=reviewer, number=number, answer=error.message)

    def _schedule_merge(self, pull: PullRequest) -> None:
        style = self._client.get_json(*self._repo).get("default_merge_style") or "merge"
        body = {"Do": style, "merge_when_checks_succeed": True, "head_commit_id": pull.head}
        try:
            self._client.post_json(*self._repo, "pulls", pull.number, "merge", body=body)
        except GiteaStatusError as error:
            if error.status != HTTPStatus.CONFLICT or "scheduled" not in error.message:
                raise
