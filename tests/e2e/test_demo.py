"""The demo's parts that need no whole system: careful training, and the edits that people make. `.ci/run` plays it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.yaml import YamlDocuments
from promoter.demo import training
from promoter.demo.git_edits import insert_alias_line
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.errors import PermanentError
from promoter.domain.proposal import RegistryEdit
from tests.support.shared_server import SharedMlflow

PROJECT = Path(__file__).parents[2]
MODEL = "fraud-detector"


def intents(registry: bytes) -> dict[str, AliasIntent]:
    """What that registry.yaml says, beside the project's own policies."""
    sources = {**WorkTree(PROJECT).read_sources(), "registry.yaml": registry}
    return dict(YamlDocuments().parse_declaration(sources, None).desired.listed[MODEL].aliases)


def test_people_and_promoter_edit_the_same_registry_file() -> None:
    """The project's own files are valid, and stay so when rotation, Carol and a guard have edited them in turn."""
    content = (PROJECT / "registry.yaml").read_bytes()
    assert {alias: intent.version for alias, intent in intents(content).items()} == {"champion": None, "challenger": None}
    for alias, version in (("challenger", 3), ("champion", 3)):
        content = YamlDocuments().edit_registry_file(content, RegistryEdit(MODEL, alias, version))
    text = insert_alias_line(content.decode(), "shadow", 4)
    hold = Hold(reason="a guard: failed 3 times", by="Promoter")
    found = intents(YamlDocuments().edit_registry_file(text.encode(), RegistryEdit(MODEL, "champion", 1, hold, (3,))))
    assert {alias: intent.version for alias, intent in found.items()} == {"champion": 1, "challenger": 3, "shadow": 4}
    champion = found["champion"]
    assert (champion.quarantine, champion.hold) == ({3}, hold)
    assert (champion.policy, champion.rotation) == ("champion", "commit")


def test_an_edit_without_its_place_is_refused() -> None:
    """A registry.yaml that is laid out otherwise is not edited by guess."""
    with pytest.raises(PermanentError, match="laid out"):
        insert_alias_line("models: {}\n", "shadow", 4)


@pytest.mark.slow
@pytest.mark.usefixtures("ambient_mlflow")
def test_training_logs_what_a_decision_needs(
    mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """A run with parameters, metrics and folds, its model with signature and example, and a version that knows its run."""
    for name, value in training.QUIET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    fitted = training.fit_recipe(training.WEAK)
    training.log_training_run(fitted, mlflow_server.uri, fresh_name, "alice")
    (logged,) = training.find_best_runs(mlflow_client, fresh_name, f"metrics.val_auc > {fitted.val_auc - 0.01}")
    assert training.find_best_runs(mlflow_client, fresh_name, f"metrics.val_auc > {fitted.val_auc}") == []
    version = training.register_model_version(mlflow_client, logged, fresh_name)
    again = training.register_model_version(mlflow_client, logged, fresh_name)
    assert (version, again) == (1, 2)
    run = mlflow_client.get_run(mlflow_client.get_model_version(fresh_name, "1").run_id)
    assert (run.info.run_id, run.info.status) == (logged.run_id, "FINISHED")
    assert run.data.params == {"n_estimators": "1", "max_depth": "1", "learning_rate": "0.1", "seed": "7"}
    assert run.data.metrics["val_auc"] == logged.val_auc == fitted.val_auc < training.REFUSED_BELOW
    assert run.data.metrics["p99_ms"] > 0
    folds = mlflow_client.get_metric_history(run.info.run_id, "fold_auc")
    assert [(each.step, each.value) for each in folds] == list(enumerate(fitted.fold_auc))
    assert [each.dataset.digest for each in run.inputs.dataset_inputs] == [logged.data_digest]

    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(f"models:/{fresh_name}/1")
    assert model.metadata.signature.inputs.input_names() == list(training.load_training_data().train.columns)
    assert model.metadata.saved_input_example_info is not None
    assert capfd.readouterr().out == ""


def test_the_story_wants_its_models_in_order() -> None:
    """Where the metrics do not stand as the story needs them, it is not begun."""
    even = {recipe.display_name: training.FittedModel(recipe, None, 0.96, (), 1.0) for recipe in training.ALL_RECIPES}
    with pytest.raises(PermanentError, match="do not rank"):
        training.check_score_order(even)
