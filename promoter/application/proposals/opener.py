"""A person's proposal, on its branch and with its pull request open: an `Opener` that knows the forge."""

from __future__ import annotations

from promoter.application.proposals.into_git import BranchOpener, OpenedProposal
from promoter.application.proposals.open import ProposalReconciler
from promoter.domain.faults import ExternalError
from promoter.domain.proposal import Proposal


class ProposalOpener:
    """Pushes the branch, then looks at it as the daemon does. To do it again is harmless."""

    def __init__(self, branch: BranchOpener, proposals: ProposalReconciler) -> None:
        """Takes what pushes the branch, and what opens the pull request."""
        self._branch = branch
        self._proposals = proposals

    def __call__(self, proposal: Proposal) -> OpenedProposal:
        """Raises `TransientError` or `PermanentError` where git fails. What fails after that is told: the next look goes on with it."""
        pushed = self._branch(proposal)
        if pushed.revision is None:
            return pushed
        try:
            return OpenedProposal(pushed.revision, self._proposals.open_pull_request(proposal).url)
        except ExternalError as error:
            return OpenedProposal(pushed.revision, None, f"the daemon opens its pull request later: {error}", done=False)
