"""Transactions on the ledger's database, and its faults in the words of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import VERSION_TABLE
from promoter.adapters.ledger.sqlite import create_empty_engine
from promoter.adapters.ledger.store import LEDGER, DatabaseBackend
from promoter.domain.faults import ExternalError, PermanentError, TransientError
from promoter.domain.ledger.chain import NotCanonical

_WRITE_OPTION = "ledger_write"


class LedgerDatabase:
    """A store, opened. Safe to use from many threads; each transaction has a connection of its own."""

    def __init__(self, backend: DatabaseBackend, *, read_only: bool) -> None:
        """Opens no connection yet."""
        self.on_append: Callable[[], None] = lambda: None
        """Called after each transaction that added to the chain; must not raise."""
        self.is_initialized = True
        """Whether anybody has written a ledger here; if not, it reads as an empty one."""
        self._backend = backend
        self._read_only = read_only
        self._engine = self._writing_engine = create_empty_engine()
        if backend.has_database() or not read_only:
            self._attach_engine(backend.build_engine(read_only=read_only))

    @property
    def location(self) -> str:
        """Where it is, without secrets."""
        return self._backend.location

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        with self._open_transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """A transaction that is alone, and durable once it is left."""
        if self._read_only:
            raise PermanentError(LEDGER, f"{self.location} was opened for reading only")
        with self._open_transaction(self._writing_engine) as connection:
            yield connection

    @contextmanager
    def append_transaction(self) -> Iterator[ChainWriter]:
        """The same, at the end of the chain."""
        with self.write_transaction() as connection:
            yield ChainWriter(connection)
        self.on_append()

    def find_schema_version(self, connection: Connection) -> str | None:
        """The revision of its schema; None where there is none."""
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  # a constant
        return found

    def replace_with_empty(self) -> LedgerDatabase:
        """Itself, reading from an empty ledger from now on: nobody has written one here."""
        self.close_connections()
        self.is_initialized = False
        self._engine = self._writing_engine = create_empty_engine()
        return self

    def close_connections(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _attach_engine(self, engine: Engine) -> None:
        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            self._backend.begin_transaction(connection, write=bool(connection.get_execution_options().get(_WRITE_OPTION)))

        self._engine = engine
        self._writing_engine = engine.execution_options(**{_WRITE_OPTION: True})

    @contextmanager
    def _open_transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            secret = self._backend.secret
            raise self._convert_error(error) from (None if secret and secret in str(error) else error)
        except (UnicodeError, OverflowError, NotCanonical) as error:
            raise PermanentError(LEDGER, f"a value that no database can keep: {error}") from error

    def _convert_error(self, error: SQLAlchemyError) -> ExternalError:
        if isinstance(error, DBAPIError):
            return self._backend.convert_error(error)
        if isinstance(error, PoolTimeoutError):
            return TransientError(LEDGER, f"{self.location}: too many connections are in use")
        return PermanentError(LEDGER, f"{self.location}: {error}")
