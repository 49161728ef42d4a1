"""The autolog example: what autolog logs is what its README says, and its policies promote by that."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from promoter.cli.files import check_working_tree
from tests.support.shared_server import SharedMlflow
from tests.support.stage.newcomer import Newcomer

EXAMPLE = Path(__file__).parents[2] / "examples" / "autolog"
LIBRARIES = ("scikit-learn", "xgboost", "lightgbm", "keras", "lightning")
WITHOUT_LIGHTNING = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("lightning")),
    reason="PyTorch and Lightning are not installed: examples/autolog/requirements-lightning.txt",
)


def read_documented_metrics(library: str) -> set[str]:
    """The names of the metrics of held-back rows, in the library's line of the README's table."""
    (line,) = re.findall(rf"^\| {library} \|(.*?)\|", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    return {name for name in re.findall("`(.*?)`", line) if re.search("score_|val", name) and name not in {"val", "evals"}} - {
        "valid_names"
    }


@pytest.mark.parametrize("library", [*LIBRARIES[:-1], pytest.param("lightning", marks=WITHOUT_LIGHTNING)])
@pytest.mark.slow
def test_the_policy_reads_what_autolog_logs(
    tmp_path: Path, mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str, library: str
) -> None:
    """The larger model takes over from the smaller one, and not the other way round."""
    newcomer = Newcomer(EXAMPLE, tmp_path / "copy", mlflow_server.uri, (f"digits-{library}", fresh_name))
    for version, size in enumerate((2, 12), 1):
        select = ("--experiment", newcomer.experiment, "--model", newcomer.model, "--size", str(size))
        assert newcomer.script("train.py", library, *select).endswith(f"registered {newcomer.model} v{version}\n")
    first = mlflow_client.get_model_version(newcomer.model, "1")
    mlflow_client.create_model_version(
        newcomer.model, first.source, first.run_id, model_id=first.source.removeprefix("models:/")
    )
    newcomer.promoter("init", "--ledger")
    for version, code in ((1, 0), (2, 0), (3, 3)):
        newcomer.state("champion", version)
        newcomer.promoter("apply", code=code)
    assert mlflow_client.get_registered_model(newcomer.model).aliases == {"champion": "2"}
    run = mlflow_client.get_run(first.run_id)
    assert read_documented_metrics(library) <= run.data.metrics.keys()
    assert bool(run.inputs.dataset_inputs) == (library != "lightning")
    mlflow_client.delete_experiment(run.info.experiment_id)


def test_the_files_are_right() -> None:
    """They are valid, and there is a policy with cases for each library."""
    declaration, cases = check_working_tree(EXAMPLE)
    assert set(declaration.policies) == set(LIBRARIES)
    assert [len(file.cases) for file in cases] == [4] * 5
    assert all(read_documented_metrics(library) for library in LIBRARIES)
