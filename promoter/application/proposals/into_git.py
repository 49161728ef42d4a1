"""Into git: a person's proposal as a commit where the branch takes one, else as Promoter's branch and a pull request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from promoter.application.ports import Documents, Repository
from promoter.application.proposals.sites import stands
from promoter.application.propose import check_signing
from promoter.application.revisions import Revisions
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent
from promoter.domain.faults import Faults, Overtaken, Refused, Unavailable
from promoter.domain.proposal import REGISTRY_FILE, Proposal, branch_of

log = structlog.get_logger(__name__)

ATTEMPTS = 5
"""How often a branch that others push to is read again."""


@dataclass(frozen=True)
class Opened:
    """A proposal on its branch. `revision` is the branch's head (None: git says all of it already).

    `url` is its pull request; without one, `told` says how there will be one. `done` False: something failed.
    """

    revision: str | None
    url: str | None = None
    told: str = ""
    done: bool = True


Opener = Callable[[Proposal], Opened]
"""Puts a proposal on its branch, and opens or revises its pull request. Raises `Unavailable` or `Refused` where git fails.

A forge that fails is told, not raised: the branch is there then, and whoever looks next opens the pull request.
"""


class IntoGit:
    """Writes a person's proposal. To do it again changes nothing."""

    def __init__(self, repository: Repository, documents: Documents, revisions: Revisions) -> None:
        """Takes the ports that it works with."""
        self._repository = repository
        self._documents = documents
        self._revisions = revisions

    def commit(self, proposal: Proposal, declaration: Declaration) -> Declaration:
        """Commit it on top of the declaration's revision, and put the result in force.

        The declaration itself where git says so already. Raises `Overtaken` where somebody pushed first: refresh and decide
        again; `Protected` where the branch takes no pushes; `Refused` where the file cannot be edited.
        """
        if declaration.revision is None:
            raise Refused("git", "what git says is not committed")
        wanted = wanted_content(self._repository, self._documents, declaration.revision, proposal)
        if wanted is None:
            return declaration
        check_signing(self._repository, declaration)
        content, after = wanted
        revision = self._repository.commit(declaration.revision, REGISTRY_FILE, content, proposal.message)
        after = replace(after, revision=revision)
        edit = proposal.edit
        log.info("committed", aim=proposal.aim.value, model=edit.model, alias=edit.alias, revision=revision)
        self._revisions.adopt(after, declaration)
        return after

    def waiting(self, declaration: Declaration, model: str, alias: str) -> AliasIntent | None:
        """What git will say of the alias once the proposal on its branch is merged; None where there is none."""
        branch = branch_of(model, alias)
        tip = self._repository.branches(branch).get(branch)
        if tip is None or declaration.revision is None:
            return None
        merged = self._repository.merge(declaration.revision, tip)
        try:
            intent = None if merged.conflicts else self._documents.parse(merged.sources, None).desired.intent(model)
        except Faults:
            return None
        return intent.aliases.get(alias) if intent else None


def wanted_content(
    repository: Repository, documents: Documents, revision: str, proposal: Proposal
) -> tuple[bytes, Declaration] | None:
    """`registry.yaml` as the proposal wants it on top of that revision, and what it then says; None where it says so already.

    Raises `Refused`, with every fault, where that cannot be written.
    """
    sources = dict(repository.read(revision))
    try:
        edited = documents.edit(sources.get(REGISTRY_FILE, b""), proposal.edit)
        if edited == sources.get(REGISTRY_FILE):
            return None
        # Parsed before it is pushed: an edit that could not be read back must never reach a branch.
        return edited, documents.parse({**sources, REGISTRY_FILE: edited}, None)
    except Faults as faults:
        raise Refused(REGISTRY_FILE, f"cannot be edited: {faults}") from None


class BranchOpener:
    """An `Opener` that knows no forge: the branch is pushed, and a person opens the pull request."""

    def __init__(self, repository: Repository, documents: Documents) -> None:
        """Takes the ports that it works with."""
        self._repository = repository
        self._documents = documents

    def __call__(self, proposal: Proposal) -> Opened:
        """Put the proposal on its branch; kept as it is where it says just that on top of what git says now."""
        for _ in range(ATTEMPTS):
            try:
                revision = self._put(proposal)
            except Overtaken:
                continue
            if revision is None:
                return Opened(None)
            return Opened(revision, None, f"open a pull request from the branch {proposal.branch}: no forge is configured")
        raise Unavailable("git", f"others kept pushing to {proposal.branch} or to the watched branch", "run it again")

    def _put(self, proposal: Proposal) -> str | None:
        repository = self._repository
        head = repository.fetch()
        wanted = wanted_content(repository, self._documents, head, proposal)
        if wanted is None:
            return None
        content, _ = wanted
        tip = repository.branches(proposal.branch).get(proposal.branch)
        if tip is not None:
            if stands(repository, head, repository.message(tip), proposal, content):
                return tip
            if not repository.untouched(head, tip):
                fix = "merge or delete that branch, then run this again"
                raise Refused("git", f"somebody else's commits are on {proposal.branch}, and would be lost", fix)
        return repository.propose(proposal.branch, tip, head, content, proposal.message)
