"""A real `mlflow server` as a child process, with its data in one folder: for the demo, and for the tests."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from promoter.demo.servers.processes import delay_interrupts

HOST = "127.0.0.1"
_LOG_LINES_SHOWN = 20
_POLL_SECONDS = 0.1
# Below those that systems hand out by themselves (Linux from 32768): while a server is down, nobody gets its port by chance.
_PORTS = range(20_000, 32_768)


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that is free and that systems hand out only on request. Raises OSError after 200 tries."""
    for port in secrets.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise OSError(errno.EADDRINUSE, f"no free port found between {_PORTS[0]} and {_PORTS[-1]}")


class MlflowServer:
    """Starts `mlflow server` in `folder` (database, artifacts, log, webhook key), and stops all that it started.

    Used as a context manager, or by `start` and `stop`. A second `start` serves the same data on the same port.
    `workers` is MLflow's number of server processes (MLflow's own default is 4).
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        workers: int = 1,
        backend_store_uri: str | None = None,
        artifact_root: str | None = None,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet. `port` None: a free one. `options` and `variables` are further ones of `mlflow server`.

        `backend_store_uri` None: SQLite in the folder. `artifact_root` is where clients write artifacts themselves, such as
        `s3://bucket/path`; None: the server takes them, and keeps them in the folder.
        """
        self.folder = folder.resolve()
        self.port = port or find_free_port()
        self.workers = workers
        self._artifact_root = artifact_root
        self._options = tuple(options)
        # Not an argument: it may have a password, and everybody on the machine sees arguments.
        self._variables = {"MLFLOW_BACKEND_STORE_URI": backend_store_uri or f"sqlite:///{self.folder / 'mlflow.db'}"}
        self._variables |= variables or {}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Return the tracking URI."""
        return f"http://{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """Return the file with the server's output."""
        return self.folder / "mlflow.log"

    @property
    def is_running(self) -> bool:
        """Return whether the process that was started is alive."""
        return self._child is not None and self._child.poll() is None

    def start(self, *, timeout: float = 120) -> Self:
        """Start, and wait until the server answers. Raises RuntimeError with the end of its log where it does not."""
        if self.is_running:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log, delay_interrupts():
            self._child = subprocess.Popen(  # noqa: S603  # a fixed program, its arguments ours
                self._build_command(),
                cwd=self.folder,
                env=self._build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its workers share its group, and are stopped with it
            )
        try:
            self._await_health(time.monotonic() + timeout)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, *, grace: float = 10) -> None:
        """End the server and its workers: by request first, killed after `grace` seconds."""
        if self._child is None:
            return
        self._signal_process_group(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End the server and its workers at once, as a crash would."""
        if self._child is None:
            return
        self._signal_process_group(signal.SIGKILL)
        self._child.wait()
        self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _signal_process_group(self, number: signal.Signals) -> None:
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def _build_command(self) -> list[str]:
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(self.port)]
        command += ["--workers", str(self.workers)]
        if self._artifact_root is None:
            command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")]
        else:
            command += ["--no-serve-artifacts", "--default-artifact-root", self._artifact_root]
        return [*command, *self._options]

    def _build_environment(self) -> dict[str, str]:
        # What the surrounding shell says of MLflow is about its client, or another server: none of it is for this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
        return inherited | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # Eight more processes and half of the time to start, for evaluation jobs that nobody here asks for.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            # MLflow remembers which webhooks there are, for a minute: a new one would hear nothing for that long.
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",
            # Without one key for all its processes, MLflow loses most events of a webhook that has a secret.
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": self._load_webhook_key(),
            **self._variables,
        }

    def _load_webhook_key(self) -> str:
        """Return a Fernet key that is created once: 32 random bytes in URL-safe base64."""
        path = self.folder / "webhook.key"
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.urlsafe_b64encode(secrets.token_bytes(32)))
        return path.read_text("ascii")

    def _await_health(self, deadline: float) -> None:
        while not self._is_healthy():
            if not self.is_running:
                raise RuntimeError(f"the MLflow server ended while it started; its log ends with:\n{self._read_log_ending()}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the MLflow server does not answer at {self.uri}; its log ends with:\n{self._read_log_ending()}"
                )
            time.sleep(_POLL_SECONDS)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:  # noqa: S310  # the scheme is ours
                return bool(answer.status == 200)  # noqa: PLR2004
        except OSError:
            return False

    def _read_log_ending(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
