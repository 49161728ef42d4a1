"""`promoter init` on a registry in memory: the files that it writes, what it prints, and what it refuses.

`WRITE_GOLDEN=1` writes the printed texts of `init/` anew.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from promoter.__main__ import main
from promoter.adapters.yaml.starter import render_github_workflow, render_gitlab_pipeline
from promoter.container import Container
from tests.support.fakes.registry import FakeRegistry

GOLDEN = Path(__file__).parent / "init"
ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """An empty one."""
    made = FakeRegistry()
    monkeypatch.setattr(Container, "registry", made)
    return made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `promoter` in 80 columns in an empty folder: exit code, output, errors; never a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for name in [name for name in os.environ if name.startswith("PROMOTER_")]:
        monkeypatch.delenv(name)

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(str(ended.value.code or 0)), out, err

    return ran


def compare(name: str, output: str) -> None:
    """Hold a printed text against its file."""
    file = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(output)
    assert output == file.read_text()


def printed_report(output: str) -> str:
    """What is printed below the files that were written."""
    printed = output[output.index("\n\n") + 2 :]
    assert max(map(len, printed.splitlines())) <= 80
    return printed


def fill(registry: FakeRegistry) -> None:
    """Models with aliases, with stages, with both and with neither; a metric for each kind."""
    for name in ("churn", "fraud"):
        for number in range(3):
            registry.version(
                name, {"approved_by": "risk"}, val_auc=0.90 + number / 100, training_accuracy_score=1.0, p99_ms=40.0
            )
        registry.place(name, "champion", 1)
    registry.place("fraud", "challenger", 2)
    registry.model_tags["fraud"] = {"owner": "risk-team, fraud"}
    registry.version("demand", val_rmse=12.0)
    registry.place("demand", "champion", 1)
    for _ in range(4):
        registry.version("old", val_auc=0.91, tags=None)
    registry.stages |= {("old", 1): "Archived", ("old", 2): "Production", ("old", 3): "Production", ("old", 4): "Staging"}
    registry.stages["churn", 2] = "Production"
    registry.version("new", val_auc=0.5)
    registry.version("train", training_loss=0.5)
    registry.place("train", "champion", 1)


def check(run: Run, plan: int = 0) -> None:
    """The files validate, their tests pass, and the plan ends with that code."""
    for words, code in ((["validate"], 0), (["policy", "test", "--require-coverage"], 0), (["plan"], plan)):
        assert run(*words)[0] == code, run(*words)


def test_a_registry_of_every_kind(registry: FakeRegistry, run: Run) -> None:
    """What is written comes from the holders, validates, passes its tests and changes nothing; what is missing is named."""
    fill(registry)
    code, out, _ = run("init")
    assert code == 0
    compare("plain.txt", printed_report(out))
    compare("registry.yaml", Path("registry.yaml").read_text())
    compare("champion.yaml", Path("policies/champion.yaml").read_text())
    compare("champion-tests.yaml", Path("policies/tests/champion.yaml").read_text())
    compare("challenger-val-rmse.yaml", Path("policies/challenger-val-rmse.yaml").read_text())
    check(run)
    assert "rotation" not in yaml.safe_load(Path("registry.yaml").read_text())["models"]["fraud"]["aliases"]["champion"]


def test_aliases_from_stages(registry: FakeRegistry, run: Run) -> None:
    """The plan lists exactly the aliases that stages become; what could not be mapped is a table, and applying them ends it."""
    fill(registry)
    code, out, _ = run("init", "--from-stages")
    assert code == 0
    compare("stages.txt", printed_report(out))
    check(run, plan=2)
    old = yaml.safe_load(Path("registry.yaml").read_text())["models"]["old"]["aliases"]
    assert old == {"champion": 3, "challenger": {"version": 4, "policy": "challenger"}}, "v3 is not approved: not gated"
    registry.place("old", "champion", 3)
    registry.place("old", "challenger", 4)
    check(run)


def test_many_aliases_from_stages_are_within_the_limit(registry: FakeRegistry, run: Run) -> None:
    """A whole registry of stages is one plan that is allowed; its limit says that it is for that once."""
    for number in range(40):
        registry.version(f"m-{number}", val_auc=0.9)
        registry.stages[f"m-{number}", 1] = "Production"
    assert run("init", "--from-stages")[0] == 0
    assert "max_changes: 40 " in Path("registry.yaml").read_text()
    check(run, plan=2)


@pytest.mark.parametrize("words", [[], ["--from-stages"]])
def test_an_empty_registry(registry: FakeRegistry, run: Run, words: list[str]) -> None:
    """No models, or only such without aliases: files to begin with, which are valid."""
    assert run("init", *words)[0] == 0
    check(run)
    assert "models: {}" in Path("registry.yaml").read_text()
    registry.version("m", val_auc=0.9)
    check(run)


def test_a_metric_must_be_chosen(registry: FakeRegistry, run: Run) -> None:
    """Where several metrics could decide, and where none tells its direction, each is named, and nothing is written."""
    registry.version("a", val_auc=0.9, val_f1=0.8, val_loss=0.2)
    registry.version("b", uplift=3.0)
    for name in ("a", "b"):
        registry.place(name, "champion", 1)
    code, _, err = run("init")
    assert code == 1
    compare("choice.txt", err)
    assert list(Path().iterdir()) == []
    assert run("init", "--metric", "uplift")[0] == 1
    code, out, _ = run("init", "--metric", "val_f1", "--metric", "uplift:highest")
    assert code == 0
    assert "val_f1 decides about 1 model" in out
    assert "uplift decides about 1 model" in out
    check(run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "score", "--metric", "x"], "2 faults"),
        (["--metric", ""], "needs the name of a metric"),
        (["--metric", ":highest"], "needs the name of a metric"),
        (["--metric", "m" * 251 + ":lowest"], "needs the name of a metric"),
        (["--metric", "val_auc:best"], None),
    ],
)
def test_metrics_that_are_not_clear(registry: FakeRegistry, run: Run, words: list[str], message: str | None) -> None:
    """All of them are faults at once, before anything is read; a colon may belong to the name."""
    code, _, err = run("init", *words)
    assert code == (0 if message is None else 1)
    assert (message or "") in err
    assert bool(registry.calls) == (message is None)


HOSTILE = {"a # b": 0.9, "yes": 0.9, "ü: ": 0.9, "0x1": 0.9, "a'\"b": 0.9, "[x]": 0.9, "{y}*": 0.9, "tab\there": 0.9}


def test_odd_names(registry: FakeRegistry, run: Run) -> None:
    """Names of models, metrics, tags, values and owners that YAML reads as something else are quoted, or left out by name."""
    for name in HOSTILE:
        registry.version(
            name, {"approved: by": "yes", "reviewed_by": "# nobody"}, **{"val auc: {x} # yes": 0.9, "val_auc_ms": 3.0}
        )
        registry.place(name, "champion", 1)
        registry.model_tags[name] = {"owner": "on, a: b, # c"}
    code, out, _ = run("init")
    assert code == 0
    assert r"tab\there" in out
    assert "left out, since registry.yaml cannot hold the name" in " ".join(out.split())
    check(run)


def test_values_that_are_no_bound(registry: FakeRegistry, run: Run) -> None:
    """NaN, infinities and numbers of every size leave files that validate and tests that pass."""
    for number, value in enumerate([float("nan"), float("inf"), 1e300, 5e-324, -1e-9, 0.1 + 0.2, 123456789.123]):
        registry.version(f"m{number}", **{f"val_rmse{number}": value, f"val_mae_{number}": value})
        registry.place(f"m{number}", "champion", 1)
        registry.version(f"n{number}", **{f"val_r2_{number}": value})
        registry.place(f"n{number}", "champion", 1)
    options = [word for number in range(7) for word in ("--metric", f"val_mae_{number}")]
    assert run("init", *options)[0] == 0
    check(run)


def test_thousands_of_models_are_read_in_bulk(registry: FakeRegistry, run: Run) -> None:
    """The number of reads does not grow with the registry; names that share a beginning become one family."""
    for number in range(2_000):
        registry.version(f"demand-{number}", val_rmse=10 + number % 7)
        if number % 2:
            registry.place(f"demand-{number}", "champion", 1)
    code, out, _ = run("init")
    assert code == 0
    assert [call[0] for call in registry.calls] == ["observe", "labels", "runs"]
    assert "Family demand-*: 2000 models" in out
    assert yaml.safe_load(Path("registry.yaml").read_text())["models"]["demand-1"] == {"aliases": {"champion": 1}}
    check(run)


def test_nothing_is_overwritten(registry: FakeRegistry, run: Run) -> None:
    """Every file that is there, and every place that is no folder, is a fault at once; the .gitignore is printed instead."""
    Path("registry.yaml").write_text("mine")
    Path(".gitignore").write_text("promoter.db*\n")
    Path("schemas").write_text("no folder")
    Path("policies").symlink_to("elsewhere")
    Path("elsewhere").mkdir()
    Path(".gitlab-ci.yml").write_text("mine")
    code, _, err = run("init", "--ci", "gitlab")
    assert code == 1
    for file in ("registry.yaml: exists already", ".gitlab-ci.yml: exists already", "schemas: is no folder", "policies: is no"):
        assert file in err
    assert Path("registry.yaml").read_text() == "mine"
    assert list(Path("elsewhere").iterdir()) == []
    assert not Path("promoter.db").exists()
    for file in ("registry.yaml", "schemas", "policies", ".gitlab-ci.yml"):
        Path(file).unlink()
    del registry
    code, out, _ = run("init")
    assert code == 0
    assert re.search(r"Add these lines to .gitignore, which is there already:\s+\.promoter/", out)
    assert Path(".gitignore").read_text() == "promoter.db*\n"


def test_the_ledger_stays_out_of_git(registry: FakeRegistry, run: Run) -> None:
    """After init git shows the files to commit, and neither the ledger nor the mirror."""
    from tests.support.fixtures.git import git

    del registry
    git(Path(), "init", "--quiet")
    assert run("init")[0] == 0
    Path(".promoter/mirror.git").mkdir(parents=True)
    Path(".promoter/mirror.git/HEAD").write_text("x")
    assert Path("promoter.db").exists()
    assert git(Path(), "status", "--porcelain").splitlines() == [
        "?? .gitignore",
        "?? policies/",
        "?? registry.yaml",
        "?? schemas/",
    ]


@pytest.mark.parametrize("folder", ["", "teams/ml"])
def test_the_ci_files_say_what_there_is(folder: str) -> None:
    """They name inputs that the action and the template have, and the folder where it is not the top."""
    workflow = yaml.safe_load(render_github_workflow(folder))
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    step = workflow["jobs"]["plan"]["steps"][1]
    assert step["with"].keys() <= action["inputs"].keys()
    assert step["with"].get("working-directory", "") == folder
    (included,) = yaml.safe_load(render_gitlab_pipeline(folder))["include"]
    assert (ROOT / included["file"]).is_file()
    template = next(yaml.safe_load_all((ROOT / included["file"]).read_text()))
    assert included["inputs"].keys() <= template["spec"]["inputs"].keys()
    assert included["inputs"].get("directory", "") == folder


def test_the_ci_file_lies_at_the_top(registry: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a monorepo the forge reads the top of the clone, and the files lie in their folder."""
    from tests.support.fixtures.git import git

    del registry
    git(Path(), "init", "--quiet")
    monkeypatch.setenv("PROMOTER_PATH", "teams/ml")
    assert run("init", "--ci", "github")[0] == 0
    assert "working-directory: teams/ml" in Path(".github/workflows/promoter.yml").read_text().replace('"', "")
    assert Path("teams/ml/registry.yaml").is_file()


def count_worse(run: Run, alias: str, metrics: dict[tuple[str, int], float]) -> tuple[int, int]:
    """Replay a policy over all versions: promotions, and how many of them were to a worse version."""
    code, out, err = run("replay", "--policy", alias, "--alias", alias, "--model", "*", "--since", "3000d", "--format", "json")
    assert code == 0, err
    promoted = worse = 0
    for model in json.loads(out)["models"]:
        for replayed in model["replays"]:
            held = [span["version"] for span in replayed["spans"] if span["version"]]
            values = [metrics[model["model"], number] for number in held]
            promoted += len(held)
            worse += sum(after <= before for before, after in pairwise(values))
    return promoted, worse


def test_the_challenger_is_never_a_worse_version(registry: FakeRegistry, run: Run) -> None:
    """Under the starter policy rotation takes better versions only; without its `beats` it took worse ones."""
    values = {("m", number): value for number, value in enumerate((0.90, 0.95, 0.91, 0.93, 0.96, 0.92), 1)}
    for key, value in values.items():
        registry.version(key[0], val_auc=value)
        versions = {n: replace(v, created_at=v.created_at.replace(minute=n)) for n, v in registry.models["m"].versions.items()}
        registry.models["m"] = replace(registry.models["m"], versions=versions)
    registry.place("m", "champion", 1)
    assert run("init")[0] == 0
    promoted, worse = count_worse(run, "challenger", values)
    assert (promoted, worse) == (3, 0)
    file = Path("policies/challenger.yaml")
    file.write_text(re.sub(r".*beats: challenger.*\n", "", file.read_text()))
    assert count_worse(run, "challenger", values)[1] > 0
