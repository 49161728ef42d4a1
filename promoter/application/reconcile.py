"""Reconcile: one model's aliases toward the revision in force. The only code that writes an alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog

from promoter.application.ports import Clock, Commit, Ledger, Registry
from promoter.application.provenance import GitProvenance
from promoter.application.survey import Surveyor, View
from promoter.domain.audit import Kind, NewRecord, Outcome
from promoter.domain.declaration import Declaration
from promoter.domain.faults import OutsideError, Refused, Unavailable
from promoter.domain.override import Override
from promoter.domain.plan import Cause, Change
from promoter.domain.review import Origin
from promoter.domain.verdict import Decision

log = structlog.get_logger(__name__)

PROMOTER = "Promoter"


class Ending(StrEnum):
    """How carrying out a plan ended: DONE, or OVERTAKEN by a registry that changed underneath: plan again."""

    DONE = "done"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True)
class Toward:
    """The revision that is worked toward, and what caused the look.

    `begun` is when the first of the changes began that the look makes.
    """

    declaration: Declaration
    trigger: str
    begun: datetime | None = None


class Reconciler:
    """Carries out a view's plan: intent row, re-read, write, read back, outcome row. The caller holds the model's lock."""

    def __init__(
        self,
        registry: Registry,
        provenance: GitProvenance,
        ledger: Ledger,
        survey: Surveyor,
        clock: Clock,
    ) -> None:
        """Takes the ports that it works with."""
        self._registry = registry
        self._provenance = provenance
        self._ledger = ledger
        self._survey = survey
        self._clock = clock

    def recover(self, model: str) -> datetime | None:
        """Close what a crash left open, by what the registry shows now; when the first of it began (None: nothing was)."""
        left = self._ledger.open_intents({model})
        if not left:
            return None
        held = self._registry.aliases(model) or {}
        for intent in left:
            reached = held.get(intent.fact.alias) == intent.fact.to_version
            outcome = Outcome.RECOVERED if reached else Outcome.FAILED
            detail = "found written after a stop" if reached else "found not written after a stop"
            self._ledger.close(intent.id, outcome, self._clock.now(), detail)
            log.warning("intent closed after a stop", model=model, alias=intent.fact.alias, outcome=outcome.value)
        return min(intent.fact.at for intent in left)

    def record(self, view: View, trigger: str | None = None) -> None:
        """Tell the ledger what the view saw that nobody had told it: moves of others, agreements, decisions."""
        revision = view.declaration.revision
        moves = [move for model in view.models.values() for move in model.moves]
        if moves:
            self._ledger.observe(moves, only_next=True)  # whoever looks at all models holds no lock
        agreed = {name: model.agreed for name, model in view.models.items() if model.agreed}
        if agreed:
            self._ledger.settle(agreed, revision, view.at)
        if view.unstated:
            self._ledger.unsettle(view.unstated, revision, view.at)
        if view.sightings:
            self._ledger.sight(view.sightings)
        checks = [check for model in view.models.values() for standing in model.guards for check in standing.checks]
        if checks:
            self._ledger.check(checks)
        for override in view.spent:
            self._end(override, view)
        if view.decisions:
            self._ledger.decide(view.decisions, revision, trigger)

    def _end(self, override: Override, view: View) -> None:
        """Where git says the same by now, and the registry does, that is agreed on; where it expired, git's word counts again.

        Where git says so and the registry never came to it, what git says is a decision like any other.
        """
        model = view.models.get(override.model)
        said = model.intent.aliases.get(override.alias) if model else None
        there = model is not None and model.observed is not None and model.observed.aliases.get(override.alias)
        if said is not None and said.override is not None:
            self._ledger.end_override(override.id, view.at, f"replaced by the override of record {said.override.id}")
        elif said is not None and said.version == override.version:
            revision = view.declaration.revision if there == override.version else None
            self._ledger.end_override(override.id, view.at, "decided: git says the same", revision=revision)
        elif not override.in_force(view.at):
            self._ledger.end_override(override.id, view.at, "expired: nobody decided in time, and git's word counts again")
        else:
            self._ledger.end_override(override.id, view.at, "void: git says nothing of the alias any more")
        log.info("override is over", model=override.model, alias=override.alias)

    def carry_out(self, view: View, toward: Toward) -> Ending:
        """Each allowed change in order. Stops at the first that the registry or the evidence has moved away from."""
        for change in view.plan.allowed:
            if self._carry_out_one(change, toward) is Ending.OVERTAKEN:
                return Ending.OVERTAKEN
        return Ending.DONE

    def _carry_out_one(self, change: Change, toward: Toward) -> Ending:
        intent = self._ledger.intend(self._fact(change, toward), change.decision)
        try:
            overtaken = self._overtaken(change, toward)
        except OutsideError as error:
            # Nothing has been written yet, so the outcome is known whatever the world is doing.
            self._close(intent, Outcome.FAILED, f"not written: {error.message}")
            raise
        if overtaken:
            self._close(intent, Outcome.FAILED, overtaken)
            return Ending.OVERTAKEN
        answered = self._write(intent, change)
        self._read_back(intent, change, answered=answered)
        return Ending.DONE

    def _overtaken(self, change: Change, toward: Toward) -> str | None:
        """Read state and evidence again, right before the write. Why the change no longer holds, or None.

        It does not either where it would begin at a place that the ledger has not been told of: somebody else told it of
        another one between this look and its record.
        """
        what = change.difference
        again = self._survey(toward.declaration, {what.model}, toward.begun)
        untold = any(move.alias == what.alias for move in again.models[what.model].moves)
        if not untold and any(each.difference.key == what.key for each in again.plan.allowed):
            return None
        blocked = next((each.reason for each in again.plan.blocked if each.alias in (None, what.alias)), None)
        return f"not written: {blocked}" if blocked else "not written: the registry changed after the plan was made"

    def _write(self, intent: int, change: Change) -> bool:
        """Whether MLflow answered: without an answer, the write may have arrived, or may yet."""
        what = change.difference
        try:
            if what.to_version is None:
                self._registry.delete_alias(what.model, what.alias)
            else:
                self._registry.set_alias(what.model, what.alias, what.to_version)
        except Refused as error:
            self._close(intent, Outcome.FAILED, f"MLflow refused: {error.message}")
            raise
        except Unavailable:
            log.warning("write unanswered, reading back", model=what.model, alias=what.alias)
            return False
        return True

    def _read_back(self, intent: int, change: Change, *, answered: bool) -> None:
        """Raises `Unavailable` with the intent left open where the outcome cannot be known: the next run closes it."""
        what = change.difference
        held = (self._registry.aliases(what.model) or {}).get(what.alias)
        if held != what.to_version:
            if answered:
                self._close(intent, Outcome.FAILED, f"read back {_version(held)}")
            raise Unavailable("MLflow", f"{what.model}@{what.alias} reads {_version(held)} after the write")
        self._close(intent, Outcome.APPLIED, None)
        log.info(
            "alias moved",
            model=what.model,
            alias=what.alias,
            source=_version(what.from_version),
            target=_version(held),
            cause=what.cause.value,
        )

    def _close(self, intent: int, outcome: Outcome, detail: str | None) -> None:
        self._ledger.close(intent, outcome, self._clock.now(), detail)

    def _fact(self, change: Change, toward: Toward) -> NewRecord:
        what, decision = change.difference, change.decision
        override = what.intent.override if what.intent else None
        commit = self._provenance.commit(what, toward.declaration)
        return NewRecord(
            at=self._clock.now(),
            kind=Kind.CHANGE,
            model=what.model,
            alias=what.alias,
            from_version=what.from_version,
            to_version=what.to_version,
            revision=commit.revision if commit else (None if override else toward.declaration.revision),
            actor=override.by if override else PROMOTER if what.cause is Cause.DRIFT else (commit.author if commit else None),
            trigger=toward.trigger,
            policy=decision.policy if decision else None,
            verdict=decision.verdict.value if decision else None,
            outcome=Outcome.INTENDED,
            reason=_reason(change, commit.subject if commit else None) + _gone_past(decision),
            cause=what.cause.value,
            review=self._review(commit, decision),
            hold=_hold(change, self._clock.now()),
        )

    def _review(self, commit: Commit | None, decision: Decision | None) -> Mapping[str, Any] | None:
        """The pull request that brought the commit. It is worth a question, and no change waits for the answer."""
        known = decision.evidence.origin if decision and decision.evidence else None
        if isinstance(known, Origin):
            return known.as_json()
        found = self._provenance.brought(commit) if commit else None
        return found.as_json() if isinstance(found, Origin) else None


def _reason(change: Change, subject: str | None) -> str:
    match change.difference.cause:
        case Cause.DRIFT:
            return "drift put back: git still says so"
        case Cause.PRUNE:
            return "pruned: registry.yaml does not list it"
        case Cause.OVERRIDE:
            override = change.difference.intent.override if change.difference.intent else None
            return f"override until {override.until:%Y-%m-%dT%H:%M:%SZ}: {override.reason}" if override else "override"
        case _:
            return subject or "stated in registry.yaml"


def _hold(change: Change, now: datetime) -> str | None:
    hold = change.difference.intent.hold if change.difference.intent else None
    return hold.reason if hold and hold.in_force(now) else None


def _gone_past(decision: Decision | None) -> str:
    """What was in the way, and did not stop it: a freeze that the commit overrides, waivers, a policy that only watches."""
    if decision is None:
        return ""
    past = decision.evidence.past if decision.evidence else None
    told = f"; freeze overridden: {past.override}" if past and past.override else ""
    told += "".join(f"; {finding.rule} {finding.waived.waiver}" for finding in decision.waivers if finding.waived)
    return told + ("; would be blocked, but the policy only watches" if decision.would_block else "")


def _version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
