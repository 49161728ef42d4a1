"""Sightings in SQL: a row each time that a tag of a version was seen with another value than before."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.schema import among, among_all, sightings
from promoter.domain.sightings import Sighting

Key = tuple[str, int, datetime, str]
"""Model, version, when that version was created, tag."""

_CHUNK = 1_000
_WHOLE: Sequence[Column[Any]] = (sightings.c.id, sightings.c.body)


def find(connection: Connection, models: Collection[str]) -> dict[str, list[Sighting]]:
    """All that is known of them, oldest first, by model; nothing for a model that was never looked at."""
    found: dict[str, list[Sighting]] = {model: [] for model in models}
    for condition in among(sightings.c.model, models):
        query = select(*_WHOLE) if condition is None else select(*_WHOLE).where(condition)
        for row in sorted(connection.execute(query), key=lambda row: int(row.id)):
            sighting = _sighting(row)
            found[sighting.model].append(sighting)
    return found


def not_seen_last(connection: Connection, news: Iterable[Sighting]) -> list[Sighting]:
    """Those that say something else than the one before them, of the same tag of the same version."""
    fresh: list[Sighting] = []
    waiting = iter(news)
    seen: dict[Key, str | None] = {}
    while part := list(islice(waiting, _CHUNK)):
        seen = _last(connection, {(each.model, each.version) for each in part}) | seen
        for each in part:
            key = (each.model, each.version, each.created_at, each.tag)
            if key not in seen or seen[key] != each.value:
                fresh.append(each)
            seen[key] = each.value
    return fresh


def insert_all(chain: Chain, news: Iterable[Sighting]) -> None:
    """All of them, in order."""
    chain.append_all(sightings, map(vars, news))


def _last(connection: Connection, versions: Collection[tuple[str, int]]) -> dict[Key, str | None]:
    table = sightings.c
    found: dict[Key, str | None] = {}
    for condition in among_all((table.model, table.version), versions):
        newest = select(func.max(table.id)).where(condition)
        newest = newest.group_by(table.model, table.version, table.created_at, table.tag)
        for row in connection.execute(select(*_WHOLE).where(table.id.in_(newest))):
            each = _sighting(row)
            found[each.model, each.version, each.created_at, each.tag] = each.value
    return found


def _sighting(row: Row[Any]) -> Sighting:
    said = json.loads(row.body)
    seen, created = datetime.fromisoformat(said["at"]), datetime.fromisoformat(said["created_at"])
    return Sighting(said["model"], said["version"], created, said["tag"], said.get("value"), seen)
