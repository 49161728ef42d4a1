"""Presence: a daemon says when it begins to watch, that it still does, and when it ends, so that gaps can be told later."""

from __future__ import annotations

import uuid

import structlog

from promoter import __version__
from promoter.application.ports import Clock, Ledger
from promoter.application.survey import Planner
from promoter.domain.faults import ExternalError
from promoter.domain.ledger.milestones import LifecycleEventType, LifecycleEvent

log = structlog.get_logger(__name__)


class Heartbeat:
    """One run of a daemon. A ledger that cannot be written now is told in the log: to say so keeps nothing else waiting."""

    def __init__(self, ledger: Ledger, clock: Clock, survey: Planner) -> None:
        """Gives the run a name."""
        self.run = uuid.uuid4().hex
        self._ledger = ledger
        self._clock = clock
        self._planner = survey

    def record_start(self) -> None:
        """It begins to watch."""
        self._record_event(LifecycleEventType.STARTED)

    def record_heartbeat(self) -> None:
        """It still watches."""
        self._record_event(LifecycleEventType.WATCHING)

    def record_stop(self) -> None:
        """It watches no more."""
        self._record_event(LifecycleEventType.STOPPED)

    def _record_event(self, event: LifecycleEventType) -> None:
        observed_until = self._planner.observed_until
        details = {"run": self.run, "tool": __version__, **({"looked": observed_until.isoformat()} if observed_until else {})}
        try:
            self._ledger.record_lifecycle_event(LifecycleEvent(self._clock.now(), event, details))
        except ExternalError as error:
            log.warning("the ledger cannot be told that somebody watches", milestone=event.value, error=str(error))
