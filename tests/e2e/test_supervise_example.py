"""The supervised `mlflow models serve`: it follows the alias, drops no request, and starts again what ended."""

from __future__ import annotations

import runpy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from urllib3.exceptions import ProtocolError

from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_logged_version
from tests.support.stage.serving_example import SUPERVISED, Example, RequestStream, save_line, save_odd

LINES = {1: 2.0, 2: -3.0}


class EndingServer:
    """In the place of a model server: its process lives or has ended, and a request is answered or breaks off."""

    def __init__(self, version: int, answers: list[str | None], code: int | None = None) -> None:
        """`answers`: the texts, one for each request; None: the connection breaks. `code`: that of the process that ended."""
        self.version, self.since, self.busy, self.stopped = version, "now", 0, False
        self._answers = answers
        self.process = SimpleNamespace(poll=lambda: code)
        self.ends = False

    def ask(self, *_: Any) -> Any:
        """The next answer."""
        found = self._answers.pop(0)
        if found is None:
            raise ProtocolError("broken")
        return SimpleNamespace(status=200, data=found, headers={"Content-Type": "application/json"})

    def has_ended(self) -> bool:
        """As the test says."""
        return self.ends

    def stop(self) -> None:
        """Note it."""
        self.stopped = True


Champion = Callable[[int], None]


@pytest.fixture(scope="module")
def model(mlflow_client: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with two versions that answer differently."""
    name, folder = f"model-{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("lines")
    for number, slope in LINES.items():
        make_logged_version(mlflow_client, name, folder=save_line(folder / f"line-{number}", slope))
    return name


@pytest.fixture
def champion(mlflow_client: Any, model: str) -> Champion:
    """Makes a version the champion."""
    return lambda version: mlflow_client.set_registered_model_alias(model, "champion", str(version))


@pytest.fixture(scope="module")
def running(
    mlflow_server: SharedMlflow, mlflow_client: Any, model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    """One for many tests. It looks only when it is told to."""
    mlflow_client.set_registered_model_alias(model, "champion", "1")
    with Example(tmp_path_factory.mktemp("supervise"), mlflow_server.uri, model, script=SUPERVISED) as example:
        yield example


@pytest.fixture
def example(running: Example, champion: Champion) -> Example:
    """The running one, with version 1."""
    champion(1)
    assert running.tell() == 202
    running.until(lambda: running.model["version"] == 1 and not running.model["trouble"])
    running.forget()
    return running


def find_servers(example: Example) -> list[psutil.Process]:
    """The processes of `mlflow models serve` under it."""
    children = psutil.Process(example.pid).children()
    return [each for each in children if each.status() != psutil.STATUS_ZOMBIE and "serve" in each.cmdline()]


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script defines."""
    monkeypatch.syspath_prepend(str(SUPERVISED.parent))
    return runpy.run_path(str(SUPERVISED))


def test_a_request_outlives_its_server(supervise: dict[str, Any]) -> None:
    """It is asked again, once, where the server ended; without any server the answer is 503; unsigned events are refused."""
    supervisor = supervise["Supervisor"]("fraud", "champion", 30)
    client = supervise["create_app"](supervisor, b"key").test_client()
    assert client.post("/invocations", data=b"{}").status_code == 503
    assert client.get("/healthz").status_code == 503
    supervisor.serving, supervisor._served = EndingServer(3, [None, "{}"]), True
    assert client.post("/invocations", data=b"{}").status_code == 502
    supervisor.serving = EndingServer(3, [None, None, "{}"])
    supervisor.serving.ends = True
    assert client.post("/invocations", data=b"{}").status_code == 502
    supervisor.serving = EndingServer(3, [None, '{"predictions": [1]}'])
    supervisor.serving.ends = True
    answer = client.post("/invocations", data=b"{}")
    assert (answer.status_code, answer.headers["X-Model-Version"], answer.json) == (200, "3", {"predictions": [1]})
    assert client.post("/events", data=b"{}").status_code == 401
    assert client.get("/docs").status_code == 404


def test_a_server_that_ends_while_it_takes_over(supervise: dict[str, Any]) -> None:
    """Before that, the old one serves on, and the trouble is shown; in the same moment, another one is started."""
    supervisor = supervise["Supervisor"]("fraud", "champion", 30)
    old, *started = EndingServer(1, []), EndingServer(2, [], code=-9), EndingServer(2, [], code=-9), EndingServer(2, [])
    supervisor.serving, supervisor._served = old, True
    supervisor.servers.append(old)
    supervisor._stated = lambda: 2
    supervisor._load = lambda _version: supervisor.servers.append(started[0]) or started.pop(0)
    supervisor._look()
    assert (supervisor.serving, supervisor.trouble["version"], old.stopped) == (old, 2, False)
    supervisor._confirm = lambda _loaded: None
    supervisor._look()
    assert (supervisor.serving.process.poll(), supervisor.trouble) == (None, None)


def test_a_server_is_stopped_after_its_last_answer(supervise: dict[str, Any]) -> None:
    """Whoever borrowed it before the change still has it."""
    supervisor = supervise["Supervisor"]("fraud", "champion", 30)
    old = EndingServer(1, [])
    supervisor.serving, supervisor._served = old, True
    supervisor.servers.append(old)
    with supervisor.borrow() as server:
        supervisor.serving = EndingServer(2, [])
        retiring = threading.Thread(target=supervisor._retire, args=(server,))
        retiring.start()
        retiring.join(0.3)
        assert not old.stopped
    retiring.join(20)
    assert old.stopped
    assert supervisor.servers == []


@pytest.mark.slow
def test_changes_under_load(example: Example, champion: Champion) -> None:
    """Not one request fails, each is answered by the version that it names, and the server of the old version is gone."""
    with RequestStream(example, LINES) as stream:
        for version in (2, 1):
            champion(version)
            assert example.tell() == 202
            example.until_version(version)
    assert stream.faults == []
    assert stream.answers.count(1) > 20 < stream.answers.count(2)
    example.until(lambda: len(find_servers(example)) == 1)


@pytest.mark.parametrize("broken", [{"fails": True, "example": True}, {"ends": True}], ids=str)
@pytest.mark.slow
def test_a_version_that_cannot_serve(
    example: Example, champion: Champion, mlflow_client: Any, tmp_path: Path, broken: dict[str, bool]
) -> None:
    """The old one serves on, which `/model` and the log say. Nothing of the other one is left."""
    number, *_ = make_logged_version(mlflow_client, example.name, folder=save_odd(tmp_path / "odd", **broken))
    with RequestStream(example, LINES) as stream:
        champion(number)
        assert example.tell() == 202
        example.until(lambda: example.model["trouble"])
    assert (stream.faults, set(stream.answers)) == ([], {1})
    assert (example.model["version"], example.model["trouble"]["version"]) == (1, number)
    assert f"version {number} cannot be loaded, version 1 serves" in example.log()
    assert len(find_servers(example)) == 1


@pytest.mark.slow
def test_a_server_that_is_killed(example: Example) -> None:
    """Requests wait for the next one, and none fails."""
    (server,) = find_servers(example)
    with RequestStream(example, LINES, pause=0.1) as stream:
        for each in (*server.children(recursive=True), server):
            each.kill()
        if not example.until_or_not(lambda: find_servers(example) and find_servers(example)[0].pid != server.pid, 3):
            assert example.tell() == 202  # it had only just started: the next look starts it again
        example.until(lambda: example.model["version"] == 1)
        known = len(stream.answers)
        example.until(lambda: len(stream.answers) > known + 10)
    assert stream.faults == []
    assert "of version 1 ended with code -9" in example.log()


@pytest.mark.slow
def test_events_that_prove_nothing(example: Example, champion: Champion) -> None:
    """Unsigned: 401, and nobody looks. Paths that MLflow's server does not have are not passed on."""
    champion(2)
    assert example.tell(example.event(), {}) == 401
    assert example.ask("GET", "/docs")[0] == 404
    assert example.ask("GET", "/invocations")[0] == 405
    assert example.model["version"] == 1


@pytest.mark.slow
def test_what_the_model_refuses(example: Example) -> None:
    """MLflow's own answer, with the version that gave it."""
    headers = {"Content-Type": "application/json"}
    status, answered, _ = example.ask("POST", "/invocations", b'{"dataframe_records": [{"y": 1}]}', headers)
    assert (status, answered["X-Model-Version"]) == (400, "1")


@pytest.mark.slow
def test_sigterm(mlflow_server: SharedMlflow, mlflow_client: Any, model: str, champion: Champion, tmp_path: Path) -> None:
    """The request that has begun is answered, and no process is left."""
    number, *_ = make_logged_version(mlflow_client, model, folder=save_odd(tmp_path / "slow", answer_seconds=2))
    champion(number)
    with Example(tmp_path, mlflow_server.uri, model, script=SUPERVISED) as example:
        example.until_version(number)
        children = psutil.Process(example.pid).children(recursive=True)
        begun: list[Any] = []
        asking = threading.Thread(target=lambda: begun.append(example.predict(4)))
        asking.start()
        time.sleep(0.5)
        assert example.stop() == 0
        asking.join()
        assert begun[0][0] == 200
        assert begun[0][2]["predictions"] == [1.0]
        assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)
