"""A repository on a hosted forge, tied to a bare git repository: its pull requests, and the rules of its branches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import count

from tests.support.forges.bare import ZERO, BareCommit, BareRepository, MergeConflict
from tests.support.forges.model import (
    ForgeEvent,
    ForgeRefusal,
    ForgeRemark,
    ForgeReview,
    ForgeVersion,
    HostedStatus,
    Pull,
    Refusal,
)

_LEVELS = ("none", "read", "write")


class HostedRepository:
    """Not for several threads at once: `HostedForge` holds its lock around every call.

    `levels`: what each account may do, `none`, `read` or `write`; whoever is not named has `none`: the repository is private.
    `required`: contexts that must be green, and `approvals` that must be there, before a protected branch takes a merge.
    """

    def __init__(
        self,
        name: str,
        git: BareRepository,
        branch: str,
        pull_ref: str,
        now: Callable[[], datetime],
        tell: Callable[[ForgeEvent], None],
        login_of: Callable[[str], str | None],
    ) -> None:
        """`pull_ref`: a ref with `{}` for the number; `login_of`: an account by its mail."""
        self.name = name
        self.git = git
        self.branch = branch
        self.pulls: dict[int, Pull] = {}
        self.labels: dict[str, str] = {}
        self.statuses: dict[str, list[HostedStatus]] = {}
        self.levels: dict[str, str] = {}
        self.protected: frozenset[str] = frozenset()
        self.required: frozenset[str] = frozenset()
        self.approvals = 0
        self.auto_merge_allowed = True
        self.dismisses_stale = False
        self.refusal_words = "error: Protected branch update failed."
        self._pull_ref, self._now, self._tell, self._login_of = pull_ref, now, tell, login_of
        self._ids = count(4_001)
        self._known = git.heads()

    def may(self, login: str | None, level: str) -> bool:
        """Whether that account has at least this level."""
        return _LEVELS.index(self.levels.get(login or "", "none")) >= _LEVELS.index(level)

    def protect(self, *branches: str) -> None:
        """From now on git takes no pushes to these branches, and to all others."""
        self.protected = frozenset(branches)
        self.git.protect(self.protected, self.refusal_words)

    # Pull requests.

    def pull(self, number: int) -> Pull:
        """That one."""
        if number not in self.pulls:
            raise ForgeRefusal(Refusal.MISSING, "Not Found")
        return self.pulls[number]

    def opened_from(self, branch: str, base: str, head_repository: str | None = None) -> Pull | None:
        """The open one from that branch into that base."""
        home = head_repository or self.name
        fits = (p for p in self.pulls.values() if (p.branch, p.base, p.head_repository) == (branch, base, home))
        return next((each for each in fits if each.state == "open"), None)

    def open(self, by: str, branch: str, title: str, body: str = "", base: str | None = None) -> Pull:
        """Somebody opens one. A second one from the same branch into the same base is refused."""
        base, heads = base or self.branch, self.git.heads()
        if branch not in heads or base not in heads:
            raise ForgeRefusal(Refusal.INVALID, f"there is no branch {branch if branch not in heads else base}")
        return self._open(by, branch, heads[branch], self.name, base, (title, body))

    def open_from_fork(self, by: str, fork: str, branch: str, sha: str, title: str, body: str = "") -> Pull:
        """Somebody opens one from a branch of another repository (OWNER/NAME); the commit is in this one already."""
        return self._open(by, branch, sha, fork, self.branch, (title, body))

    def _open(self, by: str, branch: str, head: str, home: str, base: str, words: tuple[str, str]) -> Pull:
        if self.opened_from(branch, base, home):
            raise ForgeRefusal(Refusal.DUPLICATE, f"A pull request already exists for {home.partition('/')[0]}:{branch}.")
        start = self.git.heads()[base]
        if self.git.contains(start, head):
            raise ForgeRefusal(Refusal.INVALID, f"No commits between {base} and {branch}")
        number, at = len(self.pulls) + 1, self._now()
        pull = Pull(number, next(self._ids), *words, by, branch, home, head, base, start, at, at)
        pull.versions.append(ForgeVersion(next(self._ids), head, at))
        self.pulls[number] = pull
        self.git.point(self._pull_ref.format(number), head)
        self._told("opened", pull, by)
        return pull

    def close(self, number: int, by: str) -> None:
        """Somebody closes it unmerged; one that is not open stays as it is."""
        pull = self.pull(number)
        if pull.state == "open":
            pull.state, pull.closed_at, pull.closed_by, pull.auto_merge = "closed", self._now(), by, None
            pull.turns.append((next(self._ids), "close", by, self._now()))
            self._told("closed", pull, by)

    def reopen(self, number: int, by: str) -> None:
        """Somebody opens a closed one again."""
        pull = self.pull(number)
        if pull.state != "closed" or self.opened_from(pull.branch, pull.base, pull.head_repository):
            raise ForgeRefusal(Refusal.INVALID, "this pull request cannot be reopened")
        pull.state, pull.closed_at, pull.closed_by = "open", None, None
        pull.turns.append((next(self._ids), "reopen", by, self._now()))
        self._told("reopened", pull, by)

    def merge(self, number: int, by: str, method: str = "merge", message: str | None = None) -> str:
        """Somebody merges it, for real, and past the protection of the base; the merge commit."""
        pull = self.pull(number)
        if pull.state != "open":
            raise ForgeRefusal(Refusal.INVALID, "this pull request is not open")
        while True:
            base = self.git.heads()[pull.base]
            commit = self._joined(pull, by, base, squash=method == "squash", message=message)
            if self.git.point(f"refs/heads/{pull.base}", commit, base):
                break  # nobody pushed meanwhile
        self._merged(pull, by, commit, base)
        self.refresh()
        return commit

    def _joined(self, pull: Pull, by: str, base: str, *, squash: bool, message: str | None) -> str:
        try:
            tree = self.git.merge(base, pull.head)
        except MergeConflict:
            raise ForgeRefusal(Refusal.CONFLICT, "Merge conflict") from None
        first = f"{pull.title} (#{pull.number})" if squash else f"Merge pull request #{pull.number}\n\n{pull.title}"
        author = self.git.commit(pull.head).author if squash else (by, f"{by}@example.org")
        people = {"author": author, "committer": ("GitHub", "noreply@github.com")}
        return self.git.make(tree, (base,) if squash else (base, pull.head), message or first, people)

    def _merged(self, pull: Pull, by: str, commit: str, base: str) -> None:
        pull.brought = frozenset(self.git.shas(base, commit))
        pull.state, pull.merged_by, pull.merge_commit, pull.auto_merge = "merged", by, commit, None
        pull.closed_at, pull.closed_by = self._now(), by
        self._told("merged", pull, by)

    # What hangs on them.

    def review(self, number: int, by: str, verdict: str, body: str = "") -> ForgeReview:
        """Somebody says `approved`, `changes_requested` or `commented` of what it says now. Nobody approves his own."""
        pull = self.pull(number)
        if by == pull.author and verdict != "commented":
            raise ForgeRefusal(Refusal.INVALID, f"Can not {verdict} your own pull request")
        review = ForgeReview(next(self._ids), by, verdict, pull.head, self._now(), body)
        pull.reviews.append(review)
        self._tell(ForgeEvent("review", self.name, by, "submitted", number, after=pull.head, review=review.id))
        self.merge_what_may()
        return review

    def find_review(self, number: int, review: int) -> ForgeReview:
        """One of a pull request's."""
        return next(each for each in self.pull(number).reviews if each.id == review)

    def dismiss(self, number: int, review: int) -> None:
        """What a review said counts no more."""
        found = self.find_review(number, review)
        found.verdict = "dismissed"
        self._tell(ForgeEvent("review", self.name, found.by, "dismissed", number, review=review))

    def is_stale(self, number: int, review: ForgeReview) -> bool:
        """Whether the review saw an earlier state than the last one."""
        return review.commit != self.pull(number).head

    def remark(self, number: int, by: str, body: str) -> ForgeRemark:
        """Somebody writes a comment."""
        at = self._now()
        remark = ForgeRemark(next(self._ids), by, body, at, at)
        self.pull(number).remarks.append(remark)
        return remark

    def find_remark(self, id_: int) -> tuple[Pull, ForgeRemark]:
        """A comment, and where it stands."""
        found = ((pull, each) for pull in self.pulls.values() for each in pull.remarks if each.id == id_)
        match = next(found, None)
        if match is None:
            raise ForgeRefusal(Refusal.MISSING, "Not Found")
        return match

    def edit_remark(self, id_: int, body: str) -> ForgeRemark:
        """Its text is replaced."""
        remark = self.find_remark(id_)[1]
        remark.body, remark.updated_at = body, self._now()
        return remark

    def delete_remark(self, id_: int) -> None:
        """It is gone."""
        pull, remark = self.find_remark(id_)
        pull.remarks.remove(remark)

    def set_status(
        self, sha: str, by: str, context: str, state: str, description: str | None = None, url: str | None = None
    ) -> HostedStatus:
        """One more; `state` in the forge's own words."""
        if not self.git.exists(sha):
            raise ForgeRefusal(Refusal.INVALID, f"No commit found for SHA: {sha}")
        status = HostedStatus(next(self._ids), by, context, state, description, url, self._now())
        self.statuses.setdefault(sha, []).append(status)
        self.merge_what_may()
        return status

    def status_of(self, sha: str, context: str) -> HostedStatus | None:
        """The newest of that context."""
        return next((each for each in reversed(self.statuses.get(sha, [])) if each.context == context), None)

    # What git says.

    def commits_of(self, number: int) -> list[BareCommit]:
        """A pull request's commits, oldest first."""
        pull = self.pull(number)
        return [self.git.commit(sha) for sha in self.git.shas(pull.start, pull.head)]

    def pulls_with(self, sha: str) -> list[Pull]:
        """Those that brought the commit to their base, or have it among their own."""
        own = {pull.number: set(self.git.shas(pull.start, pull.head)) for pull in self.pulls.values()}
        return [pull for pull in self.pulls.values() if sha in pull.brought or sha in own[pull.number]]

    def approvals_of(self, number: int) -> set[str]:
        """Who approves, by the last that each one said."""
        said = {each.by: each.verdict for each in self.pull(number).reviews if each.verdict != "commented"}
        return {login for login, verdict in said.items() if verdict == "approved"}

    def blocked(self, number: int) -> bool:
        """Whether the rules of its base keep it from being merged."""
        pull = self.pull(number)
        if pull.base not in self.protected:
            return False
        states = {each.context: each.state for each in self.statuses.get(pull.head, [])}
        return len(self.approvals_of(number)) < self.approvals or any(states.get(name) != "success" for name in self.required)

    def merge_what_may(self) -> None:
        """Auto-merge: those that ask for it, and are kept back no more."""
        for pull in list(self.pulls.values()):
            if pull.auto_merge and pull.state == "open" and not self.blocked(pull.number):
                self.merge(pull.number, pull.auto_merge, pull.auto_merge_method)

    def refresh(self) -> None:
        """See what was pushed: heads follow their branches, what the base has counts as merged, no branch means closed."""
        before, self._known = self._known, self.git.heads()
        for branch in sorted(before.keys() | self._known.keys()):
            old, new = before.get(branch, ZERO), self._known.get(branch, ZERO)
            if old != new:
                by = self._pusher(new if new != ZERO else old)
                self._tell(ForgeEvent("push", self.name, by, ref=f"refs/heads/{branch}", before=old, after=new))
                self._follow(branch, old, new, by)

    def _follow(self, branch: str, old: str, new: str, by: str) -> None:
        for pull in [each for each in self.pulls.values() if each.state == "open"]:
            if pull.branch == branch and pull.head_repository == self.name:
                if new == ZERO:
                    self.close(pull.number, by)
                    continue
                pull.head, pull.updated_at = new, self._now()
                if self.git.contains(new, self.git.heads()[pull.base]):
                    pull.start = self.git.heads()[pull.base]  # its commits are those that the base lacks
                pull.versions.append(ForgeVersion(next(self._ids), new, pull.updated_at))
                self.git.point(self._pull_ref.format(pull.number), new)
                if self.dismisses_stale:
                    for review in pull.reviews:
                        review.verdict = "dismissed" if review.verdict == "approved" else review.verdict
                self._told("synchronize", pull, by)
            if pull.base == branch and ZERO not in (old, new) and self.git.contains(new, pull.head):
                self._merged(pull, by, new, old)

    def _pusher(self, sha: str) -> str:
        name, mail = self.git.commit(sha).committer
        return self._login_of(mail) or name

    def _told(self, action: str, pull: Pull, by: str) -> None:
        pull.updated_at = self._now()
        happening = ForgeEvent("pull", self.name, by, action, pull.number, f"refs/heads/{pull.branch}", after=pull.head)
        self._tell(happening)
