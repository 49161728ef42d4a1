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
from promoter.application.proposals.branches import DesiredPullRequest, ProposalContext, is_up_to_date
from promoter.application.proposals.comparison import ComparisonSubject, VersionComparer, VersionComparison
from promoter.domain.desired import ProposalSettings
from promoter.domain.errors import Conflict, PermanentError
from promoter.domain.proposal import Proposal, ProposalReason

log = structlog.get_logger(__name__)


class PullRequestWriter:
    """Writes only what differs."""

    def __init__(self, forge: Forge, repository: Repository, compare: VersionComparer) -> None:
        self._forge = forge
        self._repository = repository
        self._compare = compare

    def __call__(self, context: ProposalContext, wanted: Sequence[DesiredPullRequest]) -> list[PermanentError]:
        """Write all of them, and return what was refused. Raises `Conflict` where somebody wrote first."""
        subjects = [
            ComparisonSubject(each.proposal, context.find_policy(each.site.alias), context.observed_model) for each in wanted
        ]
        trouble = []
        for each, comparison in zip(wanted, self._compare(subjects) if subjects else [], strict=True):
            try:
                self._ensure_pull_request(each, self._ensure_branch(each, context), comparison, context.proposal_settings)
            except PermanentError as error:
                trouble.append(error)
        return trouble

    def _ensure_branch(self, each: DesiredPullRequest, context: ProposalContext) -> str:
        """Return the branch head; rebuild it on the newest commit where merging it would not give the desired content."""
        site, repository = each.site, self._repository
        if site.tip is not None and is_up_to_date(repository, context.base, site.tip, each.proposal, each.content):
            return site.tip.revision
        made = repository.push_proposal(
            site.branch, site.head_revision, context.base, each.content, each.proposal.commit_message
        )
        log.info("branch made", branch=site.branch, revision=made, model=site.model, alias=site.alias)
        return made

    def _ensure_pull_request(
        self, each: DesiredPullRequest, head: str, comparison: VersionComparison | None, settings: ProposalSettings
    ) -> None:
        site, proposal, forge = each.site, each.proposal, self._forge
        recorded = parse_marker(site.pull.body) if site.pull else None
        draft = _build_draft(each, comparison, settings)
        marker = replace(_build_marker(proposal, head, draft, each.declined), override=each.override_number)
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
            if recorded and recorded.withdrawn:
                update_note(forge, number, None)
            forge.update_pull_request(number, first)
        if steps:
            forge.update_pull_request(number, _add_marker(draft, marker))
        log.info("pull request revised" if site.pull else "pull request opened", number=number, title=draft.title)

    def _open_pull_request(self, each: DesiredPullRequest, draft: PullRequestDraft) -> int:
        """Return the number of a new pull request.

        Raises where another one was opened meanwhile, which a person may have answered.
        """
        newest = self._forge.find_latest_pull_request(each.site.branch)
        if newest is not None and (each.last is None or (newest.number, newest.state) != (each.last.number, each.last.state)):
            raise Conflict(self._forge.name, f"{newest.url} was opened or answered during this look")
        return self._forge.open_pull_request(draft).number


def _build_draft(
    each: DesiredPullRequest, comparison: VersionComparison | None, settings: ProposalSettings
) -> PullRequestDraft:
    proposal = each.proposal
    return PullRequestDraft(
        branch=each.site.branch,
        title=proposal.subject_line,
        body=render_proposal_markdown(proposal, comparison, each.outlook),
        labels=settings.labels,
        reviewers=settings.reviewers,
        # What somebody did by hand past git is for a person to answer, never for a setting.
        auto_merge=settings.auto_merge and proposal.aim is not ProposalReason.ADOPT,
    )


def _add_marker(draft: PullRequestDraft, marker: PullRequestMarker) -> PullRequestDraft:
    return replace(draft, body=insert_marker(draft.body, marker))


def _build_marker(proposal: Proposal, head: str, draft: PullRequestDraft, declined: tuple[str, ...]) -> PullRequestMarker:
    """Return the marker with all that the draft has, so that changed settings reach an open pull request."""
    settings = [draft.labels, draft.reviewers, draft.auto_merge]
    edit = proposal.edit
    return PullRequestMarker(
        aim=proposal.aim,
        model=edit.model,
        alias=edit.alias,
        version=edit.version,
        replaces=proposal.replaces,
        head=head if proposal.aim.is_requested else None,
        digest=_digest_json([draft.title, draft.body]),
        settings=_digest_json(settings) if any(settings) else "",
        declined=declined,
    )


def _digest_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
