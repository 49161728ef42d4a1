"""Keep the plan of each pull request on it: one comment, and one status of the commit that was planned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from promoter.application.comments import keep_comment, marked
from promoter.application.markdown.pull_plan import MARKER, pull_plan_markdown, withdrawn_markdown
from promoter.application.ports import Forge, Locks, PullRequest, Repository, State, Status, StatusState
from promoter.application.pulls.planner import PullPlanner
from promoter.application.pulls.verified import Verified
from promoter.application.revisions import Revisions
from promoter.domain.proposal import PREFIX

log = structlog.get_logger(__name__)


class PullPlans:
    """Looks at one pull request at a time. Each write follows a look, so that the next one finishes what a crash left."""

    def __init__(
        self,
        forge: Forge,
        repository: Repository,
        planner: PullPlanner,
        revisions: Revisions,
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
        self._verified = Verified(planner.clock)
        self._told: dict[int, PullRequest] = {}

    def relevant(self, opened: Iterable[PullRequest]) -> Sequence[int]:
        """The numbers of those that are to be looked at; which files they touch, only a look can tell.

        The next look at each goes by what is told here, so that a poll that finds nothing new costs no more calls.
        """
        ours = {pull.number: pull for pull in opened if self._ours(pull)}
        self._verified.only(ours)
        self._told = dict(ours)
        return list(ours)

    def one(self, number: int) -> None:
        """Plan one, and say so on it. Raises `Unavailable` or `Refused` with whatever was said before left as it is."""
        with self._locks.hold(f"pull/{number}"):
            told = self._told.pop(number, None)
            pull = told or self._forge.pull_request(number)
            if self._ours(pull):
                self._look(pull, polled=told is not None)

    def _ours(self, pull: PullRequest) -> bool:
        return pull.state is State.OPEN and not pull.fork and pull.base == self._branch

    def _look(self, pull: PullRequest, *, polled: bool) -> None:
        """`polled`: the pull request is as it was listed, and may be another by now: before a write it is read again."""
        base = self._repository.fetch()
        head = self._repository.fetch_ref(pull.ref)  # may be newer than what the forge just said: it is what is planned
        # What a refused head says of policies is not in force, and judges nobody.
        instead = self._revisions.in_force if self._revisions.refused else None
        plan = self._planner(base, head, lambda teams: self._forge.origin(pull.number, teams), instead)
        text = pull_plan_markdown(plan) if plan.touched else withdrawn_markdown()
        status = Status(StatusState(plan.state.value), plan.description, self._url)
        if polled and self._verified.so(pull.number, (head, text, status)):
            return
        if polled and not self._ours(self._forge.pull_request(pull.number)):
            return
        own = marked(self._forge, pull.number, MARKER)
        # The body of a proposal has the decision already, as long as nobody else has put a commit on it.
        if own or (plan.touched and not self._proposed(pull, base, head)):
            keep_comment(self._forge, pull.number, MARKER, text, own)
        # Also where nothing of ours is touched: a check that is required and never comes would hold up the merge for ever.
        self._set(head, status)
        self._verified.keep(pull.number, (head, text, status))

    def _proposed(self, pull: PullRequest, base: str, head: str) -> bool:
        return pull.branch.startswith(PREFIX) and self._repository.untouched(base, head)

    def _set(self, head: str, wanted: Status) -> None:
        has = self._forge.status(head)
        if has is None or (has.state, has.description) != (wanted.state, wanted.description):
            self._forge.set_status(head, wanted)
            log.info("status of a pull request", revision=head, state=wanted.state.value, description=wanted.description)
