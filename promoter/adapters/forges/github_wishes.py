"""What a draft wishes for on GitHub beside its words: labels, reviews, and to be merged by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from github.GithubException import GithubException
from github.PullRequest import PullRequest
from github.Repository import Repository

from promoter.adapters.forges import github_forms as forms
from promoter.adapters.forges.answers import ForgeProject
from promoter.adapters.forges.github_client import GitHubClient, translate_errors, extract_error_message
from promoter.domain.faults import PermanentError, TransientError

log = structlog.get_logger(__name__)

_LABEL_COLOUR = "1d76db"
_CLEAN_STATUS = "clean status"
_MERGE_METHODS = ("merge", "squash", "rebase")


class GitHubPullRequestSetup:
    """For one repository."""

    def __init__(self, client: GitHubClient, place: ForgeProject, repo: str, repository: Repository) -> None:
        """`repo`: the beginning of its paths."""
        self._client = client
        self._place = place
        self._repo = repo
        self._repository = repository

    def add_missing_labels(self, names: Sequence[str], row: Mapping[str, Any]) -> None:
        """Add those that are missing; a label that the repository lacks is made."""
        there = {str(each["name"]).lower() for each in row.get("labels") or ()}
        missing = [name for name in names if name.lower() not in there]
        for name in missing:
            self._ensure_label(name)
        if missing:
            # PyGithub sends a bare list, which the API's description does not name.
            path = f"{self._repo}/issues/{row['number']}/labels"
            self._client.requestJsonAndCheck("POST", path, input={"labels": missing})

    def request_reviews(self, pull: PullRequest, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask those who were not asked, and have said nothing yet. One call each; a refusal is logged."""
        if not reviewers:
            return
        number = int(row["number"])
        try:
            there = self._list_known_reviewers(number, row)
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not tell who was asked for a review", number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if reviewer.lower() not in there:
                self._request_review(pull, number, reviewer)

    def enable_auto_merge(self, pull: PullRequest, row: Mapping[str, Any]) -> None:
        """Merged once it may be; at once where nothing keeps it back any more. A refusal is logged."""
        number = int(row["number"])
        if row.get("auto_merge") or row.get("state") != "open":
            return
        try:
            with translate_errors(self._place, f"set pull request #{number} to merge by itself"):
                self._schedule_merge(pull, row)
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not set it to merge by itself", number=number, answer=error.message)

    def _schedule_merge(self, pull: PullRequest, row: Mapping[str, Any]) -> None:
        """GitHub takes the wish only while something still keeps the pull request back."""
        home = self._client.get_json_object(self._repo)
        names = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
        method = next((each for each in _MERGE_METHODS if home.get(names[each], True)), _MERGE_METHODS[0])
        head = str(row["head"]["sha"])
        try:
            pull.enable_automerge(merge_method=method.upper(), expected_head_oid=head)
        except GithubException as error:
            if _CLEAN_STATUS not in extract_error_message(error):
                raise
            pull.merge(merge_method=method, sha=head)

    def _ensure_label(self, name: str) -> None:
        try:
            self._client.get_json_object(f"{self._repo}/labels/{quote(name, safe='')}")
        except GithubException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._create_label(name)

    def _create_label(self, name: str) -> None:
        try:
            self._repository.create_label(name, _LABEL_COLOUR)
        except GithubException as error:
            rows = error.data.get("errors") if isinstance(error.data, dict) else None
            made = any(isinstance(row, dict) and row.get("code") == "already_exists" for row in rows or ())
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or not made:
                raise

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """Who was asked or has said something, in small letters; a team as `org/team`, its organisation being the owner."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            rows = list(self._client.iterate_items(f"{self._repo}/pulls/{number}/reviews"))
            accounts = [each.get("user") for each in rows] + list(row.get("requested_reviewers") or ())
            teams = [f"{self._repository_owner}/{each['slug']}" for each in row.get("requested_teams") or ()]
            return {each.lower() for each in (*map(forms.parse_account_name, accounts), *teams)}

    def _request_review(self, pull: PullRequest, number: int, reviewer: str) -> None:
        org, of_team, team = reviewer.partition("/")
        if of_team and org.lower() != self._repository_owner.lower():
            log.warning("GitHub asks only teams of the repository's owner for a review", reviewer=reviewer, number=number)
            return
        try:
            with translate_errors(self._place, f"ask for a review of pull request #{number}"):
                if of_team:
                    pull.create_review_request(team_reviewers=[team])
                else:
                    pull.create_review_request(reviewers=[reviewer])
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not take this reviewer", reviewer=reviewer, number=number, answer=error.message)

    @property
    def _repository_owner(self) -> str:
        return self._place.project.partition("/")[0]
