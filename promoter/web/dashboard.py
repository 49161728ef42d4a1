"""The dashboard at `/`: what serves now, since when and why; what waits, and for what; whether Promoter is well."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from flask import Blueprint, render_template, request

from promoter.application.controller import Controller
from promoter.application.ports import AuditLog, Clock, Ledger
from promoter.application.snapshots import ModelSnapshot
from promoter.application.status import (
    BLOCKED,
    CANDIDATE,
    DRIFT,
    GUARD,
    OUT_OF_SYNC,
    OVERRIDE,
    WaitingItem,
    build_model_rows,
    find_waiting_items,
    list_effective_refusals,
)
from promoter.domain.audit import AuditRecord, RecordFilter, RecordKind
from promoter.domain.ledger.checkpoints import BranchRewrite
from promoter.web.api import int_param
from promoter.web.health import check_readiness

MODELS_A_PAGE = 50
WAITING_SHOWN = 30
RECORDS_SHOWN = 15
REWRITES_SHOWN = timedelta(days=7)
"""How long a forced push is shown."""
LIVE_SECONDS = 10
_URGENCY = (GUARD, BLOCKED, OVERRIDE, DRIFT, OUT_OF_SYNC, CANDIDATE)
_MAX_PAGE_NUMBER = 10**9


def build_dashboard_blueprint(controller: Controller, ledger: Ledger, clock: Clock) -> Blueprint:
    """Build `GET /`. Parameters: `q` (part of a model's or an owner's name), `page`, `live` (reload by itself)."""
    routes = Blueprint("dashboard", __name__)

    @routes.get("/")
    def show() -> str:
        return render_template("dashboard.html", **_build_page(controller, ledger, clock.now()))

    routes.add_app_template_filter(format_moment, "moment")
    routes.add_app_template_filter(format_age, "since")
    routes.add_app_template_filter(describe_cause, "cause")
    return routes


def _build_page(controller: Controller, ledger: Ledger, now: datetime) -> dict[str, Any]:
    """Build what the template shows: one page of the models that were searched for, and what waits of all models."""
    snapshots = controller.snapshots
    search_text = request.args.get("q", "").strip()[:200]
    found = sorted((each for each in snapshots.values() if _matches_search(each, search_text)), key=_name_sort_key)
    pages = max(1, -(-len(found) // MODELS_A_PAGE))
    page = min(max(1, int_param("page", 1, _MAX_PAGE_NUMBER)), pages)
    ready, health = check_readiness(controller)
    late, failing = controller.health.late_models, controller.health.failing_models
    return {
        "models": [
            build_model_rows(snapshot, ledger, now, late, failing)
            for snapshot in found[(page - 1) * MODELS_A_PAGE : page * MODELS_A_PAGE]
        ],
        "total": len(snapshots),
        "found": len(found),
        "search_text": search_text,
        "page": page,
        "pages": pages,
        **_build_waiting_part(snapshots.values(), now),
        **_build_refused_part(snapshots.values()),
        "late": [(name, late[name]) for name in list(late)[:WAITING_SHOWN]],
        "late_count": len(late),
        "failing": [(name, failing[name]) for name in list(failing)[:WAITING_SHOWN]],
        "failing_count": len(failing),
        "ready": ready,
        "health": health,
        "checked": controller.health.checked,
        "now": now,
        "live": "live" in request.args,
        "seconds": LIVE_SECONDS,
        "recent": _load_recent_records(ledger),
        "rewrites": _load_recent_rewrites(ledger, now),
    }


def _build_waiting_part(snapshots: Iterable[ModelSnapshot], now: datetime) -> dict[str, Any]:
    """Build the list of what waits, the most urgent first: the first of them, how many more there are, and counts by status."""
    waiting = sorted(chain.from_iterable(find_waiting_items(each, now) for each in snapshots), key=_urgency_sort_key)
    shown = waiting[:WAITING_SHOWN]
    return {
        "waiting": shown,
        "listed": {(each.model, each.alias): _name_waiting_link(each) for each in shown},
        "more": max(0, len(waiting) - WAITING_SHOWN),
        "counts": {status: sum(each.status == status for each in waiting) for status in _URGENCY},
    }


def _build_refused_part(snapshots: Iterable[ModelSnapshot]) -> dict[str, Any]:
    """Build the list of what persons refused, the newest first: the first of them, and how many there are."""
    refused = list_effective_refusals(snapshots)
    return {"refused": refused[:WAITING_SHOWN], "refused_count": len(refused)}


def _name_waiting_link(item: WaitingItem) -> str:
    if item.status == OVERRIDE:
        return "waits for a decision"
    return f"v{item.target} waits" if item.target else "waits"


def format_moment(at: datetime) -> str:
    """Write a time to the minute; the page says once that all are UTC."""
    return f"{at:%Y-%m-%d %H:%M}"


def format_age(at: datetime, now: datetime) -> str:
    """Say how long ago it was, in the largest unit that fits."""
    seconds = int((now - at).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds} s ago"  # noqa: PLR2004  # closer than anybody reads


def describe_cause(record: AuditRecord) -> str:
    """Say why an alias moved, by whom, and through which pull request."""
    fact = record.fact
    reason = record.description or "no reason recorded"
    if fact.kind is RecordKind.OBSERVED:
        return reason
    by = fact.actor.partition(" <")[0].strip() if fact.actor else ""
    text = f"{reason}, by {by}" if by else reason
    return f"{text}; {record.review_summary}" if record.review_summary else text


def _load_recent_records(ledger: AuditLog) -> list[AuditRecord]:
    """Load the newest records first, without the intents that an outcome among them closes."""
    records = ledger.find_audit_records(RecordFilter(limit=2 * RECORDS_SHOWN, newest=True))
    closed = {record.intent for record in records}
    return [record for record in reversed(records) if record.id not in closed][:RECORDS_SHOWN]


def _load_recent_rewrites(ledger: Ledger, now: datetime) -> list[BranchRewrite]:
    """Load what somebody did to the branch by force in the last days, newest first."""
    found = (BranchRewrite.from_event(each) for each in ledger.find_rewrites() if now - each.at <= REWRITES_SHOWN)
    return sorted(found, key=lambda each: each.at or now, reverse=True)


def _matches_search(snapshot: ModelSnapshot, search_text: str) -> bool:
    part = search_text.casefold()
    return part in snapshot.intent.name.casefold() or any(part in owner.casefold() for owner in snapshot.intent.owners)


def _name_sort_key(snapshot: ModelSnapshot) -> tuple[str, str]:
    return snapshot.intent.name.casefold(), snapshot.intent.name


def _urgency_sort_key(each: WaitingItem) -> tuple[int, str, str]:
    return _URGENCY.index(each.status), each.model, each.alias or ""
