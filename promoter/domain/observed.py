"""Observed state: what the registry holds now, as far as Promoter looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `run_id` is None where the version came without a run."""

    number: int
    created_at: datetime
    run_id: str | None = None
    source: str | None = None
    ready: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObservedModel:
    """One registered model: alias to version number, and its versions by number."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, ModelVersion] = field(default_factory=dict)

    @property
    def newest(self) -> int | None:
        """The highest version number; None where no version is left."""
        return max(self.versions, default=None)


@dataclass(frozen=True)
class Run:
    """What a training run says: status (`FINISHED`, `RUNNING`, `FAILED`, ...), and the last value of each metric."""

    run_id: str
    status: str
    metrics: Mapping[str, float] = field(default_factory=dict)
