"""`promoter plan --base REF --head REF` in a real clone: what it says, compared whole, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.adapters.git.checkout import LocalClone
from promoter.cli import plan
from promoter.container import Container
from promoter.domain.errors import PermanentError
from promoter.settings import Settings
from tests.support.fakes.registry import FakeClock, FakeRegistry
from tests.support.fixtures.git import git

HERE = Path(__file__).parent / "plan_between"
POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion, by: 0.005}]
"""
STRICT, LAX = POLICY.replace(b"0.005", b"0.5"), b"version: 1\nrules: [{run: {status: FINISHED}}]\n"
REGISTRY = """version: 1
models:
  fraud-detector:
    aliases:
      champion: {{version: {champion}, policy: champion}}
      # -
      shadow: {{version: {shadow}}}
  # -
"""


def files(champion: int = 1, shadow: int = 1, policy: bytes = POLICY, more: str = "") -> dict[str, bytes]:
    """The files of a revision."""
    text = REGISTRY.format(champion=champion, shadow=shadow) + more
    return {"registry.yaml": text.encode(), "policies/champion.yaml": policy}


@dataclass(frozen=True)
class PlanOutput:
    """How a command ended."""

    code: int
    out: str
    err: str


class PlanBench:
    """A clone with a base, a registry in memory, and the command."""

    def __init__(self, folder: Path, patched: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """v1 holds both aliases; v2 is better, v3 is worse."""
        self.folder = folder / "clone"
        self.registry = FakeRegistry()
        self._patched, self._capsys = patched, capsys
        self.registry.version("fraud-detector", auc=0.8)
        self.registry.version("fraud-detector", auc=0.9)
        self.registry.version("fraud-detector", auc=0.7)
        self.registry.place("fraud-detector", "champion", 1)
        self.registry.place("fraud-detector", "shadow", 1)
        patched.setenv("GIT_AUTHOR_DATE", "2026-11-23T12:00:00Z")
        patched.setenv("GIT_COMMITTER_DATE", "2026-11-23T12:00:00Z")
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.folder))
        self.commit(files())
        git(self.folder, "checkout", "--quiet", "-b", "change")

    @property
    def world(self) -> Container:
        """Of one run."""
        settings = Settings(database_url=f"sqlite:///{self.folder.parent / 'promoter.db'}")
        return Container(settings, registry=self.registry, clock=FakeClock())

    def commit(self, content: dict[str, bytes], branch: str | None = None) -> str:
        """On the branch that is checked out, or on that one; the revision."""
        if branch:
            git(self.folder, "checkout", "--quiet", branch)
        for path, text in content.items():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_bytes(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--message", "A change")
        return git(self.folder, "rev-parse", "HEAD")

    def run(self, *arguments: str, folder: Path | None = None, width: int = 80) -> PlanOutput:
        """`promoter plan`, in the clone."""
        with self._patched.context() as patched:
            patched.chdir(folder or self.folder)
            patched.setenv("COLUMNS", str(width))
            patched.setattr(plan, "build_container", lambda: self.world)
            patched.setattr(sys, "argv", ["promoter", "plan", *arguments])
            self._capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = self._capsys.readouterr()
        return PlanOutput(int(str(ended.value.code or 0)), out, err)

    def state(self, *arguments: str) -> tuple[int, str]:
        """Exit code and state."""
        said = self.run("--base", "main", *arguments, "--format", "json")
        return said.code, json.loads(said.out)["state"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> PlanBench:
    """A clone that stands on a branch with nothing on it yet."""
    return PlanBench(tmp_path, monkeypatch, capsys)


@pytest.fixture
def busy(bench: PlanBench) -> PlanBench:
    """A pull request with something of everything: blocked, allowed, a weaker policy, a hold, and a base that moved on."""
    hold = '  churn:\n    aliases: {champion: {version: 1, hold: {reason: "<b> @ada | #7", by: bob}}}\n'
    bench.registry.version("churn", auc=0.5)
    bench.registry.place("churn", "champion", 1)
    bench.commit(files(champion=3, policy=LAX, more=hold))
    bench.commit(files(shadow=2), "main")
    git(bench.folder, "checkout", "--quiet", "change")
    return bench


def lines(text: str) -> str:
    """Without the space at the ends of lines, which tables have and files do not keep."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize(("form", "file"), [("text", "plan.txt"), ("markdown", "plan.md"), ("json", "plan.json")])
def test_told_whole(form: str, file: str, busy: PlanBench) -> None:
    """What blocks, what is judged by the base, what is due anyway; 80 columns wide, as a comment, for machines."""
    said = busy.run("--base", "main", "--head", "change", "--format", form)
    assert said.code == 3
    assert lines(said.out) == (HERE / file).read_text()
    assert form != "text" or max(map(len, said.out.splitlines())) <= 80


def test_json(busy: PlanBench) -> None:
    """The plan's own fields, and the pull request's."""
    said = busy.run("--base", "main", "--format", "json")
    told: dict[str, Any] = json.loads(said.out)
    assert told["schema"] == 1
    assert told["revision"] == told["head"] == git(busy.folder, "rev-parse", "change")
    assert told["base"] == git(busy.folder, "rev-parse", "main")
    assert told.keys() >= {"revision", "digest", "changes", "blocked", "drift", "refused"}
    assert [(each["alias"], each["to"], each["verdict"]) for each in told["changes"]] == [
        ("shadow", 2, None),
        ("champion", 3, "fail"),
    ]
    (brought,) = told["brought"]
    assert (brought["alias"], brought["allowed"], brought["later"]["verdict"]) == ("champion", False, "pass")
    assert [(each["policy"], each["step"]) for each in told["policies"]] == [("champion", "changed")]
    assert told["policies"][0]["replay"][0]["takes"][0]["version"] == 3
    assert (told["state"], told["faults"], told["conflicts"], told["unjudged"]) == ("failure", [], [], None)
    assert told["description"].startswith("1 of 1 change blocked: fraud-detector@champion v3: ")


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_the_same_plan_as_json_in_a_file(form: str, busy: PlanBench, tmp_path: Path) -> None:
    """`--json FILE` writes what `--format json` prints, whatever is printed; the registry is read once."""
    alone = busy.run("--base", "main", "--format", "json")
    both = busy.run("--base", "main", "--format", form, "--json", str(tmp_path / "plan.json"))
    assert (both.code, both.err) == (alone.code, alone.err)
    assert (tmp_path / "plan.json").read_text() == alone.out
    assert both.out == busy.run("--base", "main", "--format", form).out


def test_a_file_that_cannot_be_written(busy: PlanBench, tmp_path: Path) -> None:
    """An error, in words."""
    done = busy.run("--base", "main", "--json", str(tmp_path / "missing" / "plan.json"))
    assert (done.code, done.out) == (1, "")
    assert (
        done.err
        == f"promoter: files: {tmp_path}/missing/plan.json: cannot be written: No such file or directory (name another)\n"
    )


def test_exit_codes(bench: PlanBench) -> None:
    """0: it changes nothing, 2: what it changes is allowed, 3: some of it is not, 1: it cannot be planned."""
    assert bench.state() == (0, "success")
    bench.commit({"README.md": b"x"})
    assert bench.state() == (0, "success")
    bench.commit(files(champion=2))
    assert bench.state() == (2, "success")
    bench.registry.version("fraud-detector")
    bench.commit(files(champion=4))
    assert bench.state() == (3, "pending")
    bench.commit(files(champion=9))
    assert bench.state() == (3, "failure")
    bench.commit(files(champion=2, more="surprise: 1\n"))
    assert bench.state() == (1, "failure")
    said = bench.run("--base", "main")
    assert said.code == 1
    assert "registry.yaml:9:1: " in said.out
    bench.commit(files(champion=2))
    bench.commit(files(champion=3), "main")
    git(bench.folder, "checkout", "--quiet", "change")
    assert bench.state() == (1, "failure")


def test_what_refs_may_be(bench: PlanBench) -> None:
    """A branch, a tag, a revision, one of a remote; from below the top; the branch that is checked out does not matter."""
    head = bench.commit(files(champion=2))
    git(bench.folder, "tag", "--annotate", "--message", "v1", "v1")
    git(bench.folder, "update-ref", "refs/remotes/origin/main", "main")
    git(bench.folder, "checkout", "--quiet", "main")
    for base, ref in (("main", "change"), ("origin/main", "v1"), ("HEAD", head), ("main", head[:12]), ("change~1", "change")):
        said = bench.run("--base", base, "--head", ref, "--format", "json", folder=bench.folder / "policies")
        assert (said.code, json.loads(said.out)["head"]) == (2, head)


@pytest.mark.parametrize("ref", ["gone", "--all", "-h", "main..change", "HEAD:registry.yaml", "", "ä\x1b[31m"])
def test_what_is_no_commit(ref: str, bench: PlanBench) -> None:
    """Said in words; nothing of it is taken for an option, and nothing steers the terminal."""
    said = bench.run(f"--base={ref}")
    assert said.code == 1
    assert "is no commit of this clone (name a branch, a tag or a commit that is fetched, such as origin/main)" in said.err
    assert "\x1b" not in said.err


def test_head_goes_with_base(bench: PlanBench) -> None:
    """Alone it would say nothing."""
    said = bench.run("--head", "main")
    assert said.code == 1
    assert "--head goes with --base" in said.err


def test_a_clone_that_is_too_shallow(bench: PlanBench, tmp_path: Path) -> None:
    """Without the commit where the two part, or without the base at all, it says what to fetch."""
    bench.commit(files(champion=2))
    bench.commit(files(shadow=2), "main")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", bench.folder.as_uri(), str(shallow))
    said = bench.run("--base", "origin/main", "--head", "origin/change", folder=shallow)
    assert said.code == 1
    assert "this clone is too shallow: it does not show where base and head part (fetch all of history" in said.err
    said = bench.run("--base", "gone", folder=shallow)
    assert "`gone` is no commit of this clone (fetch all of history" in said.err
    git(shallow, "fetch", "--quiet", "--unshallow")
    assert bench.run("--base", "origin/main", "--head", "origin/change", folder=shallow).code == 2


def test_it_writes_nothing(busy: PlanBench, tmp_path: Path) -> None:
    """Neither into the clone nor a database, though git computes a merge that nobody has made."""

    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    before = everything()
    assert busy.run("--base", "main").code == 3
    assert everything() == before
    assert not list((busy.folder.parent).glob("promoter.db*"))


@pytest.mark.parametrize("kind", ["worktree", "bare", 'odd "name: \\ '])
def test_other_clones(kind: str, busy: PlanBench, tmp_path: Path) -> None:
    """A second worktree, a bare clone, and a path that lists of paths have to quote."""
    folder = tmp_path / kind
    if kind == "worktree":
        git(busy.folder, "worktree", "add", "--quiet", "--detach", str(folder), "change")
    elif kind == "bare":
        git(tmp_path, "clone", "--quiet", "--bare", str(busy.folder), str(folder))
    else:
        busy.folder.rename(folder)
    said = busy.run("--base", "main", "--head", "change", "--format", "json", folder=folder)
    assert (said.code, json.loads(said.out)["state"]) == (3, "failure")


def test_outside_of_a_clone(tmp_path: Path) -> None:
    """There is nothing to plan."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(PermanentError, match="here is no repository to read"):
        LocalClone(folder)


def moved(folder: str, content: dict[str, bytes]) -> dict[str, bytes]:
    """The same files, in a folder of the repository."""
    return {f"{folder}/{path}": text for path, text in content.items()}


@pytest.fixture
def monorepo(bench: PlanBench) -> PlanBench:
    """Files in `ml/`, nothing at the top; the branch `change` moves an alias there."""
    git(bench.folder, "checkout", "--quiet", "main")
    git(bench.folder, "rm", "--quiet", "-r", "registry.yaml", "policies")
    bench.commit({**moved("ml", files()), "README": b"a monorepo\n"})
    git(bench.folder, "checkout", "--quiet", "-B", "change")
    bench.commit(moved("ml", files(champion=2)))
    return bench


@pytest.mark.parametrize("inside", ["ml", "ml/policies"])
def test_a_folder_of_a_monorepo_is_planned(monorepo: PlanBench, inside: str) -> None:
    """The plan is that of the folder that one stands in, or of the nearest one above, whatever the setting's default."""
    said = monorepo.run("--base", "main", "--head", "HEAD", folder=monorepo.folder / inside, width=160)
    assert (said.code, "champion" in said.out) == (2, True), said
    assert "no file" not in said.out
    found = json.loads(monorepo.run("--base", "main", "--format", "json", folder=monorepo.folder / inside).out)
    assert found["folder"] == "ml"
    monorepo.commit(moved("ml", files(champion=3)))
    assert monorepo.run("--base", "main", folder=monorepo.folder / inside).code == 3


def make_worktree(bench: PlanBench, place: Path) -> Path:
    """Another worktree of the clone; where the folder is there."""
    git(bench.folder, "worktree", "add", "--quiet", "--detach", str(place), "change")
    return place / "ml"


def make_sparse_clone(bench: PlanBench, place: Path) -> Path:
    """A partial clone that has checked out only the folder's policies, and lacks what else it has not needed so far."""
    git(bench.folder, "config", "uploadpack.allowFilter", "true")
    url = f"file://{bench.folder}"
    git(place.parent, "clone", "--quiet", "--filter=blob:none", "--no-checkout", "--branch", "change", url, str(place))
    git(place, "sparse-checkout", "set", "--no-cone", "/ml/policies/")
    git(place, "checkout", "--quiet", "change")
    git(place, "branch", "--quiet", "main", "origin/main")
    assert not (place / "ml" / "registry.yaml").exists()
    return place / "ml" / "policies"


def make_submodule(bench: PlanBench, place: Path) -> Path:
    """The repository as a submodule of another one, which has a registry of its own at the top."""
    git(place.parent, "init", "--quiet", "--initial-branch=main", str(place))
    (place / "registry.yaml").write_text("version: 1\nmodels: {}\n")
    git(place, "add", "--all")
    git(place, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "-b", "change", str(bench.folder), "models")
    git(place, "commit", "--quiet", "--message", "Start")
    git(place / "models", "branch", "--quiet", "main", "origin/main")
    return place / "models" / "ml"


def make_linked_path(bench: PlanBench, place: Path) -> Path:
    """A path to the folder through a symbolic link outside of the clone."""
    place.symlink_to(bench.folder)
    return place / "ml"


def make_untracked_folder(bench: PlanBench, place: Path) -> Path:
    """A folder below it that no commit has."""
    del place
    (bench.folder / "ml" / "build" / "out").mkdir(parents=True)
    return bench.folder / "ml" / "build" / "out"


@pytest.mark.parametrize(
    "make_place", [make_worktree, make_sparse_clone, make_submodule, make_linked_path, make_untracked_folder]
)
def test_a_folder_of_a_monorepo_in_other_forms(
    make_place: Callable[[PlanBench, Path], Path], monorepo: PlanBench, tmp_path: Path
) -> None:
    """However the clone was made and one got there, it is the folder's plan."""
    folder = make_place(monorepo, tmp_path / "other")
    said = monorepo.run("--base", "main", "--head", "HEAD", folder=folder, width=160)
    assert (said.code, "champion" in said.out) == (2, True), said
    assert "no file" not in said.out


def test_the_top_of_a_monorepo_is_no_success(monorepo: PlanBench) -> None:
    """Where neither side has a registry.yaml, nothing can be said of the change, and the check is never green."""
    for place in (monorepo.folder, monorepo.folder / "docs"):
        place.mkdir(exist_ok=True)
        said = monorepo.run("--base", "main", folder=place)
        assert said.code == 1, said
        assert "neither base nor head has a registry.yaml" in said.err
        assert "PROMOTER_PATH" in said.err


def test_a_head_does_not_choose_which_folder_is_judged(monorepo: PlanBench) -> None:
    """A decoy nearer to where CI stands, or a registry.yaml that is gone, makes it red: it must not hide the change."""
    decoy = {"ml/ci/registry.yaml": b"version: 1\nmodels: {}\n"}
    monorepo.commit(decoy)
    said = monorepo.run("--base", "main", folder=monorepo.folder / "ml" / "ci")
    assert said.code == 1, said
    assert "the base is in ml/, and that of the head in ml/ci/" in said.err
    git(monorepo.folder, "rm", "--quiet", "ml/ci/registry.yaml", "ml/registry.yaml")
    monorepo.commit({"registry.yaml": b"version: 1\nmodels: {}\n"})
    assert monorepo.run("--base", "main", folder=monorepo.folder / "ml").code == 1


def test_the_setting_wins_over_the_place(monorepo: PlanBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting names the folder wherever one stands, and a fault has the whole path of its file."""
    monkeypatch.setattr(PlanBench, "world", property(lambda self: _build_world(self, "ml")))
    assert monorepo.run("--base", "main").code == 2
    monorepo.commit({"ml/registry.yaml": b"version: 1\nmodel: {}\n"})
    said = monorepo.run("--base", "main")
    assert (said.code, "ml/registry.yaml:2:1" in said.out) == (1, True), said
    monkeypatch.setattr(PlanBench, "world", property(lambda self: _build_world(self, "other")))
    said = monorepo.run("--base", "main", "--format", "json")
    assert said.code == 1, said
    assert "neither base nor head has it" in said.out


def _build_world(bench: PlanBench, path: str) -> Container:
    settings = Settings(database_url=f"sqlite:///{bench.folder.parent / 'promoter.db'}", path=path)
    return Container(settings, registry=bench.registry, clock=FakeClock())


def test_a_link_at_the_top_hides_no_change(monorepo: PlanBench) -> None:
    """A registry.yaml that is a link into a folder is none: the change behind it must not pass for no change."""
    git(monorepo.folder, "checkout", "--quiet", "main")
    (monorepo.folder / "registry.yaml").symlink_to("ml/registry.yaml")
    monorepo.commit({})
    git(monorepo.folder, "checkout", "--quiet", "-B", "change")
    monorepo.commit(moved("ml", files(champion=2)))
    said = monorepo.run("--base", "main", width=160)
    assert said.code == 1, said
    assert "is a symbolic link" in said.out


def test_a_link_that_leads_to_a_decoy(monorepo: PlanBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that puts a link in the folder's place does not lead the command elsewhere."""
    git(monorepo.folder, "rm", "--quiet", "-r", "ml")
    (monorepo.folder / "ml").symlink_to("decoy")
    monorepo.commit(moved("decoy", files()))
    monkeypatch.setenv("PWD", str(monorepo.folder / "ml"))
    said = monorepo.run("--base", "main", folder=monorepo.folder / "ml")
    assert (said.code, "ml leads through a symbolic link" in said.err) == (1, True), said
