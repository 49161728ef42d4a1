"""A number that stands for another version than the approved one, on a real MLflow server: the daemon and the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.domain.audit import ChangeOutcome, RecordKind
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.stage import Daemon, Stage, until

POLICY = b"""version: 1
rules: [{metric: auc, at_least: 0.5}, {tag: approved_by, one_of: [risk]}]
"""
STATED = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}"

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a stage in this process, with `--format json`: its exit code, its JSON, and what it warns of."""

    def promoter(stage: Stage, *arguments: str, **changed: str) -> tuple[int, dict[str, Any], str]:
        with monkeypatch.context() as patched:
            patched.chdir(stage.folder / "clone")
            for name, text in stage.environment(**changed).items():
                if name.startswith(("PROMOTER_", "MLFLOW_")):
                    patched.setenv(name, text)
            patched.setattr(sys, "argv", ["promoter", *arguments, "--format", "json"])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = capsys.readouterr()
            assert "Traceback" not in err
            return int(str(ended.value.code or 0)), json.loads(out or "{}"), err

    return promoter


def settle(stage: Stage, run: Run, model: str, version: int = 1) -> None:
    """An approved version is champion by git's word, and the ledger knows it."""
    begin_ledger(stage.database)
    for number in range(1, version + 1):
        assert stage.version(model, 0.95, approved_by="risk") == number
    stage.commit(STATED.format(model=model, version=version), champion=POLICY)
    stage.git("clone", "--quiet", str(stage.remote.path), str(stage.folder / "clone"))
    code, _, warnings = run(stage, "apply")
    assert (code, stage.aliases(model)) == (0, {"champion": version}), warnings


def register_anew(stage: Stage, model: str) -> None:
    """Delete the model, and register another under its name, with a v1 that nobody approved."""
    stage.client.delete_registered_model(model)
    assert stage.version(model, 0.10) == 1


def replacements(stage: Stage, model: str) -> list[tuple[int | None, int | None]]:
    """What the ledger tells of numbers that stand for other versions."""
    found = (each.fact for each in stage.records(model) if each.fact.kind is RecordKind.REPLACED)
    return [(each.from_version, each.to_version) for each in found]


def writes(stage: Stage, model: str) -> int:
    """How often Promoter wrote an alias of the model."""
    return sum(each.fact.outcome is ChangeOutcome.APPLIED for each in stage.records(model))


def test_the_commands_gate_a_model_that_was_registered_anew(stage: Stage, run: Run, fresh_name: str) -> None:
    """`plan` and `apply` block its v1, which nobody approved, with exit code 3, and tell that it is another one."""
    settle(stage, run, fresh_name)
    register_anew(stage, fresh_name)
    for command in ("plan", "apply", "apply", "plan"):
        code, told, _ = run(stage, command)
        assert (code, stage.aliases(fresh_name)) == (3, {}), command
        (blocked,) = told["blocked"]
        assert "v1 is another one" in blocked["reason"]
        assert "the model was registered anew" in blocked["reason"]
        assert [change["cause"] for change in told["changes"]] == ["commit"]
    assert (replacements(stage, fresh_name), writes(stage, fresh_name)) == ([(1, 1)], 1)


def told_once(stage: Stage, daemon: Daemon, model: str) -> None:
    """Wait until the daemon has recorded the replacement, and shows it on the page and in the API."""
    until(lambda: replacements(stage, model), "the replacement is recorded", told=daemon.log)
    until(lambda: "v1 is another one" in str(daemon.ask(f"/api/v1/models/{model}")[1]), "the API tells", told=daemon.log)
    assert "version replaced" in daemon.log()


def test_the_daemon_never_puts_another_version_back_as_drift(stage: Stage, run: Run, fresh_name: str) -> None:
    """It blocks it, tells of it once, and lets it through as soon as it is approved itself."""
    settle(stage, run, fresh_name)
    register_anew(stage, fresh_name)
    daemon = stage.daemon()
    told_once(stage, daemon, fresh_name)
    looks = len(stage.records(fresh_name))
    daemon.ask("/api/v1/reconcile", "POST")
    until(lambda: daemon.ask("/readyz")[0] == 200, "the daemon has looked", told=daemon.log)
    assert (stage.aliases(fresh_name), writes(stage, fresh_name), len(stage.records(fresh_name))) == ({}, 1, looks)
    stage.client.set_model_version_tag(fresh_name, "1", "approved_by", "risk")
    better = stage.version(fresh_name, 0.95, approved_by="risk")
    stage.commit(STATED.format(model=fresh_name, version=better))
    stage.until_at(fresh_name, {"champion": better}, daemon.log)


def test_an_alias_on_another_version_of_its_number_is_out_of_sync(stage: Stage, run: Run, fresh_name: str) -> None:
    """Somebody sets champion on the new v1 by hand: it is never agreed on, and `plan` goes on saying that it is blocked."""
    settle(stage, run, fresh_name)
    register_anew(stage, fresh_name)
    stage.by_hand(fresh_name, "champion", 1)
    for command in ("apply", "plan", "apply", "plan"):
        code, told, _ = run(stage, command)
        assert (code, [(each["from"], each["to"]) for each in told["changes"]]) == (3, [(1, 1)]), command
    moves = stage.moves(fresh_name, "champion")
    assert moves == [(None, 1), (1, 1)], "the alias moved to another version of the same number"
    stage.client.log_metric(stage.client.get_model_version(fresh_name, "1").run_id, "auc", 0.9)
    stage.client.set_model_version_tag(fresh_name, "1", "approved_by", "risk")
    assert (run(stage, "apply")[0], run(stage, "plan")[0]) == (0, 0)


def test_a_model_that_is_renamed_away_and_back_is_the_same(stage: Stage, run: Run, fresh_name: str) -> None:
    """Another model may have had its name meanwhile: what returns is put back as drift, without a new decision."""
    settle(stage, run, fresh_name)
    stage.client.delete_model_version_tag(fresh_name, "1", "approved_by")
    stage.client.rename_registered_model(fresh_name, fresh_name + "-away")
    stage.version(fresh_name, 0.10)
    assert run(stage, "apply")[0] == 3
    stage.client.delete_registered_model(fresh_name)
    stage.client.rename_registered_model(fresh_name + "-away", fresh_name)
    stage.client.delete_registered_model_alias(fresh_name, "champion")
    code, told, _ = run(stage, "apply")
    assert (code, [each["cause"] for each in told["changes"]]) == (0, ["drift"])
    assert stage.aliases(fresh_name) == {"champion": 1}


def test_a_version_that_was_deleted_is_told(stage: Stage, run: Run, fresh_name: str) -> None:
    """MLflow never gives its number again within the model: the alias stays blocked, and the ledger says what is gone."""
    settle(stage, run, fresh_name, 2)
    stage.client.delete_model_version(fresh_name, "2")
    assert stage.version(fresh_name, 0.10) == 3
    for _ in range(2):
        code, told, _ = run(stage, "apply")
        assert (code, stage.aliases(fresh_name)) == (3, {})
        assert "no version 2" in told["blocked"][0]["reason"]
    assert replacements(stage, fresh_name) == [(2, None)]
