"""The serving example as a process of its own, models for it, and a stream of requests that nothing may interrupt."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from promoter.demo.servers.mlflow import find_free_port

EXAMPLE = Path(__file__).parents[3] / "examples" / "tabular" / "serve.py"
SUPERVISED = EXAMPLE.with_name("supervise.py")
SECRET = "s3cret-of-the-channel"
ODD = """\
import sys, time
import mlflow

class Odd(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.config = context.model_config
        time.sleep(self.config["load_seconds"])
        if self.config["ends"]:
            sys.exit(7)

    def predict(self, context, model_input, params=None):
        time.sleep(self.config["answer_seconds"])
        if self.config["fails"]:
            raise ValueError("this model answers nobody")
        return (model_input["x"] / model_input["x"]).tolist()

mlflow.models.set_model(Odd())
"""
Answer = tuple[int, Mapping[str, str], Any]


def save_line(folder: Path, slope: float) -> Path:
    """A model that learnt `y = slope * x`; where it is."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    fitted = LinearRegression().fit(rows, rows["x"] * slope)
    signature = infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(
        fitted, str(folder), signature=signature, input_example=rows, pip_requirements=[], serialization_format="skops"
    )
    return folder


def save_odd(folder: Path, **how: Any) -> Path:
    """A model that divides x by itself, and misbehaves as told; where it is. `example`: whether it was logged with one."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import infer_signature

    code = folder.with_suffix(".py")
    code.write_text(ODD)
    rows = pd.DataFrame({"x": [1.0]})
    example = rows if how.pop("example", False) else None
    config = {"load_seconds": 0, "answer_seconds": 0, "ends": False, "fails": False} | how
    told = {"model_config": config, "signature": infer_signature(rows, [1.0]), "input_example": example, "pip_requirements": []}
    mlflow.pyfunc.save_model(str(folder), python_model=str(code), **told)
    return folder


def signed(body: bytes, delivery: str = "msg", stamp: int | None = None, key: bytes = SECRET.encode()) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    told = str(int(time.time()) if stamp is None else stamp)
    made = hmac.digest(key, f"{delivery}.{told}.".encode() + body, "sha256")
    signature = "v1," + base64.b64encode(made).decode()
    return {"webhook-id": delivery, "webhook-timestamp": told, "webhook-signature": signature}


class Example:
    """A server of `examples/tabular` for the model's champion. Ended by process id, whatever happens."""

    def __init__(
        self, folder: Path, uri: str, name: str, *, every: float = 3600, secret: str = SECRET, script: Path = EXAMPLE
    ) -> None:
        """Starts nothing yet."""
        self.name, self.port = name, find_free_port()
        self.path = "/invocations" if script == SUPERVISED else "/predict"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._log, self._known = folder / "serve.log", 0
        self._command = [sys.executable, str(script), f"{name}@champion", "--port", str(self.port), "--every", str(every)]
        told = {"MLFLOW_TRACKING_URI": uri, "PROMOTER_EVENTS_SECRET": secret, "TMPDIR": str(self.temporary)}
        self._environment = {**os.environ, **told}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Starts, and waits until it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log, stdout=log)
        self.until(lambda: self.ask("GET", "/model")[0] == 200)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends it, and what it started."""
        if self._process:
            children = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
            self._process.kill()
            self._process.wait()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    def until_or_not(self, done: Callable[[], Any], seconds: float) -> bool:
        """Waits until that is so, and no longer than that. Whether it came to be so."""
        deadline = time.monotonic() + seconds
        while not (found := bool(done())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def stop(self) -> int:
        """SIGTERM; its exit code. Fails where it waits for as long as it may: then something holds it up."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(18)

    def log(self) -> str:
        """What it wrote since `forget`."""
        return self._log.read_text()[self._known :]

    def forget(self) -> None:
        """From here on the log is as if it were new."""
        self._known = len(self._log.read_text())

    def until(self, done: Callable[[], Any], seconds: float = 90) -> None:
        """Waits until that is so. Fails with the log where it is not in time."""
        deadline = time.monotonic() + seconds
        while not done():
            ended = self._process is not None and self._process.poll() is not None
            assert not ended, f"it ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"not in {seconds} s:\n{self.log()}"
            time.sleep(0.02)

    def until_version(self, version: int) -> None:
        """Waits until that version serves."""
        self.until(lambda: self.model["version"] == version)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own; status 0 where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read())
        except ConnectionError:
            return 0, {}, None
        finally:
            connection.close()

    @property
    def model(self) -> Any:
        """What it says of itself."""
        return self.ask("GET", "/model")[2]

    def predict(self, *x: Any) -> Answer:
        """One prediction for each."""
        body = json.dumps({"dataframe_records": [{"x": each} for each in x]})
        return self.ask("POST", self.path, body.encode(), {"Content-Type": "application/json"})

    def event(self, **other: Any) -> bytes:
        """What Promoter says when the alias moved."""
        told = {"specversion": "1.0", "id": "a/1/changed", "source": "urn:promoter:a", "type": "dev.promoter.alias.changed"}
        return json.dumps({**told, "subject": f"{self.name}@champion", "data": {"to": 999}, **other}).encode()

    def tell(self, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
        """Deliver an event (a good one where nothing else is given); the status."""
        body = self.event() if body is None else body
        return self.ask("POST", "/events", body, signed(body) if headers is None else headers)[0]

    def kept(self) -> list[int]:
        """The versions whose files it keeps."""
        return sorted(int(each.name.split("-")[1].removeprefix("v")) for each in self.temporary.glob("serve-v*"))


@dataclass
class RequestStream:
    """Requests from several threads, each on a connection that is kept open, until the block ends.

    `slopes` are what the versions answer for x = 1. `faults` are the requests that failed, or that another version answered
    than the answer names.
    """

    example: Example
    slopes: Mapping[int, float]
    threads: int = 4
    pause: float = 0
    """Seconds between two requests of a thread."""
    answers: list[int] = field(default_factory=list)
    faults: list[object] = field(default_factory=list)
    times: list[tuple[float, int]] = field(default_factory=list)
    """When each answer came, in seconds of the system's clock, and its version."""
    _over: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begins."""
        for _ in range(self.threads):
            self._running.append(threading.Thread(target=self._ask_on))
            self._running[-1].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends, and waits for the last answers."""
        self._over.set()
        for thread in self._running:
            thread.join()

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.example.port, timeout=60)
        x = 0
        while not self._over.is_set():
            x += 1
            try:
                body = json.dumps({"dataframe_records": [{"x": x}]})
                connection.request("POST", self.example.path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self._check(x, answer.status, answer.getheader("X-Model-Version"), answer.read())
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a fault, and the next request is asked
                self.faults.append(error)
                connection.close()
            self._over.wait(self.pause)
        connection.close()

    def _check(self, x: int, status: int, version: str | None, body: bytes) -> None:
        told = json.loads(body)
        number = int(version or 0)
        self.answers.append(number)
        self.times.append((time.time(), number))
        right = self.slopes.get(number, math.nan) * x
        if status != 200 or told.get("version", number) != number or not abs(told["predictions"][0] - right) < 1e-6 * x:
            self.faults.append((status, version, body))
