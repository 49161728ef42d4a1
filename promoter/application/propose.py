"""Propose: rotation asks git for a change. It never touches an alias."""

from __future__ import annotations

from dataclasses import replace

import structlog

from promoter.application.ports import Documents, Repository
from promoter.application.revisions import signed_only
from promoter.application.survey import View
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults, Overtaken, Protected, Refused
from promoter.domain.names import CHAMPION
from promoter.domain.proposal import REGISTRY_FILE, Aim, Proposal

log = structlog.get_logger(__name__)


class Proposer:
    """Turns a standing's proposal into a commit on the watched branch."""

    def __init__(self, repository: Repository, documents: Documents) -> None:
        """Takes the ports that it works with."""
        self._repository = repository
        self._documents = documents

    def commit(self, view: View) -> Declaration | None:
        """Commit the first proposal whose alias rotates by commit; the declaration that results, or None.

        One at a time: the next is judged against the registry that this one makes. Raises `Overtaken` where somebody else
        pushed first: fetch, and judge again; `Refused` where the file cannot be edited safely, and a person has to.
        """
        declaration = view.declaration
        proposal = next(iter(_by_commit(view)), None)
        if proposal is None or declaration.revision is None:
            return None
        check_signing(self._repository, declaration)
        sources = dict(self._repository.read(declaration.revision))
        try:
            edited = self._documents.edit(sources[REGISTRY_FILE], proposal.edit)
        except Faults as faults:
            raise Refused(REGISTRY_FILE, f"rotation cannot write its proposal: {faults}") from None
        if edited == sources[REGISTRY_FILE]:
            return None
        # Parsed before it is pushed: an edit that could not be read back must never reach the branch.
        after = self._documents.parse({**sources, REGISTRY_FILE: edited}, None)
        try:
            revision = self._repository.commit(declaration.revision, REGISTRY_FILE, edited, proposal.message)
        except Protected as protected:
            name = f"{proposal.edit.model}@{proposal.edit.alias}"
            said = f"{protected.message}: `rotation: commit` cannot write there, and {proposal.subject!r} waits"
            raise Protected("git", said, f"write `rotation: pull-request` for {name}, or let Promoter's account push") from None
        if revision == declaration.revision:
            raise Overtaken("git", "the branch already says what was proposed")
        edit = proposal.edit
        log.info("proposed by commit", model=edit.model, alias=edit.alias, version=edit.version, revision=revision)
        return replace(after, revision=revision)


def check_signing(repository: Repository, declaration: Declaration) -> None:
    """Raises `Refused` where commits have to be signed and Promoter cannot: the branch would be stuck on its commit."""
    if signed_only(declaration) and not repository.signs:
        fix = "set PROMOTER_SIGNING_KEY to an SSH key that signers/allowed_signers has, or use `rotation: pull-request`"
        raise Refused("git", "registry.yaml asks for signed commits, and Promoter has no key to sign with", fix)


def _by_commit(view: View) -> list[Proposal]:
    """Guards before rotations, and supports before champion, like every plan: sorted by model, champion last."""
    found = [
        proposal
        for model in view.models.values()
        for proposal in model.proposals
        if model.intent.aliases[proposal.edit.alias].rotation == "commit"
    ]
    return sorted(
        found,
        key=lambda each: (each.aim is not Aim.GUARD, each.edit.model, each.edit.alias == CHAMPION, each.edit.alias),
    )
