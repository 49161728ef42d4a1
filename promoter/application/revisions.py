"""Which revision is in force: the newest that parses and whose plan is within the mass-change limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

from promoter.application.ports import Clock, Documents, Ledger, Locks, Repository
from promoter.application.survey import Surveyor
from promoter.domain.audit import RevisionState
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults, OutsideError
from promoter.domain.plan import MASS_FLOOR


@dataclass(frozen=True)
class Refreshed:
    """What a look at git brought. `models` None: anything may have changed; empty: nothing has."""

    declaration: Declaration | None
    models: frozenset[str] | None
    refused: str | None = None


_NOTHING: frozenset[str] = frozenset()
_SHOWN = 5
_LOCK = "/revisions"  # no model can have this name


class Revisions:
    """Follows the branch. A revision that cannot be used is refused and told; the last good one stays in force."""

    def __init__(
        self,
        repository: Repository,
        documents: Documents,
        ledger: Ledger,
        survey: Surveyor,
        clock: Clock,
        locks: Locks,
    ) -> None:
        """Takes the ports; reads nothing yet."""
        self._repository = repository
        self._documents = documents
        self._ledger = ledger
        self._survey = survey
        self._clock = clock
        self._locks = locks
        self._lock = RLock()
        self._in_force: Declaration | None = None
        self._head: str | None = None
        self._refused: str | None = None
        self._elsewhere: str | None = None
        self.announce: Callable[[frozenset[str] | None], None] = lambda _: None
        """Called with the models that a new revision concerns (None: possibly all) once it is in force."""

    @property
    def in_force(self) -> Declaration | None:
        """The declaration that reconcile works towards; None before the first good revision."""
        return self._in_force

    @property
    def refused(self) -> str | None:
        """Why the head of the branch is not in force; None: it is."""
        return self._refused

    @property
    def current(self) -> bool:
        """Whether the head of the branch, as last fetched, is in force."""
        return self._refused is None and self._in_force is not None

    def refresh(self) -> Refreshed:
        """Fetch, and put the head in force if it can be. Raises `Unavailable` or `Refused` where git cannot be read."""
        with self._alone():
            return self._refresh()

    def catch_up(self) -> None:
        """Fetch where the ledger shows that another replica has put a revision in force that this one does not know.

        Whoever holds a model's lock calls it before he looks: what the other did to the model is never undone.
        """
        last = self._ledger.last_revision(RevisionState.APPLIED)
        if last in (self._revision, self._elsewhere):
            return
        with self._alone():
            if last not in (self._revision, self._elsewhere):
                self._refresh()
                self._elsewhere = last

    @property
    def _revision(self) -> str | None:
        return self._in_force.revision if self._in_force else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """From the fetch to the mark in the ledger no other replica fetches: the last mark is the newest that anybody has."""
        with self._locks.hold(_LOCK), self._lock:
            yield

    def _refresh(self) -> Refreshed:
        try:
            head = self._repository.fetch()
        except OutsideError:
            self._fall_back()
            raise
        if head == self._head and self._in_force is not None:
            return Refreshed(self._in_force, _NOTHING, self._refused)
        return self._attempt(head)

    def _fall_back(self) -> None:
        """A start without git: what was last in force, as the mirror has it, so that drift is put back meanwhile."""
        if self._in_force is None and (good := self._last_good(None)):
            self._in_force = good
            self.announce(None)

    def _attempt(self, head: str) -> Refreshed:
        self._ledger.mark_revision(head, RevisionState.ATTEMPTED, self._clock.now())
        try:
            declaration = self._documents.parse(self._repository.read(head), head)
        except Faults as faults:
            return self._refuse(head, str(faults))
        last = self._in_force or self._last_good(head)
        unsigned = self._unsigned(last, declaration)
        if unsigned:
            return self._refuse(head, unsigned)
        models = None if last is None else affected(last, declaration)
        too_much = self._over_limit(last, declaration, models)
        if too_much:
            return self._refuse(head, too_much)
        self._put_in_force(declaration)
        self.announce(models)
        return Refreshed(declaration, models)

    def adopt(self, declaration: Declaration, base: Declaration) -> None:
        """Put a commit of Promoter's own in force without another fetch, unless something newer already is."""
        with self._alone():
            if self._in_force is not base:
                return
            if self._ledger.last_revision(RevisionState.APPLIED) == base.revision and not signed_only(base, declaration):
                self._put_in_force(declaration)
            else:
                self._refresh()

    def unsigned(self, declaration: Declaration) -> str | None:
        """Why `promoter apply` may not carry that revision out, where commits have to be signed; None: it may."""
        return self._unsigned(self._in_force or self._last_good(declaration.revision), declaration)

    def _unsigned(self, last: Declaration | None, declaration: Declaration) -> str | None:
        """Why the head may not be in force, where commits have to be signed; None: it may, or it was before the restart.

        The revision in force decides as well: whoever switches it off has to sign that.
        """
        if declaration.revision is None or self._ledger.last_revision(RevisionState.APPLIED) == declaration.revision:
            return None
        return refusal_of(self._repository, last, declaration)

    def _put_in_force(self, declaration: Declaration) -> None:
        if declaration.revision:
            self._ledger.mark_revision(declaration.revision, RevisionState.APPLIED, self._clock.now())
        self._in_force, self._head, self._refused = declaration, declaration.revision, None

    def _refuse(self, head: str, why: str) -> Refreshed:
        """Keep the last good revision; after a restart, find it in the ledger and read it again."""
        self._ledger.mark_revision(head, RevisionState.REFUSED, self._clock.now(), why)
        self._head, self._refused = head, why
        if self._in_force is None:
            self._in_force = self._last_good(head)
            if self._in_force is not None:
                self.announce(None)
            return Refreshed(self._in_force, None, why)
        return Refreshed(self._in_force, _NOTHING, why)

    def _last_good(self, head: str | None) -> Declaration | None:
        revision = self._ledger.last_revision(RevisionState.APPLIED)
        if revision is None or revision == head:
            return None
        try:
            return self._documents.parse(self._repository.read(revision), revision)
        except (Faults, OutsideError):
            # Rewritten history may have dropped it, or an older Promoter understood it otherwise: nothing is in force then.
            return None

    def _over_limit(self, last: Declaration | None, declaration: Declaration, models: frozenset[str] | None) -> str | None:
        """The mass-change limit. Few changed statements cannot exceed it, so that a small commit needs no survey."""
        if self._ledger.last_revision(RevisionState.APPLIED) == declaration.revision:
            return None  # it was in force before the restart, within the limit
        prunes = models is None or any(_prunes(declaration, name) for name in models)
        limit = declaration.desired.document.safety.max_changes
        few = MASS_FLOOR if isinstance(limit, str) else min(limit, MASS_FLOOR)
        if last is not None and not prunes and declaration.changed_statements(last) <= few:
            return None
        return self._survey(declaration, models).plan.refused


def signed_only(*declarations: Declaration | None) -> bool:
    """Whether one of these revisions asks for signed commits."""
    return any(each.desired.document.safety.require_signed_commits for each in declarations if each)


def refusal_of(repository: Repository, last: Declaration | None, declaration: Declaration) -> str | None:
    """Why a revision may not follow the last good one, where commits have to be signed; None: it may."""
    if declaration.revision is None or not signed_only(last, declaration):
        return None
    # Where it is switched on, nothing before had to be signed, and the head that does so vouches for its own keys.
    since = last.revision if last and signed_only(last) else None
    found = repository.unsigned(since, declaration.revision)
    if not found:
        return None
    told = [f"{each.revision[:10]} by {each.author}: {each.why}" for each in found[:_SHOWN]]
    told += [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return (
        f"`require_signed_commits` is set, and {len(found)} commits are not signed by a key in signers/: {'; '.join(told)}; "
        "sign them, or take them back and commit the same with a signature"
    )


def _prunes(declaration: Declaration, name: str) -> bool:
    intent = declaration.desired.intent(name)
    return intent is not None and intent.prune


def affected(old: Declaration, new: Declaration) -> frozenset[str] | None:
    """The models that a step from one revision to the other concerns; None: possibly all (shared settings, policies)."""
    return restated(old, new) if _digests(old) == _digests(new) else None


def restated(old: Declaration, new: Declaration) -> frozenset[str] | None:
    """The models that git says something else of, policies aside; None: possibly all, as settings that they share differ."""
    was, now = old.desired.document, new.desired.document
    if (was.defaults, was.families, was.safety) != (now.defaults, now.families, now.safety):
        return None
    return new.changed_models(old)


def _digests(declaration: Declaration) -> Mapping[str, str]:
    return {name: policy.digest for name, policy in declaration.policies.items()}
