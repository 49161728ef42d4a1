"""Workspaces of a real MLflow server: a Promoter works in one of them, and so does its ledger."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import MakeStage
from tests.support.fixtures.ledger import begin_ledger
from tests.support.fixtures.workspaces import MODEL, Workspace, WorkspacesMlflow
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import POLICY, Stage, until
from tests.support.stage.versions import Run, run

__all__ = ["run"]

Teams = tuple[Workspace, Workspace]
STATED = f"{MODEL}: {{aliases: {{champion: 2}}}}"


@pytest.fixture
def stage(make_stage: MakeStage, teams: Teams) -> Stage:
    """A repository that states v2 as the champion, and a ledger that is about nothing yet."""
    stage = make_stage(client=teams[0].client, uri=teams[0].uri)
    begin_ledger(stage.database)
    stage.commit(STATED, champion=POLICY)
    stage.git("clone", "--quiet", str(stage.remote.path), str(stage.folder / "clone"))
    return stage


def test_one_ledger_serves_one_workspace(stage: Stage, run: Run, teams: Teams) -> None:
    """`apply` moves the alias of its own team only; with the other team's workspace, or none, the same ledger refuses."""
    own, other = teams
    code, _, words = run(stage, "apply", **own.environment)
    assert (code, own.aliases(), other.aliases()) == (0, {"champion": 2}, {}), words
    for elsewhere in (other.name, ""):
        code, _, words = run(stage, "apply", MLFLOW_WORKSPACE=elsewhere)
        assert (code, other.aliases()) == (1, {})
        assert f"this ledger is about workspace {own.name} of {own.uri}" in words
        assert f"this Promoter works in workspace {elsewhere or 'default'}" in words
        assert "set MLFLOW_WORKSPACE to the workspace of this ledger" in words
        code, shown, _ = run(stage, "registry", "show", MLFLOW_WORKSPACE=elsewhere)
        assert (code, shown["workspace"]) == (1, elsewhere or "default")
        assert own.name in shown["mismatch"]
    assert "warning: this ledger is about workspace" in run(stage, "plan", **other.environment)[2]
    code, shown, _ = run(stage, "registry", "show", **own.environment)
    assert (code, shown["workspace"], shown["mismatch"]) == (0, own.name, None)
    code, shown, _ = run(stage, "registry", "accept", "--reason", "moved", "--by", "alice", **other.environment)
    assert (code, shown["workspace"], shown["accepted_by"]) == (0, other.name, "alice")
    assert run(stage, "apply", **other.environment)[0] == 0
    assert other.aliases() == {"champion": 2}
    assert run(stage, "apply", **own.environment)[0] == 1


@pytest.mark.slow
def test_a_workspace_that_is_not_there(stage: Stage, run: Run, workspaces: WorkspacesMlflow) -> None:
    """No command takes it for a registry in which every model is gone; each says what is wrong."""
    missing = f"{workspaces.prefix}-nobody"
    for command in (["apply"], ["plan"], ["explain", f"{MODEL}@champion"], ["registry", "show"]):
        code, _, words = run(stage, *command, MLFLOW_WORKSPACE=missing)
        assert code == 1, command
        assert f"there is no workspace {missing} at {workspaces.uri}" in words or f"Workspace '{missing}' not found" in words
    checks = {each["name"]: each for each in run(stage, "doctor", MLFLOW_WORKSPACE=missing)[1]["checks"]}
    assert (checks["MLflow"]["good"], checks["registry"]["good"]) == (False, False)
    assert "not found" in checks["MLflow"]["said"]
    assert checks["registry"]["fix"] == "set MLFLOW_WORKSPACE to another one, or create it in MLflow"
    assert "MLFLOW_WORKSPACE" in checks["MLflow"]["fix"]
    code, _, words = run(stage, "apply", MLFLOW_WORKSPACE="Team A")
    assert (code, "MLFLOW_WORKSPACE must be the name of a workspace" in words) == (1, True)
    assert stage.records(MODEL) == []


@pytest.mark.slow
def test_a_server_without_workspaces_has_none_to_name(
    stage: Stage, run: Run, teams: Teams, mlflow_server: SharedMlflow
) -> None:
    """A name of one is refused in words; without one, nothing is said of workspaces."""
    elsewhere = {"MLFLOW_TRACKING_URI": mlflow_server.uri}
    code, _, words = run(stage, "apply", **elsewhere, MLFLOW_WORKSPACE=teams[0].name)
    assert code == 1
    assert f"MLFLOW_WORKSPACE names the workspace {teams[0].name}, and {mlflow_server.uri} has no workspaces" in words
    assert "unset MLFLOW_WORKSPACE" in words
    checks = {each["name"]: each for each in run(stage, "doctor", **elsewhere, MLFLOW_WORKSPACE=teams[0].name)[1]["checks"]}
    assert (checks["MLflow"]["good"], checks["registry"]["good"]) == (False, False)
    code, shown, _ = run(stage, "registry", "show", **elsewhere)
    assert (code, "workspace" in shown) == (0, False)


@pytest.mark.slow
def test_the_daemon_names_its_workspace(stage: Stage, run: Run, teams: Teams) -> None:
    """In its answers, on its page, in records, events and exports; and it leaves the other team's model alone."""
    own, other = teams
    other.client.set_registered_model_alias(MODEL, "champion", "1")
    daemon = stage.daemon(**own.environment)
    until(lambda: own.aliases() == {"champion": 2}, "the alias is set", told=daemon.log)
    assert daemon.until_ready()["workspace"] == own.name
    assert daemon.ask("/api/v1/models")[1]["workspace"] == own.name
    with urlopen(daemon.url, timeout=10) as page:
        assert f'<dt>Workspace</dt><dd class="code">{own.name}</dd>' in page.read().decode()
    assert {each.fact.workspace for each in stage.records(MODEL)} == {own.name}
    lines = export(stage, "jsonl")
    bindings = [line for line in lines if line.get("event") == "registry"]
    assert [each["workspace"] for each in bindings] == [own.name]
    assert {line["workspace"] for line in lines if line.get("table") == "records"} == {own.name}
    events = export(stage, "cloudevents", **own.environment)
    assert [each["data"]["workspace"] for each in events] == [own.name]
    assert events[0]["data"]["links"]["version"].endswith(f"/#/models/{MODEL}/versions/2?workspace={own.name}")
    assert other.aliases() == {"champion": 1}
    assert daemon.stop() == 0
    assert run(stage, "audit", "verify")[1]["sound"]
    refused = stage.daemon(**other.environment)
    assert f"this ledger is about workspace {own.name}" in refused.until_trouble("ledger")
    assert refused.ask("/readyz")[1]["workspace"] == other.name
    assert other.aliases() == {"champion": 1}


@pytest.mark.slow
def test_webhooks_are_of_a_workspace(stage: Stage, run: Run, teams: Teams) -> None:
    """Installed within it; what another team's webhook sends to the same daemon is not for it, though it has the secret."""
    own, other = teams
    daemon = stage.daemon(**own.environment, PROMOTER_POLL_INTERVAL="1h")
    until(lambda: own.aliases() == {"champion": 2}, "the alias is set", told=daemon.log)
    for team in teams:
        assert run(stage, "webhooks", "install", "--url", daemon.url, **team.environment)[1]["outcome"] == "created"
        (listed,) = run(stage, "webhooks", "list", **team.environment)[1]["webhooks"]
        assert listed["url"] == f"{daemon.url}/webhooks/mlflow"

    def heard(team: Workspace, result: str) -> bool:
        # MLflow remembers webhooks by their events only: just after a write in one workspace, one in another is not sent.
        team.client.set_model_version_tag(MODEL, "1", "seen", "yes")
        time.sleep(1.5)
        return f"result={result}" in daemon.log()

    until(lambda: heard(other, "'not for us'"), "the other team's webhook is heard", told=daemon.log)
    assert "result=accepted" not in daemon.log()
    until(lambda: heard(own, "accepted"), "the own team's webhook is heard", told=daemon.log)
    own.client.set_registered_model_alias(MODEL, "champion", "1")
    until(lambda: heard(own, "accepted") and own.aliases() == {"champion": 2}, "it is put back", told=daemon.log)
    assert [each.trigger.partition(":")[0] for each in (r.fact for r in stage.records(MODEL)) if each.trigger][-1] == "webhook"
    assert other.aliases() == {}


FROM_DEV = f"promote_from: {{registry: dev, model: {MODEL}, alias: candidate}}"
COPYING = f"served: {{aliases: {{champion: {{policy: copied, rotation: commit, {FROM_DEV}}}}}}}"
COPIED = b"""version: 1
rules:
  - {tag: promoter.source.registry, equals: dev, copied: accept}
  - {metric: auc, at_least: 0.8}
"""


@pytest.mark.slow
def test_versions_come_from_another_workspace(stage: Stage, run: Run, teams: Teams) -> None:
    """Of the same server: run, metrics, artifact and version travel to the own one, and nothing is written to the other."""
    own, dev = teams
    dev.client.set_registered_model_alias(MODEL, "candidate", "2")
    stage.commit(COPYING, copied=COPIED)
    named = {"PROMOTER_REGISTRIES": json.dumps({"dev": dev.uri}), "PROMOTER_REGISTRY_DEV_WORKSPACE": dev.name}
    before = dev.client.search_experiments(), dev.client.search_registered_models()
    daemon = stage.daemon(**own.environment, **named)
    until(lambda: "served" in {each.name for each in own.client.search_registered_models()}, "it is copied", told=daemon.log)
    until(lambda: own.aliases("served") == {"champion": 1}, "the copy is champion", told=daemon.log)
    copy = own.client.get_model_version("served", "1")
    assert (copy.tags["promoter.source.registry"], copy.tags["promoter.source.version"]) == ("dev", "2")
    assert own.client.get_run(copy.run_id).data.metrics == {"auc": 0.9}
    assert own.client.get_model_version_download_uri("served", "1").startswith(f"mlflow-artifacts:/workspaces/{own.name}/")
    assert [each.path for each in own.client.list_artifacts(copy.run_id, "model")] == ["model/MLmodel"]
    after = dev.client.search_experiments(), dev.client.search_registered_models()
    assert [[each.name for each in found] for found in after] == [[each.name for each in found] for found in before]
    (record,) = [each.fact for each in stage.records("served") if each.fact.outcome == "applied"]
    assert record.copied_from
    assert (record.workspace, record.copied_from["registry"]) == (own.name, "dev")
    assert daemon.stop() == 0
    checks = {each["name"]: each["said"] for each in run(stage, "doctor", **own.environment, **named)[1]["checks"]}
    assert checks["registry dev"] == f"answers: 1 model can be read in workspace {dev.name}"
    subprocess.run(["git", "-C", str(stage.folder / "clone"), "pull", "--quiet"], check=True)
    itself = named | {"PROMOTER_REGISTRY_DEV_WORKSPACE": own.name}
    assert "it is this registry itself" in json.dumps(run(stage, "explain", "served@champion", **own.environment, **itself))


@pytest.mark.slow
def test_the_own_workspace_is_not_named_to_another_server(
    stage: Stage, teams: Teams, mlflow_server: SharedMlflow, passing_client: Any, fresh_name: str
) -> None:
    """It has no workspaces, and would refuse the name."""
    own, _ = teams
    make_version(passing_client, fresh_name, {"auc": 0.9})
    passing_client.set_registered_model_alias(fresh_name, "candidate", "1")
    stage.commit(COPYING.replace(MODEL, fresh_name), copied=COPIED)
    daemon = stage.daemon(**own.environment, PROMOTER_REGISTRIES=json.dumps({"dev": mlflow_server.uri}))
    until(lambda: "served" in {each.name for each in own.client.search_registered_models()}, "it is copied", told=daemon.log)
    until(lambda: own.aliases("served") == {"champion": 1}, "the copy is champion", told=daemon.log)


def export(stage: Stage, form: str, **environment: str) -> list[dict[str, Any]]:
    """The lines of `promoter audit export`."""
    words = ["audit", "export", "--format", form]
    done = stage.warm.run("promoter", words, stage.folder, stage.environment(**environment))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
