"""Queries: what the page, the API and the command line tell of models, from the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.application.ports import Ledger
from promoter.application.survey import ModelView
from promoter.domain.audit import AuditRecord, RecordFilter, Span, moved, spans
from promoter.domain.desired import AliasIntent
from promoter.domain.plan import Change

IN_STEP, DUE, BLOCKED, DRIFT, HOLD, OPEN = "in step", "due", "blocked", "drift", "hold", "not stated"


@dataclass(frozen=True)
class AliasRow:
    """One alias of one model: where it is, where git says it is to be, and what stands in between."""

    model: str
    alias: str
    held: int | None
    stated: int | None
    status: str
    detail: str
    last: AuditRecord | None = None

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        return {
            "model": self.model,
            "alias": self.alias,
            "version": self.held,
            "stated": self.stated,
            "status": self.status,
            "detail": self.detail,
            "last_change": self.last.as_json() if self.last else None,
        }


def alias_rows(view: ModelView, last: Mapping[str, AuditRecord], now: datetime) -> list[AliasRow]:
    """The rows of one model, champion first. `last` is the last move of each alias."""
    names = {*view.intent.aliases, *(view.observed.aliases if view.observed else {})}
    return [_row(view, alias, last.get(alias), now) for alias in sorted(names, key=lambda each: (each != "champion", each))]


def last_moves(records: Iterable[AuditRecord]) -> dict[str, AuditRecord]:
    """The last record of each alias that says that it moved, of one model's records in ascending order."""
    return {record.fact.alias: record for record in records if moved(record)}


def history(ledger: Ledger, model: str, alias: str) -> list[Span]:
    """Who held the alias when, oldest first."""
    return spans(list(ledger.records(RecordFilter(model=model, alias=alias, limit=1_000_000))))


def _row(view: ModelView, alias: str, last: AuditRecord | None, now: datetime) -> AliasRow:
    intent = view.intent.aliases.get(alias)
    held = view.observed.aliases.get(alias) if view.observed else None
    status, detail = _status(view, alias, intent, now)
    return AliasRow(view.intent.name, alias, held, intent.version if intent else None, status, detail, last)


def _status(view: ModelView, alias: str, intent: AliasIntent | None, now: datetime) -> tuple[str, str]:
    blocked = next((each for each in view.compared.blocked if each.alias in (None, alias)), None)
    if blocked:
        return BLOCKED, blocked.reason
    change = next((each for each in view.changes if each.difference.alias == alias), None)
    if change:
        return _changing(change)
    reported = next((each for each in view.compared.reported if each.alias == alias), None)
    if reported:
        return DRIFT, f"git says {_version(reported.to_version)}"
    if intent is None:
        return OPEN, "not in registry.yaml"
    return _resting(view, intent, now)


def _changing(change: Change) -> tuple[str, str]:
    target = _version(change.difference.to_version)
    if change.decision is None or change.allowed:
        return DUE, f"to be {target}"
    return BLOCKED, f"{target}: {change.decision.summary}"


def _resting(view: ModelView, intent: AliasIntent, now: datetime) -> tuple[str, str]:
    if intent.hold and intent.hold.in_force(now):
        return HOLD, f"by {intent.hold.by}: {intent.hold.reason}"
    standing = next((each for each in view.standings if each.alias == intent.alias), None)
    return IN_STEP if intent.stated else OPEN, standing.reason if standing else ""


def _version(number: int | None) -> str:
    return "absent" if number is None else f"v{number}"
