"""The tabular example: its scripts as users run them, and Promoter with its files, from training to the audit of a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from promoter.cli.files import check_working_tree
from tests.support.shared_server import SharedMlflow
from tests.support.stage.newcomer import Newcomer

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "tabular"
LIBRARIES = ("scikit-learn", "xgboost", "lightgbm")
STEADY = """\
version: 1
candidates: {from: any, rank: {metric: val_auc, order: highest}}
rules: [{metric: fold_auc, beats: challenger, confidence: 0.95}]
"""
GUIDE = """\
import sys
import mlflow.sklearn
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier

X_train, y_train = make_classification(40, 4, random_state=0)
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run(run_name="gbm-v3"):
    model = GradientBoostingClassifier(n_estimators=1).fit(X_train, y_train)
    mlflow.sklearn.log_model(
        model,
        artifact_path="model",
        registered_model_name=sys.argv[2],
        input_example=X_train[:5],
        signature=mlflow.models.infer_signature(X_train, model.predict(X_train)),
    )
"""
OTHERS = """\
import sys
import mlflow.sklearn
from sklearn.linear_model import LinearRegression

mlflow.set_experiment(sys.argv[1])
with mlflow.start_run():
    mlflow.log_metric("val_auc", 0.99)
with mlflow.start_run():
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    mlflow.sklearn.log_model(model, name="model", pip_requirements=[], registered_model_name=sys.argv[2])
    mlflow.log_metric("other", 0.99)
with mlflow.start_run(tags={"library": "scikit-learn"}):
    mlflow.log_metric("val_auc", 0.98)
"""


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
    assert mlflow_client.get_model_version(newcomer.model, "1").tags["owner"] == "risk-team"
    register_worst_run(newcomer, mlflow_client)
    newcomer.state("challenger", 2)
    assert "beats challenger" in newcomer.promoter("apply", code=3)
    assert mlflow_client.get_registered_model(newcomer.model).aliases == {"challenger": "1", "champion": "1"}
    (newcomer.folder / "policies" / "steady.yaml").write_text(STEADY)
    assert "over 5 " in newcomer.promoter("explain", f"{newcomer.model}/2", "--policy", "steady", code=3)


def register_worst_run(newcomer: Newcomer, client: Any) -> None:
    """Register the model of the run that did worst, as somebody in a hurry would, with an approval."""
    experiment = client.get_experiment_by_name(newcomer.experiment).experiment_id
    run = client.search_runs([experiment], order_by=["metrics.val_auc ASC"], max_results=1)[0]
    logged = run.outputs.model_outputs[0].model_id
    tags = {"approved_by": "risk-team"}
    client.create_model_version(newcomer.model, f"models:/{logged}", run.info.run_id, tags=tags, model_id=logged)


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


def test_why_the_example_names_the_type_of_trees(newcomer: Newcomer, mlflow_client: Any) -> None:
    """The call that many guides show fails, with the words that the example's comment quotes, and registers nothing."""
    quoted = re.findall(r'# .*"(.*untrusted types)"', (EXAMPLE / "train.py").read_text())
    assert len(quoted) == 1
    (newcomer.folder / "guide.py").write_text(GUIDE)
    refused = newcomer.script("guide.py", newcomer.experiment, newcomer.model, code=1)
    assert quoted[0] in refused
    assert "['sklearn.tree._tree.Tree']" in refused
    assert not mlflow_client.search_model_versions(f"name = '{newcomer.model}'")


@pytest.mark.parametrize("example", ["tabular", "autolog"])
def test_xgboost_can_be_installed_everywhere(example: str) -> None:
    """`xgboost-cpu` has no build for a Mac, so the requirements name XGBoost itself there, and one of the two anywhere."""
    lines = (EXAMPLE.with_name(example) / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line.startswith("xgboost")]
    for platform, name in (("darwin", "xgboost"), ("linux", "xgboost-cpu"), ("win32", "xgboost-cpu")):
        chosen = [each.name for each in wanted if not each.marker or each.marker.evaluate({"sys_platform": platform})]
        assert chosen == [name]


@pytest.mark.parametrize("words", ["nobody/1", "nobody/x", "nobody", "nobody@champion", "/1"])
@pytest.mark.slow_except("nobody/1")
def test_an_audit_of_nothing(newcomer: Newcomer, words: str) -> None:
    """What is no version is answered in words, and never with a traceback."""
    refused = newcomer.script("audit.py", words, code=1 if words == "nobody/1" else 2)
    assert "Traceback" not in refused
    assert ("not found" if words == "nobody/1" else "NAME/VERSION") in refused


@pytest.mark.slow
def test_runs_of_others(newcomer: Newcomer, mlflow_client: Any) -> None:
    """A run without a model of train.py is not compared, and a version without run, metrics or example can be audited."""
    (newcomer.folder / "others.py").write_text(OTHERS)
    newcomer.script("others.py", newcomer.experiment, newcomer.model)
    select = ("--experiment", newcomer.experiment, "--model", newcomer.model)
    refused = newcomer.script("evaluate.py", *select, code=1)
    assert "no finished run" in refused
    assert "Traceback" not in refused
    source = mlflow_client.get_model_version(newcomer.model, "1").source
    mlflow_client.create_model_version(newcomer.model, source, model_id=source.removeprefix("models:/"))
    for number in (1, 2):
        assert "logged without an example" in newcomer.script("audit.py", f"{newcomer.model}/{number}")


def test_nothing_to_compare(newcomer: Newcomer) -> None:
    """Without the experiment there is no run, and a person is told what to do."""
    refused = newcomer.script("evaluate.py", "--experiment", "no-such-experiment", code=1)
    assert "Traceback" not in refused
    assert "train.py first" in refused
