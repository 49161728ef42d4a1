"""What a kind of database must tell the ledger about itself; all that differs between them lies behind this."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from promoter.domain.errors import ExternalError

LEDGER = "ledger"


class DatabaseBackend(Protocol):
    """One database."""

    @property
    def location(self) -> str:
        """Names it for people."""
        ...

    @property
    def secret(self) -> str | None:
        """What no message may contain."""
        ...

    def prepare_database(self) -> None:
        """Make sure that it is there and can be written. Raises `PermanentError` or `TransientError`."""
        ...

    def has_database(self) -> bool:
        """Whether there is something to read."""
        ...

    def build_engine(self, *, read_only: bool) -> Engine:
        """A pool of connections; none is opened yet."""
        ...

    def begin_transaction(self, connection: Connection, *, write: bool) -> None:
        """Start a transaction: one that reads sees one moment, one that writes is alone."""
        ...

    def convert_error(self, error: DBAPIError) -> ExternalError:
        """What went wrong, for people."""
        ...
