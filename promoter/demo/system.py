"""The demo's system: an MLflow server with what it stands on, a git remote and `promoter serve`.

Each is started here, and stopped by its process id.
"""

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

from promoter.demo.servers.git import GitHttpServer, PushNotification
from promoter.demo.servers.mlflow import HOST, MlflowServer, find_free_port
from promoter.demo.servers.processes import INTERRUPTS, delay_interrupts, stop_child
from promoter.demo.topologies import DemoTopology, LaptopTopology, ProductionTopology
from promoter.domain.errors import PermanentError

PROJECT = Path(__file__).parents[2]
"""The checkout: its `registry.yaml` and `policies/` are the demo's, with their tests and schemas."""
PACKED = Path(__file__).with_name("repository")
"""The same files where a wheel is installed."""
_FILE_PATTERNS = ("policies/*.yaml", "policies/tests/*.yaml", "schemas/*.json")
DEADLINE_SECONDS = 60.0
POLL_INTERVAL = "5s"
_POLL_SECONDS = 0.05
_LOG_LINES = 6
_STOP_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
_FOREIGN_PREFIXES = ("MLFLOW_", "_MLFLOW_", "PROMOTER_", "GIT_", "AWS_", "PG")
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    output: str
    """Its output."""
    code: int
    """Its exit code."""


class DemoSystem:
    """A whole system in one folder. The folder stays until `remove_folder`."""

    def __init__(self, *, production: bool = False) -> None:
        """Start nothing yet. `production`: on PostgreSQL and S3 instead of files."""
        self.folder = Path(tempfile.mkdtemp(prefix="promoter-demo-"))
        self.topology: DemoTopology = (ProductionTopology if production else LaptopTopology)(self.folder)
        self.git = GitHttpServer(self.folder / "git")
        self.page_url = f"http://{HOST}:{find_free_port()}"
        self._webhook_secrets = {name: secrets.token_hex(32) for name in ("MLFLOW", "GITHUB")}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()
        self._opener = build_opener(ProxyHandler({}))

    @property
    def mlflow(self) -> MlflowServer:
        """Return the MLflow server."""
        return self.topology.mlflow

    @property
    def log_files(self) -> Mapping[str, Path]:
        """Return the log file of each part."""
        own = {"promoter serve": self.folder / "promoter.log", "the demo": self.folder / "demo.log"}
        return {**self.topology.log_files, **own}

    @cached_property
    def mlflow_client(self) -> Any:
        """Return MLflow's own client, as people use it."""
        from promoter.adapters.mlflow.client import create_mlflow_client

        return create_mlflow_client(self.mlflow.uri)

    def start_servers(self, now: Callable[[str], None]) -> None:
        """Start all of them, and wait until the daemon is ready. `now` is called with what is being started."""
        self.topology.start_servers(self._cleanup, now)
        os.environ.update(self.topology.client_variables)  # people log and load models in this process
        _ = self.mlflow_client  # silences MLflow's own chatter, so that it comes before any other use of MLflow here
        now("starting the git remote")
        self._cleanup.callback(self.git.stop)
        self.git.start()
        self.git.commit_files(_load_initial_files(), "Manage fraud-detector", "Carol <carol@example.org>")
        self.git.notify = PushNotification(f"{self.page_url}/webhooks/github", self._webhook_secrets["GITHUB"])
        now("starting the daemon")
        self._start_daemon()
        self.wait_for_value("the daemon to be ready", self._is_daemon_ready)

    def stop_servers(self) -> None:
        """Stop what was started, the last one first. Calling it twice is harmless."""
        self._cleanup.close()

    def remove_folder(self) -> None:
        """Delete the folder, and what the servers have elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.topology.remove_folder()

    def hide_secrets(self, text: str) -> str:
        """Return the text without passwords and keys of the servers."""
        for secret in self.topology.secret_texts:
            text = text.replace(secret, "***")
        return text

    @property
    def is_running(self) -> bool:
        """Return whether the servers and the daemon are alive."""
        return self.topology.is_running and self._daemon is not None and self._daemon.poll() is None

    def run_promoter(
        self, *arguments: str, cwd: Path, codes: tuple[int, ...] = (0,), extra: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Run the real command. Raises `PermanentError` with its output where the exit code is none of `codes`."""
        done = subprocess.run(  # noqa: S603  # this very program
            [sys.executable, "-m", "promoter", *arguments],
            cwd=cwd,
            env=self._build_environment() | dict(extra or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode not in codes:
            error_output = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            raise PermanentError(
                "demo", f"`promoter {' '.join(arguments)}` ended with exit code {done.returncode}: {error_output}"
            )
        return CommandResult(done.stdout.decode("utf-8", "replace"), done.returncode)

    def fetch_text(self, path: str) -> str:
        """Return what the daemon answers, also with an error status."""
        return self._send_request(Request(self.page_url + path))  # noqa: S310  # the scheme is ours

    def fetch_json(self, path: str) -> Any:
        """Return what the daemon answers, parsed."""
        return json.loads(self.fetch_text(path))

    def post_request(self, path: str) -> None:
        """Send a POST request to the daemon."""
        self._send_request(Request(self.page_url + path, method="POST"))  # noqa: S310

    def wait_for_value(self, what: str, read: Callable[[], Seen | None], now: Callable[[], object] = lambda: None) -> Seen:
        """Return the first value of `read` that is not None.

        Raises `PermanentError` with the expectation, the state and the logs.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            with suppress(OSError):  # not listening yet, or not any more: the deadline and `running` tell which
                found = read()
                if found is not None:
                    return found
            if not self.is_running:
                raise self.build_ended_error(f"the demo waited for {what}")
            if time.monotonic() > deadline:
                seen = now()
                there = f"; there is: {seen}" if seen is not None else ""
                raise PermanentError("demo", f"waited {DEADLINE_SECONDS:.0f} s for {what}{there}\n{self._read_log_endings()}")
            time.sleep(_POLL_SECONDS)

    def build_ended_error(self, meanwhile: str) -> PermanentError:
        """Return the error that a part ended by itself, with the ends of the logs."""
        return PermanentError("demo", f"a server or the daemon ended while {meanwhile}\n{self._read_log_endings()}")

    def _is_daemon_ready(self) -> bool | None:
        return True if json.loads(self.fetch_text("/readyz"))["ready"] else None

    def _start_daemon(self) -> None:
        with self.log_files["promoter serve"].open("ab") as log, delay_interrupts():
            self._daemon = subprocess.Popen(  # this very program
                [sys.executable, "-m", "promoter", "serve"],
                cwd=self.folder,
                env=self._build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops it in order
            )
            self._cleanup.callback(stop_child, self._daemon, _STOP_SECONDS)

    def _build_environment(self) -> dict[str, str]:
        return os.environ | {
            "MLFLOW_TRACKING_URI": self.mlflow.uri,
            "PROMOTER_CONFIG": os.devnull,  # a promoter.yaml where the demo was started is not meant for it
            "PROMOTER_REPO": self.git.url,
            "PROMOTER_DATABASE_URL": self.topology.database_url,
            "PROMOTER_LISTEN": self.page_url.removeprefix("http://"),
            "PROMOTER_POLL_INTERVAL": POLL_INTERVAL,
            "PYTHONUTF8": "1",
            **{f"PROMOTER_{name}_WEBHOOK_SECRET": secret for name, secret in self._webhook_secrets.items()},
        }

    def _read_log_endings(self) -> str:
        """Return the last lines of each log, without requests that succeeded."""
        parts = []
        for name, path in self.log_files.items():
            lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
            ends = [line for line in lines if '" 200 OK' not in line][-_LOG_LINES:]
            parts += [f"The log of {name} ends with:", *ends] if ends else []
        return "\n".join(parts)

    def _send_request(self, request: Request) -> str:
        try:
            with self._opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            with error:
                return error.read().decode()


def clean_environment() -> None:
    """Remove the shell's settings of other servers and repositories: the demo must never touch those. Its own need no proxy."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN_PREFIXES)]:
        del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))


@contextmanager
def allow_interrupts() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise `KeyboardInterrupt` inside, also where a shell ignores them."""

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, what in before.items():
            signal.signal(number, what)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore interrupts inside, so that a second Ctrl-C leaves no process behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, what in before.items():
            signal.signal(number, what)


def _load_initial_files() -> dict[str, bytes]:
    for root in (PROJECT, PACKED):
        if (root / "registry.yaml").exists():
            files = [root / "registry.yaml", *(path for part in _FILE_PATTERNS for path in sorted(root.glob(part)))]
            return {str(file.relative_to(root)): file.read_bytes() for file in files}
    raise PermanentError(
        "demo", f"its registry.yaml and policies/ are neither in {PROJECT} nor in {PACKED}", "install it again"
    )
