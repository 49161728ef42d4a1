"""A wrong PROMOTER_DATABASE_URL: no command but `serve` and `init` begins a ledger, and a ledger is its owner's alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.cli import init
from promoter.cli.doctor import _check_ledger
from promoter.container import Container
from promoter.domain.errors import PermanentError
from promoter.settings import Settings
from tests.support.fakes.registry import FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

Run = Callable[..., tuple[int, str]]

COMMANDS = [
    ["apply"],
    ["apply", "--from-working-tree"],
    ["rollback", "m@champion", "--reason", "bad", "--by", "alice"],
    ["release", "m@champion", "--by", "alice"],
    ["audit", "checkpoint"],
    ["audit", "prune", "--older-than", "400d"],
    ["doctor"],
]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a remote, with a registry.yaml; one stands in it."""
    folder, remote = tmp_path / "clone", tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(folder))
    (folder / "registry.yaml").write_text("version: 1\nmodels: {m: {aliases: {champion: 1}}}\n")
    git(folder, "checkout", "--quiet", "-B", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    git(folder, "push", "--quiet", "origin", "main")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PROMOTER_REPO", str(remote))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command: exit code, and all that it says."""

    def promoter(*words: str) -> tuple[int, str]:
        monkeypatch.setenv("COLUMNS", "500")
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(str(ended.value.code or 0)), told.out + told.err

    return promoter


@pytest.mark.usefixtures("clone")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("place", ["other.db", "no/such/folder/promoter.db"])
def test_no_command_begins_one(words: list[str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """With a wrong address each says what is missing, and what to do; no file and no folder is made."""
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / place}")
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    key.chmod(0o600)
    monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", str(key))
    code, told = run(*words)
    assert code == 1
    assert f"there is none at {tmp_path / place}" in told
    assert "check PROMOTER_DATABASE_URL" in told
    assert not list(tmp_path.glob("other.db*"))
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("clone")
def test_no_tables_in_an_empty_database(postgres_url: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A wrong, empty PostgreSQL database gets no tables from `apply`; `init --ledger` begins one there."""
    monkeypatch.setenv("PROMOTER_DATABASE_URL", postgres_url)
    code, told = run("apply")
    assert code == 1
    assert "there is none at postgresql://" in told
    with psycopg.connect(postgres_url) as connection:
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        assert connection.execute(tables).fetchone() == (0,)
    assert run("init", "--ledger")[0] == 0
    SqlLedger.open(postgres_url, create=False).close_connections()


@pytest.mark.usefixtures("clone")
def test_init_begins_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """`init` begins the ledger beside the files, `init --ledger` only that, and a second time finds it."""
    registry = FakeRegistry()
    registry.version("m", auc=0.8)
    made = tmp_path / "new"
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'one.db'}")
    monkeypatch.setattr(
        init,
        "build_container",
        lambda **kwargs: Container(Settings(database_url=os.environ["PROMOTER_DATABASE_URL"]), registry=registry, **kwargs),
    )
    code, told = run("init", str(made))
    assert code == 0
    assert f"began the ledger {tmp_path / 'one.db'}" in told
    assert (made / "registry.yaml").exists()
    assert run("init", "--ledger") == (0, f"there is a ledger already: {tmp_path / 'one.db'}\n")
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'two.db'}")
    assert run("init", "--ledger") == (0, f"began the ledger {tmp_path / 'two.db'}\n")


def test_init_writes_through_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A registry.yaml that is a link to nowhere is there already: nothing is written where it leads."""
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'one.db'}")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/registry.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    code, told = run("init", str(tmp_path / "new"))
    assert code == 1
    assert "exists already" in told
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_an_empty_file_is_no_ledger(tmp_path: Path) -> None:
    """A file without tables, which something else left there, is none either, and stays as it is."""
    (tmp_path / "promoter.db").touch()
    with pytest.raises(PermanentError, match="there is none at"):
        SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}", create=False)
    assert (tmp_path / "promoter.db").read_bytes() == b""


def test_a_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask: the file, and what SQLite keeps beside it, also when it packs the file anew."""
    before = os.umask(0)
    try:
        url = f"sqlite:///{tmp_path / 'promoter.db'}"
        container = Container(Settings(database_url=url))
        container.require_ledger()
        names = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("promoter.db*")}
        assert names == {"promoter.db": 0o600, "promoter.db-wal": 0o600, "promoter.db-shm": 0o600}
        assert _check_ledger(container).good
    finally:
        os.umask(before)


def test_doctor_finds_wider_rights(tmp_path: Path) -> None:
    """A ledger that others may read, from before, is told with the command that mends it."""
    url = begin_ledger(f"sqlite:///{tmp_path / 'promoter.db'}")
    (tmp_path / "promoter.db").chmod(0o644)
    found = _check_ledger(Container(Settings(database_url=url)))
    assert found.good is False
    assert "others than its owner have rights to promoter.db" in found.message
    subprocess.run(str(found.fix).split(), check=True)
    assert _check_ledger(Container(Settings(database_url=url))).good
