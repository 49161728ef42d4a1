"""Plan a pull request: the merged files against the registry, judged by the base. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from promoter.application.ports import Clock, Documents, Ledger, Merge, Registry, Sources, Unsigned
from promoter.application.provenance import NoProvenance, OpenProvenance, Provenance
from promoter.application.pulls.replays import Replays
from promoter.application.revisions import restated
from promoter.application.survey import Surveyor, View
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults
from promoter.domain.limits import OVERRIDE
from promoter.domain.moment import in_utc
from promoter.domain.observed import Unread
from promoter.domain.plan import Change, Compared, Difference, Plan, compare
from promoter.domain.policy import Policy
from promoter.domain.proposal import REGISTRY_FILE
from promoter.domain.pulls.desired import gate_notes, judged_by_base, settings_told
from promoter.domain.pulls.plan import Brought, Place, PullPlan, brought_changes, brought_lacks
from promoter.domain.pulls.policies import approvers_told, policy_steps
from promoter.domain.review import Origin
from promoter.domain.verdict import Decision, Verdict

_NOTHING = b"version: 1\nmodels: {}\n"
_SIGNERS = "signers/"


Asked = Callable[[frozenset[str]], Origin]
"""Asks the forge of the pull request, and of the members of these teams."""


class Files(Protocol):
    """The part of a repository that a plan reads."""

    def read(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads."""
        ...

    def merge(self, base: str, head: str) -> Merge:
        """What merging `head` into `base` would give."""
        ...

    def unsigned(self, base: str | None, head: str) -> Sequence[Unsigned]:
        """The commits that change the watched files without a signature that holds."""
        ...


@dataclass(frozen=True)
class _Sides:
    """What judges, and what is judged: `base` with its policies, `merged` as its files say."""

    base: Declaration
    merged: Declaration
    changed: frozenset[str]
    notes: tuple[str, ...] = ()


class _Parted(OpenProvenance):
    """What the pull request says anew of an alias, it brings; what the base says as well was brought before."""

    def __init__(self, asked: Asked, base: Declaration, before: Provenance) -> None:
        super().__init__(asked)
        self._base = base
        self._before = before

    def freeze_override(self, difference: Difference, declaration: Declaration) -> str | None:
        if self._said(difference):
            return self._before.freeze_override(difference, self._base)
        return super().freeze_override(difference, declaration)

    def origin(self, difference: Difference, declaration: Declaration, teams: frozenset[str]) -> Origin | Unread | None:
        if self._said(difference):
            return self._before.origin(difference, self._base, teams)
        return super().origin(difference, declaration, teams)

    def _said(self, difference: Difference) -> bool:
        intent = self._base.desired.intent(difference.model)
        said = intent.aliases.get(difference.alias) if intent else None
        return said is not None and said.stated and said.version == difference.to_version


class PullPlanner:
    """Makes plans of pull requests."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        files: Files,
        documents: Documents,
        clock: Clock,
        provenance: Provenance | None = None,
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
        self._replays = Replays(registry, ledger, clock)

    @property
    def clock(self) -> Clock:
        """What its plans are of."""
        return self._clock

    def __call__(self, base: str, head: str, asked: Asked | None = None, instead: Declaration | None = None) -> PullPlan:
        """The plan of merging `head` into `base`. `asked` is called where a rule asks for reviews; None: no pull request yet.

        `instead` judges in the place of a base that is refused. Raises `Unavailable` or `Refused` where git, the registry or
        the ledger does not answer; a replay that cannot be made is told, and no failure.
        """
        merge = self._files.merge(base, head)
        if not merge.changed:
            return PullPlan(base, head, plan=Plan(head))
        try:
            merged = self._documents.parse(merge.sources, head)
        except Faults as faults:
            return PullPlan(base, head, merge.changed, faults.faults, merge.conflicts)
        if merge.conflicts:
            return PullPlan(base, head, merge.changed, conflicts=merge.conflicts)
        try:
            judge = instead or self._base(base)
        except Faults as faults:
            return PullPlan(base, head, merge.changed, unjudged=f"the base cannot judge, it has faults: {faults.faults[0]}")
        notes = (f"the base is refused: revision {instead.revision} judges, which is in force",) if instead else ()
        return self._plan(base, head, _Sides(judge, merged, merge.changed, notes), asked)

    def _base(self, revision: str) -> Declaration:
        """A base without `registry.yaml` is one that nothing is declared at yet. Raises `Faults`."""
        return self._documents.parse({REGISTRY_FILE: _NOTHING, **self._files.read(revision)}, revision)

    def _plan(self, base: str, head: str, sides: _Sides, asked: Asked | None) -> PullPlan:
        # What the merge leaves as it is, it brings nothing to: other models are not even read.
        names = restated(sides.base, sides.merged)
        view = self._survey(judged_by_base(sides.merged, sides.base, head), names, sides.base, asked)
        compared = self._compared(sides.base, view, names)
        changes = brought_changes(view.plan.changes, compared)
        moved = {_place(change) for change in changes}
        brought = Brought(
            changes=changes,
            lacking=brought_lacks((each.compared for each in view.models.values()), compared),
            settings=(*settings_told(sides.base, sides.merged, moved), *_others(sides)),
            gates=gate_notes(sides.base, sides.merged),
            notes=(*sides.notes, *_overridden(view, sides), *_freezes(changes), *self._unsigned(base, head, sides)),
            policies=tuple(self._replays(step, sides.base, sides.merged) for step in policy_steps(sides.base, sides.merged)),
            later=self._later(changes, sides, asked),
        )
        return PullPlan(base, head, sides.changed, plan=view.plan, brought=brought)

    def _survey(self, declaration: Declaration, names: Collection[str] | None, base: Declaration, asked: Asked | None) -> View:
        provenance = _Parted(asked, base, self._provenance) if asked else None
        return Surveyor(self._registry, self._ledger, self._clock, provenance)(declaration, names)

    def _compared(self, base: Declaration, view: View, names: Collection[str] | None) -> list[Compared]:
        """The same models under what the base says, with the overrides that stand there too."""
        settled = self._ledger.settled(names)
        overrides = [each for each in self._ledger.overrides(names) if each.in_force(view.at)]
        found = []
        for name, model in view.models.items():
            intent = base.desired.intent(name)
            if intent is not None:
                said = intent.overridden(each for each in overrides if each.model == name)
                found.append(compare(said, model.observed, settled.get(name, {})))
        return found

    def _later(self, changes: Collection[Change], sides: _Sides, asked: Asked | None) -> Mapping[Place, Decision]:
        """What the merged files' own policy says of each change whose gate is another there."""
        regated = {_place(change) for change in changes if _regated(change, sides)}
        if not regated:
            return {}
        view = self._survey(sides.merged, {model for model, _ in regated}, sides.base, asked)
        found = {_place(change): change.decision for change in view.plan.changes}
        return {place: decision for place in sorted(regated) if (decision := found.get(place))}

    def _unsigned(self, base: str, head: str, sides: _Sides) -> Iterator[str]:
        """No failure: where it is squashed, the commits of the pull request are not those that are signed."""
        if sides.base.desired.document.safety.require_signed_commits:
            for each in self._files.unsigned(base, head):
                yield f"commit {each.revision[:10]} by {each.author} is refused if it is merged as it is: {each.why}"


def _place(change: Change) -> Place:
    return change.difference.model, change.difference.alias


def _regated(change: Change, sides: _Sides) -> bool:
    what = change.difference
    merged = sides.merged.desired.intent(what.model)
    said = merged.aliases.get(what.alias) if merged else None
    after = sides.merged.policies.get(said.policy or "") if said else None
    before = sides.base.policies.get(what.intent.policy or "") if what.intent else None
    return after is not None and (before is None or _says(before) != _says(after))


def _says(policy: Policy) -> tuple[object, ...]:
    return policy.name, policy.digest, policy.approvers


def _others(sides: _Sides) -> Iterator[str]:
    """What else changes among the watched files."""
    yield from approvers_told(sides.base, sides.merged)
    for path in sorted(sides.changed):
        if path.startswith(_SIGNERS):
            yield f"{path} changes; commits are checked by the base's keys until the merge"


def _overridden(view: View, sides: _Sides) -> Iterator[str]:
    """Where it says something new of an alias that an override holds: that is not judged before git's word counts again."""
    for name, model in view.models.items():
        before, after = sides.base.desired.intent(name), sides.merged.desired.intent(name)
        for override in model.overrides:
            was = before.aliases.get(override.alias) if before else None
            if after is not None and after.aliases.get(override.alias) != was:
                stands = f"v{override.version} until {in_utc(override.until)}, by {override.by}"
                yield f"{name}@{override.alias}: an override stands in for git's word ({stands}); it is judged after that"


def _freezes(changes: Collection[Change]) -> Iterator[str]:
    for change in changes:
        findings = change.decision.findings if change.decision else ()
        if any(each.verdict is Verdict.PENDING and each.rule.startswith("freeze ") for each in findings):
            name = "@".join(_place(change))
            yield f"{name}: `{OVERRIDE}: REASON`, in the message of the commit that merges it, ends the freeze for it then"
