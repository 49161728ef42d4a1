"""A number that stands for another version than the approved one, on a real MLflow server: the daemon and the commands."""

from __future__ import annotations

from promoter.domain.audit import ChangeOutcome
from tests.support.stage.stage import Daemon, Stage, until
from tests.support.stage.versions import STATED, Run, replacements, run, settle

__all__ = ["run"]


def register_anew(stage: Stage, model: str) -> None:
    """Delete the model, and register another under its name, with a v1 that nobody approved."""
    stage.client.delete_registered_model(model)
    assert stage.version(model, 0.10) == 1


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
