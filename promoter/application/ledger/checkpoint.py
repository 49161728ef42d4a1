"""Checkpoints: now and then a key vouches for the ledger's head, as an entry of the ledger itself."""

from __future__ import annotations

import structlog

from promoter.application.ports import Clock, Ledger
from promoter.domain.approvals import Signer
from promoter.domain.faults import OutsideError, Refused
from promoter.domain.ledger.chain import Entry, Head, told
from promoter.domain.ledger.checkpoints import PERIOD, Checkpoint
from promoter.domain.ledger.milestones import Event, Milestone

log = structlog.get_logger(__name__)


class Checkpoints:
    """Makes them with one key. Several replicas may: a checkpoint too many does no harm."""

    def __init__(self, ledger: Ledger, clock: Clock, signer: Signer) -> None:
        """Makes none yet."""
        self._ledger = ledger
        self._clock = clock
        self._signer = signer

    def make(self) -> tuple[int, Checkpoint]:
        """One of the head as it is now: its number, and what it says. Raises `Refused` where there is nothing to vouch for."""
        head = self._ledger.head()
        if not head.ledger:
            raise Refused("ledger", "it does not say what it is called: its first entry is missing, or was changed")
        return self._sign(head)

    def tick(self) -> None:
        """One, where the head has moved since the last and that is old enough. What keeps it from that is told in the log."""
        try:
            head = self._ledger.head()
            if head.ledger and self._due(head):
                self._sign(head)
        except OutsideError as error:
            log.warning("no checkpoint can be made", error=str(error))

    def _sign(self, head: Head) -> tuple[int, Checkpoint]:
        made = Checkpoint.sign(head, self._signer)
        number = self._ledger.mark(Milestone(self._clock.now(), Event.CHECKPOINT, made.told))
        log.info("checkpoint", entry=number, head=head.trailer)
        return number, made

    def _due(self, head: Head) -> bool:
        recent = self._ledger.milestones(since=self._clock.now() - PERIOD)
        if any(each.event is Event.CHECKPOINT for each in recent):
            return False
        return not any(_is_checkpoint(entry) for entry in self._ledger.entries(head.entry - 1) if entry.id == head.entry)


def _is_checkpoint(entry: Entry) -> bool:
    try:
        return told(entry).get("event") == Event.CHECKPOINT
    except ValueError:
        return False
