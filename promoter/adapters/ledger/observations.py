"""What Promoter observed, in SQL: watched tags, checks of guards, webhook deliveries, lifecycle events."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, or_, select

from promoter.adapters.ledger.chain import ChainWriter, build_delivery_facts, has_delivery
from promoter.adapters.ledger.database import SqlRepository, appending, reading
from promoter.adapters.ledger.schema import (
    deliveries,
    fetch_rows,
    guard_checks,
    lifecycle_events,
    select_last_of_each,
    split_in_conditions,
    split_key_conditions,
    tag_observations,
)
from promoter.domain.audit import AliasKey, WebhookDelivery
from promoter.domain.decision import Verdict
from promoter.domain.evidence import TagObservation
from promoter.domain.ledger.chain import LedgerHead, seal_entry
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.policy.guards import GuardCheck

ObservationKey = tuple[str, int, datetime, str]
"""Model, version, when that version was created, tag."""
GUARD_CHECK_LIMIT = 1_000
"""How many checks of one alias are read: the newest."""

_OBSERVATION_CHUNK_SIZE = 1_000
_OBSERVATION_COLUMNS: Sequence[Column[Any]] = (tag_observations.c.id, tag_observations.c.body)
EVENT_COLUMNS: Sequence[Column[Any]] = (lifecycle_events.c.id, lifecycle_events.c.body)
_RECENT_EVENT_LIMIT = 100
_ENVELOPE_KEYS = frozenset({"id", "previous", "table", "at", "event"})
_WATCH_EVENTS = [LifecycleEventType.STARTED.value, LifecycleEventType.WATCHING.value, LifecycleEventType.STOPPED.value]


class SqlObservationLog(SqlRepository):
    """The port `ObservationLog` on a SQL database."""

    def record_tag_observations(self, observations: Iterable[TagObservation]) -> None:
        """Append the observations that say something else than the last one of their tag and version."""
        self.append_if_new(
            observations,
            _select_changed_observations,
            lambda chain, new: chain.append_entries(tag_observations, map(vars, new)),
        )

    @reading
    def find_tag_observations(self, connection: Connection, models: Collection[str]) -> Mapping[str, Sequence[TagObservation]]:
        """Find the observations of each model, oldest first; an empty list for a model without any."""
        found: dict[str, list[TagObservation]] = {model: [] for model in models}
        rows = fetch_rows(connection, select(*_OBSERVATION_COLUMNS), split_in_conditions(tag_observations.c.model, models))
        for observation in map(_parse_tag_observation, sorted(rows, key=lambda row: int(row.id))):
            found[observation.model].append(observation)
        return found

    def record_guard_checks(self, checks: Iterable[GuardCheck]) -> None:
        """Append every check; without any, no transaction begins."""
        facts = list(map(vars, checks))
        if facts:
            with self._database.append_transaction() as chain:
                chain.append_entries(guard_checks, facts)

    @reading
    def find_guard_checks(
        self, connection: Connection, aliases: Collection[AliasKey]
    ) -> Mapping[AliasKey, Sequence[GuardCheck]]:
        """Find the newest checks of each alias, oldest first; an empty list for one that was never checked."""
        found: dict[AliasKey, list[GuardCheck]] = {key: [] for key in aliases}
        table = guard_checks.c
        age = func.row_number().over(partition_by=(table.model, table.alias), order_by=table.id.desc()).label("age")
        for condition in split_key_conditions((table.model, table.alias), aliases):
            aged = select(table.id, age).where(condition).subquery()
            newest = select(aged.c.id).where(aged.c.age <= GUARD_CHECK_LIMIT)
            for row in connection.execute(select(guard_checks).where(table.id.in_(newest)).order_by(table.id)):
                identity = json.loads(row.body).get("identity")
                check = GuardCheck(row.model, row.alias, row.version, row.rule, Verdict(row.verdict), row.at, identity)
                found[row.model, row.alias].append(check)
        return found

    def record_delivery(self, delivery: WebhookDelivery) -> bool:
        """Remember the delivery in memory, unless it is there or in the chain; the first entry that it triggers chains it.

        The transaction writes nothing: it shows that the ledger can be written, and so can take what the delivery leads to.
        """
        with self._database.write_transaction() as connection:
            seal_entry(LedgerHead(), deliveries.name, build_delivery_facts(delivery))  # what cannot be kept is refused now
            if has_delivery(connection, delivery):
                return False
        return self._database.recent_deliveries.add(delivery)

    @appending
    def record_lifecycle_event(self, chain: ChainWriter, event: LifecycleEvent) -> int:
        """Append the event and return its number."""
        return append_lifecycle_event(chain, event)

    @reading
    def find_lifecycle_events(
        self, connection: Connection, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[LifecycleEvent]:
        """Find the events from one moment up to another, in the order of their numbers."""
        query = select(*EVENT_COLUMNS).order_by(lifecycle_events.c.id)
        query = query if since is None else query.where(lifecycle_events.c.at >= since)
        query = query if until is None else query.where(lifecycle_events.c.at <= until)
        return [parse_lifecycle_event(row) for row in connection.execute(query)]

    @reading
    def find_rewrites(self, connection: Connection, limit: int = 100) -> Sequence[LifecycleEvent]:
        """Find the last events of the type REWRITTEN, oldest first."""
        of_branch = select(*EVENT_COLUMNS).where(lifecycle_events.c.event == LifecycleEventType.REWRITTEN.value)
        newest = connection.execute(of_branch.order_by(lifecycle_events.c.id.desc()).limit(limit))
        return [parse_lifecycle_event(row) for row in newest][::-1]

    @reading
    def find_commit_requests(self, connection: Connection, revisions: Collection[str]) -> Sequence[LifecycleEvent]:
        """Find the requests whose commit is one of these."""
        of_people = lifecycle_events.c.event == LifecycleEventType.REQUESTED.value
        named = or_(*(lifecycle_events.c.body.contains(each, autoescape=True) for each in revisions))
        query = select(*EVENT_COLUMNS).where(of_people, named).order_by(lifecycle_events.c.id)
        found = map(parse_lifecycle_event, connection.execute(query) if revisions else ())
        return [each for each in found if each.facts.get("revision") in revisions]

    @reading
    def find_refusal_events(self, connection: Connection, after: int = 0) -> Sequence[LifecycleEvent]:
        """Find the events of the types REFUSED and RECONSIDERED behind that number."""
        types = (LifecycleEventType.REFUSED.value, LifecycleEventType.RECONSIDERED.value)
        query = select(*EVENT_COLUMNS).where(lifecycle_events.c.id > after, lifecycle_events.c.event.in_(types))
        return [parse_lifecycle_event(row) for row in connection.execute(query.order_by(lifecycle_events.c.id))]

    @reading
    def find_last_lifecycle_event(self, connection: Connection, event: LifecycleEventType) -> LifecycleEvent | None:
        """Find the event of that type with the highest number."""
        of_type = select(*EVENT_COLUMNS).where(lifecycle_events.c.event == event.value)
        row = connection.execute(of_type.order_by(lifecycle_events.c.id.desc()).limit(1)).one_or_none()
        return parse_lifecycle_event(row) if row else None

    @reading
    def find_announced_overrides(self, connection: Connection, numbers: Collection[int]) -> frozenset[int]:
        """Find those of these overrides that an event of the type OVERRIDE_EXPIRING names."""
        return _find_announced_overrides(connection, numbers)

    @appending
    def announce_expiring_override(self, chain: ChainWriter, event: LifecycleEvent) -> None:
        """Append the event, unless there is one of that override already."""
        number = int(event.facts["override"])
        if not _find_announced_overrides(chain.connection, [number]):
            append_lifecycle_event(chain, event)

    @reading
    def observed_until(self, connection: Connection) -> datetime | None:
        """Return the latest moment that one of the last events of a daemon names as observed."""
        of_daemons = select(*EVENT_COLUMNS).where(lifecycle_events.c.event.in_(_WATCH_EVENTS))
        newest = connection.execute(of_daemons.order_by(lifecycle_events.c.id.desc()).limit(_RECENT_EVENT_LIMIT))
        moments = (parse_lifecycle_event(row).facts.get("looked") for row in newest)
        return max((datetime.fromisoformat(moment) for moment in moments if moment), default=None)


def append_lifecycle_event(chain: ChainWriter, event: LifecycleEvent) -> int:
    """Append a lifecycle event in a transaction that is open, and return its number."""
    return chain.append_entry(lifecycle_events, {**event.facts, "at": event.at, "event": event.event.value})


def _find_announced_overrides(connection: Connection, numbers: Collection[int]) -> frozenset[int]:
    announcing = lifecycle_events.c.event == LifecycleEventType.OVERRIDE_EXPIRING.value
    query = select(*EVENT_COLUMNS).where(announcing, lifecycle_events.c.id > min(numbers, default=0))
    found = map(parse_lifecycle_event, connection.execute(query) if numbers else ())
    named = {each.facts.get("override") for each in found}
    return frozenset(number for number in numbers if number in named)


def _select_changed_observations(connection: Connection, observations: Iterable[TagObservation]) -> list[TagObservation]:
    """Select those that say something else than the one before them, of the same tag of the same version."""
    changed: list[TagObservation] = []
    waiting = iter(observations)
    values: dict[ObservationKey, str | None] = {}
    while part := list(islice(waiting, _OBSERVATION_CHUNK_SIZE)):
        values = _find_last_tag_values(connection, {(each.model, each.version) for each in part}) | values
        for each in part:
            key = _observation_key(each)
            if key not in values or values[key] != each.value:
                changed.append(each)
            values[key] = each.value
    return changed


def _find_last_tag_values(connection: Connection, versions: Collection[tuple[str, int]]) -> dict[ObservationKey, str | None]:
    table = tag_observations.c
    found: dict[ObservationKey, str | None] = {}
    for condition in split_key_conditions((table.model, table.version), versions):
        key = (table.model, table.version, table.created_at, table.tag)
        for row in connection.execute(select_last_of_each(key, _OBSERVATION_COLUMNS, condition)):
            each = _parse_tag_observation(row)
            found[_observation_key(each)] = each.value
    return found


def _observation_key(observation: TagObservation) -> ObservationKey:
    return observation.model, observation.version, observation.created_at, observation.tag


def _parse_tag_observation(row: Row[Any]) -> TagObservation:
    body = json.loads(row.body)
    seen, created = datetime.fromisoformat(body["at"]), datetime.fromisoformat(body["created_at"])
    return TagObservation(body["model"], body["version"], created, body["tag"], body.get("value"), seen)


def parse_lifecycle_event(row: Row[Any]) -> LifecycleEvent:
    """Parse a row of `EVENT_COLUMNS`."""
    entry = json.loads(row.body)
    facts = {name: fact for name, fact in entry.items() if name not in _ENVELOPE_KEYS}
    return LifecycleEvent(datetime.fromisoformat(entry["at"]), LifecycleEventType(entry["event"]), facts, int(row.id))
