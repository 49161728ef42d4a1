"""Approvals of open proposals: they keep a pull request as it is, and where they are lost, the people are asked again.

A forge drops an approval when the branch is made again, or lets it stand for something else than what was approved. So an
approved pull request waits for no better candidate, and a branch is made again only where git cannot merge it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import structlog

from promoter.application.comments import VerifiedStates, find_marked_comments, update_comment
from promoter.application.markdown.plan import inline_text
from promoter.application.markdown.proposal import PullRequestMarker, insert_marker, parse_marker
from promoter.application.ports import Clock, Forge, PullRequest, PullRequestDraft, PullRequestState
from promoter.application.proposals.branches import ProposalBranch, ProposalContext, is_same_proposal
from promoter.domain.decision import Decision, Verdict
from promoter.domain.errors import Conflict
from promoter.domain.policy.evaluate import hinges_on_review
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from promoter.domain.text import version_label

log = structlog.get_logger(__name__)

APPROVALS = "<!-- promoter:approvals -->"
"""What the comment about approvals of an earlier commit begins with."""
_ACCOUNT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class KeptProposal:
    """An open proposal that stays as it is, although a better candidate is there."""

    proposal: Proposal | None
    """The proposal as it is evaluated now; None: it cannot be at the moment, and everything on the forge is left alone."""
    note: str
    """What the people on the pull request read about the better candidate."""


class ApprovedProposals:
    """Finds which open proposals of rotation stay as they are where a better candidate comes."""

    def __init__(self, forge: Forge, clock: Clock) -> None:
        self._forge = forge
        self._approved = VerifiedStates(clock)

    def find_kept(
        self, site: ProposalBranch, context: ProposalContext, marker: PullRequestMarker, better: Proposal
    ) -> KeptProposal | None:
        """Return the open proposal that is kept, and why; None: the pull request is to say the better candidate.

        `marker` is that of the open pull request, which is not obsolete. Approvals are read from the forge only where a
        revision is due, and an answer "approved" counts for ten minutes.
        """
        settings = context.proposal_settings
        decision = _find_decision(context, marker)
        if settings.revise == "always" or site.pull is None or site.tip is None or decision is None:
            return None
        edit = RegistryEdit(site.model, site.alias, marker.version)
        proposal = Proposal(edit, better.replaces, decision)
        if not is_same_proposal(site.tip, proposal):
            return None  # the number stands for another version than the one that people have read about
        if settings.revise == "until-approved" and not self._is_approved(site.pull, marker):
            return None
        policy = context.find_policy(site.alias)
        passes = decision.verdict is Verdict.PASS or (policy is not None and hinges_on_review(policy, decision))
        note = _render_waiting_note(settings.revise, marker.version, better.edit.version)
        return KeptProposal(proposal if passes else None, note)

    def _is_approved(self, pull: PullRequest, marker: PullRequestMarker) -> bool:
        """Return whether somebody approved what the pull request says, at its present commit or before Promoter remade it."""
        if marker.approvals and marker.approved_version == marker.version:
            return True
        if self._approved.is_verified(pull.number, pull.head):
            return True
        approved = bool(self._forge.read_pull_request_origin(pull.number).approving_accounts)
        if approved:
            self._approved.record_verified(pull.number, pull.head)
        return approved


def _find_decision(context: ProposalContext, marker: PullRequestMarker) -> Decision | None:
    """Return the decision on the version of the marker; None: it is no candidate, or fails."""
    status = context.snapshot.find_rotation_status(marker.alias) if context.snapshot else None
    decision = status.find_decision(marker.version) if status else None
    return None if decision is None or decision.verdict is Verdict.FAIL else decision


def _render_waiting_note(revise: str, version: int | None, better: int | None) -> str:
    to, next_ = version_label(version), version_label(better)
    why = "somebody has approved it" if revise == "until-approved" else "`proposals.revise` is `never`"
    return (
        f"{next_} is a better candidate by now. This pull request stays as it is, since {why}.\n\n"
        f"- If it is merged, the policy is asked once more, and the alias moves to {to}. "
        f"Then {next_} is proposed if it still passes.\n"
        f"- If it is closed, {to} is refused, and {next_} is proposed in its place.\n"
        f"- If nobody does anything, nothing changes, and {next_} waits."
    )


class ApprovalNotices:
    """Tells the people who approved a pull request that its branch was made again, and asks them again.

    Who approved is written into the marker before the push, so that a stop in between forgets nobody.
    """

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def prepare(self, site: ProposalBranch) -> PullRequestMarker | None:
        """Write who approves the open pull request into its marker; return the marker. The next step pushes the branch.

        Raises `Conflict` where the pull request is not open any more: a person answered to what it said.
        """
        marker = parse_marker(site.pull.body) if site.pull else None
        if site.pull is None or marker is None:
            return marker
        origin = self._forge.read_pull_request_origin(site.pull.number)
        pull = self._forge.read_pull_request(site.pull.number)
        if pull.state is not PullRequestState.OPEN:
            raise Conflict(self._forge.name, f"{site.pull.url} is not open any more")
        approvers = tuple(sorted(origin.approving_accounts))
        if not approvers:
            return marker
        written = replace(
            marker, approvals=approvers, approved_version=marker.version, approved_head=pull.head, announced=False
        )
        if written != marker:
            draft = PullRequestDraft(pull.branch, pull.title, insert_marker(pull.body, written))
            self._forge.update_pull_request(pull.number, draft)
        return written

    def announce(self, number: int, recorded: PullRequestMarker, wanted: PullRequestMarker, *, reviewed: bool) -> None:
        """Comment on what became of the approvals, and ask for new ones. `reviewed`: the policy has a rule `review`.

        A comment of an earlier time gives way to a new one, since an edited comment notifies nobody.
        """
        text = _render_lost_approvals(recorded, wanted, reviewed=reviewed)
        there = find_marked_comments(self._forge, number, APPROVALS)
        if not any(recorded.approved_head and recorded.approved_head[:10] in each.body for each in there):
            update_comment(self._forge, number, APPROVALS, None, there)
            update_comment(self._forge, number, APPROVALS, f"{APPROVALS}\n{text}", ())
        origin = self._forge.read_pull_request_origin(number)
        same = recorded.approved_version == wanted.version
        kept = {each.by for each in origin.reviews if not each.stale or (same and not reviewed)}
        self._forge.request_reviews_again(number, [each for each in recorded.approvals if each not in kept])
        log.info("reviews asked for again", number=number, accounts=list(recorded.approvals))


def is_about(marker: PullRequestMarker, wanted: Proposal) -> bool:
    """Return whether the approvals in the marker are of what is proposed now."""
    return bool(marker.approvals) and wanted.aim is ProposalReason.ROTATE and marker.approved_version == wanted.edit.version


def _render_lost_approvals(recorded: PullRequestMarker, wanted: PullRequestMarker, *, reviewed: bool) -> str:
    who = _mention_accounts(recorded.approvals)
    head = (recorded.approved_head or "")[:10]
    was, to = version_label(recorded.approved_version), version_label(wanted.version)
    if (wanted.aim, recorded.approved_version) == (recorded.aim, wanted.version):
        first = (
            f"The watched branch changed next to this line, so that git could not merge commit {head}. Promoter made the "
            f"branch again on the newest commit. What was approved is kept: the alias moves to {to}, and nothing else changes."
        )
    else:
        first = f"This pull request proposes {to} now. Commit {head}, which was approved, proposed {was}."
    counts = (
        "The policy's rule `review` counts only approvals of the newest commit"
        if reviewed
        else "The forge may have taken the approvals back"
        if wanted.version == recorded.approved_version
        else "An approval of the earlier commit says nothing of this one"
    )
    return f"{first}\n\n{counts}: {who}, please look at it again, and approve it if it is right."


def _mention_accounts(accounts: Collection[str]) -> str:
    """Mention the accounts by their names on the forge; what cannot be a name is shown as text."""
    return ", ".join(f"@{each}" if _ACCOUNT.fullmatch(each) else inline_text(each) for each in accounts)
