"""Checks what comes back over HTTP: MLflow's client reads `{}`, and an answer without half of its fields, as if all were well.

MLflow leaves out of its JSON what is empty: a model without aliases has no field `aliases`. So only what every object has is
required here. Whether something that is missing is gone indeed, another read has to tell: `confirm_absences` in `registry.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any

from promoter.adapters._text import to_one_line
from promoter.adapters.mlflow.credentials import is_own_server
from promoter.domain.text import replace_unstorable

_REQUIRED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "mlflow.RegisteredModel": ("name", "creation_timestamp"),
    "mlflow.RegisteredModelAlias": ("alias", "version"),
    "mlflow.RegisteredModelTag": ("key", "value"),
    "mlflow.ModelVersion": ("name", "version", "creation_timestamp", "status", "source"),
    "mlflow.ModelVersionTag": ("key", "value"),
    "mlflow.Run": ("info", "data"),
    "mlflow.RunInfo": ("run_id", "experiment_id", "status", "lifecycle_stage"),
    "mlflow.RunTag": ("key", "value"),
    "mlflow.Metric": ("key", "value", "timestamp"),
    "mlflow.Param": ("key", "value"),
    "mlflow.DatasetInput": ("dataset",),
    "mlflow.Dataset": ("name", "digest"),
    "mlflow.Experiment": ("experiment_id", "name", "lifecycle_stage"),
    "mlflow.LoggedModel": ("info",),
    "mlflow.LoggedModelInfo": ("model_id", "experiment_id", "status"),
    "mlflow.CreateExperiment.Response": ("experiment_id",),
    "mlflow.CreateLoggedModel.Response": ("model",),
    "mlflow.CreateModelVersion.Response": ("model_version",),
    "mlflow.CreateRegisteredModel.Response": ("registered_model",),
    "mlflow.CreateRun.Response": ("run",),
    "mlflow.GetExperiment.Response": ("experiment",),
    "mlflow.GetExperimentByName.Response": ("experiment",),
    "mlflow.GetLoggedModel.Response": ("model",),
    "mlflow.GetModelVersion.Response": ("model_version",),
    "mlflow.GetModelVersionByAlias.Response": ("model_version",),
    "mlflow.GetModelVersionDownloadUri.Response": ("artifact_uri",),
    "mlflow.GetRegisteredModel.Response": ("registered_model",),
    "mlflow.GetRun.Response": ("run",),
}
"""The fields that MLflow always sends, by the name of the message; values may be empty texts or zero."""

_NEVER_EMPTY = frozenset({"name", "alias", "version", "run_id", "experiment_id", "model_id", "artifact_uri", "lifecycle_stage"})
_SHOWN_CHARACTERS = 60
_LAST_TIMESTAMP = 253_402_300_800_000  # milliseconds: the year 10000, above which no date can be made of one
_NAMED_MESSAGES = ("mlflow.RegisteredModel", "mlflow.ModelVersion")
_NOT_JSON = "not in a valid JSON format"
_BODY = "Response body: '"


class ImpossibleAnswer(Exception):  # noqa: N818  # it says what is wrong
    """An answer that MLflow cannot have given: something in between answers in its place, or half of it is lost."""

    def __init__(self, reason: str) -> None:
        """`reason` goes on behind "an answer that cannot be true: "; it quotes at most 60 characters of the answer."""
        self.reason = reason
        super().__init__(reason)


def check_message(message: Any) -> None:
    """Check that a message of MLflow's protocol, and all that it holds, has what it always has. Raises `ImpossibleAnswer`.

    A NUL, which MLflow takes and no ledger keeps, becomes a sign in its place: one tag must not stop the work on all models.
    The names of models and versions stay, since requests need them.
    """
    name = message.DESCRIPTOR.full_name
    for required in _REQUIRED_FIELDS.get(name, ()):
        if not message.HasField(required) or (required in _NEVER_EMPTY and not getattr(message, required)):
            raise ImpossibleAnswer(f"a {_describe_message(name)} without `{required}`")
    for field, value in message.ListFields():
        if isinstance(value, str) and "\0" in value and not (field.name == "name" and name in _NAMED_MESSAGES):
            setattr(message, field.name, replace_unstorable(value))
        if field.message_type is not None:
            for each in (value,) if hasattr(value, "DESCRIPTOR") else value:
                check_message(each)
        elif field.name == "version" and not _is_version_number(str(value)):
            raise ImpossibleAnswer(f"a version that is no number: {_quote(str(value))}")
        elif field.name == "creation_timestamp" and not 0 < value < _LAST_TIMESTAMP:
            raise ImpossibleAnswer(f"a creation at the moment {value}")


def _is_version_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < len(str(2**63)) and int(text) > 0


def check_subject(request: Mapping[str, Any], message: Any) -> None:
    """Check that an answer about one thing is about the one that the request names. Raises `ImpossibleAnswer`."""
    for field, value in message.ListFields():
        if field.name in ("registered_model", "model_version"):
            keys = ("name", "version") if field.name == "model_version" else ("name",)
            found = {key: getattr(value, key) for key in keys}
        elif field.name == "run":
            found = {"run_id": value.info.run_id}
        elif field.name == "experiment":
            found = {"experiment_id": value.experiment_id}
        else:
            continue
        for key, seen in found.items():
            requested = str(request.get(key, seen))
            if requested != str(seen):
                raise ImpossibleAnswer(f"it is about {key} {_quote(seen)}, where {_quote(requested)} was asked for")


def _describe_message(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name.removeprefix("mlflow."))
    return words.replace(". response", " answer").strip()


def _quote(text: str) -> str:
    return f"`{to_one_line(text, _SHOWN_CHARACTERS)}`"


def _describe_foreign_body(message: str) -> str | None:
    """Say what MLflow's client got in the place of JSON, from its error message; None where that was not the trouble."""
    if _NOT_JSON not in message:
        return None
    body = message.partition(_BODY)[2].removesuffix("'").strip()
    kind = "a web page" if body.startswith("<") else "text that is cut off" if body.startswith("{") else "text"
    return f"{kind} in the place of MLflow's JSON: {_quote(body)}" if body else "no JSON"


def _check_call(call: Callable[..., Any], api: Any, json_body: str | None, *args: Any, **kwargs: Any) -> Any:
    """Call, and check what comes back. Raises `ImpossibleAnswer`, and what MLflow raises."""
    from google.protobuf.json_format import ParseError

    try:
        answer = call(api, json_body, *args, **kwargs)
    except (ParseError, json.JSONDecodeError, RecursionError) as error:
        raise ImpossibleAnswer(f"fields of the wrong kind: {_quote(str(error))}") from None
    except Exception as error:
        foreign = _describe_foreign_body(str(error))
        if foreign is None:
            raise
        raise ImpossibleAnswer(foreign) from None
    check_message(answer)
    if json_body and answer.DESCRIPTOR.full_name.startswith("mlflow.Get"):
        check_subject(json.loads(json_body), answer)
    return answer


_registration_lock = Lock()
_is_registered = False


def register_checked_stores() -> None:
    """See that MLflow's clients for HTTP servers check what they read; in this process, once.

    MLflow fills its table of stores on first use and without a lock, so that two first reads on two threads could find it
    half filled: here that happens under a lock, before any client exists.
    """
    global _is_registered  # noqa: PLW0603  # MLflow's tables are global as well
    with _registration_lock:
        if _is_registered:
            return
        from mlflow.tracking._model_registry.utils import _get_store_registry
        from mlflow.tracking._tracking_service.utils import _tracking_store_registry

        build_registry_store, build_tracking_store = _build_store_classes()
        for scheme in ("http", "https"):
            _get_store_registry().register(scheme, build_registry_store)
            _tracking_store_registry.register(scheme, build_tracking_store)
        _is_registered = True


def _build_store_classes() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Build MLflow's two stores for HTTP, with checks. Their classes are made here, since MLflow is imported on first use."""
    from mlflow.store.model_registry.rest_store import RestStore as RegistryRestStore
    from mlflow.store.tracking.rest_store import RestStore as TrackingRestStore
    from mlflow.utils.credentials import get_default_host_creds

    class OwnWorkspaceMixin:
        """MLflow's client takes the workspace in the environment for that of every server: it is that of Promoter's own."""

        def _validate_workspace_support_if_specified(self) -> None:
            if is_own_server(self.get_host_creds().host):  # type: ignore[attr-defined]
                super()._validate_workspace_support_if_specified()  # type: ignore[misc]

    class CheckedRegistryStore(OwnWorkspaceMixin, RegistryRestStore):  # type: ignore[misc]  # MLflow has no types
        """The registry's store: every answer is checked."""

        def _call_endpoint(self, api: Any, json_body: Any = None, *args: Any, **kwargs: Any) -> Any:
            return _check_call(super()._call_endpoint, api, json_body, *args, **kwargs)

    class CheckedTrackingStore(OwnWorkspaceMixin, TrackingRestStore):  # type: ignore[misc]  # MLflow has no types
        """The store of runs, experiments and logged models: every answer is checked."""

        def _call_endpoint(self, api: Any, json_body: Any = None, *args: Any, **kwargs: Any) -> Any:
            return _check_call(super()._call_endpoint, api, json_body, *args, **kwargs)

    def build_registry_store(store_uri: str, **_: Any) -> Any:
        return CheckedRegistryStore(partial(get_default_host_creds, store_uri))

    def build_tracking_store(store_uri: str, **_: Any) -> Any:
        return CheckedTrackingStore(partial(get_default_host_creds, store_uri))

    return build_registry_store, build_tracking_store
