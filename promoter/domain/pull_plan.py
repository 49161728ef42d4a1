"""The plan of a pull request, computed from two declarations and two comparisons with the registry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from promoter.domain.audit import AliasKey
from promoter.domain.commit_status import CommitStatusState, shorten_to_line
from promoter.domain.comparison import VersionComparison
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import AliasIntent, Declaration, DesiredState, Hold, ModelIntent
from promoter.domain.errors import Fault
from promoter.domain.fields import format_utc
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.overrides import OverrideEffect
from promoter.domain.plan import BlockedTarget, Change, ModelComparison, Plan, UnmanagedAlias
from promoter.domain.policy_diff import PolicyStep
from promoter.domain.text import format_count, version_label

_SHOWN_FILES = 2


class BroughtChange(NamedTuple):
    """A change that the merge brings, and what the merged files' own policy says of it, where that is another policy."""

    change: Change
    later: Decision | None


@dataclass(frozen=True)
class MergeEffects:
    """What a merge changes, compared with the base alone."""

    changes: tuple[Change, ...] = ()
    """The alias changes."""
    lacking: tuple[BlockedTarget, ...] = ()
    """Models and versions that the registry does not have."""
    settings: tuple[str, ...] = ()
    """Sentences on changed settings."""
    gates: tuple[str, ...] = ()
    """Sentences on changed gates."""
    notes: tuple[str, ...] = ()
    """Other sentences for the reviewer."""
    overrides: tuple[OverrideEffect, ...] = ()
    """The overrides in force on aliases of which it states something new."""
    policies: tuple[PolicyStep, ...] = ()
    """The policies that differ."""
    later: Mapping[AliasKey, Decision] = field(default_factory=dict)
    """What the merged files' own policy decides of a change, where it is not the base's policy."""
    unmanaged: tuple[UnmanagedAlias, ...] = ()
    """The aliases that the base declares, and the merged files state nothing of any more."""
    awaited_allowance: str | None = None
    """What a plan over the mass-change limit waits for, in words that fit into a status; None: for nothing."""

    @property
    def changes_with_later(self) -> tuple[BroughtChange, ...]:
        """Each change, with what the merged files' own policy says of it."""
        return tuple(
            BroughtChange(each, self.later.get((each.difference.model, each.difference.alias))) for each in self.changes
        )

    @property
    def stopped_changes(self) -> tuple[Change, ...]:
        """Return the changes that fail, or that end in an error."""
        return tuple(each for each in self.changes if not each.is_allowed and each.gate_verdict is not Verdict.PENDING)

    @property
    def waiting_changes(self) -> tuple[Change, ...]:
        """Return the changes that are still pending."""
        return tuple(each for each in self.changes if not each.is_allowed and each.gate_verdict is Verdict.PENDING)

    @property
    def audit_only_changes(self) -> tuple[Change, ...]:
        """Return the changes that pass only because of `enforcement: audit`."""
        return tuple(each for each in self.changes if each.decision and each.decision.would_block)


@dataclass(frozen=True)
class PullPlan:
    """The plan of one pull request. With `faults`, `conflicts` or `unjudged` there is no plan to show."""

    base: str
    """The revision of the base branch."""
    head: str
    """The revision of the pull request."""
    touched: frozenset[str] = frozenset()
    """The watched files that the head changes."""
    faults: tuple[Fault, ...] = ()
    """The faults of the merged files; where they conflict, those of the head."""
    conflicts: tuple[str, ...] = ()
    """The files that conflict."""
    unjudged: str | None = None
    """Why the base cannot evaluate it."""
    plan: Plan | None = None
    """The plan of each model that the merge affects, with changes that are due without the merge too."""
    brought: MergeEffects = MergeEffects()
    """What the merge itself brings."""
    comparisons: Mapping[AliasKey, VersionComparison] = field(default_factory=dict)
    """Both versions of changes that the merge brings, compared; of many changes, of those that are worst off."""
    folder: RepositoryFolder = TOP_FOLDER
    """The folder of the repository that has the files."""

    @property
    def shown_plan(self) -> Plan:
        """The plan, or an empty one where there is none."""
        return self.plan or Plan(self.head)

    @property
    def already_due_changes(self) -> tuple[Change, ...]:
        """Return the changes that are due without the pull request. They decide nothing here."""
        mine = {each.difference.identity_key for each in self.brought.changes}
        return tuple(each for each in self.plan.changes if each.difference.identity_key not in mine) if self.plan else ()

    @property
    def refusal_reason(self) -> str | None:
        """Return why nothing would be carried out after the merge, where the pull request is the cause."""
        return self.plan.refused if self.plan and (self.brought.changes or self.brought.unmanaged) else None

    @property
    def is_unusable(self) -> bool:
        """Return whether there is no plan to show."""
        return self.plan is None

    @property
    def status_state(self) -> CommitStatusState:
        """Return the state. Only what the pull request brings counts, and `enforcement: audit` blocks nothing."""
        brought = self.brought
        if self.is_unusable or self.refusal_reason or brought.lacking or brought.stopped_changes:
            return CommitStatusState.FAILURE
        return CommitStatusState.PENDING if brought.awaited_allowance or brought.waiting_changes else CommitStatusState.SUCCESS

    @property
    def status_sentence(self) -> str:
        """Return what the commit status says, on one line, however long."""
        return " ".join(self._describe_status().split())

    @property
    def status_description(self) -> str:
        """Return the description of the commit status: one line of at most 140 characters."""
        return shorten_to_line(self._describe_status())

    def _describe_status(self) -> str:
        if self.is_unusable:
            return self._explain_missing_plan()
        brought = self.brought
        if self.refusal_reason:
            return self.refusal_reason
        if brought.lacking:
            first = brought.lacking[0]
            return f"{_format_blocked_name(first)}: {first.reason}" + _describe_more_blocks(brought.lacking)
        if brought.awaited_allowance and not brought.stopped_changes:
            return brought.awaited_allowance
        if brought.stopped_changes or brought.waiting_changes:
            return self._describe_not_allowed(brought)
        return self._describe_allowed(brought)

    def _explain_missing_plan(self) -> str:
        if self.conflicts:
            return f"conflicts with the base in {_join_file_names(self.conflicts)}: merge the base into it"
        if self.faults:
            return f"{format_count(len(self.faults), 'fault')}: {self.faults[0]}"
        return self.unjudged or "it cannot be planned"

    def _describe_allowed(self, brought: MergeEffects) -> str:
        if brought.overrides and not brought.changes:
            first, more = brought.overrides[0], len(brought.overrides) - 1
            return (f"and {format_count(more, 'other override')}: " if more else "") + first.status_line
        left = [f"{each.model}@{each.alias}" for each in brought.unmanaged]
        leaving = f"; no longer managed: {_join_file_names(tuple(left))}" if left else ""
        if not brought.changes:
            return f"it moves no alias{leaving}" if self.touched else f"it changes no file that {self.folder.reader} reads"
        watched = f", {len(brought.audit_only_changes)} only as their policy just watches" if brought.audit_only_changes else ""
        return f"{format_count(len(brought.changes), 'change')}, all allowed{watched}{leaving}"

    @staticmethod
    def _describe_not_allowed(brought: MergeEffects) -> str:
        which = brought.stopped_changes or brought.waiting_changes
        word = "blocked" if brought.stopped_changes else "waiting"
        first = which[0]
        why = first.decision.summary_line if first.decision else "no decision"
        head = f"{len(which)} of {format_count(len(brought.changes), 'change')} {word}: "
        return f"{head}{_format_alias_name(first)} v{first.difference.to_version}: {why}"


def select_new_changes(changes: Iterable[Change], base: Iterable[ModelComparison]) -> tuple[Change, ...]:
    """Return the changes that the base alone would not bring."""
    due = {each.identity_key for part in base for each in part.differences}
    return tuple(each for each in changes if each.difference.identity_key not in due)


def select_new_blocks(merged: Iterable[ModelComparison], base: Iterable[ModelComparison]) -> tuple[BlockedTarget, ...]:
    """Return the blocked targets that the base alone does not have."""
    known: Collection[BlockedTarget] = {each for part in base for each in part.blocked}
    return tuple(each for part in merged for each in part.blocked if each not in known)


def _format_alias_name(change: Change) -> str:
    return f"{change.difference.model}@{change.difference.alias}"


def _format_blocked_name(blocked: BlockedTarget) -> str:
    return f"{blocked.model}@{blocked.alias}" if blocked.alias else blocked.model


def _join_file_names(paths: tuple[str, ...]) -> str:
    rest = len(paths) - _SHOWN_FILES
    return ", ".join(paths[:_SHOWN_FILES]) + (f" and {rest} more" if rest > 0 else "")


def _describe_more_blocks(found: tuple[BlockedTarget, ...]) -> str:
    return f"; and {len(found) - 1} more" if len(found) > 1 else ""


@dataclass(frozen=True)
class BaseGatedState(DesiredState):
    """The desired state after the merge, with the gates of the base.

    Where the base names no policy for an alias, a policy that the pull request names counts if the base has it: a stricter gate
    weakens nothing.
    """

    base: DesiredState
    """The desired state of the base."""
    known: frozenset[str]
    """The policies that the base has."""

    @classmethod
    def from_merge(cls, merged: DesiredState, base: Declaration) -> BaseGatedState:
        """Build the state from the merged files and the base."""
        known = frozenset(base.policies)
        listed = {name: _apply_base_gates(intent, base.desired, known) for name, intent in merged.listed.items()}
        return cls(merged.document, listed, base.desired, known)

    def find_model_intent(self, name: str) -> ModelIntent | None:
        """Return what the merged files state for the model, with the base's policies."""
        found = super().find_model_intent(name)
        return _apply_base_gates(found, self.base, self.known) if found and name not in self.listed else found


def build_gated_declaration(merged: Declaration, base: Declaration, revision: str) -> Declaration:
    """Return what a pull request is evaluated by: the merged desired state with the base's policies and approvers."""
    return Declaration(revision, BaseGatedState.from_merge(merged.desired, base), base.policies)


def _apply_base_gates(intent: ModelIntent, base: DesiredState, known: Collection[str]) -> ModelIntent:
    was = base.find_model_intent(intent.name)
    aliases = {}
    for name, alias in intent.aliases.items():
        policy = _find_alias_policy(was, name) or (alias.policy if alias.policy in known else None)
        aliases[name] = alias if policy == alias.policy else replace(alias, policy=policy)
    return replace(intent, aliases=aliases)


def _find_alias_policy(intent: ModelIntent | None, alias: str) -> str | None:
    declared = intent.aliases.get(alias) if intent else None
    return declared.policy if declared else None


def describe_gate_changes(base: Declaration, merged: Declaration) -> tuple[str, ...]:
    """Return a sentence for each alias that has another gate after the merge, and which gate counts until then."""
    found = []
    for name in sorted(merged.desired.listed):
        was = base.desired.find_model_intent(name)
        for alias, declared in sorted(merged.desired.listed[name].aliases.items()):
            before, after = _find_alias_policy(was, alias), declared.policy
            if before != after and not declared.absent:
                found.append(f"{name}@{alias}: {_describe_gate_change(before, after, base)}")
    return tuple(found)


def _describe_gate_change(before: str | None, after: str | None, base: Declaration) -> str:
    if before and after:
        return f"policy {after} takes the place of {before} from the next change on; this one is judged by {before}"
    if before:
        return f"no policy gates it from the next change on; this one is judged by {before}"
    if after in base.policies:
        return f"policy {after} gates it, from this change on"
    return f"policy {after} comes with this pull request: it judges from the next change on, and no policy gates this one"


def describe_lost_gates(base: Declaration, here: Declaration, names: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each alias of those models that another policy than the base's gates here, or none."""
    found = []
    for name in sorted(names):
        was, now = base.desired.find_model_intent(name), here.desired.find_model_intent(name)
        for alias, declared in sorted(now.aliases.items() if now else ()):
            before = _find_alias_policy(was, alias)
            if before and before != declared.policy and not declared.absent:
                after = f"policy {declared.policy}" if declared.policy else "no policy"
                found.append(f"{name}@{alias}: policy {before} gates it on the branch, and {after} here")
    return tuple(found)


def describe_setting_changes(base: Declaration, merged: Declaration, moved: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Return a sentence for every other difference in the merged `registry.yaml`, by model and alias.

    `moved` has the aliases whose change is shown elsewhere.
    """
    found = list(_describe_shared_changes(base.desired, merged.desired))
    for name in sorted(base.desired.listed.keys() | merged.desired.listed.keys()):
        before, after = base.desired.find_model_intent(name), merged.desired.find_model_intent(name)
        if before == after:
            continue
        if after is None:
            found.append(f"{name}: no longer managed; its aliases stay as they are")
        else:
            found += _describe_model_changes(before or ModelIntent(name), after, moved, new=before is None)
    return tuple(found)


def _describe_shared_changes(base: DesiredState, merged: DesiredState) -> Iterator[str]:
    before, after = base.document, merged.document
    if before.defaults != after.defaults:
        yield "`defaults` change"
    if before.families != after.families:
        yield "`families` change"
    if before.safety.max_changes != after.safety.max_changes:
        yield f"`safety.max_changes` is {after.safety.max_changes} instead of {before.safety.max_changes}"
    if before.safety.require_signed_commits != after.safety.require_signed_commits:
        wanted = "required from now on" if after.safety.require_signed_commits else "no longer required"
        yield f"signed commits are {wanted}"


def _describe_model_changes(
    before: ModelIntent, after: ModelIntent, moved: Collection[tuple[str, str]], *, new: bool
) -> Iterator[str]:
    name = after.name
    if new:
        yield f"{name}: managed from now on"
    if before.owners != after.owners:
        yield f"{name}: owned by {', '.join(after.owners) or 'nobody'} instead of {', '.join(before.owners) or 'nobody'}"
    if before.prune != after.prune:
        yield f"{name}: aliases that are not listed are {'deleted' if after.prune else 'left alone'} (`prune`)"
    if before.on_drift != after.on_drift:
        yield f"{name}: `on_drift` is {after.on_drift} instead of {before.on_drift}"
    if before.proposals != after.proposals:
        yield f"{name}: settings of proposals change (labels, reviewers, auto-merge or `revise`)"
    for alias in sorted(before.aliases.keys() | after.aliases.keys()):
        was, declared = before.aliases.get(alias), after.aliases.get(alias)
        if declared is None:
            yield f"{name}@{alias}: git says nothing of it any more"
        elif was != declared:
            sentences = _describe_alias_changes(was or AliasIntent(name, alias), declared, silent=(name, alias) in moved)
            yield from (f"{name}@{alias}: {each}" for each in sentences)


def _describe_alias_changes(was: AliasIntent, declared: AliasIntent, *, silent: bool) -> Iterator[str]:
    """Yield a sentence for each difference of one alias; `silent` leaves out the move itself."""
    if not silent and (was.version, was.absent) != (declared.version, declared.absent):
        yield f"git says {_describe_stated_version(declared)} instead of {_describe_stated_version(was)}"
    yield from _describe_hold_change(was.hold, declared.hold)
    if added := declared.quarantine - was.quarantine:
        yield f"{_join_version_numbers(added)} in quarantine"
    if left := was.quarantine - declared.quarantine:
        yield f"{_join_version_numbers(left)} out of quarantine"
    if was.rotation != declared.rotation:
        yield f"rotation is {declared.rotation} instead of {was.rotation}"
    if was.promote_from != declared.promote_from:
        yield f"versions come from {_describe_source(declared)} instead of {_describe_source(was)}"


def _describe_hold_change(was: Hold | None, declared: Hold | None) -> Iterator[str]:
    if declared is None and was is not None:
        yield f"the hold by {was.by} is lifted: {was.reason}"
    elif declared is not None and was != declared:
        until = f" until {format_utc(declared.until)}" if declared.until else ""
        yield f"held by {declared.by}{until}: {declared.reason}"


def _describe_stated_version(intent: AliasIntent) -> str:
    return "absent" if intent.absent else version_label(intent.version)


def _join_version_numbers(versions: Collection[int]) -> str:
    return ", ".join(f"v{each}" for each in sorted(versions))


def _describe_source(intent: AliasIntent) -> str:
    source = intent.promote_from
    if source is None:
        return "this model's own"
    where = f" in registry {source.registry}" if source.registry else ""
    return f"{source.model or intent.model}@{source.alias}{where}"
