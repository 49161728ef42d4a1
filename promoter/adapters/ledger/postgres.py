"""The backend for PostgreSQL, through psycopg 3, and the rights that roles need there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from promoter.adapters._text import redact_secrets
from promoter.adapters.ledger.schema import LEDGER, VERSION_TABLE, contents, metadata
from promoter.domain.errors import ExternalError, PermanentError, TransientError

_WRITERS_LOCK_KEY = 0x50524F4D4F5445  # the key of the advisory lock: "PROMOTE"
_POOL_SIZE = 8
_POOL_OVERFLOW = 24
_LOCK_POOL_SIZE = 4
_LOCK_POOL_OVERFLOW = 28
_NAME_BYTES = 63
_IDLE_TRANSACTION_SECONDS = 8  # less than a writer waits: a program that is stopped while it writes must not stop the others
_CONNECTION_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,  # a server whose machine is gone says nothing: seconds, not the hours of the system's default
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

LOCK_TIMEOUT = "55P03"
"""The SQLSTATE of a lock that was waited for in vain."""
_READ_ONLY = "25006"
_NO_RIGHT = "42501"
_NO_ROOM = "53100"
_LIMITS = "54"  # too long for an index, and the like: no better next time
_NO_ACCESS = ("28", "3D")  # no such user, wrong password; no such database
# Where no connection was made, the driver has only the text of the server's message.
_NO_ACCESS_MESSAGES = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "not permitted to log in",
    "permission denied for database",
    "does not support SSL",
)


class PostgresBackend:
    """One database of a PostgreSQL server. `busy_timeout`: for how many seconds a writer waits for another one."""

    def __init__(self, url: URL, busy_timeout: float) -> None:
        if find_spec("psycopg") is None:
            raise PermanentError(LEDGER, "the driver for PostgreSQL is not installed", "pip install 'promoter[postgres]'")
        query = {key: value for key, value in url.query.items() if key != "password"}
        password = url.query.get("password")
        self.secret = url.password or (password if isinstance(password, str) else None)
        self.location = f"postgresql://{url.host or 'local'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
        self._url = url.set(drivername="postgresql+psycopg", query=query, password=self.secret)
        self._wait = busy_timeout

    def prepare_database(self) -> None:
        """Do nothing: the first transaction finds out whether the server has the database."""

    def has_database(self) -> bool:
        """Assume so: the first transaction finds out."""
        return True

    def build_engine(self, *, read_only: bool) -> Engine:  # noqa: ARG002  # each transaction says for itself whether it writes
        """Build a pool whose connections are tested before use, since servers restart."""
        engine = create_engine(
            self._url,
            pool_pre_ping=True,
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            hide_parameters=True,
            connect_args=self._choose_connection_options(),
        )
        _set_at_connect(engine, {"datestyle": "ISO"})  # the only one that the driver reads
        return engine

    def build_lock_engine(self, patience: float) -> Engine:
        """Build a pool of sessions for advisory locks, which wait for `patience` seconds; each statement stands by itself.

        The server ends a session whose host is gone within about a minute, and none that is merely idle.
        """
        engine = create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_pre_ping=True,
            pool_size=_LOCK_POOL_SIZE,
            max_overflow=_LOCK_POOL_OVERFLOW,
            pool_timeout=patience,
            hide_parameters=True,
            # Without prepared statements, whose faults would hide that a pooler stands between.
            connect_args={**self._choose_connection_options(), "prepare_threshold": None},
        )
        settings = {
            "datestyle": "ISO",
            "lock_timeout": max(1, int(patience * 1000)),
            "statement_timeout": 0,
            "idle_session_timeout": 0,
            "tcp_keepalives_idle": 30,
            "tcp_keepalives_interval": 10,
            "tcp_keepalives_count": 3,
        }
        _set_at_connect(engine, settings)
        return engine

    def _choose_connection_options(self) -> dict[str, object]:
        options = {"application_name": build_application_name(), **_CONNECTION_OPTIONS}
        return {key: value for key, value in options.items() if key not in self._url.query}

    def begin_transaction(self, connection: Connection, *, write: bool) -> None:
        """Let writers take turns, so that numbers ascend in the order of commits and what a writer has read stays true."""
        patience = f"SET LOCAL lock_timeout = {max(1, int(self._wait * 1000))};"
        if write:
            # Not what the server has set for everybody: a snapshot from before the lock, or commits that a power cut undoes.
            connection.exec_driver_sql(
                f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;{patience}"
                f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_TRANSACTION_SECONDS * 1000};"
                "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK_KEY})")
        else:
            # Tables that somebody has locked whole, for maintenance, cannot be read either.
            connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;{patience}")

    def convert_error(self, error: DBAPIError) -> ExternalError:
        """Convert an error by its SQLSTATE, or by the server's message where a connection was not made."""
        state = getattr(error.orig, "sqlstate", None) or ""
        message = f"{self.location}: {self._redact_message(str(error.orig))}"
        if state == LOCK_TIMEOUT:
            return TransientError(LEDGER, f"{self.location} stayed locked by another program for {self._wait:g} s")
        if state == _NO_ROOM:
            return TransientError(LEDGER, message, "make room on the server's disk")
        if state == _READ_ONLY:
            return PermanentError(
                LEDGER, message, "let PROMOTER_DATABASE_URL name the primary server, and a user that may write"
            )
        if state == _NO_RIGHT:
            return PermanentError(
                LEDGER, message, "give the user of PROMOTER_DATABASE_URL its rights: docs/ledger.md has them as SQL"
            )
        if state.startswith(_NO_ACCESS) or (not state and any(each in message for each in _NO_ACCESS_MESSAGES)):
            return PermanentError(LEDGER, message, "check PROMOTER_DATABASE_URL and the rights of its user")
        again = isinstance(error, OperationalError | InterfaceError) and not state.startswith(_LIMITS)
        return TransientError(LEDGER, message) if again or error.connection_invalidated else PermanentError(LEDGER, message)

    def _redact_message(self, text: str) -> str:
        return redact_secrets(" ".join(text.split()), (self.secret or "",))


def build_application_name() -> str:
    """Build the name under which the server lists this program's connections: `promoter PROCESS@HOST`, cut to what fits."""
    name = f"promoter {os.getpid()}@{socket.gethostname()}"
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in name)[:_NAME_BYTES]


def _set_at_connect(engine: Engine, settings: Mapping[str, object]) -> None:
    """Let each new connection begin with these settings, whatever the server has for everybody."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET {name} = {value}")
        connection.commit()


_quote_identifier = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


def render_grants_sql(role: str, *, retention: bool = False) -> str:
    """Render the SQL that gives a role the right to read and append, for the owner to run after each migration.

    `retention`: it may drop old evidence too, which no daemon does. Tables are named one by one, since the database may have
    others, MLflow's for one.
    """
    to = f"TO {_quote_identifier(role)};"
    statements = [
        f"GRANT SELECT, INSERT ON {', '.join(sorted(metadata.tables))} {to}",
        f"GRANT SELECT ON {VERSION_TABLE} {to}",
        *([f"GRANT DELETE ON {contents.name} {to}"] if retention else []),
    ]
    return "\n".join(statements)
