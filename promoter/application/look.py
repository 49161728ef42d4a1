"""A look: everything that is due for one model, under that model's lock: recover, reconcile, propose, reconcile again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from promoter.application.copies import VersionCopier
from promoter.application.ports import Ledger, Locks
from promoter.application.propose import RotationProposer
from promoter.application.reconcile import PlanExecutor, ReconcileRequest
from promoter.application.revisions import RevisionTracker
from promoter.application.survey import Planner, RegistrySnapshot
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Conflict, PermanentError, TransientError

log = structlog.get_logger(__name__)

MAX_ROUNDS = 8
"""How often one look plans again, after its own proposals or a registry that moves, before it leaves the rest to the next."""


@dataclass(frozen=True)
class ReconcilerDeps:
    """The use cases that a look walks through."""

    planner: Planner
    executor: PlanExecutor
    copy: VersionCopier
    propose: RotationProposer
    revisions: RevisionTracker
    ledger: Ledger
    locks: Locks


class ModelReconciler:
    """Looks at one model, or at all. Every trigger ends here; none of them carries state."""

    def __init__(self, deps: ReconcilerDeps) -> None:
        """Takes the use cases."""
        self._deps = deps

    def plan_all(self, trigger: str | None = None) -> RegistrySnapshot | None:
        """Survey everything that is managed; record what was seen for the first time. None: no revision is in force."""
        declaration = self._deps.revisions.declaration_in_force
        return None if declaration is None else self.plan_declaration(declaration, trigger)

    def plan_declaration(self, declaration: Declaration, trigger: str | None = None) -> RegistrySnapshot:
        """Survey everything against that declaration; record what was seen for the first time."""
        view = self._deps.planner(declaration)
        self._record_first_observation(view, trigger)
        return view

    def reconcile(self, model: str, trigger: str, *, rotate: bool = True) -> RegistrySnapshot | None:
        """Bring one model to where git wants it, and propose what rotation finds. The last view, for those who watch."""
        with self._deps.locks.hold(model):
            started_at: datetime | None = None
            for _ in range(MAX_ROUNDS):
                self._deps.revisions.follow_replicas()
                declaration = self._deps.revisions.declaration_in_force
                if declaration is None or not declaration.desired.manages_model(model):
                    return None
                request = ReconcileRequest(declaration, trigger, started_at)
                view, started_at = self._reconcile_once(model, request, rotate=rotate)
                if started_at is None:
                    return view
        raise TransientError("registry", f"{model} kept changing while it was looked at; the next look goes on")

    def apply_declaration(self, model: str, request: ReconcileRequest) -> RegistrySnapshot:
        """Bring one model to that declaration, without rotation: `promoter apply`."""
        with self._deps.locks.hold(model):
            for _ in range(MAX_ROUNDS):
                view, started_at = self._reconcile_once(model, request, rotate=False)
                if started_at is None:
                    return view
                request = replace(request, started_at=started_at)
        raise TransientError("registry", f"{model} kept changing while it was looked at")

    def find_unfinished_models(self) -> frozenset[str]:
        """The models with an intent that no outcome closes."""
        return frozenset(intent.fact.model for intent in self._deps.ledger.find_open_intents())

    def _reconcile_once(
        self, model: str, request: ReconcileRequest, *, rotate: bool
    ) -> tuple[RegistrySnapshot, datetime | None]:
        """One pass. Where another is needed: when the first of all that was done in this look began; else None."""
        deps = self._deps
        left = deps.executor.recover_intents(model)
        started_at = request.started_at or left
        view = deps.planner(request.declaration, {model}, started_at)
        deps.executor.record_snapshot(view, request.trigger)
        if view.plan.refused:
            raise PermanentError("plan", view.plan.refused)
        started_at = started_at or view.at
        if view.plan.allowed_changes:
            deps.executor.execute_plan(view, replace(request, started_at=started_at))
            return view, started_at
        if rotate and deps.revisions.is_head_in_force and self._copy_or_propose(view):
            return view, started_at
        return view, None

    def _copy_or_propose(self, view: RegistrySnapshot) -> bool:
        """Whether something was done, so that another pass is needed. A copy that fails keeps no proposal waiting."""
        copied = self._deps.copy(view)
        if copied.made or self._commit_proposal(view):
            return True
        if copied.trouble:
            raise copied.trouble
        return False

    def _commit_proposal(self, view: RegistrySnapshot) -> bool:
        deps = self._deps
        try:
            after = deps.propose.commit_next_proposal(view)
        except Conflict:
            log.info("somebody pushed first, judging again")
            deps.revisions.refresh_head()
            return True
        if after is None:
            return False
        deps.revisions.adopt_own_commit(after, view.declaration)
        return True

    def _record_first_observation(self, view: RegistrySnapshot, trigger: str | None) -> None:
        """In bulk, and only where the ledger knows nothing yet: a look under the model's lock records everything else."""
        ledger, models = self._deps.ledger, view.models.items()
        revision = view.declaration.revision
        first = [move for _, model in models for move in model.moves if move.from_version is None]
        if first:
            ledger.record_observed_moves(first, only_first=True)
        agreed = {name: model.agreed for name, model in models if model.agreed}
        if agreed:
            ledger.record_last_applied(agreed, revision, view.at, only_first=True)
        if view.undeclared:
            ledger.forget_last_applied(view.undeclared, revision, view.at)
        if view.tag_observations:
            ledger.record_tag_observations(view.tag_observations)
        if view.decisions:
            ledger.record_decisions(view.decisions, revision, trigger)
