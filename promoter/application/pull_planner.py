"""The planner of pull requests: what merging one would do, judged by the branch that it is merged into. It writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from promoter.application.allowances import list_requests, weigh_large_plan
from promoter.application.markdown.plan import sort_changes
from promoter.application.planner import Planner
from promoter.application.ports import (
    Clock,
    DeclarationDocuments,
    GitCommit,
    Ledger,
    MergePreview,
    Registry,
    Sources,
    UnsignedCommit,
    UnusableFile,
)
from promoter.application.proposals.comparison import ComparisonSubject, VersionComparer
from promoter.application.provenance import ChangeProvenance, NoProvenance, OpenProvenance
from promoter.application.replay import PolicyReplayer, ReplayRequest
from promoter.application.revisions import find_restated_models
from promoter.application.snapshots import RegistrySnapshot
from promoter.domain.approvals import ApproverDirectory
from promoter.domain.audit import AliasKey
from promoter.domain.comparison import VersionComparison
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import Declaration, ModelIntent, Override
from promoter.domain.errors import ExternalError, Fault, Faults, PermanentError
from promoter.domain.folder import APPROVERS_FILE, POLICIES_FOLDER, REGISTRY_FILE, RepositoryFolder
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import Unreadable
from promoter.domain.overrides import OverrideEffect, build_override_outlooks
from promoter.domain.plan import AliasDifference, Change, ModelComparison, Plan, UnmanagedAlias, compare_model
from promoter.domain.policy.document import FREEZE_OVERRIDE_TRAILER, Policy
from promoter.domain.policy_diff import (
    AliasEffect,
    PolicyStep,
    PolicyStepKind,
    build_alias_effects,
    build_replay_declaration,
    compare_policies,
    describe_approver_changes,
)
from promoter.domain.proposal import Proposal, RegistryEdit
from promoter.domain.pull_plan import (
    MergeEffects,
    PullPlan,
    build_gated_declaration,
    describe_gate_changes,
    describe_setting_changes,
    select_new_blocks,
    select_new_changes,
)
from promoter.domain.review import ChangeOrigin

log = structlog.get_logger(__name__)


MAX_COMPARISONS = 20
"""The number of changes of which both versions are compared."""
REPLAY_PERIOD = timedelta(days=30)
"""How far back a changed policy is replayed."""
REPLAY_LIFETIME = timedelta(minutes=10)
"""How long a replay is shown again. It does not evaluate what moves in that time."""

_ReplayKey = tuple[str, str | None, str, str | None]
"""The policy and the one before it, by name, and their digests."""


@dataclass(frozen=True)
class _ReplayContext:
    """What else a replay depends on. Contexts are compared, never shown."""

    shared: object
    """The settings that all models share."""
    gated: frozenset[tuple[str, str]]
    """The aliases that the policy gates."""
    approvers: tuple[ApproverDirectory, ApproverDirectory | None]
    """Who may approve, after the merge and before it."""


@dataclass(frozen=True)
class _CachedReplay:
    at: datetime
    """When the replay was made."""
    about: _ReplayContext
    """What it depended on."""
    effects: tuple[AliasEffect, ...]
    """What it found."""


class PolicyReplays:
    """Replays the policies that a pull request changes. A replay that cannot be made is reported, and is no failure."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock) -> None:
        self._replay = PolicyReplayer(registry, ledger, clock)
        self._clock = clock
        self._kept: Mapping[_ReplayKey, _CachedReplay] = {}

    def __call__(self, step: PolicyStep, base: Declaration, merged: Declaration) -> PolicyStep:
        """Return the step with what the changed policy would have done to past versions."""
        if step.step in (PolicyStepKind.REMOVED, PolicyStepKind.RENAMED):
            return step
        key, about, now = _build_replay_key(step, base, merged), _build_replay_context(step, base, merged), self._clock.now()
        kept = self._kept.get(key)
        if kept is None or kept.about != about or now - kept.at >= REPLAY_LIFETIME:
            declaration, other = build_replay_declaration(step, base, merged)
            try:
                report = self._replay(declaration, ReplayRequest(step.name, now - REPLAY_PERIOD, other))
            except ExternalError as error:
                return replace(step, replay_error=error.message)
            kept = _CachedReplay(now, about, build_alias_effects(report))
            fresh = {each: its for each, its in self._kept.items() if now - its.at < REPLAY_LIFETIME}
            self._kept = {**fresh, key: kept}
        return replace(step, replayed=kept.effects)


def _build_replay_key(step: PolicyStep, base: Declaration, merged: Declaration) -> _ReplayKey:
    before = base.policies[step.before].digest if step.before else None
    return step.name, step.before, merged.policies[step.name].digest, before


def _build_replay_context(step: PolicyStep, base: Declaration, merged: Declaration) -> _ReplayContext:
    document = merged.desired.document
    aliases = (alias for intent in merged.desired.listed.values() for alias in intent.aliases.values())
    return _ReplayContext(
        shared=(document.defaults, document.families),
        gated=frozenset((alias.model, alias.alias) for alias in aliases if alias.policy == step.name),
        approvers=(merged.policies[step.name].approvers, base.policies[step.before].approvers if step.before else None),
    )


_EMPTY_REGISTRY = b"version: 1\nmodels: {}\n"
_SIGNERS_FOLDER = "signers/"
_READ_PATHS = (REGISTRY_FILE, APPROVERS_FILE, POLICIES_FOLDER)


def _find_unread_files(sources: Sources, folder: RepositoryFolder) -> Iterator[Fault]:
    """Yield why a pull request that changes no watched file may not pass for one that changes nothing.

    Without the file that states the aliases, or where a link stands for files, what a pull request changes may lie elsewhere.
    """
    if REGISTRY_FILE not in sources:
        fix = "add it, or let PROMOTER_PATH name the folder of the repository that holds it"
        yield Fault(f"neither base nor head has it: {folder} has nothing to plan", folder.locate(REGISTRY_FILE), fix=fix)
    for path, found in sorted(sources.items()):
        if isinstance(found, UnusableFile) and (path in _READ_PATHS or path.startswith(f"{POLICIES_FOLDER}/")):
            yield Fault(found.reason, folder.locate(path), fix=found.fix)


OriginReader = Callable[[frozenset[str]], ChangeOrigin]
"""Asks the forge of the pull request, and of the members of these teams."""


class PullRequestFiles(Protocol):
    """The part of a repository that a plan reads."""

    @property
    def folder(self) -> RepositoryFolder:
        """Return the folder that has the files."""
        ...

    def read_sources(self, revision: str) -> Sources:
        """Return the files of that revision that Promoter reads."""
        ...

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """Return what merging `head` into `base` would give."""
        ...

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """Return the commits that change that path, as in `Repository`."""
        ...

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """Return the commits that change watched files without a valid signature."""
        ...


@dataclass(frozen=True)
class _JudgedSides:
    """The two sides of a plan: the base with its policies, and the files as merged."""

    base: Declaration
    """The base, whose policies decide."""
    merged: Declaration
    """The files as merged."""
    changed: frozenset[str]
    """The watched files that differ."""
    notes: tuple[str, ...] = ()
    """Sentences for the reviewer."""
    branch: str | None = None
    """The branch of the pull request; None where it is not known."""


@dataclass(frozen=True)
class _ComparedBase:
    """The base alone, compared with the registry: what is due without the merge."""

    intents: Mapping[str, ModelIntent]
    """What the base says of each model, with the overrides in force."""
    settled: Mapping[str, Mapping[str, RememberedVersion]]
    """What git and the registry agreed on last, by model and alias."""
    comparisons: Sequence[ModelComparison]
    """The comparison of each model."""


class _SplitProvenance(OpenProvenance):
    """Attributes an alias to the pull request where that changes it, and to earlier commits otherwise."""

    def __init__(self, read_origin: OriginReader, base: Declaration, before: ChangeProvenance) -> None:
        super().__init__(read_origin)
        self._base = base
        self._before = before

    def find_freeze_override(self, difference: AliasDifference, declaration: Declaration) -> str | None:
        if self._is_already_declared(difference):
            return self._before.find_freeze_override(difference, self._base)
        return super().find_freeze_override(difference, declaration)

    def find_change_origin(
        self, difference: AliasDifference, declaration: Declaration, teams: frozenset[str]
    ) -> ChangeOrigin | Unreadable | None:
        if self._is_already_declared(difference):
            return self._before.find_change_origin(difference, self._base, teams)
        return super().find_change_origin(difference, declaration, teams)

    def _is_already_declared(self, difference: AliasDifference) -> bool:
        declared = self._base.desired.find_alias_intent(difference.model, difference.alias)
        return declared is not None and declared.has_declared_target and declared.version == difference.to_version


class PullPlanner:
    """Plans pull requests."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        files: PullRequestFiles,
        documents: DeclarationDocuments,
        clock: Clock,
        provenance: ChangeProvenance | None = None,
    ) -> None:
        """`provenance` tells where changes come from that are due without the pull request.

        A trailer in a pull request overrides no freeze before the merge.
        """
        self._registry = registry
        self._ledger = ledger
        self._files = files
        self._documents = documents
        self._clock = clock
        self._provenance = provenance or NoProvenance()
        self._comparer = VersionComparer(registry)
        self._replay_step = PolicyReplays(registry, ledger, clock)

    @property
    def clock(self) -> Clock:
        """Return the clock by which plans are made."""
        return self._clock

    def __call__(
        self,
        base: str,
        head: str,
        read_origin: OriginReader | None = None,
        instead: Declaration | None = None,
        branch: str | None = None,
    ) -> PullPlan:
        """Return the plan of merging `head` into `base`; `branch` is the pull request's, where it is known.

        `read_origin` is called where a rule asks for reviews; None: no pull request yet. `instead` replaces a base that is
        refused. Raises `TransientError` or `PermanentError` where git, the registry or the ledger does not answer; a replay
        that cannot be made is reported, and is no failure.
        """
        return replace(self._plan_merge(base, head, read_origin, instead, branch), folder=self._files.folder)

    def _plan_merge(
        self, base: str, head: str, read_origin: OriginReader | None, instead: Declaration | None, branch: str | None
    ) -> PullPlan:
        merge = self._files.preview_merge(base, head)
        if not merge.changed:
            faults = tuple(_find_unread_files(merge.sources, self._files.folder))
            return PullPlan(base, head, faults=faults) if faults else PullPlan(base, head, plan=Plan(head))
        try:
            merged = self._documents.parse_declaration(merge.sources, head)
        except Faults as faults:
            return PullPlan(base, head, merge.changed, faults.faults, merge.conflicts)
        if merge.conflicts:
            return PullPlan(base, head, merge.changed, conflicts=merge.conflicts)
        try:
            judge = instead or self._parse_base(base)
        except Faults as faults:
            return PullPlan(base, head, merge.changed, unjudged=f"the base cannot judge, it has faults: {faults.faults[0]}")
        notes = (f"the base is refused: revision {instead.revision} judges, which is in force",) if instead else ()
        return self._build_plan(base, head, _JudgedSides(judge, merged, merge.changed, notes, branch), read_origin)

    def _parse_base(self, revision: str) -> Declaration:
        """Return the base. One without `registry.yaml` declares nothing yet. Raises `Faults`."""
        return self._documents.parse_declaration(
            {REGISTRY_FILE: _EMPTY_REGISTRY, **self._files.read_sources(revision)}, revision
        )

    def _build_plan(self, base: str, head: str, sides: _JudgedSides, read_origin: OriginReader | None) -> PullPlan:
        # What the merge leaves as it is, it brings nothing to: other models are not even read.
        names = find_restated_models(sides.base, sides.merged)
        view = self._plan_registry(build_gated_declaration(sides.merged, sides.base, head), names, sides.base, read_origin)
        due = self._compare_base(sides.base, view, names)
        changes = select_new_changes(view.plan.changes, due.comparisons)
        moved = {_find_change_key(change) for change in changes}
        overrides = tuple(self._find_override_effects(due, view, sides))
        limit = sides.merged.desired.document.safety.max_changes
        requests = list_requests(self._files, base, head) if view.plan.refused else ()
        large = weigh_large_plan(view.plan, requests, sides.base, limit, read_origin)
        brought = MergeEffects(
            changes=changes,
            lacking=select_new_blocks((each.compared for each in view.models.values()), due.comparisons),
            settings=(*describe_setting_changes(sides.base, sides.merged, moved), *_describe_other_files(sides)),
            gates=describe_gate_changes(sides.base, sides.merged),
            notes=(
                *sides.notes,
                *large.notes,
                *(each.description for each in overrides),
                *_note_freezes(changes),
                *self._note_unsigned_commits(base, head, sides),
            ),
            policies=tuple(
                self._replay_step(step, sides.base, sides.merged) for step in compare_policies(sides.base, sides.merged)
            ),
            later=self._decide_after_merge(changes, sides, read_origin),
            unmanaged=_select_declared(view.plan.unmanaged, sides.base),
            awaited_allowance=large.awaited,
            overrides=overrides,
        )
        comparisons = self._compare_versions(changes, view, sides.base)
        return PullPlan(base, head, sides.changed, plan=large.plan, brought=brought, comparisons=comparisons)

    def _compare_versions(
        self, changes: Iterable[Change], view: RegistrySnapshot, base: Declaration
    ) -> Mapping[AliasKey, VersionComparison]:
        """Compare both versions of each change. Runs that decisions have read are not read again.

        Raises `TransientError`. What cannot be read for good is left out: no decision hangs on it.
        """
        shown = [each for each in sort_changes(changes) if each.difference.to_version is not None][:MAX_COMPARISONS]
        subjects = [subject for each in shown if (subject := _build_comparison_subject(each, view, base))]
        evidence = [each.decision.evidence for each in shown if each.decision and each.decision.evidence]
        versions = [found for each in evidence for found in (each.candidate, *each.holders.values()) if found]
        known = {each.run.run_id: each.run for each in versions if each.run}
        try:
            compared = self._comparer(subjects, known) if subjects else []
        except PermanentError as error:
            log.info("versions cannot be compared", why=error.message)
            return {}
        edits = [each.proposal.edit for each in subjects]
        return {(edit.model, edit.alias): each for edit, each in zip(edits, compared, strict=True) if each}

    def _plan_registry(
        self, declaration: Declaration, names: Collection[str] | None, base: Declaration, read_origin: OriginReader | None
    ) -> RegistrySnapshot:
        provenance = _SplitProvenance(read_origin, base, self._provenance) if read_origin else None
        return Planner(self._registry, self._ledger, self._clock, provenance)(declaration, names, base=base)

    def _compare_base(self, base: Declaration, view: RegistrySnapshot, names: Collection[str] | None) -> _ComparedBase:
        """Compare the same models with the base alone. An override of a version that was replaced counts for nothing."""
        overrides: dict[str, list[Override]] = {}
        for each in self._ledger.find_open_overrides(names):
            observed = view.models[each.model].observed if each.model in view.models else None
            if observed is not None and each.is_in_force(view.at) and observed.still_has(each.target):
                overrides.setdefault(each.model, []).append(each)
        stated = ((name, base.desired.find_model_intent(name)) for name in view.models)
        intents = {name: intent.apply_overrides(overrides.get(name, ())) for name, intent in stated if intent is not None}
        settled = self._ledger.read_last_applied(names)
        compared = [compare_model(each, view.models[name].observed, settled.get(name, {})) for name, each in intents.items()]
        return _ComparedBase(intents, settled, compared)

    def _find_override_effects(
        self, due: _ComparedBase, view: RegistrySnapshot, sides: _JudgedSides
    ) -> Iterator[OverrideEffect]:
        """Yield the overrides in force on the base whose aliases the merge states something new of."""
        for name, intent in sorted(due.intents.items()):
            after = sides.merged.desired.find_model_intent(name)
            outlooks = build_override_outlooks(intent, view.models[name].observed, due.settled.get(name, {}))
            for alias, outlook in sorted(outlooks.items()):
                stated = after.aliases.get(alias) if after else None
                if stated != outlook.declared:
                    own = sides.branch == self._files.folder.build_branch_name(name, alias)
                    yield OverrideEffect(outlook, stated, own)

    def _decide_after_merge(
        self, changes: Collection[Change], sides: _JudgedSides, read_origin: OriginReader | None
    ) -> Mapping[AliasKey, Decision]:
        """Return the decision of the merged files' own policy for each change whose gate differs there."""
        regated = {_find_change_key(change) for change in changes if _is_gate_changed(change, sides)}
        if not regated:
            return {}
        view = self._plan_registry(sides.merged, {model for model, _ in regated}, sides.base, read_origin)
        found = {_find_change_key(change): change.decision for change in view.plan.changes}
        return {place: decision for place in sorted(regated) if (decision := found.get(place))}

    def _note_unsigned_commits(self, base: str, head: str, sides: _JudgedSides) -> Iterator[str]:
        """Yield a note for each unsigned commit. It is no failure: a squash replaces the commits."""
        if sides.base.desired.document.safety.require_signed_commits:
            for each in self._files.find_unsigned_commits(base, head):
                yield f"commit {each.revision[:10]} by {each.author} is refused if it is merged as it is: {each.why}"


def _build_comparison_subject(change: Change, view: RegistrySnapshot, base: Declaration) -> ComparisonSubject | None:
    what, policy = change.difference, change.difference.intent.policy if change.difference.intent else None
    observed = view.models[what.model].observed
    if observed is None:
        return None
    proposal = Proposal(RegistryEdit(what.model, what.alias, what.to_version), what.from_version, None)
    return ComparisonSubject(proposal, base.policies.get(policy or ""), observed, compares_files=False)


def _select_declared(unmanaged: Iterable[UnmanagedAlias], base: Declaration) -> tuple[UnmanagedAlias, ...]:
    """Select those that the base declares: it is the merge that leaves them."""
    return tuple(each for each in unmanaged if base.desired.find_alias_intent(each.model, each.alias) is not None)


def _find_change_key(change: Change) -> AliasKey:
    return change.difference.model, change.difference.alias


def _is_gate_changed(change: Change, sides: _JudgedSides) -> bool:
    what = change.difference
    declared = sides.merged.desired.find_alias_intent(what.model, what.alias)
    after = sides.merged.policies.get(declared.policy or "") if declared else None
    before = sides.base.policies.get(what.intent.policy or "") if what.intent else None
    return after is not None and (before is None or _identify_policy(before) != _identify_policy(after))


def _identify_policy(policy: Policy) -> tuple[object, ...]:
    return policy.name, policy.digest, policy.approvers


def _describe_other_files(sides: _JudgedSides) -> Iterator[str]:
    """Yield a sentence for each other watched file that changes."""
    yield from describe_approver_changes(sides.base, sides.merged)
    for path in sorted(sides.changed):
        if path.startswith(_SIGNERS_FOLDER):
            yield f"{path} changes; commits are checked by the base's keys until the merge"


def _note_freezes(changes: Collection[Change]) -> Iterator[str]:
    for change in changes:
        findings = change.decision.findings if change.decision else ()
        if any(each.verdict is Verdict.PENDING and each.rule.startswith("freeze ") for each in findings):
            name = "@".join(_find_change_key(change))
            trailer = f"`{FREEZE_OVERRIDE_TRAILER}: REASON`"
            yield f"{name}: {trailer}, in the message of the commit that merges it, ends the freeze for it then"
