"""Keep Promoter's own pull requests: at most one open for each model and alias, with what should be proposed now.

Each run computes what should be open, reads branch and pull request, and takes the missing steps. Nothing is remembered: after
a stop anywhere in between, the next run finds what there is, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import structlog

from promoter.application.comments import LEFT_ALONE, VerifiedStates, update_note
from promoter.application.markdown.plan import inline_text
from promoter.application.markdown.proposal import PullRequestMarker, insert_marker
from promoter.application.planner import Planner
from promoter.application.ports import (
    Clock,
    DeclarationDocuments,
    Forge,
    Ledger,
    Locks,
    PullRequest,
    PullRequestDraft,
    PullRequestState,
    Registry,
    Repository,
)
from promoter.application.proposals.approved import ApprovedProposals, KeptProposal
from promoter.application.proposals.branches import (
    DesiredPullRequest,
    ProposalBranch,
    ProposalBranches,
    ProposalContext,
    ProposalRequestReader,
    build_override_proposal,
    find_override_answer,
    is_request_answered,
)
from promoter.application.proposals.commits import BranchOpener, OpenedProposal, build_proposed_content
from promoter.application.proposals.comparison import VersionComparer
from promoter.application.proposals.overrides import OverrideNotices
from promoter.application.proposals.pull_requests import PullRequestWriter
from promoter.application.refusals import RefusalRecorder
from promoter.application.revisions import RevisionTracker
from promoter.application.snapshots import ModelSnapshot, RegistrySnapshot
from promoter.domain.copy_source import AliasRef
from promoter.domain.decision import Verdict
from promoter.domain.desired import AliasIntent
from promoter.domain.errors import Conflict, ExternalError, PermanentError, TransientError
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.observed import ObservedModel
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.policy.document import ANY_NEWER
from promoter.domain.proposal import Proposal, ProposalReason, build_adoption_proposals
from promoter.domain.refusals import find_refusal

log = structlog.get_logger(__name__)


def find_pull_request_proposals(model: ModelSnapshot | None) -> dict[str, Proposal]:
    """Return what goes through a pull request, by alias: broken guards, rotations, and drift to adopt; not what was refused."""
    if model is None:
        return {}
    aliases = model.intent.aliases
    through = [each for each in model.proposals if aliases[each.edit.alias].rotation == "pull-request"]
    found = (*build_adoption_proposals(model.intent, model.compared), *through)
    return {each.edit.alias: each for each in found if find_refusal(model.refusals.get(each.edit.alias, ()), each) is None}


def find_obsolete_reason(
    view: RegistrySnapshot, model: ModelSnapshot | None, marker: PullRequestMarker, declared: AliasIntent | None
) -> str | None:
    """Return why an open proposal is obsolete; None: it stays open.

    `declared` is what git states of the alias. A pending or unknown verdict is no reason: the version may pass again.
    """
    alias = model.intent.aliases.get(marker.alias) if model else None
    if model is None or alias is None or declared is None:
        return "git does not manage the alias any more"
    if marker.version is not None and declared.version == marker.version:
        return f"git says v{marker.version} already"
    if marker.aim in _CHECKS:
        return _CHECKS[marker.aim](model, marker)
    return _check_settings(view, alias, marker) or _check_evidence(view, model, alias, marker)


def _check_settings(view: RegistrySnapshot, alias: AliasIntent, marker: PullRequestMarker) -> str | None:
    """Return which setting in git is against the proposal."""
    if alias.rotation != "pull-request":
        return f"the alias has `rotation: {alias.rotation}` now"
    if alias.hold and alias.hold.is_in_force(view.at):
        return f"held by {alias.hold.by}: {alias.hold.reason}"
    if marker.version in alias.quarantine:
        return f"v{marker.version} is in quarantine"
    return None


def _check_evidence(view: RegistrySnapshot, model: ModelSnapshot, alias: AliasIntent, marker: PullRequestMarker) -> str | None:
    observed = model.observed or ObservedModel(model.intent.name)
    if _is_out_of_sync(view, alias, observed) or _is_source_unreadable(view, alias):
        return None  # what is wanted shows once git and the registry agree, and everything can be read
    return _check_guard(model, marker) if marker.aim is ProposalReason.GUARD else _check_candidate(model, marker)


def _check_adoption(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    stays = model.intent.on_drift == "adopt"
    return f"the alias is not at v{marker.version} any more" if stays else "`on_drift` is not `adopt` any more"


def _check_put_back(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    change = model.find_change(marker.alias)
    if change is None:
        return "git and the registry agree by now"
    unknown = change.decision is not None and change.decision.verdict is Verdict.ERROR
    return None if unknown else "what git states does not lack reviews alone any more"


_CHECKS: Mapping[ProposalReason, Callable[[ModelSnapshot, PullRequestMarker], str | None]] = {
    ProposalReason.RELEASE: lambda _model, _marker: "there is no hold any more",
    ProposalReason.HOLD: lambda _model, _marker: "git holds the alias by now, or nobody asks for it any more",
    ProposalReason.QUARANTINE: lambda _model, _marker: "git says so by now, or nobody asks for it any more",
    ProposalReason.LIFT_QUARANTINE: lambda _model, _marker: "git says so by now, or nobody asks for it any more",
    ProposalReason.ROLL_BACK: lambda _model, _marker: "nobody asks for it any more",
    ProposalReason.ADOPT: _check_adoption,
    ProposalReason.PUT_BACK: _check_put_back,
}
"""What makes a proposal obsolete that is not of rotation or of a guard."""


def _check_guard(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    status = model.find_guard_status(marker.alias)
    if status is not None and status.broken_guards:
        return status.reason or None
    return "no guard is broken any more"


def _check_candidate(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    status = model.find_rotation_status(marker.alias)
    if status is None:
        return "the alias does not rotate any more"
    if status.missing is not None:
        return None  # what is to be copied first may be judged no better
    decision = status.find_decision(marker.version)
    if decision is not None:
        return f"v{marker.version}: {decision.summary_line}" if decision.verdict is Verdict.FAIL else None
    others = ", ".join(f"v{each.version}" for each in status.decisions)
    return f"v{marker.version} is no candidate any more" + (f", {others} is" if others else f": {status.reason}")


def _is_source_unreadable(view: RegistrySnapshot, alias: AliasIntent) -> bool:
    """Return whether the registry that versions come from cannot be read now."""
    place = AliasRef.from_intent(alias)
    holding = view.source_aliases.get(place) if place else None
    return place is not None and (holding is None or holding.trouble is not None)


def _is_out_of_sync(view: RegistrySnapshot, alias: AliasIntent, observed: ObservedModel) -> bool:
    """Return whether the alias, or the one that its candidates come from, differs from git."""
    held = observed.aliases.get(alias.alias)
    if alias.version is not None and held != alias.version:
        return True
    policy = view.declaration.policies.get(alias.policy or "")
    candidates = policy.document.candidates if policy else None
    if candidates is None or candidates.from_ == ANY_NEWER or alias.promote_from:
        return False
    intent = view.models[alias.model].intent
    source = intent.aliases.get(candidates.from_)
    return bool(source and source.has_declared_target and source.version != observed.aliases.get(candidates.from_))


class _AnswerRecorded(Conflict):
    """A person's answer came into the ledger during a look: what is to be proposed is another question now."""


MAX_ROUNDS = 5
"""How often one look begins again when somebody writes first, before it leaves the rest to the next."""


class ProposalReconciler:
    """Reconciles the proposals of one model at a time."""

    def __init__(  # noqa: PLR0913  # keyword-only: one for each port or use case that it works with
        self,
        *,
        forge: Forge,
        repository: Repository,
        documents: DeclarationDocuments,
        ledger: Ledger,
        locks: Locks,
        clock: Clock,
        planner: Planner,
        revisions: RevisionTracker,
        registry: Registry,
        pages: PageAddresses = NO_PAGES,
    ) -> None:
        self._forge = forge
        self._repository = repository
        self._documents = documents
        self._ledger = ledger
        self._locks = locks
        self._clock = clock
        self._planner = planner
        self._revisions = revisions
        self._branches = ProposalBranches(forge, repository)
        self._read_request = ProposalRequestReader(repository, documents, ledger)
        self._write_pull_requests = PullRequestWriter(forge, repository, VersionComparer(registry), pages)
        self._verified = VerifiedStates(clock)
        self._approved = ApprovedProposals(forge, clock)
        self._refusals = RefusalRecorder(forge, ledger, clock)
        self._override_notices = OverrideNotices(forge, ledger, clock)
        self._listed: dict[str, Sequence[PullRequest]] = {}

    def find_models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """Return the models that have something open or a branch to open or remove, and those in `also`.

        The list is kept for the next run of each model. It may be outdated by then: before a write it is read again, and
        where it differs, the run starts over with a list of its own.
        """
        found = self._branches.find_models(opened) | frozenset(also)
        self._verified.retain_pull_requests({pull.number for pull in opened})
        self._listed = dict.fromkeys(found, opened)
        return found

    def open_pull_request(self, proposal: Proposal) -> PullRequest:
        """Return the open pull request for what a person asks for on a pushed branch; open it where it is not.

        Raises `TransientError` where it is not open yet: the next run opens it.
        """
        self.reconcile_model(proposal.edit.model)
        branch = self._repository.folder.build_branch_name(proposal.edit.model, proposal.edit.alias)
        found = self._forge.find_latest_pull_request(branch)
        if found is None or found.state is not PullRequestState.OPEN:
            raise TransientError(self._forge.name, f"there is no open pull request from {branch} yet")
        return found

    def reconcile_model(self, model: str) -> bool:
        """Reconcile the proposals of a model. Return whether the model itself has to be reconciled after that.

        Raises `PermanentError` where a person has to act, once everything else is done.
        """
        with self._locks.hold(f"proposals/{model}"):
            listed, answered = self._listed.pop(model, None), False
            for _ in range(MAX_ROUNDS):
                try:
                    return self._reconcile_once(model, listed) or answered
                except Conflict as error:
                    log.info("somebody wrote first, looking again", model=model, why=error.message)
                    listed, answered = None, answered or isinstance(error, _AnswerRecorded)
        raise TransientError(
            "git",
            f"the proposals for {model} kept changing while they were looked at; the next look goes on",
            about_one_model=True,
        )

    def _reconcile_once(self, model: str, listed: Sequence[PullRequest] | None) -> bool:
        found = self._branches.read_remote_state(model, listed)
        declaration = self._revisions.refresh_head().declaration
        if declaration is None or declaration.revision is None or not self._revisions.is_head_in_force:
            return False
        view = self._planner(declaration, {model})
        base, seen = declaration.revision, view.models.get(model)
        context = ProposalContext(model, base, view, seen)
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
        """Add what should be open to `desired`, or clear the branch. Return whether an override ended."""
        declared, outlook = context.find_declared_intent(site.alias), context.find_outlook(site.alias)
        managed, notices = context.snapshot is not None, self._override_notices
        if site.pull and not notices.update_comments(site.pull, site.current_marker, outlook, managed=managed):
            return True
        requested = self._read_request(site, declared)
        last = None
        if site.pull is None and (requested or outlook or found or site.tip):
            last = self._find_last_pull_request(site, context)
        self._record_answers(site, site.pull or last, found, context)
        ended = outlook is not None and self._end_declined_override(outlook, last)
        outlook = None if ended else outlook
        urgent = build_override_proposal(outlook.override, declared) if outlook else None
        if not site.ours:
            self._leave_branch_alone(site, urgent or found)
            return ended
        declined = context.find_declined_answers(site.alias)
        pressing = [None if is_request_answered(site, last) else requested, urgent]
        kept = self._find_kept(site, context, found) if found and not any(pressing) else None
        if kept is not None and kept.proposal is None:
            return ended
        note = kept.note if kept else None
        for proposal in (*pressing, kept.proposal if kept else found):
            content = self._build_content(context, proposal) if proposal else None
            if proposal and content is not None:
                if site.pull and outlook:
                    notices.write_started_comment(site.pull, site.current_marker, proposal, outlook)
                desired.append(DesiredPullRequest(site, proposal, content, last, declined, note, outlook))
                return ended
        self._clear_branch(site, context)
        return ended

    def _find_kept(self, site: ProposalBranch, context: ProposalContext, found: Proposal) -> KeptProposal | None:
        """Return the open rotation that stays as it is, although `found` is a better one; None: there is none."""
        marker = site.current_marker
        if marker is None or marker.withdrawn or marker.version == found.edit.version:
            return None
        if not (marker.aim is found.aim is ProposalReason.ROTATE):
            return None  # what cannot wait takes the place of an approved rotation too
        declared = context.find_declared_intent(site.alias)
        if find_obsolete_reason(context.view, context.snapshot, marker, declared) is not None:
            return None
        return self._approved.find_kept(site, context, marker, found)

    def _record_answers(
        self, site: ProposalBranch, pull: PullRequest | None, found: Proposal | None, context: ProposalContext
    ) -> None:
        """Record what a person refused by closing the branch's last pull request, and what opening it again takes back.

        Raises `Conflict` where something was recorded: other candidates come next then.
        """
        observed = context.observed_model
        again = pull is not None and pull.state is PullRequestState.OPEN and self._refusals.record_reopening(site, pull)
        if self._refusals.record_answers(site, pull, found, observed) or again:
            raise _AnswerRecorded(self._forge.name, f"a person answered the proposal for {site.model}@{site.alias}")

    def _find_last_pull_request(self, site: ProposalBranch, context: ProposalContext) -> PullRequest | None:
        """Return the branch's last pull request.

        Raises where it is open, or merged into a commit that this run has not read.
        """
        last = self._forge.find_latest_pull_request(site.branch)
        if last is not None and last.state is PullRequestState.OPEN:
            raise Conflict(self._forge.name, f"{last.url} was opened during this look")
        if last is not None and last.state is PullRequestState.MERGED:
            declaration = self._revisions.refresh_head().declaration
            if declaration is None or declaration.revision != context.base:
                raise Conflict("git", f"{last.url} may have been merged during this look")
        return last

    def _end_declined_override(self, outlook: OverrideOutlook, last: PullRequest | None) -> bool:
        """End the override where a person decided against it, and git counts again. Return whether it ended."""
        override = outlook.override
        answer = find_override_answer(override, last)
        if answer is None or last is None:
            return False
        reason = f"declined: {answer}; {outlook.consequence}"
        self._override_notices.write_declined_comment(last, override, reason)
        self._ledger.end_override(override.id, self._clock.now(), reason)
        log.info("override declined", model=override.model, alias=override.alias, why=answer)
        return True

    def _leave_branch_alone(self, site: ProposalBranch, found: Proposal | None) -> None:
        """Report that a person committed to the branch, and touch nothing of it."""
        if site.pull is not None:
            log.info("somebody committed to the branch, left alone", branch=site.branch, pull_request=site.pull.url)
            if not self._verified.is_verified(site.pull.number, LEFT_ALONE):
                self._require_open(site.pull)
                update_note(self._forge, site.pull.number, LEFT_ALONE)
                self._verified.record_verified(site.pull.number, LEFT_ALONE)
        elif found is not None:
            raise PermanentError(
                "git",
                f"{site.branch} has commits that are not Promoter's, and no pull request: "
                f"{found.subject_line!r} is not proposed",
                "open a pull request from the branch, or delete it",
                about_one_model=True,
            )

    def _build_content(self, context: ProposalContext, proposal: Proposal) -> bytes | None:
        """Return the `registry.yaml` that the proposal asks for; None where git states it already."""
        wanted = build_proposed_content(self._repository, self._documents, context.base, proposal)
        return wanted[0] if wanted else None

    def _clear_branch(self, site: ProposalBranch, context: ProposalContext) -> None:
        """Close a pull request that is obsolete, and delete the branch where nobody has it open."""
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
            last = self._forge.find_latest_pull_request(site.branch)
            if last is not None and last.state is PullRequestState.OPEN:
                # A forge would close it with its branch, as if a person refused it.
                raise Conflict(self._forge.name, f"{last.url} is open by now")
        if site.head_revision is not None:
            self._repository.delete_branch(site.branch, site.head_revision)
            log.info("branch removed", branch=site.branch)

    def _withdraw_pull_request(self, pull: PullRequest, marker: PullRequestMarker, why: str) -> None:
        """Comment first, then close, so that nobody takes the closing for a person's refusal."""
        forge = self._forge
        self._require_open(pull)
        if marker.withdrawn != why:
            forge.update_pull_request(
                pull.number, PullRequestDraft(pull.branch, pull.title, insert_marker(pull.body, replace(marker, withdrawn=why)))
            )
        update_note(forge, pull.number, f"Overtaken: {inline_text(why)}.")
        forge.close_pull_request(pull.number)
        log.info("proposal closed", pull_request=pull.url, why=why)

    def _require_open(self, pull: PullRequest) -> None:
        forge = self._forge
        if forge.read_pull_request(pull.number).state is not PullRequestState.OPEN:
            raise Conflict(forge.name, f"{pull.url} is not open any more")


class ProposalOpener:
    """Pushes the branch, then reconciles it as the daemon does. Repeating it changes nothing."""

    def __init__(self, branch: BranchOpener, proposals: ProposalReconciler) -> None:
        self._branch = branch
        self._proposals = proposals

    def __call__(self, proposal: Proposal) -> OpenedProposal:
        """Open the proposal. Raises `TransientError` or `PermanentError` where git fails.

        Later failures are reported, and the next run goes on.
        """
        pushed = self._branch(proposal)
        if pushed.revision is None:
            return pushed
        try:
            return replace(pushed, url=self._proposals.open_pull_request(proposal).url, next_step="")
        except ExternalError as error:
            return replace(pushed, next_step=f"the daemon opens its pull request later: {error}", done=False)
