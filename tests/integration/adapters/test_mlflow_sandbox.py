"""What a hostile model reaches of the machine that loads it: nothing, whichever sandbox it is in."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from promoter.adapters.mlflow import sandbox as sandboxes
from promoter.adapters.mlflow.loading import LoadBounds, ModelLoader
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.sandbox import Bubblewrap, ModelPaths, Sandbox, SandboxFinder, SandboxTerms, find_leak
from promoter.adapters.system import close_own_memory
from promoter.domain.observed import LoadingResult
from tests.support.fixtures.sandbox import TERMS
from tests.support.hostile_model import SECRET, build_attack, is_left, read_command
from tests.support.stage.seeding import evidenced, make_logged_version

PATIENT = LoadBounds(fetch_seconds=240, load_seconds=240)
CUSTOM = "flavors:\n  python_function:\n    loader_module: custom\n    code: code\n"


@pytest.fixture
def mark() -> str:
    """A number of seconds that no other process sleeps."""
    return f"9{uuid.uuid4().int % 10**12:012}"


@pytest.fixture
def neighbour() -> Iterator[None]:
    """A process of the same user with a secret in its environment, as the child that fetches has."""
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, "TOKEN": SECRET}) as process:
        yield
        process.kill()


def run_custom(sandbox: Sandbox, folder: Path, code: str, bounds: LoadBounds = PATIENT) -> LoadingResult:
    """What comes of a model with that loader."""
    (folder / "artifact" / "code").mkdir(parents=True)
    (folder / "artifact" / "MLmodel").write_text(CUSTOM)
    (folder / "artifact" / "code" / "custom.py").write_text(code)
    return ModelLoader(None, "", bounds, TERMS)._load_in_child(folder / "artifact", sandbox)


class _OpenDoor(Bubblewrap):
    """What leaves everything open."""

    name = "an open door"

    def find_obstacle(self) -> str | None:
        """It is always there."""
        return None

    def build_wrapper(self, artifact: Path, environment: Any, limits: Any) -> list[str]:
        """Nothing is closed."""
        del artifact, environment, limits
        return ["env"]


@pytest.mark.slow
@pytest.mark.usefixtures("neighbour")
def test_the_attack_wins_where_nothing_is_closed(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what it does not reach in a sandbox is not out of its reach for another reason."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_OpenDoor, "paths", ModelPaths(str(tmp_path / "artifact"), str(tmp_path)))
    ledger = tmp_path / "promoter.db"
    ledger.write_bytes(b"secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        artifact = build_attack(tmp_path, mark, [server.getsockname()[:2]], [str(ledger)], [])
        result = ModelLoader(None, "", PATIENT)._load_in_child(artifact, _OpenDoor(SandboxTerms()))

    for entry in Path("/proc").glob("[0-9]*"):
        if mark in read_command(entry):
            os.kill(int(entry.name), signal.SIGKILL)
    won = ["a memory", "an environment", "left a file in tmp", "network", "read tmp/promoter.db", "written tmp/promoter.db"]
    assert result == LoadingResult("failed", f"ValueError: won {', '.join(won)}")


@pytest.mark.slow
@pytest.mark.usefixtures("neighbour")
def test_a_hostile_pickle_reaches_nothing_and_nothing_of_it_stays(
    each_sandbox: Sandbox, tmp_path: Path, mark: str, mlflow_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment or memory of others, no ledger, no network, no survivor; and the verdict says what it left behind."""
    monkeypatch.chdir(tmp_path)
    ledger = tmp_path / "ledger" / "promoter.db"
    ledger.parent.mkdir()
    ledger.write_bytes(b"secret")
    ledger.chmod(0o600)
    server = urlsplit(mlflow_server.uri)
    addresses = [(str(server.hostname), int(server.port or 0)), ("127.0.0.1", 22)]
    artifact = build_attack(tmp_path, mark, addresses, [str(ledger), "/root/.netrc", "/etc/passwd", "/etc/shadow"])
    loader = ModelLoader(None, "", PATIENT, TERMS)

    result = loader._load_in_child(artifact, each_sandbox)

    assert result == LoadingResult("loaded", "python_function; processes that it left behind and that were ended: 1")
    assert ledger.read_bytes() == b"secret"
    assert not is_left(mark)
    assert not list(Path("/var/tmp").glob(mark))  # where it tried


@pytest.mark.slow
def test_a_hostile_version_on_a_real_server_is_loaded_apart(
    sandbox: Sandbox, tmp_path: Path, mark: str, mlflow_server: Any, mlflow_client: Any, fresh_name: str
) -> None:
    """Fetched with credentials by one child, loaded without any by another."""
    del sandbox
    server = urlsplit(mlflow_server.uri)
    artifact = build_attack(tmp_path, mark, [(str(server.hostname), int(server.port or 0))], [])
    make_logged_version(mlflow_client, fresh_name, folder=artifact)
    registry = MlflowRegistry(mlflow_server.uri, load_models=True, bounds=PATIENT, sandbox=TERMS)
    (row,) = evidenced(registry, fresh_name)

    result = registry.check_loading(fresh_name, row.version)

    assert result == LoadingResult("loaded", "python_function; processes that it left behind and that were ended: 1")
    assert not is_left(mark)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["os._exit(0)", "raise ValueError('no')"])
def test_an_answer_that_the_model_writes_is_not_believed(each_sandbox: Sandbox, tmp_path: Path, ends: str) -> None:
    """Into every descriptor that it has, before it ends by itself or fails."""
    forged = '{"outcome": "loaded", "detail": "python_function", "token": ""}'
    code = f"import os\nfor number in range(200):\n  try: os.write(number, {forged.encode()!r})\n  except OSError: pass\n{ends}"

    result = run_custom(each_sandbox, tmp_path, code)

    assert result == LoadingResult("untried", "its code wrote where only the loader answers")


@pytest.mark.slow
def test_what_a_model_prints_is_no_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    """However much it is."""
    code = """print('{"outcome": "loaded"}' * 100_000, flush=True)\nraise ValueError("no")"""

    assert run_custom(sandbox, tmp_path, code) == LoadingResult("failed", "ValueError: no")


@pytest.mark.slow
def test_processes_without_end_are_ended(each_sandbox: Sandbox, tmp_path: Path, mark: str) -> None:
    """Each starts the next one; none of them is there in the end."""
    code = f"import subprocess, time\nfor _ in range(400): subprocess.Popen(['sleep', '{mark}'])\ntime.sleep(1000)"

    result = run_custom(each_sandbox, tmp_path, code)

    assert result == LoadingResult("untried", "it started more than 256 processes")
    assert not is_left(mark)


@pytest.mark.slow
def test_memory_of_many_processes_is_bounded(each_sandbox: Sandbox, tmp_path: Path) -> None:
    """Each of them stays below its own limit."""
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        data = bytearray(b"x") * 100_000_000
        time.sleep(1000)
time.sleep(1000)
"""

    result = run_custom(each_sandbox, tmp_path, code, LoadBounds(load_seconds=240, memory=900_000_000))

    assert result == LoadingResult("untried", "its processes took more than 900000000 bytes of memory")


@pytest.mark.slow
def test_a_model_that_hangs_and_ignores_signals_is_ended(each_sandbox: Sandbox, tmp_path: Path, mark: str) -> None:
    """With what it started in a session of its own."""
    code = f"""
import os, signal, subprocess, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
subprocess.Popen(["setsid", "sleep", "{mark}"], start_new_session=True)
time.sleep(1000)
"""

    result = run_custom(each_sandbox, tmp_path, code, LoadBounds(load_seconds=15))

    assert result == LoadingResult("untried", "it did not load within 15 s")
    assert not is_left(mark)


def test_a_sandbox_that_does_not_hold_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried out first: what worked in it is named, and nothing is loaded."""
    monkeypatch.chdir(tmp_path)
    found, reason = SandboxFinder(SandboxTerms(), [_OpenDoor]).find_sandbox()

    assert found is None
    assert reason.startswith("no sandbox works here: an open door does not hold: a model could reach the network and read the")
    assert f"write in {tmp_path}" in reason
    assert list(tmp_path.iterdir()) == []


def test_without_a_sandbox_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reason is named, and no model's code runs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    client = type("Client", (), {"get_model_version_download_uri": lambda *_: str(tmp_path)})()

    result = ModelLoader(client, "", LoadBounds())._try_loading("m", type("Version", (), {"number": 1})())

    assert result == LoadingResult(
        "untried",
        "no sandbox works here: bubblewrap (`bwrap`) is not installed; `systemd-run` is not installed; "
        "`unshare` of util-linux is not installed",
    )


@pytest.mark.parametrize(("user", "reason"), [("root", "must not be root"), ("nobody-at-all", "there is no such user")])
def test_a_user_that_is_none_of_its_own_is_refused(user: str, reason: str) -> None:
    """Root is Promoter itself."""
    found = sandboxes.OwnUser(SandboxTerms(user=user)).find_obstacle()

    assert found is not None
    assert reason in found or os.geteuid() != 0


def test_a_python_that_the_user_cannot_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder is often closed to others: the folder is named."""
    (tmp_path / "home" / "venv").mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "home" / "venv"))
    (tmp_path / "home").chmod(0o700)
    user = pwd.getpwnam("nobody")
    assert sandboxes._find_closed_folder(tmp_path / "home" / "venv", user) is not None
    assert sandboxes._find_closed_folder(Path("/usr/bin"), user) is None
    found = sandboxes.OwnUser(SandboxTerms(user="nobody")).find_obstacle()
    assert "cannot reach this Python" in str(found) or os.geteuid() != 0


def test_a_tool_that_fails_says_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """As bubblewrap does where the kernel lets nobody make namespaces."""
    words = ["sh", "-c", "echo 'bwrap: No permissions to create a new namespace' >&2; exit 1", "sh"]
    monkeypatch.setattr(Bubblewrap, "build_wrapper", lambda *_: words)

    leak = find_leak(Bubblewrap(SandboxTerms()), SandboxTerms())

    assert leak == "bubblewrap does not start: bwrap: No permissions to create a new namespace"


def test_a_closed_process_is_not_read_by_others_of_its_user(tmp_path: Path) -> None:
    """Its memory and environment belong to root, so that a child of the same user gets a refusal."""
    script = f"""
import ctypes, os
from {close_own_memory.__module__} import close_own_memory
if os.geteuid() == 0: os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
def reads():
    if (child := os.fork()) == 0:
        try: open(f"/proc/{{os.getppid()}}/environ").read(); os._exit(1)
        except OSError: os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
before = reads(); close_own_memory(); print(before, reads())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.split() == ["1", "0"]
