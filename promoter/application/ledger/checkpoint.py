"""Checkpoints: now and then a key vouches for the ledger's head, as an entry of the ledger itself."""

from __future__ import annotations

import structlog

from promoter.application.ports import Clock, Ledger
from promoter.domain.approvals import SigningKey
from promoter.domain.faults import ExternalError, PermanentError
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, parse_entry_facts
from promoter.domain.ledger.checkpoints import CHECKPOINT_INTERVAL, LedgerCheckpoint
from promoter.domain.ledger.milestones import LifecycleEventType, LifecycleEvent

log = structlog.get_logger(__name__)


class CheckpointSigner:
    """Makes them with one key. Several replicas may: a checkpoint too many does no harm."""

    def __init__(self, ledger: Ledger, clock: Clock, signer: SigningKey) -> None:
        """Makes none yet."""
        self._ledger = ledger
        self._clock = clock
        self._signer = signer

    def sign_checkpoint(self) -> tuple[int, LedgerCheckpoint]:
        """One of the head as it is now: its number, and what it says. Raises `PermanentError` where there is nothing to vouch for."""
        head = self._ledger.read_chain_head()
        if not head.ledger:
            raise PermanentError("ledger", "it does not say what it is called: its first entry is missing, or was changed")
        return self._sign_and_record(head)

    def sign_when_due(self) -> None:
        """One, where the head has moved since the last and that is old enough. What keeps it from that is told in the log."""
        try:
            head = self._ledger.read_chain_head()
            if head.ledger and self._is_checkpoint_due(head):
                self._sign_and_record(head)
        except ExternalError as error:
            log.warning("no checkpoint can be made", error=str(error))

    def _sign_and_record(self, head: LedgerHead) -> tuple[int, LedgerCheckpoint]:
        made = LedgerCheckpoint.sign_head(head, self._signer)
        number = self._ledger.record_lifecycle_event(
            LifecycleEvent(self._clock.now(), LifecycleEventType.CHECKPOINT, made.event_facts)
        )
        log.info("checkpoint", entry=number, head=head.trailer_value)
        return number, made

    def _is_checkpoint_due(self, head: LedgerHead) -> bool:
        recent = self._ledger.find_lifecycle_events(since=self._clock.now() - CHECKPOINT_INTERVAL)
        if any(each.event is LifecycleEventType.CHECKPOINT for each in recent):
            return False
        return not any(
            _is_checkpoint_entry(entry) for entry in self._ledger.iterate_entries(head.entry - 1) if entry.id == head.entry
        )


def _is_checkpoint_entry(entry: LedgerEntry) -> bool:
    try:
        return parse_entry_facts(entry).get("event") == LifecycleEventType.CHECKPOINT
    except ValueError:
        return False
