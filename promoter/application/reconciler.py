"""The reconciler: brings models to a revision, round by round: recover, plan, apply, record, copy or propose."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from promoter.application.apply import PlanExecutor, ReconcileRequest
from promoter.application.figures import WorkFigures
from promoter.application.planner import Planner
from promoter.application.ports import Clock, LastApplied, Ledger, Locks, VersionCopies
from promoter.application.proposals.commits import RotationProposer
from promoter.application.registry_binding import RegistryBinding
from promoter.application.revisions import RevisionTracker
from promoter.application.snapshots import RegistrySnapshot
from promoter.domain.audit import RevisionState
from promoter.domain.copy_source import find_withheld_tags
from promoter.domain.desired import Declaration
from promoter.domain.errors import Conflict, ExternalError, PermanentError, TransientError
from promoter.domain.plan import Change

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CopyResult:
    """How many copies were made, and what stood in the way of the first that was not."""

    made: int = 0
    trouble: ExternalError | None = None


class VersionCopier:
    """Copies the versions of other registries that rotation waits for. No alias moves. The caller holds the model's lock."""

    def __init__(self, copies: VersionCopies) -> None:
        self._copies = copies

    def __call__(self, snapshot: RegistrySnapshot, require_lock: Callable[[str], None]) -> CopyResult:
        """Make one copy after the other, each once, however many aliases wait for it. One that fails holds up no other.

        `require_lock` raises `TransientError` where the lock of a model was lost: a copy takes long, and is to be made once.
        """
        wanted = {
            (rotation_status.model, rotation_status.missing.short_digest): rotation_status.missing
            for model in snapshot.models.values()
            for rotation_status in model.rotation_statuses
            if rotation_status.missing
        }
        made, trouble = 0, None
        for (model, _), source in wanted.items():
            require_lock(model)
            try:
                number = self._copies.copy_version(source, model, _find_withheld_tags(snapshot, model))
            except ExternalError as error:
                log.warning("not copied", model=model, source=str(source), error=str(error))
                trouble = trouble or error
                continue
            made += 1
            log.info("copied", model=model, version=number, source=str(source))
        return CopyResult(made, trouble)


def _find_withheld_tags(snapshot: RegistrySnapshot, model: str) -> frozenset[str]:
    """Return the tags that the policies of the model's aliases ask for on a copy itself."""
    names = {alias.policy for alias in snapshot.models[model].intent.aliases.values() if alias.policy}
    return find_withheld_tags(snapshot.declaration.policies[name] for name in sorted(names))


MAX_ROUNDS = 8
"""How often one reconcile plans again, after its own proposals or where the registry moves, before it leaves the rest."""


class ModelReconciler:
    """Reconciles one model, or plans all. Every trigger ends here; none of them carries state."""

    def __init__(  # noqa: PLR0913  # keyword-only: one for each port or use case that it works with
        self,
        *,
        planner: Planner,
        executor: PlanExecutor,
        copier: VersionCopier,
        proposer: RotationProposer,
        revisions: RevisionTracker,
        ledger: Ledger,
        locks: Locks,
        binding: RegistryBinding,
    ) -> None:
        self._binding = binding
        self._planner = planner
        self._executor = executor
        self._copier = copier
        self._proposer = proposer
        self._revisions = revisions
        self._ledger = ledger
        self._locks = locks

    @property
    def figures(self) -> WorkFigures:
        """The figures of the work, for monitoring."""
        return self._executor.figures

    @property
    def workspace(self) -> str | None:
        """The workspace of the registry; None where its server has none."""
        return self._binding.workspace

    def plan_all(self, trigger: str | None = None) -> RegistrySnapshot | None:
        """Plan everything that is managed, and record what is seen for the first time. None: no revision is in force."""
        declaration = self._revisions.declaration_in_force
        return None if declaration is None else self.plan_declaration(declaration, trigger)

    def plan_declaration(self, declaration: Declaration, trigger: str | None = None) -> RegistrySnapshot:
        """Plan everything against that declaration, and record what is seen for the first time.

        Raises `PermanentError` where the registry is not the ledger's, as do the other methods that plan.
        """
        self._binding.require_own_registry(fresh=True)
        snapshot = self._planner(declaration)
        self._executor.record_snapshot(snapshot, trigger, only_first=True)
        return snapshot

    def reconcile(self, model: str, trigger: str, *, rotate: bool = True) -> RegistrySnapshot | None:
        """Bring one model to where git wants it, and propose what rotation finds. Return the last snapshot."""
        self._binding.require_own_registry()
        with self._locks.hold(model):
            started_at: datetime | None = None
            for _ in range(MAX_ROUNDS):
                self._revisions.follow_replicas()
                declaration = self._revisions.declaration_in_force
                if declaration is None or not declaration.desired.manages_model(model):
                    return None
                request = ReconcileRequest(declaration, trigger, started_at)
                snapshot, started_at = self._reconcile_once(model, request, rotate=rotate)
                if started_at is None:
                    return snapshot
        raise TransientError(
            "registry", f"{model} kept changing while it was looked at; the next look goes on", about_one_model=True
        )

    def apply_declaration(self, model: str, request: ReconcileRequest) -> RegistrySnapshot:
        """Bring one model to that declaration, without rotation: `promoter apply`."""
        self._binding.require_own_registry()
        with self._locks.hold(model):
            for _ in range(MAX_ROUNDS):
                snapshot, started_at = self._reconcile_once(model, request, rotate=False)
                if started_at is None:
                    return snapshot
                request = replace(request, started_at=started_at)
        raise TransientError("registry", f"{model} kept changing while it was looked at", about_one_model=True)

    def require_own_registry(self) -> None:
        """Raise `PermanentError` where the registry is not the ledger's: nothing is proposed by what it has."""
        self._binding.require_own_registry()

    def find_unfinished_models(self) -> frozenset[str]:
        """Return the models with an intent that no outcome closes."""
        return frozenset(intent.fact.model for intent in self._ledger.find_open_intents())

    def _reconcile_once(
        self, model: str, request: ReconcileRequest, *, rotate: bool
    ) -> tuple[RegistrySnapshot, datetime | None]:
        """Plan and carry out once. Where that has to be done again, also return when the first change began; else None."""
        left = self._executor.recover_intents(model)
        started_at = request.started_at or left
        snapshot = self._planner(request.declaration, {model}, started_at)
        self._locks.require_held(model)  # what was read without the lock may be somebody else's half-done work
        self._executor.record_snapshot(snapshot, request.trigger)
        if snapshot.plan.refused:
            raise PermanentError("plan", snapshot.plan.refused)
        started_at = started_at or snapshot.at
        if snapshot.plan.allowed_changes:
            after = self._executor.execute_plan(snapshot, replace(request, started_at=started_at))
            return (after, None) if after else (snapshot, started_at)
        if rotate and self._revisions.is_head_in_force and self._copy_or_propose(snapshot):
            return snapshot, started_at
        return snapshot, None

    def _copy_or_propose(self, snapshot: RegistrySnapshot) -> bool:
        """Return whether something was done, so that a new plan is needed. A copy that fails holds up no proposal."""
        copied = self._copier(snapshot, self._locks.require_held)
        if copied.made or self._commit_proposal(snapshot):
            return True
        if copied.trouble:
            copied.trouble.about_one_model = True  # its source, or the copy itself: nobody else waits for it
            raise copied.trouble
        return False

    def _commit_proposal(self, snapshot: RegistrySnapshot) -> bool:
        self._confirm_vacancies(snapshot)
        try:
            after = self._proposer.commit_next_proposal(snapshot)
        except Conflict:
            log.info("somebody pushed first, judging again")
            self._revisions.refresh_head()
            return True
        if after is None:
            return False
        self._revisions.adopt_own_commit(after, snapshot.declaration)
        return True

    def _confirm_vacancies(self, snapshot: RegistrySnapshot) -> None:
        """Where a proposal is about to be committed, see that what it takes for vacant is so."""
        for model in snapshot.models.values():
            for alias in {each.edit.alias for each in model.proposals}:
                intent = model.intent.aliases[alias]
                if model.observed and intent.rotation == "commit":
                    self._planner.confirm_vacancies(snapshot.declaration, model.observed, alias, intent.policy)


MAX_PARALLEL_MODELS = 8
"""How many models are written at once: as many as MLflow's client keeps connections for."""


@dataclass
class AppliedPlan:
    """A plan, the changes of it that were carried out, and the models that failed, with the reason."""

    view: RegistrySnapshot
    changes: list[Change] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanApplier:
    """Plans everything, refuses a plan over the mass-change limit, and reconciles each model that has something to do."""

    planner: Planner
    model_reconciler: ModelReconciler
    ledger: LastApplied
    clock: Clock

    def __call__(
        self,
        declaration: Declaration,
        trigger: str,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        *,
        person: str | None = None,
    ) -> AppliedPlan:
        """Plan and carry out. `progress` gets how many models of how many are done; one that fails stops no other.

        `person`: who applies files that are no revision of the branch, and that never count as one.
        """
        revision = None if person else declaration.revision
        self._record_state(revision, RevisionState.ATTEMPTED)
        view = self.model_reconciler.plan_declaration(declaration, trigger)
        result = AppliedPlan(view)
        if view.plan.refused:
            self._record_state(revision, RevisionState.REFUSED, view.plan.refused)
            return result
        self._record_state(revision, RevisionState.APPLIED)
        request = ReconcileRequest(declaration, trigger, person=person)
        known = view.models.keys() | view.withheld
        due = sorted(known & (view.needs_reconcile | self.model_reconciler.find_unfinished_models()))
        with ThreadPoolExecutor(max_workers=MAX_PARALLEL_MODELS) as pool:
            reconciles = {pool.submit(self.model_reconciler.apply_declaration, name, request): name for name in due}
            for done, reconcile in enumerate(as_completed(reconciles), start=1):
                name = reconciles[reconcile]
                try:
                    reconcile.result()
                    result.changes += [change for change in view.plan.allowed_changes if change.difference.model == name]
                except ExternalError as error:
                    result.failed[name] = str(error)
                progress(done, len(due))
        return result

    def _record_state(self, revision: str | None, state: RevisionState, detail: str | None = None) -> None:
        if revision is not None:
            self.ledger.record_revision_state(revision, state, self.clock.now(), detail)
