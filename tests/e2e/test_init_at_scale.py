"""`promoter init` on a real server with 300 models: with stages, with aliases, with both and with neither."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.demo.servers.mlflow import MlflowServer
from tests.support.fixtures.git import git

MODELS, VERSIONS = 300, 8
BEGIN = 1_760_000_000_000
Command = Callable[..., tuple[int, str]]
Values = dict[tuple[str, int], float]


def draw_models() -> Iterator[tuple[str, str]]:
    """Names and metrics of the models: a family of forecasts, and classifiers of many names."""
    for number in range(MODELS):
        yield (f"demand-{number:03}", "val_rmse") if number < 120 else (f"fraud {number} é", "val_auc")


def draw_value(chance: random.Random, metric: str) -> float:
    """A measurement: every other version is no better than the one before it."""
    return round(chance.uniform(8, 14), 4) if metric == "val_rmse" else round(chance.uniform(0.8, 0.97), 4)


def seed(database: Path) -> Values:
    """Write the rows that MLflow itself writes, all at once, and return the deciding metric of each version."""
    chance = random.Random(15)
    rows: dict[str, list[dict[str, Any]]] = {}
    values: Values = {}
    for index, (name, metric) in enumerate(draw_models()):
        rows.setdefault("registered_models", []).append({"name": name, "creation_time": BEGIN, "last_updated_time": BEGIN})
        rows.setdefault("registered_model_tags", []).append({"name": name, "key": "owner", "value": "risk, fraud"})
        stages = {1: "Archived", 4: "Production", 5: "Production", 6: "Staging"} if index % 3 == 0 or index % 15 == 1 else {}
        for alias, version in {"champion": 3, "challenger": 7}.items() if index % 3 == 1 else ():
            rows.setdefault("registered_model_aliases", []).append({"name": name, "alias": alias, "version": version})
        for version in range(1, VERSIONS + 1):
            run, at = f"{index:016x}{version:016x}", BEGIN + version * 3_600_000
            values[name, version] = draw_value(chance, metric)
            rows.setdefault("runs", []).append(
                {"run_uuid": run, "name": run, "source_type": "LOCAL", "status": "FINISHED", "start_time": at, "end_time": at}
                | {
                    "lifecycle_stage": "active",
                    "artifact_uri": f"mlflow-artifacts:/0/{run}",
                    "experiment_id": 0,
                    "user_id": "a",
                }
            )
            for key, value in {metric: values[name, version], "training_loss": 0.1, "p99_ms": 40.0}.items():
                point = {"run_uuid": run, "key": key, "value": value, "timestamp": at, "step": 0, "is_nan": 0}
                rows.setdefault("metrics", []).append(point)
                rows.setdefault("latest_metrics", []).append(point)
            rows.setdefault("model_versions", []).append(
                {"name": name, "version": version, "creation_time": at, "last_updated_time": at, "run_id": run}
                | {"current_stage": stages.get(version, "None"), "source": f"mlflow-artifacts:/0/{run}/m", "status": "READY"}
            )
            tag = {"name": name, "version": version, "key": "approved_by", "value": "risk"}
            rows.setdefault("model_version_tags", []).append(tag)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for table, found in rows.items():
            columns, places = ", ".join(found[0]), ", ".join(f":{column}" for column in found[0])
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", found)
    return values


@pytest.fixture
def promoter(
    own_mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command in an empty clone, against the server: exit code, and output."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own_mlflow_server.uri)
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'promoter.db'}")

    def ran(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["promoter", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(str(ended.value.code or 0)), out if not err else out + err

    return ran


def count_promotions(promoter: Command, policy: str, alias: str, values: Values, *, lowest: bool) -> tuple[int, int]:
    """Replay a policy over all versions of its models: promotions, and those to a version that is no better."""
    glob = "demand-*" if lowest else "fraud *"
    words = ("--policy", policy, "--alias", alias, "--model", glob, "--since", "3000d", "--format", "json")
    code, out = promoter("replay", *words)
    assert code == 0, out
    promoted = worse = 0
    for model in json.loads(out)["models"]:
        held = [span["version"] for each in model["replays"] for span in each["spans"] if span["version"]]
        measured = [values[model["model"], version] for version in held]
        promoted += len(held)
        worse += sum(after >= before if lowest else after <= before for before, after in pairwise(measured))
    return promoted, worse


@pytest.mark.slow
def test_a_registry_of_300_models(
    promoter: Command, own_mlflow_server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files validate, the plan is empty, the policies' tests pass, and a replay promotes no worse version."""
    values = seed(own_mlflow_server.folder / "mlflow.db")
    code, out = promoter("init")
    assert code == 0, out
    assert "Family demand-*: 120 models" in out
    assert "--from-stages" in out
    for words in (["validate"], ["policy", "test", "--require-coverage"], ["plan"]):
        code, out = promoter(*words)
        assert code == 0, out
    counted = {}
    for kind, lowest in (("", False), ("-val-rmse", True)):
        for alias in ("champion", "challenger"):
            counted[alias + kind] = count_promotions(promoter, alias + kind, alias, values, lowest=lowest)
    file = Path("policies/challenger.yaml")
    file.write_text(re.sub(r".*beats: challenger.*\n", "", file.read_text()))
    without = count_promotions(promoter, "challenger", "challenger", values, lowest=False)
    with capsys.disabled():
        sys.stdout.write(f"\nPromotions, and those to a worse version: {counted}; challenger without `beats`: {without}\n")
    assert {worse for _, worse in counted.values()} == {0}
    assert all(promoted > 0 for promoted, _ in counted.values())
    assert without[1] > 0, "without `beats: challenger` it rotates to worse versions"


@pytest.mark.slow
def test_the_stages_of_300_models(promoter: Command, own_mlflow_server: MlflowServer) -> None:
    """With --from-stages the plan is exactly the aliases that stages become; once they are set, it is empty."""
    seed(own_mlflow_server.folder / "mlflow.db")
    code, out = promoter("init", "--from-stages")
    assert code == 0, out
    assert "200 aliases of them come from stages" in out
    assert "champion is v3 already" in out
    assert promoter("validate")[0] == 0
    code, out = promoter("plan", "--format", "json")
    plan = json.loads(out)
    changes = {(each["model"], each["alias"], each["from"], each["to"]) for each in plan["changes"]}
    names = [name for index, (name, _) in enumerate(draw_models()) if index % 3 == 0]
    assert changes == {(name, alias, None, to) for name in names for alias, to in (("champion", 5), ("challenger", 6))}
    assert (code, plan["blocked"]) == (2, []), out[-2_000:]
    client = create_mlflow_client(own_mlflow_server.uri)
    for model, alias, _, to in sorted(changes):
        client.set_registered_model_alias(model, alias, str(to))
    assert promoter("plan")[0] == 0
