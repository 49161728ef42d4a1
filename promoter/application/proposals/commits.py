"""Write proposals to git: as a commit where the branch takes one, or else to Promoter's branch for a pull request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from promoter.application.ports import DeclarationDocuments, GitCommit, Repository, require_content
from promoter.application.proposals.branches import is_up_to_date, parse_commit_marker
from promoter.application.revisions import RevisionTracker, requires_signed_commits
from promoter.application.snapshots import RegistrySnapshot
from promoter.domain.audit import AliasKey
from promoter.domain.desired import AliasIntent, Declaration
from promoter.domain.errors import BranchProtected, Conflict, ExternalError, Faults, PermanentError, TransientError
from promoter.domain.fields import CHAMPION
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.proposal import QUARANTINE_TRAILER, Proposal, ProposalReason
from promoter.domain.rollback import HoldRequest, StandingRollback

log = structlog.get_logger(__name__)


class RotationProposer:
    """Commits the proposals of rotation and guards to the watched branch."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments) -> None:
        self._repository = repository
        self._documents = documents

    def commit_next_proposal(self, view: RegistrySnapshot) -> Declaration | None:
        """Commit the first proposal whose alias rotates by commit. Return the resulting declaration, or None.

        Only one is committed, since the next one is evaluated against the registry that this one makes. Raises `Conflict`
        where somebody else pushed first: fetch and decide again; `PermanentError` where the file cannot be edited safely.
        """
        declaration = view.declaration
        proposal = next(iter(_find_commit_proposals(view)), None)
        if proposal is None or declaration.revision is None:
            return None
        require_signing_key(self._repository, declaration)
        wanted = build_proposed_content(self._repository, self._documents, declaration.revision, proposal)
        if wanted is None:
            return None
        content, after = wanted
        try:
            revision = self._repository.commit_file(declaration.revision, REGISTRY_FILE, content, proposal.commit_message)
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
    """Raise `PermanentError` where commits must be signed and Promoter has no key: its commit would block the branch."""
    if requires_signed_commits(declaration) and not repository.signs_commits:
        fix = "set PROMOTER_SIGNING_KEY to an SSH key that signers/allowed_signers has, or use `rotation: pull-request`"
        raise PermanentError("git", "registry.yaml asks for signed commits, and Promoter has no key to sign with", fix)


def _find_commit_proposals(view: RegistrySnapshot) -> list[Proposal]:
    """Return the proposals in order: guards before rotations, other aliases before champion."""
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


MAX_ATTEMPTS = 5
"""How often a branch that others push to is read again."""
_HOLD_SEARCH_LIMIT = 50
"""Commits that are read to find the one that brought a hold."""


@dataclass(frozen=True)
class OpenedProposal:
    """A proposal on its branch."""

    revision: str | None
    """The head of the branch; None where git states all of it already."""
    url: str | None = None
    """The address of its pull request."""
    next_step: str = ""
    """How a pull request comes to be, where there is none yet."""
    done: bool = True
    """Whether everything succeeded."""
    branch: str = ""
    """The branch."""

    def describe(self, effect: str) -> list[str]:
        """Return what came of the proposal and what is left to do, one sentence each; `effect` is what a merge brings."""
        if self.revision is None:
            return ["Git says all of it by now: there is nothing to propose."]
        merge = [f"The branch takes no pushes. Merge {self.url}: {effect}."] if self.url else []
        push = f"The watched branch takes no pushes. {self.branch} is pushed: {self.next_step}."
        return [*merge, push] if self.next_step else merge


Opener = Callable[[Proposal], OpenedProposal]
"""Puts a proposal on its branch, and opens or revises its pull request.

Raises `TransientError` or `PermanentError` where git fails. Where the forge fails, the result says so: the branch is there
then, and the next run opens the pull request.
"""


class ProposalCommitter:
    """Commits what a person asks for. Repeating it changes nothing."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments, revisions: RevisionTracker) -> None:
        self._repository = repository
        self._documents = documents
        self._revisions = revisions

    def commit_proposal(self, proposal: Proposal, declaration: Declaration) -> Declaration:
        """Commit the proposal on the declaration's revision, and put the result in force.

        Return the declaration itself where git states the same already. Raises `Conflict` where somebody pushed first:
        refresh and decide again; `BranchProtected` where the branch takes no pushes; `PermanentError` where the file cannot
        be edited.
        """
        if declaration.revision is None:
            raise PermanentError("git", "what git says is not committed")
        wanted = build_proposed_content(self._repository, self._documents, declaration.revision, proposal)
        if wanted is None:
            return declaration
        require_signing_key(self._repository, declaration)
        content, after = wanted
        revision = self._repository.commit_file(declaration.revision, REGISTRY_FILE, content, proposal.commit_message)
        after = replace(after, revision=revision)
        edit = proposal.edit
        log.info("committed", aim=proposal.aim.value, model=edit.model, alias=edit.alias, revision=revision)
        self._revisions.adopt_own_commit(after, declaration)
        return after

    def name_branch(self, model: str, alias: str) -> str:
        """Return the branch for proposals on that alias."""
        return self._repository.folder.build_branch_name(model, alias)

    def find_waiting_intent(self, declaration: Declaration, model: str, alias: str) -> AliasIntent | None:
        """Return what git will state of the alias once its proposal is merged; None where there is no proposal."""
        if declaration.revision is None:
            return None
        found = _find_waiting_proposal(self._repository, self._documents, declaration.revision, (model, alias))
        return found.intent if found else None

    def find_waiting_rollback(self, declaration: Declaration, model: str, alias: str) -> WaitingProposal | None:
        """Return the rollback of a person that waits on the alias's branch."""
        if declaration.revision is None:
            return None
        return find_waiting_rollback(self._repository, self._documents, declaration.revision, (model, alias))

    def find_other_request(self, declaration: Declaration, asked: HoldRequest) -> str | None:
        """Return the subject of another request of a person that waits on the alias's branch; None where there is none."""
        if declaration.revision is None:
            return None
        found = _find_waiting_proposal(self._repository, self._documents, declaration.revision, (asked.model, asked.alias))
        marker = parse_commit_marker(found.tip) if found else None
        if found is None or marker is None or not marker.aim.is_requested:
            return None
        number = found.tip.trailers.get(QUARANTINE_TRAILER)
        if (marker.aim, number) == (asked.act, str(asked.version) if asked.version else None):
            return None
        merged = self._repository.preview_merge(declaration.revision, found.tip.revision)
        same = merged.sources == self._repository.read_sources(declaration.revision)
        return None if same else found.tip.subject

    def find_hold_commit(self, declaration: Declaration, declared: AliasIntent) -> GitCommit | None:
        """Return the commit that brought the hold which git declares now; None where git cannot tell."""
        found = None
        try:
            commits = self._repository.list_commits(None, declaration.revision or "", REGISTRY_FILE, last=_HOLD_SEARCH_LIMIT)
            for commit in reversed(commits):
                sources = self._repository.read_sources(commit.revision)
                desired = self._documents.parse_declaration(sources, None).desired
                alias = desired.find_alias_intent(declared.model, declared.alias)
                if alias is None or alias.hold != declared.hold:
                    return found
                found = commit
        except (ExternalError, Faults):
            return None
        return None if len(commits) == _HOLD_SEARCH_LIMIT else found


@dataclass(frozen=True)
class WaitingProposal:
    """What git will state of an alias once the proposal on its branch is merged."""

    intent: AliasIntent
    tip: GitCommit
    """The newest commit of the branch."""
    branch: str
    """The branch."""


def find_waiting_rollback(
    repository: Repository, documents: DeclarationDocuments, base: str, key: AliasKey
) -> WaitingProposal | None:
    """Return the rollback of a person that waits on the alias's branch; `base` is the head of the watched branch."""
    found = _find_waiting_proposal(repository, documents, base, key)
    marker = parse_commit_marker(found.tip) if found else None
    if found is None or found.intent.hold is None or marker is None or marker.aim is not ProposalReason.ROLL_BACK:
        return None
    merged = repository.preview_merge(base, found.tip.revision)
    return None if merged.sources == repository.read_sources(base) else found


def is_rollback_commit(commit: GitCommit) -> bool:
    """Return whether the commit says that it rolls an alias back, for a person or for a broken guard."""
    marker = parse_commit_marker(commit)
    return marker is not None and marker.aim in (ProposalReason.ROLL_BACK, ProposalReason.GUARD)


def is_hold_commit(commit: GitCommit) -> bool:
    """Return whether the commit says that a person holds an alias where it is, and takes no version back."""
    marker = parse_commit_marker(commit)
    return marker is not None and marker.aim is ProposalReason.HOLD


def _find_waiting_proposal(
    repository: Repository, documents: DeclarationDocuments, base: str, key: AliasKey
) -> WaitingProposal | None:
    model, alias = key
    branch = repository.folder.build_branch_name(model, alias)
    tip = repository.list_branches(branch).get(branch)
    merged = repository.preview_merge(base, tip) if tip else None
    if tip is None or merged is None or merged.conflicts:
        return None
    try:
        intent = documents.parse_declaration(merged.sources, None).desired.find_alias_intent(model, alias)
    except Faults:
        return None
    return WaitingProposal(intent, repository.read_commit(tip), branch) if intent else None


def require_no_other_rollback(repository: Repository, documents: DeclarationDocuments, base: str, proposal: Proposal) -> None:
    """Raise `PermanentError` where the branch has another person's rollback, which the proposal would overwrite."""
    edit = proposal.edit
    if proposal.aim is not ProposalReason.ROLL_BACK or proposal.goes_past:
        return
    waiting = find_waiting_rollback(repository, documents, base, (edit.model, edit.alias))
    if waiting and waiting.intent.hold and edit.hold != waiting.intent.hold:
        raise describe_waiting_rollback(waiting).build_refusal(f"{edit.model}@{edit.alias}")


def describe_waiting_rollback(waiting: WaitingProposal) -> StandingRollback:
    """Return who waits with which rollback, since when."""
    intent, hold, branch = waiting.intent, waiting.intent.hold, waiting.branch
    by, reason = (hold.by, hold.reason) if hold else ("somebody", "no reason given")
    what = f"proposed v{intent.version}, on the branch {branch},"
    way_out = f"merge or close the pull request from {branch}, or delete the branch"
    return StandingRollback(by, reason, intent.version, what, waiting.tip.at, way_out)


def build_proposed_content(
    repository: Repository, documents: DeclarationDocuments, revision: str, proposal: Proposal
) -> tuple[bytes, Declaration] | None:
    """Return the `registry.yaml` that the proposal asks for on that revision, parsed as well; None where it is there already.

    Raises `PermanentError`, with every fault, where it cannot be written.
    """
    sources = dict(repository.read_sources(revision))
    try:
        edited = documents.edit_registry_file(require_content(sources, REGISTRY_FILE), proposal.edit)
        if edited == sources.get(REGISTRY_FILE):
            return None
        # Parsed before it is pushed: an edit that could not be read back must never reach a branch.
        return edited, documents.parse_declaration({**sources, REGISTRY_FILE: edited}, None)
    except Faults as faults:
        raise PermanentError(REGISTRY_FILE, f"cannot be edited: {faults}", about_one_model=True) from None


class BranchOpener:
    """Pushes the branch only. It knows no forge; a person opens the pull request."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments) -> None:
        self._repository = repository
        self._documents = documents

    def __call__(self, proposal: Proposal) -> OpenedProposal:
        """Commit the proposal to the branch, again on its new head where somebody pushed first."""
        branch = self._repository.folder.build_branch_name(proposal.edit.model, proposal.edit.alias)
        for _ in range(MAX_ATTEMPTS):
            try:
                revision = self._push_branch(proposal, branch)
            except Conflict:
                continue
            if revision is None:
                return OpenedProposal(None)
            step = f"open a pull request from the branch {branch}: no forge is configured"
            return OpenedProposal(revision, None, step, branch=branch)
        raise TransientError("git", f"others kept pushing to {branch} or to the watched branch", "run it again")

    def _push_branch(self, proposal: Proposal, branch: str) -> str | None:
        repository = self._repository
        head = repository.fetch_branch()
        wanted = build_proposed_content(repository, self._documents, head, proposal)
        if wanted is None:
            return None
        content, _ = wanted
        tip = repository.list_branches(branch).get(branch)
        if tip is not None:
            require_no_other_rollback(repository, self._documents, head, proposal)
            if is_up_to_date(repository, head, repository.read_commit(tip), proposal, content):
                return tip
            if not repository.has_only_own_commits(head, tip):
                fix = "merge or delete that branch, then run this again"
                raise PermanentError("git", f"somebody else's commits are on {branch}, and would be lost", fix)
        return repository.push_proposal(branch, tip, head, content, proposal.commit_message)
