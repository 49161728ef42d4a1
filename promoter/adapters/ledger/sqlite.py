"""The ledger in a SQLite file: all that is peculiar to SQLite."""

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

from promoter.adapters.ledger.schema import metadata
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import OutsideError, Refused, Unavailable

_POOL = 8
_OVERFLOW = 24
_PAUSE = 0.01
_PRIMARY = 0xFF
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN}
_ALIEN = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


class SqliteStore:
    """One file. It outlives a kill and a power cut: write-ahead log, synchronised at every commit."""

    secret: str | None = None

    def __init__(self, url: URL, busy_timeout: float) -> None:
        """`busy_timeout` in seconds: how long to wait for another writer."""
        name = url.database
        if not name or name == ":memory:" or name.startswith("file:"):
            raise Refused(LEDGER, "the ledger needs a file that outlives the program", "write sqlite:///promoter.db")
        self.path = Path(name).absolute()
        self.place = str(self.path)
        self._wait = busy_timeout
        self._identity: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Create the file if need be, and turn its write-ahead log on."""
        folder = self.path.parent
        there = self.exists()
        if not folder.is_dir():
            raise Refused(LEDGER, f"there is no folder {folder}", "create it, or change PROMOTER_DATABASE_URL")
        if not os.access(folder, os.W_OK) or (there and not os.access(self.path, os.W_OK)):
            raise self._forbidden()
        try:
            self._write_ahead()
        except sqlite3.Error as error:
            raise self._told(error) from error

    def exists(self) -> bool:
        """Whether the file is there. Raises `Refused` where that cannot be seen, or where it is a folder."""
        try:
            if self.path.is_dir():
                raise Refused(LEDGER, f"{self.place} is a folder, not a database", "change PROMOTER_DATABASE_URL")
            return self.path.exists()
        except OSError as error:
            raise Refused(LEDGER, f"{self.place}: {error.strerror}", "change PROMOTER_DATABASE_URL") from error

    def engine(self, *, read_only: bool) -> Engine:
        """Connections to the file, which is never created by opening one."""
        return _engine(self._look if read_only else self._connect)

    def begin(self, connection: Connection, *, write: bool) -> None:
        """A writer takes the lock at once: upgrading a read that has become stale would fail without waiting."""
        if write:
            self._same_file()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def fault(self, error: DBAPIError) -> OutsideError:
        """By SQLite's result code."""
        return self._told(error.orig)

    def _write_ahead(self) -> None:
        deadline = time.monotonic() + self._wait
        connection = self._connect("rwc")
        try:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError as error:
                    # Two programs that open a new file at once: SQLite does not wait here by itself.
                    if error.sqlite_errorcode & _PRIMARY not in _LOCKED or time.monotonic() > deadline:
                        raise
                    time.sleep(_PAUSE)
                else:
                    break
        finally:
            connection.close()
        self._identity = _identity(self.path)

    def _connect(self, mode: str = "rw") -> sqlite3.Connection:
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

    def _look(self) -> sqlite3.Connection:
        # Not `mode=ro`: the log of a writer that died has to be read in, which takes its shared-memory file.
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _same_file(self) -> None:
        """A file that was moved away can still be written, and nobody would ever read it."""
        if self._moved():
            raise self._lost()

    def _moved(self) -> bool:
        try:
            return _identity(self.path) != self._identity
        except (FileNotFoundError, NotADirectoryError):
            return True

    def _lost(self) -> Refused:
        return Refused(LEDGER, f"{self.place} was moved or replaced while in use", "put it back, or start again")

    def _told(self, error: BaseException | None) -> OutsideError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
        if code in _LOCKED:
            return Unavailable(LEDGER, f"{self.place} stayed locked by another program for {self._wait:g} s")
        if code in _FORBIDDEN or (code == sqlite3.SQLITE_CANTOPEN and not os.access(self.path.parent, os.W_OK)):
            return self._forbidden()
        if code == sqlite3.SQLITE_CANTOPEN and self._identity and self._moved():
            return self._lost()  # a connection that was made meanwhile meets it before any write does
        if code in _FULL:
            return Unavailable(LEDGER, f"{self.place}: {error}", "make room on its disk, and see that it can be opened")
        if code in _ALIEN:
            return Refused(
                LEDGER, f"{self.place} is not a ledger: {error}", "change PROMOTER_DATABASE_URL, or restore the file"
            )
        return Refused(LEDGER, f"{self.place}: {error}")

    def _forbidden(self) -> Refused:
        fix = "give this user write access to the file and to its folder, which SQLite needs even to read"
        return Refused(LEDGER, f"{self.place} may not be written", fix)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _engine(creator: Callable[[], sqlite3.Connection]) -> Engine:
    return create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        hide_parameters=True,
    )


def nothing() -> Engine:
    """A ledger without a row: each connection has one of its own, which nobody can write to, so that they are all alike."""
    return _engine(_nothing)


def _nothing() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for table in metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
    connection.execute("PRAGMA query_only = ON")
    return connection
