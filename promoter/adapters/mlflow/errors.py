"""The one place where MLflow's errors become `TransientError` (another try may help) or `PermanentError` (a person must act)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from promoter.domain.faults import ExternalError, PermanentError, TransientError

SERVICE_NAME = "MLflow"
NOT_FOUND_CODE = "RESOURCE_DOES_NOT_EXIST"
_MESSAGE_LIMIT = 300
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

_FIXES = {
    NOT_FOUND_CODE: "check the name and the version; somebody may have deleted it",
    "PERMISSION_DENIED": "give Promoter's MLflow user EDIT to set aliases, MANAGE to delete them, admin for webhooks",
    "UNAUTHENTICATED": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "CUSTOMER_UNAUTHORIZED": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "INVALID_PARAMETER_VALUE": "MLflow does not accept that name or value",
    "BAD_REQUEST": "MLflow does not accept that name or value",
    "RESOURCE_ALREADY_EXISTS": "choose another name, or delete the one that exists",
    "INVALID_STATE": "bring it into a state that allows this, in MLflow",
    "FEATURE_DISABLED": "enable it on the MLflow server",
    "NOT_IMPLEMENTED": "the server's store does not support this: use a SQL database as its backend store",
    "ENDPOINT_NOT_FOUND": "check that MLFLOW_TRACKING_URI names an MLflow server, 3.3 or newer",
}

_WRITE_COLLISION = re.compile(r"IntegrityError|UniqueViolation")
"""MLflow calls it a bad request where two clients insert one row in the same moment: the second one only has to ask again."""

_SERVER_FIX = "check that the server runs, and that MLFLOW_TRACKING_URI names it"
_CERTIFICATE_FIX = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of the authority that signed it"
_ADDRESS_FIX = "set MLFLOW_TRACKING_URI to the server's address, such as https://mlflow.example.com"

# What the layers below say, in the order in which it is looked for. Their text is matched, never repeated: it may hold
# the address with its password.
_NETWORK_MESSAGES = (
    (re.compile(r"certificate|SSLError", re.IGNORECASE), "its certificate is not trusted"),
    (re.compile(r"too many (\d{3}) error responses"), "it keeps answering with status {}"),
    (re.compile(r"Connection refused"), "the connection is refused"),
    (re.compile(r"Failed to resolve|Name or service not known|nodename nor servname"), "its name cannot be resolved"),
    (re.compile(r"timed? ?out", re.IGNORECASE), "it does not answer in time"),
)


def redact_server_address(tracking_uri: str) -> str:
    """The tracking URI for people: without user, password, query."""
    try:
        parts = urlsplit(tracking_uri)
    except ValueError:
        return "an address that is none"
    if not parts.netloc:
        return parts.scheme or "the local store"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def redact_secrets(text: str) -> str:
    """The text on one line, at most 300 characters, without what may be secret: URLs lose user info and query."""
    for name in _SECRET_VARIABLES:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    text = re.sub(r"(://)[^/\s'\"]*@", r"\1", text)
    text = re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def require_server_address(tracking_uri: str) -> None:
    """Raises `PermanentError` where it is empty, or names no host: MLflow would take it for a folder, or for a host named ''."""
    try:
        parts = urlsplit(tracking_uri)
        usable = bool(parts.hostname) if parts.scheme in ("http", "https") else bool(tracking_uri.strip())
    except ValueError:
        usable = False
    if not usable:
        raise PermanentError(SERVICE_NAME, "the tracking URI names no server", _ADDRESS_FIX)


@contextmanager
def translate_mlflow_errors(doing: str, server: str) -> Iterator[None]:
    """Whatever MLflow or the network raises inside becomes a fault in words. `doing`: "read model x". Bugs pass through."""
    try:
        yield
    except Exception as error:
        fault = convert_mlflow_error(error, doing, server)
        if fault is None:
            raise
        raise fault from None  # the original's text may hold the address with its password


def convert_mlflow_error(error: Exception, doing: str, server: str) -> ExternalError | None:
    """The fault that says what the error says; None where it is neither MLflow's nor the network's."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    network = next((link for link in _iterate_causes(error) if isinstance(link, RequestException)), None)
    if network is not None:
        return _convert_network_error(network, doing, server)
    if not isinstance(error, MlflowException):
        return None
    code = error.error_code
    message = redact_secrets(error.message.removeprefix(f"{code}: "))
    if code == "BAD_REQUEST" and _WRITE_COLLISION.search(error.message):
        return TransientError(SERVICE_NAME, f"cannot {doing} at {server} now: another client wrote the same in that moment")
    if code in _FIXES:
        return PermanentError(SERVICE_NAME, f"cannot {doing} at {server}: {message}", _FIXES[code])
    return TransientError(SERVICE_NAME, f"cannot {doing} at {server} now: {message}")


def explain_error_text(text: str) -> str:
    """What the network's own words mean, where they are known; else the text, scrubbed."""
    return _explain_network_text(text) or redact_secrets(text)


def get_error_code(error: Exception) -> str | None:
    """MLflow's own code of the error, such as `RESOURCE_DOES_NOT_EXIST`; None where it is not MLflow's."""
    return getattr(error, "error_code", None)


def is_not_found(error: Exception) -> bool:
    """Whether MLflow says that the thing does not exist."""
    return get_error_code(error) == NOT_FOUND_CODE


def find_refusal_message(error: Exception) -> str | None:
    """What MLflow says where it refuses for certain to give this one thing; None where another try may help."""
    code = get_error_code(error)
    return redact_secrets(str(getattr(error, "message", "")).removeprefix(f"{code}: ")) if code in _FIXES else None


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _convert_network_error(error: BaseException, doing: str, server: str) -> ExternalError:
    from requests import exceptions as web

    if isinstance(error, web.InvalidURL):
        return PermanentError(SERVICE_NAME, f"cannot {doing}: {server} is not an address", _ADDRESS_FIX)
    words = _explain_network_text(f"{type(error).__name__} {error}") or f"it cannot be reached ({type(error).__name__})"
    message = f"cannot {doing} at {server}: {words}"
    if isinstance(error, web.SSLError):
        return PermanentError(SERVICE_NAME, message, _CERTIFICATE_FIX)
    return TransientError(SERVICE_NAME, message, _SERVER_FIX)


def _explain_network_text(text: str) -> str | None:
    found = ((pattern.search(text), words) for pattern, words in _NETWORK_MESSAGES)
    return next((words.format(*match.groups()) for match, words in found if match), None)
