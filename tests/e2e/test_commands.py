"""The commands on real servers: what they do, their exit codes, their JSON; and words instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from promoter.__main__ import main
from promoter.adapters.mlflow.webhooks import MlflowWebhooks
from tests.support.fixtures.git import Colleague
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.proxy import Proxy, ProxyFault, alias_writes
from tests.support.stage.stage import POLICY, SECRET, Stage, registry_yaml

GATED = "{model}: {{aliases: {{champion: {{version: {number}, policy: champion}}, shadow: 1}}}}"


@dataclass(frozen=True)
class CommandOutput:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its JSON, whose version is 1."""
        told: dict[str, Any] = json.loads(self.out)
        assert told.pop("schema") == 1
        return told


Run = Callable[..., CommandOutput]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a stage, in its clone: as the program does, but in this process. Anything unforeseen is raised."""

    def promoter(stage: Stage, *arguments: str, **changed: str) -> CommandOutput:
        with monkeypatch.context() as patched:
            patched.chdir(stage.folder / "clone")
            for name, text in stage.environment(**changed).items():
                if name.startswith(("PROMOTER_", "MLFLOW_")):
                    patched.setenv(name, text)
            for name in [name for name, text in changed.items() if not text]:
                patched.delenv(name)
            patched.setattr(sys, "argv", ["promoter", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return CommandOutput(int(str(ended.value.code or 0)), out, err)

    return promoter


def cloned(stage: Stage, files: dict[str, bytes] | None = None) -> Colleague:
    """Somebody's clone of the stage's remote, in which the commands run, beside an empty ledger."""
    begin_ledger(stage.database)
    stage.remote.commit_files(files or {"README.md": b"models\n"})
    return Colleague(stage.remote, stage.folder / "clone", "any")


def test_from_init_to_history(stage: Stage, fresh_name: str, run: Run) -> None:
    """Init states what is there; a change is planned, applied once it is committed, and told by history and audit."""
    stage.version(fresh_name, 0.8)
    stage.version(fresh_name, 0.9)
    stage.by_hand(fresh_name, "champion", 1)
    colleague = cloned(stage)
    file = colleague.folder / "registry.yaml"

    assert run(stage, "init", "--metric", "val_auc").code == 0
    assert run(stage, "init").code == 1, "init overwrites nothing"
    assert run(stage, "validate").code == 0
    written = yaml.safe_load(file.read_text())
    file.write_text(
        json.dumps(written | {"models": {fresh_name: written["models"][fresh_name]}})
    )  # without other tests' models
    assert run(stage, "plan").code == 0, "init states what is there"
    file.write_bytes(registry_yaml(GATED.format(model=fresh_name, number=1)))
    (colleague.folder / "policies/champion.yaml").write_bytes(POLICY)
    assert run(stage, "plan").code == 2
    colleague.push({}, "Start")
    assert run(stage, "apply").code == 0
    assert run(stage, "plan").code == 0

    file.write_bytes(registry_yaml(GATED.format(model=fresh_name, number=2)))
    told = run(stage, "plan", "--format", "json")
    assert told.code == 2
    assert told.json.keys() >= {"revision", "digest", "changes", "blocked"}
    assert told.json["revision"] is None, "the working tree is no revision yet"
    (change,) = told.json["changes"]
    expected = {"model": fresh_name, "alias": "champion", "from": 1, "to": 2, "verdict": "pass"}
    assert {key: change[key] for key in expected} == expected
    assert change["decision"]["rules"][0].keys() >= {"rule", "verdict", "value", "expected"}
    assert "not what is here" in run(stage, "apply", PROMOTER_REPO="").err
    assert stage.aliases(fresh_name)["champion"] == 1, "what is not on the branch is not applied"
    revision = colleague.push({}, "Promote v2")
    applied = run(stage, "apply", "--format", "json")
    assert applied.code == 0
    assert applied.json["revision"] == revision
    assert stage.aliases(fresh_name) == {"champion": 2, "shadow": 1}
    _reads_back(stage, fresh_name, run, revision)


def _reads_back(stage: Stage, fresh_name: str, run: Run, revision: str) -> None:
    """What history and audit have of both steps."""
    spans = run(stage, "history", f"{fresh_name}@champion", "--format", "json").json["spans"]
    assert [span["version"] for span in spans] == [1, 2]
    assert spans[1].keys() >= {"version", "since", "until", "revision", "actor"}
    assert (spans[1]["until"], spans[1]["revision"], spans[1]["actor"]) == (None, revision, "Bob <bob@example.org>")
    records = run(stage, "audit", "list", "--model", fresh_name, "--format", "json").json["records"]
    assert [record["id"] for record in records] == sorted(record["id"] for record in records)
    keys = "id at kind model alias from to revision actor trigger policy verdict outcome hash".split()  # noqa: SIM905
    assert records[-1].keys() >= set(keys)
    assert (records[-1]["outcome"], records[-1]["policy"], records[-1]["verdict"]) == ("applied", "champion", "pass")
    assert "Promote v2" in run(stage, "audit", "list", "--format", "markdown").out + run(stage, "audit", "list").out + str(
        records
    )


@pytest.mark.slow
def test_blocked(behind: Stage, proxy: Proxy, fresh_name: str, run: Run) -> None:
    """What the policy does not let through is told with exit code 3, and the rest is done; what MLflow refuses is 1."""
    behind.version(fresh_name, 0.8)
    behind.version(fresh_name, 0.7)
    behind.by_hand(fresh_name, "champion", 1)
    cloned(behind, {"registry.yaml": registry_yaml(GATED.format(model=fresh_name, number=2)), "policies/champion.yaml": POLICY})
    planned = run(behind, "plan", "--format", "json")
    assert planned.code == 3
    assert [(each["model"], each["alias"]) for each in planned.json["blocked"]] == [(fresh_name, "champion")]
    explained = run(behind, "explain", f"{fresh_name}@champion", "--format", "json")
    assert explained.code == 3
    expected = {"model": fresh_name, "version": 2, "policy": "champion", "verdict": "fail"}
    assert {key: explained.json[key] for key in expected} == expected
    assert [rule["verdict"] for rule in explained.json["rules"]] == ["pass", "fail"]
    assert run(behind, "explain", f"{fresh_name}/2", "--policy", "champion", "--format", "markdown").code == 3
    assert run(behind, "explain", f"{fresh_name}/1", "--policy", "champion").code == 0  # the holder is no rival of its own
    why_not = run(behind, "explain", f"{fresh_name}/2", "--alias", "champion")
    assert why_not.code == 3
    assert why_not.out.splitlines()[0] == f"why v2 is not {fresh_name}@champion"
    assert "champion does not rotate (`rotation: off`): a commit of registry.yaml moves it" in why_not.out
    assert "0.7" in run(behind, "explain", f"{fresh_name}@champion").out

    with proxy.broken(ProxyFault.FAILS, alias_writes):
        failed = run(behind, "apply", "--format", "json")
    assert failed.code == 1
    assert list(failed.json["failed"]) == [fresh_name]
    assert run(behind, "apply").code == 3
    assert behind.aliases(fresh_name) == {"champion": 1, "shadow": 1}
    behind.version(fresh_name, 0.9)
    assert run(behind, "explain", f"{fresh_name}/3", "--policy", "champion").code == 0


@pytest.mark.slow
def test_webhooks_and_doctor(stage: Stage, mlflow_webhooks: MlflowWebhooks, fresh_name: str, run: Run) -> None:
    """Installed twice it is there once; its test reaches the daemon; doctor sees what is well and what is not."""
    mlflow_webhooks.remove_webhooks()
    stage.version(fresh_name, 0.8)
    cloned(stage, {"registry.yaml": registry_yaml(f"{fresh_name}: {{aliases: {{champion: 1}}}}")})
    daemon = stage.daemon(cold=True, PROMOTER_POLL_INTERVAL="1h")
    daemon.until_ready()
    assert run(stage, "webhooks", "test").code == 1, "there is none yet"
    assert run(stage, "webhooks", "install", "--url", "not a url").code == 1
    outcomes = [run(stage, "webhooks", "install", "--url", daemon.url, "--format", "json").json for _ in range(2)]
    assert [told["outcome"] for told in outcomes] == ["created", "unchanged"]
    listed = run(stage, "webhooks", "list", "--format", "json")
    assert [each["url"] for each in listed.json["webhooks"] if each["name"] == "promoter"] == [f"{daemon.url}/webhooks/mlflow"]
    assert SECRET not in listed.out
    assert run(stage, "webhooks", "test").code == 0
    healthy = run(stage, "doctor", "--format", "json")
    assert healthy.code == 0
    assert all(check["good"] is not False for check in healthy.json["checks"]), healthy.out
    assert daemon.stop() == 0
    ill = run(stage, "doctor", "--format", "json", PROMOTER_REPO="http://127.0.0.1:9/none.git")
    assert ill.code == 1
    assert {check["name"] for check in ill.json["checks"] if check["good"] is False} == {"git", "webhook"}
    assert all(check["fix"] for check in ill.json["checks"] if check["good"] is False)
    assert SECRET not in ill.out
    assert run(stage, "webhooks", "remove").out == "removed 1\n"
    assert run(stage, "webhooks", "remove").out == "removed 0\n"


def test_as_a_program(stage: Stage, tmp_path: Path) -> None:
    """The program itself, in a folder with nothing in it: words on standard error, nothing else, and no database made."""
    command = [sys.executable, "-m", "promoter", "plan"]
    done = subprocess.run(command, cwd=tmp_path, env=stage.environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "registry.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (stage.folder / "promoter.db").exists()
