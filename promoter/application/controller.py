"""The controller: carries out work items, keeps the latest snapshots and the health, and asks for the work that follows."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

import structlog

from promoter import __version__
from promoter.application.figures import MISSING, WorkFigures
from promoter.application.health import ControllerHealth
from promoter.application.planner import Planner
from promoter.application.ports import Clock, Forge, HostSystem, ObservationLog, PullRequest
from promoter.application.reconciler import ModelReconciler
from promoter.application.revisions import GIT_TRIGGER, RevisionTracker
from promoter.application.snapshots import ModelSnapshot, RegistrySnapshot
from promoter.application.work_items import (
    PULLS,
    RESULTS,
    EnqueueWork,
    Trigger,
    WorkItem,
    WorkKind,
)
from promoter.domain.audit import WEBHOOK_TRIGGER
from promoter.domain.decision import Verdict
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.fields import format_utc
from promoter.domain.ledger.checkpoints import (
    HEARTBEAT_INTERVAL,
    DaemonPresence,
    LifecycleEvent,
    LifecycleEventType,
    find_present_daemons,
)
from promoter.domain.plan import BlockedTarget, Change, ChangeCause
from promoter.domain.text import version_label

log = structlog.get_logger(__name__)


MAX_SURVEY_DELAY = 2.0
"""Seconds until all of the registry is read again at the latest, however often that failed: everything else waits for it."""


class ProposalWork(Protocol):
    """Keeps Promoter's own pull requests."""

    def find_models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """Return the models that have an open pull request, or something that waits for one; and `also`. `opened` lists all."""
        ...

    def reconcile_model(self, model: str) -> bool:
        """Make the proposals for a model as they should be; whether the model itself has to be reconciled after that."""
        ...


class PullPlanWork(Protocol):
    """Keeps the plans on everybody's pull requests."""

    def find_relevant_numbers(self, opened: Sequence[PullRequest]) -> Sequence[int]:
        """Return the numbers of the pull requests that need a plan, from the list `opened` of all."""
        ...

    def update_plan(self, number: int) -> None:
        """Plan one pull request, and keep the plan in its comment and its commit status."""
        ...


class MergeResultWork(Protocol):
    """Reports what came of merges."""

    def report_results(self, snapshots: Mapping[str, ModelSnapshot], trouble: Mapping[str, str]) -> None:
        """Report what is new. `snapshots`: the latest of each model; `trouble`: why the work on models fails, by model."""
        ...


@dataclass(frozen=True)
class PullRequestWork:
    """The use cases that work on pull requests."""

    forge: Forge
    proposals: ProposalWork
    plans: PullPlanWork
    results: MergeResultWork


class FindingLogger:
    """Logs drift and blocks when a snapshot shows them first, and not again until they were gone, or are others."""

    def __init__(self, figures: WorkFigures) -> None:
        """Nothing is known yet: after a restart, each finding is logged once more. `figures` counts blocks."""
        self._figures = figures
        self._known: dict[str, frozenset[Finding]] = {}
        self._refused: str | None = None
        self._lock = Lock()

    def log_new_findings(self, snapshot: RegistrySnapshot, outdated: Collection[str], *, whole: bool) -> None:
        """Log what is new in the snapshot, but for the `outdated` models, of which a newer one is known.

        `whole`: it is of all models, so that others are not managed any more.
        """
        found: dict[str, dict[Finding, tuple[int, dict[str, str]]]] = {}
        found.update({name: {} for name in snapshot.models if name not in outdated})
        for finding, level, facts in _list_findings(snapshot):
            if finding.model in found:
                found[finding.model][finding] = (level, facts)
        with self._lock:
            known = self._known
            self._known = {name: each for name, each in known.items() if not whole or name in outdated}
            self._known.update({name: frozenset(each) for name, each in found.items()})
        for name, findings in found.items():
            for finding, (level, facts) in findings.items():
                if finding not in known.get(name, ()):
                    alias = {"alias": finding.alias} if finding.alias else {}
                    log.log(level, finding.what, model=name, **alias, **facts)
                    if "verdict" in facts:
                        self._figures.count_block(facts["verdict"])

    def log_refused_head(self, refused: str | None) -> None:
        """Log that the branch's head is refused, and why, unless that was logged already."""
        with self._lock:
            new, self._refused = refused != self._refused, refused
        if refused and new:
            log.error("the branch's head is refused, the last good revision stays in force", why=refused)


@dataclass(frozen=True)
class Finding:
    """Something of one alias, or of a whole model, that people should hear of once."""

    what: str
    """The words of the log line."""
    model: str
    alias: str | None
    detail: tuple[object, ...]
    """What makes it another finding. Reasons in words may count hours, and are not part of it."""


def _list_findings(snapshot: RegistrySnapshot) -> Iterator[tuple[Finding, int, dict[str, str]]]:
    """List drift and blocks, each with the level of its log line and what that says."""
    plan = snapshot.plan
    ends = {"report": "it is only reported", "adopt": "git is asked to adopt it"}
    drifted = [each.difference for each in plan.changes if each.difference.cause is ChangeCause.DRIFT]
    ended = {(each.model, each.alias) for each in snapshot.ended_overrides}
    for drift in (*drifted, *plan.reported):
        versions = (drift.from_version, drift.to_version)
        on_drift = snapshot.models[drift.model].intent.on_drift
        then = "it is put back" if drift in drifted else ends.get(on_drift, "it stays")
        facts = {"registry": version_label(versions[0]), "git": version_label(versions[1]), "then": then}
        what = "override ended, git counts again" if (drift.model, drift.alias) in ended else "alias drifted"
        yield Finding(what, drift.model, drift.alias, versions), logging.WARNING, facts
    gated = {(each.difference.model, each.difference.alias): each for each in plan.changes if not each.is_allowed}
    for block in plan.blocked:
        change = gated.get((block.model, block.alias or ""))
        verdict = change.gate_verdict if change else None
        detail = (change.difference.to_version, verdict) if change else (block.reason,)
        level = logging.INFO if verdict is Verdict.PENDING else logging.WARNING
        yield Finding("change blocked", block.model, block.alias, detail), level, _describe_block(block, change)


def _describe_block(block: BlockedTarget, change: Change | None) -> dict[str, str]:
    """Return the facts of a block's log line: the reason, and of a policy the version and the unmet rules."""
    if change is None or change.decision is None:
        return {"verdict": MISSING, "why": block.reason}
    decision = change.decision
    unmet = "; ".join(f"{each.rule} is {each.verdict.value}" for each in decision.unmet_findings)
    return {
        "version": version_label(decision.version),
        "policy": decision.policy or "readiness",
        "verdict": decision.verdict.value,
        "unmet": unmet,
        "why": block.reason,
    }


class Controller:
    """Runs one work item at a time, keeps the latest snapshot of each model for the web, and says when to try again."""

    def __init__(
        self,
        model_reconciler: ModelReconciler,
        revisions: RevisionTracker,
        clock: Clock,
        backoff: Callable[[int], float],
        enqueue: EnqueueWork,
        pull_request_work: PullRequestWork | None = None,
        poll_interval: timedelta | None = None,
    ) -> None:
        """`backoff` gives the seconds before another try, from the number of failures in a row.

        `enqueue` asks for the work that follows; no `pull_request_work`: no forge is configured; no `poll_interval`: nobody
        polls.
        """
        self.health = ControllerHealth(clock, poll_interval)
        self.pull_request_work = pull_request_work
        if pull_request_work:
            self.health.watch(WorkKind.PULLS)
        self._enqueue = enqueue
        self._model_reconciler = model_reconciler
        self._revisions = revisions
        self._clock = clock
        self._backoff = backoff
        self._lock = Lock()
        self._snapshots: dict[str, tuple[datetime, ModelSnapshot]] = {}
        self._failures: dict[WorkItem, int] = {}
        self.figures = model_reconciler.figures
        self._findings = FindingLogger(self.figures)

    @property
    def snapshots(self) -> Mapping[str, ModelSnapshot]:
        """The latest snapshot of each model, by name."""
        return {name: snapshot for name, (_, snapshot) in self._snapshots.items()}

    @property
    def revisions(self) -> RevisionTracker:
        """What knows which revision is in force."""
        return self._revisions

    @property
    def workspace(self) -> str | None:
        """The workspace of the registry; None where its server has none, or nobody knows yet."""
        return self._model_reconciler.workspace

    def run_work_item(self, item: WorkItem, trigger: Trigger) -> float | None:
        """Carry the item out. Return None, or the seconds until it is due again; external errors are logged, never raised."""
        with self.figures.measure(item.kind):
            return self._run_recorded(item, trigger)

    def _run_recorded(self, item: WorkItem, trigger: Trigger) -> float | None:
        self.health.record_start(item)
        try:
            self._dispatch_work_item(item, trigger)
        except TransientError as error:
            failures = self._failures[item] = self._failures.get(item, 0) + 1
            delay = self._backoff(failures)
            if item.kind is WorkKind.REGISTRY:
                delay = min(delay, MAX_SURVEY_DELAY)
            self._record_failure(item, error)
            log.warning("not now, looking again", key=str(item), error=str(error), seconds=round(delay, 1))
            return delay
        except PermanentError as error:
            self._record_failure(item, error)
            log.error("a person has to act", key=str(item), error=str(error))
            return None
        finally:
            self.health.record_end(item)
            if self.pull_request_work and item.kind in (WorkKind.GIT, WorkKind.MODEL, WorkKind.PULLS):
                self._enqueue(RESULTS, trigger)
        self._failures.pop(item, None)
        self.health.record_success(item, self._clock.now())
        return None

    def _record_failure(self, item: WorkItem, error: ExternalError) -> None:
        self.health.record_failure(item, error)
        self.figures.count_failure(item.kind)

    def _dispatch_work_item(self, item: WorkItem, trigger: Trigger) -> None:
        match item.kind:
            case WorkKind.GIT:
                # Work that follows from a new revision is recorded under the delivery that brought it, else under git.
                refreshed = self._revisions.refresh_head(trigger if trigger.startswith(WEBHOOK_TRIGGER) else GIT_TRIGGER)
                self._findings.log_refused_head(refreshed.refused)
            case WorkKind.REGISTRY:
                self._plan_all_models(trigger)
            case WorkKind.MODEL:
                snapshot = self._model_reconciler.reconcile(item.name, trigger)
                self._store_snapshots(snapshot)
                self._enqueue_proposals(snapshot, trigger)
            case _ if self.pull_request_work:
                self._model_reconciler.require_own_registry()
                self._revisions.require_own_folder()
                self._run_pull_request_item(self.pull_request_work, item, trigger)

    def _plan_all_models(self, trigger: Trigger) -> None:
        snapshot = self._model_reconciler.plan_all(trigger)
        if snapshot is None:
            return
        self.health.record_look(WorkKind.REGISTRY)
        before = self.snapshots
        self._store_snapshots(snapshot, whole=True)
        self.health.source_problems = {
            each.trouble.what: each.trouble.message for each in snapshot.source_aliases.values() if each.trouble
        }
        due = snapshot.needs_reconcile | self._model_reconciler.find_unfinished_models()
        self.health.retain(WorkKind.MODEL, due)
        for name in sorted(due):
            self._enqueue(WorkItem(WorkKind.MODEL, name), trigger)
        self._enqueue_proposals(snapshot, trigger, before)
        if snapshot.plan.refused:
            raise PermanentError("plan", snapshot.plan.refused)

    def _enqueue_proposals(
        self, snapshot: RegistrySnapshot | None, trigger: Trigger, before: Mapping[str, ModelSnapshot] | None = None
    ) -> None:
        """Enqueue the proposals of each model that has something for a pull request.

        Not where it had the same in the snapshots `before`: the poll of pull requests covers those, with one list for all.
        """
        if snapshot is None or not self.pull_request_work:
            return
        for name in sorted(snapshot.models_to_propose):
            was = before.get(name) if before else None
            if was is None or _find_pull_request_content(was) != _find_pull_request_content(snapshot.models[name]):
                self._enqueue(WorkItem(WorkKind.PROPOSALS, name), trigger)

    def _run_pull_request_item(self, pulls: PullRequestWork, item: WorkItem, trigger: Trigger) -> None:
        if item == PULLS:
            opened = pulls.forge.list_open_pull_requests()
            proposing = {name for name, snapshot in self.snapshots.items() if snapshot.needs_pull_request}
            models = pulls.proposals.find_models(opened, proposing)
            numbers = {str(number) for number in pulls.plans.find_relevant_numbers(opened)}
            self.health.retain(WorkKind.PULL, numbers)
            for name in sorted(models):
                self._enqueue(WorkItem(WorkKind.PROPOSALS, name), trigger)
            for number in sorted(numbers):
                self._enqueue(WorkItem(WorkKind.PULL, number), trigger)
        elif item.kind is WorkKind.RESULTS:
            trouble = {**self.health.failing_models, **self.health.late_models}
            pulls.results.report_results(self.snapshots, {name: each.reason for name, each in trouble.items()})
        elif item.kind is WorkKind.PULL:
            pulls.plans.update_plan(int(item.name))
        elif pulls.proposals.reconcile_model(item.name):
            self._enqueue(WorkItem(WorkKind.MODEL, item.name), trigger)

    def _store_snapshots(self, snapshot: RegistrySnapshot | None, *, whole: bool = False) -> None:
        """Keep the newest of each model: a reconcile of one may end while a plan of all, which began before it, still runs."""
        if snapshot is None:
            return
        with self._lock:
            kept = self._snapshots
            news = {name: (snapshot.at, each) for name, each in snapshot.models.items()}
            older = {name for name in news if name in kept and kept[name][0] > snapshot.at}
            self._snapshots = {} if whole else dict(kept)
            self._snapshots.update({name: kept[name] if name in older else new for name, new in news.items()})
        self._findings.log_new_findings(snapshot, older, whole=whole)


def _find_pull_request_content(snapshot: ModelSnapshot) -> tuple[object, ...]:
    """Return what a model has for a pull request, without the evidence for it."""
    found = ((each.aim, each.edit.alias, each.edit.version) for each in snapshot.proposals)
    drift = ((each.alias, each.from_version) for each in snapshot.compared.reported)
    return snapshot.needs_pull_request, tuple(found), tuple(drift), tuple(each.id for each in snapshot.active_overrides)


class Heartbeat:
    """Records in the ledger that this daemon runs. A ledger that cannot be written now is logged, and stops nothing else."""

    def __init__(self, ledger: ObservationLog, clock: Clock, planner: Planner, system: HostSystem) -> None:
        """Gives the run a name."""
        self.run = uuid.uuid4().hex
        self._system = system
        self._since: datetime | None = None
        self._ledger = ledger
        self._clock = clock
        self._planner = planner

    def record_start(self) -> None:
        """Record that the daemon has started, and log which other daemons work on the same ledger."""
        self._log_others()
        self._record_event(LifecycleEventType.STARTED)

    def record_heartbeat(self) -> None:
        """Record that the daemon still runs."""
        self._record_event(LifecycleEventType.WATCHING)

    def record_stop(self) -> None:
        """Record that the daemon stops."""
        self._record_event(LifecycleEventType.STOPPED)

    def find_others(self) -> Sequence[DaemonPresence]:
        """Find the other daemons that work on the ledger, the newest last; one that died on this host is none.

        One that died on another host counts until it has been silent for two heartbeats.
        """
        now, host = self._clock.now(), self._system.host_name
        found = find_present_daemons(self._ledger.find_lifecycle_events(now - 3 * HEARTBEAT_INTERVAL), now)
        return [
            each
            for each in found
            if each.run != self.run
            and not (each.host == host and (each.process == self._system.process_id or not self._system.is_alive(each.process)))
        ]

    def _log_others(self) -> None:
        try:
            others = self.find_others()
        except ExternalError as error:
            log.warning("the ledger cannot be read for other daemons", error=str(error))
            return
        for each in others:
            log.info(
                "another daemon works on this ledger, which is fine: only one of them works on a model at a time",
                host=each.host or "unknown",
                process=each.process or None,
                since=format_utc(each.since),
                last_seen=format_utc(each.last_seen_at),
            )

    def _record_event(self, event: LifecycleEventType) -> None:
        now, observed_until = self._clock.now(), self._planner.observed_until
        self._since = self._since or now
        details = {
            "run": self.run,
            "tool": __version__,
            "host": self._system.host_name,
            "process": self._system.process_id,
            "since": self._since.isoformat(),
            **({"looked": observed_until.isoformat()} if observed_until else {}),
        }
        try:
            self._ledger.record_lifecycle_event(LifecycleEvent(now, event, details))
        except ExternalError as error:
            log.warning("the ledger cannot be told that somebody watches", milestone=event.value, error=str(error))
