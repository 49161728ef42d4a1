"""The backend for SQLite: one file, and an empty ledger in memory for where there is none."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from promoter.adapters.ledger.schema import LEDGER, metadata
from promoter.domain.errors import ExternalError, PermanentError, TransientError

_OWNER_ONLY = 0o600
_OTHERS_RIGHTS = 0o077
_FILE_ENDINGS = ("", "-wal", "-shm")
_POOL_SIZE = 8
_POOL_OVERFLOW = 24
_RETRY_PAUSE_SECONDS = 0.01
_PRIMARY_CODE_MASK = 0xFF
_LOCKED_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DISK_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN}
_NOT_A_LEDGER_CODES = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_FORBIDDEN_CODES = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


class SqliteBackend:
    """A ledger in one file, which survives a kill and a power cut: its write-ahead log is synchronized at every commit.

    `busy_timeout`: for how many seconds a writer waits for another one.
    """

    secret: str | None = None

    def __init__(self, url: URL, busy_timeout: float) -> None:
        name = url.database
        if not name or name == ":memory:" or name.startswith("file:"):
            raise PermanentError(LEDGER, "the ledger needs a file that outlives the program", "write sqlite:///promoter.db")
        self.path = Path(name).absolute()
        self.location = str(self.path)
        self._wait = busy_timeout
        self._file_identity: tuple[int, int] | None = None

    def prepare_database(self) -> None:
        """Create the file where necessary, and turn its write-ahead log on."""
        folder = self.path.parent
        there = self.has_database()
        if not folder.is_dir():
            raise PermanentError(LEDGER, f"there is no folder {folder}", "create it, or change PROMOTER_DATABASE_URL")
        if not os.access(folder, os.W_OK) or (there and not os.access(self.path, os.W_OK)):
            raise self._not_writable_error()
        if not there:
            self._create_file()
        try:
            self._enable_write_ahead_log()
        except sqlite3.Error as error:
            raise self._convert_sqlite_error(error) from error

    def _create_file(self) -> None:
        """Make the file for its owner alone, whatever the umask says; SQLite gives the files beside it the same rights."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY))
        except FileExistsError:
            pass  # another program was quicker
        except OSError as error:
            raise TransientError(LEDGER, f"{self.location}: {error.strerror}", "see that it can be made") from error

    def has_database(self) -> bool:
        """Whether the file exists. Raises `PermanentError` where that cannot be found out, or where it is a folder."""
        try:
            if self.path.is_dir():
                raise PermanentError(LEDGER, f"{self.location} is a folder, not a database", "change PROMOTER_DATABASE_URL")
            return self.path.exists()
        except OSError as error:
            raise PermanentError(LEDGER, f"{self.location}: {error.strerror}", "change PROMOTER_DATABASE_URL") from error

    def build_engine(self, *, read_only: bool) -> Engine:
        """Build a pool of connections to the file; opening one never creates it."""
        return _create_pooled_engine(self._open_read_only if read_only else self._open_connection)

    def begin_transaction(self, connection: Connection, *, write: bool) -> None:
        """Let a writer take the lock at once: upgrading a read that has become stale would fail without waiting.

        A reader checks the file too, so that a daemon which has nothing to write notices as well that it was moved away.
        """
        self._require_same_file()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def convert_error(self, error: DBAPIError) -> ExternalError:
        """Convert an error by its SQLite result code."""
        return self._convert_sqlite_error(error.orig)

    def _enable_write_ahead_log(self) -> None:
        deadline = time.monotonic() + self._wait
        connection = self._open_connection("rwc")
        try:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError as error:
                    # Two programs that open a new file at once: SQLite does not wait here by itself.
                    if error.sqlite_errorcode & _PRIMARY_CODE_MASK not in _LOCKED_CODES or time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_PAUSE_SECONDS)
                else:
                    break
        finally:
            connection.close()
        self._file_identity = _read_file_identity(self.path)

    def _open_connection(self, mode: str = "rw") -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=self._wait,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _open_read_only(self) -> sqlite3.Connection:
        # Not `mode=ro`: the log of a writer that died has to be read in, which takes its shared-memory file.
        connection = self._open_connection()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _require_same_file(self) -> None:
        """Raise `PermanentError` where the file was moved away: it could still be written, and nobody would ever read it.

        Only a program that writes knows which file it was; others open it for one command.
        """
        if self._file_identity and self._is_file_replaced():
            raise self._file_replaced_error()

    def _is_file_replaced(self) -> bool:
        try:
            return _read_file_identity(self.path) != self._file_identity
        except (FileNotFoundError, NotADirectoryError):
            return True

    def _file_replaced_error(self) -> PermanentError:
        return PermanentError(LEDGER, f"{self.location} was moved or replaced while in use", "put it back, or start again")

    def _convert_sqlite_error(self, error: BaseException | None) -> ExternalError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE_MASK
        if code in _LOCKED_CODES:
            return TransientError(LEDGER, f"{self.location} stayed locked by another program for {self._wait:g} s")
        if code in _FORBIDDEN_CODES or (code == sqlite3.SQLITE_CANTOPEN and not os.access(self.path.parent, os.W_OK)):
            return self._not_writable_error()
        if code == sqlite3.SQLITE_CANTOPEN and self._file_identity and self._is_file_replaced():
            return self._file_replaced_error()  # a connection that was made meanwhile meets it before any write does
        if code in _DISK_CODES:
            return TransientError(LEDGER, f"{self.location}: {error}", "make room on its disk, and see that it can be opened")
        if code in _NOT_A_LEDGER_CODES:
            return PermanentError(
                LEDGER, f"{self.location} is not a ledger: {error}", "change PROMOTER_DATABASE_URL, or restore the file"
            )
        return PermanentError(LEDGER, f"{self.location}: {error}")

    def _not_writable_error(self) -> PermanentError:
        fix = "give this user write access to the file and to its folder, which SQLite needs even to read"
        return PermanentError(LEDGER, f"{self.location} may not be written", fix)


def find_shared_files(path: Path) -> list[Path]:
    """List the files of the database that others than their owner have rights to."""
    files = [path.with_name(path.name + ending) for ending in _FILE_ENDINGS]
    return [file for file in files if file.exists() and file.stat().st_mode & _OTHERS_RIGHTS]


def _read_file_identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _create_pooled_engine(creator: Callable[[], sqlite3.Connection]) -> Engine:
    return create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_OVERFLOW,
        hide_parameters=True,
    )


def create_empty_engine() -> Engine:
    """Build a pool of empty ledgers: each connection has its own, which nobody can write to, so that they are all alike."""
    return _create_pooled_engine(_open_empty_database)


def _open_empty_database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for table in metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
    connection.execute("PRAGMA query_only = ON")
    return connection
