"""From MLflow's entities to the domain's, and from names to the filters that find them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from promoter.domain.observed import RunDataset, ModelVersion, TrainingRun

_READY = "READY"
_ACTIVE = "active"
_USER_TAG = "mlflow.user"
_UNNAMED_USERS = ("", "unknown")  # what MLflow keeps where a client names no user
_STORED_INFINITY = 1.7976931348623157e308  # what MLflow's database keeps in the place of an infinity


def parse_model_aliases(model: Any) -> dict[str, int]:
    """Alias to version number of a registered model."""
    return {alias: int(version) for alias, version in model.aliases.items()}


def parse_model_version(entity: Any) -> ModelVersion:
    """A model version. MLflow says the version as text, and times in milliseconds."""
    return ModelVersion(
        number=int(entity.version),
        created_at=datetime.fromtimestamp(entity.creation_timestamp / 1_000, UTC),
        run_id=entity.run_id or None,
        source=entity.source or None,
        ready=entity.status == _READY,
        tags=dict(entity.tags),
    )


def parse_run_entity(entity: Any) -> TrainingRun | None:
    """A run, without its experiment's name; None for one that was deleted. A metric may be NaN or infinite.

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
    """The value that was logged: MLflow's SQL store keeps an infinity as the largest number that it has."""
    return math.copysign(math.inf, value) if abs(value) == _STORED_INFINITY else float(value)


def build_name_filter(name: str) -> str:
    """A filter for that name. It may find other names too (see below): compare the name of what comes back.

    MLflow's filters know no escapes, and a name may hold either kind of quote. `LIKE` with its wildcard `_` in the place
    of each character that would end the string, or escape, finds every such name.
    """
    plain = name.translate({ord("'"): "_", ord("\\"): "_"})
    return f"name = '{name}'" if plain == name else f"name LIKE '{plain}'"


def iterate_pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """The rows of all pages. `fetch` takes a page token. Tokens are offsets: order by what does not change meanwhile."""
    token = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token or None
        if token is None:
            return


def split_into_chunks(rows: Iterable[str], size: int) -> list[list[str]]:
    """The rows in lists of at most `size`."""
    ordered = list(rows)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
