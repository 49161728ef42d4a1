"""The page at `/`: models, aliases, versions, status, last change and reason."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, render_template, request

from promoter.application.ports import Clock, Ledger
from promoter.application.query import BLOCKED, DRIFT, AliasRow, alias_rows, last_moves
from promoter.application.watch import Watch
from promoter.delivery.web.health import readiness
from promoter.domain.audit import RecordFilter

MODELS_A_PAGE = 100


@dataclass(frozen=True)
class ModelRows:
    """One model's part of the table."""

    name: str
    owners: tuple[str, ...]
    newest: int | None
    rows: list[AliasRow]


def blueprint(watch: Watch, ledger: Ledger, clock: Clock) -> Blueprint:
    """`GET /`."""
    routes = Blueprint("page", __name__)

    @routes.get("/")
    def index() -> str:
        views, now = watch.views, clock.now()
        text = request.args.get("page", "1")
        page = max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1  # noqa: PLR2004
        names = sorted(views)
        models = []
        for name in names[(page - 1) * MODELS_A_PAGE : page * MODELS_A_PAGE]:
            view = views[name]
            last = last_moves(ledger.records(RecordFilter(model=name, limit=200, newest=True)))
            newest = view.observed.newest if view.observed else None
            models.append(ModelRows(name, view.intent.owners, newest, alias_rows(view, last, now)))
        every = [row for view in views.values() for row in alias_rows(view, {}, now)]
        counts = {status: sum(row.status == status for row in every) for status in (BLOCKED, DRIFT)}
        ready, told = readiness(watch)
        return render_template(
            "index.html",
            models=models,
            total=len(names),
            aliases=len(every),
            counts=counts,
            page=page,
            pages=max(1, -(-len(names) // MODELS_A_PAGE)),
            ready=ready,
            told=told,
            now=now,
            recent=list(reversed(ledger.records(RecordFilter(limit=15, newest=True)))),
        )

    return routes
