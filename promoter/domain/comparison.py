"""A version compared with the one that it would replace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from promoter.domain.observed import CopyOrigin, MetricRef, Unreadable
from promoter.domain.policy.rules.base import RankOrder

Differences = tuple[str, ...] | Unreadable
"""In words; none: the same."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of both versions. None: there is no such value."""

    metric: str
    """The name of the metric."""
    value: float | None
    """The value of the version."""
    was: float | None
    """The value of the version that it replaces."""
    order: RankOrder | None = None
    """Which values are better, as far as the policy says so."""

    @property
    def difference(self) -> Decimal | None:
        """The value without the one before, in decimal as MLflow shows them; None where there is none."""
        if self.value is None or self.was is None or not math.isfinite(self.value) or not math.isfinite(self.was):
            return None
        return Decimal(repr(self.value)) - Decimal(repr(self.was))

    @property
    def is_better(self) -> bool | None:
        """Whether the value is better than the one before; None: it is the same, or nobody knows."""
        apart = self.difference
        return (apart > 0) == (self.order == "highest") if apart and self.order else None

    @property
    def change_size(self) -> float:
        """How much changed, compared with both values: from 0, for nothing, to 2; infinity where one value is missing."""
        apart = self.difference
        if apart is None:
            return 0.0 if _is_same_figure(self.value, self.was) else math.inf
        size = max(abs(self.value or 0.0), abs(self.was or 0.0))
        return float(abs(apart) / Decimal(repr(size))) if size else 0.0


@dataclass(frozen=True)
class MetricHistory:
    """A metric over the versions."""

    metric: MetricRef
    """The metric."""
    points: tuple[tuple[int, float], ...]
    """Version and value, ascending, without values that are not finite."""


@dataclass(frozen=True)
class VersionOrigin:
    """Where a version comes from."""

    run_id: str | None = None
    """Its training run; None: it has none, or there is no such version."""
    copied_from: CopyOrigin | None = None
    """The version that it is a copy of; None: it is no copy, or nobody knows."""


@dataclass(frozen=True)
class VersionComparison:
    """A version compared with the one that it replaces."""

    version: int
    """The version."""
    replaces: int | None = None
    """The version that it replaces; None: there is none, and nothing changed."""
    metrics: tuple[MetricRow, ...] = ()
    """The metrics that the policy reads, of both."""
    other_metrics: tuple[MetricRow, ...] = ()
    """The other metrics of both, those that changed most first."""
    more: int = 0
    """How many metrics are left out: those that changed least."""
    origin: VersionOrigin = VersionOrigin()
    """Where the version comes from."""
    replaced_origin: VersionOrigin = VersionOrigin()
    """Where the version comes from that it replaces."""
    signature: Differences | None = None
    """What changed in the signature."""
    requirements: Differences | None = None
    """What changed in the requirements."""
    past: MetricHistory | None = None
    """The policy's metric over the versions."""


def _is_same_figure(value: float | None, was: float | None) -> bool:
    return value == was or (value is not None and was is not None and math.isnan(value) and math.isnan(was))
