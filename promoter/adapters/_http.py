"""HTTP to servers of others: no redirects that could carry a token away, and bounds on what is read and waited for."""

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
    """A token in a header. It is the session's `auth`, since a session would else prefer what a .netrc file says."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self._name] = self._value
        return request


class BoundedSession(requests.Session):
    """A session that reads every answer whole at once, and takes a redirect as an answer like any other.

    Raises `requests.exceptions.ContentDecodingError` for a body that is too large, `ReadTimeout` for one that is too slow.
    """

    def __init__(self, timeout: float, adapter: HTTPAdapter | None = None) -> None:
        """`timeout` in seconds: to connect, and for the next bytes. `adapter`: how connections are made; it must not retry."""
        super().__init__()
        self._timeout = timeout
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter or HTTPAdapter(max_retries=0))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow no redirect: a token is for one server only, and a redirected write would become a read."""
        del resp
        return None  # the type says that there may be one

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send the request, and read the answer within bounds."""
        kwargs["stream"] = True
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        started = time.monotonic()
        response = super().send(request, **kwargs)
        try:
            # requests has no other way to hand over a body that was read within bounds
            response._content = self.read_body(response, started + _MAX_TIMEOUTS * self._timeout)  # noqa: SLF001
        finally:
            response.close()
        return response

    def read_body(self, response: requests.Response, deadline: float) -> bytes:
        """Read the answer's body; `deadline` is on the monotonic clock."""
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_SIZE):
            body += chunk
            if len(body) > BODY_LIMIT:
                raise requests.exceptions.ContentDecodingError("the answer is too large")
            if time.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("the answer takes too long")
        return bytes(body)
