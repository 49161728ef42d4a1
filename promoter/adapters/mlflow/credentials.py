"""Credentials for MLflow servers, each bound to the address of its own server: a request to any other host goes without.

MLflow's client sends its one set of credentials to every host that it calls: to other registries, and to wherever the source
of a version leads, which whoever registers a version decides. So its requests pass `BoundAuth`, by MLflow's plugin interface.
The same holds for the workspace, which is a header of each request.
MLflow itself imports this module (through `client.py`), so it imports nothing heavy.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

TRACKING_VARIABLE, REGISTRY_VARIABLE = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
AUTH_VARIABLE = "MLFLOW_TRACKING_AUTH"
_USERNAME, _PASSWORD, TOKEN_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
CREDENTIAL_VARIABLES = (_USERNAME, _PASSWORD, TOKEN_VARIABLE)
"""The variables with the credentials of Promoter's own server."""
WORKSPACE_VARIABLE, _WORKSPACE_HEADER = "MLFLOW_WORKSPACE", "X-MLFLOW-WORKSPACE"
_PLUGIN_NAME = "promoter"
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass(frozen=True)
class HostCredentials:
    """What one server is sent: a user's name and password, else a token."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def build_header(self) -> str | None:
        """Return the value of `Authorization`; None where there are no credentials."""
        if self.username and self.password:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return f"Bearer {self.token}" if self.token else None

    def to_environment(self) -> dict[str, str]:
        """Return the variables in which a child of this process finds them."""
        rows = {_USERNAME: self.username, _PASSWORD: self.password, TOKEN_VARIABLE: self.token}
        return {name: text for name, text in rows.items() if text}


def read_environment_credentials() -> HostCredentials:
    """Read the credentials in the environment."""
    return HostCredentials(*(os.environ.get(name) or None for name in CREDENTIAL_VARIABLES))


def _read_own_credentials() -> HostCredentials:
    """Read what MLflow would send: the environment's, else those in the user's `~/.mlflow/credentials`."""
    from mlflow.utils.credentials import read_mlflow_creds

    found = read_mlflow_creds()
    return HostCredentials(found.username, found.password, os.environ.get(TOKEN_VARIABLE) or None)


def read_own_workspace() -> str | None:
    """Read the workspace that the environment names for Promoter's own server; None where it names none."""
    return os.environ.get(WORKSPACE_VARIABLE, "").strip() or None


def _name_no_workspace() -> str | None:
    return None


@dataclass(frozen=True)
class BoundServer:
    """A server that may be sent credentials."""

    origin: Origin
    path: str
    """The path under which it answers, without a slash at its end: several servers may share a host."""
    read_credentials: Callable[[], HostCredentials]
    own: bool
    """Whether it is Promoter's own server, for which a plugin of the user may add its own proof."""
    read_workspace: Callable[[], str | None] = _name_no_workspace
    """Returns the workspace that requests are for; None: the server's default workspace, or it has no workspaces."""

    def covers(self, address: str) -> bool:
        """Whether the address lies on this server."""
        parts = _split_address(address)
        return parts is not None and _find_origin(parts) == self.origin and f"{parts.path}/".startswith(f"{self.path}/")


class CredentialBindings:
    """The servers that may be sent credentials. Safe to share between threads."""

    def __init__(self) -> None:
        self._servers: dict[Origin, dict[str, BoundServer]] = {}
        self._of_others: set[HostCredentials] = set()
        self._lock = Lock()

    def bind_server(
        self,
        address: str,
        read_credentials: Callable[[], HostCredentials],
        *,
        own: bool,
        read_workspace: Callable[[], str | None] = _name_no_workspace,
    ) -> BoundServer | None:
        """Bind credentials and a workspace to the server, and return the binding; None for what is no web address.

        Promoter's own server keeps its binding, whatever else is bound to its address; of others, the last one counts there.
        """
        parts = _split_address(address)
        origin = _find_origin(parts)
        if parts is None or origin is None:
            return None
        bound = BoundServer(origin, parts.path.rstrip("/"), read_credentials, own, read_workspace)
        with self._lock:
            servers = self._servers.setdefault(origin, {})
            if not own:
                self._of_others.add(read_credentials())
            if own or bound.path not in servers or not servers[bound.path].own:
                servers[bound.path] = bound
        return bound

    def find_server(self, address: str) -> BoundServer | None:
        """Find the server that the address belongs to; None for a host that nobody named.

        Where several servers share a host, the longest of their paths decides.
        """
        parts = _split_address(address)
        origin = _find_origin(parts)
        if parts is None or origin is None:
            return None
        with self._lock:
            servers = list(self._servers.get(origin, {}).values())
        under = [each for each in servers if each.covers(address)]
        if under:
            return max(under, key=lambda each: len(each.path))
        return servers[0] if len(servers) == 1 else None

    def list_secrets(self) -> Iterator[str]:
        """Yield every secret of the other registries."""
        with self._lock:
            given = list(self._of_others)
        for each in given:
            yield from filter(None, (each.password, each.token))


BINDINGS = CredentialBindings()
"""The bindings of this process, since MLflow's client is one for the process."""
_addressed: ContextVar[BoundServer | None] = ContextVar("addressed", default=None)


@contextmanager
def address_server(server: BoundServer | None) -> Iterator[None]:
    """Treat what this thread requests of that server meanwhile as this binding says, not as that of its address."""
    token = _addressed.set(server)
    try:
        yield
    finally:
        _addressed.reset(token)


def find_request_server(address: str) -> BoundServer | None:
    """Find the server that a request of this thread to that address goes to; None for a host that nobody named.

    What lies on Promoter's own server, and has no credentials of its own, is sent those of that server.
    """
    addressed, known = _addressed.get(), BINDINGS.find_server(address)
    if addressed is None or not addressed.covers(address):
        return known
    if known is not None and known.own and known.path == addressed.path and addressed.read_credentials() == HostCredentials():
        return replace(known, read_workspace=addressed.read_workspace)
    return addressed


def _split_address(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _find_origin(parts: SplitResult | None) -> Origin | None:
    try:
        if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return None
        return parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme]
    except ValueError:
        return None


@contextmanager
def address_default_workspace(address: str) -> Iterator[None]:
    """Name no workspace in what this thread requests of that server meanwhile."""
    server = find_request_server(address)
    with address_server(replace(server, read_workspace=_name_no_workspace) if server else None):
        yield


class BoundAuth:
    """The proof of who asks, as `requests` has it: called with a request, it sets the header `Authorization`, or removes it."""

    def __call__(self, request: Any) -> Any:
        """Give the request the credentials and the workspace of the server that it goes to, and no others."""
        request.headers.pop("Authorization", None)
        server = find_request_server(request.url)
        _set_workspace(request, server)
        header = _build_address_header(request.url) or _build_bound_header(server, request.url)
        if header:
            request.headers["Authorization"] = header
        plugin = _UserPlugin.name
        if server is None or not server.own or not plugin:
            return request
        from mlflow.tracking.request_auth.registry import fetch_auth

        auth = fetch_auth(plugin)
        return auth(request) if auth else request


def _set_workspace(request: Any, server: BoundServer | None) -> None:
    """Name the workspace of that server: MLflow's client names its one workspace to every host, or, if it is old, to none."""
    request.headers.pop(_WORKSPACE_HEADER, None)
    workspace = server.read_workspace() if server else None
    if workspace:
        request.headers[_WORKSPACE_HEADER] = workspace


def _build_address_header(url: str) -> str | None:
    """Credentials in an address are for that address, whoever wrote them."""
    parts = urlsplit(url)
    given = HostCredentials(unquote(parts.username or ""), unquote(parts.password or ""))
    return given.build_header()


def _build_bound_header(server: BoundServer | None, url: str) -> str | None:
    if server is not None and (header := server.read_credentials().build_header()):
        return header
    from requests.utils import get_netrc_auth  # `requests` leaves that file alone where a request has its own proof

    found = get_netrc_auth(url)
    return HostCredentials(*found).build_header() if found else None


class BoundAuthProvider:
    """MLflow's plugin interface for proofs of who asks; it does not derive from the abstract class, which imports MLflow."""

    def get_name(self) -> str:
        """Return the name that `MLFLOW_TRACKING_AUTH` has while Promoter runs."""
        return _PLUGIN_NAME

    def get_auth(self) -> BoundAuth:
        """Return what sees each request before it is sent."""
        return BoundAuth()


class _UserPlugin:
    name: str | None = None
    """The plugin that the user named for Promoter's own server."""


def install_bound_auth() -> None:
    """Have MLflow's client ask `BoundAuth` about every request of this process. To call it again changes nothing."""
    from mlflow.tracking.request_auth import registry

    # Through the registry of plugins itself: an entry point of the installed package may be missing or older than this code,
    # and MLflow would then only warn, and send its credentials everywhere.
    plugins = registry._request_auth_provider_registry  # noqa: SLF001
    if not any(each.get_name() == _PLUGIN_NAME for each in plugins):
        plugins.register(BoundAuthProvider)
    given = os.environ.get(AUTH_VARIABLE)
    if given != _PLUGIN_NAME:
        _UserPlugin.name = given or None
        os.environ[AUTH_VARIABLE] = _PLUGIN_NAME


def bind_own_server(tracking_uri: str) -> None:
    """Bind MLflow's own variables to Promoter's own server, and to its registry where that has an address of its own."""
    for address in (tracking_uri, os.environ.get(REGISTRY_VARIABLE, "")):
        BINDINGS.bind_server(address, _read_own_credentials, own=True, read_workspace=read_own_workspace)


def bind_other_server(tracking_uri: str, credentials: HostCredentials, workspace: str | None = None) -> BoundServer | None:
    """Bind credentials and a workspace to another registry, and return the binding; None for what is no web address."""
    return BINDINGS.bind_server(tracking_uri, lambda: credentials, own=False, read_workspace=lambda: workspace)


def build_child_environment(tracking_uri: str) -> Mapping[str, str]:
    """Build the environment of a child that talks to this server: with the credentials and the workspace of this server alone.

    Some of MLflow's storage clients read the server from the environment, whatever address they are given.
    """
    left_out = {*CREDENTIAL_VARIABLES, AUTH_VARIABLE, REGISTRY_VARIABLE, WORKSPACE_VARIABLE}
    rest = {name: text for name, text in os.environ.items() if name not in left_out and not name.startswith("PROMOTER_")}
    server = find_request_server(tracking_uri)
    given = server.read_credentials().to_environment() if server else {}
    plugin = {AUTH_VARIABLE: _UserPlugin.name} if server and server.own and _UserPlugin.name else {}
    named = server.read_workspace() if server else read_own_workspace()  # a database has no address, and is Promoter's own
    workspace = {WORKSPACE_VARIABLE: named} if named else {}
    return {**rest, **given, **plugin, **workspace, TRACKING_VARIABLE: tracking_uri}


def list_secrets() -> Iterator[str]:
    """Yield every secret in the environment and of the other registries, for messages to leave them out."""
    yield from filter(None, map(os.environ.get, (_PASSWORD, TOKEN_VARIABLE)))
    yield from BINDINGS.list_secrets()


def is_own_server(tracking_uri: str) -> bool:
    """Whether the address is that of Promoter's own server."""
    server = find_request_server(tracking_uri)
    return server is not None and server.own
