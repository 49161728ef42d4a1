"""`SqlLedger`: the port `Ledger`, one transaction a call.

What may turn out to be nothing new is first looked up without a lock, and again under it: to change nothing costs no write.
"""

from __future__ import annotations

from promoter.adapters.ledger.agreeing import SqlObservationLog
from promoter.adapters.ledger.checking import SqlVerification
from promoter.adapters.ledger.deciding import SqlDecisionLog
from promoter.adapters.ledger.keeping import SqlJournal
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.recording import SqlAuditLog
from promoter.adapters.ledger.retention import SqlRetention
from promoter.adapters.ledger.stores import select_backend
from promoter.adapters.ledger.upgrade import open_for_reading, open_for_writing

BUSY_TIMEOUT = 10.0


class SqlLedger(SqlAuditLog, SqlObservationLog, SqlDecisionLog, SqlJournal, SqlRetention, SqlVerification):
    """The ledger in a SQL database; open it with `open`. Every method may raise `TransientError` or `PermanentError`."""

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout: float = BUSY_TIMEOUT) -> SqlLedger:
        """Open the database at the URL, and create and migrate it first if need be.

        `read_only` changes nothing at all: what is not there is an empty ledger. `busy_timeout` is in seconds.
        """
        backend = select_backend(url, busy_timeout)
        return cls(open_for_reading(backend) if read_only else open_for_writing(backend))

    @property
    def outbox(self) -> SqlOutbox:
        """The same database as a source of events."""
        return SqlOutbox(self._database)
