"""What came of merges, reported where they were merged: a status on the commit, one closing comment on its pull request.

Nothing is remembered but for comfort: which commits are open follows from git, the ledger and the plan, and what was reported
is read from the forge. So a stop in between loses nothing, and two Promoters write it once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from cachetools import FIFOCache

from promoter.application.comments import update_comment
from promoter.application.markdown.merge_result import RESULT_MARKER, render_merge_result_markdown
from promoter.application.ports import (
    Clock,
    CommitStatus,
    CommitStatusName,
    DeclarationDocuments,
    Forge,
    GitCommit,
    Ledger,
    Locks,
    Repository,
)
from promoter.application.provenance import GitProvenance
from promoter.application.revisions import RevisionTracker
from promoter.application.snapshots import ModelSnapshot
from promoter.domain.audit import AliasKey, AuditRecord, RecordFilter, RecordKind, is_alias_move
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError, Faults, PermanentError
from promoter.domain.folder import APPROVERS_FILE, POLICIES_FOLDER, REGISTRY_FILE
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.merge_result import (
    STATING_CAUSES,
    AliasCircumstances,
    AliasResult,
    AliasStatement,
    MergeResult,
    build_alias_result,
    find_statements,
    join_statements,
    sort_alias_results,
)
from promoter.domain.policy.evaluate import list_remedies

log = structlog.get_logger(__name__)

RECENT = timedelta(days=1)
"""After a start, what was merged or moved within this time is looked at; what still waits is, whatever its age."""
MAX_TRACKED = 50
"""How many commits are followed, the newest first."""
MAX_RECENT = 20
"""How many commits of before a start are looked at."""
UNDER_WAY = timedelta(seconds=5)
"""How long a change may take before a status says that it waits: most are done by then, and one status is enough."""
SETTLED = timedelta(minutes=1)
"""After this time, a forge knows which pull request brought a commit. Just after the merge, some say that none did."""
REFUSED_PAUSE = timedelta(minutes=10)
"""How long a commit is left alone whose status or comment the forge refuses: forges count the calls of an hour."""
WATCHED_PATHS = (REGISTRY_FILE, APPROVERS_FILE, POLICIES_FOLDER, "signers")
_SEARCHED_COMMITS = 10
_MAX_STATED = 64

Trouble = Mapping[str, str]
"""Why the work on models fails, by model."""


@dataclass
class TrackedCommit:
    """A commit whose result is not final yet, as far as is known here."""

    commit: GitCommit
    order: int
    """Its place among all that were found: the later of two commits of one second."""
    is_watched: bool
    """Whether it changes a file that Promoter reads."""
    has_moved: bool = False
    """Whether an alias has just moved because of it: a success that was reported before may not say so."""
    is_identified: bool = False
    """Whether the forge was asked which pull request brought it."""
    number: int | None = None
    """The pull request that brought it, as far as the forge was asked; None: it was pushed."""
    is_settled: bool = False
    """Whether the forge had time to work out which pull request brought it."""
    status: CommitStatus | None = None
    """The status that it has, as it was last read or written."""
    reported: MergeResult | None = None
    """What was reported last."""
    under_way_since: datetime | None = None
    """Since when it has been only a matter of time."""
    refused_at: datetime | None = None
    """When the forge last refused to take the report."""

    @property
    def revision(self) -> str:
        """The commit's id."""
        return self.commit.revision


@dataclass(frozen=True)
class _Observation:
    """What the controller knows when results are made."""

    declaration: Declaration | None
    """What is in force; None: nothing is."""
    snapshots: Mapping[str, ModelSnapshot]
    trouble: Trouble


class MergeResultReporter:
    """Reports what came of the commits of the watched branch."""

    def __init__(  # noqa: PLR0913  # keyword-only: one for each port or use case that it works with
        self,
        *,
        forge: Forge,
        repository: Repository,
        documents: DeclarationDocuments,
        ledger: Ledger,
        revisions: RevisionTracker,
        provenance: GitProvenance,
        locks: Locks,
        clock: Clock,
        pages: PageAddresses = NO_PAGES,
    ) -> None:
        """`pages`: where people find Promoter's page, where statuses and comments lead, and commits."""
        self._forge = forge
        self._repository = repository
        self._ledger = ledger
        self._revisions = revisions
        self._locks = locks
        self._clock = clock
        self._pages = pages
        self._commits = _CommitCollector(repository, ledger, revisions, provenance, clock)
        self._statements = _StatementReader(repository, documents)
        self._in_force: FIFOCache[tuple[str, str], bool] = FIFOCache(MAX_TRACKED * 2)

    def report_results(self, snapshots: Mapping[str, ModelSnapshot], trouble: Trouble) -> None:
        """Report what is new, of each commit that is not done with. `trouble`: why the work on models fails.

        Raises `TransientError` where the forge, git or the ledger does not answer now, and the next call goes on there;
        `PermanentError` where the forge refuses one, once all others are reported.
        """
        declaration = self._revisions.declaration_in_force
        if declaration is None and self._revisions.refusal_reason is None:
            return
        seen = _Observation(declaration, snapshots, trouble)
        if declaration is not None:
            self._statements.remember(declaration)
        tracked = self._commits.collect_open_commits(snapshots)
        refused: list[PermanentError] = []
        for group in self._group_by_pull_request(tracked, seen, refused):
            try:
                self._report_group(group, seen)
            except PermanentError as error:
                group[-1].refused_at = self._clock.now()
                refused.append(error)
        if refused:
            raise refused[0]

    def _group_by_pull_request(
        self, tracked: Iterable[TrackedCommit], seen: _Observation, refused: list[PermanentError]
    ) -> Iterator[tuple[TrackedCommit, ...]]:
        """Yield the commits of each pull request together, oldest first; each commit that was pushed stands alone."""
        now = self._clock.now()
        groups: dict[tuple[int | None, str], list[TrackedCommit]] = {}
        for each in tracked:
            if each.refused_at is not None and now - each.refused_at < REFUSED_PAUSE:
                continue
            try:
                if not self._identify(each, seen):
                    continue
            except PermanentError as error:
                each.refused_at = now
                refused.append(error)
                continue
            groups.setdefault((each.number, "" if each.number else each.revision), []).append(each)
        yield from map(tuple, groups.values())

    def _identify(self, tracked: TrackedCommit, seen: _Observation) -> bool:
        """Read what the forge has of the commit, once. Return False where there is nothing to report.

        A success of before is believed, and never taken back, unless what the commit states is known not to be so.
        """
        if tracked.is_identified:
            if tracked.number is None and not tracked.is_settled and self._is_settled(tracked):
                self._find_number(tracked)
            return True
        if tracked.status is None:
            tracked.status = self._forge.read_commit_status(tracked.revision, CommitStatusName.APPLIED)
        if _has_success(tracked.status) and not tracked.has_moved:
            result = self._build_result((tracked,), seen)
            if result is not None and result.is_final:
                self._commits.drop(tracked.revision)
            if result is None or result.is_final or result.is_under_way:
                return False
        self._find_number(tracked)
        return True

    def _find_number(self, tracked: TrackedCommit) -> None:
        """Ask what brought the commit; what was reported without a pull request that is known now is reported anew."""
        tracked.is_settled = not tracked.is_watched or self._is_settled(tracked)
        tracked.number = self._forge.find_introducing_number(tracked.revision)
        tracked.is_identified = True
        tracked.reported = None if tracked.number else tracked.reported

    def _is_settled(self, tracked: TrackedCommit) -> bool:
        return self._clock.now() - tracked.commit.at >= SETTLED

    def _report_group(self, group: tuple[TrackedCommit, ...], seen: _Observation) -> None:
        last = group[-1]
        result = self._build_result(group, seen)
        if result is None:
            return
        last.under_way_since = (last.under_way_since or self._clock.now()) if result.is_under_way else None
        if last.under_way_since is not None and self._clock.now() - last.under_way_since < UNDER_WAY:
            return
        is_done = last.reported is not None and last.reported.is_final and not any(each.has_moved for each in group)
        if result != last.reported and not is_done:
            with self._locks.hold(f"result/{last.revision}"):
                self._publish(last, result, seen.declaration)
            last.reported = result
            for each in group:
                each.has_moved = False
        if result.is_final and (last.number or last.is_settled):
            for each in group:
                self._commits.drop(each.revision)

    def _publish(self, last: TrackedCommit, result: MergeResult, declaration: Declaration | None) -> None:
        """Write the comment, then the status: where the status is right, so is the comment."""
        status = CommitStatus(result.state, result.description, self._pages.promoter)
        if last.reported is not None:  # another Promoter may have been first since it was read
            last.status = self._forge.read_commit_status(last.revision, CommitStatusName.APPLIED)
        if _has_success(last.status) and result.is_final and result.state is not CommitStatusState.SUCCESS:
            return
        unwritten: PermanentError | None = None
        if last.number and result.is_watched and not result.is_untried:
            text = render_merge_result_markdown(result, _collect_remedies(result, declaration), self._pages)
            try:
                update_comment(self._forge, last.number, RESULT_MARKER, text)
            except PermanentError as error:  # such as a pull request whose conversation is locked
                unwritten = error
        if not status.is_shown_by(last.status):
            self._forge.set_commit_status(last.revision, status, CommitStatusName.APPLIED)
            last.status = status
            facts = {"state": status.state.value, "description": status.description, "pull_request": last.number}
            log.info("result of a commit", revision=last.revision, **facts)
        if unwritten:
            raise unwritten

    def _build_result(self, group: tuple[TrackedCommit, ...], seen: _Observation) -> MergeResult | None:
        """Return what came of the commits; None: the branch has just moved, and the next call knows more."""
        last, declaration = group[-1], seen.declaration
        result = MergeResult(
            last.revision,
            is_watched=any(each.is_watched for each in group),
            in_force=declaration.revision if declaration else None,
            folder=self._repository.folder,
        )
        if declaration is None or not self._is_in_force(last.revision, declaration):
            refused = self._find_refusal(last.revision)
            return replace(result, refused=refused) if refused else None
        try:
            stated = join_statements([self._statements.read_statements(each.commit) for each in group])
        except Faults as faults:
            return replace(result, refused=str(faults), is_superseded=True)
        moves = self._ledger.find_alias_moves([each.key for each in stated]) if stated else {}
        commits = {each.revision for each in group}
        found = [
            build_alias_result(each, commits, _find_circumstances(each, declaration, seen, moves.get(each.key, ())))
            for each in stated
        ]
        found += _list_other_moves(commits, stated, self._commits.moved)
        return replace(result, aliases=sort_alias_results(found))

    def _is_in_force(self, revision: str, declaration: Declaration) -> bool:
        if declaration.revision is None:
            return False
        key = revision, declaration.revision
        if key not in self._in_force:
            self._in_force[key] = self._repository.is_ancestor(*key)
        return self._in_force[key]

    def _find_refusal(self, revision: str) -> str | None:
        """Return why a commit that is not in force is refused; None: the branch has just moved."""
        head, why = self._revisions.head or "", self._revisions.refusal_reason
        return why if why is None or head == revision else f"the branch's head {head[:10]} is refused: {why}"


def _has_success(status: CommitStatus | None) -> bool:
    return status is not None and status.state is CommitStatusState.SUCCESS


def _collect_remedies(result: MergeResult, declaration: Declaration | None) -> dict[AliasKey, Sequence[str]]:
    found: dict[AliasKey, Sequence[str]] = {}
    for each in result.open_aliases:
        decision = each.decision
        policy = declaration.policies.get(decision.policy or "") if declaration and decision else None
        if decision is not None and (policy is not None or decision.policy is None):
            found[each.statement.key] = list_remedies(policy, decision)
    return found


def _find_circumstances(
    statement: AliasStatement, declaration: Declaration, seen: _Observation, records: Sequence[AuditRecord]
) -> AliasCircumstances:
    """Return what is known of the alias. A snapshot from before its revision came into force says nothing of it."""
    alias = declaration.desired.find_alias_intent(statement.model, statement.alias)
    snapshot = seen.snapshots.get(statement.model)
    looked = snapshot.intent.aliases.get(statement.alias) if snapshot else None
    before_override = (looked.declared or looked) if looked else None
    current = before_override is not None and alias is not None and before_override.version == alias.version
    observed = snapshot.observed if snapshot else None
    return AliasCircumstances(
        records=records,
        declared=alias if alias and alias.has_declared_target else None,
        compared=snapshot.compared if snapshot and current else None,
        change=snapshot.find_change(statement.alias) if snapshot else None,
        held=observed.aliases.get(statement.alias) if observed else None,
        override=looked.override.description if looked and looked.override else None,
        trouble=seen.trouble.get(statement.model, ""),
    )


def _list_other_moves(
    commits: Collection[str], stated: Iterable[AliasStatement], moved: Iterable[AuditRecord]
) -> Iterator[AliasResult]:
    """Yield what a commit moved without stating it: `prune` deletes aliases that are not listed."""
    known = {each.key for each in stated}
    for record in moved:
        fact = record.fact
        if fact.revision in commits and (fact.model, fact.alias) not in known:
            statement = AliasStatement(fact.model, fact.alias, fact.to_version, fact.from_version)
            yield build_alias_result(statement, commits, AliasCircumstances([record]))


class _CommitCollector:
    """Collects the commits whose results are not final: new ones, those that moved something, and those that wait."""

    def __init__(
        self,
        repository: Repository,
        ledger: Ledger,
        revisions: RevisionTracker,
        provenance: GitProvenance,
        clock: Clock,
    ) -> None:
        self.moved: list[AuditRecord] = []
        """The newest records of moves that commits brought."""
        self._repository = repository
        self._ledger = ledger
        self._revisions = revisions
        self._provenance = provenance
        self._clock = clock
        self._tracked: dict[str, TrackedCommit] = {}
        self._head: str | None = None
        self._entry: int | None = None
        self._known_waits: set[tuple[str, str, int | None]] = set()
        self._count = 0

    def collect_open_commits(self, snapshots: Mapping[str, ModelSnapshot]) -> list[TrackedCommit]:
        """Return all that are open, oldest first."""
        head = self._revisions.head
        if head is not None and head != self._head:
            self._add_new_commits(head)
        self._add_moved_commits()
        self._add_waiting_commits(snapshots)
        ordered = sorted(self._tracked.values(), key=lambda each: (each.commit.at, each.order))
        self._tracked = {each.revision: each for each in ordered[-MAX_TRACKED:]}
        return list(self._tracked.values())

    def drop(self, revision: str) -> None:
        """Follow the commit no longer: its result is final."""
        self._tracked.pop(revision, None)

    def _add_new_commits(self, head: str) -> None:
        """Add the head, and what changes a watched file since the head before; after a start, what did of late."""
        before, now = self._head, self._clock.now()
        listed = [self._repository.list_commits(before, head, path, last=MAX_RECENT) for path in WATCHED_PATHS]
        found = {each.revision: each for commits in listed for each in commits}
        for each in sorted(found.values(), key=lambda commit: commit.at)[-MAX_TRACKED:]:
            if before is not None or each.revision == head or now - each.at < RECENT:
                self._add(each, is_watched=True)
        if head not in self._tracked:
            self._add(self._repository.read_commit(head), is_watched=False)
        kept = (each for each in self._tracked.values() if self._repository.is_ancestor(each.revision, head))
        self._tracked = {each.revision: each for each in kept}
        self._head = head

    def _add_moved_commits(self) -> None:
        """Add the commits behind moves that the ledger has recorded since; after a start, of late."""
        first = self._entry is None
        since = self._clock.now() - RECENT if first else None
        known = self._ledger.read_chain_head().entry if first else self._entry or 0
        where = RecordFilter(kind=RecordKind.CHANGE, after=self._entry, since=since, newest=first, limit=MAX_TRACKED * 20)
        records = self._ledger.find_audit_records(where)
        self._entry = max((each.id for each in records), default=known)
        moved = [each for each in records if is_alias_move(each) and each.fact.cause in STATING_CAUSES and each.fact.revision]
        self.moved = [*self.moved, *moved][-MAX_TRACKED * 20 :]
        for revision in list(dict.fromkeys(each.fact.revision for each in moved if each.fact.revision))[-MAX_TRACKED:]:
            self._add_revision(revision, has_moved=not first)

    def _add_waiting_commits(self, snapshots: Mapping[str, ModelSnapshot]) -> None:
        """Add the commits behind changes that wait, each looked for once."""
        declaration = self._revisions.declaration_in_force
        if declaration is None:
            return
        waiting = [
            each.difference
            for snapshot in snapshots.values()
            for each in snapshot.changes
            if not each.is_allowed and each.difference.cause.value in STATING_CAUSES
        ]
        known = {(each.model, each.alias, each.to_version) for each in waiting}
        self._known_waits &= known
        for each in waiting:
            key = (each.model, each.alias, each.to_version)
            if key not in self._known_waits and len(self._known_waits) < MAX_TRACKED:
                self._known_waits.add(key)
                commit = self._provenance.find_change_commit(each, declaration)
                if commit is not None and commit.revision not in self._tracked:
                    self._add(commit, is_watched=True)

    def _add_revision(self, revision: str, *, has_moved: bool) -> None:
        if revision in self._tracked:
            self._tracked[revision].has_moved |= has_moved
            return
        try:
            commit = self._repository.read_commit(revision)
        except ExternalError:
            return  # history was rewritten since, and nobody looks at that commit any more
        if self._head is not None and self._repository.is_ancestor(revision, self._head):
            self._add(commit, is_watched=True)
            self._tracked[revision].has_moved = has_moved

    def _add(self, commit: GitCommit, *, is_watched: bool) -> None:
        self._count += 1
        self._tracked[commit.revision] = TrackedCommit(commit, self._count, is_watched)


class _StatementReader:
    """Reads what commits state of aliases that the files before them did not."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments) -> None:
        self._repository = repository
        self._documents = documents
        self._stated: FIFOCache[str, Mapping[AliasKey, int | None]] = FIFOCache(_MAX_STATED)
        self._found: FIFOCache[str, tuple[AliasStatement, ...]] = FIFOCache(_MAX_STATED)

    def remember(self, declaration: Declaration) -> None:
        """Keep what a revision states that is parsed already: files of 3,000 models take a second to parse."""
        if declaration.revision is not None and declaration.revision not in self._stated:
            self._stated[declaration.revision] = declaration.desired.stated_versions

    def read_statements(self, commit: GitCommit) -> tuple[AliasStatement, ...]:
        """Return them. Raises `Faults` where the commit's files cannot be used."""
        if commit.revision not in self._found:
            after = self._read_stated(commit.revision)
            self._found[commit.revision] = find_statements(self._read_before(commit, after), after)
        return self._found[commit.revision]

    def _read_before(self, commit: GitCommit, after: Mapping[AliasKey, int | None]) -> Mapping[AliasKey, int | None]:
        """Return what the newest files before it that can be used state; where there are none that can, nothing is new."""
        if not commit.parents:
            return {}
        commits = self._repository.list_commits(None, commit.parents[0], REGISTRY_FILE, last=_SEARCHED_COMMITS)
        for each in reversed(commits):
            try:
                return self._read_stated(each.revision)
            except Faults:
                continue
        return after if commits else {}

    def _read_stated(self, revision: str) -> Mapping[AliasKey, int | None]:
        if revision not in self._stated:
            declaration = self._documents.parse_declaration(self._repository.read_sources(revision), revision)
            self._stated[revision] = declaration.desired.stated_versions
        return self._stated[revision]
