"""From MLflow's entities to the domain's, and from names to the filters that find them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from promoter.domain.observed import ModelVersion, Run

_READY = "READY"
_ACTIVE = "active"


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
    """A run; None for one that was deleted. A metric may be NaN."""
    if entity.info.lifecycle_stage != _ACTIVE:
        return None
    return Run(entity.info.run_id, entity.info.status, dict(entity.data.metrics))


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
