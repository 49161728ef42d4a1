"""Apply: carry a whole plan out, model by model, some at a time. `promoter apply`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from promoter.application.look import Looker
from promoter.application.ports import Clock, Ledger
from promoter.application.reconcile import Toward
from promoter.application.survey import Surveyor, View
from promoter.domain.audit import RevisionState
from promoter.domain.declaration import Declaration
from promoter.domain.faults import OutsideError
from promoter.domain.plan import Change

AT_A_TIME = 8
"""Models that are written at once: what MLflow's client keeps connections for."""


@dataclass
class Applied:
    """What came of a plan: its view, the changes that were carried out, and the models that failed, with the reason."""

    view: View
    changes: list[Change] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Apply:
    """Plans, refuses what is over the mass-change limit, and looks at each model that something is to be done for."""

    survey: Surveyor
    looker: Looker
    ledger: Ledger
    clock: Clock

    def __call__(
        self, declaration: Declaration, trigger: str, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> Applied:
        """`progress` is told how many models of how many are done. Faults of one model do not stop the others."""
        revision = declaration.revision or ""
        self.ledger.mark_revision(revision, RevisionState.ATTEMPTED, self.clock.now())
        view = self.looker.view(declaration, trigger)
        result = Applied(view)
        if view.plan.refused:
            self.ledger.mark_revision(revision, RevisionState.REFUSED, self.clock.now(), view.plan.refused)
            return result
        self.ledger.mark_revision(revision, RevisionState.APPLIED, self.clock.now())
        toward = Toward(declaration, trigger)
        due = sorted((view.restless & view.models.keys()) | (self.looker.unfinished() & view.models.keys()))
        with ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
            looks = {pool.submit(self.looker.apply, name, toward): name for name in due}
            for done, look in enumerate(as_completed(looks), start=1):
                name = looks[look]
                try:
                    look.result()
                    result.changes += [change for change in view.plan.allowed if change.difference.model == name]
                except OutsideError as error:
                    result.failed[name] = str(error)
                progress(done, len(due))
        return result
