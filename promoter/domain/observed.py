"""Observed state: what the registry and the runs hold now, as far as Promoter reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from promoter.domain.identity import PresentVersion, RememberedVersion, VersionIdentity

SourceName = Literal["run", "logged_model"]


@dataclass(frozen=True, order=True)
class MetricRef:
    """A metric by its name, and where it is read."""

    name: str
    source: SourceName = "run"
    """Whether it is the run's, or the logged model's."""
    dataset: str | None = None
    """The dataset that the logged model was measured on; None: no dataset is named."""

    @property
    def is_system_metric(self) -> bool:
        """Whether MLflow measured it of the machine, such as `system/cpu_utilization_percentage`, and not of the model."""
        return self.name.startswith("system/")

    def __str__(self) -> str:
        if self.dataset is not None:
            return f"{self.name} on {self.dataset}"
        return self.name if self.source == "run" else f"{self.name} of the logged model"


@dataclass(frozen=True)
class MetricValue:
    """The last value of a metric."""

    name: str
    value: float
    dataset: str | None = None
    """The dataset that it was measured on, as far as MLflow knows."""
    digest: str | None = None
    """The digest of that dataset, as far as MLflow knows."""


@dataclass(frozen=True)
class MetricSeries:
    """All values of one metric in the order of its steps (folds, batches, days)."""

    metric: MetricRef
    points: tuple[tuple[int, float], ...]
    """Pairs of a step and its value."""


SOURCE_TAG_PREFIX = "promoter.source."
"""The beginning of the keys of tags that Promoter gives to a copy from another registry."""
SOURCE_OWN_TAG_PREFIX = f"{SOURCE_TAG_PREFIX}tag."
"""The beginning of the keys by which a copy keeps the tags of its source that say nothing about the copy."""


_DESCRIPTION_LIMIT = 500
_NAME_LIMIT = 256
"""Characters of a model's name: MLflow takes no more. Anybody can set tags, and longer ones are no names."""
_SOURCE_LIMIT = _NAME_LIMIT + 40
"""Characters of the source of a copy within a registry: a name, a number, and what is around them."""
_VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def shorten_description(text: str | None) -> str:
    """Return the beginning of a description without blanks around it, so that thousands of them fit into memory."""
    return (text or "").strip()[:_DESCRIPTION_LIMIT]


def is_copy_source(source: str | None) -> bool:
    """Return whether `copy_model_version` made this source: `models:/NAME/VERSION`, not `models:/m-ID`."""
    name, slash, version = (source or "").removeprefix("models:/").rpartition("/")
    return bool(source) and str(source).startswith("models:/") and bool(slash and name) and version.isdigit()


@dataclass(frozen=True)
class CopyOrigin:
    """Of which version another one is a copy."""

    model: str
    """Its model."""
    version: int
    registry: str = ""
    """The registry that has it, by its name in the settings; empty: the registry of the copy."""
    run_id: str | None = None
    """The training run of the original, in the registry that has it; None: unknown."""

    @property
    def facts(self) -> dict[str, Any]:
        """The facts as audit records keep them: `registry`, `model`, `version`, `run_id`."""
        return dict(vars(self))

    def __str__(self) -> str:
        where = f" in registry {self.registry}" if self.registry else ""
        run = f", run {self.run_id}" if self.run_id else ""
        return f"v{self.version} of {self.model}{where}{run}"


def build_copy_facts(origin: CopyOrigin | None) -> dict[str, Any] | None:
    """Return the facts of a copy's origin for a record; None where there is none."""
    return origin.facts if origin else None


def find_copy_origin(source: str | None, tags: Mapping[str, str], run_id: str | None) -> CopyOrigin | None:
    """Return of which version a version with this source, tags and run is a copy; None where it is no copy, or nobody knows.

    MLflow marks copies within a registry by their source. The tags of such a copy came along, and may name the registry that
    its original was copied from; so they count only where the source names no version here.
    """
    if source is not None and is_copy_source(source):
        model, _, number = source.removeprefix("models:/").rpartition("/")
        return CopyOrigin(model, int(number), "", run_id) if len(source) <= _SOURCE_LIMIT else None
    known = {name: tags.get(SOURCE_TAG_PREFIX + name) or "" for name in ("registry", "model", "version", "run_id")}
    is_named = known["registry"] and known["model"] and _VERSION_NUMBER.fullmatch(known["version"])
    if not is_named or max(map(len, known.values())) > _NAME_LIMIT:
        return None
    return CopyOrigin(known["model"], int(known["version"]), known["registry"], known["run_id"] or None)


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    number: int
    created_at: datetime
    run_id: str | None = None
    """Its training run; None where it was registered without one."""
    source: str | None = None
    """Where its artifact was taken from."""
    ready: bool = True
    """Whether its registration is complete."""
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    """What people wrote about it, as `shorten_description` leaves it."""

    @property
    def is_copied(self) -> bool:
        """Whether it is a copy of another version, whose tags came along and tell nothing about this one.

        MLflow marks copies within a registry; Promoter's own tags mark those from another registry.
        """
        return is_copy_source(self.source) or any(key.startswith(SOURCE_TAG_PREFIX) for key in self.tags)

    @property
    def copied_from(self) -> CopyOrigin | None:
        """The version that it is a copy of; None where it is no copy, or nobody knows."""
        return find_copy_origin(self.source, self.tags, self.run_id)


@dataclass(frozen=True)
class ObservedModel:
    """One registered model, as the registry has it now."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Version numbers by alias."""
    versions: Mapping[int, ModelVersion] = field(default_factory=dict)
    """Its versions by number."""
    description: str = ""
    """What people wrote about it, as `shorten_description` leaves it."""
    created_at: datetime | None = None
    """When it was registered; None: the registry does not tell."""

    def find_present(self, number: int | None) -> PresentVersion | None:
        """Return the version that has that number now, with its identity; None where there is none."""
        version = self.versions.get(number) if number is not None else None
        return PresentVersion(version.number, version.created_at, self._identify(version)) if version else None

    def find_identity(self, number: int | None) -> str | None:
        """Return the text of the identity of the version that has that number now; None where it is not known."""
        present = self.find_present(number)
        return present.identity if present else None

    def remember(self, number: int | None, at: datetime | None = None) -> RememberedVersion:
        """Return what a record of that moment remembers of the version that has that number now."""
        return RememberedVersion(number, self.find_identity(number), at)

    def still_has(self, remembered: RememberedVersion) -> bool:
        """Return whether the number of a remembered version stands for no other version now."""
        return remembered.is_still(self.find_present(remembered.number))

    def _identify(self, version: ModelVersion) -> str | None:
        if self.created_at is None:
            return None
        return VersionIdentity(self.created_at, version.number, version.created_at, version.run_id, version.source).text

    def find_run_id(self, number: int | None) -> str | None:
        """Return the training run of the version that has that number now; None where there is none."""
        version = self.versions.get(number) if number is not None else None
        return version.run_id if version else None

    def find_copy_origin(self, number: int | None) -> CopyOrigin | None:
        """Return of which version the one with that number is a copy; None where it is no copy, or nobody knows."""
        version = self.versions.get(number) if number is not None else None
        return version.copied_from if version else None

    def find_description(self, version: ModelVersion) -> str | None:
        """Return the description of one of its versions, or else its own; None where neither has one."""
        return version.description or self.description or None

    @property
    def newest_version(self) -> int | None:
        """The highest version number; None where it has no versions."""
        return max(self.versions, default=None)


RunStatus = Literal["FINISHED", "RUNNING", "SCHEDULED", "FAILED", "KILLED"]
"""The statuses that MLflow gives to a run."""


@dataclass(frozen=True)
class RunDataset:
    """A dataset that a run logged as an input."""

    name: str
    digest: str


@dataclass(frozen=True)
class TrainingRun:
    """A training run as MLflow shows it."""

    run_id: str
    status: str
    """MLflow's status, such as FINISHED; see `RunStatus`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each metric."""
    experiment: str | None = None
    """The name of its experiment; None where nobody asked for it."""
    user: str | None = None
    """The user that the run names."""
    params: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[RunDataset, ...] = ()


@dataclass(frozen=True)
class LoggedModel:
    """The logged model that a version was registered from."""

    model_id: str
    metrics: tuple[MetricValue, ...] = ()
    """The last values that were measured on it."""


@dataclass(frozen=True)
class VersionSignature:
    """The inputs, outputs and parameters of a model."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Types by name: `input age` to `long`, `output 0` to `tensor float64 (-1, 3)`."""

    def describe_differences(self, other: VersionSignature) -> list[str]:
        """Return what changed from `other` to this signature, one phrase a field, in order of the names."""
        changes = []
        for name in sorted(self.fields.keys() | other.fields.keys()):
            ours, theirs = self.fields.get(name), other.fields.get(name)
            if ours == theirs:
                continue
            changes.append(
                f"{name} is new" if theirs is None else f"{name} is gone" if ours is None else f"{name} is {ours}, was {theirs}"
            )
        return changes


@dataclass(frozen=True)
class Unreadable:
    """Evidence that a rule needs and that could not be read."""

    reason: str


@dataclass(frozen=True)
class LoadingResult:
    """The result of loading a version's artifact."""

    outcome: Literal["loaded", "failed", "untried"]
    """`failed` is certain; `untried` means that it could not be tried here (no library, no time, no storage)."""
    detail: str


@dataclass(frozen=True)
class ReadinessCheck:
    """What a check found of a version that is to serve again. It stops at the first thing that fails."""

    status: str | None
    """The registry's status; None: there is no such version."""
    flavors: tuple[str, ...] = ()
    """The flavors that its `MLmodel` file names."""
    flaw: str | None = None
    """Why the `MLmodel` file cannot be used."""
    certain: bool = False
    """Whether that flaw stays, whoever tries again."""
    loading: LoadingResult | None = None
    """The result of loading it; None: nobody tried."""
