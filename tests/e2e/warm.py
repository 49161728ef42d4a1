"""Daemons that start at once: copies of a program that has everything imported. `python -m tests.e2e.warm` is that program.

A daemon that is started as users start it spends seconds of a busy machine on imports, and is killed there most of the time.
What runs in a copy is `promoter serve`, from its command line on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from promoter.adapters.mlflow.transport import connect
from promoter.demo.servers.mlflow import free_port
from tests.e2e.stage import Daemon


class Warm:
    """The program that copies itself. The copies end with it."""

    def __init__(self) -> None:
        """Starts it."""
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask("ready")

    def ask(self, *words: Any) -> Any:
        """Its answer."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(words) + "\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def __enter__(self) -> Self:
        """Running already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self._program.communicate()


class Copy:
    """A copy's process; what `subprocess.Popen` offers of it."""

    def __init__(self, warm: Warm, pid: int) -> None:
        """It runs."""
        self.pid, self.returncode = pid, None
        self._warm = warm

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._warm.ask("poll", self.pid)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """Wait until it is over."""
        if self.returncode is None:
            self.returncode = self._warm.ask("wait", self.pid)
        return self.returncode


class WarmDaemon(Daemon):
    """`promoter serve` in a copy."""

    def __init__(self, warm: Warm, folder: Path, environment: Mapping[str, str], number: int) -> None:
        """Starts it."""
        self.port = free_port()
        self._file = folder / f"daemon-{number}.log"
        given = {**environment, "PROMOTER_LISTEN": f"127.0.0.1:{self.port}"}
        self.process = Copy(warm, warm.ask("serve", str(folder), given, str(self._file)))  # type: ignore[assignment]


def _serve(folder: str, environment: Mapping[str, str], log: str) -> None:
    """Become `promoter serve`."""
    from promoter.__main__ import main

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT), (2, log, os.O_WRONLY)):
        os.dup2(os.open(path, flags), stream)
    sys.argv = ["promoter", "serve"]
    main()


def _copies() -> None:
    """Answer until nobody asks any more; then end every copy."""
    running: set[int] = set()

    def over(pid: int, options: int) -> int | None:
        found, status = os.waitpid(pid, options)
        running.discard(found)
        return os.waitstatus_to_exitcode(status) if found else None

    for line in sys.stdin:
        what, *told = json.loads(line)
        answer: Any = None
        if what == "serve":
            answer = os.fork()
            if answer == 0:
                _serve(*told)
            running.add(answer)
        elif what in ("poll", "wait"):
            answer = over(told[0], os.WNOHANG if what == "poll" else 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    for room in ("adapters.git.repository", "adapters.ledger", "adapters.mlflow.registry", "delivery.cli", "delivery.daemon"):
        import_module(f"promoter.{room}")
    connect("http://127.0.0.1:1")
    _copies()
