"""Loading models in a child: what comes of good, damaged, foreign and hostile ones, and that nothing of it stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.mlflow import loading, subprocesses
from promoter.adapters.mlflow.artifacts import ArtifactError
from promoter.adapters.mlflow.load_subprocess import _describe_load_error
from promoter.adapters.mlflow.loading import LoadBounds, ModelLoader, fetch_artifact
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.sandbox import Sandbox, SandboxTerms
from promoter.domain.decision import Verdict
from promoter.domain.observed import LoadingResult
from promoter.domain.policy.evaluate import check_readiness
from tests.support.stage.seeding import evidenced, make_logged_version, make_version

CUSTOM = "flavors:\n  python_function:\n    loader_module: custom\n    code: code\n"
PATIENT = LoadBounds(fetch_seconds=240, load_seconds=240)  # no test is about how fast this machine is
SPY = """
import os, resource
def _load_pyfunc(path):
    limits = [resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU")]
    surplus = sorted(os.environ.keys() - set(KNOWN))
    chosen = [os.environ[name] for name in ("HOME", "TMPDIR", "KERAS_BACKEND", "XLA_FLAGS")]
    raise ValueError(f"{surplus} {limits} {os.getcwd()} {chosen}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the temporary folders of a load are made; the artifact of the test goes to `artifact`."""
    (tmp_path / "artifact" / "code").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, which has to be empty at the end."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def loaded(
    sandbox: Sandbox,
    folder: Path,
    mlmodel: str,
    code: str = "",
    bounds: LoadBounds | None = None,
    terms: SandboxTerms | None = None,
) -> LoadingResult:
    """What comes of an artifact that has been fetched."""
    artifact = folder / "artifact"
    (artifact / "MLmodel").write_text(mlmodel)
    (artifact / "code" / "custom.py").write_text(code)
    return ModelLoader(None, "", bounds or PATIENT, terms)._load_in_child(artifact, sandbox)


@pytest.mark.slow
def test_a_real_model_loads_and_a_damaged_one_does_not(
    sandbox: Sandbox, mlflow_server: Any, mlflow_client: Any, fresh_name: str, tmp_path: Path, leftovers: Path
) -> None:
    """Fetched from the server's storage; readiness says both; and a success is not tried again."""
    del sandbox
    import mlflow.sklearn
    from sklearn.linear_model import LinearRegression

    model = tmp_path / "model"
    mlflow.sklearn.save_model(LinearRegression().fit([[0], [1]], [0, 1]), str(model), pip_requirements=[])
    make_logged_version(mlflow_client, fresh_name, folder=model)
    (data,) = model.glob("model.*")
    data.write_bytes(data.read_bytes()[:100])
    make_logged_version(mlflow_client, fresh_name, folder=model)
    registry = MlflowRegistry(mlflow_server.uri, load_models=True, bounds=PATIENT)
    good, damaged = evidenced(registry, fresh_name)

    assert registry.check_loading(fresh_name, good.version) == LoadingResult("loaded", "python_function")
    broken = registry.check_loading(fresh_name, damaged.version)

    assert broken.outcome == "failed"
    assert check_readiness(registry.check_readiness(fresh_name, 1)).value == "python_function, sklearn; loads"
    finding = check_readiness(registry.check_readiness(fresh_name, 2))
    assert finding.verdict is Verdict.FAIL
    assert finding.value == f"python_function, sklearn; does not load: {broken.detail}"
    assert not any(leftovers.iterdir())


def test_the_models_code_sees_no_secret_and_is_confined(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment is a list of names, and what the deployment adds; its home is temporary; the backend of Keras stays."""
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "PROMOTER_MLFLOW_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("XLA_FLAGS", "--chosen")

    known = {"PATH", "LANG", "HOME", "TMPDIR", "OMP_NUM_THREADS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"}
    added = {"KERAS_BACKEND", "XLA_FLAGS"}
    set_by_others = {"LC_CTYPE", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "PWD"}
    code = f"KNOWN = {known | added | set_by_others}\n{SPY}"
    result = loaded(sandbox, folder, CUSTOM, code, terms=SandboxTerms(environment=("XLA_FLAGS",)))

    cpu = PATIENT.load_seconds * (os.cpu_count() or 1)
    seen = f"[] {[PATIENT.memory, 0, cpu]} tmp ['tmp', 'tmp', 'jax', '--chosen']"
    assert result == LoadingResult("failed", f"ValueError: {seen}")


NOTED = CUSTOM + "  keras:\n    keras_backend: {}\n"
ECHO = "import os\ndef _load_pyfunc(path): raise ValueError(os.environ.get('KERAS_BACKEND'))"


@pytest.mark.parametrize(
    ("noted", "chosen", "seen"),
    [
        ("jax", None, "jax"),
        ("jax", "torch", "torch"),
        ("LD_PRELOAD", None, "None"),
        ("[jax]", None, "None"),
    ],
)
def test_the_backend_of_keras(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, noted: str, chosen: str | None, seen: str
) -> None:
    """It is the one that the model was logged on, unless the deployment chooses; a word that names none is not handed on."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if chosen:
        monkeypatch.setenv("KERAS_BACKEND", chosen)
    assert loaded(sandbox, folder, NOTED.format(noted), ECHO) == LoadingResult("failed", f"ValueError: {seen}")


@pytest.mark.parametrize(
    ("noted", "module", "advice"),
    [
        ("torch", "torch", "; Keras runs on torch here: install it beside Promoter, or set KERAS_BACKEND to jax or tensorflow"),
        (
            "null",
            "tensorflow",
            "; Keras runs on tensorflow here: install it beside Promoter, or set KERAS_BACKEND to jax or torch",
        ),
        ("jax", "layers_of_our_own", None),
    ],
)
def test_a_backend_of_keras_that_is_not_installed(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, noted: str, module: str, advice: str | None
) -> None:
    """The result names the library that Keras runs on, and the way out; another missing library is named as it is."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    absent = f"No module named '{module}'"
    code = f"def _load_pyfunc(path): raise ModuleNotFoundError({absent!r})"
    missing = f"a library is not installed: {absent}"
    expected = f"{missing}{advice} if that is installed" if advice else missing
    assert loaded(sandbox, folder, NOTED.format(noted), code) == LoadingResult("untried", expected)


@pytest.mark.slow
def test_a_real_keras_model_on_jax_loads(sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what MLflow notes of it, where Promoter's environment names no backend."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    place = folder / "saved"
    script = (
        "import keras, mlflow.keras, sys; net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]); "
        "mlflow.keras.save_model(net, sys.argv[1], pip_requirements=[])"
    )
    subprocess.run([sys.executable, "-c", script, str(place)], env={**os.environ, "KERAS_BACKEND": "jax"}, check=True)
    assert ModelLoader(None, "", PATIENT)._load_in_child(place, sandbox) == LoadingResult("loaded", "python_function")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mlmodel", "code", "expected"),
    [
        (
            CUSTOM,
            "def _load_pyfunc(path): raise ValueError(f'no weights in {path} for {object()!r}')",
            LoadingResult("failed", "ValueError: no weights in artifact for <object object at 0x…>"),
        ),
        (CUSTOM, "import os; os._exit(3)", LoadingResult("untried", "it ended with status 3 before it was done")),
        ("flavors: {crystal: {}}", "", LoadingResult("untried", "no library is installed that loads crystal")),
    ],
)
def test_only_what_the_loader_raises_is_a_failure(
    sandbox: Sandbox, folder: Path, mlmodel: str, code: str, expected: LoadingResult
) -> None:
    """What is missing here, or was not enough here, says nothing of the model. Nothing told changes from time to time."""
    assert loaded(sandbox, folder, mlmodel, code) == expected


@pytest.mark.slow
def test_a_flavor_without_python_function_is_loaded_by_its_own_loader(sandbox: Sandbox, folder: Path) -> None:
    """Not every flavor has a generic form."""
    result = loaded(sandbox, folder, "flavors: {Not-A-Name: {}, sklearn: {pickled_model: none.pkl}}")

    assert result.outcome == "failed"
    assert "none.pkl" in result.detail


def test_a_model_that_hangs_is_given_up(sandbox: Sandbox, folder: Path) -> None:
    """However long its loader would take."""
    result = loaded(sandbox, folder, CUSTOM, "import time; time.sleep(1_000)", LoadBounds(load_seconds=1))

    assert result == LoadingResult("untried", "it did not load within 1 s")


def test_a_child_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """Its own children would outlive it otherwise."""
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '1000']); open('started', 'w'); time.sleep(1_000)"
    started = tmp_path / "started"

    ended = subprocesses.run_child(("-c", script), {}, seconds=60, folder=tmp_path, excessive=lambda _: started.exists())

    assert ended == subprocesses.ChildResult(None, None)
    assert _left_in(tmp_path) == []


def test_what_a_child_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    """Also where it ended by itself, and answered; what is no answer is none."""
    script = (
        "import json, os, subprocess, sys; subprocess.Popen(['sleep', '1000']); os.write(json.load(sys.stdin)['answer_to'], {})"
    )

    answers = [
        subprocesses.run_child(("-c", script.format(repr(answer))), {}, seconds=60, folder=tmp_path).answer
        for answer in (b'{"outcome": "loaded"}', b"[]", b"{", b"")
    ]

    assert answers == [{"outcome": "loaded"}, None, None, None]
    assert _left_in(tmp_path) == []


@pytest.mark.slow
def test_without_numpy_and_pandas_nothing_is_tried(sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only MLflow's small client is installed: its generic loader cannot even be imported."""
    script = loading.LOAD_COMMAND[-1].replace("import sys\n", "import sys\nsys.modules['numpy'] = None\n")
    monkeypatch.setattr(loading, "LOAD_COMMAND", ("-I", "-c", script))

    result = loaded(sandbox, folder, CUSTOM, SPY)

    assert result.outcome == "untried"
    assert "numpy" in result.detail


@pytest.mark.slow
def test_an_artifact_that_does_not_come_is_not_tried(
    sandbox: Sandbox, mlflow_server: Any, mlflow_client: Any, fresh_name: str, leftovers: Path
) -> None:
    """Too large, too slow, from storage that cannot be read here; and one without a flavor certainly does not load."""
    make_version(mlflow_client, fresh_name)
    make_version(mlflow_client, fresh_name, mlmodel="flavors: {}")
    mlflow_client.create_model_version(fresh_name, "unknown-store://bucket/model", await_creation_for=0)
    del sandbox
    registry = MlflowRegistry(mlflow_server.uri, load_models=True, bounds=PATIENT)
    first, second, foreign = (each.version for each in evidenced(registry, fresh_name))

    small = MlflowRegistry(mlflow_server.uri, load_models=True, bounds=LoadBounds(artifact=10))
    hasty = MlflowRegistry(mlflow_server.uri, load_models=True, bounds=LoadBounds(fetch_seconds=0))
    off = MlflowRegistry(mlflow_server.uri)

    assert small.check_loading(fresh_name, first) == LoadingResult("untried", "its artifact has more than 10 bytes")
    assert hasty.check_loading(fresh_name, first) == LoadingResult("untried", "its artifact did not arrive within 0 s")
    assert off.check_loading(fresh_name, first) == LoadingResult("untried", "PROMOTER_LOAD_MODELS is not set to true")
    assert registry.check_loading(fresh_name, second) == LoadingResult("failed", "MLmodel names no flavor")
    result = registry.check_loading(fresh_name, foreign)
    assert result.outcome == "untried"
    assert "unknown-store" in result.detail
    assert not any(leftovers.iterdir())


@pytest.mark.slow
def test_an_artifact_that_links_to_elsewhere_is_not_fetched(tmp_path: Path, mlflow_server: Any) -> None:
    """In a folder that others write to, a link may name a file that only Promoter may read."""
    secret, folder = tmp_path / "secret", tmp_path / "model"
    secret.write_text("hunter2")
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {sklearn: {}}")
    (folder / "inside").symlink_to("MLmodel")
    fetched = fetch_artifact(str(folder), mlflow_server.uri, tmp_path / "first", seconds=240, limit=1_000_000)
    assert (fetched / "inside").read_text() == "flavors: {sklearn: {}}"

    (folder / "weights").symlink_to(secret)
    with pytest.raises(ArtifactError, match="weights in it is a link to somewhere else"):
        fetch_artifact(str(folder), mlflow_server.uri, tmp_path / "second", seconds=240, limit=1_000_000)

    assert not list((tmp_path / "second").rglob("*"))


def test_what_did_not_load_is_tried_again_only_later(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load takes seconds, and a look comes every minute; a success stays."""
    make_version(mlflow_client, fresh_name)
    (asked,) = evidenced(registry, fresh_name)
    outcomes = iter(
        [LoadingResult("untried", "no time"), LoadingResult("failed", "ValueError"), LoadingResult("loaded", "python_function")]
    )
    monkeypatch.setattr(ModelLoader, "_try_loading", lambda *_: next(outcomes))
    started, elapsed = time.monotonic(), [0]
    monkeypatch.setattr(time, "monotonic", lambda: started + 60 * elapsed[0])

    def load_after(minutes: int) -> str:
        elapsed[0] = minutes
        return registry.check_loading(fresh_name, asked.version).outcome

    seen = [load_after(minutes) for minutes in (0, 9, 11, 20, 22, 10_000)]
    assert seen == ["untried", "untried", "failed", "failed", "loaded", "loaded"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyError("weights"), "failed"),
        (SystemExit(1), "failed"),
        (ModuleNotFoundError("No module named 'xgboost'"), "untried"),
        (ImportError("cannot import name 'x'"), "untried"),
        (MemoryError(), "untried"),
        (OSError(errno.ENOSPC, "No space left on device"), "untried"),
        (OSError(errno.ENOENT, "No such file"), "failed"),
        (RuntimeError("std::bad_alloc"), "untried"),
    ],
)
def test_what_is_certain_is_told_from_what_is_not(error: BaseException, outcome: str) -> None:
    """Also where the loader wraps the cause."""
    wrapped = RuntimeError("cannot load")
    wrapped.__cause__ = error

    assert _describe_load_error(error)["outcome"] == outcome
    assert _describe_load_error(wrapped)["outcome"] == ("untried" if isinstance(error, ImportError) else "failed")


def _left_in(folder: Path) -> list[str]:
    """The processes that have that working directory. One that was killed takes a moment to go."""
    deadline = time.monotonic() + 10
    while (there := _working_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return there


def _working_in(folder: Path) -> list[str]:
    """The processes that have that working directory."""
    there = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                there.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return there
