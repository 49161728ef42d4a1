"""Figures of the daemon's work since it started, for monitoring: alias changes, blocks, failures, durations."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from promoter.application.work_items import WorkKind
from promoter.domain.audit import ChangeOutcome
from promoter.domain.decision import Verdict
from promoter.domain.plan import ChangeCause

DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of the classes of durations, in seconds."""
MISSING = "missing"
"""What stands for a verdict where the registry lacks the model or the version."""
_OUTCOMES = (ChangeOutcome.APPLIED, ChangeOutcome.FAILED, ChangeOutcome.RECOVERED)
_CAUSES = tuple(each for each in ChangeCause if each is not ChangeCause.REPLACED)
_VERDICTS = (Verdict.FAIL.value, Verdict.PENDING.value, Verdict.ERROR.value, MISSING)


@dataclass
class DurationClasses:
    """How many durations lay in each class, and how long all took together."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    """By upper bound; the last class has none."""
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.seconds += seconds


class WorkFigures:
    """Counts. Every series is there from the start, with zero: a rate needs a value before the first event."""

    def __init__(self) -> None:
        self._changes = Counter({(outcome.value, cause.value): 0 for outcome in _OUTCOMES for cause in _CAUSES})
        self._blocks: Counter[str] = Counter(dict.fromkeys(_VERDICTS, 0))
        self._failures: Counter[str] = Counter({kind.value: 0 for kind in WorkKind})
        self._durations = {kind.value: DurationClasses() for kind in WorkKind}
        self._lock = Lock()

    @property
    def changes(self) -> Mapping[tuple[str, str], int]:
        """How many intents were closed, by outcome and cause."""
        with self._lock:
            return dict(self._changes)

    @property
    def blocks(self) -> Mapping[str, int]:
        """How many blocks were found, by verdict, each once while it lasts."""
        with self._lock:
            return dict(self._blocks)

    @property
    def failures(self) -> Mapping[str, int]:
        """How many work items failed, by kind."""
        with self._lock:
            return dict(self._failures)

    @property
    def durations(self) -> Mapping[str, tuple[tuple[int, ...], float]]:
        """How many work items took how long, by kind: the counts by class, and the sum in seconds."""
        with self._lock:
            return {kind: (tuple(each.counts), each.seconds) for kind, each in self._durations.items()}

    def count_change(self, outcome: str, cause: str | None) -> None:
        """Count an intent that was closed."""
        with self._lock:
            self._changes[outcome, cause or "unknown"] += 1

    def count_block(self, verdict: str) -> None:
        """Count a block that was found for the first time."""
        with self._lock:
            self._blocks[verdict] += 1

    def count_failure(self, kind: WorkKind) -> None:
        """Count a work item that failed."""
        with self._lock:
            self._failures[kind.value] += 1

    @contextmanager
    def measure(self, kind: WorkKind) -> Iterator[None]:
        """Measure how long a work item takes, whether it fails or not."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._durations[kind.value].add(time.perf_counter() - began)
