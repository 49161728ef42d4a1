"""Which logged model a version was registered from: its source says so, or names the version that it is a copy of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from promoter.adapters.mlflow.convert import named, pages, version_of
from promoter.adapters.mlflow.errors import is_absent, refusal, scrubbed
from promoter.application.ports import Evidenced, Key
from promoter.domain.observed import ModelVersion, Unread

_LINKS = 20  # copies of copies of copies; MLflow itself knows no bound
_FEW = 8  # up to here, single reads on as many threads cost less than a search
_THREADS = 8
_A_PAGE = 25_000
_SCHEME = "models:/"
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,64}", re.ASCII)  # needs no quoting in a filter
_NUMBER = re.compile(r"[0-9]{1,9}")  # a larger one breaks the server's database, not only the answer
_SKEW = timedelta(seconds=1)  # between the clocks of two replicas of the server

Known = dict[Key, ModelVersion | Unread]
Origin = str | Unread | None
"""The id of a logged model; why it cannot be told; None where there is none."""


def origins(client: Any, versions: Collection[Evidenced]) -> dict[Key, Origin]:
    """The origin of each version, following copies. Asks once for each version on the way that is not among them."""
    known: Known = {each.key: each.version for each in versions}
    told = {each.key: _follow(each.key, known) for each in versions}
    for _ in range(_LINKS):
        unknown = {found for found in told.values() if isinstance(found, tuple)}
        if not unknown:
            break
        known |= _links(client, unknown)
        told = {key: _follow(key, known) for key in told}
    return {key: _too_long() if isinstance(found, tuple) else found for key, found in told.items()}


def _follow(start: Key, known: Known) -> Origin | Key:
    """As far as what is known leads: the origin, or the version to ask for next."""
    key, passed = start, [start]
    while True:
        version = known.get(key)
        if version is None:
            return key
        if isinstance(version, Unread):
            return version
        further = _source(version.source)
        if not isinstance(further, tuple):
            return further
        if further in passed:
            return Unread(f"its source leads in a circle, by version {further[1]} of model {further[0]}")
        if len(passed) > _LINKS:
            return _too_long()
        link = known.get(further)
        if isinstance(link, ModelVersion) and link.created_at > version.created_at + _SKEW:
            # A model that was deleted and registered anew has the same numbers: what was copied is not there any more.
            return Unread(f"version {further[1]} of model {further[0]}, its source, was registered after it was copied")
        key = further
        passed.append(key)


def _source(source: str | None) -> Origin | Key:
    """The logged model or the version that a source names."""
    if not source or not source.startswith(_SCHEME):
        return None
    name, _, last = source.removeprefix(_SCHEME).rpartition("/")
    if name and _NUMBER.fullmatch(last):
        return name, int(last)
    if not name and _MODEL_ID.fullmatch(last):
        return last
    return Unread(f"its source {scrubbed(source)} names neither a logged model nor a version")


def _links(client: Any, unknown: Collection[Key]) -> Known:
    """What is known of these versions now: those of one model together, once they are more than a few."""
    counts = Counter(name for name, _ in unknown)
    searched = [name for name, count in counts.items() if count > _FEW]
    single = [key for key in unknown if counts[key[0]] <= _FEW]
    with ThreadPoolExecutor(_THREADS) as pool:
        found: Known = dict(zip(single, pool.map(lambda key: _version(client, key), single), strict=True))
        for versions in pool.map(lambda name: _versions(client, name), searched):
            found |= versions
    return {key: found.get(key) or _missing(key) for key in unknown}


def _versions(client: Any, name: str) -> Known:
    order = ["name ASC", "version_number ASC"]
    rows = pages(lambda token: client.search_model_versions(named(name), max_results=_A_PAGE, order_by=order, page_token=token))
    return {(row.name, int(row.version)): version_of(row) for row in rows}


def _version(client: Any, key: Key) -> ModelVersion | Unread:
    name, number = key
    try:
        return version_of(client.get_model_version(name, str(number)))
    except Exception as error:
        if is_absent(error):
            return _missing(key)
        refused = refusal(error)
        if refused is None:
            raise
        return Unread(f"version {number} of model {name}, its source, cannot be read: {refused}")


def model_ids(found: Iterable[Origin]) -> list[str]:
    """The logged models among them, each once."""
    return list(dict.fromkeys(origin for origin in found if isinstance(origin, str)))


def _missing(key: Key) -> Unread:
    return Unread(f"version {key[1]} of model {key[0]}, its source, does not exist")


def _too_long() -> Unread:
    return Unread(f"its source is a copy of a copy, more than {_LINKS} deep")
