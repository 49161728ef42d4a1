"""A ledger that is open: what all parts of the port stand on."""

from __future__ import annotations

from sqlalchemy import text

from promoter.adapters.ledger.database import LedgerDatabase
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import PermanentError


class OpenLedger:
    """Takes over a database whose schema is up to date."""

    def __init__(self, database: LedgerDatabase) -> None:
        """Opens no connection yet."""
        self._database = database

    @property
    def location(self) -> str:
        """Where it is, for people, without secrets."""
        return self._database.location

    def require_initialized(self) -> None:
        """Raises `PermanentError` where nobody has written a ledger yet, or it is somewhere else."""
        if not self._database.is_initialized:
            message = f"there is none at {self.location}"
            raise PermanentError(LEDGER, message, "name the one that the daemon writes with PROMOTER_DATABASE_URL")

    def check_readable(self) -> None:
        """Returns where the ledger can be read now."""
        with self._database.read_transaction() as connection:
            connection.execute(text("SELECT id FROM records LIMIT 1"))

    def close_connections(self) -> None:
        """Close every connection."""
        self._database.close_connections()
