"""Commands in a monorepo: they take the files of the folder that PROMOTER_PATH names, else of the one that one stands in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from promoter.container import Container
from tests.integration.cli.conftest import Run
from tests.support.fakes.registry import FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

RULES = "version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
CASES = "version: 1\ncases:\n  - {name: good, version: {metrics: {auc: 0.9}}, expect: pass}\n"
BROKEN = "version: 1\nmodel: {}\n"


def declared(model: str, version: int) -> str:
    """`registry.yaml` with one model."""
    return f"version: 1\nmodels: {{{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}}}\n"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write them."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """Two models with two versions each; the champions are v1."""
    made = FakeRegistry()
    for model in ("top", "deep"):
        for _ in range(2):
            made.version(model, auc=0.9)
        made.place(model, "champion", 1)
    monkeypatch.setattr(Container, "registry", made)
    return made


@pytest.fixture
def clone(tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that one stands in, with a registry at the top, and one in `teams/ml`, which the branch moves to v2."""
    del registry
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(folder))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    write(folder, {"registry.yaml": declared("top", 2), "policies/champion.yaml": RULES})
    write(folder / "teams/ml", {"registry.yaml": declared("deep", 2), "policies/champion.yaml": RULES})
    write(folder / "teams/ml", {"policies/tests/champion.yaml": CASES, "src/train.py": ""})
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    git(folder, "push", "--quiet", "origin", "HEAD:main")
    (tmp_path / "ledger").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PROMOTER_DATABASE_URL", begin_ledger(f"sqlite:///{tmp_path / 'ledger' / 'promoter.db'}"))
    for name in ("PROMOTER_REPO", "PROMOTER_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def take_other_ledger(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the ledger is another one: each Promoter has its own."""
    (clone.parent / "other-ledger").mkdir()
    url = begin_ledger(f"sqlite:///{clone.parent / 'other-ledger' / 'promoter.db'}")
    monkeypatch.setenv("PROMOTER_DATABASE_URL", url)


def champions(registry: FakeRegistry) -> tuple[int, int]:
    """At the top, and in the folder."""
    return tuple(registry.models[name].aliases["champion"] for name in ("top", "deep"))  # type: ignore[return-value]


def test_apply_where_one_stands(
    clone: Path, run_promoter: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder, what the branch says there is carried out, and nothing of the top; and the other way round."""
    monkeypatch.chdir(clone / "teams/ml/src")
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (1, 2)
    take_other_ledger(clone, monkeypatch)
    monkeypatch.chdir(clone / "teams")
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (2, 2)


def test_apply_where_the_setting_says(
    clone: Path, run_promoter: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one stands; a folder that the branch does not have is an error in words."""
    monkeypatch.setenv("PROMOTER_PATH", "./teams/ml/")
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (1, 2)
    take_other_ledger(clone, monkeypatch)
    monkeypatch.setenv("PROMOTER_PATH", "teams/other")
    code, _, err = run_promoter("apply")
    assert (code, "teams/other/registry.yaml: the file is missing" in err) == (1, True), err
    monkeypatch.setenv("PROMOTER_PATH", ".")
    monkeypatch.chdir("teams/ml")
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (2, 2)


def test_the_working_tree_of_a_folder(
    clone: Path, run_promoter: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, explain and apply read the files of the folder, also those that are not committed."""
    for place, setting in ((clone / "teams/ml/policies", None), (clone, "teams/ml")):
        monkeypatch.chdir(place)
        if setting:
            monkeypatch.setenv("PROMOTER_PATH", setting)
        code, out, err = run_promoter("plan")
        assert (code, "deep" in out, "top" in out) == (2, True, False), out + err
        assert run_promoter("explain", "deep@champion")[0] == 0
        assert run_promoter("explain", "top@champion")[0] == 1
    write(clone / "teams/ml", {"registry.yaml": "version: 1\nmodels: {deep: {aliases: {shadow: 2}}}\n"})
    assert run_promoter("apply", "--from-working-tree")[0] == 0
    assert registry.models["deep"].aliases["shadow"] == 2


def test_validate_and_tests_of_a_folder(clone: Path, run_promoter: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one stands, where the setting says, or where the argument says: the faults of one folder are not another's."""
    write(clone, {"registry.yaml": BROKEN})
    assert run_promoter("validate")[0] == 1
    assert run_promoter("validate", "teams/ml")[0] == 0
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    assert run_promoter("validate")[0] == 0
    code, out, _ = run_promoter("policy", "test")
    assert (code, "1 case" in out) == (0, True), out
    monkeypatch.setenv("PROMOTER_PATH", "teams")
    assert run_promoter("validate")[0] == 1


@pytest.mark.parametrize("command", [["validate"], ["plan"], ["policy", "test"], ["apply", "--from-working-tree"]])
def test_a_link_out_of_the_clone(clone: Path, run_promoter: Run, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is a symbolic link is not read, wherever that leads."""
    (clone / "linked").symlink_to(clone / "teams")
    monkeypatch.setenv("PROMOTER_PATH", "linked/ml")
    code, _, err = run_promoter(*command)
    assert (code, "linked is a symbolic link" in err) == (1, True), err


@pytest.mark.parametrize("path", ["/etc", "../other", "ml/../..", "a:b"])
@pytest.mark.parametrize("command", ["validate", "plan", "apply", "init", "doctor"])
def test_a_path_that_is_none(clone: Path, run_promoter: Run, path: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused in words by every command, before anything is read or written."""
    del clone
    monkeypatch.setenv("PROMOTER_PATH", path)
    code, _, err = run_promoter(command)
    assert (code, "PROMOTER_PATH must be a folder of the repository, such as ml" in err) == (1, True), err


def test_init_writes_to_the_folder(clone: Path, run_promoter: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is made, and another one's files stay as they are."""
    monkeypatch.setenv("PROMOTER_PATH", "teams/new")
    code, _, err = run_promoter("init")
    assert code == 0, err
    assert "deep" in (clone / "teams/new/registry.yaml").read_text()
    assert (clone / "teams/new/policies/champion.yaml").is_file()
    assert git(clone, "status", "--porcelain") == "?? teams/new/"


def test_a_ledger_of_another_folder(
    clone: Path, run_promoter: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writes is refused with the way out, what reads warns; accepted by a person, the other folder is refused."""
    monkeypatch.setenv("PROMOTER_REPO", str(clone.parent / "remote.git"))
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    assert json.loads(run_promoter("repository", "show", "--format", "json")[1])["since"] is None
    assert run_promoter("apply")[0] == 0
    monkeypatch.delenv("PROMOTER_PATH")
    for words in (["apply"], ["apply", "--from-working-tree"], ["rollback", "top@champion", "--reason", "bad", "--by", "al"]):
        code, _, err = run_promoter(*words)
        assert (code, "about another folder of the repository (teams/ml/" in err) == (1, True), (words, err)
        assert "PROMOTER_DATABASE_URL" in err
    for words in (["plan"], ["explain", "top@champion"]):
        assert "warning: this ledger is about another folder" in run_promoter(*words)[2]
    code, out, _ = run_promoter("repository", "show")
    assert (code, "than the top of the repository" in out) == (1, True), out
    assert champions(registry) == (1, 2)

    code, out, err = run_promoter("repository", "accept", "--reason", "moved to the top", "--by", "alice")
    assert (code, "at its top, since" in out, "accepted by alice: moved to the top" in out) == (0, True, True), out + err
    assert run_promoter("repository", "show")[0] == 0
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (2, 2)
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    assert run_promoter("apply")[0] == 1
    assert run_promoter("audit", "verify")[0] == 0


def test_rollback_and_release_in_a_folder(
    clone: Path, run_promoter: Run, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They commit to the file of the folder, and the top's stays as it is."""
    remote = clone.parent / "remote.git"
    monkeypatch.setenv("PROMOTER_REPO", str(remote))
    monkeypatch.chdir(clone / "teams/ml")
    top = git(remote, "rev-parse", "main:registry.yaml")
    write(clone / "teams/ml", {"registry.yaml": declared("deep", 1)})
    for version in (1, 2):
        write(clone / "teams/ml", {"registry.yaml": declared("deep", version)})
        git(clone, "commit", "--quiet", "--all", "--message", f"v{version}")
        git(clone, "push", "--quiet", "origin", "HEAD:main")
        assert run_promoter("apply")[0] == 0
    code, _, err = run_promoter("rollback", "deep@champion", "--reason", "bad", "--by", "alice")
    assert code == 0, err
    held = git(remote, "show", "main:teams/ml/registry.yaml")
    assert ("version: 1" in held, "reason: bad" in held, "quarantine: [2]" in held) == (True, True, True), held
    assert run_promoter("apply")[0] == 0
    assert champions(registry) == (1, 1)
    assert run_promoter("release", "deep@champion", "--by", "alice")[0] == 0
    assert "hold" not in git(remote, "show", "main:teams/ml/registry.yaml")
    assert git(remote, "rev-parse", "main:registry.yaml") == top


def test_replay_and_approvals_in_a_folder(clone: Path, run_promoter: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They read the folder's policies and approvers, not those of the top."""
    monkeypatch.chdir(clone / "teams/ml")
    approvers = "version: 1\napprovers: {alice: {key: KEY}}\n"
    code, out, err = run_promoter("approve", "--new-key", str(clone.parent / "alice.pem"), "--by", "alice")
    assert code == 0, err
    key = next(word.strip('",}') for word in out.split() if word.strip('"').startswith("ed25519:"))
    write(clone / "teams/ml", {"approvers.yaml": approvers.replace("KEY", key)})
    write(clone / "teams/ml", {"policies/signed.yaml": "version: 1\nrules: [{approval: {at_least: 1, from: [alice]}}]\n"})
    assert run_promoter("validate")[0] == 0
    code, out, err = run_promoter("replay", "--policy", "champion", "--since", "1d")
    assert (code, "deep" in out, "top" in out) == (0, True, False), out + err
    monkeypatch.chdir(clone)
    code, _, err = run_promoter("replay", "--policy", "signed", "--since", "1d")
    assert (code, "there is no policy `signed`" in err) == (1, True), err
    code, _, err = run_promoter(
        "approve", "deep/2", "--policy", "signed", "--by", "alice", "--key", str(clone.parent / "alice.pem")
    )
    assert (code, "there is no policy `signed`" in err) == (1, True), err
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    code, _, err = run_promoter(
        "approve", "deep/2", "--policy", "signed", "--by", "alice", "--key", str(clone.parent / "alice.pem")
    )
    assert "there is no policy" not in err


@pytest.mark.usefixtures("registry")
def test_a_hold_and_a_quarantine_of_a_folder(clone: Path, run_promoter: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of that folder is edited, and the one at the top stays."""
    monkeypatch.setenv("PROMOTER_REPO", str(clone.parent / "remote.git"))
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    assert run_promoter("hold", "deep@champion", "--reason", "audit", "--by", "alice")[0] == 0
    assert run_promoter("quarantine", "deep@champion", "1", "--reason", "leaked", "--by", "alice")[0] == 0
    stated = git(clone.parent / "remote.git", "show", "main:teams/ml/registry.yaml")
    assert "policy: champion, hold: {reason: audit, by: alice}, quarantine: [1]" in stated
    assert git(clone.parent / "remote.git", "show", "main:registry.yaml").strip() == declared("top", 2).strip()
    code, _, err = run_promoter("hold", "top@champion", "--reason", "audit", "--by", "alice")
    assert (code, "`top` is not managed" in err) == (1, True)
