"""The port between the ledger and a kind of database: all that differs between SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from promoter.domain.errors import ExternalError

LEDGER = "ledger"
"""The system that errors name as their origin."""


class DatabaseBackend(Protocol):
    """One database of that kind."""

    @property
    def location(self) -> str:
        """The database as messages name it, without secrets."""
        ...

    @property
    def secret(self) -> str | None:
        """The password that no message may contain; None where there is none."""
        ...

    def prepare_database(self) -> None:
        """Make sure that the database exists and can be written. Raises `PermanentError` or `TransientError`."""
        ...

    def has_database(self) -> bool:
        """Whether there is a database to read."""
        ...

    def build_engine(self, *, read_only: bool) -> Engine:
        """Build a pool of connections, without opening one."""
        ...

    def begin_transaction(self, connection: Connection, *, write: bool) -> None:
        """Begin a transaction: a reader sees one moment, a writer excludes other writers."""
        ...

    def convert_error(self, error: DBAPIError) -> ExternalError:
        """Convert a driver's error to one of the domain."""
        ...
