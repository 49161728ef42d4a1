"""A look: everything that is due for one model, under that model's lock: recover, reconcile, propose, reconcile again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from promoter.application.copies import Copier
from promoter.application.ports import Ledger, Locks
from promoter.application.propose import Proposer
from promoter.application.reconcile import Reconciler, Toward
from promoter.application.revisions import Revisions
from promoter.application.survey import Surveyor, View
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Overtaken, Refused, Unavailable

log = structlog.get_logger(__name__)

ROUNDS = 8
"""How often one look plans again, after its own proposals or a registry that moves, before it leaves the rest to the next."""


@dataclass(frozen=True)
class Rooms:
    """The use cases that a look walks through."""

    survey: Surveyor
    reconcile: Reconciler
    copy: Copier
    propose: Proposer
    revisions: Revisions
    ledger: Ledger
    locks: Locks


class Looker:
    """Looks at one model, or at all. Every trigger ends here; none of them carries state."""

    def __init__(self, rooms: Rooms) -> None:
        """Takes the use cases."""
        self._rooms = rooms

    def all(self, trigger: str | None = None) -> View | None:
        """Survey everything that is managed; record what was seen for the first time. None: no revision is in force."""
        declaration = self._rooms.revisions.in_force
        return None if declaration is None else self.view(declaration, trigger)

    def view(self, declaration: Declaration, trigger: str | None = None) -> View:
        """Survey everything against that declaration; record what was seen for the first time."""
        view = self._rooms.survey(declaration)
        self._first_sight(view, trigger)
        return view

    def one(self, model: str, trigger: str, *, rotate: bool = True) -> View | None:
        """Bring one model to where git wants it, and propose what rotation finds. The last view, for those who watch."""
        with self._rooms.locks.hold(model):
            begun: datetime | None = None
            for _ in range(ROUNDS):
                self._rooms.revisions.catch_up()
                declaration = self._rooms.revisions.in_force
                if declaration is None or not declaration.desired.manages(model):
                    return None
                toward = Toward(declaration, trigger, begun)
                view, begun = self._round(model, toward, rotate=rotate)
                if begun is None:
                    return view
        raise Unavailable("registry", f"{model} kept changing while it was looked at; the next look goes on")

    def apply(self, model: str, toward: Toward) -> View:
        """Bring one model to that declaration, without rotation: `promoter apply`."""
        with self._rooms.locks.hold(model):
            for _ in range(ROUNDS):
                view, begun = self._round(model, toward, rotate=False)
                if begun is None:
                    return view
                toward = replace(toward, begun=begun)
        raise Unavailable("registry", f"{model} kept changing while it was looked at")

    def unfinished(self) -> frozenset[str]:
        """The models with an intent that no outcome closes."""
        return frozenset(intent.fact.model for intent in self._rooms.ledger.open_intents())

    def _round(self, model: str, toward: Toward, *, rotate: bool) -> tuple[View, datetime | None]:
        """One pass. Where another is needed: when the first of all that was done in this look began; else None."""
        rooms = self._rooms
        left = rooms.reconcile.recover(model)
        begun = toward.begun or left
        view = rooms.survey(toward.declaration, {model}, begun)
        rooms.reconcile.record(view, toward.trigger)
        if view.plan.refused:
            raise Refused("plan", view.plan.refused)
        begun = begun or view.at
        if view.plan.allowed:
            rooms.reconcile.carry_out(view, replace(toward, begun=begun))
            return view, begun
        if rotate and rooms.revisions.current and self._rotate(view):
            return view, begun
        return view, None

    def _rotate(self, view: View) -> bool:
        """Whether something was done, so that another pass is needed. A copy that fails keeps no proposal waiting."""
        copied = self._rooms.copy(view)
        if copied.made or self._propose(view):
            return True
        if copied.trouble:
            raise copied.trouble
        return False

    def _propose(self, view: View) -> bool:
        rooms = self._rooms
        try:
            after = rooms.propose.commit(view)
        except Overtaken:
            log.info("somebody pushed first, judging again")
            rooms.revisions.refresh()
            return True
        if after is None:
            return False
        rooms.revisions.adopt(after, view.declaration)
        return True

    def _first_sight(self, view: View, trigger: str | None) -> None:
        """In bulk, and only where the ledger knows nothing yet: a look under the model's lock records everything else."""
        ledger, models = self._rooms.ledger, view.models.items()
        revision = view.declaration.revision
        first = [move for _, model in models for move in model.moves if move.from_version is None]
        if first:
            ledger.observe(first, only_first=True)
        agreed = {name: model.agreed for name, model in models if model.agreed}
        if agreed:
            ledger.settle(agreed, revision, view.at, only_first=True)
        if view.unstated:
            ledger.unsettle(view.unstated, revision, view.at)
        if view.sightings:
            ledger.sight(view.sightings)
        if view.decisions:
            ledger.decide(view.decisions, revision, trigger)
