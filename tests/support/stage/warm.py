"""Programs that start at once: copies of one that has everything of Promoter imported.

`python -m tests.support.stage.warm` is that one.

A program that is started as users start it spends seconds of a busy machine on imports. What runs in a copy is the same from
its command line on. Those tests that are about the start itself start one as users do.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

import promoter

_POLL_SECONDS = 0.02
# Libraries that begin a thread when they are imported: what a thread holds at the moment of a copy, nobody lets go of in there.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_LEFT_OUT = ("promoter.demo", "promoter.__main__", "promoter.adapters.ledger.migrations")


class Warm:
    """The program that copies itself. The copies end with it. Safe to use from many threads."""

    def __init__(self) -> None:
        """Starts it; whoever needs a copy first waits for its imports."""
        self._one = threading.Lock()
        command, piped = [sys.executable, "-m", "tests.support.stage.warm"], subprocess.PIPE
        self._program = subprocess.Popen(command, env=os.environ | _NO_THREADS, stdin=piped, stdout=piped, text=True)

    def ask(self, *words: Any) -> Any:
        """Its answer."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        with self._one:
            self._program.stdin.write(json.dumps(words) + "\n")
            self._program.stdin.flush()
            return json.loads(self._program.stdout.readline())

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        out: Path,
        err: Path,
        opened: Mapping[int, str] | None = None,
    ) -> Copy:
        """`python -m MODULE ARGUMENTS`, in that folder, with that environment and no other, and its output in files.

        `opened`: further files, by the descriptor that each is to have there. All are written but 0, standard input.
        """
        given = (module, list(arguments), str(folder), dict(environment), str(out), str(err), list((opened or {}).items()))
        return Copy(self, self.ask("start", *given))

    def run(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        out, err = (folder / f".warm-{name}-{threading.get_ident()}" for name in ("out", "err"))
        copy = self.start(module, arguments, folder, environment, out, err)
        try:
            code = copy.wait(seconds)
            return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())
        finally:
            copy.kill()
            out.unlink(missing_ok=True)
            err.unlink(missing_ok=True)

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
        self.pid = pid
        self.returncode: int | None = None
        self._warm = warm

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._warm.ask("poll", self.pid)
        return self.returncode

    def send_signal(self, which: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def stacks(self) -> None:
        """Have it write to its standard error what each of its threads is at."""
        self.send_signal(signal.SIGUSR1)
        time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is over; its exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a copy", timeout or 0)
            time.sleep(_POLL_SECONDS)
        return code


class Child:
    """A copy whose standard input is a pipe."""

    def __init__(self, copy: Copy, reading: int, stdin: IO[bytes]) -> None:
        """`reading`: the other end of `stdin`, which stays open here until the copy has ended."""
        self.pid = copy.pid
        self.stdin = stdin
        self._copy = copy
        self._reading: int | None = reading

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is over; its exit code. Raises subprocess.TimeoutExpired."""
        code = self._copy.wait(timeout)
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None
        return code


class Children:
    """What `subprocess` is to whoever starts a short-lived child of Promoter's: one that runs a module of it is a copy."""

    PIPE = subprocess.PIPE
    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self, warm: Warm) -> None:
        """`warm`: what the children are copies of."""
        self._warm = warm

    def Popen(self, command: Sequence[str], **named: Any) -> Any:  # noqa: N802  # the name that it stands in for
        """A child that is asked by its standard input, answers into a descriptor that it is passed, and prints nothing."""
        _python, *flags, module = command
        if flags != ["-P", "-m"]:
            return subprocess.Popen(command, **named)
        reading, writing = os.pipe()
        ours, nowhere = f"/proc/{os.getpid()}/fd", Path(os.devnull)
        opened = {0: f"{ours}/{reading}"} | {number: f"{ours}/{number}" for number in named["pass_fds"]}
        environment = named["env"] or os.environ
        copy = self._warm.start(module, [], named["cwd"], environment, nowhere, nowhere, opened)
        return Child(copy, reading, os.fdopen(writing, "wb"))


def _become(
    module: str, arguments: list[str], folder: str, environment: Mapping[str, str], out: str, err: str, opened: list[Any]
) -> NoReturn:
    """Be that program."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(out, write), 1)
    os.dup2(1 if out == err else os.open(err, write), 2)
    for number, path in opened:
        found = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        if found != number:
            os.dup2(found, number)
            os.close(found)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = [module, *arguments]
    faulthandler.register(signal.SIGUSR1, file=2)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    raise SystemExit(0)


def _copies() -> None:
    """Answer until nobody asks any more; then end every copy."""
    running: set[int] = set()
    for line in sys.stdin:
        what, *told = json.loads(line)
        answer: Any = None
        if what == "start":
            answer = os.fork()
            if answer == 0:
                _become(*told)
            running.add(answer)
        elif what == "poll":
            found, status = os.waitpid(told[0], os.WNOHANG)
            running.discard(found)
            answer = os.waitstatus_to_exitcode(status) if found else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _import_all() -> None:
    import mlflow.artifacts  # noqa: F401  # what is imported only when an artifact is fetched

    from promoter.adapters.mlflow.client import create_mlflow_client

    for module in pkgutil.walk_packages(promoter.__path__, "promoter."):
        if not module.name.startswith(_LEFT_OUT):
            import_module(module.name)
    create_mlflow_client("http://127.0.0.1:1")  # what MLflow's client imports only when it is made
    gc.freeze()


if __name__ == "__main__":
    _import_all()
    _copies()
