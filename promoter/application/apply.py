"""Apply a plan: intent row, recheck, write, read back, outcome row. The only code that writes an alias.

Right before each write, the model's lock is checked where it is kept: a run that was stopped for so long that it lost its lock
writes nothing. MLflow has no compare and set, so that a run which is stopped between this check and its request still writes
when it goes on; that write is recorded, and the next run puts it right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from promoter.application.figures import WorkFigures
from promoter.application.planner import Planner
from promoter.application.ports import Absence, Clock, GitCommit, Ledger, Locks, Registry
from promoter.application.provenance import GitProvenance
from promoter.application.snapshots import ModelSnapshot, RegistrySnapshot
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.decision import Decision
from promoter.domain.desired import AliasIntent, Declaration, Override
from promoter.domain.errors import Conflict, ExternalError, PermanentError, TransientError
from promoter.domain.fields import format_utc_minute
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ObservedModel, build_copy_facts
from promoter.domain.overrides import build_expiring_event, build_outlook, describe_return, find_causing_end
from promoter.domain.plan import AliasDifference, Change, ChangeCause
from promoter.domain.proposal import CommitRequest
from promoter.domain.review import ChangeOrigin
from promoter.domain.text import version_label

log = structlog.get_logger(__name__)


PROMOTER = "Promoter"
_RETURN_SEARCH_LIMIT = 50
"""Records of an alias that are read to find why it is elsewhere than git says."""


@dataclass(frozen=True)
class ReconcileRequest:
    """The revision to bring a model to, and the cause."""

    declaration: Declaration
    trigger: str
    """What caused it, as the ledger records it."""
    started_at: datetime | None = None
    """When the first change of this reconcile began: what has begun finishes, also into a freeze."""
    person: str | None = None
    """Who applies a working tree; None: the declaration is a revision of the branch, whose commits have authors."""


@dataclass(frozen=True)
class ChangeRecheck:
    """What the read right before a write found: the model, and why the change does not hold any more."""

    observed: ObservedModel | None
    moves: tuple[NewAuditRecord, ...]
    """Alias moves of the model that the ledger has not seen."""
    stale_reason: str | None
    """None: the change still holds."""


def recheck_change(
    planner: Planner, declaration: Declaration, difference: AliasDifference, started_at: datetime | None = None
) -> ChangeRecheck:
    """Read state and evidence again right before a write, for one alias: whether a whole new plan would still allow it.

    The change does not hold either where it would begin at a version that the ledger does not know of: somebody else
    recorded another one since the plan.
    """
    model, alias = difference.model, difference.alias
    seen = planner.observe(declaration, {model})
    plan, moves = planner.plan_alias(declaration, seen, (model, alias), started_at), seen.find_moves(model)
    allowed = any(each.difference.identity_key == difference.identity_key for each in plan.allowed_changes)
    if allowed and not any(move.alias == alias for move in moves):
        if model in seen.observed and difference.to_version is not None:
            planner.confirm_vacancies(
                declaration, seen.observed[model], alias, difference.intent.policy if difference.intent else None
            )
        return ChangeRecheck(seen.observed.get(model), moves, None)
    blocked = next((each.reason for each in plan.blocked if each.alias in (None, alias)), None)
    reason = f"not written: {blocked}" if blocked else "not written: the registry changed after the plan was made"
    return ChangeRecheck(seen.observed.get(model), moves, reason)


@dataclass(frozen=True)
class _ExecutedChange:
    """A change that was carried out."""

    before: ObservedModel | None
    """The model right before the write; None where it shows moves that nobody has recorded."""
    aliases_after: Mapping[str, int]
    """The model's aliases as they were read back."""
    at: datetime
    """The moment between the write and that read."""


@dataclass(frozen=True)
class _ChangeAuthor:
    """Who a record of a change names, and the reason that it gives."""

    actor: str | None
    reason: str


class PlanExecutor:
    """Carries out a plan: intent row, recheck, write, read back, outcome row. The caller holds the model's lock."""

    def __init__(
        self,
        registry: Registry,
        provenance: GitProvenance,
        ledger: Ledger,
        planner: Planner,
        clock: Clock,
        locks: Locks,
    ) -> None:
        self.figures = WorkFigures()
        """What came of the changes, counted for monitoring, with the rest of the daemon's work."""
        self._registry = registry
        self._provenance = provenance
        self._ledger = ledger
        self._planner = planner
        self._clock = clock
        self._locks = locks

    def recover_intents(self, model: str) -> datetime | None:
        """Close the intents that a crash left open, by what the registry shows now; when the first began, if any."""
        left = self._ledger.find_open_intents({model})
        if not left:
            return None
        observed = self._registry.observe_models({model}).get(model) or ObservedModel(model)
        self._locks.require_held(model)  # only then was nobody at work on these intents
        for intent in left:
            target = intent.fact.target
            reached = observed.aliases.get(intent.fact.alias) == target.number and observed.still_has(target)
            self._confirm_reading(model, intent.fact.alias, intent.fact.to_version, observed.aliases)
            outcome = ChangeOutcome.RECOVERED if reached else ChangeOutcome.FAILED
            written = "; ".join(part for part in (intent.fact.reason, "found written after a stop") if part)
            detail = written if reached else "found not written after a stop"
            try:
                self._ledger.record_outcome(intent.id, outcome, self._clock.now(), detail)
            except Conflict:
                continue  # the run that was stopped has gone on meanwhile
            self.figures.count_change(outcome.value, intent.fact.cause)
            log.warning("intent closed after a stop", model=model, alias=intent.fact.alias, outcome=outcome.value)
        return min(intent.fact.at for intent in left)

    def record_snapshot(self, snapshot: RegistrySnapshot, trigger: str | None = None, *, only_first: bool = False) -> None:
        """Record what the snapshot shows and the ledger does not know: moves of others, agreements, decisions.

        `only_first`: only of what the ledger knows nothing yet, for a caller that holds no lock; a reconcile under the model's
        lock records the rest.
        """
        revision, models = snapshot.declaration.revision, snapshot.models
        moves = [move for model in models.values() for move in model.moves if not only_first or move.from_version is None]
        if moves:
            self._ledger.record_observed_moves(moves, only_first=only_first, only_next=not only_first)
        self._record_replacements([record for model in models.values() for record in model.replaced if not only_first])
        agreed = {name: model.agreed for name, model in models.items() if model.agreed}
        if agreed:
            self._ledger.record_last_applied(agreed, revision, snapshot.at, only_first=only_first)
        if snapshot.undeclared and not snapshot.plan.refused:  # else a second try of a refused plan would find nothing gone
            self._forget_undeclared(snapshot)
        if snapshot.tag_observations:
            self._ledger.record_tag_observations(snapshot.tag_observations)
        if not only_first:
            checks = [check for model in models.values() for status in model.guards for check in status.checks]
            if checks:
                self._ledger.record_guard_checks(checks)
            self._announce_expiring_overrides(snapshot)
            for override in snapshot.ended_overrides:
                self._end_override(override, snapshot)
        if snapshot.decisions:
            self._ledger.record_decisions(snapshot.decisions, revision, trigger)

    def _forget_undeclared(self, snapshot: RegistrySnapshot) -> None:
        self._ledger.forget_last_applied(snapshot.undeclared, snapshot.declaration.revision, snapshot.at)
        for each in snapshot.plan.unmanaged:
            log.warning("alias is not managed any more", model=each.model, alias=each.alias, why=each.description)

    def _record_replacements(self, replaced: Sequence[NewAuditRecord]) -> None:
        for fact in self._ledger.record_replacements(replaced) if replaced else ():
            version = version_label(fact.from_version)
            log.warning("version replaced", model=fact.model, alias=fact.alias, version=version, why=fact.reason)

    def _announce_expiring_overrides(self, snapshot: RegistrySnapshot) -> None:
        for each in snapshot.expiring_overrides:
            override = each.override
            self._ledger.announce_expiring_override(build_expiring_event(each, snapshot.at))
            until, then = format_utc_minute(override.until), each.consequence
            log.warning("override ends soon", model=override.model, alias=override.alias, until=until, then=then)

    def _end_override(self, override: Override, snapshot: RegistrySnapshot) -> None:
        """Where git says the same by now, and the registry does, that is agreed on; where it expired, git's word counts again.

        Where git says so and the registry never came to it, what git says is a decision like any other.
        """
        model = snapshot.models.get(override.model)
        intent = model.intent.aliases.get(override.alias) if model else None
        there = model is not None and model.observed is not None and model.observed.aliases.get(override.alias)
        if intent is not None and intent.override is not None:
            self._ledger.end_override(override.id, snapshot.at, f"replaced by the override of record {intent.override.id}")
        elif model and model.observed and not model.observed.still_has(override.target):
            reason = f"void: v{override.version} is another version now than the one that was asked for"
            self._ledger.end_override(override.id, snapshot.at, reason)
        elif intent is not None and intent.version == override.version:
            revision = snapshot.declaration.revision if there == override.version else None
            self._ledger.end_override(override.id, snapshot.at, "decided: git says the same", revision=revision)
        elif not override.is_in_force(snapshot.at):
            reason = "expired: nobody decided in time, and git's word counts again"
            then = _describe_aftermath(override, model, intent)
            self._ledger.end_override(override.id, snapshot.at, f"{reason}; {then}" if then else reason)
        else:
            self._ledger.end_override(override.id, snapshot.at, "void: git says nothing of the alias any more")
        log.info("override is over", model=override.model, alias=override.alias)

    def execute_plan(self, snapshot: RegistrySnapshot, request: ReconcileRequest) -> RegistrySnapshot | None:
        """Carry out the allowed changes of a plan for one model, in order, up to the first that does not hold any more.

        Return the snapshot that results; None where the model has to be planned again.
        """
        (model,) = snapshot.models.values()
        expected = model.observed
        as_planned, at = expected is not None, snapshot.at
        for change in snapshot.plan.allowed_changes:
            done = self._execute_change(change, request)
            if done is None or expected is None:
                return None
            as_planned &= done.before == expected
            expected = _apply_change(expected, change)
            as_planned &= done.aliases_after == expected.aliases
            at = done.at
        return snapshot.predict_after_changes(at, expected) if as_planned and expected else None

    def _execute_change(self, change: Change, request: ReconcileRequest) -> _ExecutedChange | None:
        """Intent, recheck, write, read back, outcome. None: nothing was written, as the change does not hold any more."""
        model, record = change.difference.model, self._build_intent_record(change, request)
        self._locks.require_held(model)
        intent = self._ledger.record_intent(record, change.decision)
        try:
            found = recheck_change(self._planner, request.declaration, change.difference, request.started_at)
        except ExternalError as error:
            # Nothing has been written yet, so the outcome is known whatever the registry does.
            self._record_failure(intent, change, f"not written: {error.message}")
            raise
        if found.stale_reason:
            self._record_failure(intent, change, found.stale_reason)
            return None
        self._locks.require_held(model)  # else the intent is left to the run that holds the lock now
        answered = self._write_alias(intent, change)
        at = self._clock.now()
        aliases = self._confirm_write(intent, change, answered=answered)
        return _ExecutedChange(None if found.moves else found.observed, aliases, at)

    def _write_alias(self, intent: int, change: Change) -> bool:
        """Write the alias, and return whether MLflow answered: without an answer, the write may have arrived, or may yet."""
        what = change.difference
        try:
            if what.to_version is None:
                self._registry.delete_alias(what.model, what.alias)
            else:
                self._registry.set_alias(what.model, what.alias, what.to_version)
        except PermanentError as error:
            self._record_failure(intent, change, f"MLflow refused: {error.message}")
            raise
        except TransientError:
            log.warning("write unanswered, reading back", model=what.model, alias=what.alias)
            return False
        return True

    def _confirm_write(self, intent: int, change: Change, *, answered: bool) -> Mapping[str, int]:
        """Read the aliases back, and return them.

        Raises `TransientError` with the intent left open where the outcome cannot be known: the next run closes it.
        """
        what = change.difference
        aliases = self._registry.read_aliases(what.model) or {}
        held = aliases.get(what.alias)
        self._confirm_reading(what.model, what.alias, what.to_version, aliases)
        if held != what.to_version:
            if answered:
                self._record_failure(intent, change, f"read back {version_label(held)}")
            # Answered, and another one there: somebody else moved it. Without an answer, nobody knows whose fault it is.
            message = f"{what.model}@{what.alias} reads {version_label(held)} after the write"
            raise TransientError("MLflow", message, about_one_model=answered)
        self._record_applied(intent, change)
        log.info(
            "alias moved",
            model=what.model,
            alias=what.alias,
            source=version_label(what.from_version),
            target=version_label(held),
            cause=what.cause.value,
        )
        return aliases

    def _confirm_reading(self, model: str, alias: str, target: int | None, aliases: Mapping[str, int]) -> None:
        """Have the registry confirm by the alias's own name what it does not show: an absent alias, or the target of a write.

        Raises `TransientError` where it shows two things: then nothing is known, and nothing is recorded.
        """
        held = aliases.get(alias)
        if held is None:
            self._registry.confirm_absences([Absence(model, alias)])
        elif target not in (None, held):
            self._registry.confirm_absences([Absence(model, alias, target)])

    def _record_failure(self, intent: int, change: Change, detail: str) -> None:
        """Close the intent as failed. Whoever lost the model's lock does not: another run may have closed it already."""
        self._locks.require_held(change.difference.model)
        self._ledger.record_outcome(intent, ChangeOutcome.FAILED, self._clock.now(), detail)
        self.figures.count_change(ChangeOutcome.FAILED.value, change.difference.cause.value)

    def _record_applied(self, intent: int, change: Change) -> None:
        """Close the intent as applied. Raises `TransientError` where another run closed it: the model is planned again."""
        try:
            self._ledger.record_outcome(intent, ChangeOutcome.APPLIED, self._clock.now())
        except Conflict as error:
            self._record_late_write(intent, change)
            what = change.difference
            raise TransientError(
                "lock", f"the lock of {what.model} was lost while {what.alias} was written: {error.message}"
            ) from error
        self.figures.count_change(ChangeOutcome.APPLIED.value, change.difference.cause.value)

    def _record_late_write(self, intent: int, change: Change) -> None:
        """Record a write that arrived after another run had closed its intent as not written: no write stays unrecorded."""
        what, opened = change.difference, self._ledger.find_audit_record(intent)
        known = self._ledger.read_last_known_versions({what.model}).get(what.model, {}).get(what.alias)
        known = known or RememberedVersion(None)
        if opened is None or (known.number, known.identity) == (what.to_version, what.to_identity):
            return  # it was found written
        at, reason = self._clock.now(), f"written late: this run had lost its lock, and another one closed intent {intent}"
        late = replace(opened.fact, at=at, from_version=known.number, from_identity=known.identity, reason=reason)
        with suppress(Conflict):
            self._ledger.record_outcome(self._ledger.record_intent(late, change.decision), ChangeOutcome.APPLIED, at)
        log.warning("alias written late, planning again", model=what.model, alias=what.alias, intent=intent)

    def _build_intent_record(self, change: Change, request: ReconcileRequest) -> NewAuditRecord:
        what, decision = change.difference, change.decision
        override = what.intent.override if what.intent else None
        commit = None if request.person else self._provenance.find_change_commit(what, request.declaration)
        origin = self._find_origin(commit, decision)
        author = self._find_author(change, commit, origin, request.person)
        return NewAuditRecord(
            at=self._clock.now(),
            kind=RecordKind.CHANGE,
            model=what.model,
            alias=what.alias,
            from_version=what.from_version,
            to_version=what.to_version,
            revision=commit.revision if commit else (None if override else request.declaration.revision),
            actor=author.actor,
            trigger=request.trigger,
            policy=decision.policy if decision else None,
            verdict=decision.verdict.value if decision else None,
            outcome=ChangeOutcome.INTENDED,
            reason=author.reason + _render_exceptions(decision),
            cause=what.cause.value,
            review=origin.to_json() if origin else None,
            hold=_find_hold_reason(change, self._clock.now()),
            from_identity=what.from_identity,
            to_identity=what.to_identity,
            run_id=what.run_id,
            copied_from=build_copy_facts(what.copied_from),
        )

    def _find_origin(self, commit: GitCommit | None, decision: Decision | None) -> ChangeOrigin | None:
        """The pull request that brought the commit. It is worth a question, and no change waits for the answer."""
        known = decision.evidence.origin if decision and decision.evidence else None
        found = known if isinstance(known, ChangeOrigin) or commit is None else self._provenance.find_commit_origin(commit)
        return found if isinstance(found, ChangeOrigin) else None

    def _find_author(
        self, change: Change, commit: GitCommit | None, origin: ChangeOrigin | None, person: str | None
    ) -> _ChangeAuthor:
        """The person behind the change: who asked for the commit, else who wrote it, or merged Promoter's own proposal.

        `person`: who applies a working tree. Where no person is known, it is Promoter, and never nobody.
        """
        what = change.difference
        override = what.intent.override if what.intent else None
        statement = commit.subject if commit else "stated in a working tree, past the branch" if person else None
        reason = _render_reason(change, statement)
        if override or commit is None or what.cause is ChangeCause.DRIFT:
            actor = override.by if override else person or PROMOTER
            return _ChangeAuthor(actor, self._explain_return(what) or reason)
        asked = self._find_request(what, commit, origin)
        if asked:
            merged = "" if origin or asked.revision == commit.revision else f"; merged by {commit.author.partition(' <')[0]}"
            return _ChangeAuthor(asked.by, (asked.reason or reason) + merged)
        proposed = origin is not None and self._provenance.is_own_branch(origin.branch)
        return _ChangeAuthor((origin.merged_by if origin and proposed else None) or commit.author, reason)

    def _explain_return(self, what: AliasDifference) -> str | None:
        """Return the reason of a move that follows the end of an override; None where it is drift that somebody made."""
        if what.cause is not ChangeCause.DRIFT:
            return None
        newest = self._ledger.find_audit_records(RecordFilter(what.model, what.alias, newest=True, limit=_RETURN_SEARCH_LIMIT))
        end = find_causing_end(reversed(newest), what.from_version)
        return describe_return(end, what.to_version) if end else None

    def _find_request(self, what: AliasDifference, commit: GitCommit, origin: ChangeOrigin | None) -> CommitRequest | None:
        """Who asked for the commit, or for the one that it merges.

        Only the ledger is believed: it has the id of each commit that Promoter made for a person, from before that could be
        seen. Whatever a commit's author or its trailers claim, anybody can write.
        """
        revisions = {commit.revision, *commit.parents[1:], *([origin.head] if origin and origin.head else [])}
        found = (CommitRequest.from_event_facts(each.facts) for each in self._ledger.find_commit_requests(revisions))
        wanted = (what.model, what.alias, what.to_version)
        return next((each for each in found if each and (each.model, each.alias, each.version) == wanted), None)


def _apply_change(observed: ObservedModel, change: Change) -> ObservedModel:
    what = change.difference
    others = {alias: version for alias, version in observed.aliases.items() if alias != what.alias}
    return replace(observed, aliases=others if what.to_version is None else {**others, what.alias: what.to_version})


def _render_reason(change: Change, subject: str | None) -> str:
    match change.difference.cause:
        case ChangeCause.DRIFT:
            return "drift put back: git still says so"
        case ChangeCause.PRUNE:
            return "pruned: registry.yaml does not list it"
        case ChangeCause.OVERRIDE:
            override = change.difference.intent.override if change.difference.intent else None
            return f"override until {format_utc_minute(override.until)}: {override.reason}" if override else "override"
        case _:
            replacement = f"; {change.difference.replacement}" if change.difference.replacement else ""
            return (subject or "stated in registry.yaml") + replacement


def _describe_aftermath(override: Override, model: ModelSnapshot | None, declared: AliasIntent | None) -> str:
    """Return what follows the end of an override that nobody decided on; empty where git does not manage the alias."""
    if model is None or declared is None:
        return ""
    return build_outlook(override, declared, model.observed, model.intent.on_drift, model.compared).consequence


def _find_hold_reason(change: Change, now: datetime) -> str | None:
    hold = change.difference.intent.hold if change.difference.intent else None
    return hold.reason if hold and hold.is_in_force(now) else None


def _render_exceptions(decision: Decision | None) -> str:
    """What was in the way, and did not stop it: a freeze that the commit overrides, waivers, a policy that only watches."""
    if decision is None:
        return ""
    past = decision.evidence.past if decision.evidence else None
    notes = f"; freeze overridden: {past.override}" if past and past.override else ""
    notes += "".join(f"; {finding.rule} {finding.waived.waiver}" for finding in decision.waived_findings if finding.waived)
    return notes + ("; would be blocked, but the policy only watches" if decision.would_block else "")
