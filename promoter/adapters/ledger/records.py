"""Audit records in SQL: intents and their outcomes, observed moves, and overrides."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, except_, exists, func, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import appending, reading
from promoter.adapters.ledger.decisions import append_decision_once
from promoter.adapters.ledger.history import (
    ALIAS_COLUMNS,
    FIELD_KEYS,
    RECORD_COLUMNS,
    SqlAliasHistory,
    get_number,
    parse_record_row,
)
from promoter.adapters.ledger.last_applied import append_new_agreement
from promoter.adapters.ledger.schema import (
    CLOSING,
    INTENDED,
    LEDGER,
    MOVED,
    OVERRIDE,
    REPLACED,
    fetch_last_versions,
    fetch_rows,
    records,
    select_last_of_each,
    split_in_conditions,
)
from promoter.domain.audit import AliasKey, AuditRecord, ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.decision import Decision
from promoter.domain.desired import Override
from promoter.domain.errors import Conflict, PermanentError
from promoter.domain.identity import RememberedVersion
from promoter.domain.plan import ChangeCause

_FILTER_FIELDS = ("model", "alias", "kind", "outcome", "verdict")


class SqlAuditLog(SqlAliasHistory):
    """The port `AuditLog` on a SQL database."""

    @appending
    def record_intent(self, chain: ChainWriter, record: NewAuditRecord, decision: Decision | None) -> int:
        """Append the intent, and before it the decision that it rests on, unless that is recorded."""
        basis = append_decision_once(chain, decision, record.revision, record.trigger) if decision else None
        return _append_record(chain, replace(record, outcome=ChangeOutcome.INTENDED), decision=basis)

    @appending
    def record_outcome(self, chain: ChainWriter, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """Append a record with the intent's own facts; without a detail, the intent's reason stays."""
        closing = ChangeOutcome(outcome)
        if closing is ChangeOutcome.INTENDED:
            raise ValueError("an intent is closed by an outcome, not by another intent")
        row = chain.connection.execute(select(*RECORD_COLUMNS).where(records.c.id == intent, INTENDED)).one_or_none()
        if row is None:
            raise PermanentError(LEDGER, f"there is no intent {intent}")
        earlier = chain.connection.scalar(select(records.c.outcome).where(records.c.intent == intent))
        if earlier is not None:
            raise Conflict(LEDGER, f"intent {intent} is closed already: {earlier}")
        opened = parse_record_row(row)
        closed = replace(opened.fact, at=at, outcome=closing, reason=detail or opened.fact.reason)
        _append_record(chain, closed, intent=intent, decision=opened.decision)
        if closing is not ChangeOutcome.FAILED and closed.cause != ChangeCause.OVERRIDE:
            append_new_agreement(chain, (closed.model, closed.alias, closed.target), closed.revision, at)

    @reading
    def find_open_intents(self, connection: Connection, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Find intents that no record closes, in ascending order of their numbers."""
        if models is None:
            # Both sides come out of an index in order, so that the database merges them: no sorting, no table rows.
            intended, closed = select(records.c.id).where(INTENDED), select(records.c.intent).where(CLOSING)
            numbers = connection.scalars(except_(intended, closed).order_by("id")).all()
            rows = fetch_rows(connection, select(*RECORD_COLUMNS), split_in_conditions(records.c.id, numbers))
        else:
            closing = records.alias("closing")
            still_open = select(*RECORD_COLUMNS).where(INTENDED, ~exists().where(closing.c.intent == records.c.id))
            rows = fetch_rows(connection, still_open, split_in_conditions(records.c.model, models))
        return sorted(map(parse_record_row, rows), key=lambda record: record.id)

    def record_observed_moves(
        self, moves: Iterable[NewAuditRecord], *, only_first: bool = False, only_next: bool = False
    ) -> None:
        """Append the moves; without the lock, only `only_first` can tell that there is nothing to append."""

        def append(chain: ChainWriter, new: Sequence[NewAuditRecord]) -> None:
            continuing = _select_continuing_moves(chain.connection, new) if only_next else new
            chain.append_entries(records, _build_facts(chain, continuing))

        candidates = list(moves)
        if only_first and candidates:
            self.append_if_new(candidates, _select_first_moves, append)
        elif candidates:
            with self._database.append_transaction() as chain:
                append(chain, candidates)

    @reading
    def select_new_replacements(
        self, connection: Connection, replacements: Iterable[NewAuditRecord]
    ) -> Sequence[NewAuditRecord]:
        """Select those that say something else than the last one that was recorded of their alias and number."""
        return _select_new_replacements(connection, replacements)

    def record_replacements(self, replacements: Iterable[NewAuditRecord]) -> Sequence[NewAuditRecord]:
        """Append those that `select_new_replacements` selects, and return them."""
        recorded: list[NewAuditRecord] = []

        def append(chain: ChainWriter, new: Sequence[NewAuditRecord]) -> None:
            chain.append_entries(records, _build_facts(chain, new))
            recorded.extend(new)

        self.append_if_new(list(replacements), _select_new_replacements, append)
        return recorded

    @appending
    def record_override(self, chain: ChainWriter, record: NewAuditRecord) -> int:
        """Append the beginning. Raises ValueError for a record that is no override, or lacks what one needs."""
        complete = record.until and record.to_version and record.actor and record.reason
        if record.kind is not RecordKind.OVERRIDE or not complete:
            raise ValueError("an override has a version, a person, a reason and an end")
        return _append_record(chain, record)

    @appending
    def end_override(
        self, chain: ChainWriter, override: int, at: datetime, reason: str, *, revision: str | None = None
    ) -> None:
        """Append the end, with the override's own facts. Raises `PermanentError` where there is no such override."""
        began = select(*RECORD_COLUMNS).where(records.c.id == override, OVERRIDE, records.c.intent.is_(None))
        row = chain.connection.execute(began).one_or_none()
        if row is None:
            raise PermanentError(LEDGER, f"there is no override {override}")
        if chain.connection.scalar(select(records.c.id).where(records.c.intent == override)) is not None:
            return
        ended = replace(parse_record_row(row).fact, at=at, reason=reason)
        _append_record(chain, ended, intent=override)
        if revision is not None:
            append_new_agreement(chain, (ended.model, ended.alias, ended.target), revision, at)

    @reading
    def find_open_overrides(self, connection: Connection, models: Collection[str] | None = None) -> Sequence[Override]:
        """Find overrides that no record ends, in ascending order of their numbers."""
        ended = select(records.c.intent).where(OVERRIDE, records.c.intent.is_not(None))
        query = select(*RECORD_COLUMNS).where(OVERRIDE, records.c.intent.is_(None), records.c.id.not_in(ended))
        rows = fetch_rows(connection, query, split_in_conditions(records.c.model, models))
        return [_build_override(parse_record_row(row)) for row in sorted(rows, key=get_number)]

    @reading
    def find_audit_record(self, connection: Connection, number: int) -> AuditRecord | None:
        """Find the record of that number; an entry of another kind is none."""
        row = connection.execute(select(*RECORD_COLUMNS).where(records.c.id == number)).one_or_none()
        return parse_record_row(row) if row else None

    @reading
    def find_audit_records(self, connection: Connection, where: RecordFilter) -> Sequence[AuditRecord]:
        """Find records in ascending order of their numbers, also where the newest ones are asked for."""
        given = {name: getattr(where, name) for name in _FILTER_FIELDS}
        conditions = [records.c[name] == str(value) for name, value in given.items() if value is not None]
        if where.actor is not None:  # lists show the name without the mail
            before_mail = f"{where.actor} <"
            named = func.substr(records.c.actor, 1, len(before_mail)) == before_mail  # LIKE knows no case on SQLite
            conditions.append((records.c.actor == where.actor) | named)
        if where.closing is not None:
            conditions.append(records.c.intent.is_not(None) if where.closing else records.c.intent.is_(None))
        bounds = (
            (where.after, operator.gt, records.c.id),
            (where.before, operator.lt, records.c.id),
            (where.since, operator.ge, records.c.at),
            (where.until, operator.lt, records.c.at),
        )
        conditions += [compare(column, value) for value, compare, column in bounds if value is not None]
        order = records.c.id.desc() if where.newest else records.c.id
        rows = connection.execute(select(*RECORD_COLUMNS).where(*conditions).order_by(order).limit(where.limit)).all()
        return [parse_record_row(row) for row in (reversed(rows) if where.newest else rows)]


def _build_facts(chain: ChainWriter, new: Iterable[NewAuditRecord]) -> list[dict[str, Any]]:
    """Build the facts of each entry, under the keys of `RecordResponse`, with the workspace that the ledger is about."""
    workspace = chain.read_workspace()
    stated = (vars(record) | {"workspace": record.workspace or workspace} for record in new)
    return [{FIELD_KEYS.get(name, name): fact for name, fact in facts.items()} for facts in stated]


def _append_record(
    chain: ChainWriter, record: NewAuditRecord, *, intent: int | None = None, decision: int | None = None
) -> int:
    """Append one record and return its number. `intent`: the record that this one closes or ends."""
    (facts,) = _build_facts(chain, [record])
    return chain.append_entry(records, facts | {"intent": intent, "decision": decision})


def _select_first_moves(connection: Connection, moves: Iterable[NewAuditRecord]) -> list[NewAuditRecord]:
    """Select the first move of each alias that no record speaks of; that an override began says nothing of where it was."""
    firsts: dict[AliasKey, NewAuditRecord] = {}
    for move in moves:
        firsts.setdefault((move.model, move.alias), move)
    known = select(*ALIAS_COLUMNS).where(~OVERRIDE).distinct()
    for row in fetch_rows(connection, known, split_in_conditions(records.c.model, {model for model, _ in firsts})):
        firsts.pop((row.model, row.alias), None)
    return list(firsts.values())


def _select_continuing_moves(connection: Connection, moves: Iterable[NewAuditRecord]) -> list[NewAuditRecord]:
    """Select the moves that begin where the last record left the alias, or the move before them in the list."""
    candidates, found = list(moves), []
    known = fetch_last_versions(connection, records.c.to_version, "to_identity", {move.model for move in candidates}, MOVED)
    for move in candidates:
        versions = known.setdefault(move.model, {})
        last = versions.get(move.alias, RememberedVersion(None))
        if (last.number, last.identity) == (move.from_version, move.from_identity):
            versions[move.alias] = move.target
            found.append(move)
    return found


def _select_new_replacements(connection: Connection, candidates: Iterable[NewAuditRecord]) -> list[NewAuditRecord]:
    waiting = list(candidates)
    last: dict[tuple[object, ...], tuple[object, ...]] = {}
    for condition in split_in_conditions(records.c.model, {each.model for each in waiting}):
        query = select_last_of_each((*ALIAS_COLUMNS, records.c.from_version), RECORD_COLUMNS, REPLACED, condition)
        for row in connection.execute(query):
            fact = parse_record_row(row).fact
            last[fact.model, fact.alias, fact.from_version] = _identify_replacement(fact)
    return [each for each in waiting if last.get((each.model, each.alias, each.from_version)) != _identify_replacement(each)]


def _identify_replacement(record: NewAuditRecord) -> tuple[object, ...]:
    return record.from_identity, record.to_version, record.to_identity


def _build_override(record: AuditRecord) -> Override:
    fact = record.fact
    if fact.to_version is None or fact.reason is None or fact.actor is None or fact.until is None:
        raise PermanentError(LEDGER, f"record {record.id} is an override without a version, a person, a reason or an end")
    return Override(
        record.id,
        fact.at,
        fact.model,
        fact.alias,
        fact.to_version,
        fact.from_version,
        fact.reason,
        fact.actor,
        fact.until,
        fact.to_identity,
        without_artifact_check=bool(fact.without_artifact_check),
    )
