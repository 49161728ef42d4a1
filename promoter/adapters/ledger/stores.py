"""Which kind of database a URL names. Its room is imported only then."""

from __future__ import annotations

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from promoter.adapters.ledger.store import LEDGER, DatabaseBackend
from promoter.domain.faults import PermanentError


def select_backend(url: str, busy_timeout: float) -> DatabaseBackend:
    """The store that a database URL names. Raises `PermanentError`, without the URL, which may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise PermanentError(LEDGER, "PROMOTER_DATABASE_URL is not a database URL", "write sqlite:///promoter.db") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        from promoter.adapters.ledger.sqlite import SqliteBackend

        return SqliteBackend(parsed, busy_timeout)
    if backend == "postgresql":
        from promoter.adapters.ledger.postgres import PostgresBackend

        return PostgresBackend(parsed, busy_timeout)
    raise PermanentError(LEDGER, f"no ledger is kept in `{backend}`", "use sqlite:///promoter.db or postgresql://HOST/DATABASE")
