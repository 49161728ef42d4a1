"""Where a change comes from: the commit whose `registry.yaml` first says it, and the pull request that brought that commit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Protocol

import structlog

from promoter.application.ports import Clock, Commit, Documents, Forge, Ledger, Sources
from promoter.domain.declaration import Declaration
from promoter.domain.evidence import NOT_READ
from promoter.domain.faults import Faults, OutsideError, Unavailable
from promoter.domain.limits import OVERRIDE
from promoter.domain.observed import Unread
from promoter.domain.plan import Cause, Difference
from promoter.domain.proposal import REGISTRY_FILE
from promoter.domain.review import Origin

log = structlog.get_logger(__name__)

WALK_LIMIT = 50
"""Commits that are read to find the one that brought a change; what is older has none that can be named."""
FRESH = timedelta(seconds=30)
"""How long an answer of the forge counts that may be another tomorrow, and how long a silent one is left alone."""
_REASON_LIMIT = 500
_REMEMBERED = 1_000
_WALK_KEPT = 16
"""Revisions that are kept as parsed: 3,000 models take some 8 MB each."""
_Declared = Callable[[str], Declaration | None]


class Provenance(Protocol):
    """What a decision may ask of where a change comes from. Only asked where a freeze, or a rule, makes it matter."""

    def freeze_override(self, difference: Difference, declaration: Declaration) -> str | None:
        """The reason that the change's commit gives for going past a freeze; None: it gives none."""
        ...

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        """The pull request that brings the change, with the members of these teams.

        None: it was pushed without one; NOT_READ: there is none yet; `Unread`: it cannot be had, and why.
        """
        ...


class NoProvenance:
    """Where nothing is committed yet: a working tree, or no repository at all."""

    def freeze_override(self, difference: Difference, declaration: Declaration) -> str | None:
        """None: there is no commit that could give a reason."""
        del difference, declaration
        return None

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        """NOT_READ: there is no pull request yet."""
        del difference, declaration, teams
        return NOT_READ


class OpenProvenance(NoProvenance):
    """A pull request that is not merged yet: what it says now, asked for once for each set of teams."""

    def __init__(self, asked: Callable[[frozenset[str]], Origin]) -> None:
        """`asked` reads the pull request, with the members of the teams."""
        self._asked = asked
        self._known: dict[frozenset[str], Origin | Unread] = {}

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        """The pull request. A forge that does not answer makes no decision possible, and stops no plan."""
        del difference, declaration
        if teams not in self._known:
            try:
                self._known[teams] = self._asked(teams)
            except OutsideError as error:
                self._known[teams] = Unread(error.message)
        return self._known[teams]


class ClonedProvenance(NoProvenance):
    """The clone that one stands in: what is on the watched branch there was brought, all else is yet to be proposed."""

    def __init__(self, merged: Callable[[str], Provenance | None]) -> None:
        """`merged`: where changes of a revision come from; None where the watched branch does not have it."""
        self._merged = merged

    def freeze_override(self, difference: Difference, declaration: Declaration) -> str | None:
        """As the branch says; None: it does not have the commit, or the clone cannot say."""
        try:
            found = self._merged(declaration.revision) if declaration.revision else None
        except OutsideError:
            return None
        return found.freeze_override(difference, declaration) if found else None

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        """As the forge says; NOT_READ: the branch does not have the commit."""
        try:
            found = self._merged(declaration.revision) if declaration.revision else None
        except OutsideError as error:
            return Unread(error.message)
        return found.origin(difference, declaration, teams) if found else NOT_READ


class History(Protocol):
    """What is read of git: `Repository`, or a clone."""

    def read(self, revision: str) -> Sources:
        """As in `Repository`."""
        ...

    def commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[Commit]:
        """As in `Repository`."""
        ...


@dataclass(frozen=True)
class _Answer:
    """What the forge said, and when."""

    at: datetime
    origin: Origin | Unread | None


class GitProvenance:
    """The watched branch, and the forge that it lies on (None: none is configured)."""

    def __init__(
        self,
        repository: History,
        documents: Documents,
        ledger: Ledger,
        clock: Clock,
        forge: Callable[[], Forge | None],
    ) -> None:
        """Takes the ports that it reads; the forge is asked for where it is needed first."""
        self._repository = repository
        self._documents = documents
        self._ledger = ledger
        self._clock = clock
        self._forge = forge
        self._answers: OrderedDict[tuple[str, frozenset[str]], _Answer] = OrderedDict()
        self._silent: _Answer | None = None
        self._walk: tuple[str, _Declared] | None = None
        self._lock = Lock()

    def freeze_override(self, difference: Difference, declaration: Declaration) -> str | None:
        """The reason in the trailer of the commit that brought the change, at most 500 characters."""
        commit = self.commit(difference, declaration)
        trailers = {key.lower(): value for key, value in commit.trailers.items()} if commit else {}
        reason = " ".join(trailers.get(OVERRIDE.lower(), "").split())
        return reason[:_REASON_LIMIT] or None

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        """The merged pull request that brought the commit behind the change."""
        commit = self.commit(difference, declaration)
        if commit is None:
            why = f"it is not among the last {WALK_LIMIT} of {REGISTRY_FILE}, or hides behind one that cannot be used"
            return Unread(f"the commit that brings the change cannot be named ({why}): state it anew")
        return self.brought(commit, teams)

    def brought(self, commit: Commit, teams: frozenset[str] = frozenset()) -> Origin | Unread | None:
        """The merged pull request that brought the commit; None: it was pushed.

        What is merged is merged, and remembered; who is in a team changes, so that an answer with teams counts for seconds. A
        forge that does not answer is left alone as long: many changes do not wait for it one after the other.
        """
        key, now = (commit.revision, teams), self._clock.now()
        known = self._known(key, now)
        if known is not None:
            return known.origin
        try:
            forge = self._forge()
            if forge is None:
                return Unread("no forge is configured: set PROMOTER_FORGE and PROMOTER_FORGE_TOKEN")
            answer = _Answer(now, forge.brought(commit.revision, teams))
        except OutsideError as error:
            log.warning("the pull request behind a commit is not known", revision=commit.revision, why=str(error))
            answer = _Answer(self._clock.now(), Unread(error.message))
            if isinstance(error, Unavailable):
                self._silent = answer
                return answer.origin
        self._remember(key, answer)
        return answer.origin

    def commit(self, difference: Difference, declaration: Declaration) -> Commit | None:
        """The commit that brought a change; None for drift, for an override, or where git cannot say.

        It is the oldest of those that say so without a break up to now, also where others followed. Never a guess: whoever made
        it answers for the change.
        """
        if difference.cause in (Cause.DRIFT, Cause.OVERRIDE) or declaration.revision is None:
            return None
        agreed = self._ledger.settled_at(difference.model, difference.alias)
        try:
            commits = self._touching(agreed, declaration.revision)
        except OutsideError:
            return None  # a record without its author is worth more than a change that waits for git
        found, unsure = (commits[-1] if commits else None), False
        declared = self._walking(declaration.revision)
        for commit in reversed(commits[-WALK_LIMIT - 1 : -1]):
            says = _says(declared, commit, difference)
            if says is False:
                return None if unsure else found
            # What cannot be read may have brought it: whoever only mended the file after that did not.
            unsure = says is None
            found = found if unsure else commit
        return None if unsure or len(commits) > WALK_LIMIT else found

    def _touching(self, agreed: str | None, revision: str) -> Sequence[Commit]:
        """Those of the file since git and the registry last agreed on the alias; the last ones where that is not known."""
        if agreed is not None:
            since = self._repository.commits(agreed, revision, REGISTRY_FILE, last=WALK_LIMIT + 1)
            if since:
                return since
        return self._repository.commits(None, revision, REGISTRY_FILE, last=WALK_LIMIT + 1)

    def _known(self, key: tuple[str, frozenset[str]], now: datetime) -> _Answer | None:
        with self._lock:
            answer, silent = self._answers.get(key), self._silent
        lasting = answer is not None and isinstance(answer.origin, Origin) and not key[1]
        if answer is not None and (lasting or now < answer.at + FRESH):
            return answer
        return silent if silent is not None and now < silent.at + FRESH else None

    def _remember(self, key: tuple[str, frozenset[str]], answer: _Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)

    def _walking(self, head: str) -> _Declared:
        """Reads the commits before that head. Each is parsed once, however many changes are looked for in it."""
        with self._lock:
            if self._walk is None or self._walk[0] != head:
                self._walk = head, lru_cache(maxsize=_WALK_KEPT)(self._declared)
            return self._walk[1]

    def _declared(self, revision: str) -> Declaration | None:
        """None: its files cannot be used."""
        try:
            return self._documents.parse(self._repository.read(revision), revision)
        except Faults:
            return None


def _says(declared: _Declared, commit: Commit, difference: Difference) -> bool | None:
    """Whether the commit says what the change is to; None: its files cannot be used or read, so that nobody can tell."""
    try:
        declaration = declared(commit.revision)
    except OutsideError:
        return None
    if declaration is None:
        return None
    intent = declaration.desired.intent(difference.model)
    alias = intent.aliases.get(difference.alias) if intent else None
    if difference.cause is Cause.PRUNE:
        return intent is not None and intent.prune and alias is None
    return alias is not None and alias.stated and alias.version == difference.to_version
