"""What users' CI is given: scripts are run as the service runs them; what only the service can do is checked as text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import POLICY, registry_yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
TEMPLATE = list(yaml.safe_load_all((ROOT / "ci" / "gitlab.yml").read_text()))
BROKEN = b"version: 1\nrules: [{metric: auc, at_leest: 0.9}]\n"
CASES = b"""version: 1
cases:
  - name: a better one passes
    version: {metrics: {auc: 0.95}}
    holders: {champion: {metrics: {auc: 0.9}}}
    expect: pass
"""


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person would; its output."""
    identity = {f"GIT_{role}_{what}": "eve@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    alone = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=os.environ | identity | alone,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@dataclass
class CiClone:
    """A clone on CI's machine, with the branch of a pull request, and the files that the service reads."""

    folder: Path
    base: str = ""
    head: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes]) -> str:
        """On top of what there is; the new revision."""
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--message", "A change")
        return git(self.folder, "rev-parse", "HEAD")

    def shell(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script as CI does, with this project's command on PATH and nothing of the caller's settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PROMOTER_", "MLFLOW_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env=kept | {"PATH": path} | self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def step(self, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a step of the action; its outputs and the summary are appended to files, as on GitHub."""
        files = {key: str(self.folder.parent / key.lower()) for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
        return self.shell(STEPS[name]["run"], **{"PROMOTER_PATH": ".", "TOP": str(self.folder), **files, **environment})

    def written(self, name: str) -> str:
        """What steps have appended to one of these files."""
        file = self.folder.parent / name.lower()
        return file.read_text() if file.exists() else ""


@pytest.fixture
def clone(tmp_path: Path) -> CiClone:
    """One commit on main; nobody is on the branch yet."""
    made = CiClone(tmp_path / "clone")
    made.folder.mkdir()
    git(made.folder, "init", "--quiet", "--initial-branch=main")
    files = {"registry.yaml": registry_yaml(""), "policies/champion.yaml": POLICY, "policies/tests/champion.yaml": CASES}
    made.base = made.commit(files)
    return made


@pytest.fixture
def planned(clone: CiClone, mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str) -> CiClone:
    """A branch that moves the champion to a better version."""
    for auc in (0.8, 0.9):
        make_version(mlflow_client, fresh_name, {"auc": auc}, {}, mlmodel=None)
    mlflow_client.set_registered_model_alias(fresh_name, "champion", 1)
    clone.base = clone.commit(
        {"registry.yaml": registry_yaml(f"{fresh_name}: {{aliases: {{champion: {{version: 1, policy: champion}}}}}}")}
    )
    git(clone.folder, "switch", "--quiet", "--create", "better")
    text = (clone.folder / "registry.yaml").read_bytes()
    clone.head = clone.commit({"registry.yaml": text.replace(b"version: 1,", b"version: 2,")})
    clone.environment = {"MLFLOW_TRACKING_URI": mlflow_server.uri, "BASE": clone.base, "HEAD": clone.head}
    clone.environment["PLAN"] = str(clone.folder.parent / "plan.json")
    return clone


def test_the_action_takes_nothing_from_outside_as_a_command() -> None:
    """Expressions stand in `env` and `working-directory` only, each of a declared input; bash can read every script."""
    assert ACTION["runs"]["using"] == "composite"
    for step in STEPS.values():
        if "uses" in step:
            continue
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    named = set(re.findall(r"\binputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert named == set(ACTION["inputs"])
    assert {each["value"] for each in ACTION["outputs"].values()} == {
        "${{ steps.plan.outputs.exit-code }}",
        "${{ steps.plan.outputs.plan }}",
    }


def test_the_action_installs_from_the_locks() -> None:
    """The files that it names are there, whatever is to be installed, and only downloads are kept between runs."""
    script = STEPS["Install Promoter"]["run"]
    locks = re.findall(r"\$SOURCE/(requirements/[$\w.]+)", script)
    assert locks == ["requirements/$LOCK.lock", "requirements/build.lock"]
    assert script.count("--require-hashes") == 2
    for lock in ("check", "runtime", "build"):
        assert "--hash=sha256:" in (ROOT / "requirements" / f"{lock}.lock").read_text()
    kept = STEPS["Keep the packages"]
    assert kept["uses"].startswith("actions/cache@")
    assert kept["with"] == {"path": "${{ runner.temp }}/promoter-packages", "key": "${{ steps.packages.outputs.key }}"}
    assert "--cache-dir" in script


def _choose_packages(clone: CiClone, **environment: str) -> dict[str, str]:
    (clone.folder.parent / "github_output").unlink(missing_ok=True)
    done = clone.step("Choose the packages", **{"PYTHON": sys.executable, "SOURCE": str(ROOT), **environment})
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in clone.written("GITHUB_OUTPUT").splitlines())


def test_the_action_installs_no_more_than_it_needs(clone: CiClone, tmp_path: Path) -> None:
    """What talks to MLflow comes only where a plan is to be made; an installation of this job is used again."""
    planning = {"BASE": "a", "HEAD": "b", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    whole = _choose_packages(clone, **planning)
    light = [_choose_packages(clone, **(planning | {name: ""})) for name in planning]
    assert (whole["lock"], {each["lock"] for each in light}) == ("runtime", {"check"})
    assert whole["key"] != light[0]["key"]
    assert whole == _choose_packages(clone, **planning)
    to = tmp_path / "installed"
    (to / "command").mkdir(parents=True)
    done = clone.step("Install Promoter", PYTHON="false", SOURCE="/nowhere", LOCK="check", PACKAGES="/nowhere", TO=str(to))
    assert (done.returncode, clone.written("GITHUB_PATH")) == (0, f"{to}/command\n"), done.stderr


@pytest.mark.slow
def test_the_actions_checks(clone: CiClone) -> None:
    """Good files pass; a broken policy fails both steps and is told with its place."""
    assert clone.step("Validate").returncode == 0
    junit = str(clone.folder.parent / "junit.xml")
    good = clone.step("Test the policies", REQUIRE_COVERAGE="false", JUNIT=junit)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "testsuite" in Path(junit).read_text()
    assert clone.step("Test the policies", REQUIRE_COVERAGE="true", JUNIT=junit).returncode == 1
    clone.commit({"policies/champion.yaml": BROKEN})
    bad = clone.step("Validate")
    assert bad.returncode == 1
    assert "policies/champion.yaml:2:" in bad.stdout + bad.stderr
    assert clone.step("Test the policies", REQUIRE_COVERAGE="false", JUNIT=junit).returncode == 1


def test_the_action_without_cases_or_a_server(clone: CiClone) -> None:
    """Says that there is nothing to do."""
    git(clone.folder, "rm", "--quiet", "-r", "policies/tests")
    nothing = clone.step("Test the policies", REQUIRE_COVERAGE="false", JUNIT="unused.xml")
    assert (nothing.returncode, "nothing to test" in nothing.stdout) == (0, True)
    unplanned = clone.step("Plan", MLFLOW_TRACKING_URI="", BASE=clone.base, HEAD=clone.base, PLAN="unused.json")
    assert (unplanned.returncode, "::notice::" in unplanned.stdout) == (0, True)
    assert clone.written("GITHUB_OUTPUT") == ""


def test_the_action_plans_a_pull_request(planned: CiClone, fresh_name: str) -> None:
    """The summary has the plan, the output its exit code, the file the same as JSON."""
    done = planned.step("Plan")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"exit-code=2\nplan={planned.environment['PLAN']}\n" == planned.written("GITHUB_OUTPUT")
    assert fresh_name in planned.written("GITHUB_STEP_SUMMARY")
    told = json.loads(Path(planned.environment["PLAN"]).read_text())
    assert (told["schema"], told["state"]) == (1, "success")


@pytest.mark.slow
def test_the_action_fails_where_the_base_blocks(planned: CiClone) -> None:
    """Also where the pull request weakens the policy that stands in its way."""
    text = (planned.folder / "registry.yaml").read_bytes()
    planned.base = planned.commit({"policies/champion.yaml": POLICY.replace(b"0.005", b"0.5")})
    head = planned.commit({"policies/champion.yaml": POLICY, "registry.yaml": text})
    git(planned.folder, "switch", "--quiet", "main")
    base = planned.commit({"policies/champion.yaml": POLICY.replace(b"0.005", b"0.5")})
    done = planned.step("Plan", BASE=base, HEAD=head)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exit-code=3" in planned.written("GITHUB_OUTPUT")
    assert "::error::" in done.stdout


@pytest.fixture
def foreign(planned: CiClone) -> CiClone:
    """The clone belongs to another user than the one who runs the job, as in a container."""
    home = planned.folder.parent / "home"
    home.mkdir()
    planned.environment |= {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    assert "dubious ownership" in planned.shell("git status").stderr
    return planned


def test_the_action_plans_a_clone_of_another_owner(foreign: CiClone, fresh_name: str) -> None:
    """It trusts the clone that the workflow checked out, and no other; what the environment says to git stays in force."""
    assert _find_folder(foreign, ".").returncode == 0
    assert f"top={foreign.folder}\n" in foreign.written("GITHUB_OUTPUT")
    assert foreign.step("Validate").returncode == 0
    before = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "eve"}
    done = foreign.step("Plan", **before)
    assert (done.returncode, fresh_name in foreign.written("GITHUB_STEP_SUMMARY")) == (0, True), done.stdout + done.stderr
    elsewhere = foreign.step("Plan", TOP=str(foreign.folder.parent))
    assert (elsewhere.returncode, "dubious ownership" in elsewhere.stderr) == (1, True)
    assert list((foreign.folder.parent / "home").iterdir()) == []


@pytest.mark.slow
def test_the_template_plans_a_clone_of_another_owner(foreign: CiClone, fresh_name: str) -> None:
    """The runner cloned as root, and the image has a user of its own."""
    places = {
        "CI_PROJECT_DIR": str(foreign.folder),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_COMMIT_SHA": foreign.head,
        "PROMOTER_PATH": ".",
    }
    # A path is no remote here: its own side of git refuses it too, and takes nothing from the environment.
    script = re.sub("git fetch .*", f"echo {foreign.base} > .git/FETCH_HEAD", _lines("plan"))
    done = foreign.shell(script, **places)
    assert (done.returncode, fresh_name in done.stdout) == (0, True), done.stdout + done.stderr
    assert json.loads((foreign.folder / "promoter-plan.json").read_text())["base"] == foreign.base


@pytest.mark.parametrize("script", [STEPS["Plan"]["run"], "plan"], ids=["action", "template"])
def test_one_plan_is_made(script: str) -> None:
    """As Markdown and as JSON at once: two plans would read MLflow twice, and might not say the same."""
    text = _lines("plan") if script == "plan" else script
    assert text.count("promoter plan") == 1
    assert "--json" in text


def test_a_plan_that_cannot_be_made_leaves_no_file(planned: CiClone) -> None:
    """Not even that of an earlier run: the output is empty, and the check is red."""
    Path(planned.environment["PLAN"]).write_text("{}")
    done = planned.step("Plan", BASE="no-such-commit")
    assert (done.returncode, Path(planned.environment["PLAN"]).exists()) == (1, False)
    assert planned.written("GITHUB_OUTPUT") == "exit-code=1\n"


@pytest.fixture
def monorepo(planned: CiClone) -> CiClone:
    """The same in `teams/ml`, with nothing of Promoter's at the top, and `other` beside it."""
    text = (planned.folder / "registry.yaml").read_bytes()
    git(planned.folder, "switch", "--quiet", "main")
    planned.commit({"other/registry.yaml": registry_yaml("")})
    (planned.folder / "teams" / "ml").mkdir(parents=True)
    git(planned.folder, "mv", "registry.yaml", "policies", "teams/ml")
    planned.base = planned.commit({})
    git(planned.folder, "switch", "--quiet", "--force-create", "better")
    planned.head = planned.commit({"teams/ml/registry.yaml": text})
    planned.environment |= {"BASE": planned.base, "HEAD": planned.head}
    return planned


def _find_folder(clone: CiClone, directory: str) -> subprocess.CompletedProcess[str]:
    (clone.folder.parent / "github_output").unlink(missing_ok=True)
    return clone.step("Find the folder", DIRECTORY=directory)


@pytest.mark.parametrize(
    ("directory", "path", "suffix"),
    [(".", ".", ""), ("teams/ml", "teams/ml", "-teams-ml"), ("./teams/ml/", "teams/ml", "-teams-ml")],
)
def test_the_action_finds_its_folder(clone: CiClone, directory: str, path: str, suffix: str) -> None:
    """By its path from the top of the clone; the files of each folder's steps have names of their own."""
    (clone.folder / "teams" / "ml").mkdir(parents=True)
    done = _find_folder(clone, directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert clone.written("GITHUB_OUTPUT") == f"top={clone.folder}\npath={path}\nsuffix={suffix}\n"
    assert all(
        step["working-directory"] == "${{ steps.folder.outputs.top }}"
        for name, step in STEPS.items()
        if "PROMOTER_PATH" in step.get("env", {})
    )
    assert sum("PROMOTER_PATH" in step.get("env", {}) for step in STEPS.values()) == 3


def test_a_link_in_the_place_of_the_folder(clone: CiClone, tmp_path: Path) -> None:
    """The action does not go where a pull request leads it: a link out of the clone, and one to a decoy, make the check red."""
    (clone.folder / "out").symlink_to(tmp_path)
    (clone.folder / "decoy").mkdir()
    (clone.folder / "ml").symlink_to("decoy")
    clone.commit({"decoy/registry.yaml": registry_yaml("")})
    assert _find_folder(clone, "out").returncode != 0
    done = _find_folder(clone, "ml")
    assert (done.returncode, "path=ml\n" in clone.written("GITHUB_OUTPUT")) == (0, True), done.stderr
    bad = clone.step("Validate", PROMOTER_PATH="ml")
    assert (bad.returncode, "ml is a symbolic link" in bad.stderr) == (1, True), bad.stdout + bad.stderr


def test_the_action_plans_a_folder(monorepo: CiClone, fresh_name: str) -> None:
    """What the pull request moves in the folder is planned, and not passed over; another folder has nothing to plan."""
    assert monorepo.step("Validate", PROMOTER_PATH="teams/ml").returncode == 0
    done = monorepo.step("Plan", PROMOTER_PATH="teams/ml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit-code=2\n" in monorepo.written("GITHUB_OUTPUT")
    assert fresh_name in monorepo.written("GITHUB_STEP_SUMMARY")
    other = monorepo.step("Plan", PROMOTER_PATH="other")
    assert (
        other.returncode,
        "changes no file that the Promoter of" in other.stdout + monorepo.written("GITHUB_STEP_SUMMARY"),
    ) == (0, True)
    top = monorepo.step("Plan")
    assert (top.returncode, "could not be planned" in top.stdout) == (1, True), top.stdout


@pytest.mark.slow
def test_the_template_plans_a_folder(monorepo: CiClone, tmp_path: Path, fresh_name: str) -> None:
    """As the action does."""
    git(monorepo.folder, "remote", "add", "origin", str(monorepo.folder))
    places = {"CI_PROJECT_DIR": str(tmp_path), "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_COMMIT_SHA": monorepo.head}
    good = monorepo.shell(_lines("validate"), **places, PROMOTER_PATH="teams/ml")
    assert (good.returncode, (tmp_path / "promoter-policies.xml").is_file()) == (0, True), good.stdout + good.stderr
    done = monorepo.shell(_lines("plan"), **places, PROMOTER_PATH="teams/ml")
    assert (done.returncode, fresh_name in done.stdout) == (0, True), done.stdout + done.stderr
    assert monorepo.shell(_lines("plan"), **places, PROMOTER_PATH=".").returncode == 1


def _lines(job: str) -> str:
    return "\n".join(TEMPLATE[1][f"$[[ inputs.name ]]:{job}"]["script"])


def test_the_template_is_one_that_gitlab_can_include() -> None:
    """Inputs are declared and used, the clone has its history, and jobs run for merge requests that touch the files."""
    spec, jobs = TEMPLATE
    used = set(re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", (ROOT / "ci" / "gitlab.yml").read_text()))
    assert used == set(spec["spec"]["inputs"])
    common = jobs[".$[[ inputs.name ]]"]
    assert common["variables"]["GIT_DEPTH"] == "0"
    assert "merge_request_event" in common["rules"][0]["if"]
    for name in ("$[[ inputs.name ]]:validate", "$[[ inputs.name ]]:plan"):
        assert jobs[name]["extends"] == ".$[[ inputs.name ]]"
        assert all(isinstance(line, str) for line in jobs[name]["script"])


@pytest.mark.slow
def test_the_templates_checks(clone: CiClone) -> None:
    """The report is where the job says."""
    places = {"PROMOTER_PATH": ".", "CI_PROJECT_DIR": str(clone.folder)}
    good = clone.shell(_lines("validate"), **places)
    assert good.returncode == 0, good.stdout + good.stderr
    assert (clone.folder / "promoter-policies.xml").is_file()
    clone.commit({"policies/champion.yaml": BROKEN})
    assert clone.shell(_lines("validate"), **places).returncode == 1


@pytest.mark.slow
def test_the_template_plans_a_merge_request(planned: CiClone, tmp_path: Path) -> None:
    """Against what the target branch is now; without a server it says so."""
    git(planned.folder, "remote", "add", "origin", str(planned.folder))
    places = {
        "PROMOTER_PATH": ".",
        "CI_PROJECT_DIR": str(tmp_path),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_COMMIT_SHA": planned.head,
    }
    done = planned.shell(_lines("plan"), **places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "promoter-plan.json").read_text())["base"] == planned.base
    assert (tmp_path / "promoter-plan.md").read_text().strip() in done.stdout
    idle = planned.shell(_lines("plan"), **places, MLFLOW_TRACKING_URI="")
    assert (idle.returncode, "MLFLOW_TRACKING_URI is not set" in idle.stdout) == (0, True)


@pytest.mark.slow
def test_the_template_writes_through_no_link(planned: CiClone, tmp_path: Path) -> None:
    """A merge request may bring files with the names of the results, and what they lead to stays as it is."""
    git(planned.folder, "remote", "add", "origin", str(planned.folder))
    target = tmp_path / "precious"
    target.write_text("mine")
    for name in ("promoter-plan.md", "promoter-plan.json", "promoter-policies.xml"):
        (planned.folder / name).symlink_to(target)
    head = planned.commit({})
    places = {
        "PROMOTER_PATH": ".",
        "CI_PROJECT_DIR": str(planned.folder),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_COMMIT_SHA": head,
    }
    for job in ("validate", "plan"):
        done = planned.shell(_lines(job), **places)
        assert done.returncode == 0, done.stdout + done.stderr
    assert target.read_text() == "mine"
    assert json.loads((planned.folder / "promoter-plan.json").read_text())["head"] == head


@pytest.fixture
def hooked(clone: CiClone) -> CiClone:
    """With the hooks of the manifest, run from this environment instead of one that would be made anew."""
    manifest = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    hooks = [{**hook, "language": "system"} for hook in manifest]
    config = {"repos": [{"repo": "local", "hooks": hooks}]}
    (clone.folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    clone.environment["PRE_COMMIT_HOME"] = str(clone.folder.parent / "pre-commit")
    git(clone.folder, "add", "--all")
    return clone


def test_the_manifest_is_one_that_pre_commit_takes(clone: CiClone) -> None:
    """By its own check."""
    done = clone.shell(f"pre-commit validate-manifest '{ROOT / '.pre-commit-hooks.yaml'}'")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_pre_commit_runs_the_hooks(hooked: CiClone) -> None:
    """Both pass on good files and fail on a broken policy; what does not concern them runs neither."""
    good = hooked.shell("pre-commit run --all-files --color never")
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.count("Passed") == 2
    (hooked.folder / "README.md").write_text("Nothing of Promoter's.\n")
    git(hooked.folder, "add", "README.md")
    assert hooked.shell("pre-commit run --files README.md --color never").stdout.count("Skipped") == 2
    (hooked.folder / "policies" / "champion.yaml").write_bytes(BROKEN)
    bad = hooked.shell("pre-commit run --all-files --color never")
    assert (bad.returncode, bad.stdout.count("Failed")) == (1, 2)
