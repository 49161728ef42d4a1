"""Sightings: when a tag of a version was first seen, so that one can tell what was set after the version was there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from promoter.domain.observed import ModelVersion


@dataclass(frozen=True)
class TagObservation:
    """A tag of a version as it was seen: its value, None where the version was there without it.

    `created_at` is the version's own: a model that is deleted and registered anew may use its numbers again.
    """

    model: str
    version: int
    created_at: datetime
    tag: str
    value: str | None
    at: datetime


def find_new_observations(
    model: str,
    versions: Iterable[ModelVersion],
    tags: Iterable[str],
    known: Iterable[TagObservation],
    at: datetime,
    *,
    missing: bool = True,
) -> tuple[TagObservation, ...]:
    """What these versions' tags show now and the last sightings do not; `missing`: also that one was never there."""
    last = {(each.version, each.created_at, each.tag): each.value for each in known}
    watched = sorted(set(tags))
    found = []
    for version in versions:
        for tag in watched:
            key = (version.number, version.created_at, tag)
            value = version.tags.get(tag)
            if last[key] != value if key in last else (missing or value is not None):
                found.append(TagObservation(model, version.number, version.created_at, tag, value, at))
    return tuple(found)


def find_first_seen_times(version: ModelVersion, known: Iterable[TagObservation]) -> dict[str, datetime]:
    """When each tag was first seen with the value that it has now, in an unbroken row of sightings; oldest come first."""
    rows: dict[str, tuple[str | None, datetime]] = {}
    for each in known:
        if (each.version, each.created_at) == (version.number, version.created_at):
            value, _ = rows.get(each.tag, (None, each.at))
            if each.tag not in rows or value != each.value:
                rows[each.tag] = (each.value, each.at)
    return {tag: at for tag, (value, at) in sorted(rows.items()) if value is not None and version.tags.get(tag) == value}


def find_witnessed_tags(version: ModelVersion, known: Iterable[TagObservation]) -> frozenset[str]:
    """The tags whose present value was set while the ledger knew the version without it, or with another value."""
    before: dict[str, str | None] = {}
    changed: dict[str, str] = {}
    for each in known:
        if (each.version, each.created_at) != (version.number, version.created_at):
            continue
        if each.tag in before and each.value is not None and before[each.tag] != each.value:
            changed[each.tag] = each.value
        before[each.tag] = each.value
    held: Mapping[str, str] = version.tags
    seen_before = {tag for tag, value in held.items() if tag in before and before[tag] != value}
    return frozenset({tag for tag, value in changed.items() if held.get(tag) == value == before[tag]} | seen_before)
