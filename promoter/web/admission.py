"""Which requests are let in: pages and the API by `Host` and `Origin`, webhooks by their rate.

The daemon has no sign-in, so a browser on its network must not become somebody else's hand. A page of another site may send
requests here (it names its `Origin`), or point its own name at this address (then it shows in `Host`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import RateLimitItem, parse

from promoter.settings import Settings

log = structlog.get_logger(__name__)

OPEN_ROUTES = frozenset({"webhooks", "health"})
"""Routes that any `Host` may reach: webhooks are signed, and health has nothing to hide from monitors, which use any name."""
REFUSED_RATE = "30/minute"
"""Deliveries of one source with an invalid signature that are answered one by one."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FETCHED_HERE = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::\d{1,5})?", re.ASCII)
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # they are compared, not listened on
_SHOWN_LENGTH = 100


class TrustedHosts:
    """The names under which the pages and the API are to be reached."""

    def __init__(self, settings: Settings) -> None:
        """Trust loopback, the address that is listened on, the host of `PROMOTER_URL`, and `PROMOTER_ALLOWED_HOSTS`."""
        listened, _ = settings.listen_host_and_port
        self._public = urlsplit(settings.url or "")
        self._any_address = listened in _ANY_ADDRESS
        self._names = {*_LOOPBACK_NAMES, listened.lower(), *(name.lower() for name in settings.allowed_hosts)}
        self._names |= {self._public.hostname} if self._public.hostname else set()

    def trusts_host(self, host: str | None) -> bool:
        """Whether the header `Host` has one of the names, whatever the port.

        A daemon that listens on every address may be called by any of them: another site can point its name here, not a number.
        """
        name = _parse_host(host)
        return name is not None and (name in self._names or (self._any_address and _is_address(name)))

    def trusts_origin(self, origin: str | None, site: str | None, host: str | None) -> bool:
        """Whether a page of this daemon sends the request, or no page at all.

        `origin` and `site` are the headers `Origin` and `Sec-Fetch-Site`, which programs other than browsers leave out. A page
        of this daemon has the scheme, host and port of `PROMOTER_URL`, or the same host and port as the header `Host`.
        """
        if site is not None and site not in _FETCHED_HERE:
            return False
        if origin is None:
            return True
        if self._public.hostname and origin.lower() == f"{self._public.scheme}://{self._public.netloc}".lower():
            return True
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and host is not None and rest.lower() == host.lower()


def _parse_host(host: str | None) -> str | None:
    found = _HOST.fullmatch(host or "")
    return found[1].strip("[]").rstrip(".").lower() if found else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def refuse_foreign_requests(app: Flask, hosts: TrustedHosts) -> None:
    """Answer 403 where `Host` or `Origin` is somebody else's."""

    @app.before_request
    def check_request() -> Response | None:
        if request.blueprint in OPEN_ROUTES:
            return None
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not hosts.trusts_host(host):
            return _refuse_request(
                "the header `Host` has no name of this daemon: if it is one, add it to PROMOTER_ALLOWED_HOSTS"
            )
        if request.method in _SAFE_METHODS or hosts.trusts_origin(origin, request.headers.get("Sec-Fetch-Site"), host):
            return None
        return _refuse_request("a page of another site sent this: if that site is this daemon, set PROMOTER_URL to it")


def _refuse_request(detail: str) -> Response:
    shown = {name: (request.headers.get(name) or "")[:_SHOWN_LENGTH] for name in ("Host", "Origin")}
    log.warning("request refused", path=request.path[:_SHOWN_LENGTH], host=shown["Host"], origin=shown["Origin"])
    return build_problem(403, "Forbidden", detail)


def build_problem(status: int, title: str, detail: str) -> Response:
    """Build the problem details of RFC 9457; `schema` and `error` are what every error of the API has."""
    problem = {"schema": 1, "error": detail, "type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json.dumps(problem) + "\n", status, mimetype="application/problem+json")


class WebhookRates:
    """How many deliveries one source may send: by the name of the webhook, and by the address that it comes from."""

    def __init__(self, app: Flask, rate: str) -> None:
        """`rate`: of deliveries whose signature is valid. Counts are kept in memory."""
        self._limiter = Limiter(_find_source, app=app, storage_uri="memory://", strategy="moving-window", headers_enabled=True)
        self._rate = rate
        self._refused: RateLimitItem = parse(REFUSED_RATE)

    def limit_route(self, view: Callable[..., Response]) -> Callable[..., Response]:
        """Answer 429 where too many valid deliveries came; invalid ones take nothing from those of the real sender."""
        message = f"too many deliveries of this webhook: more than {self._rate} (PROMOTER_WEBHOOK_RATE)"
        return self._limiter.limit(self._rate, deduct_when=_is_authenticated, error_message=message)(view)

    def count_refused(self) -> bool:
        """Count a delivery with an invalid signature; return whether it is one too many."""
        return not self._limiter.limiter.hit(self._refused, "refused", _find_source())

    def build_refusal_answer(self) -> Response:
        """Build the answer to an invalid delivery that is one too many."""
        answer = build_problem(429, "Too Many Requests", "too many deliveries with an invalid signature")
        answer.headers["Retry-After"] = str(self._refused.get_expiry())
        return answer


def _find_source() -> str:
    return f"{request.path} {get_remote_address()}"


def _is_authenticated(response: Response) -> bool:
    return response.status_code not in (401, 429)
