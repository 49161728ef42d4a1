"""`promoter policy test`, run as the program runs: what it says in each form, compared whole, and its exit codes."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from promoter.__main__ import main
from promoter.domain.policy.test_cases import Case, CasesDocument, VersionCase

SAMPLES = Path(__file__).parent / "policy_tests"
PROJECT = Path(__file__).parents[3]
REGISTRY = "version: 1\nmodels: {}\n"
POLICY = """\
version: 1
rules:
  - {metric: val_auc, at_least: 0.95}
  - any_of: [{metric: p99_ms, at_most: 50}, {tag: waived_by, present: true}]
  - {tag: approved_by, one_of: [data-science-team, risk], name: approved}
guards:
  - {metric: live_auc, at_least: 0.85}
"""
SHADOW = "version: 1\nrules: [{run: {status: FINISHED}}]\n"
GOOD = "version: {metrics: {val_auc: 0.96, p99_ms: 40}, tags: {approved_by: risk}}"
CASES = f"""\
version: 1
cases:
  - name: good
    {GOOD}
    expect: pass
  - name: "[red]not good[/red] | `enough`"
    version: {{metrics: {{val_auc: 0.94, p99_ms: 40, live_auc: 0.9}}, tags: {{approved_by: "\\e[31m|\\uFFFE"}}}}
    expect: pass
    rules: {{metric val_auc at_least 0.95: pass, approved: pending, any_of: pass}}
    guards: {{metric live_auc at_least 0.85: fail}}
  - name: still training
    version: {{run: {{status: RUNNING}}}}
    expect: fail
"""
MENDED = {
    "policies/champion": POLICY.replace("guards:\n  - {metric: live_auc, at_least: 0.85}\n", ""),
    "policies/tests/champion": f"""\
version: 1
cases:
  - {{name: good, {GOOD}, expect: pass}}
  - {{name: waived, version: {{tags: {{waived_by: alice}}}}, rules: {{tag waived_by present: pass}}}}
  - {{name: empty, version: {{}}, expect: pending}}
""",
}


class PolicyTestRun:
    """Runs `promoter policy test` in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """`folder` is the GitOps repository."""
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def write(self, **files: str) -> None:
        """Files, by their names without the ending: `registry`, `policies/NAME`, `policies/tests/NAME`."""
        for name, text in files.items():
            file = self.folder / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def __call__(self, *arguments: str, width: int = 150) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        with self._monkeypatch.context() as patched:
            patched.chdir(self.folder)
            patched.setenv("COLUMNS", str(width))
            patched.setattr(sys, "argv", ["promoter", "policy", "test", *arguments])
            self._capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = self._capsys.readouterr()
        return int(str(ended.value.code or 0)), "".join(f"{line.rstrip()}\n" for line in out.splitlines()), err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> PolicyTestRun:
    """In a repository with two policies, and cases for one of them."""
    made = PolicyTestRun(tmp_path, monkeypatch, capsys)
    made.write(**{
        "registry": REGISTRY, "policies/champion": POLICY, "policies/shadow": SHADOW, "policies/tests/champion": CASES,
    })  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("sample", "arguments", "width"),
    [
        ("wide.txt", [], 150),
        ("narrow.txt", [], 80),
        ("report.md", ["--format", "markdown"], 80),
        ("report.json", ["--format", "json"], 80),
    ],
)
def test_what_is_not_as_expected_is_told(run: PolicyTestRun, sample: str, arguments: list[str], width: int) -> None:
    """Each unexpected verdict with the value seen, and what was never seen: compared whole, in every form."""
    code, out, err = run(*arguments, width=width)
    assert (code, err) == (1, "")
    assert out == (SAMPLES / sample).read_text(encoding="utf-8")


def test_junit_is_xml_that_ci_systems_read(run: PolicyTestRun) -> None:
    """One suite a policy, one case a case, the decision in a failure's text; what XML cannot say is left out."""
    code, _, _ = run("--junit", "junit.xml")
    written = (run.folder / "junit.xml").read_bytes()
    assert (code, written) == (1, (SAMPLES / "junit.xml").read_bytes())
    suites = ET.fromstring(written)  # of our own making
    told = {suite.get("name"): [(case.get("name"), len(case)) for case in suite] for suite in suites}
    assert told == {"champion": [("good", 0), ("[red]not good[/red] | `enough`", 1), ("still training", 1)], "shadow": []}


def test_no_name_of_a_file_spoils_a_terminal_or_the_xml(run: PolicyTestRun) -> None:
    """What does not print is told as an escape, also in the XML, which could not say some of it otherwise."""
    run.write(**{"policies/tests/x\x1b\uffff": CASES.replace("cases:", "policy: champion\ncases:")})
    assert "\npolicies/tests/x\\x1b\\uffff.yaml:7 " in run("--junit", "junit.xml")[1]
    files = {case.get("file") for case in ET.fromstring((run.folder / "junit.xml").read_bytes()).iter("testcase")}
    assert files == {"policies/tests/champion.yaml", "policies/tests/x\\x1b\\uffff.yaml"}


def test_a_junit_file_that_cannot_be_written_is_told(run: PolicyTestRun) -> None:
    """In words, and as a failure."""
    code, _, err = run("--junit", "nowhere/junit.xml")
    assert (code, err) == (
        1,
        "promoter: files: nowhere/junit.xml: cannot be written: No such file or directory (name another)\n",
    )


def test_the_exit_code_says_whether_all_is_as_expected(run: PolicyTestRun) -> None:
    """Gaps in coverage count only where they are asked about, and so do policies without a case."""
    run.write(**MENDED)
    gaps = "NEVER SEEN TO  POLICY    RULE\n"
    told = "2 policies, 3 cases: all as expected."
    assert run() == (0, f"{told} 5 of 5 rules seen both to pass and not to. Without a case: shadow.\n", "")
    assert run("--require-coverage")[0] == 1, "shadow has no case"
    (run.folder / "policies/shadow.yaml").unlink()
    assert run("--require-coverage")[0] == 0
    run.write(**{"policies/tests/champion": f"version: 1\ncases:\n  - {{name: good, {GOOD}, expect: pass}}\n"})
    code, out, _ = run()
    assert (code, out.startswith(gaps)) == (0, True)
    assert run("--require-coverage")[0] == 1


def test_no_cases_are_no_failure_unless_coverage_is_required(run: PolicyTestRun) -> None:
    """They are told."""
    (run.folder / "policies/tests/champion.yaml").unlink()
    assert run() == (0, "2 policies, no cases: add them in policies/tests/NAME.yaml.\n", "")
    assert run("--require-coverage")[0] == 1


def test_faults_of_policies_and_of_their_tests_are_told_together(run: PolicyTestRun) -> None:
    """With their places, in every form; and no case runs."""
    run.write(**{"policies/shadow": "version: 1\n", "policies/tests/champion": "version: 1\ncases: []\n"})
    one = "policies/shadow.yaml:1:1: `rules` is missing"
    two = "policies/tests/champion.yaml:2:8: `cases` must have at least 1 item"
    assert run("--junit", "junit.xml") == (1, "", f"{one}\n{two}\n2 faults\n")
    assert not (run.folder / "junit.xml").exists()
    assert run("--format", "markdown") == (1, f"**2 faults**\n\n- {one}\n- {two}\n", "")
    code, out, _ = run("--format", "json")
    faults: list[dict[str, Any]] = json.loads(out)["faults"]
    assert (code, [each["line"] for each in faults]) == (1, [1, 2])
    run.write(**{"policies/shadow": SHADOW})
    assert run()[2] == f"{two}\n1 fault\n"


def test_approvals_count_by_the_approvers_of_the_same_folder(run: PolicyTestRun) -> None:
    """Their names and groups are those of approvers.yaml; the keys of a case are its own."""
    keys = ["ed25519:" + base64.b64encode(bytes([number] * 32)).decode() for number in range(3)]
    approval = "version: 1\nrules: [{approval: {at_least: 2, from: [risk]}}]\n"
    cases = """\
version: 1
cases:
  - {name: two of risk, version: {}, approvals: [alice, bob], expect: pass}
  - {name: one of risk, version: {}, approvals: [alice, carol], expect: pending}
"""
    people = {"alice": "[risk, ml]", "bob": "[risk]", "carol": "[ml]"}
    known = "".join(
        f"  {name}: {{key: '{key}', groups: {groups}}}\n" for key, (name, groups) in zip(keys, people.items(), strict=True)
    )
    run.write(**{
        "approvers": f"version: 1\napprovers:\n{known}", "policies/shadow": approval, "policies/tests/shadow": cases,
        "policies/champion": MENDED["policies/champion"], "policies/tests/champion": MENDED["policies/tests/champion"],
    })  # fmt: skip
    assert run("--require-coverage") == (
        0,
        "2 policies, 5 cases: all as expected. 6 of 6 rules seen both to pass and not to.\n",
        "",
    )
    run.write(**{"policies/tests/shadow": cases.replace("carol", "caro")})
    where = "policies/tests/shadow.yaml:4:57"
    assert run()[2] == f"{where}: `caro` is not in approvers.yaml (did you mean `carol`?)\n1 fault\n"


def test_the_command_stands_anywhere_inside_the_repository(run: PolicyTestRun) -> None:
    """The nearest folder upwards that has a registry.yaml is the one."""
    run.write(**MENDED)
    assert run("policies/tests")[0] == 0


def test_the_projects_own_policies_do_as_their_tests_say(run: PolicyTestRun) -> None:
    """And every rule of theirs is seen both to pass and not to."""
    code, out, err = run(str(PROJECT), "--require-coverage")
    assert (code, err) == (0, "")
    assert out.startswith("2 policies, ")


def test_the_guide_is_right(run: PolicyTestRun) -> None:
    """Its example does as it says, under a policy with the rules that it names; and it has every key that there is."""
    guide = (PROJECT / "docs/policy-tests.md").read_text(encoding="utf-8")
    example = guide.split("```yaml\n")[1].split("```")[0]
    rules = (
        "[{metric: val_auc, at_least: 0.95}, {metric: val_auc, beats: champion, order: highest}, {tag: approved_by, one_of: "
    )
    policy = f"version: 1\nrules: {rules}[data-science-team, risk]}}]\n"
    run.write(**{"policies/champion": policy, "policies/tests/champion": example})
    assert run()[1].splitlines()[-1].startswith("2 policies, 2 cases: all as expected.")
    keys = [*CasesDocument.model_fields, *Case.model_fields, *VersionCase.model_fields]
    assert [key for key in keys if f"`{key}`" not in guide and f"{key}:" not in guide] == []
