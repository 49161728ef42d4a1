"""A model server that follows an alias of MLflow, `models:/NAME@ALIAS`, and changes versions without dropping a request.

Promoter tells it that the alias moved (`POST /events`). The event only says "look": which version serves is read from MLflow,
so that a lost, doubled, late or forged event does no harm. A look every `--every` seconds finds what no event told.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import io
import json
import logging
import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
from flask import Flask, Response, abort, request
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import infer_and_parse_data, predictions_to_json
from waitress.server import create_server
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

EXAMPLE = """example:
  export MLFLOW_TRACKING_URI=https://mlflow.example.com
  export PROMOTER_EVENTS_SECRET=$(openssl rand -hex 32)   # as in Promoter
  python serve.py fraud-detector@champion --host 0.0.0.0
  curl localhost:8000/predict --json '{"dataframe_records": [{"amount": 9.5}]}'"""

CHANGED = "dev.promoter.alias.changed"
EVENT_LIMIT, BODY_LIMIT = 64 * 1024, 8 * 1024 * 1024
WINDOW_SECONDS, DRAIN_SECONDS = 300, 20
THREADS = 8
BAD_REQUEST = 400
log = logging.getLogger("serve")


@dataclass(frozen=True)
class Serving:
    """One version, ready to answer. Its files are removed when nothing refers to it any more: after its last request."""

    version: int
    since: str
    model: Any
    folder: tempfile.TemporaryDirectory[str]


class Follower:
    """Keeps `serving` at the version that the alias points at. One thread looks and loads, so that looks coalesce."""

    def __init__(self, name: str, alias: str, every: float) -> None:
        """Looks at nothing yet."""
        self.name, self.alias = name, alias
        self.serving: Serving | None = None  # replaced whole, in one step: a request sees the old one or the new one
        self.checked: str | None = None
        self.trouble: dict[str, Any] | None = None
        self._every = every
        self.wake = threading.Event()  # set: look now, or once more after the look that is under way

    def as_json(self) -> dict[str, Any]:
        """What `GET /model` tells."""
        now = self.serving
        held: dict[str, Any] = {"version": now.version, "since": now.since} if now else {"version": None, "since": None}
        return {"model": self.name, "alias": self.alias, **held, "checked": self.checked, "trouble": self.trouble}

    def run(self) -> None:
        """Look for ever."""
        while True:
            self.wake.clear()  # before the look, not after it: an event that comes during it is not lost
            self._look()
            self.wake.wait(self._every)

    def _look(self) -> None:
        wanted = None
        try:
            wanted = self._stated()
            while self.serving is None or wanted != self.serving.version:
                loaded = self._load(wanted)
                again = self._stated()  # loading takes time: a version that lost the alias meanwhile never serves
                if again == wanted:
                    self._confirm(loaded)
                    loaded, self.serving = self.serving, loaded
                    log.info("version %s serves %s@%s", wanted, self.name, self.alias)
                self._discard(loaded)
                wanted = again
            self.trouble = None
            self.checked = datetime.now(UTC).isoformat()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a model's own code may raise anything; the old version serves on
            self.trouble = {"version": wanted, "at": datetime.now(UTC).isoformat(), "error": type(error).__name__}
            held = f"version {self.serving.version}" if self.serving else "nothing"
            what = f"version {wanted} cannot be loaded" if wanted else f"{self.name}@{self.alias} cannot be read"
            log.error("%s, %s serves: %s: %s", what, held, type(error).__name__, error)

    def _stated(self) -> int:
        """The version that the alias points at. Asks MLflow."""
        return int(mlflow.MlflowClient().get_model_version_by_alias(self.name, self.alias).version)

    def _load(self, version: int) -> Serving:
        """Loads by number, not by alias: the alias may move in between. Warms it up on the example that it was logged with."""
        folder = tempfile.TemporaryDirectory(prefix=f"serve-v{version}-")
        model = mlflow.pyfunc.load_model(f"models:/{self.name}/{version}", dst_path=folder.name)
        if model.input_example is not None:
            model.predict(model.input_example)
        return Serving(version, datetime.now(UTC).isoformat(), model, folder)

    def _confirm(self, loaded: Serving) -> None:
        """Raise where it cannot serve any more. A model in this process always can."""

    def _discard(self, replaced: Serving | None) -> None:
        """For a version that serves no more, or never did. Nothing is to be done here: its files go with the last reference."""


def authentic(headers: Headers, body: bytes, key: bytes) -> bool:
    """Whether this was signed with the secret, in the way of Standard Webhooks, within the last minutes."""
    stamp = headers.get("webhook-timestamp", "")
    made = hmac.digest(key, f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(made)
    given = headers.get("webhook-signature", "").split()  # several while a secret is being changed
    if not any(hmac.compare_digest(each.encode(), expected) for each in given):
        return False
    return re.fullmatch("[0-9]{1,12}", stamp) is not None and abs(time.time() - int(stamp)) <= WINDOW_SECONDS


def create_app(follower: Follower, key: bytes) -> Flask:
    """The routes."""
    app = Flask(__name__)
    app.add_url_rule("/predict", "predict", lambda: predict(follower.serving), methods=["POST"])
    app.add_url_rule("/events", "events", lambda: take_event(follower, key), methods=["POST"])
    app.add_url_rule("/model", "model", lambda: answer_json(200, follower.as_json()))
    app.add_url_rule(
        "/healthz", "healthz", lambda: answer_json(200 if follower.serving else 503, {"ready": bool(follower.serving)})
    )

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return answer_json(error.code or 500, {"error": error.description or error.name})

    return app


def predict(serving: Serving | None) -> Response:
    """Answers with that version, whatever happens meanwhile. Takes the JSON that MLflow's own scoring server takes."""
    if serving is None:
        abort(503, "no version is loaded yet")
    rows, answer, version = _json_object(), io.StringIO(), {"X-Model-Version": str(serving.version)}
    try:
        rows = infer_and_parse_data(rows, serving.model.metadata.get_input_schema())
        predictions_to_json(serving.model.predict(rows), answer, {"version": serving.version})
    except Exception as error:
        if isinstance(error, MlflowException) and error.get_http_status_code() == BAD_REQUEST:
            return answer_json(BAD_REQUEST, {"error": error.message}, version)  # the rows do not fit the model's signature
        log.exception("version %s failed to answer", serving.version)
        return answer_json(500, {"error": "the model failed, see the log"}, version)
    # NaN, which JSON has no word for, becomes null.
    return answer_json(200, json.loads(answer.getvalue(), parse_constant=lambda _: None), version)


def take_event(follower: Follower, key: bytes) -> Response:
    """Cap, authenticate, parse, and look: nothing else that the event says counts."""
    request.max_content_length = EVENT_LIMIT
    if not authentic(request.headers, request.get_data(), key):
        log.warning("an event was refused: not signed with our secret, or too old")
        abort(401, "not signed with our secret, or too old")
    event = _json_object()
    if event.get("specversion") != "1.0":
        abort(400, "this is no CloudEvent 1.0 in structured mode")
    if (event.get("type"), event.get("subject")) != (CHANGED, f"{follower.name}@{follower.alias}"):
        return answer_json(200, {"result": "not for us"})
    follower.wake.set()
    return answer_json(202, {"result": "accepted"})


def _json_object() -> dict[str, Any]:
    """The body. 400 where it is anything else."""
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        abort(400, "the body is not a JSON object")
    return body


def answer_health(follower: Follower) -> Response:
    """Answer 200 once a version serves."""
    ready = bool(follower.serving)
    return answer_json(200 if ready else 503, {"ready": ready})


def answer_json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a line of JSON."""
    return Response(json.dumps(body) + "\n", status, headers, mimetype="application/json")


def read_arguments(description: str, example: str) -> argparse.Namespace:
    """Read the command line, and the secret from the environment."""
    parser = argparse.ArgumentParser(description=description, epilog=example)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="NAME@ALIAS", help="what to serve, e.g. fraud-detector@champion")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the same (%(default)s)")
    parser.add_argument("--every", metavar="SECONDS", type=float, default=30, help="look without an event (%(default)s)")
    given = parser.parse_args()
    given.name, _, given.alias = given.model.rpartition("@")
    if not given.name or not given.alias:
        parser.error("say NAME@ALIAS, e.g. fraud-detector@champion")
    try:  # Standard Webhooks writes a secret as `whsec_` and base64; any other text is taken as it is
        secret = os.environ.get("PROMOTER_EVENTS_SECRET", "")
        given.key = base64.b64decode(secret[6:], validate=True) if secret.startswith("whsec_") else secret.encode()
    except ValueError:
        parser.error("PROMOTER_EVENTS_SECRET is not `whsec_` and base64")
    if not given.key:
        parser.error("set PROMOTER_EVENTS_SECRET: without a secret anyone could send events")
    return given


def drain(server: Any) -> None:
    """Take no new connection, answer the requests that have begun, hang up."""

    def turn_away() -> None:
        server.del_channel()
        server.socket.close()

    def hang_up() -> None:
        for channel in list(server.active_channels.values()):
            if not (channel.request or channel.requests or channel.total_outbufs_len):
                channel.handle_close()

    server.trigger.pull_trigger(turn_away)  # sockets are closed by the thread that polls them
    deadline = time.monotonic() + DRAIN_SECONDS
    while server.active_channels and time.monotonic() < deadline:
        server.trigger.pull_trigger(hang_up)
        time.sleep(0.05)


def run_server(given: argparse.Namespace, follower: Follower, app: Flask) -> None:
    """Follow the alias, and answer requests, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # the next look tries again anyway
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    listening = socket.create_server((given.host, given.port))
    server = create_server(app, sockets=[listening], threads=THREADS, max_request_body_size=BODY_LIMIT, ident=None)
    for name, work in (("follower", follower.run), ("web", server.run)):
        threading.Thread(target=work, name=name, daemon=True).start()
    log.info("listening on %s:%s for %s", given.host, given.port, given.model)
    stopping.wait()
    drain(server)
    log.info("stopped")


def main() -> None:
    """Serve the alias of the command line."""
    given = read_arguments("Serve the version that an alias of MLflow points at.", EXAMPLE)
    follower = Follower(given.name, given.alias, given.every)
    run_server(given, follower, create_app(follower, given.key))


if __name__ == "__main__":
    main()
