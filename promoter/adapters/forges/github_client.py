"""A client for GitHub: PyGithub, but each request is sent once, to one host, without waits, and what is read is bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from github.GithubException import BadAttributeException, GithubException, IncompletableObject
from github.Requester import Requester
from pydantic import SecretStr
from requests.utils import parse_header_links

from promoter.adapters._http import BoundedSession, TokenHeader
from promoter.adapters.forges.base import ForgeProject, bound_list
from promoter.domain.errors import ExternalError, TransientError

PAGE_SIZE = 100
_RATE_LIMIT_MESSAGES = ("rate limit", "abuse detection")
_UNKNOWN_FORM_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    AssertionError,
    BadAttributeException,
    IncompletableObject,
)


class RedirectedError(Exception):
    """The forge names another address."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status}")


class GitHubClient(Requester):
    """The client that PyGithub's objects use. One request at a time for each caller, and any number of callers.

    PyGithub itself follows redirects on the same host with whatever was to be written, waits where the answer is 202, and
    shares one connection's state between threads; none of this is left.
    """

    def __init__(self, url: str, token: SecretStr, timeout: float) -> None:
        """`url`: the base of the API. Sends nothing yet."""
        super().__init__(
            auth=None,  # the session has it, so that PyGithub never sees the token
            base_url=url,
            timeout=max(round(timeout), 1),
            user_agent="promoter",
            per_page=PAGE_SIZE,
            verify=True,
            retry=None,
            pool_size=None,
        )
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/")
        self._session = BoundedSession(timeout)
        self._session.auth = TokenHeader("Authorization", f"Bearer {token.get_secret_value()}")
        self._session.headers.update({"Accept": "application/vnd.github+json", "User-Agent": "promoter"})

    def requestJson(  # noqa: N802  # PyGithub's form
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,  # noqa: A002  # PyGithub's name
        cnx: Any = None,
        follow_302_redirect: bool = False,
    ) -> tuple[int, dict[str, Any], str]:
        """Send one request; return status, headers by lower-case names, and the answer's text."""
        del cnx, follow_302_redirect
        if not url.startswith("/") and not url.startswith(f"{self._origin}/"):
            raise ValueError("the address of an answer is another host's")
        address = self._origin + self._prefix + url if url.startswith("/") else url
        response = self._session.request(verb, address, params=parameters, json=input, headers=headers)
        if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
            raise RedirectedError(response.status_code)
        if response.status_code == HTTPStatus.ACCEPTED:
            raise ValueError("the answer is not there yet")
        found = {name.lower(): value for name, value in response.headers.items()}
        return response.status_code, found, response.content.decode("utf-8", "replace")

    def get_json_object(self, path: str) -> dict[str, Any]:
        """Fetch the JSON object there. Raises ValueError where it is none."""
        _, found = self.requestJsonAndCheck("GET", path)
        if not isinstance(found, dict):
            raise ValueError("not an object")  # noqa: TRY004  # an answer, not an argument
        return found

    def iterate_items(self, path: str, within: str | None = None, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page as they are needed. `within`: the key that holds the list."""
        return bound_list(self._iterate_pages(path, within, {**parameters, "per_page": PAGE_SIZE}), path)

    def _iterate_pages(self, path: str, within: str | None, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        following: str | None = path
        while following:
            headers, body = self.requestJsonAndCheck("GET", following, parameters=query)
            rows = body[within] if within else body
            if not isinstance(rows, list):
                raise ValueError("not a list")  # noqa: TRY004  # an answer, not an argument
            yield from rows
            following, query = self._find_next_page(headers), {}

    def _find_next_page(self, headers: Mapping[str, Any]) -> str | None:
        """Find the path of the next page: below the API's base here, whatever host its link names."""
        links = parse_header_links(str(headers.get("link", "")))
        link = next((each["url"] for each in links if each.get("rel") == "next"), None)
        if link is None:
            return None
        parts = urlsplit(link)
        if not parts.path.startswith(f"{self._prefix}/"):
            raise ValueError("a page's link leads elsewhere")
        return parts.path.removeprefix(self._prefix) + (f"?{parts.query}" if parts.query else "")


def convert_error(error: Exception, place: ForgeProject, doing: str) -> ExternalError | None:
    """Convert an error of PyGithub or of this client; None for any other."""
    if isinstance(error, _UNKNOWN_FORM_ERRORS):
        return place.build_format_error(doing)
    if isinstance(error, RedirectedError):
        return place.build_status_error(doing, error.status)
    if not isinstance(error, GithubException):
        return None
    waiting = _describe_rate_limit(error)
    if waiting is None:
        return place.build_status_error(doing, error.status, extract_error_message(error))
    message = f"cannot {doing} of {place.project} at {place.url}: too many requests, {waiting}"
    return TransientError(place.forge, message)


def extract_error_message(error: GithubException) -> str:
    """Return the forge's message, with what it says of each thing that is wrong."""
    body = error.data if isinstance(error.data, dict) else {}
    rows = body.get("errors")
    wrong = [row.get("message") if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else []
    return ": ".join(str(each) for each in (body.get("message"), *wrong) if each)


def _describe_rate_limit(error: GithubException) -> str | None:
    """Say how long a rate limit lasts; None where the answer is about something else."""
    if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        return None
    headers = error.headers or {}
    after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
    spent = headers.get("x-ratelimit-remaining") == "0"
    if after.isdigit():
        return f"again in {int(after)} seconds"
    if spent and reset.isdigit():
        return f"again in {max(int(reset) - int(time.time()), 0)} seconds"
    if (
        spent
        or error.status == HTTPStatus.TOO_MANY_REQUESTS
        or any(words in extract_error_message(error).lower() for words in _RATE_LIMIT_MESSAGES)
    ):
        return "again in some minutes"
    return None
