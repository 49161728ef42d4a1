"""Release: a person lifts the hold of an alias. What is in quarantine stays there."""

from __future__ import annotations

from promoter.application.ports import Clock, Ledger
from promoter.application.proposals.into_git import ATTEMPTS, IntoGit, Opener
from promoter.application.revisions import Revisions
from promoter.application.rollback import Rooms, intent_of, standing_override
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent
from promoter.domain.faults import Overtaken, Protected, Refused, Unavailable
from promoter.domain.proposal import REGISTRY_FILE, Proposal
from promoter.domain.rollback import Done, let_go

WHAT = "release"


class Release:
    """One person's release of one alias."""

    def __init__(self, rooms: Rooms) -> None:
        """Takes what it works with."""
        self._ledger: Ledger = rooms.ledger
        self._clock: Clock = rooms.clock
        self._revisions: Revisions = rooms.revisions
        self._into_git: IntoGit = rooms.into_git
        self._open: Opener = rooms.open

    def __call__(self, model: str, alias: str, by: str, reason: str | None = None) -> Done:
        """Take the hold out of git, by a commit or a pull request. Raises where there is none, or where it may not go yet."""
        by, reason = " ".join(by.split()), " ".join((reason or "").split()) or None
        if not by:
            raise Refused(WHAT, "it needs the name of who asks for it", "--as NAME")
        for _ in range(ATTEMPTS):
            declaration = self._declaration()
            said = intent_of(declaration, model, alias)
            self._check(declaration, said)
            proposal = let_go(said, reason, by)
            result = Done(model, alias, said.version, said.version, released=True)
            hold = f"v{said.version or '?'} was held" if said.version else "It was held"
            result.told.append(f"{model}@{alias}: {hold} by {said.hold.by}: {said.hold.reason}." if said.hold else "")
            try:
                after = self._into_git.commit(proposal, declaration)
            except Overtaken:
                continue
            except Protected:
                return self._propose(proposal, said, result)
            result.path, result.revision = "commit", after.revision
            result.told.append(f"Committed as {(after.revision or '')[:10]}.")
            result.told += _next(said)
            return result
        raise Unavailable("git", "others kept pushing to the branch", "run it again")

    def _declaration(self) -> Declaration:
        self._revisions.refresh()
        if self._revisions.refused:
            raise Refused(REGISTRY_FILE, f"the branch's head cannot be used: {self._revisions.refused}", "mend it first")
        if self._revisions.in_force is None:
            raise Refused("git", "no revision is in force")
        return self._revisions.in_force

    def _check(self, declaration: Declaration, said: AliasIntent) -> None:
        name = f"{said.model}@{said.alias}"
        if standing := standing_override(self._ledger, self._clock, said):
            fix = f"merge or close the pull request from {let_go(said, None, '').branch} first"
            raise Refused(WHAT, f"an override stands in for git: {standing.told}", fix)
        if said.hold is None:
            raise Refused(WHAT, f"nothing to release: git holds nothing of {name}")
        waiting = self._into_git.waiting(declaration, said.model, said.alias)
        if waiting and waiting.hold and waiting.hold != said.hold:
            fix = f"merge or close the pull request from {let_go(said, None, '').branch} first"
            raise Refused(WHAT, f"another hold of {name} waits for a decision: {waiting.hold.reason}", fix)

    def _propose(self, proposal: Proposal, said: AliasIntent, result: Done) -> Done:
        opened = self._open(proposal)
        result.path, result.revision, result.pull_request = "pull-request", opened.revision, opened.url
        if opened.revision is None:
            result.told.append("Git says so by now: there is nothing to propose.")
        elif opened.url:
            result.told.append(f"The branch takes no pushes. Merge {opened.url}.")
        if opened.told:
            result.told.append(f"The watched branch takes no pushes. {proposal.branch} is pushed: {opened.told}.")
        result.told += _next(said)
        result.done = opened.done
        return result


def _next(said: AliasIntent) -> list[str]:
    moves = "It does not rotate (`rotation: off`): a commit moves it."
    told = [moves if said.rotation == "off" else "From then on, rotation may move it again."]
    bad = ", ".join(f"v{each}" for each in sorted(said.quarantine))
    return told + ([f"{bad} stays in quarantine, until a person takes it out of registry.yaml."] if bad else [])
