"""The page at `/`: what serves now, since when and why; what waits, and for what; whether Promoter is well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from flask import Blueprint, render_template, request

from promoter.application.ports import Clock, Ledger
from promoter.application.query import (
    BLOCKED,
    CANDIDATE,
    DRIFT,
    DUE,
    GUARD,
    AliasRow,
    Waiting,
    alias_rows,
    latest_moves,
    waiting,
)
from promoter.application.survey import ModelView
from promoter.application.watch import Watch
from promoter.delivery.web.asked import whole
from promoter.delivery.web.health import readiness
from promoter.domain.audit import AuditRecord, Kind, RecordFilter

MODELS_A_PAGE = 50
WAITING_SHOWN = 30
RECORDS_SHOWN = 15
LIVE_SECONDS = 10
_URGENCY = (GUARD, BLOCKED, DRIFT, DUE, CANDIDATE)
_MOST = 10**9


@dataclass(frozen=True)
class ModelRows:
    """One model's part of the table."""

    name: str
    owners: tuple[str, ...]
    newest: int | None
    rows: list[AliasRow]


def blueprint(watch: Watch, ledger: Ledger, clock: Clock) -> Blueprint:
    """`GET /`. Parameters: `q` (part of a model's or an owner's name), `page`, `live` (reload by itself)."""
    routes = Blueprint("page", __name__)

    @routes.get("/")
    def index() -> str:
        views, now = watch.views, clock.now()
        sought = request.args.get("q", "").strip()[:200]
        found = sorted((view for view in views.values() if _matches(view, sought)), key=_by_name)
        pages = max(1, -(-len(found) // MODELS_A_PAGE))
        page = min(max(1, whole("page", 1, _MOST)), pages)
        wait = sorted(chain.from_iterable(waiting(view, now) for view in views.values()), key=_urgency)
        shown = wait[:WAITING_SHOWN]
        ready, told = readiness(watch)
        return render_template(
            "index.html",
            models=[_rows(view, ledger, now) for view in found[(page - 1) * MODELS_A_PAGE : page * MODELS_A_PAGE]],
            total=len(views),
            found=len(found),
            sought=sought,
            page=page,
            pages=pages,
            waiting=shown,
            listed={(each.model, each.alias): f"v{each.target} waits" if each.target else "waits" for each in shown},
            more=max(0, len(wait) - WAITING_SHOWN),
            counts={status: sum(each.status == status for each in wait) for status in _URGENCY},
            ready=ready,
            told=told,
            checked=watch.health.checked,
            now=now,
            live="live" in request.args,
            seconds=LIVE_SECONDS,
            recent=_recent(ledger),
        )

    routes.add_app_template_filter(moment, "moment")
    routes.add_app_template_filter(since, "since")
    routes.add_app_template_filter(cause, "cause")
    return routes


def _rows(view: ModelView, ledger: Ledger, now: datetime) -> ModelRows:
    newest = view.observed.newest if view.observed else None
    return ModelRows(view.intent.name, view.intent.owners, newest, alias_rows(view, latest_moves(ledger, view), now))


def moment(at: datetime) -> str:
    """A time to the minute; the page says once that all are UTC."""
    return f"{at:%Y-%m-%d %H:%M}"


def since(at: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = int((now - at).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds} s ago"  # noqa: PLR2004  # closer than anybody reads


def cause(record: AuditRecord) -> str:
    """Why an alias moved, and through whom."""
    fact = record.fact
    reason = record.told or "no reason recorded"
    if fact.kind is Kind.OBSERVED:
        return reason
    by = fact.actor.partition(" <")[0].strip() if fact.actor else ""
    told = f"{reason}, by {by}" if by else reason
    return f"{told}; {record.reviewed}" if record.reviewed else told


def _recent(ledger: Ledger) -> list[AuditRecord]:
    """The newest first, without the intents that an outcome among them closes."""
    records = ledger.records(RecordFilter(limit=2 * RECORDS_SHOWN, newest=True))
    closed = {record.intent for record in records}
    return [record for record in reversed(records) if record.id not in closed][:RECORDS_SHOWN]


def _matches(view: ModelView, sought: str) -> bool:
    part = sought.casefold()
    return part in view.intent.name.casefold() or any(part in owner.casefold() for owner in view.intent.owners)


def _by_name(view: ModelView) -> tuple[str, str]:
    return view.intent.name.casefold(), view.intent.name


def _urgency(each: Waiting) -> tuple[int, str, str]:
    return _URGENCY.index(each.status), each.model, each.alias or ""
