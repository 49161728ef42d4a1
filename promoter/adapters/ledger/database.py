"""Transactions on the ledger's database, and its faults in the words of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.engines import LEDGER, DatabaseBackend
from promoter.adapters.ledger.schema import SCHEMA_REVISION, VERSION_TABLE
from promoter.adapters.ledger.sqlite import create_empty_engine
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.ledger.chain import NotCanonical

if TYPE_CHECKING:
    from alembic.config import Config


_WRITE_OPTION = "ledger_write"


class LedgerDatabase:
    """A store, opened. Safe to use from many threads; each transaction has a connection of its own."""

    def __init__(self, backend: DatabaseBackend, *, read_only: bool, on_append: Callable[[], None] = lambda: None) -> None:
        """`on_append` is called after each transaction that added to the chain; it must not raise, and returns at once."""
        self._on_append = on_append
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
        self._on_append()

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


class OpenLedger:
    """Takes over a database whose schema is up to date."""

    def __init__(self, database: LedgerDatabase) -> None:
        """Opens no connection yet."""
        self._database = database

    @property
    def location(self) -> str:
        """Where it is, for people, without secrets."""
        return self._database.location

    def require_initialized(self) -> None:
        """Raises `PermanentError` where nobody has written a ledger yet, or it is somewhere else."""
        if not self._database.is_initialized:
            message = f"there is none at {self.location}"
            raise PermanentError(LEDGER, message, "name the one that the daemon writes with PROMOTER_DATABASE_URL")

    def check_readable(self) -> None:
        """Returns where the ledger can be read now."""
        with self._database.read_transaction() as connection:
            connection.execute(text("SELECT id FROM records LIMIT 1"))

    def close_connections(self) -> None:
        """Close every connection."""
        self._database.close_connections()


_MIGRATIONS = Path(__file__).parent / "migrations"


def open_for_writing(backend: DatabaseBackend, on_append: Callable[[], None] = lambda: None) -> LedgerDatabase:
    """Create what is not there, and migrate. Programs that start at once take turns; the first one does the work."""
    backend.prepare_database()
    database = LedgerDatabase(backend, read_only=False, on_append=on_append)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
        if found != SCHEMA_REVISION:
            _migrate_schema(database)
    except BaseException:
        database.close_connections()
        raise
    return database


def open_for_reading(backend: DatabaseBackend) -> LedgerDatabase:
    """Change nothing; a ledger that nobody has written yet is an empty one."""
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
    """The revisions that this program has a step for."""
    from alembic.script import ScriptDirectory

    return frozenset(step.revision for step in ScriptDirectory.from_config(_build_alembic_config()).walk_revisions())


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
