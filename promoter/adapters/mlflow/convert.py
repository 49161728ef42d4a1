"""From MLflow's entities to the domain's, and from names to the filters that find them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from promoter.domain.observed import Dataset, ModelVersion, Run

_READY = "READY"
_ACTIVE = "active"
_USER_TAG = "mlflow.user"
_NOBODY = ("", "unknown")  # what MLflow keeps where a client names no user
_LARGEST = 1.7976931348623157e308  # what MLflow's database keeps in the place of an infinity


def aliases_of(model: Any) -> dict[str, int]:
    """Alias to version number of a registered model."""
    return {alias: int(version) for alias, version in model.aliases.items()}


def version_of(entity: Any) -> ModelVersion:
    """A model version. MLflow says the version as text, and times in milliseconds."""
    return ModelVersion(
        number=int(entity.version),
        created_at=datetime.fromtimestamp(entity.creation_timestamp / 1_000, UTC),
        run_id=entity.run_id or None,
        source=entity.source or None,
        ready=entity.status == _READY,
        tags=dict(entity.tags),
    )


def run_of(entity: Any) -> Run | None:
    """A run, without its experiment's name; None for one that was deleted. A metric may be NaN or infinite.

    The user is the one that the run was created with, which nobody can change later; else the tag that MLflow shows.
    """
    if entity.info.lifecycle_stage != _ACTIVE:
        return None
    user = entity.info.user_id or ""
    inputs = entity.inputs.dataset_inputs if entity.inputs else ()
    return Run(
        run_id=entity.info.run_id,
        status=entity.info.status,
        metrics={key: number(value) for key, value in entity.data.metrics.items()},
        user=user if user not in _NOBODY else entity.data.tags.get(_USER_TAG) or None,
        params=dict(entity.data.params),
        datasets=tuple(sorted({Dataset(each.dataset.name, each.dataset.digest) for each in inputs}, key=str)),
    )


def number(value: float) -> float:
    """The value that was logged: MLflow's SQL store keeps an infinity as the largest number that it has."""
    return math.copysign(math.inf, value) if abs(value) == _LARGEST else float(value)


def named(name: str) -> str:
    """A filter for that name. It may find other names too (see below): compare the name of what comes back.

    MLflow's filters know no escapes, and a name may hold either kind of quote. `LIKE` with its wildcard `_` in the place
    of each character that would end the string, or escape, finds every such name.
    """
    plain = name.translate({ord("'"): "_", ord("\\"): "_"})
    return f"name = '{name}'" if plain == name else f"name LIKE '{plain}'"


def pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """The rows of all pages. `fetch` takes a page token. Tokens are offsets: order by what does not change meanwhile."""
    token = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token or None
        if token is None:
            return


def chunks(rows: Iterable[str], size: int) -> list[list[str]]:
    """The rows in lists of at most `size`."""
    ordered = list(rows)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
