"""Mutual exclusion by key for every host that works on a ledger in PostgreSQL: advisory locks of its own database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from promoter.adapters.ledger.database import omit_secret, select_backend
from promoter.adapters.ledger.postgres import LOCK_TIMEOUT, PostgresBackend
from promoter.domain.errors import ExternalError, PermanentError, TimeLimitError, TransientError

log = structlog.get_logger(__name__)

_ERROR_SOURCE = "lock"
_BUSY_TIMEOUT = 10.0
_POOLING_TRIES = 8
_MASK = 0xFFFFFFFF
_HOLDERS_SQL = (
    "SELECT {what} FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.mode = 'ExclusiveLock' "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.classid = {high} AND l.objid = {low} {more}"
)


@dataclass
class _LockSession:
    """The connection of one thread, on which all locks lie that the thread holds."""

    connection: Connection
    keys: dict[str, int] = field(default_factory=dict)
    """The number of each key that is held."""


class AdvisoryLocks:
    """The port `Locks`, in the database of the ledger.

    A lock belongs to a connection, and the server frees it when that ends: when the program dies, or when the server or the
    network between them does. A program that is merely stopped keeps its connection, and so its locks: others wait. A thread
    has one connection for all that it holds, so that there are at most as many as there are threads that hold locks. A lock is
    not re-entrant: to take a key that the same thread holds is an error.
    """

    def __init__(self, backend: PostgresBackend, read_ledger_name: Callable[[], str], group: str, *, timeout: float) -> None:
        self._backend = backend
        self._engine: Engine = backend.build_lock_engine(timeout)
        self._read_ledger_name = read_ledger_name
        self._group = group
        self._timeout = timeout
        self._ledger_name: str | None = None
        self._has_sessions = False
        self._mine = threading.local()

    @classmethod
    def open(cls, url: str, read_ledger_name: Callable[[], str], group: str = "", *, timeout: float = 60.0) -> AdvisoryLocks:
        """Prepare the locks of the ledger at that URL. No connection is made before a key is taken.

        `read_ledger_name` tells two ledgers in one database apart; keys of another `group` are other locks. `timeout` is in
        seconds. Raises `PermanentError` where the URL names no PostgreSQL database.
        """
        backend = select_backend(url, _BUSY_TIMEOUT)
        if not isinstance(backend, PostgresBackend):
            raise PermanentError(_ERROR_SOURCE, "only PostgreSQL has advisory locks", "write postgresql://HOST/DATABASE")
        return cls(backend, read_ledger_name, group, timeout=timeout)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Wait for the key, and hold it. Raises `TransientError` when that takes too long, or without the database."""
        session: _LockSession | None = self._mine.__dict__.get("session")
        if session and key in session.keys:
            raise RuntimeError(f"this thread holds {key!r} already")
        number = self._find_number(key)
        if session is None:
            session = self._mine.session = self._open_session()
        try:
            self._acquire(session, key, number)
            try:
                yield
            finally:
                self._release(session, key)
        finally:
            if not session.keys:
                del self._mine.session
                session.connection.close()

    def require_held(self, key: str) -> None:
        """Check on the lock's own connection that the server still has the lock. Raises `TransientError` where it was lost."""
        session: _LockSession | None = self._mine.__dict__.get("session")
        if session is None or key not in session.keys:
            raise RuntimeError(f"this thread does not hold {key!r}")
        query = _render_holders_sql(session.keys[key], "1", "AND l.pid = pg_backend_pid()")
        try:
            held = not session.connection.invalidated and self._execute(session.connection, query)
        except SQLAlchemyError as error:
            self._invalidate(session.connection)
            raise self._lost_error(key) from omit_secret(self._backend, error)
        if not held:
            raise self._lost_error(key)

    def close_connections(self) -> None:
        """Close the connections that hold nothing."""
        self._engine.dispose()

    def _find_number(self, key: str) -> int:
        """Find the lock's number: the same on every host, and another one for every other ledger, group and key."""
        if self._ledger_name is None:
            self._ledger_name = self._read_ledger_name()
        text = f"promoter lock\n{self._ledger_name}\n{self._group}\n{key}"
        return int.from_bytes(sha256(text.encode(errors="surrogatepass")).digest()[:8], "big", signed=True)

    def _open_session(self) -> _LockSession:
        try:
            connection = self._engine.connect()
        except PoolTimeoutError as error:
            raise TransientError(_ERROR_SOURCE, "too many threads hold locks", "run fewer workers") from error
        except DBAPIError as error:
            raise self._backend.convert_error(error) from omit_secret(self._backend, error)
        try:
            if not self._has_sessions:
                self._require_sessions(connection)
                self._has_sessions = True
        except BaseException as error:
            self._invalidate(connection)
            connection.close()
            if isinstance(error, DBAPIError):
                raise self._backend.convert_error(error) from omit_secret(self._backend, error)
            raise
        return _LockSession(connection)

    def _require_sessions(self, connection: Connection) -> None:
        """Raise `PermanentError` behind a pooler that gives each statement to any server process: no lock would hold."""
        driver: Any = connection.connection.driver_connection
        if driver.info.backend_pid == self._execute(connection, "SELECT pg_backend_pid()"):
            return
        # A pooler stands between. Where each client has a server process of its own, no two ever share one.
        with self._engine.connect() as other:
            pids = [
                tuple(self._execute(each, "SELECT pg_backend_pid()") for each in (connection, other))
                for _ in range(_POOLING_TRIES)
            ]
        if len(set(pids)) > 1 or any(one == two for one, two in pids):
            raise PermanentError(
                _ERROR_SOURCE,
                f"{self._backend.location} is reached through a connection pooler in transaction mode, in which no lock holds",
                "let PROMOTER_DATABASE_URL name the PostgreSQL server itself, or a pool in session mode",
            )

    def _acquire(self, session: _LockSession, key: str, number: int) -> None:
        if session.connection.invalidated:
            raise self._lost_error(next(iter(session.keys), key))
        try:
            self._execute(session.connection, f"SELECT pg_advisory_lock({number})")
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == LOCK_TIMEOUT:
                raise self._held_error(session, key, number) from None
            self._invalidate(session.connection)
            raise self._backend.convert_error(error) from omit_secret(self._backend, error)
        except BaseException:
            self._invalidate(session.connection)  # nobody knows whether the lock was given
            raise
        session.keys[key] = number

    def _release(self, session: _LockSession, key: str) -> None:
        """Free the key. One that was lost is free already: what was done under it was checked before, or is checked by git."""
        number, connection = session.keys.pop(key), session.connection
        try:
            freed = not connection.invalidated and self._execute(connection, f"SELECT pg_advisory_unlock({number})")
        except SQLAlchemyError:
            freed = False
        if not freed:
            self._invalidate(connection)
            log.warning("a lock was lost while it was held", key=key)

    def _held_error(self, session: _LockSession, key: str, number: int) -> ExternalError:
        query = _render_holders_sql(number, "a.application_name", "AND l.pid <> pg_backend_pid() LIMIT 1")
        try:
            holder = self._execute(session.connection, query)
        except SQLAlchemyError:
            holder = None
            self._invalidate(session.connection)
        who = f"another run ({holder})" if holder else "another run"
        return TimeLimitError(_ERROR_SOURCE, f"{key!r} stayed held by {who} for {self._timeout:g} s")

    def _lost_error(self, key: str) -> TransientError:
        why = "its connection to the database has ended"
        return TransientError(_ERROR_SOURCE, f"the lock of {key!r} was lost: {why}; what was planned is planned again")

    def _execute(self, connection: Connection, statement: str) -> Any:
        return connection.exec_driver_sql(statement).scalar()

    def _invalidate(self, connection: Connection) -> None:
        """Close the connection itself, so that the server frees whatever lies on it."""
        if not connection.invalidated and not connection.closed:
            connection.invalidate()


def _render_holders_sql(number: int, what: str, more: str) -> str:
    """Render the query for who holds a lock. PostgreSQL shows its 64 bits as two halves."""
    return _HOLDERS_SQL.format(what=what, high=(number >> 32) & _MASK, low=number & _MASK, more=more)
