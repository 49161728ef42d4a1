"""What `pip install promoter` alone can do: files are checked without MLflow, SciPy or Flask; the rest is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from promoter.cli.common import SERVER_PACKAGES

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
POLICY = """version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion, confidence: 0.95}
  - {approval: {at_least: 1, from: [alice]}}
"""
CASES = """version: 1
cases:
  - name: better on every fold, and alice has signed
    version: {series: {auc: [0.71, 0.74, 0.75, 0.78, 0.79]}}
    holders: {champion: {series: {auc: [0.70, 0.72, 0.74, 0.76, 0.78]}}}
    approvals: [alice]
    expect: pass
"""
APPROVERS = """version: 1
approvers:
  alice: {key: "ed25519:bpNVO77nnQLGMu3GdqaOhL/Rq/bbRMAQ0ycdWmdrZMo=", groups: []}
"""


def collect(requirements: list[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that pip would install for these, with all that they need, by name."""
    for text in requirements:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name == "promoter" or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        if name not in found:
            found[name] = distribution(name)
            collect(found[name].requires or [], found)
        for extra in wanted.extras:
            needs = [each for each in found[name].requires or [] if "extra" in each]
            chosen = [each for each in map(Requirement, needs) if each.marker and each.marker.evaluate({"extra": extra})]
            collect([str(each).partition(";")[0] for each in chosen], found)
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to the packages of the plain installation, and to nothing else."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "promoter").symlink_to(ROOT / "promoter")
    for each in collect(PROJECT["dependencies"], {}).values():
        for file in each.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(each.locate_file(top))))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of this project's own repository, and a policy with a paired comparison and signed approvals."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "policies", folder / "policies")
    shutil.copy(ROOT / "registry.yaml", folder)
    return folder


def run(light: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command without the packages of this environment: `-S` leaves them out."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PROMOTER_", "MLFLOW_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-S", "-m", "promoter", *words],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(light), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PROMOTER_REPO": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_has_none_of_the_heavy_packages(light: Path) -> None:
    """Nothing of the plain installation asks for them in a roundabout way either."""
    heavy = {*SERVER_PACKAGES, "scipy", "numpy", "pandas", "sklearn", "apprise", "github", "gitlab", "boto3", "cel_expr_python"}
    assert not heavy & {each.name for each in light.iterdir()}


@pytest.mark.slow_except("text")
@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_files_are_checked(form: str, light: Path, repository: Path) -> None:
    """`validate` and `policy test` pass as they do with everything installed, in every format, and tell a fault as well."""
    for words in (("validate",), ("policy", "test")):
        good = run(light, repository, *words, "--format", form)
        assert good.returncode == 0, good.stdout + good.stderr
    (repository / "policies" / "champion.yaml").write_text("version: 1\nrules: [{metric: auc, at_leest: 0.9}]\n")
    bad = run(light, repository, "validate", "--format", form)
    assert (bad.returncode, "policies/champion.yaml" in bad.stdout + bad.stderr) == (1, True)
    assert "Traceback" not in bad.stderr


def test_a_paired_comparison_needs_no_scipy(light: Path, repository: Path) -> None:
    """Nor do real signatures need more than what is there."""
    (repository / "policies" / "champion.yaml").write_text(POLICY)
    (repository / "approvers.yaml").write_text(APPROVERS)
    shutil.rmtree(repository / "policies" / "tests")
    (repository / "policies" / "tests").mkdir()
    (repository / "policies" / "tests" / "champion.yaml").write_text(CASES)
    done = run(light, repository, "policy", "test")
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemas_are_printed(light: Path, repository: Path) -> None:
    """And written."""
    assert '"$schema"' in run(light, repository, "schema", "registry").stdout
    assert run(light, repository, "schema", "--write", "schemas").returncode == 0


@pytest.mark.slow_except("plan", "serve", "audit list")
@pytest.mark.parametrize(
    "words",
    [
        ("plan",),
        ("plan", "--base", "HEAD"),
        ("init", "elsewhere"),
        ("apply",),
        ("explain", "m@champion"),
        ("serve",),
        ("doctor",),
        ("audit", "list"),
        ("audit", "verify"),
        ("webhooks", "list"),
        ("rollback", "m@champion", "--reason", "x"),
        ("replay", "--policy", "champion", "--since", "2026-01-01"),
        ("notifications", "list"),
    ],
    ids=" ".join,
)
def test_other_commands_name_the_extra(words: tuple[str, ...], light: Path, repository: Path) -> None:
    """In one sentence, before they do anything."""
    before = sorted(repository.rglob("*"))
    done = run(light, repository, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("(pip install 'promoter[server]')\n"), done.stderr
    assert done.stderr.startswith("promoter: command line: this command needs packages that are not installed here: ")
    assert done.stderr.count("\n") == 1
    assert sorted(repository.rglob("*")) == before


def test_what_needs_a_part_of_it_says_so_too(light: Path, repository: Path) -> None:
    """Where nothing else is asked for: an export is verified with the ledger's code; a key for approvals needs no server."""
    export = ROOT / "tests" / "integration" / "old_ledger" / "export.jsonl"
    done = run(light, repository, "audit", "verify", "--export", str(export))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("not installed here: sqlalchemy (pip install 'promoter[server]')\n"), done.stderr
    made = run(light, repository, "approve", "--new-key", "alice.pem", "--as", "alice")
    assert (made.returncode, "approvers.yaml" in made.stdout) == (0, True), made.stderr


def test_the_message_names_what_the_extra_installs() -> None:
    """Each package of the extra, by the names under which it is imported."""
    names = {Requirement(each).name.replace("-skinny", "").replace("-", "_") for each in EXTRAS["server"]}
    assert names == set(SERVER_PACKAGES)


def test_whoever_asks_for_a_part_of_the_daemon_gets_all_of_it() -> None:
    """`promoter[github]` and the like include the server; `promoter[check]` is the plain installation."""
    assert EXTRAS["check"] == []
    alone = {"check", "server", "expressions"}
    bases = ("promoter[server]", "promoter[demo,")  # the demo has the server
    assert all(needs[0].startswith(bases) for name, needs in EXTRAS.items() if name not in alone)
