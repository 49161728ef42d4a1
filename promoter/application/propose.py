"""Propose: rotation asks git for a change. It never touches an alias."""

from __future__ import annotations

from dataclasses import replace

import structlog

from promoter.application.ports import DeclarationDocuments, Repository
from promoter.application.revisions import requires_signed_commits
from promoter.application.survey import RegistrySnapshot
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults, Conflict, BranchProtected, PermanentError
from promoter.domain.names import CHAMPION
from promoter.domain.proposal import REGISTRY_FILE, ProposalReason, Proposal

log = structlog.get_logger(__name__)


class RotationProposer:
    """Turns a standing's proposal into a commit on the watched branch."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments) -> None:
        """Takes the ports that it works with."""
        self._repository = repository
        self._documents = documents

    def commit_next_proposal(self, view: RegistrySnapshot) -> Declaration | None:
        """Commit the first proposal whose alias rotates by commit; the declaration that results, or None.

        One at a time: the next is judged against the registry that this one makes. Raises `Conflict` where somebody else
        pushed first: fetch, and judge again; `PermanentError` where the file cannot be edited safely, and a person has to.
        """
        declaration = view.declaration
        proposal = next(iter(_find_commit_proposals(view)), None)
        if proposal is None or declaration.revision is None:
            return None
        require_signing_key(self._repository, declaration)
        sources = dict(self._repository.read_sources(declaration.revision))
        try:
            edited = self._documents.edit_registry_file(sources[REGISTRY_FILE], proposal.edit)
        except Faults as faults:
            raise PermanentError(REGISTRY_FILE, f"rotation cannot write its proposal: {faults}") from None
        if edited == sources[REGISTRY_FILE]:
            return None
        # Parsed before it is pushed: an edit that could not be read back must never reach the branch.
        after = self._documents.parse_declaration({**sources, REGISTRY_FILE: edited}, None)
        try:
            revision = self._repository.commit_file(declaration.revision, REGISTRY_FILE, edited, proposal.commit_message)
        except BranchProtected as protected:
            name = f"{proposal.edit.model}@{proposal.edit.alias}"
            message = f"{protected.message}: `rotation: commit` cannot write there, and {proposal.subject_line!r} waits"
            raise BranchProtected(
                "git", message, f"write `rotation: pull-request` for {name}, or let Promoter's account push"
            ) from None
        if revision == declaration.revision:
            raise Conflict("git", "the branch already says what was proposed")
        edit = proposal.edit
        log.info("proposed by commit", model=edit.model, alias=edit.alias, version=edit.version, revision=revision)
        return replace(after, revision=revision)


def require_signing_key(repository: Repository, declaration: Declaration) -> None:
    """Raises `PermanentError` where commits have to be signed and Promoter cannot: the branch would be stuck on its commit."""
    if requires_signed_commits(declaration) and not repository.signs_commits:
        fix = "set PROMOTER_SIGNING_KEY to an SSH key that signers/allowed_signers has, or use `rotation: pull-request`"
        raise PermanentError("git", "registry.yaml asks for signed commits, and Promoter has no key to sign with", fix)


def _find_commit_proposals(view: RegistrySnapshot) -> list[Proposal]:
    """Guards before rotations, and supports before champion, like every plan: sorted by model, champion last."""
    found = [
        proposal
        for model in view.models.values()
        for proposal in model.proposals
        if model.intent.aliases[proposal.edit.alias].rotation == "commit"
    ]
    return sorted(
        found,
        key=lambda each: (each.aim is not ProposalReason.GUARD, each.edit.model, each.edit.alias == CHAMPION, each.edit.alias),
    )
