"""The revision in force: the newest that parses, is signed where it must be, and keeps to the mass-change limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Protocol

import structlog

from promoter.application.allowances import ChangeAllowances
from promoter.application.planner import Planner
from promoter.application.ports import Clock, DeclarationDocuments, LastApplied, Locks, ObservationLog, Repository
from promoter.application.registry_binding import RepositoryBinding
from promoter.domain.audit import RevisionState
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError, Faults, PermanentError, TransientError
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.checkpoints import BranchRewrite, LifecycleEvent, LifecycleEventType
from promoter.domain.plan import MASS_CHANGE_FLOOR

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RefreshResult:
    """What a fetch of the branch led to."""

    declaration: Declaration | None
    """The declaration in force now."""
    models: frozenset[str] | None
    """The models that the new revision affects; None: possibly all."""
    refused: str | None = None
    """Why the head is not in force."""


GIT_TRIGGER = "git"
"""The trigger of what follows from a revision that no webhook brought."""

AnnounceRevision = Callable[[frozenset[str] | None, str], None]
"""Called once a new revision is in force, with the models that it affects (None: possibly all) and the trigger."""
_NO_MODELS: frozenset[str] = frozenset()
_MAX_SHOWN_COMMITS = 5
_MAX_REASON_LINES = 50
_MAX_REASON_LENGTH = 500


class BranchLedger(LastApplied, ObservationLog, Protocol):
    """The parts of the ledger that know the branch: the states of its revisions, and what happened to it."""


_LOCK = "/revisions"  # no model can have this name


class RevisionTracker:
    """Follows the branch. A revision that cannot be used is refused, with the reason; the last good one stays in force."""

    def __init__(  # noqa: PLR0913  # keyword-only: one for each port or use case that it works with
        self,
        *,
        repository: Repository,
        documents: DeclarationDocuments,
        ledger: BranchLedger,
        planner: Planner,
        clock: Clock,
        locks: Locks,
        announce: AnnounceRevision,
        allowances: ChangeAllowances,
        binding: RepositoryBinding,
    ) -> None:
        self._repository = repository
        self._documents = documents
        self._ledger = ledger
        self._planner = planner
        self._clock = clock
        self._locks = locks
        self._lock = RLock()
        self._in_force: Declaration | None = None
        self._head: str | None = None
        self._refused: str | None = None
        self._elsewhere: str | None = None
        self._announce = announce
        self._allowances = allowances
        self._binding = binding

    @property
    def folder(self) -> RepositoryFolder:
        """The folder of the repository that holds Promoter's files."""
        return self._repository.folder

    @property
    def declaration_in_force(self) -> Declaration | None:
        """The declaration that models are reconciled to; None before the first good revision."""
        return self._in_force

    @property
    def head(self) -> str | None:
        """The head of the branch as it was last tried, in force or refused; None before the first."""
        return self._head

    @property
    def refusal_reason(self) -> str | None:
        """Why the head of the branch is not in force; None: it is."""
        return self._refused

    def require_own_folder(self) -> None:
        """Raise `PermanentError` where the ledger is about another folder of the repository; then nothing stays in force."""
        try:
            self._binding.require_own_folder()
        except PermanentError:
            self._in_force = self._head = None  # a person has accepted another folder, whose Promoter goes on
            raise

    @property
    def is_head_in_force(self) -> bool:
        """Whether the head of the branch, as last fetched, is in force."""
        return self._refused is None and self._in_force is not None

    def refresh_head(self, trigger: str = GIT_TRIGGER) -> RefreshResult:
        """Fetch the branch, and put its head in force if it can be; the work that follows is recorded under `trigger`.

        Raises `TransientError` or `PermanentError` where git cannot be read, and where the ledger is about another folder or
        repository.
        """
        self.require_own_folder()
        with self._lock:
            # First without the lock of all replicas: one whose git hangs must not keep the others from theirs.
            if self._fetch_head(trigger) == self._head and self._in_force is not None:
                return RefreshResult(self._in_force, _NO_MODELS, self._refused)
        with self._hold_fetch_lock():
            return self._refresh_under_lock(trigger)

    def follow_replicas(self) -> None:
        """Fetch where the ledger shows that another replica has put a revision in force that this one does not know.

        Whoever holds a model's lock calls it before he looks: what the other did to the model is never undone.
        """
        self.require_own_folder()
        last = self._ledger.find_last_revision(RevisionState.APPLIED)
        if last in (self._revision_in_force, self._elsewhere):
            return
        with self._hold_fetch_lock():
            if last not in (self._revision_in_force, self._elsewhere):
                self._refresh_under_lock()
                self._elsewhere = last

    @property
    def _revision_in_force(self) -> str | None:
        return self._in_force.revision if self._in_force else None

    @contextmanager
    def _hold_fetch_lock(self) -> Iterator[None]:
        """Keep other replicas from fetching until the ledger has the revision's state: its last row is then the newest."""
        with self._lock, self._locks.hold(_LOCK):
            yield

    def _refresh_under_lock(self, trigger: str = GIT_TRIGGER) -> RefreshResult:
        self.require_own_folder()
        head = self._fetch_head(trigger)
        self._binding.require_own_repository(head)
        if head == self._head and self._in_force is not None:
            return RefreshResult(self._in_force, _NO_MODELS, self._refused)
        self.record_rewrite(head)
        return self._attempt_revision(head, trigger)

    def _fetch_head(self, trigger: str) -> str:
        try:
            return self._repository.fetch_branch()
        except ExternalError:
            self._restore_last_good(trigger)
            raise

    def record_rewrite(self, head: str) -> None:
        """Record where the head does not follow what was in force or tried before, here or by another Promoter."""
        states = (RevisionState.APPLIED, RevisionState.ATTEMPTED)
        for before in dict.fromkeys(self._ledger.find_last_revision(state) for state in states):
            found = self._repository.describe_rewrite(before, head) if before else None
            if found is None:
                continue
            last = next(map(BranchRewrite.from_event, self._ledger.find_rewrites(limit=1)), None)
            if last and last.before == before and not self._repository.describe_rewrite(last.after, head):
                return  # a commit on top of one whose rewrite is recorded already
            event = LifecycleEvent(self._clock.now(), LifecycleEventType.REWRITTEN, found.event_facts)
            self._ledger.record_lifecycle_event(event)
            log.warning("the branch was rewritten", what=found.description)
            return

    def _restore_last_good(self, trigger: str) -> None:
        """Put the last good revision in force from the mirror, where Promoter starts without git, so that drift is put back."""
        if self._in_force is None and (good := self._load_last_good(None)):
            self._in_force = good
            self._announce(None, trigger)

    def _attempt_revision(self, head: str, trigger: str) -> RefreshResult:
        brought_by = None if trigger == GIT_TRIGGER else trigger
        self._ledger.record_revision_state(head, RevisionState.ATTEMPTED, self._clock.now(), trigger=brought_by)
        try:
            declaration = self._documents.parse_declaration(self._repository.read_sources(head), head)
        except Faults as faults:
            return self._refuse_revision(head, str(faults), trigger)
        last = self._in_force or self._load_last_good(head)
        unsigned = self._check_signatures(last, declaration)
        if unsigned:
            return self._refuse_revision(head, unsigned, trigger)
        models = None if last is None else find_affected_models(last, declaration)
        try:
            too_much = self._check_change_limit(last, declaration, models)
        except TransientError:
            self._restore_last_good(trigger)
            raise
        if too_much:
            return self._refuse_revision(head, too_much, trigger)
        self._put_in_force(declaration)
        self._announce(models, trigger)
        return RefreshResult(declaration, models)

    def adopt_own_commit(self, declaration: Declaration, base: Declaration) -> None:
        """Put a commit of Promoter's own in force without another fetch, unless something newer already is."""
        with self._hold_fetch_lock():
            if self._in_force is not base:
                return
            if self._ledger.find_last_revision(RevisionState.APPLIED) == base.revision and not requires_signed_commits(
                base, declaration
            ):
                self._put_in_force(declaration)
            else:
                self._refresh_under_lock()

    def find_signing_refusal(self, declaration: Declaration) -> str | None:
        """Why `promoter apply` may not carry that revision out, where commits have to be signed; None: it may."""
        return self._check_signatures(self._in_force or self._load_last_good(declaration.revision), declaration)

    def _check_signatures(self, last: Declaration | None, declaration: Declaration) -> str | None:
        """Why the head may not be in force, where commits have to be signed; None: it may, or it was before the restart.

        The revision in force decides as well: whoever switches it off has to sign that.
        """
        if declaration.revision is None or self._ledger.find_last_revision(RevisionState.APPLIED) == declaration.revision:
            return None
        return find_unsigned_refusal(self._repository, last, declaration)

    def _put_in_force(self, declaration: Declaration) -> None:
        self._locks.require_held(_LOCK)  # else this row could be the last, though another replica has a newer one
        self._binding.bind()
        if declaration.revision:
            self._ledger.record_revision_state(declaration.revision, RevisionState.APPLIED, self._clock.now())
        declaration = self._allowances.attach_allowance(declaration)
        self._in_force, self._head, self._refused = declaration, declaration.revision, None

    def _refuse_revision(self, head: str, why: str, trigger: str) -> RefreshResult:
        """Keep the last good revision; after a restart, find it in the ledger and read it again."""
        self._locks.require_held(_LOCK)
        self._ledger.record_revision_state(head, RevisionState.REFUSED, self._clock.now(), why)
        restarted, good = self._in_force is None, self._in_force or self._load_last_good(head)
        self._record_refusal(head, why, good.revision if good else None)
        self._head, self._refused, self._in_force = head, why, good
        if restarted and good is not None:
            self._announce(None, trigger)
        return RefreshResult(good, None if restarted else _NO_MODELS, why)

    def _record_refusal(self, head: str, why: str, in_force: str | None) -> None:
        """Record for people that the head is refused: once, however often it is tried while the same revision is in force."""
        last = self._ledger.find_last_lifecycle_event(LifecycleEventType.REVISION_REFUSED)
        if last is not None and (last.facts.get("revision"), last.facts.get("in_force")) == (head, in_force):
            return
        try:
            author: str | None = self._repository.read_commit(head).author
        except ExternalError:
            author = None
        facts = {"revision": head, "reason": _bound_reason(why), "in_force": in_force, "author": author}
        self._ledger.record_lifecycle_event(LifecycleEvent(self._clock.now(), LifecycleEventType.REVISION_REFUSED, facts))

    def _load_last_good(self, head: str | None) -> Declaration | None:
        revision = self._ledger.find_last_revision(RevisionState.APPLIED)
        if revision is None or revision == head:
            return None
        try:
            found = self._documents.parse_declaration(self._repository.read_sources(revision), revision)
            return self._allowances.attach_allowance(found)
        except (Faults, ExternalError):
            # Rewritten history may have dropped it, or an older Promoter understood it otherwise: nothing is in force then.
            return None

    def _check_change_limit(
        self, last: Declaration | None, declaration: Declaration, models: frozenset[str] | None
    ) -> str | None:
        """Return why the revision exceeds the mass-change limit, or None. A commit that changes little needs no plan for it."""
        if self._ledger.find_last_revision(RevisionState.APPLIED) == declaration.revision:
            return None  # it was in force before the restart, within the limit
        prunes = models is None or any(_prunes_aliases(declaration, name) for name in models)
        limit = declaration.desired.document.safety.max_changes
        few = MASS_CHANGE_FLOOR if isinstance(limit, str) else min(limit, MASS_CHANGE_FLOOR)
        if last is not None and not prunes and declaration.count_changed_statements(last) <= few:
            return None
        plan = self._planner(self._allowances.attach_allowance(declaration), models).plan
        return self._allowances.decide_refused_plan(last, declaration, plan) if plan.refused and last else plan.refused

    def allow_changes(self, declaration: Declaration) -> Declaration:
        """Return what `promoter apply` is about to carry out, with the allowance for it, where somebody gave one.

        Raises `PermanentError` where its commits ask for one that nobody gave, and `TransientError` where that is not known.
        """
        declaration = self._allowances.attach_allowance(declaration)
        last = self._in_force or self._load_last_good(declaration.revision)
        if declaration.allowance or last is None or not self._allowances.has_requests(last, declaration):
            return declaration
        plan = self._planner(declaration).plan
        refused = self._allowances.decide_refused_plan(last, declaration, plan) if plan.refused else None
        if refused:
            raise PermanentError("plan", refused)
        return self._allowances.attach_allowance(declaration)


def _bound_reason(why: str) -> str:
    """Return the reason with at most 50 lines of 500 characters: events have an end."""
    lines = [line[:_MAX_REASON_LENGTH] for line in why.splitlines()]
    more = [f"and {len(lines) - _MAX_REASON_LINES} more"] if len(lines) > _MAX_REASON_LINES else []
    return "\n".join([*lines[:_MAX_REASON_LINES], *more])


def requires_signed_commits(*declarations: Declaration | None) -> bool:
    """Whether one of these revisions asks for signed commits."""
    return any(each.desired.document.safety.require_signed_commits for each in declarations if each)


def find_unsigned_refusal(repository: Repository, last: Declaration | None, declaration: Declaration) -> str | None:
    """Why a revision may not follow the last good one, where commits have to be signed; None: it may."""
    if declaration.revision is None or not requires_signed_commits(last, declaration):
        return None
    # Where it is switched on, nothing before had to be signed, and the head that does so vouches for its own keys.
    since = last.revision if last and requires_signed_commits(last) else None
    found = repository.find_unsigned_commits(since, declaration.revision)
    if not found:
        return None
    commits = [f"{each.revision[:10]} by {each.author}: {each.why}" for each in found[:_MAX_SHOWN_COMMITS]]
    commits += [f"and {len(found) - _MAX_SHOWN_COMMITS} more"] if len(found) > _MAX_SHOWN_COMMITS else []
    return (
        f"`require_signed_commits` is set, and {len(found)} commits are not signed by a key in signers/: {'; '.join(commits)}; "
        "sign them, or take them back and commit the same with a signature"
    )


def _prunes_aliases(declaration: Declaration, name: str) -> bool:
    intent = declaration.desired.find_model_intent(name)
    return intent is not None and intent.prune


def find_affected_models(old: Declaration, new: Declaration) -> frozenset[str] | None:
    """Return the models that a step from one revision to the other affects; None: possibly all (shared settings, policies)."""
    return find_restated_models(old, new) if _find_policy_digests(old) == _find_policy_digests(new) else None


def find_restated_models(old: Declaration, new: Declaration) -> frozenset[str] | None:
    """Return the models that git declares otherwise, policies aside; None: possibly all, since shared settings differ."""
    was, now = old.desired.document, new.desired.document
    if (was.defaults, was.families, was.safety) != (now.defaults, now.families, now.safety):
        return None
    return new.find_changed_models(old)


def _find_policy_digests(declaration: Declaration) -> Mapping[str, str]:
    return {name: policy.digest for name, policy in declaration.policies.items()}
