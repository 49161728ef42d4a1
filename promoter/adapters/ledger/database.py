"""Opening the ledger's database, migrating it, transactions on it, and its errors in the words of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from promoter.adapters.ledger.chain import BoundWorkspace, ChainWriter, RecentDeliveries
from promoter.adapters.ledger.schema import LEDGER, SCHEMA_REVISION, VERSION_TABLE
from promoter.adapters.ledger.sqlite import create_empty_engine
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.ledger.chain import NotCanonical

if TYPE_CHECKING:
    from alembic.config import Config

Repository = TypeVar("Repository", bound="SqlRepository")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Candidate = TypeVar("Candidate")

_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITE_OPTION = "ledger_write"


class DatabaseBackend(Protocol):
    """One database of one kind: all that differs between SQLite and PostgreSQL."""

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


def omit_secret(backend: DatabaseBackend, error: SQLAlchemyError) -> SQLAlchemyError | None:
    """Return the error as a cause to show; None where its text has the password."""
    return None if backend.secret and backend.secret in str(error) else error


class LedgerDatabase:
    """A database that is open. Safe to use from many threads: each transaction has a connection of its own."""

    def __init__(self, backend: DatabaseBackend, *, read_only: bool, on_append: Callable[[], None] = lambda: None) -> None:
        """`on_append` is called after each transaction that added to the chain; it must not raise, and returns at once."""
        self._on_append = on_append
        self.is_initialized = True
        """False where nobody has written a ledger: it then reads as an empty one."""
        self.is_new = False
        """Whether this program has just begun the ledger: it knows nothing of what was before."""
        self.recent_deliveries = RecentDeliveries()
        self._bound_workspace = BoundWorkspace()
        self._backend = backend
        self._read_only = read_only
        self._engine = self._writing_engine = create_empty_engine()
        if backend.has_database() or not read_only:
            self._attach_engine(backend.build_engine(read_only=read_only))

    @property
    def location(self) -> str:
        """The database, named without secrets."""
        return self._backend.location

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a transaction that sees one moment."""
        with self._open_transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Open a transaction that no other writer overlaps, and that is durable once it is left."""
        if self._read_only:
            raise PermanentError(LEDGER, f"{self.location} was opened for reading only")
        with self._open_transaction(self._writing_engine) as connection:
            yield connection

    @contextmanager
    def append_transaction(self) -> Iterator[ChainWriter]:
        """Open a write transaction at the end of the chain, and call `on_append` behind it."""
        with self.write_transaction() as connection:
            yield ChainWriter(connection, self.recent_deliveries, self._bound_workspace)
        self._on_append()

    def find_schema_version(self, connection: Connection) -> str | None:
        """Find the revision of the schema; None where there are no tables."""
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  # a constant
        return found

    def replace_with_empty(self) -> LedgerDatabase:
        """Read from an empty ledger from now on, since nobody has written one here, and return the database itself."""
        self.close_connections()
        self.is_initialized = False
        self._engine = self._writing_engine = create_empty_engine()
        return self

    def close_connections(self) -> None:
        """Close every connection; the next transaction opens a new one."""
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
            raise self._convert_error(error) from omit_secret(self._backend, error)
        except (UnicodeError, OverflowError, NotCanonical) as error:
            raise PermanentError(LEDGER, f"a value that no database can keep: {error}") from error

    def _convert_error(self, error: SQLAlchemyError) -> ExternalError:
        if isinstance(error, DBAPIError):
            return self._backend.convert_error(error)
        if isinstance(error, PoolTimeoutError):
            return TransientError(LEDGER, f"{self.location}: too many connections are in use")
        return PermanentError(LEDGER, f"{self.location}: {error}")


class SqlRepository:
    """What the ledger stores of one concept, in a database whose schema is up to date."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def append_if_new(
        self,
        candidates: Iterable[Candidate],
        select_new: Callable[[Connection, Iterable[Candidate]], Sequence[Candidate]],
        append: Callable[[ChainWriter, Sequence[Candidate]], object],
    ) -> None:
        """Append the candidates that are new. Nothing is locked unless one is, and under the lock each is checked again."""
        with self._database.read_transaction() as connection:
            found = select_new(connection, candidates)
        if found:
            with self._database.append_transaction() as chain:
                append(chain, select_new(chain.connection, found))


def reading(
    method: Callable[Concatenate[Repository, Connection, Arguments], Result],
) -> Callable[Concatenate[Repository, Arguments], Result]:
    """Decorate a repository's method that takes a connection: it runs in a transaction that sees one moment."""

    @wraps(method)
    def in_transaction(self: Repository, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with self._database.read_transaction() as connection:
            return method(self, connection, *args, **kwargs)

    return in_transaction


def streaming(
    method: Callable[Concatenate[Repository, Connection, Arguments], Iterator[Result]],
) -> Callable[Concatenate[Repository, Arguments], Iterator[Result]]:
    """Decorate a repository's generator like `reading`: its transaction begins with the first item and ends with the last."""

    @wraps(method)
    def in_transaction(self: Repository, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Result]:
        with self._database.read_transaction() as connection:
            yield from method(self, connection, *args, **kwargs)

    return in_transaction


def appending(
    method: Callable[Concatenate[Repository, ChainWriter, Arguments], Result],
) -> Callable[Concatenate[Repository, Arguments], Result]:
    """Decorate a repository's method that takes the chain: it runs in a transaction that is alone, and durable afterwards."""

    @wraps(method)
    def in_transaction(self: Repository, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with self._database.append_transaction() as chain:
            return method(self, chain, *args, **kwargs)

    return in_transaction


NO_LEDGER_FIX = (
    "check PROMOTER_DATABASE_URL: it names the ledger that the daemon writes; `promoter init --ledger` begins a new one there"
)


def build_missing_error(location: str) -> PermanentError:
    """Build the error for a place where nobody has written a ledger."""
    return PermanentError(LEDGER, f"there is none at {location}", NO_LEDGER_FIX)


def open_for_writing(
    backend: DatabaseBackend, on_append: Callable[[], None] = lambda: None, *, create: bool = True
) -> LedgerDatabase:
    """Migrate the database where necessary, and with `create` begin a ledger where there is none.

    Of programs that start at once, the first one does so. Without `create` nothing is made, neither file nor tables: raises
    `PermanentError` where there is no ledger.
    """
    if not create:
        _require_ledger(backend)
    backend.prepare_database()
    database = LedgerDatabase(backend, read_only=False, on_append=on_append)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
        if found != SCHEMA_REVISION:
            _migrate_schema(database)
        database.is_new = found is None
    except BaseException:
        database.close_connections()
        raise
    return database


def _require_ledger(backend: DatabaseBackend) -> None:
    database = LedgerDatabase(backend, read_only=True)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
    finally:
        database.close_connections()
    if found is None:
        raise build_missing_error(database.location)


def open_for_reading(backend: DatabaseBackend) -> LedgerDatabase:
    """Open the database without changing it; a ledger that nobody has written yet reads as an empty one."""
    database = LedgerDatabase(backend, read_only=True)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
    except BaseException:
        database.close_connections()
        raise
    if found in (None, SCHEMA_REVISION):
        return database if found else database.replace_with_empty()
    database.close_connections()
    older = found in _list_known_revisions()
    fix = "let a command that writes, such as `promoter apply`, migrate it" if older else "upgrade Promoter"
    raise PermanentError(LEDGER, f"{database.location} has schema {found}, this program reads {SCHEMA_REVISION}", fix)


def _migrate_schema(database: LedgerDatabase, to: str = "head") -> None:
    from alembic import command

    config = _build_alembic_config()
    with database.write_transaction() as connection:
        if connection.dialect.name == "postgresql":  # a large ledger is rewritten in one transaction, with pauses to compute
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        found = database.find_schema_version(connection)
        if found is not None and found not in _list_known_revisions():
            newer = f"{database.location} has schema {found}, which is newer than this program ({SCHEMA_REVISION})"
            raise PermanentError(LEDGER, newer, "upgrade Promoter")
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _build_alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _list_known_revisions() -> frozenset[str]:
    """List the schema revisions that this program has a migration for."""
    from alembic.script import ScriptDirectory

    return frozenset(step.revision for step in ScriptDirectory.from_config(_build_alembic_config()).walk_revisions())


def select_backend(url: str, busy_timeout: float) -> DatabaseBackend:
    """Select the backend that a database URL names. Raises `PermanentError` without the URL, which may hold a password."""
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
