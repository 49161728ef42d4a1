"""The tabular example: its scripts as users run them, and Promoter with its files, from training to the audit of a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from promoter.cli.files import check_working_tree
from tests.support.shared_server import SharedMlflow
from tests.support.stage.newcomer import Newcomer

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "tabular"
LIBRARIES = ("scikit-learn", "xgboost", "lightgbm")


@pytest.fixture
def newcomer(tmp_path: Path, mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str) -> Iterator[Newcomer]:
    """Their model and experiment are gone afterwards."""
    someone = Newcomer(EXAMPLE, tmp_path / "copy", mlflow_server.uri, ("fraud-detector", fresh_name))
    yield someone
    experiment = mlflow_client.get_experiment_by_name(someone.experiment)
    if experiment:
        mlflow_client.delete_experiment(experiment.experiment_id)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.slow
def test_from_training_to_an_audit(newcomer: Newcomer, mlflow_client: Any, library: str) -> None:
    """Train, compare, register; Promoter blocks what nobody approved, then moves both aliases; the version loads by number."""
    trained = newcomer.script("train.py", "--experiment", newcomer.experiment, "--library", library)
    scores = [float(score) for score in re.findall(r"val_auc (\d\.\d+)", trained)]
    assert len(scores) == 4
    select = ("--experiment", newcomer.experiment, "--model", newcomer.model)
    registered = newcomer.script("evaluate.py", *select)
    assert f"registered {newcomer.model} v1, val_auc {max(scores):.4f}" in registered
    assert newcomer.script("evaluate.py", *select).endswith(f"the best run is {newcomer.model} v1 already\n")
    newcomer.promoter("init", "--ledger")
    newcomer.state("challenger", 1)
    newcomer.promoter("apply")
    newcomer.state("champion", 1)
    assert "tag approved_by" in newcomer.promoter("apply", code=3)
    assert mlflow_client.get_registered_model(newcomer.model).aliases == {"challenger": "1"}
    mlflow_client.set_model_version_tag(newcomer.model, "1", "approved_by", "risk-team")
    newcomer.promoter("apply")
    assert mlflow_client.get_registered_model(newcomer.model).aliases == {"challenger": "1", "champion": "1"}
    audited = newcomer.script("audit.py", f"{newcomer.model}/1")
    assert f"val_auc {max(scores):.4f}" in audited
    assert "for the 5 rows that it was logged with" in audited


@pytest.mark.slow
def test_autolog_is_a_switch(newcomer: Newcomer, mlflow_client: Any) -> None:
    """With it, a run has what MLflow finds besides; the best version is chosen as without."""
    newcomer.script("train.py", "--experiment", newcomer.experiment, "--autolog")
    newcomer.script("evaluate.py", "--experiment", newcomer.experiment, "--model", newcomer.model)
    run = mlflow_client.get_run(mlflow_client.get_model_version(newcomer.model, "1").run_id)
    assert {"val_auc", "fold_auc", "training_roc_auc"} <= run.data.metrics.keys()
    assert "subsample" in run.data.params


def test_the_files_are_right() -> None:
    """They are valid, and every policy does what its cases expect."""
    declaration, cases = check_working_tree(EXAMPLE)
    assert set(declaration.policies) == {"champion", "challenger"}
    assert sum(len(file.cases) for file in cases) == 6


def test_the_workflows_are_those_of_the_guide() -> None:
    """What docs/ci.md shows, and no other action or template."""
    guide = (PROJECT / "docs" / "ci.md").read_text()
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    for name in (".github/workflows/promoter.yml", ".gitlab-ci.yml"):
        assert yaml.safe_load((EXAMPLE / name).read_text()) in shown


def test_why_the_example_names_the_type_of_trees(tmp_path: Path) -> None:
    """MLflow refuses to store gradient boosting as it is, with the words that the example's comment has."""
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=1).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(MlflowException, match="untrusted types"):
        mlflow.sklearn.save_model(model, str(tmp_path / "model"), pip_requirements=[])
    assert '("untrusted types")' in (EXAMPLE / "train.py").read_text()
