"""An alias that left the file: told in every form of plan, against the ledger and the branch, and counted by the limit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.container import Container
from tests.integration.cli.conftest import Run
from tests.support.app import App
from tests.support.fakes.registry import FakeRegistry, FakeRepository
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

BOTH = "version: 1\nmodels: {m: {aliases: {champion: 1, shadow: 1}}}\n"
TYPO = "version: 1\nmodels: {m: {aliases: {champon: 1, shadow: 1}}}\n"
GONE = "version: 1\nmodels: {}\n"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a remote whose branch states two aliases; one stands in it, and there is an empty ledger."""
    folder, remote = tmp_path / "clone", tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(folder))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    (folder / "registry.yaml").write_text(BOTH)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    git(folder, "push", "--quiet", "--set-upstream", "origin", "main")
    registry = FakeRegistry()
    registry.version("m", auc=0.9)
    for alias in ("champion", "shadow"):
        registry.place("m", alias, 1)
    monkeypatch.setattr(Container, "registry", registry)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PROMOTER_DATABASE_URL", begin_ledger(f"sqlite:///{tmp_path / 'promoter.db'}"))
    monkeypatch.delenv("PROMOTER_REPO", raising=False)
    monkeypatch.chdir(folder)
    return folder


def test_a_typing_error_is_told_in_every_form(clone: Path, run_promoter: Run) -> None:
    """`champon` in the place of `champion`, against the branch alone: text, JSON and Markdown name it, and what it may mean."""
    (clone / "registry.yaml").write_text(TYPO)
    sentence = "git stated v1, and says nothing of it any more: it stays where it is, and nothing gates it or puts it back"
    code, out, _ = run_promoter("plan")
    assert code == 2
    assert f"no longer managed m@champion: {sentence}; is `champon`, which is new, meant to be it?" in out
    assert "1 no longer managed" in out
    code, out, _ = run_promoter("plan", "--format", "markdown")
    assert code == 2
    assert f"- no longer managed: `m@champion`: {sentence}" in out
    code, out, _ = run_promoter("plan", "--format", "json")
    assert code == 2
    (left,) = json.loads(out)["unmanaged"]
    assert {key: left[key] for key in ("model", "alias", "version", "similar")} == {
        "model": "m", "alias": "champion", "version": 1, "similar": "champon",
    }  # fmt: skip


def test_a_model_that_is_gone_is_told(clone: Path, run_promoter: Run) -> None:
    """All of its aliases; "nothing to do" is not said."""
    (clone / "registry.yaml").write_text(GONE)
    code, out, _ = run_promoter("plan")
    assert code == 2
    assert "no longer managed m@champion" in out
    assert "no longer managed m@shadow" in out
    assert "Nothing to do" not in out


@pytest.mark.parametrize("family", [False, True])
def test_a_gate_that_left_is_told(family: bool, clone: Path, run_promoter: Run) -> None:
    """An alias that keeps its version and loses its policy is no silent change; nor is one that gets a weaker policy."""
    (clone / "policies").mkdir()
    for name in ("strict", "weak"):
        (clone / f"policies/{name}.yaml").write_text("version: 1\nrules: [{metric: auc, at_least: 0.5}]\n")
    start = "version: 1\nfamilies: [{match: m, " if family else "version: 1\nmodels: {m: {"
    end = "}]\nmodels: {}\n" if family else "}}\n"

    def write(champion: str) -> None:
        (clone / "registry.yaml").write_text(f"{start}aliases: {{champion: {{policy: {champion}}}, shadow: {{}}}}{end}")

    write("strict")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Gate it")
    git(clone, "push", "--quiet")
    assert "gates it on the branch" not in run_promoter("plan")[1]
    write("weak")
    assert "note m@champion: policy strict gates it on the branch, and policy weak here" in run_promoter("plan")[1]
    write("null")
    for form in ("text", "json", "markdown"):
        out = run_promoter("plan", "--format", form)[1].replace("\u200b", "").replace("&#8203;", "").replace("`", "")
        assert "m@champion: policy strict gates it on the branch, and no policy here" in out, out


def test_the_ledger_knows_without_a_branch(clone: Path, run_promoter: Run) -> None:
    """In a folder without git, what was last applied is what it is compared with."""
    assert run_promoter("apply")[0] == 0
    (clone / ".git").rename(clone.parent / "away")
    (clone / "registry.yaml").write_text(TYPO)
    code, out, _ = run_promoter("plan")
    assert code == 2
    assert "no longer managed m@champion" in out


def test_once_applied_it_is_told_no_more(clone: Path, run_promoter: Run) -> None:
    """After the branch says so and is applied, the alias is nobody's: the next plan has nothing to do."""
    assert run_promoter("apply")[0] == 0
    (clone / "registry.yaml").write_text("version: 1\nmodels: {m: {aliases: {shadow: 1}}}\n")
    assert run_promoter("plan")[0] == 2
    git(clone, "commit", "--quiet", "--all", "--message", "Let go")
    git(clone, "push", "--quiet", "origin", "main")
    code, out, _ = run_promoter("apply")
    assert code == 0
    assert "no longer managed m@champion" in out
    assert run_promoter("plan")[0] == 0


def test_the_plan_of_a_pull_request_tells_it(clone: Path, run_promoter: Run) -> None:
    """In its description, its comment and its JSON; against the base, also without anything applied."""
    git(clone, "checkout", "--quiet", "-b", "typo")
    (clone / "registry.yaml").write_text(TYPO)
    git(clone, "commit", "--quiet", "--all", "--message", "Typo")
    words = ("plan", "--base", "main", "--head", "typo")
    code, out, _ = run_promoter(*words)
    assert code == 2
    assert "No longer managed" in out
    assert "m@champion: git says nothing of it any more" in out
    _, out, _ = run_promoter(*words, "--format", "markdown")
    assert "#### No longer managed" in out
    assert [each["alias"] for each in json.loads(run_promoter(*words, "--format", "json")[1])["unmanaged"]] == ["champion"]


def test_a_branch_that_states_nothing_yet(clone: Path, run_promoter: Run) -> None:
    """Before the first files are on the branch, there is nothing to compare with, and nothing to tell."""
    text = (clone / "registry.yaml").read_text()
    git(clone, "rm", "--quiet", "registry.yaml")
    (clone / "README.md").write_text("models")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Without")
    git(clone, "push", "--quiet", "origin", "main")
    (clone / "registry.yaml").write_text(text)
    code, out, _ = run_promoter("plan")
    assert code == 0
    assert "note" not in out


def test_no_ledger_is_told(clone: Path, run_promoter: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plan without a ledger says that it does not know what was applied before."""
    del clone
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    code, out, _ = run_promoter("plan")
    assert code == 0
    assert f"there is no ledger at {tmp_path / 'other.db'}" in out
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_git_refuses_the_clone(
    form: str, clone: Path, run_promoter: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone of another owner: the plan of the files says git's reason and the way out; a plan of commits, and apply, stop."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch: it goes on as if the owner were another
    code, out, _ = run_promoter("plan", "--format", form)
    assert code == 0
    assert "detected dubious ownership" in out
    assert f"git config --global --add safe.directory {clone}" in out
    for words in (("plan", "--base", "main"), ("apply",), ("apply", "--from-working-tree")):
        code, _, err = run_promoter(*words)
        assert code == 1
        assert "detected dubious ownership" in err
        assert f"git config --global --add safe.directory {clone}" in err


def test_a_clone_of_another_owner_that_the_environment_trusts(
    clone: Path, run_promoter: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As git itself reads it: CI systems name the folder in variables, since the home of a container's user is not its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_KEY_1", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", str(tmp_path))
    for trusted, refused in ((clone, False), (tmp_path, True), (Path(f"{clone}/policies"), True)):
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(trusted))
        code, _, err = run_promoter("plan", "--base", "main")
        assert ("dubious ownership" in err, code == 1) == (refused, refused), err
    monkeypatch.setenv("GIT_CONFIG_COUNT", "no number")
    assert run_promoter("plan", "--base", "main")[0] == 1


def test_a_clone_that_is_broken(clone: Path, run_promoter: Run) -> None:
    """Any other reason of git's is told as well."""
    (clone / ".git/config").write_text("[core\n")
    code, out, _ = run_promoter("plan")
    assert code == 0
    assert "bad config line 1" in out
    code, _, err = run_promoter("apply")
    assert code == 1
    assert "bad config line 1" in err


def test_the_limit_counts_what_leaves(tmp_path: Path) -> None:
    """A commit by which many aliases leave is refused, stays refused when it is tried again, and passes with a higher limit."""
    registry, repository = FakeRegistry(), FakeRepository()
    app = App(tmp_path, registry, repository)
    names = [f"m{number}" for number in range(20)]
    for name in names:
        registry.version(name, auc=0.9)
        registry.place(name, "champion", 1)

    def commit(count: int, limit: str) -> str:
        lines = "\n".join(f"{name}: {{aliases: {{champion: 1}}}}" for name in names[:count]) or "other: {}"
        return app.commit(lines, head=f"safety: {{max_changes: {limit}}}\n")

    commit(20, "30%")
    app.converge()
    for again in range(2):
        commit(5 - again, "30%")
        app.converge()
        refused = app.revisions.refusal_reason
        assert refused is not None
        assert "are over `safety.max_changes: 30%`" in refused
    head = commit(5, "30%")
    for _ in range(2):
        result = app.apply(app.documents.parse_declaration(app.git.read_sources(head), head), "apply")
        assert result.view.plan.refused, "nothing was forgotten by the first try"
    commit(5, "100%")
    app.converge()
    assert app.revisions.refusal_reason is None
    ledger = app.ledger
    assert isinstance(ledger, SqlLedger)
    assert ledger.read_last_applied().keys() == set(names[:5])
    app.close()
