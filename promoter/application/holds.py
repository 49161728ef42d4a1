"""Holds and quarantines: a person keeps rotation away from an alias, or a version out of it, and takes that back."""

from __future__ import annotations

from collections.abc import Callable

from promoter.application.ports import AuditLog, Clock, Registry
from promoter.application.proposals.commits import MAX_ATTEMPTS, Opener, ProposalCommitter
from promoter.application.revisions import RevisionTracker
from promoter.application.rollback import find_active_override, find_declared_intent
from promoter.domain.desired import AliasIntent, Declaration, Hold
from promoter.domain.errors import BranchProtected, Conflict, PermanentError, TransientError
from promoter.domain.fields import format_utc_minute
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.proposal import Proposal, ProposalReason
from promoter.domain.rollback import HoldRequest, RollbackResult, propose_hold_request, validate_hold_request
from promoter.domain.text import format_count, version_label

_SHOWN_VERSIONS = 5


class HoldWriter:
    """One person's hold or quarantine of one alias, or its end. To ask for it again goes on where it stopped."""

    def __init__(  # keyword-only: one for each port or use case that it works with
        self,
        *,
        registry: Registry,
        ledger: AuditLog,
        clock: Clock,
        revisions: RevisionTracker,
        committer: ProposalCommitter,
        open_proposal: Opener,
        report_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._revisions = revisions
        self._committer = committer
        self._open_branch = open_proposal
        self._report_step = report_step

    def __call__(self, asked: HoldRequest) -> RollbackResult:
        """Put the request into git, by a commit or a pull request.

        Raises where git states the opposite of what is to be lifted, where another request waits for a decision, and for a
        version that is not registered.
        """
        asked = validate_hold_request(asked, self._clock.now())
        first: AliasIntent | None = None
        for _ in range(MAX_ATTEMPTS):
            self._report_step("reading git")
            declaration = self._refresh_declaration()
            declared = find_declared_intent(declaration, asked.model, asked.alias)
            first = first or declared
            if (nothing := self._find_nothing_to_do(asked, declared)) is not None:
                return nothing
            self._require_possible(asked, declaration, declared)
            holder = self._require_registered(asked) if asked.act is ProposalReason.QUARANTINE else None
            next_steps = _describe_next_steps(asked, declared, holder)
            proposal = propose_hold_request(asked, declared, self._clock.now())
            result = _start_result(asked, declared)
            result.messages += _describe_opening(asked, declared, first)
            self._report_step("committing to git")
            try:
                after = self._committer.commit_proposal(proposal, declaration)
            except Conflict:
                continue
            except BranchProtected:
                return self._open_proposal(asked, proposal, result, next_steps)
            result.path, result.revision = "commit", after.revision
            result.messages += [f"Committed as {(after.revision or '')[:10]}.", *next_steps]
            return result
        raise TransientError("git", "others kept pushing to the branch", "run it again")

    def _refresh_declaration(self) -> Declaration:
        self._revisions.refresh_head()
        if self._revisions.refusal_reason:
            raise PermanentError(
                REGISTRY_FILE, f"the branch's head cannot be used: {self._revisions.refusal_reason}", "mend it first"
            )
        if self._revisions.declaration_in_force is None:
            raise PermanentError("git", "no revision is in force")
        return self._revisions.declaration_in_force

    def _find_nothing_to_do(self, asked: HoldRequest, declared: AliasIntent) -> RollbackResult | None:
        """Return the result where git states by now what is asked for: a hold that lasts as long, or that quarantine."""
        result = _start_result(asked, declared)
        hold, bad = declared.hold, version_label(asked.version)
        if asked.act is ProposalReason.HOLD and hold and hold.is_in_force(self._clock.now()) and _lasts_as_long(hold, asked):
            result.messages.append(f"Nothing to do: {_describe_hold(hold)} holds {asked.alias_name} already: {hold.reason}.")
            result.messages.append(f"`promoter hold {asked.alias_name} --lift` lifts the hold.")
            result.hold_end = hold.until
            return result
        if asked.act is ProposalReason.QUARANTINE and asked.version in declared.quarantine:
            result.messages.append(f"Nothing to do: {bad} is in quarantine for {asked.alias_name} already.")
            return result
        return None

    def _require_possible(self, asked: HoldRequest, declaration: Declaration, declared: AliasIntent) -> None:
        part, name, bad = asked.act.value, asked.alias_name, version_label(asked.version)
        way_out = f"merge or close the pull request from {self._committer.name_branch(asked.model, asked.alias)} first"
        if declared.absent:
            raise PermanentError(REGISTRY_FILE, f"git says that {name} must not exist", "give it a version there first")
        if active_override := find_active_override(self._ledger, self._clock, declared):
            raise PermanentError(part, f"an override stands in for git: {active_override.description}", way_out)
        if asked.act is ProposalReason.RELEASE and declared.hold is None:
            raise PermanentError(part, f"nothing to release: git holds nothing of {name}")
        if asked.act is ProposalReason.LIFT_QUARANTINE and asked.version not in declared.quarantine:
            there = ", ".join(f"v{each}" for each in sorted(declared.quarantine)) or "nothing"
            raise PermanentError(part, f"nothing to lift: {bad} is not in quarantine for {name}; git has {there} there")
        waiting = self._committer.find_waiting_intent(declaration, asked.model, asked.alias)
        if waiting and waiting.hold and waiting.hold != declared.hold and not _is_same_hold(waiting.hold, asked):
            raise PermanentError(part, f"another hold of {name} waits for a decision: {waiting.hold.reason}", way_out)
        title = self._committer.find_other_request(declaration, asked)
        if title:
            raise PermanentError(part, f"another request for {name} waits for a decision: {title}", way_out)

    def _require_registered(self, asked: HoldRequest) -> int | None:
        """Return who holds the alias in the registry. Raises `PermanentError` where the version is not registered."""
        model, version = asked.model, asked.version
        self._report_step("reading MLflow")
        observed = self._registry.observe_models({model}).get(model)
        if observed is None:
            raise PermanentError("MLflow", f"there is no registered model `{model}`")
        if version not in observed.versions:
            newest = sorted(observed.versions, reverse=True)[:_SHOWN_VERSIONS]
            others = len(observed.versions) - len(newest)
            there = ", ".join(f"v{each}" for each in newest) or "no versions"
            older = f" and {format_count(others, 'older one')}" if others else ""
            raise PermanentError("MLflow", f"`{model}` has no v{version}", f"it has {there}{older}")
        return observed.aliases.get(asked.alias)

    def _open_proposal(
        self, asked: HoldRequest, proposal: Proposal, result: RollbackResult, next_steps: list[str]
    ) -> RollbackResult:
        self._report_step("opening a pull request")
        opened = self._open_branch(proposal)
        result.path, result.revision, result.pull_request = "pull-request", opened.revision, opened.url
        result.messages += [*opened.describe(_EFFECTS[asked.act]), *next_steps]
        result.done = opened.done
        return result


_EFFECTS = {
    ProposalReason.HOLD: "the hold begins",
    ProposalReason.RELEASE: "the hold is lifted",
    ProposalReason.QUARANTINE: "the quarantine begins",
    ProposalReason.LIFT_QUARANTINE: "the quarantine is lifted",
}
"""What a merge brings."""


def _start_result(asked: HoldRequest, declared: AliasIntent) -> RollbackResult:
    about = asked.version or declared.version
    return RollbackResult(
        asked.model, asked.alias, declared.version, declared.version, act=asked.act, version=about, hold_end=asked.until
    )


def _lasts_as_long(hold: Hold, asked: HoldRequest) -> bool:
    return hold.until is None or (asked.until is not None and asked.until <= hold.until)


def _is_same_hold(hold: Hold, asked: HoldRequest) -> bool:
    same = (hold.by, hold.reason, hold.until) == (asked.by, asked.reason, asked.until)
    return asked.act is ProposalReason.HOLD and same


def _describe_hold(hold: Hold) -> str:
    return f"{hold.by} (until {format_utc_minute(hold.until)})" if hold.until else hold.by


def _describe_opening(asked: HoldRequest, declared: AliasIntent, first: AliasIntent) -> list[str]:
    """Return what was there before, and that a commit of somebody else moved the alias while this ran."""
    notes = []
    if first.version != declared.version:
        moved = f"{version_label(first.version)} to {version_label(declared.version)}"
        notes.append(f"A commit moved {asked.alias_name} from {moved} while this ran.")
    hold = declared.hold
    if hold and asked.act is ProposalReason.RELEASE:
        was = f"v{declared.version} was held" if declared.version else "It was held"
        notes.append(f"{asked.alias_name}: {was} by {hold.by}: {hold.reason}.")
    elif hold and asked.act is ProposalReason.HOLD:
        notes.append(f"It takes the place of the hold of {_describe_hold(hold)}: {hold.reason}.")
    return notes


def _describe_next_steps(asked: HoldRequest, declared: AliasIntent, holder: int | None) -> list[str]:
    """Return what follows once git states it, one sentence each."""
    name, bad = asked.alias_name, version_label(asked.version)
    match asked.act:
        case ProposalReason.HOLD:
            lift = f"`promoter hold {name} --lift`"
            end = f"until {format_utc_minute(asked.until)}, or {lift}" if asked.until else f"until {lift}"
            return [f"From then on, rotation and guards leave {name} alone {end}. A commit still moves it."]
        case ProposalReason.RELEASE:
            moves = "It does not rotate (`rotation: off`): a commit moves it."
            notes = [moves if declared.rotation == "off" else "From then on, rotation may move it again."]
            stays = ", ".join(f"v{each}" for each in sorted(declared.quarantine))
            out = f"until `promoter quarantine {name} N --lift` takes it out"
            return notes + ([f"{stays} stays in quarantine, {out}."] if stays else [])
        case ProposalReason.LIFT_QUARANTINE:
            return [f"From then on, rotation may propose {bad} for {name} again, and a rollback may return to it."]
        case _:
            notes = [f"From then on, rotation never proposes {bad} for {name}, and no rollback returns to it."]
            return notes + _describe_quarantined_holder(asked, declared, holder)


def _describe_quarantined_holder(asked: HoldRequest, declared: AliasIntent, holder: int | None) -> list[str]:
    """Return that a quarantine moves nothing, and what does, where the version serves now or git puts it there."""
    bad = version_label(asked.version)
    back = f"`promoter rollback {asked.alias_name} --reason TEXT` puts an earlier version back"
    if holder == asked.version:
        return [f"{bad} holds {asked.alias_name} now and stays there, since a quarantine moves nothing: {back}."]
    if declared.version == asked.version:
        return [f"Git still states {bad} for {asked.alias_name}, and the alias moves to it: {back}."]
    return []
