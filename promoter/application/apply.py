"""`promoter apply`: carry out a whole plan, several models at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from promoter.application.planner import Planner, RegistrySnapshot
from promoter.application.ports import Clock, LastApplied
from promoter.application.reconciler import ModelReconciler, ReconcileRequest
from promoter.domain.audit import RevisionState
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError
from promoter.domain.plan import Change

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
        self, declaration: Declaration, trigger: str, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> AppliedPlan:
        """Plan and carry out. `progress` gets how many models of how many are done; one that fails stops no other."""
        revision = declaration.revision or ""
        self.ledger.record_revision_state(revision, RevisionState.ATTEMPTED, self.clock.now())
        view = self.model_reconciler.plan_declaration(declaration, trigger)
        result = AppliedPlan(view)
        if view.plan.refused:
            self.ledger.record_revision_state(revision, RevisionState.REFUSED, self.clock.now(), view.plan.refused)
            return result
        self.ledger.record_revision_state(revision, RevisionState.APPLIED, self.clock.now())
        request = ReconcileRequest(declaration, trigger)
        due = sorted(
            (view.needs_reconcile & view.models.keys()) | (self.model_reconciler.find_unfinished_models() & view.models.keys())
        )
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
