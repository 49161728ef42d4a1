"""The part of the port that is about what git and the registry agreed on, and about what was seen."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from promoter.adapters.ledger import records
from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import OpenLedger
from promoter.adapters.ledger.schema import guard_checks, split_in_conditions, split_key_conditions, tag_observations
from promoter.domain.decision import Verdict
from promoter.domain.evidence import TagObservation
from promoter.domain.policy.guards import GuardCheck

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


GUARD_CHECK_LIMIT = 1_000
"""Checks of one alias that are read: the newest."""


def find_guard_checks(connection: Connection, aliases: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[GuardCheck]]:
    """The newest of each alias, oldest first, by model and alias; nothing for one that was never checked."""
    found: dict[tuple[str, str], list[GuardCheck]] = {each: [] for each in aliases}
    table = guard_checks.c
    age = func.row_number().over(partition_by=(table.model, table.alias), order_by=table.id.desc()).label("age")
    for condition in split_key_conditions((table.model, table.alias), aliases):
        aged = select(table.id, age).where(condition).subquery()
        newest = select(aged.c.id).where(aged.c.age <= GUARD_CHECK_LIMIT)
        for row in connection.execute(select(guard_checks).where(table.id.in_(newest)).order_by(table.id)):
            check = GuardCheck(row.model, row.alias, row.version, row.rule, Verdict(row.verdict), row.at)
            found[row.model, row.alias].append(check)
    return found


def insert_guard_checks(chain: ChainWriter, news: Iterable[GuardCheck]) -> None:
    """All of them, in order."""
    chain.append_entries(guard_checks, map(vars, news))


class SqlObservationLog(OpenLedger):
    """Agreements, sightings of tags, and checks of guards."""

    def record_last_applied(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent). What they agreed on before is skipped."""
        news = [(model, alias, version) for model, versions in statements.items() for alias, version in versions.items()]
        with self._database.read_transaction() as connection:
            fresh = records.select_new_last_applied(connection, news, only_first=only_first)
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            fresh = records.select_new_last_applied(chain.connection, fresh, only_first=only_first)
            records.insert_last_applied(chain, fresh, revision, at)

    def forget_last_applied(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        with self._database.append_transaction() as chain:
            known = records.find_last_applied(chain.connection, set(aliases))
            gone = [
                (model, alias, records.UNDECLARED)
                for model, alias_names in aliases.items()
                for alias in alias_names
                if alias in known.get(model, {})
            ]
            records.insert_last_applied(chain, gone, revision, at)

    def read_last_applied(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        with self._database.read_transaction() as connection:
            return records.find_last_applied(connection, models)

    def has_held_alias(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        with self._database.read_transaction() as connection:
            held = records.was_ever_applied(connection, model, alias, version)
            return held or records.has_alias_moved_to(connection, model, alias, version)

    def last_applied_revision(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry came to agree on the alias last; None where they never did."""
        with self._database.read_transaction() as connection:
            return records.find_last_applied_revision(connection, model, alias)

    def find_tag_observations(self, models: Collection[str]) -> Mapping[str, Sequence[TagObservation]]:
        """What was seen of the watched tags of these models' versions, oldest first, for each model that is asked for."""
        with self._database.read_transaction() as connection:
            return find_tag_observations(connection, models)

    def record_tag_observations(self, news: Iterable[TagObservation]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        with self._database.read_transaction() as connection:
            fresh = select_changed_observations(connection, news)
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            insert_tag_observations(chain, select_changed_observations(chain.connection, fresh))

    def find_guard_checks(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards, oldest first, for each model and alias that is asked for."""
        with self._database.read_transaction() as connection:
            return find_guard_checks(connection, aliases)

    def record_guard_checks(self, news: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        found = list(news)
        if found:
            with self._database.append_transaction() as chain:
                insert_guard_checks(chain, found)
