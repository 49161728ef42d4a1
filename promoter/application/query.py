"""Queries: what the page, the API and the command line tell of models, from the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.application.ports import Ledger
from promoter.application.survey import ModelView
from promoter.domain.audit import AuditRecord, Kind, Outcome, RecordFilter, moved
from promoter.domain.desired import AliasIntent
from promoter.domain.guards import GuardStanding
from promoter.domain.override import Override
from promoter.domain.past.history import Span, spans
from promoter.domain.plan import Change
from promoter.domain.verdict import Decision, Finding, Verdict

IN_STEP, DUE, BLOCKED, DRIFT, HOLD, OPEN = "in step", "due", "blocked", "drift", "hold", "not stated"
GUARD = "guard broken"
OVERRIDE = "override"
CANDIDATE = "candidate"
_RECENT = 50


@dataclass(frozen=True)
class AliasRow:
    """One alias of one model: where it is, where git says it is to be, and what stands in between."""

    model: str
    alias: str
    held: int | None
    stated: int | None
    status: str
    detail: str
    last: AuditRecord | None = None
    absent: bool = False
    """Git says that it must not exist (`stated` is None then, as it is where git says nothing)."""
    failing: str = ""
    """Guards that failed when they were last asked, with their counts."""
    override: Override | None = None
    """What stands in for git's word; `stated` is that word all the same."""

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        return {
            "model": self.model,
            "alias": self.alias,
            "version": self.held,
            "stated": self.stated,
            "absent": self.absent,
            "status": self.status,
            "detail": self.detail,
            "failing": self.failing,
            "override": self.override.as_json() if self.override else None,
            "last_change": self.last.as_json() if self.last else None,
        }


def alias_rows(view: ModelView, last: Mapping[str, AuditRecord], now: datetime) -> list[AliasRow]:
    """The rows of one model, champion first. `last` is the last move of each alias."""
    names = {*view.intent.aliases, *(view.observed.aliases if view.observed else {})}
    return [_row(view, alias, last.get(alias), now) for alias in sorted(names, key=lambda each: (each != "champion", each))]


def last_moves(records: Iterable[AuditRecord]) -> dict[str, AuditRecord]:
    """The last record of each alias that says that it moved, of one model's records in ascending order."""
    return {record.fact.alias: record for record in records if moved(record)}


def latest_moves(ledger: Ledger, view: ModelView) -> dict[str, AuditRecord]:
    """The last move of each alias of the model, however long ago it was."""
    model = view.intent.name
    found = last_moves(ledger.records(RecordFilter(model=model, limit=_RECENT, newest=True)))
    for alias in {*view.intent.aliases, *(view.observed.aliases if view.observed else {})} - found.keys():
        moves = [
            *ledger.records(RecordFilter(model, alias, kind=Kind.OBSERVED, limit=1, newest=True)),
            *ledger.records(RecordFilter(model, alias, outcome=Outcome.APPLIED, limit=1, newest=True)),
            *ledger.records(RecordFilter(model, alias, outcome=Outcome.RECOVERED, limit=1, newest=True)),
        ]
        if moves:
            found[alias] = max(moves, key=lambda record: record.id)
    return found


@dataclass(frozen=True)
class Waiting:
    """Something that is not yet as it should be. `alias` None: the whole model. `unmet` are the rules it waits for."""

    model: str
    alias: str | None
    held: int | None
    target: int | None
    status: str
    reason: str
    unmet: tuple[Finding, ...] = ()


def waiting(view: ModelView, now: datetime) -> list[Waiting]:
    """What of the model is due, blocked or adrift, and candidates of which a rule cannot say yet (a plain no is no wait)."""
    whole = next((each for each in view.compared.blocked if each.alias is None), None)
    if whole:
        return [Waiting(whole.model, None, None, None, BLOCKED, whole.reason)]
    found = []
    for row in alias_rows(view, {}, now):
        if row.status == GUARD:
            broken = tuple(guard.finding for each in _guards(view, row.alias) for guard in each.broken)
            found.append(Waiting(row.model, row.alias, row.held, _back_to(view, row.alias), GUARD, row.detail, broken))
        elif row.status in (BLOCKED, DUE, DRIFT):
            decision = _decision(view, row.alias)
            target = row.override.version if row.override else row.stated
            found.append(_waiting(row, target, row.status, row.detail, decision))
        elif (candidate := _candidate(view, row.alias)) and row.status not in (HOLD, OVERRIDE):
            found.append(_waiting(row, candidate.version, CANDIDATE, candidate.summary, candidate))
    return found


def _waiting(row: AliasRow, target: int | None, status: str, reason: str, decision: Decision | None) -> Waiting:
    unmet = decision.unmet if decision else ()
    return Waiting(row.model, row.alias, row.held, target, status, reason, unmet)


def _decision(view: ModelView, alias: str) -> Decision | None:
    return next((each.decision for each in view.changes if each.difference.alias == alias), None)


def _candidate(view: ModelView, alias: str) -> Decision | None:
    """The newest candidate that is neither taken nor turned down."""
    standing = next((each for each in view.standings if each.alias == alias), None)
    if standing is None or standing.proposal:
        return None
    open_ones = (each for each in reversed(standing.decisions) if each.verdict in (Verdict.PENDING, Verdict.ERROR))
    return next(open_ones, None)


def history(ledger: Ledger, model: str, alias: str) -> list[Span]:
    """Who held the alias when, oldest first."""
    return spans(list(ledger.records(RecordFilter(model=model, alias=alias, limit=1_000_000))))


def _row(view: ModelView, alias: str, last: AuditRecord | None, now: datetime) -> AliasRow:
    intent = view.intent.aliases.get(alias)
    held = _held(view, alias)
    status, detail = _status(view, alias, intent, now)
    said = (intent.said or intent) if intent else None
    stated, absent = (said.version, said.absent) if said else (None, False)
    failing = "; ".join(f"guard {row}" for each in _guards(view, alias) for row in each.rows if row.failed)
    override = intent.override if intent else None
    return AliasRow(view.intent.name, alias, held, stated, status, detail, last, absent, failing, override)


def _status(view: ModelView, alias: str, intent: AliasIntent | None, now: datetime) -> tuple[str, str]:
    blocked = next((each for each in view.compared.blocked if each.alias in (None, alias)), None)
    if blocked:
        return BLOCKED, blocked.reason
    change = next((each for each in view.changes if each.difference.alias == alias), None)
    if change:
        return _changing(change)
    reported = next((each for each in view.compared.reported if each.alias == alias), None)
    if reported:
        adopts = view.intent.on_drift == "adopt" and reported.from_version is not None
        ending = "a pull request asks whether to adopt it" if adopts else "only reported"
        return DRIFT, f"git says {_version(reported.to_version)}; {ending}"
    if intent is None:
        return OPEN, "not in registry.yaml"
    if view.compared.blocked and intent.stated and _held(view, alias) != intent.version:
        return BLOCKED, f"{_version(intent.version)}: waits for {view.compared.blocked[0].alias}, to be carried out with it"
    return _resting(view, intent, now)


def _changing(change: Change) -> tuple[str, str]:
    target = _version(change.difference.to_version)
    if change.decision is None or change.allowed:
        return DUE, f"to be {target}"
    return BLOCKED, f"{target}: {change.decision.summary}"


def _resting(view: ModelView, intent: AliasIntent, now: datetime) -> tuple[str, str]:
    if any(each.broken for each in _guards(view, intent.alias)):
        return GUARD, _end(view, intent.alias)
    if intent.override and intent.said:
        return OVERRIDE, f"{intent.override.told}; git says {stated_in_words(intent.said)}"
    if intent.hold and intent.hold.in_force(now):
        return HOLD, f"by {intent.hold.by}: {intent.hold.reason}"
    standing = next((each for each in view.standings if each.alias == intent.alias), None)
    return IN_STEP if intent.stated else OPEN, standing.reason if standing else ""


def _guards(view: ModelView, alias: str) -> tuple[GuardStanding, ...]:
    return tuple(each for each in view.guards if each.alias == alias)


def _back_to(view: ModelView, alias: str) -> int | None:
    return next((each.proposal.edit.version for each in _guards(view, alias) if each.proposal), None)


def _end(view: ModelView, alias: str) -> str:
    """What follows from a broken guard, in words."""
    target = _back_to(view, alias)
    reasons = [each.reason for each in _guards(view, alias) if each.reason]
    return f"back to v{target}" if target else f"nothing is proposed: {'; '.join(reasons)}"


def _held(view: ModelView, alias: str) -> int | None:
    return view.observed.aliases.get(alias) if view.observed else None


def stated_in_words(said: AliasIntent) -> str:
    """What git says of an alias."""
    return "absent" if said.absent else f"v{said.version}" if said.version else "nothing"


def _version(number: int | None) -> str:
    return "absent" if number is None else f"v{number}"
