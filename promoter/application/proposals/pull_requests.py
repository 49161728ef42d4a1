"""Write the branches and pull requests of proposals: the branch first, so that what a pull request describes can be merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import structlog

from promoter.application.comments import update_note
from promoter.application.markdown.proposal import PullRequestMarker, insert_marker, parse_marker, render_proposal_markdown
from promoter.application.ports import Forge, PullRequestDraft, PullRequestState, Repository
from promoter.application.proposals.approved import ApprovalNotices, is_about
from promoter.application.proposals.branches import DesiredPullRequest, ProposalContext, is_up_to_date
from promoter.application.proposals.comparison import ComparisonSubject, VersionComparer
from promoter.domain.comparison import VersionComparison
from promoter.domain.desired import ProposalSettings
from promoter.domain.errors import Conflict, PermanentError
from promoter.domain.links import PageAddresses
from promoter.domain.proposal import ProposalReason

log = structlog.get_logger(__name__)


class PullRequestWriter:
    """Writes only what differs."""

    def __init__(self, forge: Forge, repository: Repository, compare: VersionComparer, pages: PageAddresses) -> None:
        self._forge = forge
        self._repository = repository
        self._compare = compare
        self._approvals = ApprovalNotices(forge)
        self._pages = pages

    def __call__(self, context: ProposalContext, wanted: Sequence[DesiredPullRequest]) -> list[PermanentError]:
        """Write all of them, and return what was refused. Raises `Conflict` where somebody wrote first."""
        subjects = [
            ComparisonSubject(each.proposal, context.find_policy(each.site.alias), context.observed_model) for each in wanted
        ]
        trouble = []
        for each, comparison in zip(wanted, self._compare(subjects) if subjects else [], strict=True):
            try:
                self._ensure_pull_request(each, context, comparison)
            except PermanentError as error:
                trouble.append(error)
        return trouble

    def _ensure_branch(self, each: DesiredPullRequest, context: ProposalContext) -> tuple[str, PullRequestMarker | None]:
        """Return the branch head, and the marker of the open pull request.

        The branch is made again on the newest commit only where merging it would not give the desired content: approvals
        are of a commit. Who approves it until then is written down first.
        """
        site, repository = each.site, self._repository
        if site.tip is not None and is_up_to_date(repository, context.base, site.tip, each.proposal, each.content):
            return site.tip.revision, parse_marker(site.pull.body) if site.pull else None
        recorded = self._approvals.prepare(site)
        made = repository.push_proposal(
            site.branch, site.head_revision, context.base, each.content, each.proposal.commit_message
        )
        log.info("branch made", branch=site.branch, revision=made, model=site.model, alias=site.alias)
        return made, recorded

    def _ensure_pull_request(
        self, each: DesiredPullRequest, context: ProposalContext, comparison: VersionComparison | None
    ) -> None:
        site, forge = each.site, self._forge
        head, recorded = self._ensure_branch(each, context)
        draft = _build_draft(each, comparison, context.proposal_settings, self._pages)
        marker = replace(_build_marker(each, head, draft, recorded), override=each.override_number)
        if recorded == marker:
            return
        # A forge takes several calls for labels, reviewers and auto-merge: until all are through, the marker does not say so.
        steps = (recorded.settings if recorded else "") != marker.settings
        first = _add_marker(draft, replace(marker, settings="") if steps else marker)
        number = site.pull.number if site.pull else self._open_pull_request(each, first)
        if site.pull:
            if forge.read_pull_request(number).state is not PullRequestState.OPEN:
                # A person answered meanwhile, and the answer is to what it said until now: it must not be reworded.
                raise Conflict(forge.name, f"{site.pull.url} is not open any more")
            self._write_comments(number, recorded, marker, each, context)
            forge.update_pull_request(number, first)
        if steps:
            forge.update_pull_request(number, _add_marker(draft, marker))
        log.info("pull request revised" if site.pull else "pull request opened", number=number, title=draft.title)

    def _write_comments(
        self,
        number: int,
        recorded: PullRequestMarker | None,
        wanted: PullRequestMarker,
        each: DesiredPullRequest,
        context: ProposalContext,
    ) -> None:
        """Write the comments that the marker lacks. The marker is written after them, so that a stop leaves none out."""
        if recorded and (recorded.withdrawn or recorded.note != wanted.note):
            update_note(self._forge, number, each.note)
        if recorded and recorded.approvals and not recorded.announced:
            policy = context.find_policy(each.site.alias)
            reviewed = policy is not None and policy.needed_evidence.review
            self._approvals.announce(number, recorded, wanted, reviewed=reviewed)

    def _open_pull_request(self, each: DesiredPullRequest, draft: PullRequestDraft) -> int:
        """Return the number of a new pull request.

        Raises where another one was opened meanwhile, which a person may have answered.
        """
        newest = self._forge.find_latest_pull_request(each.site.branch)
        if newest is not None and (each.last is None or (newest.number, newest.state) != (each.last.number, each.last.state)):
            raise Conflict(self._forge.name, f"{newest.url} was opened or answered during this look")
        return self._forge.open_pull_request(draft).number


def _build_draft(
    each: DesiredPullRequest, comparison: VersionComparison | None, settings: ProposalSettings, pages: PageAddresses
) -> PullRequestDraft:
    proposal = each.proposal
    # What somebody did by hand past git, or past its policy, is for a person to answer, never for a setting.
    auto_merge = settings.auto_merge and proposal.aim not in (ProposalReason.ADOPT, ProposalReason.PUT_BACK)
    return PullRequestDraft(
        branch=each.site.branch,
        title=proposal.subject_line,
        body=render_proposal_markdown(proposal, comparison, each.outlook, pages, auto_merge=auto_merge),
        labels=settings.labels,
        reviewers=settings.reviewers,
        auto_merge=auto_merge,
    )


def _add_marker(draft: PullRequestDraft, marker: PullRequestMarker) -> PullRequestDraft:
    return replace(draft, body=insert_marker(draft.body, marker))


def _build_marker(
    each: DesiredPullRequest, head: str, draft: PullRequestDraft, recorded: PullRequestMarker | None
) -> PullRequestMarker:
    """Return the marker with all that the draft has, so that changed settings reach an open pull request.

    Of the recorded one, approvals of the same proposal at an earlier commit are kept.
    """
    settings = [draft.labels, draft.reviewers, draft.auto_merge]
    proposal, edit = each.proposal, each.proposal.edit
    kept = recorded if recorded is not None and is_about(recorded, proposal) else None
    return PullRequestMarker(
        aim=proposal.aim,
        model=edit.model,
        alias=edit.alias,
        version=edit.version,
        replaces=proposal.replaces,
        head=head if proposal.aim.is_requested else None,
        digest=_digest_json([draft.title, draft.body]),
        settings=_digest_json(settings) if any(settings) else "",
        declined=each.declined,
        note=_digest_json(each.note) if each.note else "",
        approvals=kept.approvals if kept else (),
        approved_version=kept.approved_version if kept else None,
        approved_head=kept.approved_head if kept else None,
        announced=kept is not None,
    )


def _digest_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
