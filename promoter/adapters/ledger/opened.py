"""A ledger that is open: what all parts of the port stand on."""

from __future__ import annotations

from sqlalchemy import text

from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import Refused


class Opened:
    """Takes over a database whose schema is up to date."""

    def __init__(self, database: Database) -> None:
        """Opens no connection yet."""
        self._database = database

    @property
    def place(self) -> str:
        """Where it is, for people, without secrets."""
        return self._database.place

    def expect(self) -> None:
        """Raises `Refused` where nobody has written a ledger yet, or it is somewhere else."""
        if not self._database.there:
            told = f"there is none at {self.place}"
            raise Refused(LEDGER, told, "name the one that the daemon writes with PROMOTER_DATABASE_URL")

    def ping(self) -> None:
        """Returns where the ledger can be read now."""
        with self._database.read() as connection:
            connection.execute(text("SELECT id FROM records LIMIT 1"))

    def dispose(self) -> None:
        """Close every connection."""
        self._database.dispose()
