"""The client for MLflow: its waits and retries are bounded, it sends no telemetry, and it never waits for a delayed ACK.

MLflow itself imports this module (it names an entry point), in every process of the environment: so it imports nothing
heavy, and does nothing until `prepare_environment` is called.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from promoter.adapters._text import NO_ANSWER, explain_network_error, explain_network_text, redact_secrets, to_one_line
from promoter.adapters.mlflow.answers import ImpossibleAnswer, register_checked_stores
from promoter.adapters.mlflow.credentials import (
    REGISTRY_VARIABLE,
    TOKEN_VARIABLE,
    TRACKING_VARIABLE,
    BoundServer,
    HostCredentials,
    address_server,
    bind_other_server,
    bind_own_server,
    install_bound_auth,
    list_secrets,
)
from promoter.adapters.mlflow.workspaces import build_unsupported_error, has_workspaces
from promoter.domain.errors import (
    ExternalError,
    ModelsWithheld,
    PermanentError,
    RightMissing,
    TimeLimitError,
    TransientError,
)
from promoter.domain.observed import ModelVersion, ObservedModel, RunDataset, TrainingRun, shorten_description

SERVICE_NAME = "MLflow"
NOT_FOUND_CODE = "RESOURCE_DOES_NOT_EXIST"
PERMISSION_DENIED_CODE = "PERMISSION_DENIED"
_NO_SUCH_WORKSPACE, _NO_WORKSPACES = "WORKSPACE_DOES_NOT_EXIST", "WORKSPACES_DISABLED"

_FIXES = {
    NOT_FOUND_CODE: "check the name and the version; somebody may have deleted it",
    PERMISSION_DENIED_CODE: "give Promoter's MLflow user {right}: see docs/operate.md, rights in MLflow",
    "UNAUTHENTICATED": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "CUSTOMER_UNAUTHORIZED": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "INVALID_PARAMETER_VALUE": "MLflow does not accept that name or value",
    "BAD_REQUEST": "MLflow does not accept that name or value",
    "RESOURCE_ALREADY_EXISTS": "choose another name, or delete the one that exists",
    "INVALID_STATE": "bring it into a state that allows this, in MLflow",
    "FEATURE_DISABLED": "enable it on the MLflow server",
    "NOT_IMPLEMENTED": "the server's store does not support this: use a SQL database as its backend store",
    "ENDPOINT_NOT_FOUND": "check that {variable} names an MLflow server, 3.3 or newer",
    _NO_SUCH_WORKSPACE: "set MLFLOW_WORKSPACE (of another registry: PROMOTER_REGISTRY_NAME_WORKSPACE) to one that is there",
    _NO_WORKSPACES: "unset MLFLOW_WORKSPACE, or start the MLflow server with --enable-workspaces",
}

_WORKSPACE_CODES = {
    NOT_FOUND_CODE: (re.compile(r"Workspace '[^']*' not found"), _NO_SUCH_WORKSPACE),
    "FEATURE_DISABLED": (re.compile(r"workspace", re.IGNORECASE), _NO_WORKSPACES),
    "INVALID_PARAMETER_VALUE": (re.compile(r"could not determine whether the server supports workspaces"), _NO_WORKSPACES),
}
"""What MLflow's codes mean where the message is about the workspace: it says of no model that it is gone."""

_CODES_OF_ONE_MODEL = frozenset(
    {
        NOT_FOUND_CODE,
        "INVALID_PARAMETER_VALUE",
        "BAD_REQUEST",
        "RESOURCE_ALREADY_EXISTS",
        "INVALID_STATE",
    }
)
"""What MLflow answers where a request is wrong about its model. Whoever has all rights on a model may take Promoter's away."""

_WRITE_COLLISION = re.compile(r"IntegrityError|UniqueViolation")
"""MLflow calls it a bad request where two clients insert one row in the same moment: the second one only has to ask again."""

_ANY_RIGHT = "the right that this takes"
_REFUSAL = "Response body: 'Permission denied'"
"""What MLflow's basic-auth answers, as the client's message ends: it has no JSON, and names neither right nor model."""
_CERTIFICATE_FIX = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of the authority that signed it"
_ANSWER_FIX = "look for a gateway, a proxy or a sign-in page that answers in MLflow's place; until then nothing is recorded"
_LOCAL_SCHEMES = ("", "file")
_DATABRICKS = "databricks"


def redact_server_address(tracking_uri: str) -> str:
    """Return the tracking URI without user, password and query."""
    try:
        parts = urlsplit(tracking_uri)
    except ValueError:
        return "an address that is none"
    if parts.netloc:
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    if parts.scheme in _LOCAL_SCHEMES and not tracking_uri.startswith(_DATABRICKS):
        return "the local store"
    return tracking_uri if tracking_uri.startswith(_DATABRICKS) else parts.scheme


def find_registry_uri(tracking_uri: str, *, elsewhere: bool = False) -> str:
    """Return the URI of the model registry: MLflow's own variable MLFLOW_REGISTRY_URI has it where it is another server.

    `elsewhere`: another server than Promoter's own, and that variable is not for it.
    """
    return tracking_uri if elsewhere else os.environ.get(REGISTRY_VARIABLE) or tracking_uri


def describe_registry_address(tracking_uri: str, *, elsewhere: bool = False) -> str:
    """Return the registry's address for messages; they also name the variable where the registry is a server of its own."""
    found = find_registry_uri(tracking_uri, elsewhere=elsewhere)
    address = redact_server_address(found)
    return address if found == tracking_uri else f"{address} ({REGISTRY_VARIABLE})"


def _select_variable(server: str) -> str:
    """The variable that names this server, as messages have it."""
    return REGISTRY_VARIABLE if server.endswith(f"({REGISTRY_VARIABLE})") else TRACKING_VARIABLE


def _build_address_fix(variable: str) -> str:
    return f"set {variable} to the server's address, such as https://mlflow.example.com"


def redact_message(text: str) -> str:
    """Return the text on one line, without the secrets of any server; URLs lose user info and query."""
    return to_one_line(redact_secrets(text, list_secrets(), user_info=""))


def require_server_address(tracking_uri: str, variable: str = TRACKING_VARIABLE) -> None:
    """Raises `PermanentError` for a URI that is empty or names no host: MLflow would take it for a folder, or a host ''."""
    try:
        parts = urlsplit(tracking_uri)
        usable = bool(parts.hostname) if parts.scheme in ("http", "https") else bool(tracking_uri.strip())
    except ValueError:
        usable = False
    if not usable:
        what = "tracking" if variable == TRACKING_VARIABLE else "registry"
        raise PermanentError(SERVICE_NAME, f"the {what} URI names no server", _build_address_fix(variable))


@contextmanager
def translate_mlflow_errors(doing: str, server: str, right: str = "") -> Iterator[None]:
    """Turn what MLflow or the network raises inside into an error in words. `doing`: "read model x". Bugs pass through.

    `right`: what Promoter's user needs for it in MLflow, "EDIT on model x".
    """
    try:
        yield
    except Exception as error:
        fault = convert_mlflow_error(error, doing, server, right)
        if fault is None:
            raise
        raise fault from None  # the original's text may hold the address with its password


def convert_mlflow_error(error: Exception, doing: str, server: str, right: str = "") -> ExternalError | None:
    """Convert an error of MLflow or the network into one in words; None for any other. `right`: what MLflow grants for it."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    causes = list(_iterate_causes(error))
    network = next((link for link in causes if isinstance(link, RequestException)), None)
    if network is not None:
        return _convert_network_error(network, doing, server)
    reason = next((each.reason for each in causes if isinstance(each, ImpossibleAnswer)), None)
    if reason is not None:
        return _build_doubt_error(doing, server, reason)
    if not isinstance(error, MlflowException):
        return _convert_database_error(causes, doing, server)
    code = get_error_code(error) or ""
    message = redact_message(error.message.removeprefix(f"{error.error_code}: "))
    if code == "BAD_REQUEST" and _WRITE_COLLISION.search(error.message):
        return TransientError(SERVICE_NAME, f"cannot {doing} at {server} now: another client wrote the same in that moment")
    if code in _FIXES:
        return _convert_refusal(code, f"cannot {doing} at {server}: ", message, _select_variable(server), right)
    return TransientError(SERVICE_NAME, f"cannot {doing} at {server} now: {message}")


def _convert_refusal(code: str, doing: str, message: str, variable: str, right: str) -> PermanentError:
    """Convert what MLflow refuses for certain. `doing` begins the message."""
    if code == PERMISSION_DENIED_CODE:
        refusal = "Permission denied" if message.endswith(_REFUSAL) else message
        missing = f", it takes {right}" if right else ""
        return RightMissing(SERVICE_NAME, f"{doing}{refusal}{missing}", _build_right_fix(right), about_one_model=True)
    fix = _FIXES[code].format(variable=variable)
    return PermanentError(SERVICE_NAME, doing + message, fix, about_one_model=code in _CODES_OF_ONE_MODEL)


def _build_right_fix(right: str) -> str:
    return _FIXES[PERMISSION_DENIED_CODE].format(right=right or _ANY_RIGHT)


def _convert_database_error(causes: Iterable[BaseException], doing: str, server: str) -> TransientError | None:
    """Convert an error of the database that MLflow opens where `server` is one's address; None for any other error."""
    if not any(type(each).__module__.startswith("sqlalchemy.") for each in causes):
        return None
    message = f"cannot {doing} at {server} now: the database does not answer as MLflow's does"
    return TransientError(SERVICE_NAME, message, "see whether it runs, and whether it is the address of MLflow's database")


def _build_doubt_error(doing: str, server: str, reason: str) -> TransientError:
    """Build the error for an answer that cannot be true: it is no observation, and nothing may be recorded of it."""
    return TransientError(
        SERVICE_NAME, redact_message(f"cannot {doing} at {server} now, an answer cannot be true: {reason}"), _ANSWER_FIX
    )


def explain_error_text(text: str) -> str:
    """Say what a message of the network means, where that is known; else return the message, redacted."""
    return explain_network_text(text) or redact_message(text)


def get_error_code(error: Exception) -> str | None:
    """Return MLflow's own code of the error, such as `RESOURCE_DOES_NOT_EXIST`; None where it is not MLflow's.

    A workspace that is not there has a code of its own: MLflow answers then as if the model were not there.
    """
    code: str | None = getattr(error, "error_code", None)
    words, about_workspace = _WORKSPACE_CODES.get(code or "", (None, None))
    return about_workspace if words and words.search(str(getattr(error, "message", ""))) else code


def is_not_found(error: Exception) -> bool:
    """Whether MLflow says that the thing does not exist."""
    return get_error_code(error) == NOT_FOUND_CODE


def is_permission_denied(error: Exception) -> bool:
    """Whether MLflow knows who Promoter is, and does not let it do this one thing."""
    return get_error_code(error) == PERMISSION_DENIED_CODE


def build_withheld_error(models: Iterable[str]) -> ModelsWithheld:
    """Build the error for models that MLflow does not let Promoter read."""
    names = sorted(set(models))
    return ModelsWithheld(SERVICE_NAME, names, _build_right_fix(f"READ on {', '.join(names)}, and EDIT to set aliases"))


def find_refusal_message(error: Exception) -> str | None:
    """Return MLflow's message where it refuses this one thing for certain; None where another try may help."""
    code = get_error_code(error)
    if code in (_NO_SUCH_WORKSPACE, _NO_WORKSPACES):
        return None
    return redact_message(str(getattr(error, "message", "")).removeprefix(f"{code}: ")) if code in _FIXES else None


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _convert_network_error(error: BaseException, doing: str, server: str) -> ExternalError:
    from requests import exceptions as web

    if isinstance(error, web.InvalidURL):
        fix = _build_address_fix(_select_variable(server))
        return PermanentError(SERVICE_NAME, f"cannot {doing}: {server} is not an address", fix)
    why = explain_network_error(error)
    message = f"cannot {doing} at {server}: {why}"
    if isinstance(error, web.SSLError):
        return PermanentError(SERVICE_NAME, message, _CERTIFICATE_FIX)
    fix = f"check that the server runs, and that {_select_variable(server)} names it"
    fault = TimeLimitError if why == NO_ANSWER else TransientError
    return fault(SERVICE_NAME, message, fix)


# MLflow's own defaults keep one call to a dead server waiting for four minutes, and take any Retry-After at its word.
# With these a call fails after about 3 s where nobody listens, and after 20 s where somebody listens and says nothing: whoever
# hangs must not keep the daemon from noticing soon that all is well again. No page of a list takes a server more than a third.
_ENVIRONMENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_HTTP_POOL_CONNECTIONS": "8",
    "MLFLOW_HTTP_POOL_MAXSIZE": "32",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Left to itself, MLflow takes over its own loggers and those of two libraries that the ledger uses as well.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    # A control-plane daemon talks to the servers that it was given, and to nobody else: no usage data to MLflow's makers.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


_TRANSFER_TIMEOUT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""A server answers an upload only when it has stored it."""


class _ProcessState:
    fresh_connections = False
    has_own_timeout = False
    """Whether the user has set how long one request may take."""


def select_transfer_timeout() -> dict[str, str]:
    """Select what the environment of a child that moves artifacts is to say of timeouts, beside what is inherited."""
    return {} if _ProcessState.has_own_timeout else dict(_TRANSFER_TIMEOUT)


def prepare_environment(tracking_uri: str, *, elsewhere: bool = False) -> None:
    """Set what MLflow reads from the environment (what the user has set stays), before MLflow is imported.

    `elsewhere`: another server than Promoter's own, which alone decides how connections are kept.
    """
    for name, value in _ENVIRONMENT_DEFAULTS.items():
        if name in _TRANSFER_TIMEOUT and os.environ.get(name, value) != value:
            _ProcessState.has_own_timeout = True
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # Each retry is a warning there; the failure that comes of them is reported once, by whoever asked.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    if not elsewhere:
        _ProcessState.fresh_connections = tracking_uri.lower().startswith("http://")


class AddressedClient:
    """An `MlflowClient` of another registry: each of its calls names that registry's workspace, and brings its credentials.

    Several registries may be workspaces of one server, so that no address tells them apart.
    """

    def __init__(self, client: Any, server: BoundServer, address: str, uri: str) -> None:
        """`address`: that of the server without secrets."""
        self.server = server
        self._client = client
        self._address = address
        self._uri = uri
        self._is_checked = False

    def __getattr__(self, name: str) -> Any:
        """Return the method of the client that does so."""
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            with address_server(self.server):
                self._require_workspaces()
                return method(*arguments, **named)

        return call

    def _require_workspaces(self) -> None:
        """Raise `PermanentError` where a workspace is named and the server has none: an old one would answer all the same."""
        named = self.server.read_workspace()
        if named and not self._is_checked:
            if not has_workspaces(self._uri):
                raise build_unsupported_error(self._address, named, "PROMOTER_REGISTRY_NAME_WORKSPACE")
            self._is_checked = True


def find_client_server(client: Any) -> BoundServer | None:
    """Find the binding that each call of the client goes by; None for a client of Promoter's own registry."""
    return client.server if isinstance(client, AddressedClient) else None


def create_mlflow_client(
    tracking_uri: str,
    *,
    elsewhere: bool = False,
    credentials: HostCredentials | None = None,
    workspace: str | None = None,
) -> Any:
    """Create an `MlflowClient` for that server; where the registry has a URI of its own, `MLFLOW_REGISTRY_URI` has it.

    `elsewhere`: another registry than Promoter's own, and that variable is not for it; it is sent `credentials` and its
    `workspace`, and never those of Promoter's own registry. Sends nothing yet. Raises `PermanentError` for an address that is
    none.
    """
    registry_uri = find_registry_uri(tracking_uri, elsewhere=elsewhere)
    require_server_address(tracking_uri)
    require_server_address(registry_uri, REGISTRY_VARIABLE)
    prepare_environment(tracking_uri, elsewhere=elsewhere)
    server = bind_credentials(tracking_uri, elsewhere=elsewhere, credentials=credentials, workspace=workspace)
    register_checked_stores()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri, registry_uri)
    return AddressedClient(client, server, redact_server_address(tracking_uri), tracking_uri) if server else client


def bind_credentials(
    tracking_uri: str, *, elsewhere: bool = False, credentials: HostCredentials | None = None, workspace: str | None = None
) -> BoundServer | None:
    """See to it that MLflow's client sends this server its own credentials, and no host any other's. Imports MLflow.

    Return the binding of another registry; None for Promoter's own, and for what is no web address.
    """
    install_bound_auth()
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token != token.strip() or not token.isprintable():
        fix = "set it anew, without blanks and line breaks around it"
        raise PermanentError(
            SERVICE_NAME, f"{TOKEN_VARIABLE} cannot be sent: it has characters that are no part of a token", fix
        )
    if elsewhere:
        return bind_other_server(tracking_uri, credentials or HostCredentials(), workspace)
    bind_own_server(tracking_uri)
    return None


class FreshConnection:
    """MLflow's plugin interface for request headers: asks plain-http servers to close the connection after each answer.

    An MLflow server with several workers (its default) sends an answer in two segments and holds the second back until the
    first is acknowledged, which a kept-alive connection delays by 40 ms. A new connection is acknowledged at once. Over TLS
    a new connection costs more than it saves, so nothing changes there. Other processes are left alone: it answers only
    where `prepare_environment` was called. (It does not derive from MLflow's abstract class, which would import MLflow.)
    """

    def in_context(self) -> bool:
        """Whether this process called `prepare_environment` for a plain-http server."""
        return _ProcessState.fresh_connections

    def request_headers(self) -> dict[str, Any]:
        """Return the header to add to each request."""
        return {"Connection": "close"}


_READY = "READY"
_ACTIVE = "active"
_USER_TAG = "mlflow.user"
_UNNAMED_USERS = ("", "unknown")  # what MLflow keeps where a client names no user
_STORED_INFINITY = 1.7976931348623157e308  # what MLflow's database keeps in the place of an infinity


def parse_registered_model(name: str, entity: Any) -> ObservedModel:
    """Return the registered model of that name, without its versions."""
    aliases = {alias: int(version) for alias, version in entity.aliases.items()}
    created = entity.creation_timestamp
    created_at = datetime.fromtimestamp(created / 1_000, UTC) if created else None
    return ObservedModel(name, aliases, description=shorten_description(entity.description), created_at=created_at)


def parse_model_version(entity: Any) -> ModelVersion:
    """Parse a model version. MLflow has the number as text, and times in milliseconds."""
    return ModelVersion(
        number=int(entity.version),
        created_at=datetime.fromtimestamp(entity.creation_timestamp / 1_000, UTC),
        run_id=entity.run_id or None,
        source=entity.source or None,
        ready=entity.status == _READY,
        tags=dict(entity.tags),
        description=shorten_description(entity.description),
    )


def parse_run_entity(entity: Any) -> TrainingRun | None:
    """Parse a run, without its experiment's name; None for one that was deleted. A metric may be NaN or infinite.

    The user is the one that the run was created with, which nobody can change later; else the tag that MLflow shows.
    """
    if entity.info.lifecycle_stage != _ACTIVE:
        return None
    user = entity.info.user_id or ""
    inputs = entity.inputs.dataset_inputs if entity.inputs else ()
    return TrainingRun(
        run_id=entity.info.run_id,
        status=entity.info.status,
        metrics={key: restore_infinity(value) for key, value in entity.data.metrics.items()},
        user=user if user not in _UNNAMED_USERS else entity.data.tags.get(_USER_TAG) or None,
        params=dict(entity.data.params),
        datasets=tuple(sorted({RunDataset(each.dataset.name, each.dataset.digest) for each in inputs}, key=str)),
    )


def restore_infinity(value: float) -> float:
    """Return the value that was logged: MLflow's SQL store keeps an infinity as the largest number that it has."""
    return math.copysign(math.inf, value) if abs(value) == _STORED_INFINITY else float(value)


def build_name_filter(name: str) -> str:
    """Build a filter for that name. It may find other names too (see below): compare the name of what comes back.

    MLflow's filters know no escapes, and a name may hold either kind of quote. `LIKE` with its wildcard `_` in the place
    of each character that would end the string, or escape, finds every such name.
    """
    plain = name.translate({ord("'"): "_", ord("\\"): "_"})
    return f"name = '{name}'" if plain == name else f"name LIKE '{plain}'"


def iterate_pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the rows of all pages. `fetch` takes a page token. Tokens are offsets: order by what does not change meanwhile.

    Raises `ImpossibleAnswer` for a token that comes a second time: that would go on for ever.
    """
    token, seen = None, set[str]()
    while True:
        page = fetch(token)
        yield from page
        token = page.token or None
        if token is None:
            return
        if token in seen:
            raise ImpossibleAnswer("a list whose pages go round in a circle")
        seen.add(token)


def split_into_chunks(rows: Iterable[str], size: int) -> list[list[str]]:
    """Split the rows into lists of at most `size`."""
    ordered = list(rows)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
