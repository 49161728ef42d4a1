"""`SqlLedger`: the port `Ledger`, one transaction a call.

What may turn out to be nothing new is first looked up without a lock, and again under it: to change nothing costs no write.
"""

from __future__ import annotations

from promoter.adapters.ledger.agreeing import Agreeing
from promoter.adapters.ledger.checking import Checking
from promoter.adapters.ledger.deciding import Deciding
from promoter.adapters.ledger.keeping import Keeping
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.recording import Recording
from promoter.adapters.ledger.retention import Retaining
from promoter.adapters.ledger.stores import store_of
from promoter.adapters.ledger.upgrade import open_to_read, open_to_write

BUSY_TIMEOUT = 10.0


class SqlLedger(Recording, Agreeing, Deciding, Keeping, Retaining, Checking):
    """The ledger in a SQL database; open it with `open`. Every method may raise `Unavailable` or `Refused`."""

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout: float = BUSY_TIMEOUT) -> SqlLedger:
        """Open the database at the URL, and create and migrate it first if need be.

        `read_only` changes nothing at all: what is not there is an empty ledger. `busy_timeout` is in seconds.
        """
        store = store_of(url, busy_timeout)
        return cls(open_to_read(store) if read_only else open_to_write(store))

    @property
    def outbox(self) -> SqlOutbox:
        """The same database as a source of events."""
        return SqlOutbox(self._database)
