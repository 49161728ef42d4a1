"""What a face needs of HTTP: routes, JSON in and out, pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode

from tests.support.forges.model import ForgeAccount, ForgeRefusal, Refusal
from tests.support.forges.server import ACCOUNT

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATUSES = {
    Refusal.MISSING: 404,
    Refusal.DUPLICATE: 409,
    Refusal.INVALID: 422,
    Refusal.CONFLICT: 409,
    Refusal.FORBIDDEN: 403,
}


class HttpFailure(Exception):  # noqa: N818  # an answer that is no success
    """Answer with this status and these words."""

    def __init__(self, status: int, message: object) -> None:
        """`message`: text, or what else this forge puts there."""
        self.status = status
        self.message = message
        super().__init__(str(message))


@dataclass(frozen=True)
class ForgeRequest:
    """A request: who asks, the parts of the path that the route names, the query, the body."""

    account: ForgeAccount | None
    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def login(self) -> str:
        """Who asks."""
        return self.account.login if self.account else ""

    def number(self, name: str) -> int:
        """A part of the path that is a number."""
        if not self.parts[name].isdigit():
            raise HttpFailure(404, "404 Not Found")
        return int(self.parts[name])


@dataclass(frozen=True)
class ForgeReply:
    """An answer. `rows`: a list, of which one page goes out, with `around` around it; `body` None: no body."""

    status: int = 200
    body: Any = None
    rows: Sequence[Any] | None = None
    paged: bool = True
    around: Callable[[list[Any]], Any] | None = None


Endpoint = Callable[[ForgeRequest], ForgeReply]


@dataclass(frozen=True)
class ReplyPages:
    """How a forge cuts lists: its name for the size of a page, the usual and the greatest one, and what links begin with.

    `counted`: headers tell how much there is; else only links do, and only where there is more than a page.
    """

    size: str
    usual: int
    most: int
    base: str
    counted: bool = True


class Routes:
    """A WSGI application. A path's parts are taken apart before they are decoded, as forges do it."""

    def __init__(self, prefix: str, pages: ReplyPages, worded: Callable[[object], Any]) -> None:
        """`prefix` of every path; `worded`: the body for a message."""
        self._prefix = prefix
        self._pages = pages
        self._worded = worded
        self._routes: list[tuple[str, re.Pattern[str], Endpoint]] = []

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """`{name}` in the path is one part of it."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
        self._routes.append((method, re.compile(self._prefix + pattern), endpoint))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer."""
        try:
            reply = self._reply(environ)
        except HttpFailure as told:
            reply = ForgeReply(told.status, self._worded(told.message))
        except ForgeRefusal as refusal:
            reply = ForgeReply(STATUSES[refusal.why], self._worded(refusal.message))
        headers = [("Content-Type", "application/json")]
        body = reply.body
        if reply.rows is not None:
            body, more = self._page(environ, reply)
            body = reply.around(body) if reply.around else body
            headers += more
        raw = b"" if reply.status == 204 or (body is None and reply.rows is None) else json.dumps(body).encode()
        start_response(f"{reply.status} Said", [*headers, ("Content-Length", str(len(raw)))])
        return [raw]

    def _reply(self, environ: WSGIEnvironment) -> ForgeReply:
        path = str(environ["RAW_URI"]).partition("?")[0]
        for method, pattern, endpoint in self._routes:
            match = pattern.fullmatch(path)
            if match and method == environ["REQUEST_METHOD"]:
                parts = {name: unquote(part) for name, part in match.groupdict().items()}
                raw = environ["wsgi.input"].read()
                return endpoint(ForgeRequest(environ[ACCOUNT], parts, _query(environ), json.loads(raw) if raw else {}))
        raise HttpFailure(404, "404 Not Found")

    def _page(self, environ: WSGIEnvironment, reply: ForgeReply) -> tuple[list[Any], list[tuple[str, str]]]:
        rows, query = list(reply.rows or ()), _query(environ)
        if not reply.paged:
            return rows, [("X-Total-Count", str(len(rows)))]
        page = max(int(query.get("page", 1)), 1)
        size = min(int(query.get(self._pages.size, self._pages.usual)), self._pages.most)
        last = max(-(-len(rows) // size), 1)
        headers = [("X-Total-Count", str(len(rows)))] if self._pages.counted else []
        if self._pages.counted and self._pages.size == "per_page":
            headers = [
                ("X-Page", str(page)),
                ("X-Per-Page", str(size)),
                ("X-Total", str(len(rows))),
                ("X-Total-Pages", str(last)),
                ("X-Next-Page", str(page + 1) if page < last else ""),
            ]
        if last == 1 and not self._pages.counted:
            return rows, headers
        path = str(environ["RAW_URI"]).partition("?")[0]
        names = (("next", page + 1), ("last", last)) if page < last else (("first", 1),)
        links = (f'<{self._pages.base}{path}?{urlencode({**query, "page": at})}>; rel="{name}"' for name, at in names)
        return rows[(page - 1) * size : page * size], [*headers, ("Link", ", ".join(links))]


def _query(environ: WSGIEnvironment) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}


def stamp(at: datetime | None, order: int = 0) -> str | None:
    """A time as JSON has it. `order` keeps apart what happened within one second: ids are given in the order of time."""
    if at is None:
        return None
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{order % 1_000:03}Z"
