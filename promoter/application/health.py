"""The health of the controller: failed work, the age of the last good looks, and models with trouble of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from threading import Lock

from promoter.application.ports import Clock
from promoter.application.status import ModelTrouble
from promoter.application.work_items import WorkItem, WorkKind
from promoter.domain.errors import ExternalError, TimeLimitError

STALE_INTERVALS = 3
"""After so many poll intervals without a good look the daemon is not ready."""
_SHORTEST_STALENESS = timedelta(seconds=10)
"""A survey of a large registry may take some seconds, however short the interval is."""
_LATE_AFTER = timedelta(seconds=10)
"""A reconcile of one model that has run for so long is shown."""
_WATCHED_PARTS = {WorkKind.GIT: "git", WorkKind.REGISTRY: "the registry", WorkKind.PULLS: "pull requests"}


class ControllerHealth:
    """The work that failed when it was last tried, and how old the last good looks are.

    Failures are kept by work item, so that one model's success hides no other's failure.
    """

    def __init__(self, clock: Clock, interval: timedelta | None = None) -> None:
        """`interval`: how often git and the registry are polled; None: nobody polls, and nothing becomes stale."""
        self.checked: datetime | None = None
        """When the registry was last read."""
        self.source_problems: Mapping[str, str] = {}
        """Other registries that versions come from, and that cannot be read: nothing here waits for them."""
        self._clock = clock
        self._interval = interval
        self._looks: dict[WorkKind, datetime | None] = {WorkKind.GIT: None, WorkKind.REGISTRY: None}
        self._created_at = clock.now()
        self._failed: dict[WorkItem, ExternalError] = {}
        self._running: dict[WorkItem, datetime] = {}
        self.surveys = 0
        """How many surveys have begun."""
        self._failing_since: dict[WorkItem, datetime] = {}
        self._lock = Lock()

    @property
    def current_problems(self) -> Mapping[str, str]:
        """What is wrong now, by the part that it is wrong with, such as `MLflow` or `git`. Empty: all is well.

        What is wrong with one model only is that model's problem: see `late_models` and `failing_models`.
        """
        with self._lock:
            failed = list(self._failed.items())
        found = {error.what: error.message for item, error in failed if not _is_own_to_model(item, error)}
        return found | self._describe_stale_looks()

    @property
    def now(self) -> datetime:
        """The time that ages are measured at."""
        return self._clock.now()

    @property
    def looks(self) -> Mapping[str, datetime | None]:
        """When git, the registry and pull requests were last looked at with success, by kind; None: not yet."""
        return {kind.value: at for kind, at in self._looks.items()}

    @property
    def look_ages(self) -> Mapping[str, float]:
        """The seconds since each of these looks; where there was none yet, since the start."""
        now = self._clock.now()
        return {kind: (now - (at or self._created_at)).total_seconds() for kind, at in self.looks.items()}

    @property
    def late_models(self) -> Mapping[str, ModelTrouble]:
        """The models whose own work gets no answer in time, by name."""
        now = self._clock.now()
        with self._lock:
            failed = {item: error.message for item, error in self._failed.items() if _is_model_timeout(item, error)}
            running = {item: at for item, at in self._running.items() if item.kind is WorkKind.MODEL and now - at > _LATE_AFTER}
            late = {**dict.fromkeys(running, "a reconcile still waits for an answer"), **failed}
            since = {item: self._failing_since.get(item) or running.get(item, now) for item in late}
        return _index_by_model(late, since)

    @property
    def failing_models(self) -> Mapping[str, ModelTrouble]:
        """The models whose own work fails, for a reason that lies in the model, by name. Others go on."""
        with self._lock:
            failed = {
                item: str(error)
                for item, error in self._failed.items()
                if _is_own_to_model(item, error) and not _is_model_timeout(item, error)
            }
            return _index_by_model(failed, {item: self._failing_since[item] for item in failed})

    def watch(self, kind: WorkKind) -> None:
        """Expect good looks of that kind too, from now on."""
        self._looks.setdefault(kind, None)

    def record_start(self, item: WorkItem) -> None:
        """Remember that the item runs."""
        with self._lock:
            self._running[item] = self._clock.now()
            self.surveys += item.kind is WorkKind.REGISTRY

    def record_end(self, item: WorkItem) -> None:
        """Remember that the item no longer runs."""
        with self._lock:
            self._running.pop(item, None)

    def record_look(self, kind: WorkKind) -> None:
        """Remember that a look of that kind got its answers, whatever follows from them."""
        with self._lock:
            self._looks[kind] = self._clock.now()

    def record_success(self, item: WorkItem, at: datetime) -> None:
        """Forget the item's failure; the registry counts as checked where the item read it."""
        with self._lock:
            if item.kind in (WorkKind.REGISTRY, WorkKind.MODEL):
                self.checked = at
            if item.kind in self._looks:
                self._looks[item.kind] = at
            self._failed.pop(item, None)
            self._failing_since.pop(item, None)

    def record_failure(self, item: WorkItem, error: ExternalError) -> None:
        """Remember why the item failed, as the newest of all failures."""
        with self._lock:
            self._failed.pop(item, None)
            self._failed[item] = error
            if _is_own_to_model(item, error):
                self._failing_since.setdefault(item, self._running.get(item) or self._clock.now())

    def retain(self, kind: WorkKind, names: Collection[str]) -> None:
        """Forget the failures of that kind except for these names: nothing is due for the others any more."""
        with self._lock:
            self._failed = {item: error for item, error in self._failed.items() if item.kind is not kind or item.name in names}
            self._failing_since = {item: at for item, at in self._failing_since.items() if item in self._failed}

    def _describe_stale_looks(self) -> dict[str, str]:
        if self._interval is None:
            return {}
        limit = max(STALE_INTERVALS * self._interval, _SHORTEST_STALENESS).total_seconds()
        ages = self.look_ages
        return {
            f"watching {_WATCHED_PARTS[kind]}": f"no good look for {ages[kind]:.0f} s, where {limit:g} s are allowed: "
            + self._explain_missing_look(WorkItem(kind))
            for kind in self._looks
            if ages[kind] > limit
        }

    def _explain_missing_look(self, item: WorkItem) -> str:
        with self._lock:
            began, error = self._running.get(item), self._failed.get(item)
        if began and not (error and self._clock.now() - began < _LATE_AFTER):
            return f"one that began {(self._clock.now() - began).total_seconds():.0f} s ago is not done yet"
        return error.message if error else "none has ended, see the log"


_KINDS_OF_ONE_MODEL = (WorkKind.MODEL, WorkKind.PROPOSALS)


def _is_model_timeout(item: WorkItem, error: ExternalError) -> bool:
    return item.kind in _KINDS_OF_ONE_MODEL and isinstance(error, TimeLimitError)


def _is_own_to_model(item: WorkItem, error: ExternalError) -> bool:
    return item.kind in _KINDS_OF_ONE_MODEL and (error.about_one_model or isinstance(error, TimeLimitError))


def _index_by_model(reasons: Mapping[WorkItem, str], since: Mapping[WorkItem, datetime]) -> dict[str, ModelTrouble]:
    """The trouble by the model's name; where two kinds of its work are in trouble, that of its reconcile."""
    ordered = sorted(reasons, key=lambda item: (item.name, item.kind is WorkKind.MODEL))
    return {item.name: ModelTrouble(since[item], reasons[item]) for item in ordered}
