"""Health endpoints for machines: alive, ready, and figures for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any

from flask import Blueprint, Response, jsonify
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from promoter.application.controller import Controller
from promoter.application.figures import DURATION_BOUNDS, WorkFigures
from promoter.application.snapshots import ModelSnapshot
from promoter.application.status import ModelTrouble, build_alias_rows
from promoter.domain.errors import ExternalError

WorkCounts = Callable[[], Mapping[str, int]]
UndeliveredCounts = Callable[[], Mapping[tuple[str, str], int]]


NOTIFICATIONS = "notifications"
"""The kind of work that sends events, and moves nothing."""
MAX_MODEL_SERIES = 100
"""The most models that have a time series of their own while they do not answer, or while their work fails."""


def check_readiness(controller: Controller) -> tuple[bool, dict[str, Any]]:
    """Return whether the daemon is ready, and the status that shows why.

    It is ready while a revision is in force, git, registry and ledger answered last, and each was read recently.
    """
    declaration = controller.revisions.declaration_in_force
    trouble = dict(controller.health.current_problems)
    checked, ages = controller.health.checked, controller.health.look_ages
    place = {"folder": controller.revisions.folder.path, "workspace": controller.workspace}
    status = {
        **{name: value for name, value in place.items() if value},
        "ready": declaration is not None and not trouble,
        "revision": declaration.revision if declaration else None,
        "refused": controller.revisions.refusal_reason,
        "trouble": trouble,
        "elsewhere": dict(controller.health.source_problems),
        "checked": checked.isoformat() if checked else None,
        "looks": {kind: _describe_look(at, ages[kind]) for kind, at in controller.health.looks.items()},
        "late": _describe_models(controller.health.late_models),
        "failing": _describe_models(controller.health.failing_models),
    }
    return bool(status["ready"]), status


def _describe_models(found: Mapping[str, ModelTrouble]) -> dict[str, dict[str, str]]:
    return {name: {"since": each.since.isoformat(), "reason": each.reason} for name, each in found.items()}


def _describe_look(at: datetime | None, age: float) -> dict[str, Any]:
    return {"at": at.isoformat() if at else None, "age": round(age, 1)}


class _PrometheusCollector(Collector):
    """Reads every figure at each scrape, so that none is stale."""

    def __init__(self, controller: Controller, depths: WorkCounts, undelivered: UndeliveredCounts) -> None:
        self._controller = controller
        self._depths = depths
        self._undelivered = undelivered

    def collect(self) -> Iterable[Metric]:
        snapshots = self._controller.snapshots
        yield GaugeMetricFamily(
            "promoter_ready", "1 where /readyz says ready", value=float(check_readiness(self._controller)[0])
        )
        yield from self._collect_work()
        yield GaugeMetricFamily("promoter_models", "Managed models", value=len(snapshots))
        refused = float(self._controller.revisions.refusal_reason is not None)
        yield GaugeMetricFamily("promoter_revision_refused", "1 where the branch's head cannot be used", value=refused)
        states = GaugeMetricFamily("promoter_aliases", "Aliases by status", labels=["status"])
        counts: dict[str, int] = {}
        at = self._controller.health.checked
        for snapshot in snapshots.values():
            for row in build_alias_rows(snapshot, {}, at) if at else ():
                counts[row.status] = counts.get(row.status, 0) + 1
        for status, count in sorted(counts.items()):
            states.add_metric([status.replace(" ", "_")], count)
        yield states
        yield self._collect_overrides(snapshots)
        yield from _collect_figures(self._controller.figures)
        with contextlib.suppress(ExternalError):  # the other figures are worth having without the ledger
            yield self._collect_notifications()

    def _collect_overrides(self, snapshots: Mapping[str, ModelSnapshot]) -> Metric:
        """Return the time that is left of each override in force, those that end first where there are many."""
        left = GaugeMetricFamily(
            "promoter_override_seconds_left",
            "Seconds until an override ends, unless git states its version",
            labels=["model", "alias"],
        )
        now = self._controller.health.now
        active = [each for _, snapshot in sorted(snapshots.items()) for each in snapshot.active_overrides]
        for override in sorted(active, key=lambda each: each.until)[:MAX_MODEL_SERIES]:
            left.add_metric([override.model, override.alias], max((override.until - now).total_seconds(), 0.0))
        return left

    def _collect_work(self) -> Iterable[Metric]:
        depths, health = self._depths(), self._controller.health
        queued = sum(depth for kind, depth in depths.items() if kind != NOTIFICATIONS)
        yield GaugeMetricFamily("promoter_queue_depth", "Keys that wait or run", value=queued)
        by_kind = GaugeMetricFamily("promoter_work", "Keys that wait or run, by kind of work", labels=["kind"])
        for kind, depth in depths.items():
            by_kind.add_metric([kind], depth)
        yield by_kind
        ages = GaugeMetricFamily("promoter_look_age_seconds", "Seconds since the last good look, by kind", labels=["kind"])
        for kind, age in health.look_ages.items():
            ages.add_metric([kind], age)
        yield ages
        since = "Seconds since a model that does not answer in time was first asked"
        yield from self._collect_models("late", health.late_models, "Models that do not answer in time", since)
        since = "Seconds since the work on a model first failed for a reason that lies in the model"
        yield from self._collect_models("failing", health.failing_models, "Models whose own work fails", since)

    def _collect_models(
        self, kind: str, found: Mapping[str, ModelTrouble], description: str, since: str
    ) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(f"promoter_{kind}_models", description, value=len(found))
        ages = GaugeMetricFamily(f"promoter_{kind}_model_seconds", since, labels=["model"])
        for name in list(found)[:MAX_MODEL_SERIES]:
            ages.add_metric([name], (self._controller.health.now - found[name].since).total_seconds())
        yield ages

    def _collect_notifications(self) -> Metric:
        undelivered = GaugeMetricFamily(
            "promoter_notifications", "Events that have not arrived, by channel", labels=["channel", "state"]
        )
        for (channel, state), count in sorted(self._undelivered().items()):
            undelivered.add_metric([channel, state], count)
        return undelivered


def _collect_figures(figures: WorkFigures) -> Iterable[Metric]:
    """Yield what the process has counted since it started."""
    changes = CounterMetricFamily(
        "promoter_alias_changes", "Alias changes that ended, by outcome and cause", labels=["outcome", "cause"]
    )
    for labels, count in sorted(figures.changes.items()):
        changes.add_metric(labels, count)
    yield changes
    blocks = CounterMetricFamily("promoter_alias_blocks", "Changes found blocked, each once while it lasts", labels=["verdict"])
    for verdict, count in sorted(figures.blocks.items()):
        blocks.add_metric([verdict], count)
    yield blocks
    failures = CounterMetricFamily("promoter_reconcile_failures", "Pieces of work that failed, by kind", labels=["kind"])
    for kind, count in sorted(figures.failures.items()):
        failures.add_metric([kind], count)
    yield failures
    durations = HistogramMetricFamily(
        "promoter_reconcile_duration_seconds", "How long pieces of work took, by kind", labels=["kind"]
    )
    bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
    for kind, (counts, seconds) in sorted(figures.durations.items()):
        durations.add_metric([kind], list(zip(bounds, accumulate(counts), strict=True)), seconds)
    yield durations


def build_health_blueprint(controller: Controller, depths: WorkCounts, undelivered: UndeliveredCounts = dict) -> Blueprint:
    """Build `/healthz`, `/readyz` and `/metrics`."""
    routes = Blueprint("health", __name__)
    registry = CollectorRegistry()
    registry.register(_PrometheusCollector(controller, depths, undelivered))

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify({"alive": True})

    @routes.get("/readyz")
    def readyz() -> tuple[Response, int]:
        ready, status = check_readiness(controller)
        return jsonify(status), 200 if ready else 503

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4")

    return routes
