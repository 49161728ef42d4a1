"""A service that scores payments: it loads a model as production does, and says which version answers."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from typing import Any

from promoter.demo import training
from promoter.domain.errors import PermanentError


@dataclass(frozen=True)
class ScoredPayments:
    """What a loaded model answers for the validation rows."""

    address: str
    """The address that the model was loaded from."""
    version: int
    """The version that the loaded model is, whatever the address names."""
    predictions: tuple[float, ...]
    """A prediction for each row: 1 for fraud, 0 for an honest payment."""
    frauds: int
    """How many of the rows are fraud."""
    found: int
    """How many of these it finds."""

    @property
    def is_complete(self) -> bool:
        """Return whether there is a usable answer for each row."""
        rows = len(training.load_training_data().validation)
        return len(self.predictions) == rows and all(math.isfinite(each) for each in self.predictions)

    @property
    def summary(self) -> str:
        """Return a sentence about the answers."""
        return f"v{self.version} answers {len(self.predictions)} payments, and finds {self.found} of {self.frauds} frauds"


def score_payments(client: Any, model: str, reference: str) -> ScoredPayments:
    """Load `models:/MODELreference`, such as `@champion` or `/3`, and let it answer the validation rows.

    The version comes from the loaded model itself: an alias may move while a model is being loaded. Raises `PermanentError`
    where the model cannot be loaded, or fails to answer.
    """
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    address, rows = f"models:/{model}{reference}", training.load_training_data()
    try:
        with tempfile.TemporaryDirectory(prefix="promoter-demo-model-") as folder:  # MLflow's own would stay
            loaded = mlflow.pyfunc.load_model(address, dst_path=folder)
            predictions = tuple(float(each) for each in loaded.predict(rows.validation))
    except (MlflowException, OSError, ValueError) as error:
        raise PermanentError("demo", f"{address} does not answer: {error}") from error
    labels = [float(each) for each in rows.validation_answers]
    found = sum(label == guess == 1 for label, guess in zip(labels, predictions, strict=False))
    version = _find_loaded_version(client, model, loaded.metadata.run_id)
    return ScoredPayments(address, version, predictions, round(sum(labels)), found)


def _find_loaded_version(client: Any, model: str, run_id: str) -> int:
    found = client.search_model_versions(f"name = '{model}' AND run_id = '{run_id}'")
    if len(found) != 1:
        raise PermanentError("demo", f"{len(found)} versions of {model} come from run {run_id}, which logged the loaded model")
    return int(found[0].version)
