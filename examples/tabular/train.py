"""Train a small grid of models that find fraud, and log every one of them with MLflow.

It needs MLflow, pandas and scikit-learn (requirements.txt), and nothing of Promoter. Point it at your server:

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python train.py                          # gradient boosting of scikit-learn
  python train.py --library xgboost        # the same with XGBoost, or lightgbm
  python train.py --autolog                # MLflow logs what it finds besides

Each run has its parameters, `val_auc`, `fold_auc` (a step for each fold), and the model with its signature and an example.
"""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split

SEED = 7
FOLDS = 5
LEARNING_RATE = 0.1
COLUMNS = ("amount", "hour", "age_of_account", "distance", "failed_logins", "items", "refunds", "device_age")


def main() -> None:
    """Train the grid, a run for each point of it."""
    options = parse_options()
    mlflow.set_experiment(options.experiment)
    if options.autolog:
        # Models are logged below, where they get a signature and their measurements.
        mlflow.autolog(log_models=False, silent=True)
    rows, answers = load_transactions()
    for trees, depth in product(options.trees, options.depths):
        parameters = {"n_estimators": trees, "max_depth": depth, "learning_rate": LEARNING_RATE}
        train_once(options.library, parameters, rows, answers)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small grid of models, and log each with MLflow.")
    parser.add_argument("--experiment", default="fraud-detection", help="the experiment of the runs (%(default)s)")
    parser.add_argument("--library", default="scikit-learn", choices=("scikit-learn", "xgboost", "lightgbm"))
    parser.add_argument("--trees", metavar="N", type=int, nargs="+", default=(10, 80), help="a side of the grid (%(default)s)")
    parser.add_argument("--depths", metavar="N", type=int, nargs="+", default=(1, 3), help="the other side (%(default)s)")
    parser.add_argument("--autolog", action="store_true", help="let MLflow log what it finds besides")
    return parser.parse_args()


def load_transactions() -> tuple[pd.DataFrame, pd.Series]:
    """Make 2,000 payments, of which one in eight is fraud. They are the same each time."""
    rows, answers = make_classification(
        2_000, len(COLUMNS), n_informative=5, weights=[0.875], class_sep=1.2, flip_y=0.02, random_state=SEED
    )
    # Answers are floats: whole numbers would leave no room in the signature for one that is missing.
    return pd.DataFrame(rows, columns=list(COLUMNS)), pd.Series(answers.astype(float), name="fraud")


def train_once(library: str, parameters: dict[str, float], rows: pd.DataFrame, answers: pd.Series) -> None:
    """Fit one model, measure it, and log it all as one run."""
    train, held_back, train_answers, held_back_answers = train_test_split(
        rows, answers, test_size=0.3, stratify=answers, random_state=SEED
    )
    name = f"{library} {parameters['n_estimators']}x{parameters['max_depth']}"
    with mlflow.start_run(run_name=name, tags={"library": library}):
        mlflow.log_params(parameters)
        data = mlflow.data.from_pandas(train.assign(fraud=train_answers), targets="fraud", name="payments")
        mlflow.log_input(data, context="train")
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
        scores = cross_val_score(build_model(library, parameters), train, train_answers, cv=folds, scoring="roc_auc")
        for step, score in enumerate(scores):
            mlflow.log_metric("fold_auc", float(score), step=step)
        model = build_model(library, parameters).fit(train, train_answers)
        val_auc = float(roc_auc_score(held_back_answers, model.predict_proba(held_back)[:, 1]))
        mlflow.log_metric("val_auc", val_auc)
        log_model(library, model, train)
    print(f"{name:24} val_auc {val_auc:.4f}  folds {scores.min():.4f} to {scores.max():.4f}")


def build_model(library: str, parameters: dict[str, float]) -> Any:
    """Make a classifier that is not fitted yet. Only the library that is used has to be installed."""
    if library == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(**parameters, random_state=SEED, n_jobs=1)
    if library == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(**parameters, random_state=SEED, n_jobs=1, verbose=-1)
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(**parameters, random_state=SEED)


def log_model(library: str, model: Any, train: pd.DataFrame) -> None:
    """Log the model with its signature and an example, so that whoever loads it can check it."""
    described = {
        "name": "model",
        "signature": infer_signature(train, model.predict(train)),
        "input_example": train.head(5),
        # Named here: otherwise MLflow loads each model in another process to find out what it imports.
        "pip_requirements": [f"{each}=={version(each)}" for each in ("pandas", "scikit-learn")],
    }
    if library == "xgboost":
        described["pip_requirements"] += [f"xgboost=={find_xgboost_version()}"]
        mlflow.xgboost.log_model(model, **described)
    elif library == "lightgbm":
        described["pip_requirements"] += [f"lightgbm=={version('lightgbm')}"]
        mlflow.lightgbm.log_model(model, **described)
    else:
        # MLflow stores scikit-learn's models with skops, which runs no code when a model is loaded. It refuses types that
        # nobody named ("untrusted types"), such as the one in which trees are stored: so that one is named.
        described["pip_requirements"] += [f"skops=={version('skops')}"]
        trusted = ["sklearn.tree._tree.Tree"]
        mlflow.sklearn.log_model(model, serialization_format="skops", skops_trusted_types=trusted, **described)


def find_xgboost_version() -> str:
    """Find the version, under whichever name it is installed: `xgboost-cpu` is XGBoost without graphics processors."""
    try:
        return version("xgboost-cpu")
    except PackageNotFoundError:
        return version("xgboost")


if __name__ == "__main__":
    main()
