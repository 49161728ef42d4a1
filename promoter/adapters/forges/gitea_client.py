"""A client for the part of Gitea's API that Promoter needs. Forgejo has the same API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests
from pydantic import SecretStr

from promoter.adapters._http import BoundedSession, TokenHeader
from promoter.adapters.forges.base import bound_list

PAGE_SIZE = 50
"""Items of a page: what instances allow at most, unless configured otherwise."""
_API_PATH = "/api/v1"


class GiteaStatusError(Exception):
    """A status that is not one of success, with the instance's message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"status {status}")


class GiteaClient:
    """A client of one instance. Each call is sent once.

    Raises `GiteaStatusError`, `requests.RequestException`, or ValueError for an answer that is no JSON.
    """

    def __init__(self, url: str, token: SecretStr, timeout: float) -> None:
        """`url`: of the instance, with or without `/api/v1`. Sends nothing yet."""
        self._api = url.rstrip("/").removesuffix(_API_PATH) + _API_PATH
        self._session = BoundedSession(timeout)
        self._session.auth = TokenHeader("Authorization", f"token {token.get_secret_value()}")
        self._session.headers.update({"Accept": "application/json", "User-Agent": "promoter"})

    def get_json(self, *path: object, **query: Any) -> Any:
        """Fetch the JSON at that path."""
        return self._send_request("GET", path, params=query).json()

    def post_json(self, *path: object, body: Mapping[str, Any]) -> Any:
        """Send the body; return the JSON of the answer, None where it has no body."""
        return _parse_json_body(self._send_request("POST", path, json=body))

    def patch_json(self, *path: object, body: Mapping[str, Any]) -> Any:
        """Change what is there; return the JSON of the answer, None where it has no body."""
        return _parse_json_body(self._send_request("PATCH", path, json=body))

    def delete_resource(self, *path: object) -> None:
        """Delete what is there."""
        self._send_request("DELETE", path)

    def iterate_items(self, *path: object, within: str | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page as they are needed. `within`: the key that holds the list."""
        return bound_list(self._iterate_pages(path, within, query), path[-1])

    def _iterate_pages(self, path: tuple[object, ...], within: str | None, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Some lists have no pages, and answer a second one like the first: the headers say whether there is more."""
        count, page = 0, 1
        while True:
            response = self._send_request("GET", path, params={**query, "page": page, "limit": PAGE_SIZE})
            rows = _extract_rows(response.json(), within)
            count += len(rows)
            yield from rows
            if not rows or not _has_next_page(response, count):
                return
            page += 1

    def _send_request(self, method: str, path: tuple[object, ...], **options: Any) -> requests.Response:
        url = "/".join([self._api, *(quote(str(part), safe="") for part in path)])
        response = self._session.request(method, url, **options)
        if not response.ok or response.is_redirect:
            raise GiteaStatusError(response.status_code, _extract_message(response))
        return response


def _extract_rows(body: Any, within: str | None) -> list[dict[str, Any]]:
    """Return the list; `null` is an empty one. Raises ValueError for anything else: it must not pass for an empty list."""
    rows = body[within] if within else body
    if rows is not None and not isinstance(rows, list):
        raise ValueError("not a list")
    return rows or []


def _has_next_page(response: requests.Response, count: int) -> bool:
    if "Link" in response.headers:
        return "next" in response.links
    total = response.headers.get("X-Total-Count", "")
    return total.isdigit() and count < int(total)


def _parse_json_body(response: requests.Response) -> Any:
    return response.json() if response.content else None


def _extract_message(response: requests.Response) -> str:
    try:
        words = response.json()
    except ValueError:
        return ""
    return str(words.get("message") or "") if isinstance(words, dict) else ""
