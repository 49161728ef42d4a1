"""Watch: what the daemon does with a key. `git`, `registry`, `model:NAME`, `pulls`, ...: each only says "look"."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Lock, local
from typing import Protocol

import structlog

from promoter import __version__
from promoter.application.planner import ModelSnapshot, Planner, RegistrySnapshot
from promoter.application.ports import Clock, Forge, Ledger, PullRequest
from promoter.application.reconciler import ModelReconciler
from promoter.application.revisions import RevisionTracker
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType

log = structlog.get_logger(__name__)


GIT, REGISTRY, MODEL = "git", "registry", "model:"
WEBHOOK = "webhook:"
"""What triggers begin with that name a delivery: `webhook:SOURCE:ID`."""
PULLS, PULL, PROPOSALS = "pulls", "pull:", "proposals:"
"""All open pull requests; the plan of one, by number; Promoter's own proposals for a model."""


class ControllerHealth:
    """What did not answer when last asked. Kept by key, so that one model's success hides no other's failure."""

    def __init__(self) -> None:
        """All is well as long as nobody says otherwise."""
        self.checked: datetime | None = None
        """When the registry was last looked at."""
        self.source_problems: Mapping[str, str] = {}
        """Other registries that versions come from, and that cannot be read: nothing here waits for them."""
        self._failed: dict[str, ExternalError] = {}
        self._lock = Lock()

    @property
    def current_problems(self) -> Mapping[str, str]:
        """Part of the world to what it said last. Empty: all well."""
        with self._lock:
            return {error.what: error.message for error in self._failed.values()}

    def record_success(self, key: str, at: datetime) -> None:
        """A look at the key went through."""
        with self._lock:
            if key == REGISTRY or key.startswith(MODEL):
                self.checked = at
            self._failed.pop(key, None)

    def record_failure(self, key: str, error: ExternalError) -> None:
        """A look at the key did not."""
        with self._lock:
            self._failed.pop(key, None)
            self._failed[key] = error

    def retain(self, kind: str, names: Collection[str]) -> None:
        """Only these of a kind of keys still have to be looked at: what was wrong with others is over."""
        with self._lock:
            over = [key for key in self._failed if key.startswith(kind) and key.removeprefix(kind) not in names]
            for key in over:
                del self._failed[key]


class ProposalWork(Protocol):
    """Keeps Promoter's own pull requests."""

    def find_models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """The models that have something open, or something that waits to be opened; and `also`. Looks go by `opened`."""
        ...

    def reconcile_model(self, model: str) -> bool:
        """Look at the proposals for a model; whether the model itself has to be looked at after that."""
        ...


class PullPlanWork(Protocol):
    """Keeps the plans on everybody's pull requests."""

    def find_relevant_numbers(self, opened: Sequence[PullRequest]) -> Sequence[int]:
        """The numbers of those that are to have a plan. Looks go by `opened`."""
        ...

    def update_plan(self, number: int) -> None:
        """Plan one, and say so on it."""
        ...


@dataclass(frozen=True)
class PullRequestWork:
    """What looks at pull requests."""

    forge: Forge
    proposals: ProposalWork
    plans: PullPlanWork


class Controller:
    """Runs one key, keeps the latest view of each model for those who read, and says when to look again."""

    def __init__(
        self,
        looker: ModelReconciler,
        revisions: RevisionTracker,
        clock: Clock,
        backoff: Callable[[int], float],
        pulls: PullRequestWork | None = None,
    ) -> None:
        """`backoff` gives the seconds before another try, from the number of failures in a row. No `pulls`: no forge."""
        self.health = ControllerHealth()
        self.enqueue: Callable[[str, str], None] = lambda _key, _trigger: None
        """Where further looks are asked for."""
        self.pull_request_work = pulls
        self._model_reconciler = looker
        self._revisions = revisions
        self._clock = clock
        self._backoff = backoff
        self._lock = Lock()
        self._cause = local()
        self._snapshots: dict[str, tuple[datetime, ModelSnapshot]] = {}
        self._failures: dict[str, int] = {}
        revisions.announce = self._enqueue_affected_models

    @property
    def snapshots(self) -> Mapping[str, ModelSnapshot]:
        """The latest view of each model."""
        return {name: view for name, (_, view) in self._snapshots.items()}

    @property
    def revisions(self) -> RevisionTracker:
        """Which revision is in force."""
        return self._revisions

    def run_work_item(self, key: str, trigger: str) -> float | None:
        """Look once. None, or after how many seconds to look again; faults of the world are told, never raised."""
        try:
            self._dispatch_work_item(key, trigger)
        except TransientError as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = self._backoff(failures)
            self.health.record_failure(key, error)
            log.warning("not now, looking again", key=key, error=str(error), seconds=round(delay, 1))
            return delay
        except PermanentError as error:
            self.health.record_failure(key, error)
            log.error("a person has to act", key=key, error=str(error))
            return None
        self._failures.pop(key, None)
        self.health.record_success(key, self._clock.now())
        return None

    def _dispatch_work_item(self, key: str, trigger: str) -> None:
        if key == GIT:
            with self._caused_by(trigger):
                refreshed = self._revisions.refresh_head()
            if refreshed.refused:
                log.error("the branch's head is refused, the last good revision stays in force", why=refreshed.refused)
        elif key == REGISTRY:
            self._plan_all_models(trigger)
        elif key.startswith(MODEL):
            view = self._model_reconciler.reconcile(key.removeprefix(MODEL), trigger)
            self._store_snapshots(view)
            self._enqueue_proposals(view, trigger)
        elif self.pull_request_work:
            self._run_pull_request_item(self.pull_request_work, key, trigger)

    def _plan_all_models(self, trigger: str) -> None:
        view = self._model_reconciler.plan_all(trigger)
        if view is None:
            return
        before = self.snapshots
        self._store_snapshots(view, whole=True)
        self.health.source_problems = {
            each.trouble.what: each.trouble.message for each in view.source_aliases.values() if each.trouble
        }
        due = view.needs_reconcile | self._model_reconciler.find_unfinished_models()
        self.health.retain(MODEL, due)
        for name in sorted(due):
            self.enqueue(MODEL + name, trigger)
        self._enqueue_proposals(view, trigger, before)
        if view.plan.refused:
            raise PermanentError("plan", view.plan.refused)

    def _enqueue_proposals(
        self, view: RegistrySnapshot | None, trigger: str, before: Mapping[str, ModelSnapshot] | None = None
    ) -> None:
        """Ask for a look at the proposals of each model that has something for a pull request.

        Not where it had the same in the views `before`: the poll of pull requests looks at those, with one list for all.
        """
        if view is None or not self.pull_request_work:
            return
        for name in sorted(view.models_to_propose):
            was = before.get(name) if before else None
            if was is None or _find_pull_request_content(was) != _find_pull_request_content(view.models[name]):
                self.enqueue(PROPOSALS + name, trigger)

    def _run_pull_request_item(self, pulls: PullRequestWork, key: str, trigger: str) -> None:
        if key == PULLS:
            opened = pulls.forge.list_open_pull_requests()
            proposing = {name for name, view in self.snapshots.items() if view.needs_pull_request}
            models = pulls.proposals.find_models(opened, proposing)
            numbers = {str(number) for number in pulls.plans.find_relevant_numbers(opened)}
            self.health.retain(PULL, numbers)
            for name in sorted(models):
                self.enqueue(PROPOSALS + name, trigger)
            for number in sorted(numbers):
                self.enqueue(PULL + number, trigger)
        elif key.startswith(PULL):
            pulls.plans.update_plan(int(key.removeprefix(PULL)))
        elif pulls.proposals.reconcile_model(key.removeprefix(PROPOSALS)):
            self.enqueue(MODEL + key.removeprefix(PROPOSALS), trigger)

    @contextmanager
    def _caused_by(self, trigger: str) -> Iterator[None]:
        """A revision that is announced meanwhile, in this thread, came by that delivery; without one, git alone is told."""
        self._cause.trigger = trigger if trigger.startswith(WEBHOOK) else GIT
        try:
            yield
        finally:
            del self._cause.trigger

    def _enqueue_affected_models(self, models: frozenset[str] | None) -> None:
        trigger = getattr(self._cause, "trigger", GIT)
        if self.pull_request_work:
            self.enqueue(PULLS, trigger)
        if models is None:
            self.enqueue(REGISTRY, trigger)
            return
        for name in sorted(models):
            self.enqueue(MODEL + name, trigger)

    def _store_snapshots(self, view: RegistrySnapshot | None, *, whole: bool = False) -> None:
        """Keep what was seen last: a look at one model may end while a survey, which began before it, still runs."""
        if view is None:
            return
        with self._lock:
            kept = self._snapshots
            news = {name: (view.at, each) for name, each in view.models.items()}
            older = {name for name in news if name in kept and kept[name][0] > view.at}
            self._snapshots = {} if whole else dict(kept)
            self._snapshots.update({name: kept[name] if name in older else new for name, new in news.items()})


def _find_pull_request_content(view: ModelSnapshot) -> tuple[object, ...]:
    """What a model has for a pull request, without the evidence for it."""
    found = ((each.aim, each.edit.alias, each.edit.version) for each in view.proposals)
    drift = ((each.alias, each.from_version) for each in view.compared.reported)
    return view.needs_pull_request, tuple(found), tuple(drift), tuple(each.id for each in view.active_overrides)


class Heartbeat:
    """One run of a daemon. A ledger that cannot be written now is told in the log: to say so keeps nothing else waiting."""

    def __init__(self, ledger: Ledger, clock: Clock, survey: Planner) -> None:
        """Gives the run a name."""
        self.run = uuid.uuid4().hex
        self._ledger = ledger
        self._clock = clock
        self._planner = survey

    def record_start(self) -> None:
        """It begins to watch."""
        self._record_event(LifecycleEventType.STARTED)

    def record_heartbeat(self) -> None:
        """It still watches."""
        self._record_event(LifecycleEventType.WATCHING)

    def record_stop(self) -> None:
        """It watches no more."""
        self._record_event(LifecycleEventType.STOPPED)

    def _record_event(self, event: LifecycleEventType) -> None:
        observed_until = self._planner.observed_until
        details = {"run": self.run, "tool": __version__, **({"looked": observed_until.isoformat()} if observed_until else {})}
        try:
            self._ledger.record_lifecycle_event(LifecycleEvent(self._clock.now(), event, details))
        except ExternalError as error:
            log.warning("the ledger cannot be told that somebody watches", milestone=event.value, error=str(error))
