"""Provenance: the commit whose `registry.yaml` first declares a change, and the pull request that brought that commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Protocol

import structlog
from cachetools import FIFOCache

from promoter.application.ports import Clock, DeclarationDocuments, Forge, GitCommit, LastApplied, Sources
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError, Faults, TransientError
from promoter.domain.evidence import NOT_REQUESTED
from promoter.domain.folder import REGISTRY_FILE, RepositoryFolder
from promoter.domain.observed import Unreadable
from promoter.domain.plan import AliasDifference, ChangeCause
from promoter.domain.policy.document import FREEZE_OVERRIDE_TRAILER
from promoter.domain.review import ChangeOrigin

log = structlog.get_logger(__name__)


WALK_LIMIT = 50
"""Commits that are read to find the one that brought a change; what is older has none that can be named."""
ANSWER_LIFETIME = timedelta(seconds=30)
"""How long an answer of the forge that can change is used again, and how long a forge that gave none is left alone."""
NO_FORGE = Unreadable("no forge is configured: set PROMOTER_FORGE and PROMOTER_FORGE_TOKEN")
"""The answer where no forge can be asked what brought a commit."""
_REASON_LIMIT = 500
_MAX_ANSWERS = 1_000
_MAX_PARSED_REVISIONS = 16
"""Revisions that are kept as parsed: 3,000 models take some 8 MB each."""
_DeclarationReader = Callable[[str], Declaration | None]


class ChangeProvenance(Protocol):
    """Finds where a change comes from. Asked only where a freeze or a rule needs it."""

    def find_freeze_override(self, difference: AliasDifference, declaration: Declaration) -> str | None:
        """Return the reason that the change's commit gives for going past a freeze; None: it gives none."""
        ...

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        """Return the pull request that brings the change, with the members of these teams.

        None: it was pushed without one; NOT_REQUESTED: there is none yet; `Unreadable`: it cannot be had, and why.
        """
        ...


class NoProvenance:
    """For changes that nobody has committed yet: a working tree, or no repository at all."""

    def find_freeze_override(self, difference: AliasDifference, declaration: Declaration) -> str | None:
        """Return None: there is no commit that could give a reason."""
        del difference, declaration
        return None

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        """Return NOT_REQUESTED: there is no pull request yet."""
        del difference, declaration, teams
        return NOT_REQUESTED


class OpenProvenance(NoProvenance):
    """For the changes of a pull request that is not merged yet; it is read once for each set of teams."""

    def __init__(self, read_origin: Callable[[frozenset[str]], ChangeOrigin]) -> None:
        """`read_origin` reads the pull request, with the members of the teams."""
        self._read_origin = read_origin
        self._known: dict[frozenset[str], ChangeOrigin | Unreadable] = {}

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        """Return the pull request. A forge that does not answer makes no decision possible, and stops no plan."""
        del difference, declaration
        if teams not in self._known:
            try:
                self._known[teams] = self._read_origin(teams)
            except ExternalError as error:
                self._known[teams] = Unreadable(error.message)
        return self._known[teams]


class ClonedProvenance(NoProvenance):
    """For a clone: what its watched branch has is merged, everything else is yet to be proposed."""

    def __init__(self, merged: Callable[[str], ChangeProvenance | None]) -> None:
        """`merged` returns the provenance of a revision; None where the watched branch does not have it."""
        self._find_merged = merged

    def find_freeze_override(self, difference: AliasDifference, declaration: Declaration) -> str | None:
        """Return the reason; None too where the branch does not have the commit, or the clone cannot be read."""
        try:
            found = self._find_merged(declaration.revision) if declaration.revision else None
        except ExternalError:
            return None
        return found.find_freeze_override(difference, declaration) if found else None

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        """Return the pull request; NOT_REQUESTED: the branch does not have the commit."""
        try:
            found = self._find_merged(declaration.revision) if declaration.revision else None
        except ExternalError as error:
            return Unreadable(error.message)
        return found.find_change_origin(difference, declaration, teams) if found else NOT_REQUESTED


class CommitReader(Protocol):
    """The part of `Repository` that provenance reads, which a clone has as well."""

    @property
    def folder(self) -> RepositoryFolder:
        """As in `Repository`."""
        ...

    def read_sources(self, revision: str) -> Sources:
        """As in `Repository`."""
        ...

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """As in `Repository`."""
        ...


@dataclass(frozen=True)
class _ForgeAnswer:
    """An answer of the forge, and when it came."""

    at: datetime
    origin: ChangeOrigin | Unreadable | None


class GitProvenance:
    """For changes on the watched branch, with the forge that it lies on (None: none is configured)."""

    def __init__(
        self,
        repository: CommitReader,
        documents: DeclarationDocuments,
        ledger: LastApplied,
        clock: Clock,
        forge: Callable[[], Forge | None],
    ) -> None:
        """`forge` is called where the forge is needed first."""
        self._repository = repository
        self._documents = documents
        self._ledger = ledger
        self._clock = clock
        self._forge = forge
        self._answers: FIFOCache[tuple[str, frozenset[str]], _ForgeAnswer] = FIFOCache(_MAX_ANSWERS)
        self._silent: _ForgeAnswer | None = None
        self._cached_reader: tuple[str, _DeclarationReader] | None = None
        self._lock = Lock()

    def is_own_branch(self, branch: str) -> bool:
        """Return whether it is a branch for this Promoter's proposals."""
        return branch.startswith(self._repository.folder.branch_prefix)

    def find_freeze_override(self, difference: AliasDifference, declaration: Declaration) -> str | None:
        """Return the reason in the trailer of the commit that brought the change, at most 500 characters."""
        commit = self.find_change_commit(difference, declaration)
        trailers = {key.lower(): value for key, value in commit.trailers.items()} if commit else {}
        reason = " ".join(trailers.get(FREEZE_OVERRIDE_TRAILER.lower(), "").split())
        return reason[:_REASON_LIMIT] or None

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        """Return the merged pull request that brought the commit behind the change."""
        commit = self.find_change_commit(difference, declaration)
        if commit is None:
            why = f"it is not among the last {WALK_LIMIT} of {REGISTRY_FILE}, or hides behind one that cannot be used"
            return Unreadable(f"the commit that brings the change cannot be named ({why}): state it anew")
        return self.find_commit_origin(commit, teams)

    def find_commit_origin(self, commit: GitCommit, teams: frozenset[str] = frozenset()) -> ChangeOrigin | Unreadable | None:
        """Return the merged pull request that brought the commit; None: it was pushed.

        What is merged is merged, and remembered; who is in a team changes, so that an answer with teams counts for seconds. A
        forge that does not answer is left alone as long: many changes do not wait for it one after the other.
        """
        key, now = (commit.revision, teams), self._clock.now()
        known = self._find_cached_answer(key, now)
        if known is not None:
            return known.origin
        try:
            forge = self._forge()
            if forge is None:
                return NO_FORGE
            answer = _ForgeAnswer(now, forge.find_commit_origin(commit.revision, teams))
        except ExternalError as error:
            log.warning("the pull request behind a commit is not known", revision=commit.revision, why=str(error))
            answer = _ForgeAnswer(self._clock.now(), Unreadable(error.message))
            if isinstance(error, TransientError):
                self._silent = answer
                return answer.origin
        self._cache_answer(key, answer)
        return answer.origin

    def find_change_commit(self, difference: AliasDifference, declaration: Declaration) -> GitCommit | None:
        """Return the commit that brought a change; None for drift, for an override, or where git cannot tell.

        It is the oldest of those that say so without a break up to now, also where others followed. Never a guess: whoever made
        it answers for the change.
        """
        if difference.cause in (ChangeCause.DRIFT, ChangeCause.OVERRIDE) or declaration.revision is None:
            return None
        agreed = self._ledger.last_applied_revision(difference.model, difference.alias)
        try:
            commits = self._list_file_commits(agreed, declaration.revision)
        except ExternalError:
            return None  # a record without its author is worth more than a change that waits for git
        found, unsure = (commits[-1] if commits else None), False
        declared = self._reader_for_head(declaration.revision)
        for commit in reversed(commits[-WALK_LIMIT - 1 : -1]):
            declares = _declares_change(declared, commit, difference)
            if declares is False:
                return None if unsure else found
            # What cannot be read may have brought it: whoever only mended the file after that did not.
            unsure = declares is None
            found = found if unsure else commit
        return None if unsure or len(commits) > WALK_LIMIT else found

    def _list_file_commits(self, agreed: str | None, revision: str) -> Sequence[GitCommit]:
        """List the file's commits since git and the registry last agreed on the alias; the last ones where that is unknown."""
        if agreed is not None:
            since = self._repository.list_commits(agreed, revision, REGISTRY_FILE, last=WALK_LIMIT + 1)
            if since:
                return since
        return self._repository.list_commits(None, revision, REGISTRY_FILE, last=WALK_LIMIT + 1)

    def _find_cached_answer(self, key: tuple[str, frozenset[str]], now: datetime) -> _ForgeAnswer | None:
        with self._lock:
            answer, silent = self._answers.get(key), self._silent
        lasting = answer is not None and isinstance(answer.origin, ChangeOrigin) and not key[1]
        if answer is not None and (lasting or now < answer.at + ANSWER_LIFETIME):
            return answer
        return silent if silent is not None and now < silent.at + ANSWER_LIFETIME else None

    def _cache_answer(self, key: tuple[str, frozenset[str]], answer: _ForgeAnswer) -> None:
        with self._lock:
            self._answers[key] = answer

    def _reader_for_head(self, head: str) -> _DeclarationReader:
        """Return what reads the commits before that head. Each is parsed once, however many changes are searched for in it."""
        with self._lock:
            if self._cached_reader is None or self._cached_reader[0] != head:
                self._cached_reader = head, lru_cache(maxsize=_MAX_PARSED_REVISIONS)(self._read_declaration)
            return self._cached_reader[1]

    def _read_declaration(self, revision: str) -> Declaration | None:
        """Parse the files of a revision; None: they cannot be used."""
        try:
            return self._documents.parse_declaration(self._repository.read_sources(revision), revision)
        except Faults:
            return None


def _declares_change(declared: _DeclarationReader, commit: GitCommit, difference: AliasDifference) -> bool | None:
    """Whether the commit declares the change's target; None: its files cannot be read or used, so that nobody knows."""
    try:
        declaration = declared(commit.revision)
    except ExternalError:
        return None
    if declaration is None:
        return None
    intent = declaration.desired.find_model_intent(difference.model)
    alias = intent.aliases.get(difference.alias) if intent else None
    if difference.cause is ChangeCause.PRUNE:
        return intent is not None and intent.prune and alias is None
    return alias is not None and alias.has_declared_target and alias.version == difference.to_version
