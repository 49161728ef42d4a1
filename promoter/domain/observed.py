"""Observed state: what the registry holds now, as far as Promoter looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

SourceName = Literal["run", "logged_model"]


@dataclass(frozen=True, order=True)
class MetricRef:
    """Which metric is meant: its name, whether of the run or of the logged model, and of that one on which dataset."""

    name: str
    source: SourceName = "run"
    dataset: str | None = None

    def __str__(self) -> str:
        """`val_auc`, `val_auc of the logged model`, `val_auc on holdout`."""
        if self.dataset is not None:
            return f"{self.name} on {self.dataset}"
        return self.name if self.source == "run" else f"{self.name} of the logged model"


@dataclass(frozen=True)
class MetricValue:
    """The last value of a metric. `dataset` and `digest` say what it was measured on, as far as MLflow was told."""

    name: str
    value: float
    dataset: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class MetricSeries:
    """All values of one metric, one a step, in order of the steps (folds, batches, days)."""

    metric: MetricRef
    points: tuple[tuple[int, float], ...]


SOURCE_TAG_PREFIX = "promoter.source."
"""What the keys of the tags begin with that Promoter gives to a copy from another registry."""


_DESCRIPTION_LIMIT = 500


def shorten_description(text: str | None) -> str:
    """Return the beginning of a description without blanks around it, so that thousands of them fit into memory."""
    return (text or "").strip()[:_DESCRIPTION_LIMIT]


def is_copy_source(source: str | None) -> bool:
    """Whether a source is that of `copy_model_version`: `models:/NAME/VERSION`, not `models:/m-ID`."""
    name, slash, version = (source or "").removeprefix("models:/").rpartition("/")
    return bool(source) and str(source).startswith("models:/") and bool(slash and name) and version.isdigit()


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `run_id` is None where the version came without a run."""

    number: int
    created_at: datetime
    run_id: str | None = None
    source: str | None = None
    ready: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    """What people wrote about it, as `shorten_description` leaves it."""

    @property
    def is_copied(self) -> bool:
        """Whether it is a copy of another version: its tags came along, and say nothing of this one.

        MLflow tells of copies within a registry, Promoter's own tags of those from another one.
        """
        return is_copy_source(self.source) or any(key.startswith(SOURCE_TAG_PREFIX) for key in self.tags)


@dataclass(frozen=True)
class ObservedModel:
    """One registered model: alias to version number, and its versions by number."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, ModelVersion] = field(default_factory=dict)
    description: str = ""
    """What people wrote about it, as `shorten_description` leaves it."""

    def find_description(self, version: ModelVersion) -> str | None:
        """Return the description of one of its versions, or else its own; None where neither has one."""
        return version.description or self.description or None

    @property
    def newest_version(self) -> int | None:
        """The highest version number; None where no version is left."""
        return max(self.versions, default=None)


RunStatus = Literal["FINISHED", "RUNNING", "SCHEDULED", "FAILED", "KILLED"]
"""The statuses that MLflow gives to a run."""


@dataclass(frozen=True)
class RunDataset:
    """A dataset that a run says it read."""

    name: str
    digest: str


@dataclass(frozen=True)
class TrainingRun:
    """What a training run says: status (`FINISHED`, `RUNNING`, `FAILED`, ...), the last value of each metric, and its origin.

    `experiment` is the name of its experiment; None where it was not asked for.
    """

    run_id: str
    status: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    experiment: str | None = None
    user: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[RunDataset, ...] = ()


@dataclass(frozen=True)
class LoggedModel:
    """The logged model that a version was registered from, and the last values measured on it."""

    model_id: str
    metrics: tuple[MetricValue, ...] = ()


@dataclass(frozen=True)
class VersionSignature:
    """What a model takes and gives, flattened: `input age` to `long`, `output 0` to `tensor float64 (-1, 3)`, ..."""

    fields: Mapping[str, str] = field(default_factory=dict)

    def describe_differences(self, other: VersionSignature) -> list[str]:
        """What changed from `other` to this one, in words, in order of the names."""
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
    """Evidence that was asked for and cannot be had, and why."""

    reason: str


@dataclass(frozen=True)
class LoadingResult:
    """What came of loading the version's artifact. LOADED, FAILED for certain, or UNTRIED (no library, no time, no storage)."""

    outcome: Literal["loaded", "failed", "untried"]
    detail: str


@dataclass(frozen=True)
class ReadinessCheck:
    """What a check of a version showed that is to serve again.

    `status` is the registry's (None: no such version), `flavors` those that its description names, `flaw` why the description
    cannot be used, which is `certain` or may pass, `loading` what came of loading it. A check ends with what it fails by.
    """

    status: str | None
    flavors: tuple[str, ...] = ()
    flaw: str | None = None
    certain: bool = False
    loading: LoadingResult | None = None
