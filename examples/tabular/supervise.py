"""Serve what an alias of MLflow points at with MLflow's own model server, and change versions without dropping a request.

`mlflow models serve -m models:/NAME@ALIAS` reads the alias when it starts, and never again; no answer says which version gave
it. So this starts one `mlflow models serve` for each version, by its number, behind a small proxy. When Promoter tells it that
the alias moved, it starts the next one, lets it answer the example that it was logged with, sends new requests there, waits
for the answers that are under way, and stops the old one. `serve.py`, which lies beside it, follows the alias.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mlflow
from flask import Flask, Response, abort, request
from mlflow.models.utils import load_serving_example
from serve import THREADS, Follower, answer_health, answer_json, read_arguments, run_server, take_event
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as NoAnswer
from werkzeug.exceptions import HTTPException

EXAMPLE = """example:
  export MLFLOW_TRACKING_URI=https://mlflow.example.com
  export PROMOTER_EVENTS_SECRET=$(openssl rand -hex 32)   # as in Promoter
  python supervise.py fraud-detector@champion --host 0.0.0.0
  curl localhost:8000/invocations --json '{"dataframe_records": [{"amount": 9.5}]}'"""

START_SECONDS, ANSWER_SECONDS, RESTART_SECONDS, STOP_SECONDS, END_SECONDS = 120, 60, 60, 10, 2
PASSED_ON = ("Content-Type", "Accept")
log = logging.getLogger("supervise")


class ModelServer:
    """`mlflow models serve` for one version: a process group of its own, on a free port of this machine."""

    def __init__(self, name: str, version: int) -> None:
        """Start it. It is not ready yet."""
        self.version, self.uri = version, f"models:/{name}/{version}"
        self.since, self.busy = datetime.now(UTC).isoformat(), 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = (sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", self.uri, "--env-manager", "local")
        address = ("--host", "127.0.0.1", "--port", str(port))
        # MLflow looks for `uvicorn` on PATH, where it is not if the virtual environment is not active.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.process = subprocess.Popen(  # noqa: S603  # no shell, and no word of a caller
            (*command, *address), env={**os.environ, "PATH": path}, start_new_session=True
        )
        limits = Timeout(connect=5, read=ANSWER_SECONDS)
        self._pool = HTTPConnectionPool("127.0.0.1", port, maxsize=THREADS, retries=False, timeout=limits)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """Return its answer, whatever the status. Raises `HTTPError` where there is none."""
        return self._pool.urlopen(method, path, body=body, headers=headers, redirect=False)

    def wait_until_ready(self) -> None:
        """Wait until it has loaded the version and answers its example, if there is one. Raises where it does not."""
        deadline = time.monotonic() + START_SECONDS
        while not self._has_loaded():
            if (code := self.process.poll()) is not None:
                raise RuntimeError(f"mlflow models serve ended with code {code}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"mlflow models serve does not answer after {START_SECONDS} s")
            time.sleep(0.05)
        if (mlflow.models.get_model_info(self.uri).saved_input_example_info or {}).get("serving_input_path"):
            body = load_serving_example(self.uri).encode()
            answer = self.ask("POST", "/invocations", body, {"Content-Type": "application/json"})
            if answer.status != HTTPStatus.OK:
                raise RuntimeError(f"it answers its own example with status {answer.status}")

    def has_ended(self) -> bool:
        """Whether the process has ended, or does so in a moment."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
            return True
        return False

    def _has_loaded(self) -> bool:
        with suppress(HTTPError):
            return bool(self.ask("GET", "/ping").status == HTTPStatus.OK)
        return False

    def stop(self) -> None:
        """End the process and its children."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        self._pool.close()


class Supervisor(Follower):
    """Keeps a ready server of the version that the alias points at, and starts another one where it ends."""

    serving: Any

    def __init__(self, name: str, alias: str, every: float) -> None:
        """Starts nothing yet."""
        super().__init__(name, alias, every)
        self.servers: list[ModelServer] = []
        self._lock = threading.Lock()
        self._served = False

    def _load(self, version: int) -> Any:
        server = ModelServer(self.name, version)
        self.servers.append(server)
        try:
            server.wait_until_ready()
        except BaseException:
            self._stop(server)
            raise
        threading.Thread(target=self._watch, args=(server,), daemon=True).start()
        self._served = True
        return server

    def _confirm(self, loaded: Any) -> None:
        if loaded.process.poll() is not None:
            self._stop(loaded)
            raise RuntimeError("mlflow models serve ended right after its start")

    def _discard(self, replaced: Any) -> None:
        if self.serving and self.serving.process.poll() is not None:
            self._drop(self.serving)  # it ended while it took over, when nobody watched for that yet
        if replaced:
            threading.Thread(target=self._retire, args=(replaced,), daemon=True).start()

    def _retire(self, server: ModelServer) -> None:
        """Stop it after its last answer. It gets no new requests any more."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            with self._lock:  # whoever took it while it served has been counted
                if not server.busy:
                    break
            time.sleep(0.05)
        self._stop(server)

    def _stop(self, server: ModelServer) -> None:
        server.stop()
        self.servers.remove(server)

    def _watch(self, server: ModelServer) -> None:
        """Have another one started where it ends by itself: at once, or with the next look if it ended soon after its start."""
        begun = time.monotonic()
        server.process.wait()
        if self.serving is server:
            self._drop(server)
            if time.monotonic() - begun > 2 * STOP_SECONDS:
                self.wake.set()

    def _drop(self, server: ModelServer) -> None:
        log.error("mlflow models serve of version %s ended with code %s", server.version, server.process.poll())
        self.serving = None

    @contextmanager
    def borrow(self) -> Iterator[ModelServer]:
        """Lend the server that serves, and keep it until it is given back. Waits while another one starts; 503 without one."""
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            with self._lock:
                server = self.serving
                if server and server.process.poll() is None:
                    server.busy += 1
                    break
            if not self._served or time.monotonic() > deadline:
                abort(503, "no version is served now")
            time.sleep(0.05)
        try:
            yield server
        finally:
            with self._lock:
                server.busy -= 1


def forward(supervisor: Supervisor) -> Response:
    """Let the version that serves answer.

    A request that its server never had is asked again. So is one, once, whose server ended before it had answered: a prediction
    changes nothing. Any other one is not: 502 where the server broke off, 504 where it takes too long.
    """
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers} | {"Connection": "close"}
    body, deadline, resent = request.get_data(), time.monotonic() + RESTART_SECONDS, False
    while True:
        with supervisor.borrow() as server:
            try:
                answer = server.ask(request.method, request.full_path, body, headers)
            except NewConnectionError:
                if time.monotonic() > deadline:
                    abort(503, "the model server takes no connections")
            except NoAnswer:
                abort(504, "the model gave no answer in time")
            except HTTPError as error:
                log.warning("version %s broke off: %s", server.version, type(error).__name__)
                if resent or not server.has_ended():
                    abort(502, "the model server broke off")
                resent = True
            else:
                kind = answer.headers.get("Content-Type")
                return Response(answer.data, answer.status, {"X-Model-Version": str(server.version)}, content_type=kind)
        time.sleep(0.1)


def create_app(supervisor: Supervisor, key: bytes) -> Flask:
    """The routes: MLflow's own, and those of serve.py."""
    app = Flask(__name__)
    app.add_url_rule("/invocations", "invocations", lambda: forward(supervisor), methods=["POST"])
    for path in ("/ping", "/health", "/version"):
        app.add_url_rule(path, path, lambda: forward(supervisor))
    app.add_url_rule("/events", "events", lambda: take_event(supervisor, key), methods=["POST"])
    app.add_url_rule("/model", "model", lambda: answer_json(200, supervisor.as_json()))
    app.add_url_rule("/healthz", "healthz", lambda: answer_health(supervisor))

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return answer_json(error.code or 500, {"error": error.description or error.name})

    return app


def main() -> None:
    """Serve the alias of the command line, until SIGTERM."""
    given = read_arguments("Supervise `mlflow models serve` for the version that an alias points at.", EXAMPLE)
    supervisor = Supervisor(given.name, given.alias, given.every)
    try:
        run_server(given, supervisor, create_app(supervisor, given.key))
    finally:
        for server in list(supervisor.servers):
            server.stop()


if __name__ == "__main__":
    main()
