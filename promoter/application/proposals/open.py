"""Keep Promoter's own pull requests: at most one open one a model and alias, and it says what is wanted now.

A look works out what is wanted, reads branch and pull request as they are, and takes the steps that are missing. Nothing is
remembered: after a stop anywhere in between, the next look finds what there is, and goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from promoter.application.markdown.marker import PullRequestMarker, find_answer_key, parse_marker, insert_marker
from promoter.application.markdown.text import inline_text
from promoter.application.ports import (
    Clock,
    DeclarationDocuments,
    PullRequestDraft,
    Forge,
    Ledger,
    Locks,
    PullRequest,
    Repository,
    PullRequestState,
)
from promoter.application.proposals.asked import (
    ProposalRequestReader,
    find_override_answer,
    is_request_answered,
    build_override_proposal,
)
from promoter.application.proposals.drafts import PullRequestWriter
from promoter.application.proposals.evidence import VersionComparer
from promoter.application.proposals.into_git import build_proposed_content
from promoter.application.proposals.notes import LEFT_ALONE, update_note
from promoter.application.proposals.scene import ProposalContext, DesiredPullRequest
from promoter.application.proposals.sites import ProposalBranch, ProposalBranches, is_refused
from promoter.application.proposals.wants import find_pull_request_proposals, find_obsolete_reason
from promoter.application.pulls.verified import VerifiedStates
from promoter.application.revisions import RevisionTracker
from promoter.application.survey import Planner
from promoter.domain.faults import Conflict, PermanentError, TransientError
from promoter.domain.override import Override
from promoter.domain.proposal import Proposal

log = structlog.get_logger(__name__)

MAX_ROUNDS = 5
"""How often one look begins again when somebody writes first, before it leaves the rest to the next."""


@dataclass(frozen=True)
class ProposalDeps:
    """The ports and use cases that it works with."""

    forge: Forge
    repository: Repository
    documents: DeclarationDocuments
    ledger: Ledger
    locks: Locks
    clock: Clock
    planner: Planner
    revisions: RevisionTracker
    compare: VersionComparer


class ProposalReconciler:
    """Looks at the proposals for one model at a time."""

    def __init__(self, deps: ProposalDeps) -> None:
        """Takes the ports and use cases."""
        self._deps = deps
        self._branches = ProposalBranches(deps.forge, deps.repository)
        self._read_request = ProposalRequestReader(deps.repository, deps.documents)
        self._write_pull_requests = PullRequestWriter(deps.forge, deps.repository, deps.compare)
        self._verified = VerifiedStates(deps.clock)
        self._listed: dict[str, Sequence[PullRequest]] = {}

    def find_models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """The models that have something open, or a branch that waits to be opened or cleared away; and `also`.

        The next look at each goes by this list of all that is open, which may be another by then: what is written is read
        again before, and where it is another, the look begins again with a list of its own.
        """
        found = self._branches.find_models(opened) | frozenset(also)
        self._verified.retain_pull_requests({pull.number for pull in opened})
        self._listed = dict.fromkeys(found, opened)
        return found

    def open_pull_request(self, proposal: Proposal) -> PullRequest:
        """The open pull request for what a person asks for, whose branch is pushed: looks once, and opens it where it is not.

        Raises `TransientError` where it is not open yet: the next look opens it.
        """
        self.reconcile_model(proposal.edit.model)
        found = self._deps.forge.find_latest_pull_request(proposal.branch_name)
        if found is None or found.state is not PullRequestState.OPEN:
            raise TransientError(self._deps.forge.name, f"there is no open pull request from {proposal.branch_name} yet")
        return found

    def reconcile_model(self, model: str) -> bool:
        """Look at the proposals for a model; whether the model itself has to be looked at after that.

        Raises `PermanentError` where a person has to act, once everything else is done.
        """
        with self._deps.locks.hold(f"proposals/{model}"):
            listed = self._listed.pop(model, None)
            for _ in range(MAX_ROUNDS):
                try:
                    return self._reconcile_once(model, listed)
                except Conflict as error:
                    log.info("somebody wrote first, looking again", model=model, why=error.message)
                    listed = None
        raise TransientError("git", f"the proposals for {model} kept changing while they were looked at; the next look goes on")

    def _reconcile_once(self, model: str, listed: Sequence[PullRequest] | None) -> bool:
        deps = self._deps
        found = self._branches.read_remote_state(model, listed)
        declaration = deps.revisions.refresh_head().declaration
        if declaration is None or declaration.revision is None or not deps.revisions.is_head_in_force:
            return False
        view = deps.planner(declaration, {model})
        base, seen = declaration.revision, view.models.get(model)
        context = ProposalContext(model, base, deps.repository.read_sources(base), view, seen)
        found_proposals = find_pull_request_proposals(seen)
        desired: list[DesiredPullRequest] = []
        trouble: list[PermanentError] = []
        again = False
        for site in self._branches.build_branches(model, seen.intent.aliases if seen else {}, base, found):
            try:
                again |= self._reconcile_branch(site, context, found_proposals.get(site.alias), desired)
            except PermanentError as error:
                trouble.append(error)
        trouble += self._write_pull_requests(context, desired)
        if trouble:
            raise trouble[0]
        return again

    def _reconcile_branch(
        self, site: ProposalBranch, context: ProposalContext, found: Proposal | None, desired: list[DesiredPullRequest]
    ) -> bool:
        """Add what is to be open; where nothing is, leave the site in order. Whether an override ended."""
        declared, override = context.find_declared_intent(site.alias), context.find_override(site.alias)
        requested = self._read_request(site, declared)
        last = None
        if site.pull is None and (requested or override or found):
            last = self._find_last_pull_request(site, context)
        ended = override is not None and self._end_declined_override(override, last)
        urgent = None if override is None or ended else build_override_proposal(override, declared)
        if not site.ours:
            self._leave_branch_alone(site, urgent or found)
            return ended
        in_order = [
            None if is_request_answered(site, last) else requested,
            urgent,
            None if found is None or _is_declined(site, last, found) else found,
        ]
        for proposal in in_order:
            content = self._build_content(context, proposal) if proposal else None
            if proposal and content is not None:
                desired.append(DesiredPullRequest(site, proposal, content, last))
                return ended
        self._clear_branch(site, context)
        return ended

    def _find_last_pull_request(self, site: ProposalBranch, context: ProposalContext) -> PullRequest | None:
        """The branch's last pull request. It is not open, and git has it where it was merged; or this look began too early."""
        last = self._deps.forge.find_latest_pull_request(site.branch)
        if last is not None and last.state is PullRequestState.OPEN:
            raise Conflict(self._deps.forge.name, f"{last.url} was opened during this look")
        if last is not None and last.state is PullRequestState.MERGED:
            declaration = self._deps.revisions.refresh_head().declaration
            if declaration is None or declaration.revision != context.base:
                raise Conflict("git", f"{last.url} may have been merged during this look")
        return last

    def _end_declined_override(self, override: Override, last: PullRequest | None) -> bool:
        """Where a person decided otherwise, git's word counts again."""
        answer = find_override_answer(override, last)
        if answer is None:
            return False
        self._deps.ledger.end_override(override.id, self._deps.clock.now(), f"declined: {answer}")
        log.info("override declined", model=override.model, alias=override.alias, why=answer)
        return True

    def _leave_branch_alone(self, site: ProposalBranch, found: Proposal | None) -> None:
        """A person committed to the branch: nothing of it is touched."""
        if site.pull is not None:
            log.info("somebody committed to the branch, left alone", branch=site.branch, pull_request=site.pull.url)
            if not self._verified.is_verified(site.pull.number, LEFT_ALONE):
                self._require_open(site.pull)
                update_note(self._deps.forge, site.pull.number, LEFT_ALONE)
                self._verified.record_verified(site.pull.number, LEFT_ALONE)
        elif found is not None:
            raise PermanentError(
                "git",
                f"{site.branch} has commits that are not Promoter's, and no pull request: {found.subject_line!r} is not proposed",
                "open a pull request from the branch, or delete it",
            )

    def _build_content(self, context: ProposalContext, proposal: Proposal) -> bytes | None:
        """`registry.yaml` as it asks for; None where git says so already."""
        wanted = build_proposed_content(self._deps.repository, self._deps.documents, context.base, proposal)
        return wanted[0] if wanted else None

    def _clear_branch(self, site: ProposalBranch, context: ProposalContext) -> None:
        """Nothing is to be open. What is, and is overtaken, is closed; the branch goes, where nobody has it open."""
        if site.pull is not None:
            marker = site.current_marker
            why = (
                find_obsolete_reason(context.view, context.snapshot, marker, context.find_declared_intent(site.alias))
                if marker
                else None
            )
            why = why or (marker.withdrawn if marker else None)  # what has begun finishes
            if marker is None or why is None:
                return
            self._withdraw_pull_request(site.pull, marker, why)
        elif site.head_revision is not None:
            last = self._deps.forge.find_latest_pull_request(site.branch)
            if (
                last is not None and last.state is PullRequestState.OPEN
            ):  # a forge would close it with its branch, as if a person said no
                raise Conflict(self._deps.forge.name, f"{last.url} is open by now")
        if site.head_revision is not None:
            self._deps.repository.delete_branch(site.branch, site.head_revision)
            log.info("branch removed", branch=site.branch)

    def _withdraw_pull_request(self, pull: PullRequest, marker: PullRequestMarker, why: str) -> None:
        """Says so first, so that nobody takes it for a person's no."""
        forge = self._deps.forge
        self._require_open(pull)
        if marker.withdrawn != why:
            forge.update_pull_request(
                pull.number, PullRequestDraft(pull.branch, pull.title, insert_marker(pull.body, replace(marker, withdrawn=why)))
            )
        update_note(forge, pull.number, f"Overtaken: {inline_text(why)}.")
        forge.close_pull_request(pull.number)
        log.info("proposal closed", pull_request=pull.url, why=why)

    def _require_open(self, pull: PullRequest) -> None:
        forge = self._deps.forge
        if forge.read_pull_request(pull.number).state is not PullRequestState.OPEN:
            raise Conflict(forge.name, f"{pull.url} is not open any more")


def _is_declined(site: ProposalBranch, last: PullRequest | None, found: Proposal) -> bool:
    """Whether a person said no to it: to the last pull request of the branch, or to one before what is open now."""
    if site.pull is None:
        return is_refused(last, found.subject_line, find_answer_key(found))
    marker = parse_marker(site.pull.body)
    return marker is not None and find_answer_key(found) in marker.declined
