"""A data scientist's work: fit a small grid that finds fraud, log each fit with its metrics, compare the runs, register one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from promoter.domain.errors import PermanentError
from promoter.domain.text import plural

SEED = 7
FOLDS = 3
TIMED_CALLS = 50
LIBRARY = "scikit-learn"
SCORE_DIGITS = 4
REFUSED_BELOW, SERVES_FROM, MARGIN = 0.90, 0.95, 0.005
"""What `policies/` ask of val_auc."""
BEST_FIRST, COMPARED_RUNS = "metrics.val_auc DESC", 5
QUIET_ENVIRONMENT = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


@dataclass(frozen=True)
class ModelRecipe:
    """Gradient boosting with these hyperparameters."""

    trees: int
    """How many trees."""
    depth: int
    """How deep each of them is."""
    learning_rate: float = 0.2
    """How much each tree counts."""

    @property
    def display_name(self) -> str:
        """Return the name that people read."""
        return f"{self.trees} {plural(self.trees, 'tree')} of depth {self.depth}"

    @property
    def parameters(self) -> dict[str, float]:
        """Return the hyperparameters as scikit-learn names them."""
        return {"n_estimators": self.trees, "max_depth": self.depth, "learning_rate": self.learning_rate}


FIRST_GRID = tuple(ModelRecipe(trees, depth) for trees in (1, 10) for depth in (1, 3))
SECOND_GRID = tuple(ModelRecipe(trees, depth) for trees in (20, 40) for depth in (2, 3))
FIRST, WEAK, BETTER, NO_BETTER = ModelRecipe(10, 3), ModelRecipe(1, 1), ModelRecipe(40, 3), ModelRecipe(40, 2)
ANOTHER = ModelRecipe(40, 4, learning_rate=0.3)
ALL_RECIPES = (*FIRST_GRID, *SECOND_GRID, ANOTHER)
COLUMNS = ("amount", "hour", "age_of_account", "distance", "failed_logins", "items", "refunds", "device_age")


@dataclass(frozen=True)
class TrainingData:
    """Payments (fraud 1, honest 0), split into rows to learn from and rows to measure on."""

    train: Any
    """The rows to learn from."""
    train_answers: Any
    """Their labels."""
    validation: Any
    """The rows to measure on."""
    validation_answers: Any
    """Their labels."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted model with its measurements."""

    recipe: ModelRecipe
    """What was fitted."""
    model: Any
    """The fitted estimator."""
    val_auc: float
    """The area under the ROC curve on the validation rows."""
    fold_auc: tuple[float, ...]
    """The same on each fold of the training rows."""
    p99_ms: float
    """The CPU time of one prediction in milliseconds, 99th percentile."""


@dataclass(frozen=True)
class LoggedTraining:
    """A run, and the model that it logged."""

    run_id: str
    """The run."""
    run_name: str
    """The name that people read."""
    model_id: str
    """The logged model."""
    data_digest: str
    """The digest of the data set that it learned from."""
    val_auc: float
    """The area under the ROC curve on the validation rows."""


@cache
def load_training_data() -> TrainingData:
    """Return 2,000 made-up payments, of which one in eight is fraud, with the same split every time."""
    import pandas as pd
    from sklearn.datasets import make_classification
    from sklearn.model_selection import train_test_split

    rows, answers = make_classification(
        2_000, len(COLUMNS), n_informative=5, weights=[0.875], class_sep=1.4, flip_y=0, random_state=SEED
    )
    # Answers are floats: whole numbers would leave no room in the signature for one that is missing.
    features, labels = pd.DataFrame(rows, columns=list(COLUMNS)), pd.Series(answers.astype(float), name="fraud")
    parts = train_test_split(features, labels, test_size=0.3, stratify=labels, random_state=SEED)
    return TrainingData(parts[0], parts[2], parts[1], parts[3])


def fit_all_recipes(
    recipes: Iterable[ModelRecipe], progress: Callable[[int], None] = lambda _done: None
) -> dict[str, FittedModel]:
    """Fit and measure each recipe, and return the models by name. `progress` is called with the number done."""
    fitted: dict[str, FittedModel] = {}
    for recipe in recipes:
        fitted[recipe.display_name] = fit_recipe(recipe)
        progress(len(fitted))
    return fitted


def fit_recipe(recipe: ModelRecipe) -> FittedModel:
    """Fit on the training rows; measure on the validation rows, and on folds of the training rows."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rows = load_training_data()
    model = _build_learner(recipe).fit(rows.train, rows.train_answers)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    scores = cross_val_score(_build_learner(recipe), rows.train, rows.train_answers, cv=folds, scoring="roc_auc")
    return FittedModel(
        recipe=recipe,
        model=model,
        val_auc=round(float(roc_auc_score(rows.validation_answers, model.predict_proba(rows.validation)[:, 1])), SCORE_DIGITS),
        fold_auc=tuple(round(float(score), SCORE_DIGITS) for score in scores),
        p99_ms=_measure_p99_latency(model, rows.validation.head(1)),
    )


def log_training_run(fitted: FittedModel, tracking_uri: str, experiment: str, author: str) -> None:
    """Log a run with parameters, metrics, the data set, and the model with its signature and an input example.

    The run is finished on return.
    """
    import mlflow
    import mlflow.sklearn
    import sklearn
    from mlflow.models import infer_signature

    rows = load_training_data()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(experiment)
    tags = {"mlflow.user": author, "library": LIBRARY}
    with mlflow.start_run(run_name=fitted.recipe.display_name, tags=tags):
        mlflow.log_params({**fitted.recipe.parameters, "seed": SEED})
        mlflow.log_input(_describe_training_data(), context="train")
        mlflow.log_metrics({"val_auc": fitted.val_auc, "p99_ms": fitted.p99_ms})
        for step, score in enumerate(fitted.fold_auc):
            mlflow.log_metric("fold_auc", score, step=step)
        mlflow.sklearn.log_model(
            fitted.model,
            name="model",
            signature=infer_signature(rows.train, fitted.model.predict(rows.train)),
            input_example=rows.train.head(3),
            # Named, since MLflow would otherwise load the model in another process to find out what it imports.
            pip_requirements=[f"scikit-learn=={sklearn.__version__}", "pandas", "skops"],
            # A format that runs no code when it is loaded; the one compiled type that trees are stored in is let through.
            serialization_format="skops",
            skops_trusted_types=["sklearn.tree._tree.Tree"],
        )


def find_best_runs(client: Any, experiment: str, filter_string: str) -> list[LoggedTraining]:
    """Return the five best of the runs that the filter lets through, the highest `val_auc` first."""
    found = client.search_runs(
        experiment_ids=[client.get_experiment_by_name(experiment).experiment_id],
        filter_string=filter_string,
        order_by=[BEST_FIRST],
        max_results=COMPARED_RUNS,
    )
    return [
        LoggedTraining(
            run_id=run.info.run_id,
            run_name=run.info.run_name,
            model_id=run.outputs.model_outputs[0].model_id,
            data_digest=run.inputs.dataset_inputs[0].dataset.digest,
            val_auc=run.data.metrics["val_auc"],
        )
        for run in found
    ]


def register_model_version(client: Any, logged: LoggedTraining, name: str) -> int:
    """Register the next version, and the model where it does not exist yet. Return the number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{logged.model_id}"
    made = client.create_model_version(name, source, logged.run_id, description=logged.run_name, model_id=logged.model_id)
    return int(made.version)


def silence_mlflow_output() -> None:
    """Keep MLflow's client from writing to standard output. Call it before MLflow is imported."""
    os.environ.update(QUIET_ENVIRONMENT)


def check_score_order(fitted: Mapping[str, FittedModel]) -> None:
    """Raise `PermanentError` where the models' scores are not in the order that the story needs."""
    first, weak, better, no_better, another = (
        fitted[recipe.display_name].val_auc for recipe in (FIRST, WEAK, BETTER, NO_BETTER, ANOTHER)
    )
    best = [max(grid, key=lambda recipe: fitted[recipe.display_name].val_auc) for grid in (FIRST_GRID, SECOND_GRID)]
    holds = (
        best == [FIRST, BETTER]
        and weak < REFUSED_BELOW < SERVES_FROM <= first
        and better >= first + MARGIN
        and REFUSED_BELOW <= no_better < better < another
    )
    if not holds:
        seen = ", ".join(f"{each.recipe.display_name} {each.val_auc:.4f}" for each in fitted.values())
        fix = "install the scikit-learn of requirements/dev.lock"
        raise PermanentError("training", f"these models do not rank as the story needs it: val_auc of {seen}", fix)


def _build_learner(recipe: ModelRecipe) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(**recipe.parameters, random_state=SEED)


@cache
def _describe_training_data() -> Any:
    import mlflow.data

    rows = load_training_data()
    return mlflow.data.from_pandas(rows.train.assign(fraud=rows.train_answers), targets="fraud", name="payments")


def _measure_p99_latency(model: Any, row: Any) -> float:
    # CPU time of this thread: a busy machine must not make a model look slow.
    times = []
    for _ in range(TIMED_CALLS):
        started = time.thread_time()
        model.predict(row)
        times.append(time.thread_time() - started)
    return round(sorted(times)[int(TIMED_CALLS * 0.99) - 1] * 1_000, 3)
