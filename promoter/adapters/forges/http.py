"""HTTP to a forge: no redirects that could carry a token away, bodies and waiting bounded."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

import requests
from pydantic import SecretStr
from requests import exceptions as web
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from promoter.domain.errors import ExternalError, PermanentError, TransientError

BODY_LIMIT = 32 * 2**20
"""Bytes of one answer."""
_CHUNK_SIZE = 65_536
_MAX_TIMEOUTS = 3
"""How many timeouts a body may take altogether: one timeout bounds only the wait for the next bytes."""


class TokenHeader(AuthBase):
    """A token in a header. As `auth`, since a session would else prefer what a .netrc file says."""

    def __init__(self, name: str, value: str) -> None:
        """Keeps both; `repr` tells neither."""
        self._name = name
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put it on the request."""
        request.headers[self._name] = self._value
        return request


class BoundedSession(requests.Session):
    """A session for one forge: every answer is read whole at once, and a redirect is an answer like any other.

    Raises `requests.exceptions.ContentDecodingError` for a body that is too large, `ReadTimeout` for one that is too slow.
    """

    def __init__(self, timeout: float) -> None:
        """`timeout` in seconds: to connect, and for the next bytes."""
        super().__init__()
        self._timeout = timeout
        self.mount("http://", HTTPAdapter(max_retries=0))
        self.mount("https://", HTTPAdapter(max_retries=0))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Nowhere: the token is for this forge only, and a redirected write would become a read."""
        del resp
        return None  # the type says that there may be one

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send it, and read the answer within bounds."""
        kwargs["stream"] = True
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        started = time.monotonic()
        response = super().send(request, **kwargs)
        body = bytearray()
        try:
            for chunk in response.iter_content(_CHUNK_SIZE):
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise requests.exceptions.ContentDecodingError("the answer is too large")
                if time.monotonic() - started > _MAX_TIMEOUTS * self._timeout:
                    raise requests.exceptions.ReadTimeout("the answer takes too long")
        finally:
            response.close()
        response._content = bytes(body)  # noqa: SLF001  # requests has no other way to hand over a body that was read within bounds
        return response


_MESSAGE_LIMIT = 300
_USER_INFO = re.compile(r"//[^/@\s]+@")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")
_TOKEN_FIX = "set PROMOTER_FORGE_TOKEN to a token that may read and write pull requests of this project"  # noqa: S105  # words
_URL_FIX = "check PROMOTER_FORGE_URL and PROMOTER_FORGE_PROJECT"
_RETRY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

# What the layers below say. Their text is matched, never repeated: it may hold an address with its password.
_NETWORK_MESSAGES = (
    (re.compile(r"Connection refused"), "the connection is refused"),
    (re.compile(r"Failed to resolve|Name or service not known|nodename nor servname"), "its name cannot be resolved"),
    (re.compile(r"timed? ?out|too long", re.IGNORECASE), "it does not answer in time"),
    (re.compile(r"too large"), "its answer is too large"),
)


@dataclass(frozen=True)
class ForgeProject:
    """A project on a forge, for messages: which kind of forge, its address without credentials, and what must not be shown."""

    forge: str
    url: str
    project: str
    token: SecretStr = field(repr=False)

    def format_one_line(self, text: object) -> str:
        """The text on one line, without the token and addresses' credentials, at most 300 characters."""
        secret = self.token.get_secret_value()
        words = " ".join(str(text).split())
        words = words.replace(secret, "***") if secret else words
        words = _QUERY.sub(r"\1", _USER_INFO.sub("//***@", words))
        words = "".join(letter if letter.isprintable() else "?" for letter in words)
        return words if len(words) <= _MESSAGE_LIMIT else words[: _MESSAGE_LIMIT - 1] + "…"

    def build_status_error(self, doing: str, status: int, forge_message: object = "") -> ExternalError:
        """The fault behind a status that is not one of success. `doing`: "open a pull request"; `said`: the forge's words."""
        detail = self.format_one_line(forge_message) if forge_message else ""
        message = f"cannot {doing} of {self.project} at {self.url}: status {status}" + (f", {detail}" if detail else "")
        if status in _RETRY_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransientError(self.forge, message)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return PermanentError(self.forge, f"{message}: it redirects elsewhere", f"give the new address: {_URL_FIX}")
        if status == HTTPStatus.NOT_FOUND:
            return PermanentError(self.forge, message, f"{_URL_FIX}, and that the token shows the project")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return PermanentError(self.forge, message, _TOKEN_FIX)
        if status == HTTPStatus.CONFLICT:
            return TransientError(self.forge, message)
        return PermanentError(self.forge, message)

    def build_network_error(self, doing: str, error: requests.RequestException) -> ExternalError:
        """The fault where there is no answer, or none that can be read."""
        text = f"{type(error).__name__} {error}"
        words = next((words for pattern, words in _NETWORK_MESSAGES if pattern.search(text)), None)
        if isinstance(error, web.SSLError):
            message = f"cannot {doing} of {self.project} at {self.url}: its certificate is not trusted"
            return PermanentError(self.forge, message, "name the authority's certificate in REQUESTS_CA_BUNDLE")
        if isinstance(error, web.InvalidURL | web.MissingSchema | web.InvalidSchema):
            return PermanentError(self.forge, f"cannot {doing}: {self.url} is not an address", _URL_FIX)
        words = words or f"it cannot be reached ({type(error).__name__})"
        return TransientError(self.forge, f"cannot {doing} of {self.project} at {self.url}: {words}")

    def build_format_error(self, doing: str) -> ExternalError:
        """The fault where the answer is not of the form that the API's description gives it."""
        message = f"cannot {doing} of {self.project} at {self.url}: the answer is not one of its API"
        return TransientError(self.forge, message, _URL_FIX)


class ForgeBase(ABC):
    """One repository on a forge. `COMMIT_KIND` is the forge's name for people; where it is asked, each says in `_connect`."""

    KIND: ClassVar[str]

    def __init__(
        self,
        url: str,
        project: str,
        branch: str,
        token: SecretStr,
        account: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`url`, `project`: as the forge has them; `branch`: the watched one; `timeout` in seconds. Asks nothing yet.

        `account`: Promoter's own. A token that is not told whose it is, as that of an app on GitHub, needs it.
        """
        self._place = ForgeProject(self.KIND, url.rstrip("/"), project, token)
        self._branch = branch
        self._account = account
        self._create_client(timeout)

    @abstractmethod
    def _create_client(self, timeout: float) -> None:
        """Make the client of the place; nothing is asked."""

    def __repr__(self) -> str:
        """Where it is, without its token."""
        return f"{self.KIND}({self._place.url}, {self._place.project}, {self._branch})"

    @property
    def name(self) -> str:
        """For people."""
        return self.KIND
