"""Which logged model a version was registered from: its source says so, or names the version that it is a copy of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from promoter.adapters.mlflow.convert import build_name_filter, iterate_pages, parse_model_version
from promoter.adapters.mlflow.errors import is_not_found, find_refusal_message, redact_secrets
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.observed import ModelVersion, Unreadable

_MAX_COPY_DEPTH = 20  # copies of copies of copies; MLflow itself knows no bound
_MAX_SINGLE_VERSION_READS = 8  # up to here, single reads on as many threads cost less than a search
_VERSION_THREADS = 8
_VERSIONS_PER_PAGE = 25_000
_MODEL_SCHEME = "models:/"
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,64}", re.ASCII)  # needs no quoting in a filter
_VERSION_NUMBER = re.compile(r"[0-9]{1,9}")  # a larger one breaks the server's database, not only the answer
_MAX_CLOCK_SKEW = timedelta(seconds=1)  # between the clocks of two replicas of the server

KnownVersions = dict[VersionKey, ModelVersion | Unreadable]
ModelOrigin = str | Unreadable | None
"""The id of a logged model; why it cannot be told; None where there is none."""


def find_version_origins(client: Any, versions: Collection[EvidenceTarget]) -> dict[VersionKey, ModelOrigin]:
    """The origin of each version, following copies. Asks once for each version on the way that is not among them."""
    known: KnownVersions = {each.version_key: each.version for each in versions}
    resolved = {each.version_key: _follow_sources(each.version_key, known) for each in versions}
    for _ in range(_MAX_COPY_DEPTH):
        unknown = {found for found in resolved.values() if isinstance(found, tuple)}
        if not unknown:
            break
        known |= _read_source_versions(client, unknown)
        resolved = {key: _follow_sources(key, known) for key in resolved}
    return {key: _report_long_lineage() if isinstance(found, tuple) else found for key, found in resolved.items()}


def _follow_sources(start: VersionKey, known: KnownVersions) -> ModelOrigin | VersionKey:
    """As far as what is known leads: the origin, or the version to ask for next."""
    key, passed = start, [start]
    while True:
        version = known.get(key)
        if version is None:
            return key
        if isinstance(version, Unreadable):
            return version
        further = _parse_source(version.source)
        if not isinstance(further, tuple):
            return further
        if further in passed:
            return Unreadable(f"its source leads in a circle, by version {further[1]} of model {further[0]}")
        if len(passed) > _MAX_COPY_DEPTH:
            return _report_long_lineage()
        link = known.get(further)
        if isinstance(link, ModelVersion) and link.created_at > version.created_at + _MAX_CLOCK_SKEW:
            # A model that was deleted and registered anew has the same numbers: what was copied is not there any more.
            return Unreadable(f"version {further[1]} of model {further[0]}, its source, was registered after it was copied")
        key = further
        passed.append(key)


def _parse_source(source: str | None) -> ModelOrigin | VersionKey:
    """The logged model or the version that a source names."""
    if not source or not source.startswith(_MODEL_SCHEME):
        return None
    name, _, last = source.removeprefix(_MODEL_SCHEME).rpartition("/")
    if name and _VERSION_NUMBER.fullmatch(last):
        return name, int(last)
    if not name and _MODEL_ID.fullmatch(last):
        return last
    return Unreadable(f"its source {redact_secrets(source)} names neither a logged model nor a version")


def _read_source_versions(client: Any, unknown: Collection[VersionKey]) -> KnownVersions:
    """What is known of these versions now: those of one model together, once they are more than a few."""
    counts = Counter(name for name, _ in unknown)
    searched = [name for name, count in counts.items() if count > _MAX_SINGLE_VERSION_READS]
    single = [key for key in unknown if counts[key[0]] <= _MAX_SINGLE_VERSION_READS]
    with ThreadPoolExecutor(_VERSION_THREADS) as pool:
        found: KnownVersions = dict(zip(single, pool.map(lambda key: _fetch_version(client, key), single), strict=True))
        for versions in pool.map(lambda name: _search_versions(client, name), searched):
            found |= versions
    return {key: found.get(key) or _report_missing_source(key) for key in unknown}


def _search_versions(client: Any, name: str) -> KnownVersions:
    order = ["name ASC", "version_number ASC"]
    rows = iterate_pages(
        lambda token: client.search_model_versions(
            build_name_filter(name), max_results=_VERSIONS_PER_PAGE, order_by=order, page_token=token
        )
    )
    return {(row.name, int(row.version)): parse_model_version(row) for row in rows}


def _fetch_version(client: Any, key: VersionKey) -> ModelVersion | Unreadable:
    name, number = key
    try:
        return parse_model_version(client.get_model_version(name, str(number)))
    except Exception as error:
        if is_not_found(error):
            return _report_missing_source(key)
        refused = find_refusal_message(error)
        if refused is None:
            raise
        return Unreadable(f"version {number} of model {name}, its source, cannot be read: {refused}")


def select_model_ids(found: Iterable[ModelOrigin]) -> list[str]:
    """The logged models among them, each once."""
    return list(dict.fromkeys(origin for origin in found if isinstance(origin, str)))


def _report_missing_source(key: VersionKey) -> Unreadable:
    return Unreadable(f"version {key[1]} of model {key[0]}, its source, does not exist")


def _report_long_lineage() -> Unreadable:
    return Unreadable(f"its source is a copy of a copy, more than {_MAX_COPY_DEPTH} deep")
