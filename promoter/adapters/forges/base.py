"""What all forges share: their errors in words, and the work that each of them does by a few calls of its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

import requests
import structlog
from pydantic import SecretStr
from requests import exceptions as web

from promoter.adapters._text import explain_network_error, redact_secrets, to_one_line
from promoter.adapters.forges.detect import TOKEN_FIX
from promoter.application.ports.forge import CommitStatusName, PullRequest, PullRequestState
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.review import ChangeOrigin, PullRequestReview

log = structlog.get_logger(__name__)

HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""How a forge answers about what the token may not see."""
LIST_LIMIT = 1_000
"""Items of one list that are read; a warning says where there are more."""
SETTLE_SECONDS = 1.0
"""Just after a push, a forge still works out whether a pull request can be merged: the pause before it is asked again."""
_SETTLE_TRIES = 5
_URL_FIX = "check PROMOTER_FORGE_URL and PROMOTER_FORGE_PROJECT"
_RETRY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_FORMAT_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError)

Item = TypeVar("Item")


def bound_list(items: Iterable[Item], what: object) -> Iterator[Item]:
    """Yield the first thousand; their pages are fetched as they are needed."""
    for count, item in enumerate(items):
        if count == LIST_LIMIT:
            log.warning("a list of the forge is longer than what is read of it", what=what, limit=LIST_LIMIT)
            return
        yield item


@dataclass(frozen=True)
class ForgeProject:
    """A project on a forge, for messages."""

    forge: str
    """The forge's kind: GitHub, GitLab, Gitea."""
    url: str
    """The forge's address, without credentials."""
    project: str
    """`owner/name`, on GitLab `group/sub/name`."""
    token: SecretStr = field(repr=False)
    """What must not be shown."""

    def redact_message(self, message: object) -> str:
        """Return the forge's message on one line, without the token and without the credentials of addresses."""
        return to_one_line(redact_secrets(str(message), (self.token.get_secret_value(),)))

    def build_status_error(self, doing: str, status: int, forge_message: object = "") -> ExternalError:
        """Build the error behind a status that is not one of success. `doing`: "open a pull request"."""
        detail = self.redact_message(forge_message) if forge_message else ""
        message = f"cannot {doing} of {self.project} at {self.url}: status {status}" + (f", {detail}" if detail else "")
        if status in _RETRY_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransientError(self.forge, message)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return PermanentError(self.forge, f"{message}: it redirects elsewhere", f"give the new address: {_URL_FIX}")
        if status == HTTPStatus.NOT_FOUND:
            return PermanentError(self.forge, message, f"{_URL_FIX}, and that the token shows the project")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return PermanentError(self.forge, message, TOKEN_FIX)
        if status == HTTPStatus.CONFLICT:
            return TransientError(self.forge, message)
        return PermanentError(self.forge, message)

    def build_network_error(self, doing: str, error: requests.RequestException) -> ExternalError:
        """Build the error where there is no answer, or none that can be read."""
        if isinstance(error, web.SSLError):
            message = f"cannot {doing} of {self.project} at {self.url}: its certificate is not trusted"
            return PermanentError(self.forge, message, "name the authority's certificate in REQUESTS_CA_BUNDLE")
        if isinstance(error, web.InvalidURL | web.MissingSchema | web.InvalidSchema):
            return PermanentError(self.forge, f"cannot {doing}: {self.url} is not an address", _URL_FIX)
        return TransientError(self.forge, f"cannot {doing} of {self.project} at {self.url}: {explain_network_error(error)}")

    def build_format_error(self, doing: str) -> ExternalError:
        """Build the error where the answer has not the form that the API's description gives it."""
        message = f"cannot {doing} of {self.project} at {self.url}: the answer is not one of its API"
        return TransientError(self.forge, message, _URL_FIX)


class ForgeBase(ABC):
    """One repository on a forge, and pull requests into one branch of it.

    Promoter's own account is the token's, unless the settings name it. A forge calls `_request_reviews`, `_enable_auto_merge`
    where it opens or updates a pull request, and implements the abstract calls that they and the public methods here make.
    """

    KIND: ClassVar[str]
    """The forge's name for people."""
    PULL_REQUEST: ClassVar[str] = "pull request #{}"
    """What the forge calls a pull request with its number."""
    TEAM: ClassVar[str] = "team"
    """What the forge calls a group of accounts."""
    REVIEWS: ClassVar[str] = "reviews"
    """What the forge calls the approvals of a pull request."""
    SHOWS_FORK_STATUSES: ClassVar[bool] = True
    """Whether a pull request from a fork shows the statuses that this repository gives to its head."""

    def __init__(
        self,
        url: str,
        project: str,
        branch: str,
        token: SecretStr,
        account: str | None = None,
        timeout: float = 10.0,
        folder: RepositoryFolder = TOP_FOLDER,
    ) -> None:
        """`branch`: the watched one; `timeout` in seconds. Sends nothing yet.

        `account`: Promoter's own. A token that does not show its account, as that of an app on GitHub, needs it. `folder`: the
        one of the repository that holds Promoter's files.
        """
        self.folder = folder
        self._place = ForgeProject(self.KIND, url.rstrip("/"), project, token)
        self._branch = branch
        self._account = account
        self._create_client(timeout)

    def __repr__(self) -> str:
        return f"{self.KIND}({self._place.url}, {self._place.project}, {self._branch})"

    @property
    def name(self) -> str:
        """The forge's name for people."""
        return self.KIND

    def _name_status(self, name: CommitStatusName) -> str:
        """Return the name of a commit status on the forge: where Promoter's files lie in a folder, `promoter/plan (ml)`."""
        return self.folder.name_status(name.value)

    @property
    def shows_fork_statuses(self) -> bool:
        """Whether a pull request from a fork shows the commit statuses that this repository gives to its head."""
        return self.SHOWS_FORK_STATUSES

    def read_pull_request(self, number: int) -> PullRequest:
        """Read one pull request. Raises `PermanentError` where there is none."""
        with self._translate_errors(f"read {self._name_pull_request(number)}"):
            return self._parse_pull_request(self._fetch_pull_request(number))

    def close_pull_request(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with self._translate_errors(f"close {self._name_pull_request(number)}"):
            row = self._fetch_pull_request(number)
            if self._parse_pull_request(row).state is PullRequestState.OPEN:
                self._close_pull_request(row)

    def request_reviews_again(self, number: int, accounts: Sequence[str]) -> None:
        """Ask for a review those who gave one of an earlier commit. A refusal is logged."""
        for account in accounts:
            self._request_review(number, account)

    def find_closing_account(self, number: int) -> str | None:
        """Find the account that closed a pull request; None where the forge does not tell."""
        with self._translate_errors(f"read who closed {self._name_pull_request(number)}"):
            return self._fetch_closing_account(number)

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Read who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged."""
        with self._translate_errors(f"read the {self.REVIEWS} of {self._name_pull_request(number)}"):
            row = self._fetch_pull_request(number)
            pull = self._parse_pull_request(row)
            merged = pull.state is PullRequestState.MERGED
            reviews = self._list_approvals(pull, pull.closed_at if merged else None)
            return ChangeOrigin(
                number=pull.number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | self._list_commit_authors(row),
                reviews=reviews,
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                branch="" if pull.fork else pull.branch,
                head=pull.head,
                teams=self._list_teams(teams),
            )

    def find_introducing_number(self, revision: str) -> int | None:
        """Find the number of the merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        with self._translate_errors(f"look for what brought commit {revision[:12]}"):
            return self._find_introducing_number(revision)

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """Find the merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        number = self.find_introducing_number(revision)
        return None if number is None else self.read_pull_request_origin(number, teams)

    @cached_property
    def _own_account(self) -> str:
        return self._account or self._fetch_own_account()

    def _request_reviews(self, number: int, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask for a review those who were not asked, and have said nothing yet: asking again takes an approval back.

        One call each. A refusal is logged. A team is written `org/team`, its organisation being the repository's owner.
        """
        if not reviewers:
            return
        try:
            with self._translate_errors(f"read the reviews of {self._name_pull_request(number)}"):
                known = self._list_known_reviewers(number, row)
        except (PermanentError, TransientError) as error:
            log.warning("%s does not tell who was asked for a review", self.KIND, number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if self._fold_name(reviewer) not in known:
                self._request_review(number, reviewer)

    def _request_review(self, number: int, reviewer: str) -> None:
        owner, of_team, team = reviewer.partition("/")
        if of_team and self._fold_name(owner) != self._fold_name(self._owner):
            log.warning(
                "%s asks only teams of the repository's owner for a review", self.KIND, reviewer=reviewer, number=number
            )
            return
        try:
            with self._translate_errors(f"ask for a review of {self._name_pull_request(number)}"):
                self._send_review_request(number, {"team_reviewers": [team]} if of_team else {"reviewers": [reviewer]})
        except (PermanentError, TransientError) as error:
            log.warning("%s does not take this reviewer", self.KIND, reviewer=reviewer, number=number, answer=error.message)

    def _enable_auto_merge(self, pull: PullRequest, row: Mapping[str, Any]) -> None:
        """Have the forge merge it as soon as it may be merged. A refusal is logged."""
        try:
            with self._translate_errors(f"set {self._name_pull_request(pull.number)} to merge by itself"):
                for attempt in range(_SETTLE_TRIES):
                    if self._schedule_merge(pull, row, is_last=attempt == _SETTLE_TRIES - 1):
                        return
                    time.sleep(SETTLE_SECONDS)
                    row = self._refresh_merge_status(row)
        except (PermanentError, TransientError) as error:
            log.warning("%s does not set it to merge by itself", self.KIND, number=pull.number, answer=error.message)

    def _list_teams(self, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """List the members of these teams. A team that the token may not see is logged, and left out."""
        found = {team: self._list_team_members(team) for team in sorted(teams)}
        for team, members in found.items():
            if members is None:
                log.warning("%s shows no such %s to this account", self.KIND, self.TEAM, team=team)
        return {team: members for team, members in found.items() if members is not None}

    @contextmanager
    def _translate_errors(self, doing: str) -> Iterator[None]:
        """Turn what the client raises, and what an answer of an unknown form does, into an error in words."""
        try:
            yield
        except ExternalError:
            raise
        except Exception as error:
            translated = self._convert_error(error, doing) or self._convert_common_error(error, doing)
            if translated is None:
                raise
            raise translated from None  # the original holds the request with its token

    def _convert_common_error(self, error: Exception, doing: str) -> ExternalError | None:
        if isinstance(error, web.JSONDecodeError):
            return self._place.build_format_error(doing)
        if isinstance(error, requests.RequestException):
            return self._place.build_network_error(doing, error)
        return self._place.build_format_error(doing) if isinstance(error, _FORMAT_ERRORS) else None

    def _name_pull_request(self, number: int) -> str:
        return self.PULL_REQUEST.format(number)

    @property
    def _owner(self) -> str:
        return self._place.project.partition("/")[0]

    @staticmethod
    def _fold_name(name: str) -> str:
        """Fold an account's name so that two that are the same to the forge are equal."""
        return name

    @abstractmethod
    def _create_client(self, timeout: float) -> None:
        """Make the client of the place; nothing is sent."""

    @abstractmethod
    def _convert_error(self, error: Exception, doing: str) -> ExternalError | None:
        """Convert an error of the forge's own client; None for any other."""

    @abstractmethod
    def _fetch_own_account(self) -> str:
        """Fetch the name of the token's account."""

    @abstractmethod
    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        """Fetch a pull request in the forge's form."""

    @abstractmethod
    def _parse_pull_request(self, row: Mapping[str, Any]) -> PullRequest:
        """Parse a pull request from the forge's form."""

    @abstractmethod
    def _find_introducing_number(self, revision: str) -> int | None:
        """Find the number of the merged pull request that brought a commit."""

    @abstractmethod
    def _close_pull_request(self, row: dict[str, Any]) -> None:
        """Close an open pull request."""

    @abstractmethod
    def _fetch_closing_account(self, number: int) -> str | None:
        """Fetch the account that closed it last; None where the forge does not tell."""

    @abstractmethod
    def _list_approvals(self, pull: PullRequest, merged_at: datetime | None) -> tuple[PullRequestReview, ...]:
        """List the approvals in force, for a merged pull request those of that time."""

    @abstractmethod
    def _list_commit_authors(self, row: Mapping[str, Any]) -> frozenset[str]:
        """List the accounts that wrote the pull request's commits, as far as they are known."""

    @abstractmethod
    def _list_team_members(self, team: str) -> frozenset[str] | None:
        """List the members of one team; None where the token may not see it."""

    @abstractmethod
    def _schedule_merge(self, pull: PullRequest, row: Mapping[str, Any], *, is_last: bool) -> bool:
        """Set it to merge by itself; False where the forge cannot say yet whether it can be, and another try follows."""

    def _refresh_merge_status(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fetch anew what `_schedule_merge` reads of the pull request before it sends anything."""
        return row

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """List who was asked for a review or has given one, folded; a team as `org/team`. `_request_reviews` needs it."""
        raise NotImplementedError

    def _send_review_request(self, number: int, reviewers: Mapping[str, list[str]]) -> None:
        """Ask an account (`reviewers`) or a team (`team_reviewers`) for a review. `_request_reviews` needs it."""
        raise NotImplementedError
