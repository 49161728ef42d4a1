"""What a kind of database must tell the ledger about itself; all that differs between them lies behind this."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from promoter.domain.faults import OutsideError, Refused

LEDGER = "ledger"


class Store(Protocol):
    """One database."""

    @property
    def place(self) -> str:
        """Names it for people."""
        ...

    @property
    def secret(self) -> str | None:
        """What no message may contain."""
        ...

    def prepare(self) -> None:
        """Make sure that it is there and can be written. Raises `Refused` or `Unavailable`."""
        ...

    def exists(self) -> bool:
        """Whether there is something to read."""
        ...

    def engine(self, *, read_only: bool) -> Engine:
        """A pool of connections; none is opened yet."""
        ...

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Start a transaction: one that reads sees one moment, one that writes is alone."""
        ...

    def fault(self, error: DBAPIError) -> OutsideError:
        """What went wrong, for people."""
        ...


def store_of(url: str, busy_timeout: float) -> Store:
    """The store that a database URL names. Raises `Refused`, without the URL, which may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Refused(LEDGER, "PROMOTER_DATABASE_URL is not a database URL", "write sqlite:///promoter.db") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        from promoter.adapters.ledger.sqlite import SqliteStore

        return SqliteStore(parsed, busy_timeout)
    if backend == "postgresql":
        from promoter.adapters.ledger.postgres import PostgresStore

        return PostgresStore(parsed, busy_timeout)
    raise Refused(LEDGER, f"no ledger is kept in `{backend}`", "use sqlite:///promoter.db or postgresql://HOST/DATABASE")
