"""Reads small files of an artifact, bounded in time, size and depth: they come from whoever trained the model."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, Generic, TypeVar

import yaml
from cachetools import LRUCache, cachedmethod

from promoter.adapters.mlflow.client import convert_mlflow_error, find_refusal_message, redact_message
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.errors import TransientError
from promoter.domain.observed import ModelVersion, Unreadable, VersionSignature
from promoter.domain.text import replace_unstorable

READ_SECONDS = 60.0
MLMODEL_FILE = "MLmodel"
REQUIREMENTS_FILE = "requirements.txt"
_MAX_LINES, _MAX_LINE_LENGTH = 5_000, 500
_MAX_FILE_BYTES = 1024 * 1024
_MAX_YAML_DEPTH = 100
_NO_SUCH_FILE = re.compile(
    r"\b404 Client Error\b|No such file|does not exist"  # MLflow's server, a disk, Azure
    r"|\(404\) when calling the HeadObject|\bNoSuchKey\b|No such object|\bBlobNotFound\b"  # S3, Google Cloud Storage, Azure
)

_STORAGE_EXTRAS = {"boto3": "s3", "botocore": "s3", "google": "gcs", "azure": "azure"}
"""The extra that has the library of a storage, by the module that is missing."""
_CREDENTIAL_ERRORS = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this host a role",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "DefaultCredentialsError": "set GOOGLE_APPLICATION_CREDENTIALS, or give this host a service account",
    "ClientAuthenticationError": "set AZURE_STORAGE_CONNECTION_STRING, or give this host an identity",
}
"""What to do, by the name of the error that a client of S3, Google Cloud Storage or Azure raises without credentials."""

ResultT = TypeVar("ResultT")


class ArtifactError(Exception):  # what a read found out, not an error of the program
    """An artifact cannot be read or used.

    `reason` says why, in words. `certain`: neither waiting nor mending the storage will help.
    """

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        self.reason = reason
        self.certain = certain
        super().__init__(reason)


def read_mlmodel_file(location: str, tracking_uri: str, server: str, seconds: float | None = None) -> Mapping[str, Any]:
    """Read and parse the artifact's `MLmodel` file, within 60 s. Raises `ArtifactError`, and nothing else."""
    content = run_with_deadline(
        READ_SECONDS if seconds is None else seconds, lambda: _fetch_artifact_file(location, tracking_uri, server, MLMODEL_FILE)
    )
    if content is None:
        raise ArtifactError("no MLmodel file", certain=True)
    return parse_mlmodel(content)


def read_requirements_file(location: str, tracking_uri: str, server: str, seconds: float) -> tuple[str, ...] | None:
    """Read the lines of the artifact's `requirements.txt`, without empty ones and comments; None where it has none.

    Raises `ArtifactError`, and nothing else.
    """
    content = run_with_deadline(
        seconds, lambda: _fetch_artifact_file(location, tracking_uri, server, REQUIREMENTS_FILE), REQUIREMENTS_FILE
    )
    if content is None:
        return None
    if len(content) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(len(content), REQUIREMENTS_FILE))
    lines = [line.strip() for line in replace_unstorable(content.decode("utf-8", "replace")).splitlines()]
    requirements = [line for line in lines if line and not line.startswith("#")]
    if len(requirements) > _MAX_LINES or any(len(line) > _MAX_LINE_LENGTH for line in requirements):
        raise ArtifactError(
            f"{REQUIREMENTS_FILE} has more than {_MAX_LINES} lines, or one of more than {_MAX_LINE_LENGTH} characters"
        )
    return tuple(requirements)


def parse_mlmodel(content: bytes) -> Mapping[str, Any]:
    """Parse an `MLmodel` file. Raises `ArtifactError`."""
    if len(content) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(len(content)))
    try:
        _check_yaml_depth(content)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        raise ArtifactError("MLmodel is not YAML") from None
    return document if isinstance(document, dict) else {}


def read_bounded_file(file: Path) -> bytes:
    """Read a file, and no more of it than shows that it is too large. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(_MAX_FILE_BYTES + 1)


def list_flavors(description: Mapping[str, Any]) -> list[str]:
    """List the names of a model's flavors, in order. Raises `ArtifactError` where it has none."""
    named = description.get("flavors")
    if not isinstance(named, dict) or not named:
        raise ArtifactError("MLmodel names no flavor", certain=True)
    return sorted(str(name) for name in named)


def run_with_deadline(seconds: float, work: Callable[[], ResultT], what: str = MLMODEL_FILE) -> ResultT:
    """Run the work on a thread that is given up after that time: storage clients bound a read, not a download."""
    outcome: queue.SimpleQueue[tuple[ResultT | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            outcome.put((None, error))

    threading.Thread(target=run, name="artifact", daemon=True).start()
    try:
        value, error = outcome.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise ArtifactError(f"{what} did not arrive within {max(0.0, seconds):.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is a value where there is no error


def _fetch_artifact_file(location: str, tracking_uri: str, server: str, name: str) -> bytes | None:
    try:
        return _download_file(location.rstrip("/"), tracking_uri, name)
    except ArtifactError:
        raise
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        raise ArtifactError(describe_fetch_error(error, f"fetch the {name} file", server)) from None


def describe_fetch_error(error: Exception, doing: str, server: str) -> str:
    """Say why an artifact cannot be fetched."""
    if isinstance(error, ImportError):
        extra = _STORAGE_EXTRAS.get((error.name or "").partition(".")[0])
        fix = f": pip install 'promoter[{extra}]'" if extra else ""
        return f"a library for its storage is not installed ({redact_message(str(error))}){fix}"
    if type(error).__name__ in _CREDENTIAL_ERRORS:
        return f"its storage wants credentials, and there are none: {_CREDENTIAL_ERRORS[type(error).__name__]}"
    if code := _find_storage_code(error):
        return f"its storage answers {code}"
    fault = convert_mlflow_error(error, doing, server)
    return fault.message if fault else f"cannot be fetched ({type(error).__name__})"


def _find_storage_code(error: Exception) -> str | None:
    """Find the code in an answer of S3, such as `AccessDenied` or `NoSuchBucket`; None where it is no such error."""
    response = getattr(error, "response", None)
    answer = response.get("Error") if isinstance(response, Mapping) else None
    code = answer.get("Code") if isinstance(answer, Mapping) else None
    return redact_message(str(code)) if code else None


def _download_file(location: str, tracking_uri: str, name: str) -> bytes | None:
    """Download a file; None where there is none. Listing it first tells absent from unreadable, and shows its size."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    listed = list_artifacts(artifact_uri=location, tracking_uri=tracking_uri)
    found = next((file for file in listed if PurePosixPath(file.path).name == name and not file.is_dir), None)
    if found is None:
        _confirm_missing_file(f"{location}/{name}", tracking_uri, name)
        return None
    if (found.file_size or 0) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(found.file_size, name))
    with tempfile.TemporaryDirectory(prefix="promoter-") as folder:
        uri = f"{location}/{name}"
        content = read_bounded_file(Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri)))
    if found.file_size is not None and len(content) != found.file_size:
        raise ArtifactError(f"{name} arrived with {len(content)} bytes, where its list says {found.file_size}")
    return content


def _confirm_missing_file(uri: str, tracking_uri: str, name: str) -> None:
    """See that a file which no list has cannot be fetched either: an answer that lost its rows looks like an empty folder.

    Raises `ArtifactError` where it can be fetched, and what the storage raises where that cannot be known now.
    """
    from mlflow.artifacts import download_artifacts
    from requests import RequestException

    try:
        with tempfile.TemporaryDirectory(prefix="promoter-") as folder:
            download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri)
    except Exception as error:
        # MLflow puts what each file raised into one message, so that only its text tells.
        unknown = isinstance(error, RequestException) or isinstance(convert_mlflow_error(error, "", ""), TransientError)
        if unknown and not _NO_SUCH_FILE.search(str(error)):
            raise
        return
    raise ArtifactError(f"no list of the artifact has {name}, and yet it can be fetched")


def _describe_oversize(size: int, name: str = MLMODEL_FILE) -> str:
    return f"{name} has {size} bytes, more than {_MAX_FILE_BYTES}"


def _check_yaml_depth(content: bytes) -> None:
    """Check the depth before anything is built: the time to build nested collections grows with the square of it."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_YAML_DEPTH:
            raise ArtifactError(f"MLmodel is nested more than {_MAX_YAML_DEPTH} deep")


def build_artifact_key(model: str, version: ModelVersion) -> Hashable:
    """Build what tells an artifact from every other: a number may be given anew, and a version be moved to another source."""
    return model, version.number, version.created_at, version.source


_MAX_THREADS = 8
_TOTAL_SECONDS = 180.0  # seconds for one call, however many versions: storage that hangs must not hold up a reconciliation
_CACHE_SIZE = 4_096

ContentT = TypeVar("ContentT")


class ArtifactReader(Generic[ContentT]):
    """Reads one kind of file of artifacts. Artifacts do not change: what was read is cached, what failed is tried again."""

    def __init__(self, client: Any, fetch: Callable[[str, float], ContentT | None]) -> None:
        """`client` is an `MlflowClient`; `fetch` reads from a location within so many seconds, and raises `ArtifactError`."""
        self._client = client
        self._fetch = fetch
        self._cache: LRUCache[Hashable, ContentT | None] = LRUCache(_CACHE_SIZE)
        self._cache_lock = Lock()

    def read_artifacts(self, versions: Collection[EvidenceTarget]) -> dict[VersionKey, ContentT | Unreadable | None]:
        """Read by version; None where there is no such file. Raises what MLflow raises, but for what concerns one version."""
        deadline = time.monotonic() + _TOTAL_SECONDS
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            found = pool.map(lambda each: self._read_artifact(each, deadline), versions)
            return {each.version_key: read for each, read in zip(versions, found, strict=True)}

    def _read_artifact(self, requested: EvidenceTarget, deadline: float) -> ContentT | Unreadable | None:
        try:
            return self._fetch_content(requested, deadline)
        except ArtifactError as flawed:
            self._find_location_again(requested)
            return Unreadable(flawed.reason)

    def _find_location_again(self, requested: EvidenceTarget) -> None:
        """Raise what MLflow raises where it is the server that cannot be read now, and no artifact."""
        with contextlib.suppress(ArtifactError):
            self._find_location(requested)

    @cachedmethod(
        attrgetter("_cache"),
        key=lambda _self, requested, _deadline: build_artifact_key(requested.model, requested.version),
        lock=attrgetter("_cache_lock"),
    )
    def _fetch_content(self, requested: EvidenceTarget, deadline: float) -> ContentT | None:
        return self._fetch(self._find_location(requested), min(READ_SECONDS, deadline - time.monotonic()))

    def _find_location(self, requested: EvidenceTarget) -> str:
        try:
            return str(self._client.get_model_version_download_uri(requested.model, str(requested.version.number)))
        except Exception as error:
            refused = find_refusal_message(error)
            if refused is None:
                raise
            raise ArtifactError(f"where its artifact is cannot be read: {refused}") from None


_MAX_SIGNATURE_DEPTH = 30
_NOT_UNDERSTOOD = "its signature is not one that Promoter understands"
_SPECIAL_CHARACTERS = frozenset('.[]{}"')


def parse_signature(description: Mapping[str, Any]) -> VersionSignature | None:
    """Parse the signature in an `MLmodel` file; None where it has none. Raises `ArtifactError`.

    MLflow writes each part as JSON in a string: columns (`{"name", "type", "required"}`, types nested in `items`,
    `properties` and `values`), tensors (`{"type": "tensor", "tensor-spec": {"dtype", "shape"}}`), and parameters
    (`{"name", "type", "default", "shape"}`).
    """
    declared = description.get("signature")
    if declared is None:
        return None
    if not isinstance(declared, dict):
        raise ArtifactError(_NOT_UNDERSTOOD)
    fields: dict[str, str] = {}
    try:
        for name, field_type in _iterate_fields(declared):
            if name in fields:
                raise ArtifactError(f"its signature names {name} twice")
            fields[replace_unstorable(name)] = replace_unstorable(field_type)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ArtifactError(_NOT_UNDERSTOOD) from None
    return VersionSignature(fields) if fields else None


def _iterate_fields(declared: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, word in (("inputs", "input"), ("outputs", "output")):
        for place, spec in enumerate(_parse_spec_list(declared.get(part))):
            name = spec.get("name")
            yield from _describe_column(f"{word} {place if name is None else name}", spec, 0)
    for spec in _parse_spec_list(declared.get("params")):
        yield from _describe_parameter(spec)


def _parse_spec_list(text: str | None) -> list[Any]:
    if text is None:
        return []
    rows: list[Any] = json.loads(text)
    if not isinstance(rows, list):
        raise TypeError(text)
    return rows


def _describe_column(name: str, spec: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """Describe a column, and what is nested in it: `input x` an `array`, `input x[]` an `object`, `input x[].age` a `long`."""
    if depth > _MAX_SIGNATURE_DEPTH:
        raise ArtifactError(f"its signature is nested more than {_MAX_SIGNATURE_DEPTH} deep")
    yield name, _describe_type(spec) + ("" if spec.get("required", True) else ", optional")
    if "items" in spec:
        yield from _describe_column(f"{name}[]", spec["items"], depth + 1)
    if "values" in spec:
        yield from _describe_column(f"{name}{{}}", spec["values"], depth + 1)
    for inner, inner_spec in spec.get("properties", {}).items():
        key = json.dumps(inner) if _SPECIAL_CHARACTERS & set(inner) else inner
        yield from _describe_column(f"{name}.{key}", inner_spec, depth + 1)


def _describe_type(spec: Mapping[str, Any]) -> str:
    if spec["type"] != "tensor":
        return str(spec["type"])
    tensor = spec["tensor-spec"]
    return f"tensor {tensor['dtype']} {_format_shape(tensor['shape'])}"


def _describe_parameter(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    (name, field_type), *nested = _describe_column(f"param {spec['name']}", {"type": spec.get("dtype"), **spec}, 0)
    shape = f" {_format_shape(spec['shape'])}" if spec.get("shape") else ""
    yield name, f"{field_type}{shape}, default {json.dumps(spec.get('default'), sort_keys=True)}"
    yield from nested


def _format_shape(shape: list[Any]) -> str:
    return f"({', '.join(str(int(size)) for size in shape)}{',' if len(shape) == 1 else ''})"
