"""Rollback: a person puts an earlier version of an alias back, under a hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from promoter.application.ports import AuditLog, Clock, Ledger, Locks, Registry
from promoter.application.proposals.commits import (
    MAX_ATTEMPTS,
    Opener,
    ProposalCommitter,
    describe_waiting_rollback,
    is_hold_commit,
    is_rollback_commit,
)
from promoter.application.reconciler import ModelReconciler
from promoter.application.registry_binding import RegistryBinding
from promoter.application.revisions import RevisionTracker
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.decision import RuleFinding
from promoter.domain.desired import AliasIntent, Declaration, ModelIntent, Override
from promoter.domain.errors import BranchProtected, Conflict, ExternalError, Faults, PermanentError, TransientError
from promoter.domain.fields import format_duration, format_utc_minute
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL, find_present_daemons
from promoter.domain.observed import ObservedModel, build_copy_facts
from promoter.domain.overrides import build_override_outlooks
from promoter.domain.plan import ChangeCause
from promoter.domain.policy.evaluate import check_readiness
from promoter.domain.policy.guards import is_revert
from promoter.domain.proposal import Proposal
from promoter.domain.rollback import (
    PastService,
    RollbackRequest,
    RollbackResult,
    RollbackTarget,
    StandingRollback,
    check_named_version,
    find_latest_good_version,
    find_service_end,
    propose_rollback,
    validate_rollback_request,
)
from promoter.domain.text import version_label

log = structlog.get_logger(__name__)


TRIGGER = "rollback"


@dataclass(frozen=True)
class _RollbackDraft:
    """What a rollback is to do. `active_override` is an override to the same version that is in force already."""

    declaration: Declaration
    declared: AliasIntent
    observed: ObservedModel
    target: RollbackTarget
    proposal: Proposal
    active_override: Override | None

    @property
    def held(self) -> int | None:
        """The version that the registry has there."""
        return self.observed.aliases.get(self.declared.alias)

    @property
    def is_already_done(self) -> bool:
        return self.active_override is None and self.declared.version == self.held == self.target.version


class AliasRollback:
    """One person's rollback of one alias. To ask for it again goes on where it stopped, and repeats nothing.

    Where another rollback holds the alias, it is refused unless it names its version: two people may have heard of one fault.
    """

    def __init__(  # noqa: PLR0913  # keyword-only: one for each port or use case that it works with
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        clock: Clock,
        locks: Locks,
        revisions: RevisionTracker,
        model_reconciler: ModelReconciler,
        committer: ProposalCommitter,
        open_proposal: Opener,
        binding: RegistryBinding,
        has_forge: Callable[[], bool],
        poll_interval: timedelta = timedelta(minutes=1),
        report_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """`poll_interval`: how often the daemon looks at git. `report_step` hears what is done next."""
        self._poll_interval = poll_interval
        self._report_step = report_step
        self._binding = binding
        self._has_forge = has_forge
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._locks = locks
        self._revisions = revisions
        self._model_reconciler = model_reconciler
        self._committer = committer
        self._open_branch = open_proposal

    def __call__(self, asked: RollbackRequest) -> RollbackResult:
        """Carry the rollback out as far as git, the forge and the registry allow. Raises where nothing was done at all."""
        asked = validate_rollback_request(asked)
        self._binding.require_own_registry()
        for _ in range(MAX_ATTEMPTS):
            self._report_step("reading git")
            declaration, trouble = self._refresh_declaration(asked)
            self._report_step("reading MLflow and the ledger")
            draft = self._draft_rollback(asked, declaration, reachable=trouble is None)
            result = self._start_result(asked, draft)
            if draft.is_already_done:
                if asked.now:  # an earlier run may have been stopped between its write and the record of it
                    self._reconcile_now(asked, result)
                result.messages.insert(
                    0, f"Nothing to do: git says v{draft.held} for {asked.alias_name}, and the registry has it."
                )
                return result
            if trouble:
                return self._bypass_git(asked, draft, result, trouble)
            self._report_step("committing to git")
            try:
                after = self._committer.commit_proposal(draft.proposal, declaration)
            except Conflict:
                continue
            except ExternalError as error:
                if asked.now or isinstance(error, BranchProtected):
                    return self._bypass_git(asked, draft, result, error)
                raise
            return self._finish_commit(asked, draft, after, result)
        raise TransientError("git", "others kept pushing to the branch", "run it again")

    def _refresh_declaration(self, asked: RollbackRequest) -> tuple[Declaration, ExternalError | None]:
        """Return what git says, and why it cannot be written to. Raises where that matters, and `now` was not asked for."""
        revisions = self._revisions
        trouble: ExternalError | None = None
        try:
            revisions.refresh_head()
        except ExternalError as error:
            trouble = error
        if trouble is None and revisions.refusal_reason:
            fix = "mend it with a commit; or give --now to move the alias before"
            trouble = PermanentError(REGISTRY_FILE, f"the branch's head cannot be used: {revisions.refusal_reason}", fix)
        declaration = revisions.declaration_in_force
        if declaration is None and trouble is None:
            raise PermanentError("git", "no revision is in force")
        if declaration is None or (trouble and not asked.now):
            raise trouble or PermanentError("git", "no revision is in force")
        return declaration, trouble

    def _draft_rollback(self, asked: RollbackRequest, declaration: Declaration, *, reachable: bool) -> _RollbackDraft:
        declared = find_declared_intent(declaration, asked.model, asked.alias)
        if declared.absent:
            raise PermanentError(
                REGISTRY_FILE, f"git says that {asked.alias_name} must not exist", "give it a version there first"
            )
        observed = self._registry.observe_models({asked.model}).get(asked.model)
        if observed is None:
            raise PermanentError("MLflow", f"there is no registered model `{asked.model}`")
        active_override = find_active_override(self._ledger, self._clock, declared, observed)
        held = observed.aliases.get(asked.alias)
        standing = None if asked.to else self._find_standing(asked, declaration, active_override, reachable=reachable)
        if standing and not standing.is_asked_by(asked):
            raise standing.build_refusal(asked.alias_name)
        if standing and standing.version:
            target = RollbackTarget(standing.version, "you asked for it before, for this reason")
        else:
            target = self._choose_target(asked, _quarantine_overridden(declared, active_override), observed)
        same = active_override if active_override and active_override.version == target.version else None
        bad = same.replaces if same else held
        repeated = standing is not None and _was_left_unchecked(standing, declared, same)
        unchecked = asked.without_artifact_check or repeated
        proposal = propose_rollback(
            declared,
            bad,
            target.version,
            asked.reason,
            asked.by,
            goes_past=asked.to is not None,
            without_artifact_check=unchecked,
        )
        return _RollbackDraft(declaration, declared, observed, target, proposal, same)

    def _find_standing(
        self, asked: RollbackRequest, declaration: Declaration, active_override: Override | None, *, reachable: bool
    ) -> StandingRollback | None:
        """Return the rollback that holds the alias already: an override, one that waits, or a hold in git."""
        if active_override:
            return _describe_override(active_override)
        waiting = self._committer.find_waiting_rollback(declaration, asked.model, asked.alias) if reachable else None
        if waiting:
            return describe_waiting_rollback(waiting)
        declared = find_declared_intent(declaration, asked.model, asked.alias)
        hold, way_out = declared.hold, f"`promoter release {asked.alias_name}` lifts the hold"
        if hold and hold.is_in_force(self._clock.now()):
            commit = self._committer.find_hold_commit(declaration, declared)
            by_hand = not declared.quarantine and not (commit and is_rollback_commit(commit))
            if by_hand or (commit and is_hold_commit(commit)):
                return None  # a person wrote the hold, and took nothing back with it
            what = f"put {_describe_declared(declared)} under a hold, by a commit,"
            return StandingRollback(hold.by, hold.reason, declared.version, what, commit.at if commit else None, way_out)
        return self._find_recorded_return(asked, way_out, reachable=reachable)

    def _find_recorded_return(self, asked: RollbackRequest, way_out: str, *, reachable: bool) -> StandingRollback | None:
        """Return the return that moved the alias last by the ledger: without a hold, as a revert does.

        Also one with a hold where git cannot be asked, which may say by now that it stands, or was released.
        """
        moves = self._ledger.find_alias_moves({(asked.model, asked.alias)}).get((asked.model, asked.alias), ())
        last = moves[-1].fact if moves else None
        if last is None or (reachable and last.hold is not None):
            return None
        if last.hold is None:
            what = f"put {version_label(last.to_version)} back, by a commit without a hold,"
            actor_and_reason = (last.actor or "somebody", last.reason or "no reason given")
            return StandingRollback(*actor_and_reason, last.to_version, what, last.at, "") if is_revert(last) else None
        what = f"moved it to {version_label(last.to_version)}, under a hold that git cannot be asked about now,"
        return StandingRollback(last.actor or "somebody", last.hold, last.to_version, what, last.at, way_out)

    def _choose_target(self, asked: RollbackRequest, declared: AliasIntent, observed: ObservedModel) -> RollbackTarget:
        moves = self._ledger.find_alias_moves({(asked.model, asked.alias)}).get((asked.model, asked.alias), ())

        def check(version: int) -> RuleFinding:
            self._report_step(f"checking that v{version} can serve")
            return check_readiness(self._registry.check_readiness(asked.model, version))

        if asked.to is None:
            return find_latest_good_version(declared, observed, moves, check)
        present = observed.find_present(asked.to)
        served = present is not None and self._ledger.has_held_alias(asked.model, asked.alias, present)
        past = PastService(served, find_service_end(moves, observed, asked.to))
        unchecked = asked.without_artifact_check
        return check_named_version(declared, observed, asked.to, check, past, without_artifact_check=unchecked)

    def _start_result(self, asked: RollbackRequest, draft: _RollbackDraft) -> RollbackResult:
        target, version = draft.target, draft.target.version
        result = RollbackResult(asked.model, asked.alias, draft.held, version, version=version)
        if draft.is_already_done:
            return result
        holder = f"v{draft.held} holds" if draft.held else "Nobody holds"
        returns = f"v{version} is to hold it" if draft.held == version else f"v{version} returns"
        result.messages.append(f"{holder} {asked.alias_name}; {returns}: {target.why}.")
        result.messages += [f"Passed over: {each}." for each in target.passed_over]
        policy, present = draft.declared.policy, draft.observed.find_present(version)
        held = present is not None and self._ledger.has_held_alias(asked.model, asked.alias, present)
        if policy and not held:
            unless = ", unless an override brings it, which asks for readiness only" if asked.now else ""
            result.messages.append(f"v{version} never held {asked.alias}: policy `{policy}` gates it{unless}.")
        return result

    def _finish_commit(
        self, asked: RollbackRequest, draft: _RollbackDraft, after: Declaration, result: RollbackResult
    ) -> RollbackResult:
        result.path, result.revision = "commit", after.revision
        how = "Git says so already, at" if after is draft.declaration else "Committed as"
        result.messages.append(f"{how} {(after.revision or '')[:10]}: {_describe_hold(draft)}.")
        if asked.now:
            self._reconcile_now(asked, result)
        else:
            result.messages.append(f"{self._describe_timing()}; with --now it moves at once.")
        result.messages.append(_describe_release(asked))
        return result

    def _describe_timing(self) -> str:
        """Return when the commit moves the alias, without a full stop: nobody waits for a daemon that does not run."""
        now, found = self._clock.now(), None
        with suppress(ExternalError):  # the commit is there, whatever the ledger answers
            found = find_present_daemons(self._ledger.find_lifecycle_events(now - 3 * HEARTBEAT_INTERVAL), now)
        if found == []:
            runs = "`promoter serve` or `promoter apply` runs"
            return f"No daemon works on this ledger now: the alias moves once {runs}"
        every = f"else with its next poll, every {format_duration(self._poll_interval)} by PROMOTER_POLL_INTERVAL"
        return f"The daemon moves the alias when it sees the commit: at once where a webhook reports the push, {every}"

    def _bypass_git(
        self, asked: RollbackRequest, draft: _RollbackDraft, result: RollbackResult, trouble: ExternalError
    ) -> RollbackResult:
        """The branch takes no commit, or git is not to be had: an override first, if it is to be now; then a pull request."""
        result.path = "pull-request"
        if asked.now and draft.declared.version != draft.target.version:
            result.path, result.override = "override", self._ensure_override(asked, draft)
            result.messages.append(
                f"An override stands in for git (record {result.override.id}): {result.override.description}."
            )
        if asked.now:
            self._reconcile_now(asked, result)
        if isinstance(trouble, BranchProtected):
            self._open_proposal(asked, draft, result)
        else:
            result.record_failure(f"Git has no branch of it yet: {trouble}.")
            by_daemon = "The daemon makes the branch and the pull request once git can be used; or run this again."
            by_hand = "Run this again once git can be used: it pushes the branch."
            result.messages.append(by_daemon if self._is_forge_configured else by_hand)
        if result.override:
            result.messages += self._describe_ends(draft, result.override)
        result.messages.append(_describe_release(asked))
        return result

    @property
    def _is_forge_configured(self) -> bool:
        """Whether pull requests are heard of; also where the forge cannot be used now."""
        try:
            return self._has_forge()
        except (Faults, ExternalError):
            return True

    def _describe_ends(self, draft: _RollbackDraft, override: Override) -> list[str]:
        """Say what ends the override, and what follows: without a forge, nobody hears that a pull request was closed."""
        version, end = version_label(override.version), format_utc_minute(override.until)
        intent = draft.declaration.desired.find_model_intent(override.model) or ModelIntent(override.model)
        settled = self._ledger.read_last_applied({override.model}).get(override.model, {})
        there = replace(draft.observed, aliases={**draft.observed.aliases, override.alias: override.version})
        outlook = build_override_outlooks(intent.apply_overrides([override]), there, settled).get(override.alias)
        then = outlook.consequence if outlook else "nothing moves"
        merged, closed = "Once git states it, as by a merge of the branch,", "Without that"
        if self._is_forge_configured:
            merged, closed = "If its pull request is merged,", "If that is closed, or nobody decides until then"
        return [
            f"{version} serves under the override until {end}. {merged} nothing moves, and the override is over.",
            f"{closed}, the override ends, and {then}.",
        ]

    def _open_proposal(self, asked: RollbackRequest, draft: _RollbackDraft, result: RollbackResult) -> None:
        self._report_step("opening a pull request")
        try:
            opened = self._open_branch(draft.proposal)
        except ExternalError as error:
            if not asked.now:
                raise
            result.record_failure(f"The branch could not be pushed: {error}. Run this again, or let the daemon do it.")
            return
        result.revision, result.pull_request = opened.revision, opened.url
        result.messages += opened.describe(_describe_hold(draft))
        result.done = result.done and opened.done

    def _ensure_override(self, asked: RollbackRequest, draft: _RollbackDraft) -> Override:
        """Return the override in force, or record one; under the model's lock, so that two requests at once make one."""
        version, hold = draft.target.version, draft.proposal.edit.hold
        unchecked = hold is not None and hold.without_artifact_check == version
        with self._locks.hold(asked.model):
            active_override = find_active_override(self._ledger, self._clock, draft.declared, draft.observed)
            standing = _describe_override(active_override) if active_override else None
            if standing and asked.to is None and not standing.is_asked_by(asked):
                raise standing.build_refusal(asked.alias_name)
            at, same = self._clock.now(), active_override and active_override.version == version
            if active_override and same and not _needs_new_override(active_override, asked, at, unchecked=unchecked):
                return active_override
            replaces = active_override.replaces if active_override and same else draft.held
            record = NewAuditRecord(
                at=at,
                kind=RecordKind.OVERRIDE,
                model=asked.model,
                alias=asked.alias,
                from_version=replaces,
                to_version=version,
                revision=draft.declaration.revision,
                actor=asked.by,
                trigger=TRIGGER,
                reason=asked.reason,
                cause=ChangeCause.OVERRIDE.value,
                until=at + asked.override_duration,
                from_identity=draft.observed.find_identity(replaces),
                to_identity=draft.observed.find_identity(version),
                run_id=draft.observed.find_run_id(version),
                without_artifact_check=unchecked or None,
                copied_from=build_copy_facts(draft.observed.find_copy_origin(version)),
            )
            number = self._ledger.record_override(record)
        log.info("override recorded", model=asked.model, alias=asked.alias, version=version, by=asked.by)
        until, identity = at + asked.override_duration, record.to_identity
        who = (replaces, asked.reason, asked.by, until, identity)
        return Override(number, at, asked.model, asked.alias, version, *who, without_artifact_check=unchecked)

    def _reconcile_now(self, asked: RollbackRequest, result: RollbackResult) -> None:
        """Reconcile the model now. What this cannot do, the daemon does with its next reconcile."""
        self._report_step("moving the alias")
        try:
            snapshot = self._model_reconciler.reconcile(asked.model, TRIGGER, rotate=False)
        except ExternalError as error:
            result.record_failure(f"The registry does not have v{result.to_version} yet: {error}. The daemon goes on with it.")
            return
        model = snapshot.models.get(asked.model) if snapshot else None
        held = model.observed.aliases.get(asked.alias) if model and model.observed else None
        if held == result.to_version:
            result.messages += [] if held == result.from_version else [f"The registry has v{held} now."]
            return
        blocked = [each.reason for each in snapshot.plan.blocked if each.alias in (None, asked.alias)] if snapshot else []
        why = "; ".join(blocked) or "what git says now leaves the alias where it is"
        result.record_failure(f"The registry still has {f'v{held}' if held else 'nothing'} there: {why}.")


def _was_left_unchecked(standing: StandingRollback, declared: AliasIntent, same: Override | None) -> bool:
    """Return whether the rollback that stands already, which its person asks for once more, left the check out."""
    stated = declared.hold is not None and declared.hold.without_artifact_check == standing.version is not None
    return stated or (same is not None and same.without_artifact_check)


def _needs_new_override(override: Override, asked: RollbackRequest, now: datetime, *, unchecked: bool) -> bool:
    """Return whether the override in force, of the same version, is not what is asked for: another end, or no check."""
    return asked.renews(override, now) or (unchecked and not override.without_artifact_check)


def _describe_override(override: Override) -> StandingRollback:
    end = f"merge or close its pull request, or let it end on {format_utc_minute(override.until)}"
    what = f"put v{override.version} there, by an override,"
    return StandingRollback(override.by, override.reason, override.version, what, override.at, end)


def find_declared_intent(declaration: Declaration, model: str, alias: str) -> AliasIntent:
    """What git itself says of the alias. Raises `PermanentError` where it says nothing."""
    return declaration.desired.require_model_intent(model).require_alias(alias)


def find_active_override(
    ledger: AuditLog, clock: Clock, declared: AliasIntent, observed: ObservedModel | None = None
) -> Override | None:
    """The one that stands in for what git says of the alias now; with `observed`, not one of another version of its number."""
    now = clock.now()
    found: Sequence[Override] = [
        each
        for each in ledger.find_open_overrides({declared.model})
        if each.alias == declared.alias and each.is_in_force(now) and (observed is None or observed.still_has(each.target))
    ]
    return found[-1] if found and found[-1].version != declared.version else None


def _quarantine_overridden(declared: AliasIntent, active_override: Override | None) -> AliasIntent:
    """With what an override took away in quarantine: a new rollback on top of it does not return there."""
    if active_override is None:
        return declared
    return replace(
        declared, quarantine=declared.quarantine | {each for each in (declared.version, active_override.replaces) if each}
    )


def _describe_hold(draft: _RollbackDraft) -> str:
    bad = sorted({*draft.declared.quarantine, *draft.proposal.edit.quarantine})
    return f"v{draft.target.version} under a hold" + (f", {', '.join(f'v{each}' for each in bad)} in quarantine" if bad else "")


def _describe_declared(declared: AliasIntent) -> str:
    return f"v{declared.version}" if declared.version else "nothing, so that the alias stays"


def _describe_release(asked: RollbackRequest) -> str:
    until = f"until `promoter release {asked.alias_name}`"
    return f"Rotation leaves {asked.alias_name} alone {until}; the quarantine stays after that, too."
