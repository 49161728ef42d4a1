"""Rollback: an earlier version back by a person's word, under a hold, with what it replaces in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from promoter.application.look import Looker
from promoter.application.ports import Clock, Ledger, Locks, Registry
from promoter.application.proposals.into_git import ATTEMPTS, IntoGit, Opener
from promoter.application.revisions import Revisions
from promoter.domain.audit import Kind, NewRecord
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent
from promoter.domain.faults import OutsideError, Overtaken, Protected, Refused, Unavailable
from promoter.domain.observed import ObservedModel
from promoter.domain.override import Override
from promoter.domain.plan import Cause
from promoter.domain.proposal import REGISTRY_FILE, Proposal
from promoter.domain.readiness import ready
from promoter.domain.rollback import Asked, Done, Target, checked, latest_good, named, put_back

log = structlog.get_logger(__name__)

TRIGGER = "rollback"


@dataclass(frozen=True)
class _Draft:
    """What is to be done, as things stand. `standing` is an override that is in force already."""

    declaration: Declaration
    said: AliasIntent
    held: int | None
    target: Target
    proposal: Proposal
    standing: Override | None

    @property
    def nothing(self) -> bool:
        return self.standing is None and self.said.version == self.held == self.target.version


@dataclass(frozen=True)
class Rooms:
    """What a rollback works with."""

    registry: Registry
    ledger: Ledger
    clock: Clock
    locks: Locks
    revisions: Revisions
    looker: Looker
    into_git: IntoGit
    open: Opener


class Rollback:
    """One person's rollback of one alias. To ask for it again goes on where it stopped, and repeats nothing."""

    def __init__(self, rooms: Rooms) -> None:
        """Takes what it works with."""
        self._rooms = rooms

    def __call__(self, asked: Asked) -> Done:
        """Bring it about as far as git, the forge and the registry let it. Raises where nothing was done at all."""
        asked = checked(asked)
        for _ in range(ATTEMPTS):
            declaration, trouble = self._declaration(asked)
            draft = self._draft(asked, declaration, reachable=trouble is None)
            result = self._begin(asked, draft)
            if draft.nothing:
                if asked.now:  # an earlier run may have been stopped between its write and the record of it
                    self._flip(asked, result)
                result.told.insert(0, f"Nothing to do: git says v{draft.held} for {asked.name}, and the registry has it.")
                return result
            if trouble:
                return self._past_git(asked, draft, result, trouble)
            try:
                after = self._rooms.into_git.commit(draft.proposal, declaration)
            except Overtaken:
                continue
            except OutsideError as error:
                if asked.now or isinstance(error, Protected):
                    return self._past_git(asked, draft, result, error)
                raise
            return self._committed(asked, draft, after, result)
        raise Unavailable("git", "others kept pushing to the branch", "run it again")

    def _declaration(self, asked: Asked) -> tuple[Declaration, OutsideError | None]:
        """What git says, and why it cannot be written to. Raises where that matters, and `now` was not asked for."""
        revisions = self._rooms.revisions
        trouble: OutsideError | None = None
        try:
            revisions.refresh()
        except OutsideError as error:
            trouble = error
        if trouble is None and revisions.refused:
            fix = "mend it with a commit; or give --now to move the alias before"
            trouble = Refused(REGISTRY_FILE, f"the branch's head cannot be used: {revisions.refused}", fix)
        declaration = revisions.in_force
        if declaration is None and trouble is None:
            raise Refused("git", "no revision is in force")
        if declaration is None or (trouble and not asked.now):
            raise trouble or Refused("git", "no revision is in force")
        return declaration, trouble

    def _draft(self, asked: Asked, declaration: Declaration, *, reachable: bool) -> _Draft:
        rooms, said = self._rooms, intent_of(declaration, asked.model, asked.alias)
        if said.absent:
            raise Refused(REGISTRY_FILE, f"git says that {asked.name} must not exist", "give it a version there first")
        observed = rooms.registry.observe({asked.model}).get(asked.model)
        if observed is None:
            raise Refused("MLflow", f"there is no registered model `{asked.model}`")
        standing = standing_override(rooms.ledger, rooms.clock, said)
        held = observed.aliases.get(asked.alias)
        waiting = rooms.into_git.waiting(declaration, asked.model, asked.alias) if reachable and asked.to is None else None
        target = _going_on(asked, standing, said, waiting) or self._target(asked, _bad_ones(said, standing), observed)
        same = standing if standing and standing.version == target.version else None
        bad = same.replaces if same else held
        proposal = put_back(said, bad, target.version, asked.reason, asked.by)
        return _Draft(declaration, said, held, target, proposal, same)

    def _target(self, asked: Asked, said: AliasIntent, observed: ObservedModel) -> Target:
        rooms = self._rooms
        if asked.to is not None:
            return named(said, observed, asked.to, lambda version: ready(rooms.registry.readiness(asked.model, version)))
        moves = rooms.ledger.moves({(asked.model, asked.alias)}).get((asked.model, asked.alias), ())
        return latest_good(said, observed, moves, lambda version: ready(rooms.registry.readiness(asked.model, version)))

    def _begin(self, asked: Asked, draft: _Draft) -> Done:
        target, version = draft.target, draft.target.version
        result = Done(asked.model, asked.alias, draft.held, version)
        if draft.nothing:
            return result
        holder = f"v{draft.held} holds" if draft.held else "Nobody holds"
        returns = f"v{version} is to hold it" if draft.held == version else f"v{version} returns"
        result.told.append(f"{holder} {asked.name}; {returns}: {target.why}.")
        result.told += [f"Passed over: {each}." for each in target.passed_over]
        policy, held = draft.said.policy, self._rooms.ledger.held_before(asked.model, asked.alias, version)
        if policy and not held:
            unless = ", unless an override brings it, which asks for readiness only" if asked.now else ""
            result.told.append(f"v{version} never held {asked.alias}: policy `{policy}` gates it{unless}.")
        return result

    def _committed(self, asked: Asked, draft: _Draft, after: Declaration, result: Done) -> Done:
        result.path, result.revision = "commit", after.revision
        how = "Git says so already, at" if after is draft.declaration else "Committed as"
        result.told.append(f"{how} {(after.revision or '')[:10]}: {_under_hold(draft)}.")
        if asked.now:
            self._flip(asked, result)
        else:
            result.told.append("The daemon moves the alias when it sees the commit; with --now it moves at once.")
        result.told.append(_undo(asked))
        return result

    def _past_git(self, asked: Asked, draft: _Draft, result: Done, trouble: OutsideError) -> Done:
        """The branch takes no commit, or git is not to be had: an override first, if it is to be now; then a pull request."""
        result.path = "pull-request"
        if asked.now and draft.said.version != draft.target.version:
            result.path, result.override = "override", self._override(asked, draft)
            result.told.append(f"An override stands in for git (record {result.override.id}): {result.override.told}.")
        if asked.now:
            self._flip(asked, result)
        if isinstance(trouble, Protected):
            self._propose(asked, draft, result)
        else:
            result.fail(f"Git has no branch of it yet: {trouble}.")
            result.told.append("The daemon makes the branch and the pull request once git can be used; or run this again.")
        if result.override:
            ends = f"It ends when its pull request is merged or closed, at the latest {_moment(result.override)}"
            result.told.append(f"{ends}. Unless that was a merge, what git says now counts again: {_stated(draft.said)}.")
        result.told.append(_undo(asked))
        return result

    def _propose(self, asked: Asked, draft: _Draft, result: Done) -> None:
        try:
            opened = self._rooms.open(draft.proposal)
        except OutsideError as error:
            if not asked.now:
                raise
            result.fail(f"The branch could not be pushed: {error}. Run this again, or let the daemon do it.")
            return
        result.revision, result.pull_request = opened.revision, opened.url
        if opened.revision is None:
            result.told.append("Git says all of it by now: there is nothing to propose.")
            return
        if opened.url:
            result.told.append(f"The branch takes no pushes. Merge {opened.url}: {_under_hold(draft)}.")
        if opened.told:
            result.told.append(f"The watched branch takes no pushes. {draft.proposal.branch} is pushed: {opened.told}.")
        result.done = result.done and opened.done

    def _override(self, asked: Asked, draft: _Draft) -> Override:
        """The one that stands, or a new one; under the model's lock, so that two who ask at once make one."""
        rooms, version = self._rooms, draft.target.version
        with rooms.locks.hold(asked.model):
            standing = standing_override(rooms.ledger, rooms.clock, draft.said)
            if standing and standing.version == version:
                return standing
            at = rooms.clock.now()
            record = NewRecord(
                at=at,
                kind=Kind.OVERRIDE,
                model=asked.model,
                alias=asked.alias,
                from_version=draft.held,
                to_version=version,
                revision=draft.declaration.revision,
                actor=asked.by,
                trigger=TRIGGER,
                reason=asked.reason,
                cause=Cause.OVERRIDE.value,
                until=at + asked.lasts,
            )
            number = rooms.ledger.override(record)
        log.info("override recorded", model=asked.model, alias=asked.alias, version=version, by=asked.by)
        return Override(number, at, asked.model, asked.alias, version, draft.held, asked.reason, asked.by, at + asked.lasts)

    def _flip(self, asked: Asked, result: Done) -> None:
        """One look at the model, now. What it cannot do, the daemon does with its next one."""
        try:
            view = self._rooms.looker.one(asked.model, TRIGGER, rotate=False)
        except OutsideError as error:
            result.fail(f"The registry does not have v{result.to_version} yet: {error}. The daemon goes on with it.")
            return
        model = view.models.get(asked.model) if view else None
        held = model.observed.aliases.get(asked.alias) if model and model.observed else None
        if held == result.to_version:
            result.told += [] if held == result.from_version else [f"The registry has v{held} now."]
            return
        blocked = [each.reason for each in view.plan.blocked if each.alias in (None, asked.alias)] if view else []
        why = "; ".join(blocked) or "what git says now leaves the alias where it is"
        result.fail(f"The registry still has {f'v{held}' if held else 'nothing'} there: {why}.")


def _going_on(asked: Asked, standing: Override | None, said: AliasIntent, waiting: AliasIntent | None) -> Target | None:
    """The version of a rollback that this person asked for before, for this reason; a new reason is a new rollback."""
    mine = (asked.reason, asked.by)
    if asked.to is not None:
        return None
    if standing and (standing.reason, standing.by) == mine:
        return Target(standing.version, "an override of yours says so")
    for intent, where in ((said, "git says so"), (waiting, "a pull request of yours says so")):
        hold = intent.hold if intent else None
        if intent and intent.version and hold and (hold.reason, hold.by) == mine:
            return Target(intent.version, f"{where}, for this reason")
    return None


def intent_of(declaration: Declaration, model: str, alias: str) -> AliasIntent:
    """What git itself says of the alias. Raises `Refused` where it says nothing."""
    intent = declaration.desired.intent(model)
    if intent is None:
        raise Refused(REGISTRY_FILE, f"`{model}` is not managed", "list it under `models`, or match it with a family")
    if alias not in intent.aliases:
        raise Refused(REGISTRY_FILE, f"`{model}` says nothing of an alias `{alias}`", "list it under `aliases`")
    return intent.aliases[alias]


def standing_override(ledger: Ledger, clock: Clock, said: AliasIntent) -> Override | None:
    """The one that stands in for what git says of the alias now."""
    now = clock.now()
    found: Sequence[Override] = [
        each for each in ledger.overrides({said.model}) if each.alias == said.alias and each.in_force(now)
    ]
    return found[-1] if found and found[-1].version != said.version else None


def _bad_ones(said: AliasIntent, standing: Override | None) -> AliasIntent:
    """With what an override took away in quarantine: a new rollback on top of it does not return there."""
    if standing is None:
        return said
    return replace(said, quarantine=said.quarantine | {each for each in (said.version, standing.replaces) if each})


def _under_hold(draft: _Draft) -> str:
    bad = sorted({*draft.said.quarantine, *draft.proposal.edit.quarantine})
    return f"v{draft.target.version} under a hold" + (f", {', '.join(f'v{each}' for each in bad)} in quarantine" if bad else "")


def _stated(said: AliasIntent) -> str:
    return f"v{said.version}" if said.version else "nothing, so that the alias stays"


def _moment(override: Override) -> str:
    return f"{override.until:%Y-%m-%d %H:%M} UTC"


def _undo(asked: Asked) -> str:
    return f"Rotation leaves {asked.name} alone until `promoter release {asked.name}`; the quarantine stays after that, too."
