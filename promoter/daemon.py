"""The daemon: polls and webhooks enqueue work items, workers carry them out, the web shows them. SIGTERM stops it cleanly."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from promoter.adapters.system import close_own_memory
from promoter.adapters.work_queue import KeyedWorkQueue, WorkerLimits, WorkLanes, compute_backoff_delay
from promoter.application.controller import Controller
from promoter.application.work_items import GIT, PULLS, REGISTRY, WorkItem, find_work_lane
from promoter.container import Container
from promoter.domain.errors import Fault, Faults, TransientError
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL
from promoter.logs import configure_logging
from promoter.settings import Settings
from promoter.web.app import AppDependencies, create_app
from promoter.web.health import NOTIFICATIONS
from promoter.web.server import WebServer

log = structlog.get_logger(__name__)


WORKERS = {
    "git": WorkerLimits(1),
    "registry": WorkerLimits(1),
    "pulls": WorkerLimits(1),
    "models": WorkerLimits(6, reserved=2, spare=24, hanging=4),
    "results": WorkerLimits(1),
    "proposals": WorkerLimits(4, reserved=1, spare=8, hanging=2),
}
"""The workers of each kind of work. A notification channel has one worker of its own."""
WAKE_SECONDS = 0.5
LOCK_PATIENCE = 10.0
"""Seconds for which a worker waits for a model that another daemon holds, before it works on something else."""
CHECKPOINT_SECONDS = 300.0
"""Seconds between two checks whether a checkpoint is due."""
JITTER_SHARE = 0.1
"""The share of the poll interval that is random, so that replicas do not all ask MLflow at once."""


NEW_LEDGER = (
    "a new ledger begins, since there was none: it does not know who held an alias before, so soak times begin now, "
    "`promoter rollback` needs --to, and where the registry differs from git, that is a new decision, and no drift. "
    "If there should be a ledger, stop this, and check PROMOTER_DATABASE_URL"
)


class PromoterDaemon:
    """Everything that runs in `promoter serve`."""

    def __init__(self, settings: Settings) -> None:
        """Open the ledger and take the address, but do no work yet. Raises `PermanentError` or `Faults`."""
        _require_private_address(settings)
        self.queue: WorkLanes[WorkItem] = WorkLanes(find_work_lane, WORKERS)
        self._notification_queue: KeyedWorkQueue[str] = KeyedWorkQueue()
        container = Container(
            settings,
            enqueue_work=self.queue.enqueue,
            enqueue_channel=self._notification_queue.enqueue,
            lock_patience=LOCK_PATIENCE,
        )
        container.require_settings("mlflow_tracking_uri", "repo")
        self._container = container
        self._interval = settings.poll_interval
        self.controller: Controller = container.build_controller(compute_backoff_delay)
        self.notifier = container.notifier
        parts = AppDependencies(
            settings=settings,
            controller=self.controller,
            ledger=container.ledger,
            clock=container.clock,
            enqueue=self.queue.enqueue,
            depths=self._count_work,
            undelivered=lambda: self.notifier.event_counts,
        )
        self.web = WebServer(create_app(parts), *settings.listen_host_and_port)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._heartbeat = container.heartbeat
        self._checkpoints = container.checkpoint_signer

    def _count_work(self) -> Mapping[str, int]:
        return {**self.queue.queue_depths, NOTIFICATIONS: self._notification_queue.queue_depth}

    def start(self) -> None:
        """Answer requests, work on everything once, then poll."""
        if self._container.is_ledger_new:
            log.warning(NEW_LEDGER, ledger=self._container.ledger_location)
        self._heartbeat.record_start()
        self._start_notifications()
        self.web.start()
        self.queue.start_workers(self.controller.run_work_item)
        self.queue.enqueue(GIT, "start")
        self.queue.enqueue(REGISTRY, "start")
        if self.controller.pull_request_work:
            self.queue.enqueue(PULLS, "start")
        polled = [
            (GIT, 0.0),
            (REGISTRY, self._interval / 2),
            *([(PULLS, self._interval / 4)] if self.controller.pull_request_work else []),
        ]
        for item, offset in polled:
            self._scheduler.add_job(
                self.queue.enqueue,
                "interval",
                args=(item, "poll"),
                seconds=self._interval,
                jitter=max(self._interval * JITTER_SHARE, 0.001),
                next_run_time=datetime.now(UTC) + timedelta(seconds=self._interval / 2 + offset),
                coalesce=True,
                max_instances=1,
            )
        self._scheduler.add_job(
            self._heartbeat.record_heartbeat,
            "interval",
            seconds=HEARTBEAT_INTERVAL.total_seconds(),
            coalesce=True,
            max_instances=1,
        )
        self._schedule_checkpoints()
        self._scheduler.start()

    def _schedule_checkpoints(self) -> None:
        if self._checkpoints:
            tick, now = self._checkpoints.sign_when_due, datetime.now(UTC)
            self._scheduler.add_job(tick, "interval", seconds=CHECKPOINT_SECONDS, next_run_time=now, coalesce=True)

    def _start_notifications(self) -> None:
        """Start the channels before any work, so that new ones get the events of whatever the first work finds."""
        try:
            self.notifier.start_channels()
        except TransientError as error:
            log.warning("notifications begin later", error=str(error))
        self._notification_queue.start_workers(self.notifier.run_channel, len(self.notifier.channel_names), NOTIFICATIONS)
        for name in self.notifier.channel_names:
            self._notification_queue.enqueue(name, "start")

    def stop(self) -> None:
        """No more polls, no more requests; what is being written or sent finishes."""
        self.notifier.stop_sending()
        self._scheduler.shutdown(wait=False)
        self.web.stop()
        if not self.queue.stop_workers():
            log.warning("a look was still running, and is closed at the next start")
        self._heartbeat.record_stop()
        if not self._notification_queue.stop_workers():
            log.warning("a notification was still being sent, and is sent again at the next start")


def _require_private_address(settings: Settings) -> None:
    """Raise `Faults` where others could reach the daemon, which has no sign-in, and nobody says that this is meant."""
    host, _ = settings.listen_host_and_port
    if settings.allow_anonymous or _is_loopback(host):
        return
    raise Faults(
        [
            Fault(
                f"PROMOTER_LISTEN is {settings.listen}: others could read its pages and API, which have no sign-in",
                fix="listen on 127.0.0.1, behind a proxy that knows who asks; or set PROMOTER_ALLOW_ANONYMOUS=true if only"
                " those reach it who may",
            )
        ]
    )


def _is_loopback(host: str) -> bool:
    """Whether each address of the host is this machine's own. An unknown name fails by itself."""
    try:
        found = {row[4][0] for row in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    addresses = [ip_address(str(each).partition("%")[0]) for each in found]
    return all((getattr(each, "ipv4_mapped", None) or each).is_loopback for each in addresses)


def run_daemon(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    close_own_memory()  # secrets are in its environment: not even a child of the same user gets to read them
    configure_logging(settings.log_format)
    daemon = PromoterDaemon(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    daemon.start()
    host, _ = settings.listen_host_and_port
    where = {"path": settings.path} if settings.path else {}
    log.info("serving", address=f"http://{host}:{daemon.web.port}", repo=settings.repo, branch=settings.branch, **where)
    while not stopping.wait(WAKE_SECONDS):
        pass  # a signal that the system hands to another thread is noticed only when this one wakes
    log.info("stopping")
    daemon.stop()
    log.info("stopped")
