"""Mutual exclusion by key, by locks on files that the operating system drops when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from promoter.domain.errors import PermanentError, TransientError

_ERROR_SOURCE = "lock"
_CHANNEL_PATIENCE = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
_TEMPORARY_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EIO}


class FileLocks:
    """The port `Locks`, for the threads and processes of one host.

    A key is one of 256 files, so that two keys can be one lock: whoever holds several may wait for somebody who waits for him,
    until the timeout. Hold one at a time. A lock is not re-entrant: to take a key that the same thread holds is an error.
    """

    def __init__(self, folder: Path, *, timeout: float = 60.0, digits: int = 2) -> None:
        """`folder` is created when the first lock is taken; `timeout` is in seconds.

        `digits` of a key's hash name its file: with 64 of them each key has a file of its own, for few keys that are held long.
        """
        self._digits = digits
        self._folder = folder
        self._timeout = timeout
        self._mine = threading.local()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Wait for the key, and hold it. Raises `TransientError` when that takes too long."""
        slot = sha256(key.encode()).hexdigest()[: self._digits]
        held: dict[str, list[str]] = self._mine.__dict__.setdefault("held", {})
        if key in held.get(slot, []):
            raise RuntimeError(f"this thread holds {key!r} already")
        if slot in held:  # another key of this thread's, in the same file: nobody else can hold either
            held[slot].append(key)
            try:
                yield
            finally:
                held[slot].remove(key)
            return
        with self._lock_file(self._folder / f"{slot}.lock", key):
            held[slot] = [key]
            try:
                yield
            finally:
                del held[slot]

    @contextmanager
    def _lock_file(self, path: Path, key: str) -> Iterator[None]:
        descriptor = self._open_lock_file(path)
        try:
            self._wait_for_lock(descriptor, key)
            try:
                yield
            finally:
                # Not left to `close`: a child process that was forked meanwhile shares the descriptor, and goes on holding it.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _open_lock_file(self, path: Path) -> int:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            fault = TransientError if error.errno in _TEMPORARY_ERRNOS else PermanentError
            fix = f"give this user write access to {self._folder}"
            raise fault(_ERROR_SOURCE, f"cannot open {path}: {error.strerror}", fix) from error

    def _wait_for_lock(self, descriptor: int, key: str) -> None:
        deadline = time.monotonic() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TransientError(_ERROR_SOURCE, f"{key!r} stayed held by another run for {self._timeout:g} s") from None
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            except OSError as error:
                raise TransientError(_ERROR_SOURCE, f"cannot lock a file in {self._folder}: {error.strerror}") from error
            else:
                return


def create_channel_locks(database_url: str) -> FileLocks:
    """Return the locks of notification channels: in a folder of their own, a file each, so that they keep no model waiting."""
    return FileLocks(_choose_lock_folder(database_url) / "channels", timeout=_CHANNEL_PATIENCE, digits=64)


def create_database_locks(database_url: str, *, timeout: float = 60.0) -> FileLocks:
    """Return the locks that all programs on that database share.

    They lie beside a SQLite file, in `FILE.locks/`. For any other database they lie under this host's temporary directory, in a
    folder named by a hash of the database's address: that excludes the processes of one host and one user, not those of others.
    """
    return FileLocks(_choose_lock_folder(database_url), timeout=timeout)


def _choose_lock_folder(database_url: str) -> Path:
    scheme, separator, rest = database_url.partition(":///")
    if separator and scheme.partition("+")[0] == "sqlite":
        file = Path(rest.partition("?")[0]).resolve()
        return file.with_name(f"{file.name}.locks")
    folder = Path(tempfile.gettempdir()) / f"promoter-locks-{os.getuid()}-{_hash_database_address(database_url)}"
    _claim_folder(folder)
    return folder


def _hash_database_address(database_url: str) -> str:
    try:
        parts = urlsplit(database_url)
        address = f"{parts.hostname}:{parts.port}{parts.path}"
    except ValueError:
        raise PermanentError(
            _ERROR_SOURCE, "PROMOTER_DATABASE_URL is not a database URL", "write sqlite:///promoter.db"
        ) from None
    return sha256(address.encode()).hexdigest()[:16]


def _claim_folder(folder: Path) -> None:
    """Make the folder, or raise where somebody else put it into the temporary directory, which all users share."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise PermanentError(
            _ERROR_SOURCE, f"cannot use {folder}: {error.strerror}", "set TMPDIR to a folder of this user's"
        ) from error
    if folder.is_symlink() or found.st_uid != os.getuid():
        raise PermanentError(
            _ERROR_SOURCE, f"{folder} belongs to somebody else", "remove it, or set TMPDIR to a folder of this user's"
        )
