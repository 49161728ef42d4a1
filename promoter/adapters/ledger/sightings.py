"""Sightings in SQL: a row each time that a tag of a version was seen with another value than before."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from promoter.adapters.ledger.schema import among, among_all, sightings
from promoter.domain.sightings import Sighting

Key = tuple[str, int, datetime, str]
"""Model, version, when that version was created, tag."""

_CHUNK = 1_000


def find(connection: Connection, models: Collection[str]) -> dict[str, list[Sighting]]:
    """All that is known of them, oldest first, by model; nothing for a model that was never looked at."""
    found: dict[str, list[Sighting]] = {model: [] for model in models}
    for condition in among(sightings.c.model, models):
        query = select(sightings) if condition is None else select(sightings).where(condition)
        for row in sorted(connection.execute(query), key=lambda row: int(row.id)):
            found[row.model].append(_sighting(row))
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


def insert_all(connection: Connection, news: Iterable[Sighting]) -> None:
    """All of them, in order."""
    rows = [vars(each) for each in news]
    if rows:
        connection.execute(insert(sightings), rows)


def _last(connection: Connection, versions: Collection[tuple[str, int]]) -> dict[Key, str | None]:
    table = sightings.c
    found: dict[Key, str | None] = {}
    for condition in among_all((table.model, table.version), versions):
        newest = select(func.max(table.id)).where(condition)
        newest = newest.group_by(table.model, table.version, table.created_at, table.tag)
        for row in connection.execute(select(sightings).where(table.id.in_(newest))):
            found[row.model, row.version, row.created_at, row.tag] = row.value
    return found


def _sighting(row: Row[Any]) -> Sighting:
    return Sighting(row.model, row.version, row.created_at, row.tag, row.value, row.at)
