"""Sightings in SQL: a row each time that a tag of a version was seen with another value than before."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import split_in_conditions, split_key_conditions, tag_observations
from promoter.domain.sightings import TagObservation

ObservationKey = tuple[str, int, datetime, str]
"""Model, version, when that version was created, tag."""

_OBSERVATION_CHUNK_SIZE = 1_000
_OBSERVATION_COLUMNS: Sequence[Column[Any]] = (tag_observations.c.id, tag_observations.c.body)


def find_tag_observations(connection: Connection, models: Collection[str]) -> dict[str, list[TagObservation]]:
    """All that is known of them, oldest first, by model; nothing for a model that was never looked at."""
    found: dict[str, list[TagObservation]] = {model: [] for model in models}
    for condition in split_in_conditions(tag_observations.c.model, models):
        query = select(*_OBSERVATION_COLUMNS) if condition is None else select(*_OBSERVATION_COLUMNS).where(condition)
        for row in sorted(connection.execute(query), key=lambda row: int(row.id)):
            sighting = _parse_tag_observation(row)
            found[sighting.model].append(sighting)
    return found


def select_changed_observations(connection: Connection, news: Iterable[TagObservation]) -> list[TagObservation]:
    """Those that say something else than the one before them, of the same tag of the same version."""
    fresh: list[TagObservation] = []
    waiting = iter(news)
    seen: dict[ObservationKey, str | None] = {}
    while part := list(islice(waiting, _OBSERVATION_CHUNK_SIZE)):
        seen = _find_last_tag_values(connection, {(each.model, each.version) for each in part}) | seen
        for each in part:
            key = (each.model, each.version, each.created_at, each.tag)
            if key not in seen or seen[key] != each.value:
                fresh.append(each)
            seen[key] = each.value
    return fresh


def insert_tag_observations(chain: ChainWriter, news: Iterable[TagObservation]) -> None:
    """All of them, in order."""
    chain.append_entries(tag_observations, map(vars, news))


def _find_last_tag_values(connection: Connection, versions: Collection[tuple[str, int]]) -> dict[ObservationKey, str | None]:
    table = tag_observations.c
    found: dict[ObservationKey, str | None] = {}
    for condition in split_key_conditions((table.model, table.version), versions):
        newest = select(func.max(table.id)).where(condition)
        newest = newest.group_by(table.model, table.version, table.created_at, table.tag)
        for row in connection.execute(select(*_OBSERVATION_COLUMNS).where(table.id.in_(newest))):
            each = _parse_tag_observation(row)
            found[each.model, each.version, each.created_at, each.tag] = each.value
    return found


def _parse_tag_observation(row: Row[Any]) -> TagObservation:
    body = json.loads(row.body)
    seen, created = datetime.fromisoformat(body["at"]), datetime.fromisoformat(body["created_at"])
    return TagObservation(body["model"], body["version"], created, body["tag"], body.get("value"), seen)
