"""Reads logged models in bulk, with what was measured on them, on which dataset, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from math import nan
from typing import Any

from promoter.adapters.mlflow.convert import chunks, number, pages
from promoter.adapters.mlflow.errors import is_absent, refusal
from promoter.adapters.mlflow.experiments import Experiments
from promoter.adapters.mlflow.histories import Histories, Point
from promoter.adapters.mlflow.lineage import model_ids, origins
from promoter.adapters.mlflow.memory import Memory
from promoter.application.ports import Evidenced, Key
from promoter.domain.metrics import Measurement
from promoter.domain.observed import LoggedModel, Unread

_FEW = 4  # up to here, single reads on as many threads cost less than a search
_A_SEARCH = 100
_THREADS = 8
_REMEMBERED = 50_000


@dataclass(frozen=True)
class Logged:
    """One value that was logged for a logged model, by that run."""

    name: str
    dataset: str | None
    digest: str | None
    run_id: str | None
    point: Point

    @property
    def order(self) -> tuple[int, int, str]:
        """The last one counts: by time, then by step."""
        return self.point.timestamp, self.point.step, self.run_id or ""


@dataclass(frozen=True)
class Measured:
    """A logged model with everything that was logged for it."""

    model_id: str
    logged: tuple[Logged, ...]


class LoggedModelReader:
    """The logged models behind versions. Raises what MLflow raises, but for what concerns a single one of them."""

    def __init__(self, client: Any, experiments: Experiments, histories: Histories) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments
        self._histories = histories
        self._true_values: Memory[Logged, float] = Memory(_REMEMBERED)

    def read(self, versions: Collection[Evidenced]) -> dict[Key, LoggedModel | Unread | None]:
        """By version, with the last value of each metric on each dataset, whichever digest that has."""
        found = self.measured(versions)
        last = {each.model_id: _last(each.logged) for each in found.values() if isinstance(each, Measured)}
        true = self.certain(logged for each in last.values() for logged in each)
        return {
            key: LoggedModel(each.model_id, tuple(_measurement(true[logged]) for logged in last[each.model_id]))
            if isinstance(each, Measured)
            else each
            for key, each in found.items()
        }

    def measured(self, versions: Collection[Evidenced]) -> dict[Key, Measured | Unread | None]:
        """By version, with everything that was logged: see `certain` for what a zero may stand for."""
        behind = origins(self._client, versions)
        wanted = model_ids(behind.values())
        found: dict[str, Measured | Unread] = {}
        if len(wanted) > _FEW:
            known = self._experiments.known()
            found |= self._search(wanted, known)
            if len(found) < len(wanted):
                found |= self._search([each for each in wanted if each not in found], self._experiments.besides(known))
        missing = [each for each in wanted if each not in found]
        with ThreadPoolExecutor(_THREADS) as pool:
            found |= zip(missing, pool.map(self._one, missing), strict=True)
        return {key: found[origin] if isinstance(origin, str) else origin for key, origin in behind.items()}

    def certain(self, logged: Iterable[Logged]) -> dict[Logged, Logged]:
        """Each with its true value: MLflow's SQL store keeps a NaN of a logged model as 0, but that of its run as NaN.

        A zero that the run's history does not confirm is NaN here.
        """
        asked = list(dict.fromkeys(logged))
        true = {each: each for each in asked if each.point.value != 0}
        remembered = {each: self._true_values.get(each) for each in asked if each not in true}
        known = {each: value for each, value in remembered.items() if value is not None}
        doubtful = [each for each in remembered if each not in known]
        histories = self._histories.read({(each.run_id, each.name) for each in doubtful if each.run_id})
        for each in doubtful:
            history = histories.get((each.run_id or "", each.name))
            known[each] = value = _confirmed(each, history or [])
            if history is not None:
                self._true_values.put(each, value)
        return true | {each: replace(each, point=replace(each.point, value=value)) for each, value in known.items()}

    def _search(self, wanted: list[str], experiments: Collection[str]) -> dict[str, Measured]:
        searches = product(self._experiments.searches(experiments), chunks(wanted, _A_SEARCH))
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                rows = pool.map(lambda search: list(self._rows(*search)), searches)
                return {each.model_id: each for found in rows for each in found}
        except Exception as error:
            if refusal(error) is None:
                raise
            return {}  # not every store knows this filter; single reads say more

    def _rows(self, experiments: list[str], wanted: list[str]) -> Iterator[Measured]:
        listed = ", ".join(f"'{model_id}'" for model_id in wanted)
        for entity in pages(
            lambda token: self._client.search_logged_models(
                experiments, f"model_id IN ({listed})", max_results=_A_SEARCH, page_token=token
            )
        ):
            yield _measured(entity)

    def _one(self, model_id: str) -> Measured | Unread:
        try:
            return _measured(self._client.get_logged_model(model_id))
        except Exception as error:
            if is_absent(error):
                return Unread(f"its logged model {model_id} does not exist: it may have been deleted")
            refused = refusal(error)
            if refused is None:
                raise
            return Unread(f"its logged model {model_id} cannot be read: {refused}")


def _measured(entity: Any) -> Measured:
    return Measured(
        entity.model_id,
        tuple(
            Logged(
                name=metric.key,
                dataset=metric.dataset_name or None,
                digest=metric.dataset_digest or None,
                run_id=metric.run_id or None,
                point=Point(metric.timestamp, metric.step, number(metric.value)),
            )
            for metric in entity.metrics or ()
        ),
    )


def _last(logged: Iterable[Logged]) -> list[Logged]:
    found: dict[tuple[str, str], Logged] = {}
    for each in sorted(logged, key=lambda each: each.order):
        found[each.name, each.dataset or ""] = each
    return [found[where] for where in sorted(found)]


def _confirmed(zero: Logged, history: Iterable[Point]) -> float:
    """Zero where the run logged exactly that at that moment."""
    there = [point.value for point in history if (point.timestamp, point.step) == (zero.point.timestamp, zero.point.step)]
    return 0.0 if there and all(value == 0 for value in there) else nan


def _measurement(logged: Logged) -> Measurement:
    return Measurement(logged.name, logged.point.value, logged.dataset, logged.digest)
