"""The daemon: polls and webhooks put keys on the queue, workers look, the web tells. Stops cleanly on SIGTERM."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from promoter.adapters.queue import KeyedQueue, backoff
from promoter.application.watch import GIT, PULLS, REGISTRY, Watch
from promoter.bootstrap import World
from promoter.delivery.logs import configure
from promoter.delivery.web.app import Parts, create_app
from promoter.delivery.web.server import WebServer
from promoter.domain.faults import Unavailable
from promoter.domain.ledger.milestones import BEAT
from promoter.settings import Settings

log = structlog.get_logger(__name__)

WORKERS = 4
WAKE_SECONDS = 0.5
CHECKPOINT_SECONDS = 300.0
"""How often it is asked whether a checkpoint is due."""
JITTER_SHARE = 0.1
"""Replicas that start together drift apart, so that MLflow is not asked by all at once."""


class Daemon:
    """Everything that runs in `promoter serve`."""

    def __init__(self, world: World) -> None:
        """Opens the ledger, takes the address; looks at nothing yet. Raises `Refused` or `Faults` where that fails."""
        settings = world.settings
        world.require("mlflow_tracking_uri", "repo")
        self._interval = settings.poll_interval
        self.watch: Watch = world.watch(backoff)
        self.queue = KeyedQueue(self.watch.run, workers=WORKERS)
        self.watch.put = self.queue.put
        self.notifier = world.notifier
        self._notices = KeyedQueue(self.notifier.run, workers=len(self.notifier.names))
        self.notifier.put = self._notices.put
        parts = Parts(
            settings=settings,
            watch=self.watch,
            ledger=world.ledger,
            clock=world.clock,
            put=self.queue.put,
            depth=lambda: self.queue.depth,
            undelivered=lambda: self.notifier.counts,
        )
        self.web = WebServer(create_app(parts), *settings.host_and_port)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._presence = world.presence
        self._checkpoints = world.checkpoints

    def start(self) -> None:
        """Answer, look at everything once, then poll."""
        self._presence.start()
        self._notify()
        self.web.start()
        self.queue.start()
        self.queue.put(GIT, "start")
        self.queue.put(REGISTRY, "start")
        if self.watch.pulls:
            self.queue.put(PULLS, "start")
        polled = [(GIT, 0.0), (REGISTRY, self._interval / 2), *([(PULLS, self._interval / 4)] if self.watch.pulls else [])]
        for key, offset in polled:
            self._scheduler.add_job(
                self.queue.put,
                "interval",
                args=(key, "poll"),
                seconds=self._interval,
                jitter=max(self._interval * JITTER_SHARE, 0.001),
                next_run_time=datetime.now(UTC) + timedelta(seconds=self._interval / 2 + offset),
                coalesce=True,
                max_instances=1,
            )
        self._scheduler.add_job(self._presence.beat, "interval", seconds=BEAT.total_seconds(), coalesce=True, max_instances=1)
        self._vouch()
        self._scheduler.start()

    def _vouch(self) -> None:
        if self._checkpoints:
            tick, now = self._checkpoints.tick, datetime.now(UTC)
            self._scheduler.add_job(tick, "interval", seconds=CHECKPOINT_SECONDS, next_run_time=now, coalesce=True)

    def _notify(self) -> None:
        """Before anything is looked at, so that channels which start now are told of whatever the first look finds."""
        try:
            self.notifier.begin()
        except Unavailable as error:
            log.warning("notifications begin later", error=str(error))
        self._notices.start()
        for name in self.notifier.names:
            self._notices.put(name, "start")

    def stop(self) -> None:
        """No more polls, no more requests; what is being written or sent finishes."""
        self.notifier.stop()
        self._scheduler.shutdown(wait=False)
        self.web.stop()
        if not self.queue.stop():
            log.warning("a look was still running, and is closed at the next start")
        self._presence.stop()
        if not self._notices.stop():
            log.warning("a notification was still being sent, and is sent again at the next start")


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    configure(settings.log_format)
    daemon = Daemon(World(settings))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    daemon.start()
    host, _ = settings.host_and_port
    log.info("serving", address=f"http://{host}:{daemon.web.port}", repo=settings.repo, branch=settings.branch)
    while not stopping.wait(WAKE_SECONDS):
        pass  # a signal that the system hands to another thread is noticed only when this one wakes
    log.info("stopping")
    daemon.stop()
    log.info("stopped")
