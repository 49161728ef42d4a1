"""Status: the rows that the page, the API and the command line show of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.application.ports import AuditLog
from promoter.application.snapshots import ModelSnapshot
from promoter.domain.audit import AuditRecord, ChangeOutcome, RecordFilter, RecordKind, is_alias_move
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.desired import AliasIntent
from promoter.domain.history import AliasSpan, build_alias_spans
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.plan import Change
from promoter.domain.policy.guards import GuardStatus
from promoter.domain.proposal import ProposalReason
from promoter.domain.refusals import ProposalRefusal
from promoter.domain.text import version_label

SYNCED, OUT_OF_SYNC, BLOCKED, DRIFT, HELD, OPEN = "synced", "out of sync", "blocked", "drift", "held", "not stated"
GUARD = "guard failing"
OVERRIDE = "override"
REFUSED = "refused"
"""A person refused what rotation would propose, and nothing else passes."""
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
    """Guards that failed when they were last evaluated, with their counts."""
    override: OverrideOutlook | None = None
    """The override that stands in for what git says, and what follows its end; `stated` is what git says all the same."""
    refusals: tuple[ProposalRefusal, ...] = ()
    """What people turned down for the alias, and what would be considered for it otherwise."""


@dataclass(frozen=True)
class ModelTrouble:
    """What keeps Promoter's work on one model from succeeding. Surveys, which read all models at once, may still see it."""

    since: datetime
    """When the first run that failed began."""
    reason: str


@dataclass(frozen=True)
class ModelRows:
    """One model's part of the page, and of the API's list of models."""

    name: str
    owners: tuple[str, ...]
    newest: int | None
    """Its newest version."""
    rows: list[AliasRow]
    late: ModelTrouble | None = None
    """Set where the model's own work gets no answer in time."""
    fault: ModelTrouble | None = None
    """Set where the model's own work fails, for a reason that lies in the model."""


def build_model_rows(
    snapshot: ModelSnapshot,
    ledger: AuditLog,
    now: datetime,
    late: Mapping[str, ModelTrouble],
    failing: Mapping[str, ModelTrouble],
) -> ModelRows:
    """Build the rows of one model, each with its alias's last move; `late` and `failing` have the models in trouble."""
    newest = snapshot.observed.newest_version if snapshot.observed else None
    rows, name = build_alias_rows(snapshot, load_latest_moves(ledger, snapshot), now), snapshot.intent.name
    return ModelRows(name, snapshot.intent.owners, newest, rows, late.get(name), failing.get(name))


def build_alias_rows(snapshot: ModelSnapshot, last: Mapping[str, AuditRecord], now: datetime) -> list[AliasRow]:
    """The rows of one model, champion first. `last` is the last move of each alias."""
    names = {*snapshot.intent.aliases, *(snapshot.observed.aliases if snapshot.observed else {})}
    return [
        _build_alias_row(snapshot, alias, last.get(alias), now)
        for alias in sorted(names, key=lambda each: (each != "champion", each))
    ]


def find_last_moves(records: Iterable[AuditRecord]) -> dict[str, AuditRecord]:
    """The last record of each alias that says that it moved, of one model's records in ascending order."""
    return {record.fact.alias: record for record in records if is_alias_move(record)}


def load_latest_moves(ledger: AuditLog, snapshot: ModelSnapshot) -> dict[str, AuditRecord]:
    """The last move of each alias of the model, however long ago it was."""
    model = snapshot.intent.name
    found = find_last_moves(ledger.find_audit_records(RecordFilter(model=model, limit=_RECENT, newest=True)))
    for alias in {*snapshot.intent.aliases, *(snapshot.observed.aliases if snapshot.observed else {})} - found.keys():
        moves = [
            *ledger.find_audit_records(RecordFilter(model, alias, kind=RecordKind.OBSERVED, limit=1, newest=True)),
            *ledger.find_audit_records(RecordFilter(model, alias, outcome=ChangeOutcome.APPLIED, limit=1, newest=True)),
            *ledger.find_audit_records(RecordFilter(model, alias, outcome=ChangeOutcome.RECOVERED, limit=1, newest=True)),
        ]
        if moves:
            found[alias] = max(moves, key=lambda record: record.id)
    return found


@dataclass(frozen=True)
class WaitingItem:
    """Something that is not yet as it should be. `alias` None: the whole model. `unmet` are the rules it waits for."""

    model: str
    alias: str | None
    held: int | None
    target: int | None
    status: str
    reason: str
    unmet: tuple[RuleFinding, ...] = ()
    note: str = ""
    """What became of another version of that number; empty: there was none."""


def find_waiting_items(snapshot: ModelSnapshot, now: datetime) -> list[WaitingItem]:
    """What of the model is due, blocked or adrift, overrides that nobody has decided on, and candidates that may still pass."""
    whole = next((each for each in snapshot.compared.blocked if each.alias is None), None)
    if whole:
        return [WaitingItem(whole.model, None, None, None, BLOCKED, whole.reason)]
    found = []
    for row in build_alias_rows(snapshot, {}, now):
        if row.status == GUARD:
            guards = snapshot.find_guard_status(row.alias)
            broken = tuple(each.finding for each in guards.broken_guards) if guards else ()
            target = _find_return_version(guards) if guards else None
            found.append(WaitingItem(row.model, row.alias, row.held, target, GUARD, row.detail, broken))
        elif row.status in (BLOCKED, OUT_OF_SYNC, DRIFT):
            change = snapshot.find_change(row.alias)
            target = row.override.override.version if row.override else row.stated
            item = _build_waiting_item(row, target, row.status, row.detail, change.decision if change else None)
            found.append(replace(item, note=change.difference.replacement) if change else item)
        elif row.status == OVERRIDE:
            found.append(_build_waiting_item(row, None, OVERRIDE, row.detail, None))
        elif (candidate := _find_open_candidate(snapshot, row.alias)) and row.status != HELD:
            found.append(_build_waiting_item(row, candidate.version, CANDIDATE, candidate.summary_line, candidate))
    return found


def _build_waiting_item(row: AliasRow, target: int | None, status: str, reason: str, decision: Decision | None) -> WaitingItem:
    unmet = decision.unmet_findings if decision else ()
    return WaitingItem(row.model, row.alias, row.held, target, status, reason, unmet)


def _find_open_candidate(snapshot: ModelSnapshot, alias: str) -> Decision | None:
    """The newest candidate that is neither taken nor turned down."""
    rotation_status = snapshot.find_rotation_status(alias)
    if rotation_status is None or rotation_status.proposal:
        return None
    open_ones = (each for each in reversed(rotation_status.decisions) if each.verdict in (Verdict.PENDING, Verdict.ERROR))
    return next(open_ones, None)


def load_alias_history(ledger: AuditLog, model: str, alias: str) -> list[AliasSpan]:
    """Who held the alias when, oldest first."""
    return build_alias_spans(list(ledger.find_audit_records(RecordFilter(model=model, alias=alias, limit=1_000_000))))


def _build_alias_row(snapshot: ModelSnapshot, alias: str, last: AuditRecord | None, now: datetime) -> AliasRow:
    intent = snapshot.intent.aliases.get(alias)
    held = snapshot.find_held_version(alias)
    status, detail = _find_alias_status(snapshot, alias, intent, now)
    declared = (intent.declared or intent) if intent else None
    stated, absent = (declared.version, declared.absent) if declared else (None, False)
    guards = snapshot.find_guard_status(alias)
    failing = "; ".join(f"guard {row}" for row in guards.rows if row.failed) if guards else ""
    override = snapshot.outlooks.get(alias)
    refusals = find_effective_refusals(snapshot, alias)
    return AliasRow(snapshot.intent.name, alias, held, stated, status, detail, last, absent, failing, override, refusals)


def find_effective_refusals(snapshot: ModelSnapshot, alias: str) -> tuple[ProposalRefusal, ...]:
    """Find the refusals of what would be considered for the alias now. The others are history, such as of older versions."""
    rotation_status, guards = snapshot.find_rotation_status(alias), snapshot.find_guard_status(alias)
    rotated = rotation_status.refused if rotation_status else ()
    broken = guards.version if guards and guards.broken_guards and not guards.proposal else None
    adopts = snapshot.intent.on_drift == "adopt"
    moved = {each.from_version for each in snapshot.compared.reported if each.alias == alias and adopts}
    declared = snapshot.intent.aliases.get(alias)
    standing = (snapshot.find_held_version(alias), declared.version if declared else None)
    others = (
        each
        for each in snapshot.refusals.get(alias, ())
        if (each.aim is ProposalReason.GUARD and each.replaces == broken)
        or (each.aim is ProposalReason.ADOPT and each.version in moved)
        or (each.aim is ProposalReason.PUT_BACK and (each.version, each.replaces) == standing)
    )
    return (*rotated, *others)


def list_effective_refusals(snapshots: Iterable[ModelSnapshot]) -> list[ProposalRefusal]:
    """List the refusals of what would be considered now, of all these models, the newest first."""
    found = [
        each
        for snapshot in snapshots
        for alias in sorted(snapshot.intent.aliases)
        for each in find_effective_refusals(snapshot, alias)
    ]
    return sorted(found, key=lambda each: (each.at, each.model, each.alias, each.answer_key), reverse=True)


def _find_alias_status(snapshot: ModelSnapshot, alias: str, intent: AliasIntent | None, now: datetime) -> tuple[str, str]:
    blocked = next((each for each in snapshot.compared.blocked if each.alias in (None, alias)), None)
    if blocked:
        return BLOCKED, blocked.reason
    change = snapshot.find_change(alias)
    if change:
        return _describe_change(change)
    reported = next((each for each in snapshot.compared.reported if each.alias == alias), None)
    if reported:
        adopts = snapshot.intent.on_drift == "adopt" and reported.from_version is not None
        ending = "a pull request asks whether to adopt it" if adopts else "only reported"
        ending = _describe_refusals(find_effective_refusals(snapshot, alias)) or ending
        return DRIFT, f"git says {version_label(reported.to_version)}; {ending}"
    if intent is None:
        return OPEN, "not in registry.yaml"
    if snapshot.compared.blocked and intent.has_declared_target and snapshot.find_held_version(alias) != intent.version:
        return (
            BLOCKED,
            f"{version_label(intent.version)}: waits for {snapshot.compared.blocked[0].alias}, to be carried out with it",
        )
    return _describe_unchanged_alias(snapshot, intent, now)


def _describe_change(change: Change) -> tuple[str, str]:
    target = version_label(change.difference.to_version)
    note = f"; {change.difference.replacement}" if change.difference.replacement else ""
    if change.decision is None or change.is_allowed:
        return OUT_OF_SYNC, f"to be {target}{note}"
    return BLOCKED, f"{target}: {change.decision.summary_line}{note}"


def _describe_unchanged_alias(snapshot: ModelSnapshot, intent: AliasIntent, now: datetime) -> tuple[str, str]:
    guards = snapshot.find_guard_status(intent.alias)
    if guards and guards.broken_guards:
        return GUARD, _describe_broken_guard(guards)
    if intent.override and intent.declared:
        stated = f"{intent.override.description}; git says {render_declared_version(intent.declared)}"
        outlook = snapshot.outlooks.get(intent.alias)
        return OVERRIDE, f"{stated}. {outlook.warning}" if outlook else stated
    if intent.hold and intent.hold.is_in_force(now):
        return HELD, f"by {intent.hold.by}: {intent.hold.reason}"
    rotation_status = snapshot.find_rotation_status(intent.alias)
    settled = SYNCED if intent.has_declared_target else OPEN
    if rotation_status is None or not rotation_status.refused:
        return settled, rotation_status.reason if rotation_status else ""
    judged = [rotation_status.reason] if rotation_status.decisions else []
    detail = "; ".join([*judged, _describe_refusals(rotation_status.refused)])
    return settled if rotation_status.proposal else REFUSED, detail


def _describe_refusals(refusals: Iterable[ProposalRefusal]) -> str:
    return "; ".join(each.description for each in refusals)


def _find_return_version(guards: GuardStatus) -> int | None:
    return guards.proposal.edit.version if guards.proposal else None


def _describe_broken_guard(guards: GuardStatus) -> str:
    """What follows from a broken guard, in words."""
    target = _find_return_version(guards)
    return f"back to v{target}" if target else f"nothing is proposed: {guards.reason}"


def render_declared_version(declared: AliasIntent) -> str:
    """What git says of an alias."""
    return "absent" if declared.absent else version_label(declared.version)
