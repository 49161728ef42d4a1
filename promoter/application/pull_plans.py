"""Pull requests of everybody: keep the plan of each on it, as a comment and a commit status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import structlog

from promoter.application.comments import VerifiedStates, find_marked_comments, update_comment
from promoter.application.markdown.pull_plan import COMMENT_MARKER, render_pull_plan_markdown, render_withdrawn_markdown
from promoter.application.ports import CommitStatus, Forge, Locks, PullRequest, PullRequestState, Repository
from promoter.application.pull_planner import PullPlanner
from promoter.application.revisions import RevisionTracker
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.review import ChangeOrigin

log = structlog.get_logger(__name__)


class PullPlanUpdater:
    """Keeps the plan on one pull request at a time.

    Each write follows a read, so that the next run finishes what a crash left.
    """

    def __init__(
        self,
        forge: Forge,
        repository: Repository,
        planner: PullPlanner,
        revisions: RevisionTracker,
        locks: Locks,
        branch: str,
        pages: PageAddresses = NO_PAGES,
    ) -> None:
        """`branch` is the watched one; `pages` is where status and comment lead."""
        self._forge = forge
        self._repository = repository
        self._planner = planner
        self._revisions = revisions
        self._locks = locks
        self._branch = branch
        self._pages = pages
        self._verified = VerifiedStates(planner.clock)
        self._fork_notices = ForkNotices(forge, branch, pages.promoter)
        self._listed: dict[int, PullRequest] = {}
        self._planned_heads: frozenset[str] = frozenset()

    def find_relevant_numbers(self, opened: Iterable[PullRequest]) -> Sequence[int]:
        """Return the numbers of the pull requests that need a plan, or the notice that they get none, as those from forks.

        Which files they touch is read later. The list is kept for the next update of each, so that a poll that finds nothing
        new makes no more calls.
        """
        found = {pull.number: pull for pull in opened if pull.state is PullRequestState.OPEN and pull.base == self._branch}
        self._verified.retain_pull_requests(found)
        self._fork_notices.retain_pull_requests(found)
        self._planned_heads = frozenset(pull.head for pull in found.values() if not pull.fork)
        self._listed = dict(found)
        return list(found)

    def update_plan(self, number: int) -> None:
        """Plan one pull request, and publish the plan on it.

        Raises `TransientError` or `PermanentError`, and leaves what was published before.
        """
        with self._locks.hold(f"pull/{number}"):
            listed = self._listed.pop(number, None)
            pull = listed or self._forge.read_pull_request(number)
            if self._is_watched(pull):
                self._update_pull_request(pull, polled=listed is not None)
            elif listed and listed.fork:
                self._fork_notices.update_notice(listed, self._planned_heads)

    def _is_watched(self, pull: PullRequest) -> bool:
        return pull.state is PullRequestState.OPEN and not pull.fork and pull.base == self._branch

    def _update_pull_request(self, pull: PullRequest, *, polled: bool) -> None:
        """Update one. `polled`: it comes from a list and may be outdated, so it is read again before a write."""
        base = self._repository.fetch_branch()
        head = self._repository.fetch_ref(pull.ref)  # may be newer than what the forge just said: it is what is planned
        # What a refused head says of policies is not in force, and judges nobody.
        instead = self._revisions.declaration_in_force if self._revisions.refusal_reason else None

        def read_origin(teams: frozenset[str]) -> ChangeOrigin:
            return self._forge.read_pull_request_origin(pull.number, teams)

        plan = self._planner(base, head, read_origin, instead, pull.branch)
        shown = plan.touched or plan.is_unusable
        text = render_pull_plan_markdown(plan, self._pages) if shown else render_withdrawn_markdown(plan)
        status = CommitStatus(plan.status_state, plan.status_description, self._pages.promoter)
        if polled and self._verified.is_verified(pull.number, (head, text, status)):
            return
        # What changes nothing any more may just have been merged: its plan stays as it was then.
        if (polled or not shown) and not self._is_watched(self._forge.read_pull_request(pull.number)):
            return
        own = find_marked_comments(self._forge, pull.number, COMMENT_MARKER)
        if own or plan.touched:
            update_comment(self._forge, pull.number, COMMENT_MARKER, text, own)
        # Also where nothing of ours is touched: a check that is required and never comes would hold up the merge for ever.
        try:
            if _update_status(self._forge, head, status):
                log.info("status of a pull request", revision=head, state=status.state.value, description=status.description)
        except PermanentError as error:
            self._require_other_head(pull.number, head, error)
            return
        self._verified.record_verified(pull.number, (head, text, status))

    def _require_other_head(self, number: int, head: str, error: PermanentError) -> None:
        """Raise the error, unless the pull request was closed, or moved on, while the status of its head was written.

        GitLab does not know a commit that no branch has. Raises `TransientError` where there is another head to plan.
        """
        now = self._forge.read_pull_request(number)
        if self._is_watched(now) and now.head == head:
            raise error
        if self._is_watched(now):
            raise TransientError(self._forge.name, f"{now.url} has another head by now")
        log.info("closed while its plan was written", pull_request=now.url)


def _update_status(forge: Forge, head: str, wanted: CommitStatus) -> bool:
    """Give the commit that status, and return True, unless it shows it already."""
    if wanted.is_shown_by(forge.read_commit_status(head)):
        return False
    forge.set_commit_status(head, wanted)
    return True


class ForkNotices:
    """States on pull requests from forks that they are not planned, and what gets them a plan. Nothing in them is fetched.

    A plan shows what the registry has, and anybody may open a pull request from a fork. The status is a failure: a required
    check must not turn green, and nothing that could be waited for follows by itself.
    """

    def __init__(self, forge: Forge, branch: str, url: str | None) -> None:
        """`branch` is the watched one; `url` is where the status leads."""
        self._forge = forge
        self._command = f"`promoter plan --base {branch}`"
        description = (
            f"from a fork, so not planned: a plan shows registry data. Push it to a branch here, or run {self._command}"
        )
        self._status = CommitStatus(CommitStatusState.FAILURE, description, url)
        self._noticed: dict[int, str] = {}

    def retain_pull_requests(self, numbers: Collection[int]) -> None:
        """Forget all other pull requests."""
        for number in self._noticed.keys() - numbers:
            self._noticed.pop(number, None)

    def update_notice(self, listed: PullRequest, planned: Collection[str]) -> None:
        """Write the notice once for each head, unless a pull request of this repository has the same one, and its plan.

        `planned` has the heads of those. A forge that refuses the notice is logged, and left alone.
        """
        number, head = listed.number, listed.head
        if head in planned:
            self._noticed.pop(number, None)
            return
        if self._noticed.get(number) == head:
            return
        try:
            self._write_notice(listed)
        except PermanentError as error:
            log.warning("a pull request from a fork gets no notice that it is not planned", number=number, answer=error.message)
        self._noticed[number] = head

    def _write_notice(self, listed: PullRequest) -> None:
        if not self._forge.shows_fork_statuses:
            update_comment(self._forge, listed.number, COMMENT_MARKER, self._render_comment(listed))
        elif _update_status(self._forge, listed.head, self._status):
            log.info("a pull request from a fork is not planned", number=listed.number, revision=listed.head)

    def _render_comment(self, listed: PullRequest) -> str:
        command = f"{self._command[:-1]} --head {listed.head}`"
        return (
            f"{COMMENT_MARKER}\n### ✗ Promoter does not plan this: it comes from a fork\n\n"
            "A plan shows what the registry has, and anybody may propose something from a fork.\n\n"
            "- If it is merged, Promoter plans its changes then, and the policies decide about each of them.\n"
            "- If it changes files that Promoter reads, get a plan before the merge: push its branch to this repository and "
            f"propose it from there, or run {command} in a clone that has the commit.\n"
        )
