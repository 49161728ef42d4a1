"""Transactions on the ledger's database, and its faults in the words of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.schema import VERSION_TABLE
from promoter.adapters.ledger.sqlite import nothing
from promoter.adapters.ledger.store import LEDGER, Store
from promoter.domain.faults import OutsideError, Refused, Unavailable
from promoter.domain.ledger.chain import Untellable

_WRITE = "ledger_write"


class Database:
    """A store, opened. Safe to use from many threads; each transaction has a connection of its own."""

    def __init__(self, store: Store, *, read_only: bool) -> None:
        """Opens no connection yet."""
        self.appended: Callable[[], None] = lambda: None
        """Called after each transaction that added to the chain; must not raise."""
        self.there = True
        """Whether anybody has written a ledger here; if not, it reads as an empty one."""
        self._store = store
        self._read_only = read_only
        self._engine = self._writing = nothing()
        if store.exists() or not read_only:
            self._use(store.engine(read_only=read_only))

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        return self._store.place

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        with self._transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is alone, and durable once it is left."""
        if self._read_only:
            raise Refused(LEDGER, f"{self.place} was opened for reading only")
        with self._transaction(self._writing) as connection:
            yield connection

    @contextmanager
    def append(self) -> Iterator[Chain]:
        """The same, at the end of the chain."""
        with self.write() as connection:
            yield Chain(connection)
        self.appended()

    def version(self, connection: Connection) -> str | None:
        """The revision of its schema; None where there is none."""
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  # a constant
        return found

    def emptied(self) -> Database:
        """Itself, reading from an empty ledger from now on: nobody has written one here."""
        self.dispose()
        self.there = False
        self._engine = self._writing = nothing()
        return self

    def dispose(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _use(self, engine: Engine) -> None:
        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            self._store.begin(connection, write=bool(connection.get_execution_options().get(_WRITE)))

        self._engine = engine
        self._writing = engine.execution_options(**{_WRITE: True})

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            secret = self._store.secret
            raise self._fault(error) from (None if secret and secret in str(error) else error)
        except (UnicodeError, OverflowError, Untellable) as error:
            raise Refused(LEDGER, f"a value that no database can keep: {error}") from error

    def _fault(self, error: SQLAlchemyError) -> OutsideError:
        if isinstance(error, DBAPIError):
            return self._store.fault(error)
        if isinstance(error, PoolTimeoutError):
            return Unavailable(LEDGER, f"{self.place}: too many connections are in use")
        return Refused(LEDGER, f"{self.place}: {error}")
