"""One MLflow server for all processes of a test run, since starting one costs ten seconds of processor.

Whoever needs it first starts a keeper (`python -m tests.support.shared_server FOLDER`), which runs the server. Each user holds
a shared lock on a file; the keeper asks for that lock alone, and gets it when nobody is left, however they ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from promoter.demo.servers.mlflow import MlflowServer

_POLL_SECONDS = 0.05
_END_SECONDS = 60


@dataclass(frozen=True)
class SharedMlflow:
    """A server that others use as well: each test has model names of its own, and leaves what it did not make alone."""

    uri: str


@contextlib.contextmanager
def share_mlflow(folder: Path, *options: str) -> Iterator[SharedMlflow]:
    """Use the server whose data are in that folder; it is started for its first user, and stopped after its last one.

    `options`: further ones of `mlflow server`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keeper = None
    try:
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is about to stop
            with (folder / "starting").open("w") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                if not (folder / "uri").exists():
                    keeper = _start_keeper(folder, *options)
            yield SharedMlflow((folder / "uri").read_text())
    finally:
        if keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # others may go on with it
                keeper.wait(_END_SECONDS)


def _start_keeper(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.shared_server", str(folder), *options]
    with (folder / "keeper.log").open("ab") as log:
        # An interrupt of the tests is theirs: the keeper ends behind the last of them.
        keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    while not (folder / "uri").exists():
        if keeper.poll() is not None:
            raise RuntimeError((folder / "keeper.log").read_text())
        time.sleep(_POLL_SECONDS)
    return keeper


def keep(folder: Path, *options: str) -> None:
    """Run the server until nobody uses it."""
    address, new = folder / "uri", folder / "uri.new"
    with (folder / "users").open("w") as users, MlflowServer(folder / "data", options=options) as server:
        new.write_text(server.uri)
        new.rename(address)
        fcntl.flock(users, fcntl.LOCK_EX)
        address.unlink()  # who comes now waits for the lock, and starts another keeper
        server.stop()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), *sys.argv[2:])
