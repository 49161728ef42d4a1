"""Presence: a daemon says when it begins to watch, that it still does, and when it ends, so that gaps can be told later."""

from __future__ import annotations

import uuid

import structlog

from promoter import __version__
from promoter.application.ports import Clock, Ledger
from promoter.application.survey import Surveyor
from promoter.domain.faults import OutsideError
from promoter.domain.ledger.milestones import Event, Milestone

log = structlog.get_logger(__name__)


class Presence:
    """One run of a daemon. A ledger that cannot be written now is told in the log: to say so keeps nothing else waiting."""

    def __init__(self, ledger: Ledger, clock: Clock, survey: Surveyor) -> None:
        """Gives the run a name."""
        self.run = uuid.uuid4().hex
        self._ledger = ledger
        self._clock = clock
        self._survey = survey

    def start(self) -> None:
        """It begins to watch."""
        self._mark(Event.STARTED)

    def beat(self) -> None:
        """It still watches."""
        self._mark(Event.WATCHING)

    def stop(self) -> None:
        """It watches no more."""
        self._mark(Event.STOPPED)

    def _mark(self, event: Event) -> None:
        looked = self._survey.looked
        told = {"run": self.run, "tool": __version__, **({"looked": looked.isoformat()} if looked else {})}
        try:
            self._ledger.mark(Milestone(self._clock.now(), event, told))
        except OutsideError as error:
            log.warning("the ledger cannot be told that somebody watches", milestone=event.value, error=str(error))
