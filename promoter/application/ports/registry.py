"""MLflow's model registry and its runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from promoter.domain.metrics import MetricRef, Series
from promoter.domain.observed import Checked, Loading, LoggedModel, ModelVersion, ObservedModel, Run, Signature, Unread


@dataclass(frozen=True)
class Evidenced:
    """A version whose evidence is asked for: what a read of models told of it, and the name that it goes by."""

    model: str
    version: ModelVersion

    @property
    def key(self) -> tuple[str, int]:
        """Name and number."""
        return self.model, self.version.number


Key = tuple[str, int]
"""A version: the model's name, and its number."""


class Registry(Protocol):
    """MLflow's model registry and its runs. Raises `Unavailable` (retry) or `Refused` (a person must act)."""

    def observe(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """The named models (those that exist), or all; prompts are left out. Read in bulk."""
        ...

    def runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, Run]:
        """The runs that exist, by id, with the last value of each metric. Read in bulk. `experiments`: with their names."""
        ...

    def logged_models(self, versions: Collection[Evidenced]) -> Mapping[Key, LoggedModel | Unread | None]:
        """The logged model behind each version (through copies of copies), None where it was registered from none."""
        ...

    def series(self, versions: Collection[Evidenced], metrics: Collection[MetricRef]) -> Mapping[Key, tuple[Series, ...]]:
        """Every value of these metrics over the steps of each version's run; the last one of a step. Absent ones are left out.

        Of a metric of the logged model, those that were logged for it, on that dataset.
        """
        ...

    def signatures(self, versions: Collection[Evidenced]) -> Mapping[Key, Signature | Unread | None]:
        """The signature in each version's artifact; None where it has none. What was read once is remembered."""
        ...

    def requirements(self, versions: Collection[Evidenced]) -> Mapping[Key, tuple[str, ...] | Unread | None]:
        """The lines of `requirements.txt` in each version's artifact; None where it has none. Remembered like signatures."""
        ...

    def loading(self, model: str, version: ModelVersion) -> Loading:
        """Load the version's artifact in a process of its own, within a time limit. A success is remembered."""
        ...

    def set_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version: the approval of a person, by `promoter approve`. No alias moves by it."""
        ...

    def aliases(self, model: str) -> Mapping[str, int] | None:
        """Alias to version of one model, read now; None where the model does not exist."""
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version. MLflow has no compare-and-set: the caller reads before and after."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        ...

    def readiness(self, model: str, version: int) -> Checked:
        """What says whether the version's artifact is there and can be read as a model: for one that returns under a hold."""
        ...
