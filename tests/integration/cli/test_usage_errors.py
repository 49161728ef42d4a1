"""What cannot be: arguments, settings and files that are wrong. Each command ends with 1 and with words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promoter.cli import apply, explain, plan
from promoter.container import Container
from promoter.demo.servers.mlflow import find_free_port
from promoter.settings import load_settings
from tests.integration.cli.conftest import Run
from tests.support.app import POLICY
from tests.support.fakes.registry import FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

GATED = b"version: 1\nmodels: {m: {aliases: {champion: {version: 1, policy: champion}, shadow: 1}}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone with a commit that states `m`."""
    made = tmp_path / "clone"
    (made / "policies").mkdir(parents=True)
    (made / "policies/champion.yaml").write_bytes(POLICY)
    git(made, "init", "--quiet", "--initial-branch=main")
    commit(made, GATED)
    return made


def commit(folder: Path, registry: bytes) -> None:
    """Commit that `registry.yaml`."""
    (folder / "registry.yaml").write_bytes(registry)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "By hand")


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, run_promoter: Run) -> Run:
    """Runs a command in the clone: exit code, output, errors. Settings are changed by name; an empty one is not set."""
    settings = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "PROMOTER_REPO": str(folder),
        "PROMOTER_DATABASE_URL": begin_ledger(f"sqlite:///{folder.parent / 'promoter.db'}"),
        "PROMOTER_MLFLOW_WEBHOOK_SECRET": "a secret of the tests",
    }
    monkeypatch.chdir(folder)

    def promoter(*arguments: str, **changed: str) -> tuple[int, str, str]:
        for name, text in (settings | changed).items():
            monkeypatch.setenv(name, text)
            if not text:
                monkeypatch.delenv(name)
        return run_promoter(*arguments)

    return promoter


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "no-such-model@champion"),
        ("explain", "no-such-model/1", "--policy", "champion"),
        ("explain", "m/99", "--policy", "champion"),
        ("explain", "m/1", "--policy", "no-such-policy"),
        ("explain", "m/1"),
        ("explain", "m@no-such-alias"),
        ("explain", "nonsense"),
        ("history", "nonsense"),
        ("plan", "--format", "xml"),
        ("plan", "--no-such-option"),
        ("no-such-command",),
        ("audit", "list", "--limit", "0"),
        ("apply", "--revision", "main"),
        ("validate", "no/such/folder"),
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and a line that says what is wrong: never 2 or 3, which say something of a plan."""
    registry = FakeRegistry()
    registry.version("m", auc=0.8)
    for module in (plan, apply, explain):
        monkeypatch.setattr(module, "build_container", lambda: Container(load_settings(), registry=registry))
    code, _, err = run(*arguments)
    assert code == 1
    assert err.strip()
    assert "127.0.0.1:9" not in err, "it is not the server that is at fault"


@pytest.mark.parametrize("command", ["plan", "apply", "explain m@champion", "init new", "webhooks list", "doctor"])
def test_nothing_set_or_nobody_there(command: str, folder: Path, run: Run) -> None:
    """Without settings, and with a server that is not there, each command says what to do, with exit code 1."""
    commit(folder, b"version: 1\nmodels: {m: {aliases: {champion: 1}}}\n")
    code, out, err = run(*command.split(), MLFLOW_TRACKING_URI="", PROMOTER_REPO="")
    assert code == 1
    assert "MLFLOW_TRACKING_URI" in err + out
    code, out, err = run(*command.split(), MLFLOW_TRACKING_URI=f"http://user:hunter2@127.0.0.1:{find_free_port()}")
    assert code == 1
    assert "refused" in err + out
    assert "hunter2" not in err + out
    assert not (folder / "new").exists(), "init wrote half"


def test_faulty_files(folder: Path, run: Run) -> None:
    """Every fault at once, with its place, from each command that reads the files."""
    commit(folder, b"version: 1\nmodles: {}\nmodels: {m: {aliases: {latest: 0}}}\n")
    code, out, _ = run("validate", "--format", "json")
    report = json.loads(out)
    assert (code, report["valid"]) == (1, False)
    assert {fault["line"] for fault in report["faults"]} == {2, 3}
    for command in ("validate", "plan", "apply", "explain m@champion", "doctor"):
        code, out, err = run(*command.split())
        assert code == 1
        assert "registry.yaml:2:1" in err + out, command


@pytest.mark.parametrize(
    "command",
    [
        ("rollback", "m@champion", "--reason", "bad"),
        ("release", "m@champion"),
        ("audit", "succeed", "0b1c7a52-5d0e-4c59-8f5e-1f2f6a3c9d10", "--reason", "moved"),
        ("audit", "prune", "--older-than", "400d", "--yes"),
        ("registry", "accept", "--reason", "moved"),
        ("repository", "accept", "--reason", "moved"),
    ],
)
@pytest.mark.parametrize(
    ("name", "expected"), [("", "is empty"), (" \n", "is empty"), ("Promoter", "is no person"), ("a\udcff", "is not UTF-8")]
)
def test_a_name_that_was_given_is_used_or_refused(command: tuple[str, ...], name: str, expected: str, run: Run) -> None:
    """`--by "$NOT_SET"` never takes the name that git has; records of Promoter's own, and what is no text, are nobody's."""
    code, _, err = run(*command, "--by", name)
    assert code == 1
    assert expected in err


def test_the_folder_is_gone(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was removed while one stands in it is told in words, by every command."""
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["plan"], ["audit", "list"], ["doctor"], ["apply"]):
        code, _, err = run(*words)
        assert code == 1
        assert "the folder that you stand in cannot be used" in err
    monkeypatch.chdir(folder)
