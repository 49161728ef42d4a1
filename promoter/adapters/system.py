"""The machine that Promoter runs on: its clock, its name and processes, key files, and who may read this process."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

from promoter.domain.approvals import SigningKey, WrongPassphrase
from promoter.domain.errors import PermanentError


class SystemClock:
    """The port `Clock`, on the system's clock."""

    def now(self) -> datetime:
        """Return the time now."""
        return datetime.now(UTC)


class LocalHost:
    """The port `HostSystem`, on the operating system."""

    @property
    def host_name(self) -> str:
        """Return the name of the host."""
        return socket.gethostname()

    @property
    def process_id(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def is_alive(self, process: int) -> bool:
        """Return whether there is a process of that number, whosever it is."""
        if process <= 0:
            return False
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True


_PR_SET_DUMPABLE = 4


def close_own_memory() -> None:
    """Keep other processes of the same user from this one's memory and environment; Linux only, else nothing happens.

    The kernel then writes no core dump of it, and a debugger or profiler can be attached by root only.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def find_system_user() -> str:
    """Find who runs this, as the operating system knows it, and on which host: `alice@laptop`. Variables do not count."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname() or 'localhost'}"


_KEY_FILE_SIZE_LIMIT = 65_536
_SHARED_MODE_BITS = stat.S_IRWXG | stat.S_IRWXO


def read_unattended_key(path: Path) -> SigningKey:
    """Read a key for a program that can ask nobody for a passphrase. Raises `PermanentError`."""
    try:
        return SigningKey.from_key_file(read_key_file(path))
    except WrongPassphrase:
        fix = "give a key without one: its file's mode protects it"
        raise PermanentError("key", f"{path}: it has a passphrase, and there is nobody to ask for it", fix) from None
    except ValueError as error:
        raise PermanentError("key", f"{path}: {error}") from None


def read_key_file(path: Path) -> bytes:
    """Read a key file that nobody but its owner can read. Raises `PermanentError`."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise PermanentError("key", f"{path} is not a file")
            if found.st_mode & _SHARED_MODE_BITS:
                mode = stat.S_IMODE(found.st_mode)
                raise PermanentError("key", f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
            return file.read(_KEY_FILE_SIZE_LIMIT)
    except OSError as error:
        fix = "`promoter approve --new-key FILE --by NAME` makes one"
        raise PermanentError("key", f"{path}: cannot be read: {error.strerror or 'no reason given'}", fix) from None
