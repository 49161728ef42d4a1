"""Keep the plan of each pull request on it: one comment, and one status of the commit that was planned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from promoter.application.comments import update_comment, find_marked_comments
from promoter.application.markdown.pull_plan import COMMENT_MARKER, render_pull_plan_markdown, render_withdrawn_markdown
from promoter.application.ports import Forge, Locks, PullRequest, Repository, PullRequestState, CommitStatus, CommitStatusState
from promoter.application.pulls.planner import PullPlanner
from promoter.application.pulls.verified import VerifiedStates
from promoter.application.revisions import RevisionTracker
from promoter.domain.proposal import BRANCH_PREFIX

log = structlog.get_logger(__name__)


class PullPlanUpdater:
    """Looks at one pull request at a time. Each write follows a look, so that the next one finishes what a crash left."""

    def __init__(
        self,
        forge: Forge,
        repository: Repository,
        planner: PullPlanner,
        revisions: RevisionTracker,
        locks: Locks,
        branch: str,
        url: str | None = None,
    ) -> None:
        """`branch` is the watched one; `url`: where the status leads."""
        self._forge = forge
        self._repository = repository
        self._planner = planner
        self._revisions = revisions
        self._locks = locks
        self._branch = branch
        self._url = url
        self._verified = VerifiedStates(planner.clock)
        self._listed: dict[int, PullRequest] = {}

    def find_relevant_numbers(self, opened: Iterable[PullRequest]) -> Sequence[int]:
        """The numbers of those that are to be looked at; which files they touch, only a look can tell.

        The next look at each goes by what is told here, so that a poll that finds nothing new costs no more calls.
        """
        ours = {pull.number: pull for pull in opened if self._is_watched(pull)}
        self._verified.retain_pull_requests(ours)
        self._listed = dict(ours)
        return list(ours)

    def update_plan(self, number: int) -> None:
        """Plan one, and say so on it. Raises `TransientError` or `PermanentError` with whatever was said before left as it is."""
        with self._locks.hold(f"pull/{number}"):
            listed = self._listed.pop(number, None)
            pull = listed or self._forge.read_pull_request(number)
            if self._is_watched(pull):
                self._update_pull_request(pull, polled=listed is not None)

    def _is_watched(self, pull: PullRequest) -> bool:
        return pull.state is PullRequestState.OPEN and not pull.fork and pull.base == self._branch

    def _update_pull_request(self, pull: PullRequest, *, polled: bool) -> None:
        """`polled`: the pull request is as it was listed, and may be another by now: before a write it is read again."""
        base = self._repository.fetch_branch()
        head = self._repository.fetch_ref(pull.ref)  # may be newer than what the forge just said: it is what is planned
        # What a refused head says of policies is not in force, and judges nobody.
        instead = self._revisions.declaration_in_force if self._revisions.refusal_reason else None
        plan = self._planner(base, head, lambda teams: self._forge.read_pull_request_origin(pull.number, teams), instead)
        text = render_pull_plan_markdown(plan) if plan.touched else render_withdrawn_markdown()
        status = CommitStatus(CommitStatusState(plan.status_state.value), plan.status_description, self._url)
        if polled and self._verified.is_verified(pull.number, (head, text, status)):
            return
        if polled and not self._is_watched(self._forge.read_pull_request(pull.number)):
            return
        own = find_marked_comments(self._forge, pull.number, COMMENT_MARKER)
        # The body of a proposal has the decision already, as long as nobody else has put a commit on it.
        if own or (plan.touched and not self._is_own_proposal(pull, base, head)):
            update_comment(self._forge, pull.number, COMMENT_MARKER, text, own)
        # Also where nothing of ours is touched: a check that is required and never comes would hold up the merge for ever.
        self._update_status(head, status)
        self._verified.record_verified(pull.number, (head, text, status))

    def _is_own_proposal(self, pull: PullRequest, base: str, head: str) -> bool:
        return pull.branch.startswith(BRANCH_PREFIX) and self._repository.has_only_own_commits(base, head)

    def _update_status(self, head: str, wanted: CommitStatus) -> None:
        has = self._forge.read_commit_status(head)
        if has is None or (has.state, has.description) != (wanted.state, wanted.description):
            self._forge.set_commit_status(head, wanted)
            log.info("status of a pull request", revision=head, state=wanted.state.value, description=wanted.description)
