"""The ledger's room: the append-only record in a SQL database. SQLAlchemy and Alembic are used here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from promoter.adapters.ledger.database import open_for_reading, open_for_writing, select_backend
from promoter.adapters.ledger.decisions import SqlDecisionLog
from promoter.adapters.ledger.journal import SqlJournal, SqlRetention
from promoter.adapters.ledger.observations import SqlObservationLog
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.records import SqlAuditLog
from promoter.adapters.ledger.verification import SqlVerification

BUSY_TIMEOUT = 10.0


class SqlLedger(SqlAuditLog, SqlObservationLog, SqlDecisionLog, SqlJournal, SqlRetention, SqlVerification):
    """The ledger in a SQL database; open it with `open`. Every method may raise `TransientError` or `PermanentError`."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        read_only: bool = False,
        busy_timeout: float = BUSY_TIMEOUT,
        on_append: Callable[[], None] = lambda: None,
    ) -> SqlLedger:
        """Open the database at the URL, and create and migrate it first if need be.

        `read_only` changes nothing at all: what is not there is an empty ledger. `busy_timeout` is in seconds. `on_append` is
        called after each addition, once it can be read; it must not raise, and returns at once.
        """
        backend = select_backend(url, busy_timeout)
        return cls(open_for_reading(backend) if read_only else open_for_writing(backend, on_append))

    @property
    def outbox(self) -> SqlOutbox:
        """The same database as a source of events."""
        return SqlOutbox(self._database)


__all__ = ["SqlLedger"]
