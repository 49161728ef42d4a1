"""The ledger in PostgreSQL, through psycopg 3: all that is peculiar to PostgreSQL."""

from __future__ import annotations

from importlib.util import find_spec

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import OutsideError, Refused, Unavailable

_WRITERS = 0x50524F4D4F5445  # the key of the advisory lock: "PROMOTE"
_CONNECT_SECONDS = 10
_CLOSED_DOORS = ("28", "3D", "42501")  # SQLSTATE: who are you, no such database, not allowed
_CLOSED_DOOR_WORDS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")


class PostgresStore:
    """One database of a PostgreSQL server."""

    def __init__(self, url: URL, busy_timeout: float) -> None:
        """`busy_timeout` in seconds: how long to wait for another writer."""
        if find_spec("psycopg") is None:
            raise Refused(LEDGER, "the driver for PostgreSQL is not installed", "pip install 'promoter[postgres]'")
        query = {key: value for key, value in url.query.items() if key != "password"}
        asked = url.query.get("password")
        self.secret = url.password or (asked if isinstance(asked, str) else None)
        self.place = f"postgresql://{url.host or 'local'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
        self._url = url.set(drivername="postgresql+psycopg", query=query, password=self.secret)
        self._wait = busy_timeout

    def prepare(self) -> None:
        """Nothing: the server is asked by the first transaction."""

    def exists(self) -> bool:
        """Taken for granted."""
        return True

    def engine(self, *, read_only: bool) -> Engine:  # noqa: ARG002  # each transaction says for itself whether it writes
        """Connections that are tried before they are used, since servers restart."""
        arguments = {"connect_timeout": _CONNECT_SECONDS, "application_name": "promoter"}
        given = {key: value for key, value in arguments.items() if key not in self._url.query}
        return create_engine(self._url, pool_pre_ping=True, hide_parameters=True, connect_args=given)

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Writers take turns, so that ids ascend in the order of commits and what a writer has read stays true."""
        if write:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(self._wait * 1000)}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def fault(self, error: DBAPIError) -> OutsideError:
        """By SQLSTATE, or by the server's words where a connection was not made."""
        state = getattr(error.orig, "sqlstate", None) or ""
        said = f"{self.place}: {self._clean(str(error.orig))}"
        if state.startswith(_CLOSED_DOORS) or (not state and any(word in said for word in _CLOSED_DOOR_WORDS)):
            return Refused(LEDGER, said, "check PROMOTER_DATABASE_URL and the rights of its user")
        if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
            return Unavailable(LEDGER, said)
        return Refused(LEDGER, said)

    def _clean(self, text: str) -> str:
        line = " ".join(text.split())
        return line.replace(self.secret, "***") if self.secret else line
