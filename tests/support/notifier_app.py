"""A notifier at work in a test, and inboxes for its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from promoter.adapters.ledger import SqlLedger
from promoter.application.notifications import ChannelNotifier, DeliveryTerms
from promoter.application.ports.outbox import EventOutbox
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.errors import ExternalError, TransientError
from promoter.domain.notifications import EventType, NotificationEvent
from tests.support.fakes.registry import FakeClock, FreeLocks

DAY = timedelta(hours=24)
STEADY = DeliveryTerms(patience=DAY, spread=lambda: 1.0)


@dataclass
class Inbox:
    """A channel that keeps what arrives. `on` is called before, and may raise."""

    name: str = "ci"
    wanted_event_types: frozenset[EventType] = frozenset({EventType.CHANGED})
    came: list[NotificationEvent] = field(default_factory=list)
    on: Callable[[NotificationEvent], None] = lambda _event: None

    def send_event(self, event: NotificationEvent) -> None:
        """As the port says."""
        self.on(event)
        self.came.append(event)

    @property
    def entries(self) -> list[int]:
        """What arrived, by number."""
        return [each.entry for each in self.came]

    def down(self, *, to: Sequence[int] | None = None, error: ExternalError | None = None) -> None:
        """Take nothing any more, or none of these entries."""

        def refuse(event: NotificationEvent) -> None:
            if to is None or event.entry in to:
                raise error or TransientError("ci", "status 503")

        self.on = refuse

    def up(self) -> None:
        """Take everything again."""
        self.on = lambda _event: None


class NotifierApp:
    """A notifier on a real ledger, with a clock of its own."""

    def __init__(self, ledger: SqlLedger, *inboxes: Inbox, terms: DeliveryTerms = STEADY) -> None:
        """Nothing is begun yet."""
        self.ledger, self.inboxes, self.time, self.terms = ledger, inboxes, FakeClock(), terms
        self.locks = FreeLocks()
        self.start()

    def start(self, outbox: EventOutbox | None = None) -> None:
        """As after a restart."""
        self.notifier = ChannelNotifier(
            self.inboxes, self.terms, outbox=outbox or self.ledger.outbox, locks=self.locks, clock=self.time
        )

    def move(self, count: int = 1) -> list[int]:
        """Somebody moves an alias so often; the numbers of the records."""
        record = NewAuditRecord(
            self.time.now(), RecordKind.OBSERVED, "fraud", "champion", 1, 2, reason="moved outside Promoter"
        )
        self.ledger.record_observed_moves([record] * count)
        last = self.ledger.read_chain_head().entry
        return list(range(last - count + 1, last + 1))

    def run(self, name: str = "ci") -> float:
        """One round."""
        return self.notifier.run_channel(name, "test")

    def go_on(self, rounds: int = 100) -> None:
        """Let time pass from round to round, as the queue does."""
        for _ in range(rounds):
            self.time.pass_time(seconds=self.run())

    def states(self) -> list[str]:
        """What the rows of the channel say, in order."""
        return [each.state.value for each in self.ledger.outbox.read_delivery_attempts("ci", 0)]


def opened(folder: Path, *inboxes: Inbox) -> Iterator[NotifierApp]:
    """One that has begun."""
    ledger = SqlLedger.open(f"sqlite:///{folder / 'promoter.db'}")
    made = NotifierApp(ledger, *inboxes)
    made.notifier.start_channels()
    yield made
    ledger.close_connections()
