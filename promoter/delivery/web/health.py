"""Health for machines: alive, ready, and figures for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Blueprint, Response, jsonify
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from promoter.application.query import alias_rows
from promoter.application.watch import Watch
from promoter.domain.faults import OutsideError

Undelivered = Callable[[], Mapping[tuple[str, str], int]]


def readiness(watch: Watch) -> tuple[bool, dict[str, Any]]:
    """Ready: a revision is in force, and every part of the world answered when last asked."""
    declaration = watch.revisions.in_force
    trouble = dict(watch.health.trouble)
    checked = watch.health.checked
    told = {
        "ready": declaration is not None and not trouble,
        "revision": declaration.revision if declaration else None,
        "refused": watch.revisions.refused,
        "trouble": trouble,
        "elsewhere": dict(watch.health.elsewhere),
        "checked": checked.isoformat() if checked else None,
    }
    return bool(told["ready"]), told


class _Figures(Collector):
    """Read at each scrape, so that they are never stale."""

    def __init__(self, watch: Watch, depth: Callable[[], int], undelivered: Undelivered) -> None:
        self._watch = watch
        self._depth = depth
        self._undelivered = undelivered

    def collect(self) -> Iterable[Metric]:
        views = self._watch.views
        yield GaugeMetricFamily("promoter_ready", "1 where /readyz says ready", value=float(readiness(self._watch)[0]))
        yield GaugeMetricFamily("promoter_queue_depth", "Keys that wait or run", value=self._depth())
        yield GaugeMetricFamily("promoter_models", "Managed models", value=len(views))
        refused = float(self._watch.revisions.refused is not None)
        yield GaugeMetricFamily("promoter_revision_refused", "1 where the branch's head cannot be used", value=refused)
        states = GaugeMetricFamily("promoter_aliases", "Aliases by status", labels=["status"])
        counts: dict[str, int] = {}
        at = self._watch.health.checked
        for view in views.values():
            for row in alias_rows(view, {}, at) if at else ():
                counts[row.status] = counts.get(row.status, 0) + 1
        for status, count in sorted(counts.items()):
            states.add_metric([status.replace(" ", "_")], count)
        yield states
        with contextlib.suppress(OutsideError):  # the other figures are worth having without the ledger
            yield self._notifications()

    def _notifications(self) -> Metric:
        undelivered = GaugeMetricFamily(
            "promoter_notifications", "Events that have not arrived, by channel", labels=["channel", "state"]
        )
        for (channel, state), count in sorted(self._undelivered().items()):
            undelivered.add_metric([channel, state], count)
        return undelivered


def blueprint(watch: Watch, depth: Callable[[], int], undelivered: Undelivered = dict) -> Blueprint:
    """`/healthz`, `/readyz`, `/metrics`."""
    routes = Blueprint("health", __name__)
    registry = CollectorRegistry()
    registry.register(_Figures(watch, depth, undelivered))

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify({"alive": True})

    @routes.get("/readyz")
    def readyz() -> tuple[Response, int]:
        ready, told = readiness(watch)
        return jsonify(told), 200 if ready else 503

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4")

    return routes
