"""A data scientist's work: fit a small grid on data that scikit-learn ships, and log each fit with its metrics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from promoter.domain.errors import PermanentError
from promoter.domain.text import plural

SEED = 11
FOLDS = 5
TIMED_CALLS = 100
SCORE_DIGITS = 4
REFUSED_BELOW, SERVES_FROM, MARGIN = 0.90, 0.95, 0.005
"""What `policies/` ask of val_auc."""
QUIET_ENVIRONMENT = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


@dataclass(frozen=True)
class ModelRecipe:
    """What to fit."""

    learner: str
    """`boosting` or `logistic-regression`."""
    parameters: Mapping[str, float]
    """The hyperparameters."""

    @property
    def display_name(self) -> str:
        """Return the name that people read."""
        if self.learner == "boosting":
            trees, depth = self.parameters["n_estimators"], self.parameters["max_depth"]
            return f"{trees} {plural(trees, 'tree')} of depth {depth}"
        return f"{self.learner} with C={self.parameters['C']:g}"


def build_boosting_recipe(trees: int, depth: int) -> ModelRecipe:
    """Return gradient boosting with so many trees of that depth."""
    return ModelRecipe("boosting", {"n_estimators": trees, "max_depth": depth, "learning_rate": 0.1})


GRID = tuple(build_boosting_recipe(trees, depth) for trees in (1, 5, 40) for depth in (1, 2))
FIRST, WEAK, BETTER, NO_BETTER = (
    build_boosting_recipe(5, 1),
    build_boosting_recipe(1, 1),
    build_boosting_recipe(40, 2),
    build_boosting_recipe(5, 2),
)
ANOTHER = ModelRecipe("logistic-regression", {"C": 1.0})


@dataclass(frozen=True)
class TrainingData:
    """Measurements of breast tumours (malignant 0, benign 1), split into rows to learn from and rows to measure on."""

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
    """Where MLflow keeps a fitted model."""

    run_id: str
    """The run."""
    model_id: str
    """The logged model."""
    model_uri: str
    """The address of its artifacts."""


@cache
def load_training_data() -> TrainingData:
    """Return the data with the same split every time. It ships with scikit-learn: nothing is downloaded."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    features, answers = load_breast_cancer(return_X_y=True, as_frame=True)
    parts = train_test_split(features, answers, test_size=0.35, stratify=answers, random_state=SEED)
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


def log_training_run(fitted: FittedModel, tracking_uri: str, experiment: str, author: str) -> LoggedTraining:
    """Log a run with parameters, metrics, and the model with its signature and an input example.

    The run is finished on return.
    """
    import mlflow
    import mlflow.sklearn
    import sklearn
    from mlflow.models import infer_signature

    rows = load_training_data()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=fitted.recipe.display_name, tags={"mlflow.user": author}) as run:
        mlflow.log_params({"learner": fitted.recipe.learner, **fitted.recipe.parameters, "seed": SEED})
        mlflow.log_metrics({"val_auc": fitted.val_auc, "p99_ms": fitted.p99_ms})
        for step, score in enumerate(fitted.fold_auc):
            mlflow.log_metric("fold_auc", score, step=step)
        info = mlflow.sklearn.log_model(
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
    return LoggedTraining(run.info.run_id, info.model_id, info.model_uri)


def register_model_version(client: Any, logged: LoggedTraining, name: str, description: str) -> int:
    """Register the next version, and the model where it does not exist yet. Return the number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(name, logged.model_uri, logged.run_id, description=description, model_id=logged.model_id)
    return int(made.version)


def silence_mlflow_output() -> None:
    """Keep MLflow's client from writing to standard output. Call it before MLflow is imported."""
    os.environ.update(QUIET_ENVIRONMENT)


def check_score_order(fitted: Mapping[str, FittedModel]) -> None:
    """Raise `PermanentError` where the models' scores are not in the order that the story needs."""
    first, weak, better, no_better, another = (
        fitted[recipe.display_name].val_auc for recipe in (FIRST, WEAK, BETTER, NO_BETTER, ANOTHER)
    )
    holds = (
        weak < REFUSED_BELOW < SERVES_FROM <= first
        and better >= first + MARGIN
        and no_better < better
        and another >= better + MARGIN
    )
    if not holds:
        seen = ", ".join(f"{each.recipe.display_name} {each.val_auc:.4f}" for each in fitted.values())
        fix = "install the scikit-learn of requirements/dev.lock"
        raise PermanentError("training", f"these models do not rank as the story needs it: val_auc of {seen}", fix)


def _build_learner(recipe: ModelRecipe) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if recipe.learner == "boosting":
        return GradientBoostingClassifier(**recipe.parameters, random_state=SEED)
    return make_pipeline(StandardScaler(), LogisticRegression(**recipe.parameters, random_state=SEED))


def _measure_p99_latency(model: Any, row: Any) -> float:
    # CPU time of this thread: a busy machine must not make a model look slow.
    times = []
    for _ in range(TIMED_CALLS):
        started = time.thread_time()
        model.predict(row)
        times.append(time.thread_time() - started)
    return round(sorted(times)[int(TIMED_CALLS * 0.99) - 1] * 1_000, 3)
