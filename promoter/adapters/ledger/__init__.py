"""The append-only ledger in a SQL database. SQLAlchemy and Alembic are used here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from promoter.adapters.ledger.database import build_missing_error, open_for_reading, open_for_writing, select_backend
from promoter.adapters.ledger.decisions import SqlDecisionLog
from promoter.adapters.ledger.last_applied import SqlLastApplied
from promoter.adapters.ledger.observations import SqlObservationLog
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.records import SqlAuditLog
from promoter.adapters.ledger.verification import SqlChainReader

BUSY_TIMEOUT = 10.0


class SqlLedger(SqlAuditLog, SqlDecisionLog, SqlLastApplied, SqlObservationLog, SqlChainReader):
    """The port `Ledger`, whose five roles are five repositories on one database; open it with `open`."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        read_only: bool = False,
        create: bool = True,
        busy_timeout: float = BUSY_TIMEOUT,
        on_append: Callable[[], None] = lambda: None,
    ) -> SqlLedger:
        """Open the database at the URL, and migrate it first where necessary.

        `create` begins a ledger where there is none; else raises `PermanentError` there, and makes nothing. `read_only` changes
        nothing at all: a ledger that does not exist reads as an empty one. `busy_timeout` is in seconds.
        `on_append` is called after each addition, once it can be read; it must not raise, and returns at once.
        """
        backend = select_backend(url, busy_timeout)
        return cls(open_for_reading(backend) if read_only else open_for_writing(backend, on_append, create=create))

    @property
    def outbox(self) -> SqlOutbox:
        """The same database as a source of events for notifications."""
        return SqlOutbox(self._database)

    def require_initialized(self) -> None:
        """Raise `PermanentError` where nobody has written a ledger yet, or the URL names another database."""
        if not self._database.is_initialized:
            raise build_missing_error(self._database.location)

    @property
    def is_new(self) -> bool:
        """Whether this program has just begun the ledger."""
        return self._database.is_new

    @property
    def is_initialized(self) -> bool:
        """Whether there is a ledger to read; where there is none, it reads as an empty one."""
        return self._database.is_initialized

    @property
    def location(self) -> str:
        """The database, named without secrets."""
        return self._database.location

    def close_connections(self) -> None:
        """Close every connection to the database."""
        self._database.close_connections()


__all__ = ["SqlLedger"]
