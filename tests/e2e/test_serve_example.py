"""The serving example: it follows the alias, drops no request, and believes no event."""

from __future__ import annotations

import base64
import http.client
import runpy
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_logged_version, make_version
from tests.support.stage.serving_example import EXAMPLE, SECRET, Example, RequestStream, save_line, save_odd, signed

pytestmark = pytest.mark.slow

LINES = {1: 2.0, 2: -3.0}
Champion = Callable[[int], None]
Odd = Callable[..., int]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two trained models, by the number that they get as versions."""
    folder = tmp_path_factory.mktemp("lines")
    return {number: save_line(folder / f"line-{number}", slope) for number, slope in LINES.items()}


@pytest.fixture(scope="module")
def model(mlflow_client: Any, lines: dict[int, Path]) -> str:
    """A model with both as its first versions."""
    name = f"model-{uuid.uuid4().hex[:12]}"
    for folder in lines.values():
        make_logged_version(mlflow_client, name, folder=folder)
    return name


@pytest.fixture
def champion(mlflow_client: Any, model: str) -> Champion:
    """Makes a version the champion."""
    return lambda version: mlflow_client.set_registered_model_alias(model, "champion", str(version))


@pytest.fixture(scope="module")
def running(
    mlflow_server: SharedMlflow, mlflow_client: Any, model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    """One for many tests, since it takes seconds to start. It looks only when it is told to."""
    mlflow_client.set_registered_model_alias(model, "champion", "1")
    with Example(tmp_path_factory.mktemp("serve"), mlflow_server.uri, model) as example:
        yield example


@pytest.fixture
def example(running: Example, champion: Champion) -> Example:
    """The running one, with version 1."""
    champion(1)
    assert running.tell() == 202
    running.until(lambda: running.model["version"] == 1 and not running.model["trouble"])
    running.forget()
    return running


@pytest.fixture
def odd(mlflow_client: Any, model: str, tmp_path: Path) -> Odd:
    """Makes a version that behaves as told; its number."""

    def make(**how: Any) -> int:
        return make_logged_version(mlflow_client, model, folder=save_odd(tmp_path / f"odd-{len(how)}", **how))[0]

    return make


def test_ten_changes_under_load(example: Example, champion: Champion) -> None:
    """Not one request fails, each is answered by the version that it names, and the last version is the one that serves."""
    with RequestStream(example, LINES) as stream:
        for number in range(10):
            version = 2 - number % 2
            champion(version)
            assert example.tell() == 202
            example.until_version(version)
    assert stream.faults == []
    assert stream.answers.count(1) > 20 < stream.answers.count(2)
    assert (example.model["version"], example.model["trouble"]) == (1, None)
    assert example.kept() == [1], "files of versions that serve no more are left"
    assert len(list(example.temporary.rglob("MLmodel"))) == 1


def test_a_burst_of_events(example: Example, champion: Champion) -> None:
    """Twice each, late, in the wrong order: it ends on what the registry says, after a few looks."""
    body = example.event()
    late = signed(body, stamp=int(time.time()) - 200)
    with RequestStream(example, LINES) as stream:
        for number in range(10):
            champion(1 + number % 2)
            for headers in (None, late, late):
                assert example.tell(body, headers) == 202
        example.until_version(2)
    assert stream.faults == []
    assert example.log().count("serves") <= 11, "each event has loaded a model"


def test_events_that_prove_nothing(example: Example, champion: Champion) -> None:
    """Forged, unsigned, altered, old or from the future: 401, and nobody looks. What is for others is not for us."""
    champion(2)
    checked = example.model["checked"]
    body, now = example.event(), int(time.time())
    good = signed(body)
    refused: list[dict[str, str]] = [
        {},
        signed(body, key=b"another secret"),
        signed(body, key=b""),
        signed(body + b" "),
        signed(body, stamp=now - 400),
        signed(body, stamp=now + 400),
        {**good, "webhook-id": "another"},
        {**good, "webhook-timestamp": str(now - 1)},
        {**good, "webhook-timestamp": "soon"},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": "v1,"},
        {**good, "webhook-signature": good["webhook-signature"].removeprefix("v1,")},
        {**good, "webhook-signature": "v2," + good["webhook-signature"].removeprefix("v1,")},
        {**good, "webhook-signature": "v1,\u00fcber"},
    ]
    assert [example.tell(body, headers) for headers in refused] == [401] * len(refused)
    for others in ({"subject": "other@champion"}, {"type": "dev.promoter.alias.blocked"}, {"subject": None}):
        assert example.tell(example.event(**others)) == 200
    for malformed in (b"", b"[]", b"{", b"\xff", b"[" * 50_000, example.event(specversion="0.3")):
        assert example.tell(malformed) == 400
    time.sleep(0.5)
    assert (example.model["checked"], example.model["version"]) == (checked, 1), "it looked"
    several = {**good, "webhook-signature": "v1,c3RhbGU= " + good["webhook-signature"]}
    assert example.tell(body, several) == 202
    example.until_version(2)


def test_an_event_that_is_too_large(example: Example) -> None:
    """Refused by its length, before it is read."""
    body = example.event(data="x" * 100_000)
    assert example.tell(body) == 413
    connection = http.client.HTTPConnection("127.0.0.1", example.port, timeout=20)
    connection.request("POST", "/events", headers={"Content-Length": str(10**9)})
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("broken", [{}, {"fails": True, "example": True}, {"ends": True}], ids=str)
def test_a_version_that_cannot_be_loaded(
    example: Example, champion: Champion, odd: Odd, mlflow_client: Any, broken: dict[str, bool]
) -> None:
    """The old one serves on, which is told in /model and in the log; the next version that can be loaded serves."""
    number = odd(**broken) if broken else make_version(mlflow_client, example.name)
    with RequestStream(example, LINES) as stream:
        champion(number)
        assert example.tell() == 202
        example.until(lambda: example.model["trouble"])
        assert (example.model["version"], example.model["trouble"]["version"]) == (1, number)
        assert example.ask("GET", "/healthz")[0] == 200
        champion(2)
        assert example.tell() == 202
        example.until(lambda: example.model["version"] == 2 and not example.model["trouble"])
    assert stream.faults == []
    assert f"version {number} cannot be loaded, version 1 serves" in example.log()
    assert example.kept() == [2]


def test_the_alias_moves_on_while_a_version_loads(example: Example, champion: Champion, odd: Odd) -> None:
    """A version that has lost the alias by the time that it is loaded never serves."""
    number, checked = odd(load_seconds=2), example.model["checked"]
    with RequestStream(example, LINES) as stream:
        champion(number)
        assert example.tell() == 202
        example.until(lambda: number in example.kept())
        champion(1)
        example.until(lambda: example.model["checked"] != checked)
    assert (stream.faults, set(stream.answers)) == ([], {1})
    assert example.kept() == [1]


def test_rows_that_do_not_fit(example: Example) -> None:
    """400 with the reason, and the version that found so."""
    for body in (b'{"dataframe_records": [{"y": 1}]}', b'{"dataframe_records": [{"x": "one"}]}', b'{"rows": []}'):
        status, headers, told = example.ask("POST", "/predict", body)
        assert (status, headers["X-Model-Version"]) == (400, "1"), body
        assert told["error"]
    assert example.ask("POST", "/predict", b"no JSON")[0] == 400
    assert example.ask("GET", "/predict")[0] == 405


def test_odd_answers(example: Example, champion: Champion, odd: Odd) -> None:
    """What is no number is null. A model's own failure is 500, the reason only in the log, and it goes on serving."""
    champion(number := odd())
    assert example.tell() == 202
    example.until_version(number)
    assert example.predict(0, 4)[2] == {"predictions": [None, 1.0], "version": number}
    champion(number := odd(fails=True))
    assert example.tell() == 202
    example.until_version(number)
    status, headers, told = example.predict(1)
    assert (status, headers["X-Model-Version"], told) == (500, str(number), {"error": "the model failed, see the log"})
    assert "this model answers nobody" in example.log()
    assert example.ask("GET", "/healthz")[0] == 200


def test_an_event_during_a_look() -> None:
    """One that comes after the alias was read causes one more look; it is the only one that tells of that move."""
    follower = runpy.run_path(str(EXAMPLE))["Follower"]("model", "champion", 3600)
    follower.serving = SimpleNamespace(version=1)
    again = threading.Event()
    told = iter([follower.wake, again])

    def stated() -> int:
        next(told).set()
        return 1

    follower._stated = stated
    threading.Thread(target=follower.run, daemon=True).start()
    assert again.wait(20)


def test_without_events(
    mlflow_server: SharedMlflow, mlflow_client: Any, model: str, champion: Champion, tmp_path: Path
) -> None:
    """It starts before there is a champion, says that it is not ready, and finds each move by looking now and then."""
    mlflow_client.delete_registered_model_alias(model, "champion")
    with Example(tmp_path, mlflow_server.uri, model, every=0.2) as example:
        example.until(lambda: example.model["trouble"])
        assert (example.ask("GET", "/healthz")[0], example.predict(1)[0], example.model["version"]) == (503, 503, None)
        for version in (2, 1):
            champion(version)
            example.until_version(version)
        assert example.ask("GET", "/healthz")[0] == 200
        mlflow_client.delete_registered_model_alias(model, "champion")
        example.until(lambda: example.model["trouble"])
        status, headers, told = example.predict(1, 2.5)
        assert (status, headers["X-Model-Version"], told["version"]) == (200, "1", 1)
        assert told["predictions"] == pytest.approx([2.0, 5.0])


def test_sigterm(mlflow_server: SharedMlflow, model: str, champion: Champion, odd: Odd, tmp_path: Path) -> None:
    """The request that has begun is answered, a connection that is only kept open does not hold it up; its files are gone."""
    champion(number := odd(answer_seconds=2))
    key = b"a key of twenty-four byte"  # `whsec_`: the key is what the base64 says
    with Example(tmp_path, mlflow_server.uri, model, secret="whsec_" + base64.b64encode(key).decode()) as example:
        example.until_version(number)
        body = example.event()
        assert [example.tell(body, headers) for headers in (signed(body), signed(body, key=key))] == [401, 202]
        idle = http.client.HTTPConnection("127.0.0.1", example.port, timeout=20)
        idle.request("GET", "/model")
        idle.getresponse().read()
        begun: list[Any] = []
        asking = threading.Thread(target=lambda: begun.append(example.predict(4)))
        asking.start()
        time.sleep(0.5)
        assert example.stop() == 0
        asking.join()
        idle.close()
        assert begun[0][0] == 200
        assert begun[0][2]["predictions"] == [1.0]
        assert example.kept() == []
        assert "Traceback" not in example.log()


@pytest.mark.parametrize(
    ("what", "secret", "words"),
    [
        ("model@champion", "", "set PROMOTER_EVENTS_SECRET"),
        ("model", SECRET, "say NAME@ALIAS"),
        ("@champion", SECRET, "say NAME@ALIAS"),
        ("model@champion", "whsec_?", "is not `whsec_` and base64"),
        ("model@champion", "whsec_", "set PROMOTER_EVENTS_SECRET"),
    ],
)
def test_it_does_not_start_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, secret: str, words: str
) -> None:
    """Without a secret, or a whole name, it says so and ends."""
    monkeypatch.setenv("PROMOTER_EVENTS_SECRET", secret)
    monkeypatch.setattr(sys, "argv", ["serve.py", what])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Has an example, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["serve.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    told = capsys.readouterr().out
    assert "python serve.py fraud-detector@champion" in told
    assert max(map(len, told.splitlines())) <= 80
