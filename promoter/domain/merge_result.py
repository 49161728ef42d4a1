"""What came of commits of the watched branch: whether they are in force, and which aliases moved by what they state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from promoter.domain.audit import AliasKey, AuditRecord, ChangeOutcome, RecordKind, is_alias_move
from promoter.domain.commit_status import CommitStatusState, shorten_to_line
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import AliasIntent
from promoter.domain.fields import format_utc
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.plan import Change, ChangeCause, ModelComparison
from promoter.domain.text import format_count, summarize_lines, version_label

STATING_CAUSES = frozenset({ChangeCause.COMMIT.value, ChangeCause.ABSENT.value, ChangeCause.PRUNE.value})
"""The causes of changes that a commit brings. Drift and overrides are not of its making."""


class AliasOutcome(StrEnum):
    """What came of an alias that a commit states."""

    MOVED = "moved"
    """Promoter moved it because of this commit."""
    HELD = "held"
    """It was so already: nothing had to move."""
    DUE = "due"
    """Promoter is about to move it, or to look at it."""
    WAITING = "waiting"
    """Its policy does not know yet, or an override stands in for git."""
    BLOCKED = "blocked"
    """It stays: its policy says no, or the registry lacks what git states."""
    OVERTAKEN = "overtaken"
    """A later commit states something else, and it had not moved by then."""


_LACKING_REMEDY = "register what is missing, or state a version that the registry has, by another commit"
_OPEN_OUTCOMES = (AliasOutcome.DUE, AliasOutcome.WAITING)


@dataclass(frozen=True)
class AliasStatement:
    """What a commit states of an alias, and the files before it stated otherwise."""

    model: str
    alias: str
    version: int | None
    """The version; None: the alias must not exist."""
    before: int | None
    """The version that was stated before; None: none was."""

    @property
    def key(self) -> AliasKey:
        """Model and alias."""
        return self.model, self.alias

    @property
    def name(self) -> str:
        """The alias as people write it."""
        return f"{self.model}@{self.alias}"


def find_statements(before: Mapping[AliasKey, int | None], after: Mapping[AliasKey, int | None]) -> tuple[AliasStatement, ...]:
    """Return what the files after a commit state of aliases and the files before it did not, by model and alias."""
    changed = sorted(key for key, version in after.items() if key not in before or before[key] != version)
    return tuple(AliasStatement(*key, after[key], before.get(key)) for key in changed)


@dataclass(frozen=True)
class AliasResult:
    """What came of one alias."""

    statement: AliasStatement
    outcome: AliasOutcome
    held: int | None = None
    """The version that holds it; of one that moved, the one before."""
    at: datetime | None = None
    """When it came to the version that is stated; None: it has not, or nobody saw it."""
    entry: int | None = None
    """The number of the ledger entry that says so."""
    reason: str = ""
    """Why it has not moved, in words."""
    decision: Decision | None = None
    """What keeps it back, where a policy does."""
    remedy: str = ""
    """What a person can do about it, where no policy keeps it back; empty: nothing but take it back."""

    @property
    def summary_line(self) -> str:
        """What came of it, in one line."""
        name, to = self.statement.name, version_label(self.statement.version)
        since = f" since {format_utc(self.at)}" if self.at else ""
        entry = f", ledger entry {self.entry}" if self.entry else ""
        match self.outcome:
            case AliasOutcome.MOVED:
                at = f" at {format_utc(self.at)}" if self.at else ""
                return f"{name} {version_label(self.held)} → {to}{at}{entry}"
            case AliasOutcome.HELD:
                return f"{name} is at {to}{since}{entry}, nothing had to move"
            case AliasOutcome.DUE:
                return f"{name} → {to} is being carried out" + (f": {self.reason}" if self.reason else "")
            case AliasOutcome.WAITING:
                return f"{name} waits at {version_label(self.held)} for {to}: {self.reason}"
            case _:
                return f"{name} stays at {version_label(self.held)}, not {to}: {self.reason}"


@dataclass(frozen=True)
class MergeResult:
    """What came of a commit, or of all commits of one pull request."""

    revision: str
    """The last of the commits."""
    is_watched: bool = True
    """Whether it changes a file that Promoter reads."""
    refused: str | None = None
    """Why it is not in force; None: it is."""
    is_superseded: bool = False
    """Whether it is refused, and a later commit is in force."""
    in_force: str | None = None
    """The revision that is in force; None: none is."""
    aliases: tuple[AliasResult, ...] = ()
    """What came of each alias, those first that somebody has to do something about."""
    folder: RepositoryFolder = TOP_FOLDER
    """The folder of the repository that has the files."""

    @property
    def state(self) -> CommitStatusState:
        """The state of the commit status."""
        outcomes = {each.outcome for each in self.aliases}
        if self.refused or AliasOutcome.BLOCKED in outcomes:
            return CommitStatusState.FAILURE
        if outcomes & set(_OPEN_OUTCOMES):
            return CommitStatusState.PENDING
        return CommitStatusState.FAILURE if AliasOutcome.OVERTAKEN in outcomes else CommitStatusState.SUCCESS

    @property
    def is_final(self) -> bool:
        """Whether nothing that happens later changes it."""
        open_outcomes = {AliasOutcome.BLOCKED, *_OPEN_OUTCOMES}
        if self.refused:
            return self.is_superseded
        return not any(each.outcome in open_outcomes for each in self.aliases)

    @property
    def is_under_way(self) -> bool:
        """Whether Promoter has not come to all of it yet, and knows of nothing that keeps it from that."""
        return not self.refused and any(each.outcome is AliasOutcome.DUE and not each.reason for each in self.aliases)

    @property
    def is_untried(self) -> bool:
        """Whether nothing has come of it so far."""
        return not self.refused and bool(self.aliases) and all(each.outcome is AliasOutcome.DUE for each in self.aliases)

    @property
    def open_aliases(self) -> tuple[AliasResult, ...]:
        """Those that have not come to what is stated."""
        return tuple(each for each in self.aliases if each.outcome not in (AliasOutcome.MOVED, AliasOutcome.HELD))

    @property
    def description(self) -> str:
        """The description of the commit status: one line of at most 140 characters."""
        return shorten_to_line(self._describe())

    def _describe(self) -> str:
        if self.refused:
            return f"refused, nothing of it is carried out: {summarize_lines(self.refused)}"
        if not self.is_watched:
            return f"in force; it changes no file that {self.folder.reader} reads"
        if not self.aliases:
            return "in force; it moves no alias"
        left = self.open_aliases
        if left:
            count = f"{len(left)} of {len(self.aliases)} changes not carried out: " if len(self.aliases) > 1 else ""
            return count + left[0].summary_line
        return self.aliases[0].summary_line if len(self.aliases) == 1 else self._describe_many_moves()

    def _describe_many_moves(self) -> str:
        moved = [each for each in self.aliases if each.outcome is AliasOutcome.MOVED and each.at and each.entry]
        if not moved:
            return f"all {len(self.aliases)} aliases were so already, nothing had to move"
        entries = sorted(each.entry for each in moved if each.entry)
        last = max(each.at for each in moved if each.at)
        span = f"ledger entry {entries[0]}" if len(entries) == 1 else f"ledger entries {entries[0]} to {entries[-1]}"
        so = f", {len(self.aliases) - len(moved)} were so already" if len(moved) < len(self.aliases) else ""
        return f"{format_count(len(moved), 'change')} carried out, the last at {format_utc(last)}, {span}{so}"


def join_statements(commits: Iterable[Sequence[AliasStatement]]) -> tuple[AliasStatement, ...]:
    """Return what several commits state together, oldest first: the last word on each alias counts."""
    found: dict[AliasKey, AliasStatement] = {}
    for statements in commits:
        for each in statements:
            before = found[each.key].before if each.key in found else each.before
            found[each.key] = AliasStatement(each.model, each.alias, each.version, before)
    return tuple(each for _, each in sorted(found.items()))


@dataclass(frozen=True)
class AliasCircumstances:
    """What is known of an alias when its result is made."""

    records: Sequence[AuditRecord] = ()
    """The ledger's records of the alias, oldest first."""
    declared: AliasIntent | None = None
    """What the revision in force states of it; None: nothing."""
    compared: ModelComparison | None = None
    """The model, compared after that revision came into force; None: it has not been looked at since."""
    change: Change | None = None
    """What differs of the alias now."""
    held: int | None = None
    """The version that holds the alias now."""
    override: str | None = None
    """The override that stands in for git, in words."""
    trouble: str = ""
    """Why the work on the model fails, in words."""


def build_alias_result(statement: AliasStatement, commits: Collection[str], known: AliasCircumstances) -> AliasResult:
    """Return what came of an alias that one of these commits states."""
    moved = _find_record(statement, commits, known.records, moved=True)
    if moved is not None:
        fact = moved.fact
        return AliasResult(statement, AliasOutcome.MOVED, fact.from_version, fact.at, moved.id)
    kept_back = _find_obstacle(statement, known)
    if kept_back is not None:
        return kept_back
    if known.change is not None and known.change.difference.to_version == statement.version:
        return _build_change_result(statement, commits, known, known.change)
    if known.held == statement.version:
        there = [each for each in known.records if is_alias_move(each)]
        last = there[-1] if there and there[-1].fact.to_version == statement.version else None
        return AliasResult(statement, AliasOutcome.HELD, known.held, last.fact.at if last else None, last.id if last else None)
    left = _explain_missing_change(statement, known)
    if left:
        return AliasResult(statement, AliasOutcome.BLOCKED, known.held, reason=left[0], remedy=left[1])
    return AliasResult(statement, AliasOutcome.DUE, known.held, reason=known.trouble)


def _explain_missing_change(statement: AliasStatement, known: AliasCircumstances) -> tuple[str, str] | None:
    """Return why nothing is planned for an alias that is not where git says, and what helps; None: it is not planned yet."""
    compared = known.compared or ModelComparison()
    if any(each.alias == statement.alias for each in compared.reported):
        helps = f"move it to {version_label(statement.version)} by hand, or set `on_drift: revert`"
        return "somebody moved it outside of Promoter, and `on_drift` says that this is not put back", helps
    if not compared.blocked:
        return None
    # What the registry lacks blocks the whole model, so that no half of a commit is carried out.
    first = compared.blocked[0]
    return f"all of the model waits for {first.alias}: {first.reason}", _LACKING_REMEDY


def _find_obstacle(statement: AliasStatement, known: AliasCircumstances) -> AliasResult | None:
    """Return the result where something other than a policy decides; None: nothing does."""
    declared = known.declared
    if declared is None or declared.version != statement.version:
        stated = "nothing of it" if declared is None else "absent" if declared.absent else version_label(declared.version)
        return AliasResult(statement, AliasOutcome.OVERTAKEN, known.held, reason=f"a later commit states {stated}")
    if known.override and known.held != statement.version:
        reason = f"an override stands in for git: {known.override}"
        helps = "merge or close the pull request of the override, or wait until it ends"
        return AliasResult(statement, AliasOutcome.WAITING, known.held, reason=reason, remedy=helps)
    if known.compared is None:
        return AliasResult(statement, AliasOutcome.DUE, known.held, reason=known.trouble)
    blocked = next((each for each in known.compared.blocked if each.alias in (None, statement.alias)), None)
    if blocked is None:
        return None
    return AliasResult(statement, AliasOutcome.BLOCKED, known.held, reason=blocked.reason, remedy=_LACKING_REMEDY)


def _build_change_result(
    statement: AliasStatement, commits: Collection[str], known: AliasCircumstances, change: Change
) -> AliasResult:
    if change.decision is None or change.is_allowed:
        failed = _find_record(statement, commits, known.records, moved=False)
        reason = known.trouble or (f"the last try failed, {failed.fact.reason}" if failed else "")
        return AliasResult(statement, AliasOutcome.DUE, known.held, reason=reason)
    waits = change.gate_verdict is Verdict.PENDING
    outcome = AliasOutcome.WAITING if waits else AliasOutcome.BLOCKED
    reason = change.decision.summary_line
    return AliasResult(statement, outcome, known.held, reason=reason, decision=change.decision)


def _find_record(
    statement: AliasStatement, commits: Collection[str], records: Sequence[AuditRecord], *, moved: bool
) -> AuditRecord | None:
    """Find the newest record that says that one of the commits moved the alias, or that the move failed."""
    for record in reversed(records):
        fact = record.fact
        ours = fact.kind is RecordKind.CHANGE and fact.revision in commits and fact.cause in STATING_CAUSES
        if ours and fact.to_version == statement.version:
            if moved and is_alias_move(record):
                return record
            if not moved and fact.outcome is ChangeOutcome.FAILED:
                return record
    return None


_ORDER = (AliasOutcome.BLOCKED, AliasOutcome.WAITING, AliasOutcome.DUE, AliasOutcome.OVERTAKEN)


def sort_alias_results(results: Iterable[AliasResult]) -> tuple[AliasResult, ...]:
    """Return them so that those come first that somebody has to do something about."""

    def place(result: AliasResult) -> tuple[int, AliasKey]:
        order = _ORDER.index(result.outcome) if result.outcome in _ORDER else len(_ORDER)
        return order, result.statement.key

    return tuple(sorted(results, key=place))
