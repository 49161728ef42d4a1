"""Watch: what the daemon does with a key. `git`, `registry`, or `model:NAME`: each only says "look", none carries state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

import structlog

from promoter.application.look import Looker
from promoter.application.ports import Clock
from promoter.application.revisions import Revisions
from promoter.application.survey import ModelView, View
from promoter.domain.faults import OutsideError, Refused, Unavailable

log = structlog.get_logger(__name__)

GIT, REGISTRY, MODEL = "git", "registry", "model:"


@dataclass
class Health:
    """Which parts of the world did not answer when last asked: part to what it said. Empty: all well."""

    trouble: dict[str, str] = field(default_factory=dict)
    checked: datetime | None = None
    _lock: Lock = field(default_factory=Lock)

    def good(self, at: datetime, *parts: str) -> None:
        """These parts answered."""
        with self._lock:
            self.checked = at
            for part in parts:
                self.trouble.pop(part, None)

    def bad(self, error: OutsideError) -> None:
        """That part did not."""
        with self._lock:
            self.trouble[error.what] = error.message


class Watch:
    """Runs one key, keeps the latest view of each model for those who read, and says when to look again."""

    def __init__(self, looker: Looker, revisions: Revisions, clock: Clock, backoff: Callable[[int], float]) -> None:
        """`backoff` gives the seconds before another try, from the number of failures in a row."""
        self.health = Health()
        self.put: Callable[[str, str], None] = lambda _key, _trigger: None
        """Where further looks are asked for."""
        self._looker = looker
        self._revisions = revisions
        self._clock = clock
        self._backoff = backoff
        self._views: dict[str, ModelView] = {}
        self._failures: dict[str, int] = {}
        revisions.announce = self._announce

    @property
    def views(self) -> Mapping[str, ModelView]:
        """The latest view of each model."""
        return dict(self._views)

    @property
    def revisions(self) -> Revisions:
        """Which revision is in force."""
        return self._revisions

    def run(self, key: str, trigger: str) -> float | None:
        """Look once. None, or after how many seconds to look again; faults of the world are told, never raised."""
        try:
            self._look(key, trigger)
        except Unavailable as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = self._backoff(failures)
            self.health.bad(error)
            log.warning("not now, looking again", key=key, error=str(error), seconds=round(delay, 1))
            return delay
        except Refused as error:
            if error.what != "plan":
                self.health.bad(error)
            log.error("a person has to act", key=key, error=str(error))
            return None
        self._failures.pop(key, None)
        return None

    def _look(self, key: str, trigger: str) -> None:
        if key == GIT:
            refreshed = self._revisions.refresh()
            self.health.good(self._clock.now(), "git")
            if refreshed.refused:
                log.error("the branch's head is refused, the last good revision stays in force", why=refreshed.refused)
        elif key == REGISTRY:
            self._survey(trigger)
        else:
            self._keep(self._looker.one(key.removeprefix(MODEL), trigger))
            self.health.good(self._clock.now(), "MLflow", "ledger")

    def _survey(self, trigger: str) -> None:
        view = self._looker.all()
        if view is None:
            return
        self.health.good(self._clock.now(), "MLflow", "ledger")
        self._views = dict(view.models)
        if view.plan.refused:
            self.health.bad(Refused("plan", view.plan.refused))
            log.error("the plan is refused", why=view.plan.refused)
        else:
            self.health.good(self._clock.now(), "plan")
        for name in sorted(view.restless | self._looker.unfinished()):
            self.put(MODEL + name, trigger)

    def _announce(self, models: frozenset[str] | None) -> None:
        if models is None:
            self.put(REGISTRY, "git")
            return
        for name in sorted(models):
            self.put(MODEL + name, "git")

    def _keep(self, view: View | None) -> None:
        if view is not None:
            self._views.update(view.models)
