"""The demo's system: an MLflow server, a git remote, and `promoter serve`, each started here and stopped by its process id."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from promoter.demo.servers.git import GitRemote
from promoter.demo.servers.mlflow import HOST, MlflowServer, free_port
from promoter.demo.servers.push import PushNotification
from promoter.domain.faults import Refused

PROJECT = Path(__file__).parents[2]
"""The checkout: its `registry.yaml` and `policies/` are the demo's, with their tests and schemas."""
_PARTS = ("policies/*.yaml", "policies/tests/*.yaml", "schemas/*.json")
DEADLINE_SECONDS = 60.0
POLL_INTERVAL = "5s"
_LOOK_SECONDS = 0.05
_LOG_LINES = 6
_STOP_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
_FOREIGN = ("MLFLOW_", "_MLFLOW_", "PROMOTER_", "GIT_")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    output: str
    code: int


class System:
    """A whole system in one folder. `begin` starts it, `end` stops everything; the folder stays until `remove`."""

    def __init__(self) -> None:
        """Makes the folder; starts nothing."""
        self.folder = Path(tempfile.mkdtemp(prefix="promoter-demo-"))
        self.mlflow = MlflowServer(self.folder / "mlflow")
        self.git = GitRemote(self.folder / "git")
        self.page = f"http://{HOST}:{free_port()}"
        self._webhook_secrets = {name: secrets.token_hex(32) for name in ("MLFLOW", "GITHUB")}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._running = ExitStack()
        self._opener = build_opener(ProxyHandler({}))

    @property
    def logs(self) -> Mapping[str, Path]:
        """Where each part writes its log."""
        folder = self.folder
        return {"MLflow": self.mlflow.log_file, "promoter serve": folder / "promoter.log", "the demo": folder / "demo.log"}

    @cached_property
    def client(self) -> Any:
        """MLflow's own client, as people use it."""
        from promoter.adapters.mlflow.transport import connect

        return connect(self.mlflow.uri)

    def begin(self, now: Callable[[str], None]) -> None:
        """Start all three, and wait until the daemon is ready. `now` is told what is being started."""
        now("starting the MLflow server")
        self._running.callback(self.mlflow.stop)
        self.mlflow.start()
        _ = self.client  # silences MLflow's own chatter, so that it comes before any other use of MLflow here
        now("starting the git remote")
        self._running.callback(self.git.stop)
        self.git.start()
        self.git.seed(_first_files(), "Manage tumour-classifier", "Carol <carol@example.org>")
        self.git.notify = PushNotification(f"{self.page}/webhooks/github", self._webhook_secrets["GITHUB"])
        now("starting the daemon")
        self._serve()
        self.until("the daemon to be ready", self._ready)

    def end(self) -> None:
        """Stop what was started, the last first. Being asked twice does no harm."""
        self._running.close()

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the server and the daemon are alive."""
        return self.mlflow.running and self._daemon is not None and self._daemon.poll() is None

    def promoter(
        self, *arguments: str, cwd: Path, codes: tuple[int, ...] = (0,), extra: Mapping[str, str] | None = None
    ) -> Said:
        """Run the real command. Raises `Refused` with what it said where its exit code is none of `codes`."""
        done = subprocess.run(  # noqa: S603  # this very program
            [sys.executable, "-m", "promoter", *arguments],
            cwd=cwd, env=self._environment() | dict(extra or {}), stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode not in codes:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            raise Refused("demo", f"`promoter {' '.join(arguments)}` ended with exit code {done.returncode}: {said}")
        return Said(done.stdout.decode("utf-8", "replace"), done.returncode)

    def get(self, path: str) -> str:
        """What the daemon answers, also where the status is an error."""
        return self._ask(Request(self.page + path))  # noqa: S310  # the scheme is ours

    def get_json(self, path: str) -> Any:
        """The same, parsed."""
        return json.loads(self.get(path))

    def post(self, path: str) -> None:
        """Ask the daemon for something."""
        self._ask(Request(self.page + path, method="POST"))  # noqa: S310

    def until(self, what: str, read: Callable[[], Seen | None], now: Callable[[], object] = lambda: None) -> Seen:
        """What `read` returns as soon as it is not None. Raises `Refused` with what was expected, what is, and the logs."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            with suppress(OSError):  # not listening yet, or not any more: the deadline and `running` tell which
                found = read()
                if found is not None:
                    return found
            if not self.running:
                raise self.ended(f"the demo waited for {what}")
            if time.monotonic() > deadline:
                seen = now()
                there = f"; there is: {seen}" if seen is not None else ""
                raise Refused("demo", f"waited {DEADLINE_SECONDS:.0f} s for {what}{there}\n{self._log_ends()}")
            time.sleep(_LOOK_SECONDS)

    def ended(self, meanwhile: str) -> Refused:
        """The fault that a part ended by itself, with the ends of the logs."""
        return Refused("demo", f"the MLflow server or the daemon ended while {meanwhile}\n{self._log_ends()}")

    def _ready(self) -> bool | None:
        return True if json.loads(self.get("/readyz"))["ready"] else None

    def _serve(self) -> None:
        with self.logs["promoter serve"].open("ab") as log:
            self._daemon = subprocess.Popen(  # this very program
                [sys.executable, "-m", "promoter", "serve"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops it in order
            )
        self._running.callback(_stop, self._daemon)

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "MLFLOW_TRACKING_URI": self.mlflow.uri,
            "PROMOTER_REPO": self.git.url,
            "PROMOTER_DATABASE_URL": f"sqlite:///{self.folder / 'promoter.db'}",
            "PROMOTER_LISTEN": self.page.removeprefix("http://"),
            "PROMOTER_POLL_INTERVAL": POLL_INTERVAL,
            "PYTHONUTF8": "1",
            **{f"PROMOTER_{name}_WEBHOOK_SECRET": secret for name, secret in self._webhook_secrets.items()},
        }

    def _log_ends(self) -> str:
        """The last lines of each log, without the requests that went well."""
        told = []
        for name, path in self.logs.items():
            lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
            ends = [line for line in lines if '" 200 OK' not in line][-_LOG_LINES:]
            told += [f"The log of {name} ends with:", *ends] if ends else []
        return "\n".join(told)

    def _ask(self, request: Request) -> str:
        try:
            with self._opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            with error:
                return error.read().decode()


def own_environment() -> None:
    """Forget what the shell says of other servers and repositories: the demo must never touch those. No proxy for its own."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end what runs inside by `KeyboardInterrupt`, also where a shell has them ignored."""

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, what in before.items():
            signal.signal(number, what)


@contextmanager
def uninterruptible() -> Iterator[None]:
    """Whoever presses Ctrl-C twice still leaves no process behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, what in before.items():
            signal.signal(number, what)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _first_files() -> dict[str, bytes]:
    files = [PROJECT / "registry.yaml", *(path for part in _PARTS for path in sorted(PROJECT.glob(part)))]
    if not files[0].exists():
        fix = "run it from a checkout of the project: make demo"
        raise Refused("demo", "its registry.yaml and policies/ are not here", fix)
    return {str(file.relative_to(PROJECT)): file.read_bytes() for file in files}
