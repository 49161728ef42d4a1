"""Plan a pull request: the merged files against the registry, judged by the base. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from promoter.application.ports import Clock, DeclarationDocuments, Ledger, MergePreview, Registry, Sources, UnsignedCommit
from promoter.application.provenance import NoProvenance, OpenProvenance, ChangeProvenance
from promoter.application.pulls.replays import PolicyReplays
from promoter.application.revisions import find_restated_models
from promoter.application.survey import Planner, RegistrySnapshot
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults
from promoter.domain.limits import FREEZE_OVERRIDE_TRAILER
from promoter.domain.moment import format_utc
from promoter.domain.observed import Unreadable
from promoter.domain.plan import Change, ModelComparison, AliasDifference, Plan, compare_model
from promoter.domain.policy import Policy
from promoter.domain.proposal import REGISTRY_FILE
from promoter.domain.pulls.desired import describe_gate_changes, build_gated_declaration, describe_setting_changes
from promoter.domain.pulls.plan import MergeEffects, AliasKey, PullPlan, select_new_changes, select_new_blocks
from promoter.domain.pulls.policies import describe_approver_changes, compare_policies
from promoter.domain.review import ChangeOrigin
from promoter.domain.verdict import Decision, Verdict

_EMPTY_REGISTRY = b"version: 1\nmodels: {}\n"
_SIGNERS_FOLDER = "signers/"


OriginReader = Callable[[frozenset[str]], ChangeOrigin]
"""Asks the forge of the pull request, and of the members of these teams."""


class PullRequestFiles(Protocol):
    """The part of a repository that a plan reads."""

    def read_sources(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads."""
        ...

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """What merging `head` into `base` would give."""
        ...

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """The commits that change the watched files without a signature that holds."""
        ...


@dataclass(frozen=True)
class _JudgedSides:
    """What judges, and what is judged: `base` with its policies, `merged` as its files say."""

    base: Declaration
    merged: Declaration
    changed: frozenset[str]
    notes: tuple[str, ...] = ()


class _SplitProvenance(OpenProvenance):
    """What the pull request says anew of an alias, it brings; what the base says as well was brought before."""

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
        intent = self._base.desired.find_model_intent(difference.model)
        declared = intent.aliases.get(difference.alias) if intent else None
        return declared is not None and declared.has_declared_target and declared.version == difference.to_version


class PullPlanner:
    """Makes plans of pull requests."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        files: PullRequestFiles,
        documents: DeclarationDocuments,
        clock: Clock,
        provenance: ChangeProvenance | None = None,
    ) -> None:
        """Takes the ports that it reads; `provenance` tells where that comes from which is due anyway.

        What a pull request brings goes past no freeze by a trailer before it is merged.
        """
        self._registry = registry
        self._ledger = ledger
        self._files = files
        self._documents = documents
        self._clock = clock
        self._provenance = provenance or NoProvenance()
        self._replay_step = PolicyReplays(registry, ledger, clock)

    @property
    def clock(self) -> Clock:
        """What its plans are of."""
        return self._clock

    def __call__(
        self, base: str, head: str, read_origin: OriginReader | None = None, instead: Declaration | None = None
    ) -> PullPlan:
        """The plan of merging `head` into `base`. `asked` is called where a rule asks for reviews; None: no pull request yet.

        `instead` judges in the place of a base that is refused. Raises `TransientError` or `PermanentError` where git, the registry or
        the ledger does not answer; a replay that cannot be made is told, and no failure.
        """
        merge = self._files.preview_merge(base, head)
        if not merge.changed:
            return PullPlan(base, head, plan=Plan(head))
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
        return self._build_plan(base, head, _JudgedSides(judge, merged, merge.changed, notes), read_origin)

    def _parse_base(self, revision: str) -> Declaration:
        """A base without `registry.yaml` is one that nothing is declared at yet. Raises `Faults`."""
        return self._documents.parse_declaration(
            {REGISTRY_FILE: _EMPTY_REGISTRY, **self._files.read_sources(revision)}, revision
        )

    def _build_plan(self, base: str, head: str, sides: _JudgedSides, read_origin: OriginReader | None) -> PullPlan:
        # What the merge leaves as it is, it brings nothing to: other models are not even read.
        names = find_restated_models(sides.base, sides.merged)
        view = self._plan_registry(build_gated_declaration(sides.merged, sides.base, head), names, sides.base, read_origin)
        compared = self._compare_base(sides.base, view, names)
        changes = select_new_changes(view.plan.changes, compared)
        moved = {_find_change_key(change) for change in changes}
        brought = MergeEffects(
            changes=changes,
            lacking=select_new_blocks((each.compared for each in view.models.values()), compared),
            settings=(*describe_setting_changes(sides.base, sides.merged, moved), *_describe_other_files(sides)),
            gates=describe_gate_changes(sides.base, sides.merged),
            notes=(
                *sides.notes,
                *_note_overrides(view, sides),
                *_note_freezes(changes),
                *self._note_unsigned_commits(base, head, sides),
            ),
            policies=tuple(
                self._replay_step(step, sides.base, sides.merged) for step in compare_policies(sides.base, sides.merged)
            ),
            later=self._decide_after_merge(changes, sides, read_origin),
        )
        return PullPlan(base, head, sides.changed, plan=view.plan, brought=brought)

    def _plan_registry(
        self, declaration: Declaration, names: Collection[str] | None, base: Declaration, read_origin: OriginReader | None
    ) -> RegistrySnapshot:
        provenance = _SplitProvenance(read_origin, base, self._provenance) if read_origin else None
        return Planner(self._registry, self._ledger, self._clock, provenance)(declaration, names)

    def _compare_base(self, base: Declaration, view: RegistrySnapshot, names: Collection[str] | None) -> list[ModelComparison]:
        """The same models under what the base says, with the overrides that stand there too."""
        settled = self._ledger.read_last_applied(names)
        overrides = [each for each in self._ledger.find_open_overrides(names) if each.is_in_force(view.at)]
        found = []
        for name, model in view.models.items():
            intent = base.desired.find_model_intent(name)
            if intent is not None:
                overridden = intent.apply_overrides(each for each in overrides if each.model == name)
                found.append(compare_model(overridden, model.observed, settled.get(name, {})))
        return found

    def _decide_after_merge(
        self, changes: Collection[Change], sides: _JudgedSides, read_origin: OriginReader | None
    ) -> Mapping[AliasKey, Decision]:
        """What the merged files' own policy says of each change whose gate is another there."""
        regated = {_find_change_key(change) for change in changes if _is_gate_changed(change, sides)}
        if not regated:
            return {}
        view = self._plan_registry(sides.merged, {model for model, _ in regated}, sides.base, read_origin)
        found = {_find_change_key(change): change.decision for change in view.plan.changes}
        return {place: decision for place in sorted(regated) if (decision := found.get(place))}

    def _note_unsigned_commits(self, base: str, head: str, sides: _JudgedSides) -> Iterator[str]:
        """No failure: where it is squashed, the commits of the pull request are not those that are signed."""
        if sides.base.desired.document.safety.require_signed_commits:
            for each in self._files.find_unsigned_commits(base, head):
                yield f"commit {each.revision[:10]} by {each.author} is refused if it is merged as it is: {each.why}"


def _find_change_key(change: Change) -> AliasKey:
    return change.difference.model, change.difference.alias


def _is_gate_changed(change: Change, sides: _JudgedSides) -> bool:
    what = change.difference
    merged = sides.merged.desired.find_model_intent(what.model)
    declared = merged.aliases.get(what.alias) if merged else None
    after = sides.merged.policies.get(declared.policy or "") if declared else None
    before = sides.base.policies.get(what.intent.policy or "") if what.intent else None
    return after is not None and (before is None or _identify_policy(before) != _identify_policy(after))


def _identify_policy(policy: Policy) -> tuple[object, ...]:
    return policy.name, policy.digest, policy.approvers


def _describe_other_files(sides: _JudgedSides) -> Iterator[str]:
    """What else changes among the watched files."""
    yield from describe_approver_changes(sides.base, sides.merged)
    for path in sorted(sides.changed):
        if path.startswith(_SIGNERS_FOLDER):
            yield f"{path} changes; commits are checked by the base's keys until the merge"


def _note_overrides(view: RegistrySnapshot, sides: _JudgedSides) -> Iterator[str]:
    """Where it says something new of an alias that an override holds: that is not judged before git's word counts again."""
    for name, model in view.models.items():
        before, after = sides.base.desired.find_model_intent(name), sides.merged.desired.find_model_intent(name)
        for override in model.active_overrides:
            was = before.aliases.get(override.alias) if before else None
            if after is not None and after.aliases.get(override.alias) != was:
                stands = f"v{override.version} until {format_utc(override.until)}, by {override.by}"
                yield f"{name}@{override.alias}: an override stands in for git's word ({stands}); it is judged after that"


def _note_freezes(changes: Collection[Change]) -> Iterator[str]:
    for change in changes:
        findings = change.decision.findings if change.decision else ()
        if any(each.verdict is Verdict.PENDING and each.rule.startswith("freeze ") for each in findings):
            name = "@".join(_find_change_key(change))
            yield f"{name}: `{FREEZE_OVERRIDE_TRAILER}: REASON`, in the message of the commit that merges it, ends the freeze for it then"
