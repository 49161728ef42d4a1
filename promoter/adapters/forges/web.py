"""HTTP to a forge: no redirects that could carry a token away, bodies and waiting bounded."""

from __future__ import annotations

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

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
