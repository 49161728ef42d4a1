"""Watch: what the daemon does with a key. `git`, `registry`, `model:NAME`, `pulls`, ...: each only says "look"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Lock, local
from typing import Protocol

import structlog

from promoter.application.look import Looker
from promoter.application.ports import Clock, Forge, PullRequest
from promoter.application.revisions import Revisions
from promoter.application.survey import ModelView, View
from promoter.domain.faults import OutsideError, Refused, Unavailable

log = structlog.get_logger(__name__)

GIT, REGISTRY, MODEL = "git", "registry", "model:"
WEBHOOK = "webhook:"
"""What triggers begin with that name a delivery: `webhook:SOURCE:ID`."""
PULLS, PULL, PROPOSALS = "pulls", "pull:", "proposals:"
"""All open pull requests; the plan of one, by number; Promoter's own proposals for a model."""


class Health:
    """What did not answer when last asked. Kept by key, so that one model's success hides no other's failure."""

    def __init__(self) -> None:
        """All is well as long as nobody says otherwise."""
        self.checked: datetime | None = None
        """When the registry was last looked at."""
        self.elsewhere: Mapping[str, str] = {}
        """Other registries that versions come from, and that cannot be read: nothing here waits for them."""
        self._failed: dict[str, OutsideError] = {}
        self._lock = Lock()

    @property
    def trouble(self) -> Mapping[str, str]:
        """Part of the world to what it said last. Empty: all well."""
        with self._lock:
            return {error.what: error.message for error in self._failed.values()}

    def good(self, key: str, at: datetime) -> None:
        """A look at the key went through."""
        with self._lock:
            if key == REGISTRY or key.startswith(MODEL):
                self.checked = at
            self._failed.pop(key, None)

    def bad(self, key: str, error: OutsideError) -> None:
        """A look at the key did not."""
        with self._lock:
            self._failed.pop(key, None)
            self._failed[key] = error

    def only(self, kind: str, names: Collection[str]) -> None:
        """Only these of a kind of keys still have to be looked at: what was wrong with others is over."""
        with self._lock:
            over = [key for key in self._failed if key.startswith(kind) and key.removeprefix(kind) not in names]
            for key in over:
                del self._failed[key]


class Proposals(Protocol):
    """Keeps Promoter's own pull requests."""

    def models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """The models that have something open, or something that waits to be opened; and `also`. Looks go by `opened`."""
        ...

    def one(self, model: str) -> bool:
        """Look at the proposals for a model; whether the model itself has to be looked at after that."""
        ...


class Plans(Protocol):
    """Keeps the plans on everybody's pull requests."""

    def relevant(self, opened: Sequence[PullRequest]) -> Sequence[int]:
        """The numbers of those that are to have a plan. Looks go by `opened`."""
        ...

    def one(self, number: int) -> None:
        """Plan one, and say so on it."""
        ...


@dataclass(frozen=True)
class Pulls:
    """What looks at pull requests."""

    forge: Forge
    proposals: Proposals
    plans: Plans


class Watch:
    """Runs one key, keeps the latest view of each model for those who read, and says when to look again."""

    def __init__(
        self, looker: Looker, revisions: Revisions, clock: Clock, backoff: Callable[[int], float], pulls: Pulls | None = None
    ) -> None:
        """`backoff` gives the seconds before another try, from the number of failures in a row. No `pulls`: no forge."""
        self.health = Health()
        self.put: Callable[[str, str], None] = lambda _key, _trigger: None
        """Where further looks are asked for."""
        self.pulls = pulls
        self._looker = looker
        self._revisions = revisions
        self._clock = clock
        self._backoff = backoff
        self._lock = Lock()
        self._cause = local()
        self._views: dict[str, tuple[datetime, ModelView]] = {}
        self._failures: dict[str, int] = {}
        revisions.announce = self._announce

    @property
    def views(self) -> Mapping[str, ModelView]:
        """The latest view of each model."""
        return {name: view for name, (_, view) in self._views.items()}

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
            self.health.bad(key, error)
            log.warning("not now, looking again", key=key, error=str(error), seconds=round(delay, 1))
            return delay
        except Refused as error:
            self.health.bad(key, error)
            log.error("a person has to act", key=key, error=str(error))
            return None
        self._failures.pop(key, None)
        self.health.good(key, self._clock.now())
        return None

    def _look(self, key: str, trigger: str) -> None:
        if key == GIT:
            with self._because_of(trigger):
                refreshed = self._revisions.refresh()
            if refreshed.refused:
                log.error("the branch's head is refused, the last good revision stays in force", why=refreshed.refused)
        elif key == REGISTRY:
            self._survey(trigger)
        elif key.startswith(MODEL):
            view = self._looker.one(key.removeprefix(MODEL), trigger)
            self._keep(view)
            self._propose(view, trigger)
        elif self.pulls:
            self._pull(self.pulls, key, trigger)

    def _survey(self, trigger: str) -> None:
        view = self._looker.all(trigger)
        if view is None:
            return
        before = self.views
        self._keep(view, whole=True)
        self.health.elsewhere = {each.trouble.what: each.trouble.message for each in view.holdings.values() if each.trouble}
        due = view.restless | self._looker.unfinished()
        self.health.only(MODEL, due)
        for name in sorted(due):
            self.put(MODEL + name, trigger)
        self._propose(view, trigger, before)
        if view.plan.refused:
            raise Refused("plan", view.plan.refused)

    def _propose(self, view: View | None, trigger: str, before: Mapping[str, ModelView] | None = None) -> None:
        """Ask for a look at the proposals of each model that has something for a pull request.

        Not where it had the same in the views `before`: the poll of pull requests looks at those, with one list for all.
        """
        if view is None or not self.pulls:
            return
        for name in sorted(view.proposing):
            was = before.get(name) if before else None
            if was is None or _through_pulls(was) != _through_pulls(view.models[name]):
                self.put(PROPOSALS + name, trigger)

    def _pull(self, pulls: Pulls, key: str, trigger: str) -> None:
        if key == PULLS:
            opened = pulls.forge.open_pull_requests()
            proposing = {name for name, view in self.views.items() if view.proposes}
            models = pulls.proposals.models(opened, proposing)
            numbers = {str(number) for number in pulls.plans.relevant(opened)}
            self.health.only(PULL, numbers)
            for name in sorted(models):
                self.put(PROPOSALS + name, trigger)
            for number in sorted(numbers):
                self.put(PULL + number, trigger)
        elif key.startswith(PULL):
            pulls.plans.one(int(key.removeprefix(PULL)))
        elif pulls.proposals.one(key.removeprefix(PROPOSALS)):
            self.put(MODEL + key.removeprefix(PROPOSALS), trigger)

    @contextmanager
    def _because_of(self, trigger: str) -> Iterator[None]:
        """A revision that is announced meanwhile, in this thread, came by that delivery; without one, git alone is told."""
        self._cause.trigger = trigger if trigger.startswith(WEBHOOK) else GIT
        try:
            yield
        finally:
            del self._cause.trigger

    def _announce(self, models: frozenset[str] | None) -> None:
        trigger = getattr(self._cause, "trigger", GIT)
        if self.pulls:
            self.put(PULLS, trigger)
        if models is None:
            self.put(REGISTRY, trigger)
            return
        for name in sorted(models):
            self.put(MODEL + name, trigger)

    def _keep(self, view: View | None, *, whole: bool = False) -> None:
        """Keep what was seen last: a look at one model may end while a survey, which began before it, still runs."""
        if view is None:
            return
        with self._lock:
            kept = self._views
            news = {name: (view.at, each) for name, each in view.models.items()}
            older = {name for name in news if name in kept and kept[name][0] > view.at}
            self._views = {} if whole else dict(kept)
            self._views.update({name: kept[name] if name in older else new for name, new in news.items()})


def _through_pulls(view: ModelView) -> tuple[object, ...]:
    """What a model has for a pull request, without the evidence for it."""
    found = ((each.aim, each.edit.alias, each.edit.version) for each in view.proposals)
    drift = ((each.alias, each.from_version) for each in view.compared.reported)
    return view.proposes, tuple(found), tuple(drift), tuple(each.id for each in view.overrides)
