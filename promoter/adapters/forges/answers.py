"""What a forge answers where it does not do as asked, in words for people: retry, or mend something."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus

import requests
from pydantic import SecretStr
from requests import exceptions as web

from promoter.domain.faults import ExternalError, PermanentError, TransientError

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
