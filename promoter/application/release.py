"""Release: a person lifts the hold of an alias, and rotation may move it again."""

from __future__ import annotations

from promoter.application.ports import AuditLog, Clock
from promoter.application.proposals.commits import MAX_ATTEMPTS, Opener, ProposalCommitter
from promoter.application.revisions import RevisionTracker
from promoter.application.rollback import find_active_override, find_declared_intent
from promoter.domain.desired import AliasIntent, Declaration
from promoter.domain.errors import BranchProtected, Conflict, PermanentError, TransientError
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.proposal import Proposal
from promoter.domain.rollback import RollbackResult, parse_person, parse_reason, propose_release

_PART = "release"


class HoldRelease:
    """One person's release of one alias."""

    def __init__(
        self,
        *,
        ledger: AuditLog,
        clock: Clock,
        revisions: RevisionTracker,
        committer: ProposalCommitter,
        open_proposal: Opener,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._revisions = revisions
        self._committer = committer
        self._open_branch = open_proposal

    def __call__(self, model: str, alias: str, by: str, reason: str | None = None) -> RollbackResult:
        """Take the hold out of git, by a commit or a pull request. Raises where there is none, or where it may not go yet."""
        by, reason = parse_person(by, _PART), parse_reason(reason, _PART)
        for _ in range(MAX_ATTEMPTS):
            declaration = self._refresh_declaration()
            declared = find_declared_intent(declaration, model, alias)
            self._require_releasable(declaration, declared)
            proposal = propose_release(declared, reason, by)
            result = RollbackResult(model, alias, declared.version, declared.version, released=True)
            hold = f"v{declared.version or '?'} was held" if declared.version else "It was held"
            result.messages.append(
                f"{model}@{alias}: {hold} by {declared.hold.by}: {declared.hold.reason}." if declared.hold else ""
            )
            try:
                after = self._committer.commit_proposal(proposal, declaration)
            except Conflict:
                continue
            except BranchProtected:
                return self._open_proposal(proposal, declared, result)
            result.path, result.revision = "commit", after.revision
            result.messages.append(f"Committed as {(after.revision or '')[:10]}.")
            result.messages += _describe_next_steps(declared)
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

    def _require_releasable(self, declaration: Declaration, declared: AliasIntent) -> None:
        name = f"{declared.model}@{declared.alias}"
        if active_override := find_active_override(self._ledger, self._clock, declared):
            fix = f"merge or close the pull request from {self._committer.name_branch(declared.model, declared.alias)} first"
            raise PermanentError(_PART, f"an override stands in for git: {active_override.description}", fix)
        if declared.hold is None:
            raise PermanentError(_PART, f"nothing to release: git holds nothing of {name}")
        waiting = self._committer.find_waiting_intent(declaration, declared.model, declared.alias)
        if waiting and waiting.hold and waiting.hold != declared.hold:
            fix = f"merge or close the pull request from {self._committer.name_branch(declared.model, declared.alias)} first"
            raise PermanentError(_PART, f"another hold of {name} waits for a decision: {waiting.hold.reason}", fix)

    def _open_proposal(self, proposal: Proposal, declared: AliasIntent, result: RollbackResult) -> RollbackResult:
        opened = self._open_branch(proposal)
        result.path, result.revision, result.pull_request = "pull-request", opened.revision, opened.url
        result.messages += [*opened.describe("the hold is lifted"), *_describe_next_steps(declared)]
        result.done = opened.done
        return result


def _describe_next_steps(declared: AliasIntent) -> list[str]:
    moves = "It does not rotate (`rotation: off`): a commit moves it."
    notes = [moves if declared.rotation == "off" else "From then on, rotation may move it again."]
    bad = ", ".join(f"v{each}" for each in sorted(declared.quarantine))
    return notes + ([f"{bad} stays in quarantine, until a person takes it out of registry.yaml."] if bad else [])
