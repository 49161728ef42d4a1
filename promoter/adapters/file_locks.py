"""Mutual exclusion by key, by locks on files that the operating system drops when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from promoter.domain.errors import PermanentError, TimeLimitError, TransientError

_ERROR_SOURCE = "lock"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
_TEMPORARY_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EIO}
_ALL_DIGITS = 64


@dataclass
class _LockedFile:
    """A file that a thread has locked."""

    descriptor: int
    keys: set[str]
    """The keys that the thread holds by it."""


class _ThreadState(threading.local):
    def __init__(self) -> None:
        self.files: dict[Path, _LockedFile] = {}
        """The files that this thread has locked."""


class FileLocks:
    """The port `Locks`, for the threads and processes of one host; the file system must know `flock`.

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
        self._mine = _ThreadState()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Wait for the key, and hold it. Raises `TransientError` when that takes too long."""
        path, locked = self._find_path(key), self._mine.files
        file = locked.get(path)
        if file and key in file.keys:
            raise RuntimeError(f"this thread holds {key!r} already")
        if file:  # by another key of this thread's: nobody else can hold either
            file.keys.add(key)
            try:
                yield
            finally:
                file.keys.remove(key)
            return
        with self._lock_file(path, key) as descriptor:
            locked[path] = _LockedFile(descriptor, {key})
            try:
                yield
            finally:
                del locked[path]

    def require_held(self, key: str) -> None:
        """Check that the file is still the one in the folder. Raises `TransientError` where somebody has removed it."""
        path = self._find_path(key)
        file = self._mine.files.get(path)
        if file is None or key not in file.keys:
            raise RuntimeError(f"this thread does not hold {key!r}")
        try:
            same = os.path.samestat(os.fstat(file.descriptor), path.stat())
        except OSError:
            same = False
        if not same:
            raise TransientError(_ERROR_SOURCE, f"the lock of {key!r} was lost: somebody has removed {path}")

    def _find_path(self, key: str) -> Path:
        """Find the key's file. Keys that begin with a slash, which no model does, are taken by threads that hold another one.

        They share no file with any: whoever holds the other key, and waits for this one too, could wait for himself.
        """
        digits = _ALL_DIGITS if key.startswith("/") else self._digits
        return self._folder / f"{sha256(key.encode()).hexdigest()[:digits]}.lock"

    @contextmanager
    def _lock_file(self, path: Path, key: str) -> Iterator[int]:
        descriptor = self._open_lock_file(path)
        try:
            self._wait_for_lock(descriptor, key)
            try:
                yield descriptor
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
                    raise TimeLimitError(_ERROR_SOURCE, f"{key!r} stayed held by another run for {self._timeout:g} s") from None
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            except OSError as error:
                raise TransientError(_ERROR_SOURCE, f"cannot lock a file in {self._folder}: {error.strerror}") from error
            else:
                return


def find_lock_folder(database_url: str) -> Path | None:
    """Find where the locks of a SQLite ledger lie: beside its file, in `FILE.locks/`; None for any other database.

    The place follows from the ledger's own, however it is named and whatever `TMPDIR` says, so that all programs find the same.
    """
    scheme, separator, rest = database_url.partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite":
        return None
    file = Path(rest.partition("?")[0]).resolve()
    return file.with_name(f"{file.name}.locks")
