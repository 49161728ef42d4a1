"""Ways for a ledger to be out of order while a daemon has it open. Inside of each, it is; afterwards it is well again."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.support.fixtures.ledger import locked
from tests.support.fixtures.postgres import SharedPostgres
from tests.support.stage.stage import Daemon

DISK = 4 * 2**20
_BLOCK = 4096


@dataclass(frozen=True)
class Patient:
    """Whose ledger it is, and where that lies. `disk`: a small disk of its own, where one could be had."""

    daemon: Daemon
    database: str
    disk: Path | None
    server: SharedPostgres | None

    @property
    def file(self) -> Path:
        """Of a ledger in SQLite."""
        return Path(str(make_url(self.database).database))


@contextmanager
def held(patient: Patient) -> Iterator[None]:
    """Another Promoter is in the midst of a write, and does not come to its end."""
    with locked(patient.database):
        yield


@contextmanager
def tables_held(patient: Patient) -> Iterator[None]:
    """An administrator has taken tables for himself: they cannot even be read."""
    with psycopg.connect(patient.database) as connection:
        connection.execute("LOCK TABLE records, settled, revisions IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def moved_away(patient: Patient) -> Iterator[None]:
    """Somebody moved the file, and puts it back."""
    elsewhere = patient.file.with_name("elsewhere.db")
    patient.file.rename(elsewhere)
    yield
    elsewhere.rename(patient.file)


@contextmanager
def stopped(patient: Patient) -> Iterator[None]:
    """The database server is not there."""
    assert patient.server
    patient.server.stop()
    try:
        yield
    finally:
        patient.server.start()


@contextmanager
def no_room(patient: Patient) -> Iterator[None]:
    """The disk is full. Where there is none to fill, files may not grow any more, which the ledger meets in the same way."""
    if patient.disk:
        with _filled(patient.disk):
            yield
        return
    log = patient.file.with_name(f"{patient.file.name}-wal")
    who, before = patient.daemon.process.pid, resource.prlimit(patient.daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(who, resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    yield
    resource.prlimit(who, resource.RLIMIT_FSIZE, before)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(_BLOCK)):
            pass
    yield
    ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk with little room at that folder; None for whoever may not have one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)  # a process that was killed lets go of its files a moment later
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


Outage = Callable[[Patient], contextlib.AbstractContextManager[None]]
