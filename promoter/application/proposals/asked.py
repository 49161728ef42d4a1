"""What a person asks for: read back from the branch that Promoter made for him, and how it was answered."""

from __future__ import annotations

from promoter.application.markdown.marker import parse_marker
from promoter.application.ports import DeclarationDocuments, PullRequest, Repository, PullRequestState
from promoter.application.proposals.sites import ProposalBranch
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.faults import Faults, PermanentError
from promoter.domain.override import Override
from promoter.domain.proposal import ProposalReason, RegistryEdit, Proposal

_FIX = "delete the branch, and ask again"


class ProposalRequestReader:
    """Reads proposals back. Reads only."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments) -> None:
        """Takes the ports that it reads."""
        self._repository = repository
        self._documents = documents

    def __call__(self, site: ProposalBranch, declared: AliasIntent | None) -> Proposal | None:
        """What the branch asks for; None where no person asks. `said` is git's word. Raises `PermanentError` where that cannot be."""
        if site.tip is None or site.requested_reason is None:
            return None
        by, reason = site.tip.trailers.get("Promoter-By"), site.tip.trailers.get("Promoter-Reason")
        if site.requested_reason is ProposalReason.RELEASE:
            return Proposal(
                RegistryEdit(site.model, site.alias, None, release=True), None, None, site.requested_reason, by, reason
            )
        alias = self._read_alias_intent(site, site.tip.revision)
        if alias is None or alias.version is None:
            raise PermanentError(site.branch, "does not say what its commit says", _FIX)
        bad = sorted(alias.quarantine - (declared.quarantine if declared else frozenset()))
        edit = RegistryEdit(site.model, site.alias, alias.version, alias.hold, tuple(bad))
        replaces = bad[-1] if bad else declared.version if declared else None
        return Proposal(edit, replaces, None, site.requested_reason, by, alias.hold.reason if alias.hold else reason)

    def _read_alias_intent(self, site: ProposalBranch, tip: str) -> AliasIntent | None:
        try:
            intent = self._documents.parse_declaration(self._repository.read_sources(tip), tip).desired.find_model_intent(
                site.model
            )
        except Faults as faults:
            raise PermanentError(site.branch, f"cannot be read: {faults}", _FIX) from None
        return intent.aliases.get(site.alias) if intent else None


def build_override_proposal(override: Override, declared: AliasIntent | None) -> Proposal:
    """What a person asked for who could not wait for git."""
    hold = Hold(reason=override.reason, by=override.by)
    bad = (override.replaces,) if override.replaces and override.replaces != override.version else ()
    edit = RegistryEdit(override.model, override.alias, override.version, hold, bad)
    replaces = override.replaces or (declared.version if declared else None)
    return Proposal(edit, replaces, None, ProposalReason.ROLL_BACK, override.by, override.reason)


def is_request_answered(site: ProposalBranch, last: PullRequest | None) -> bool:
    """Whether what the branch asks for was answered: with that very commit, its pull request is not open any more."""
    if last is None or last.state is PullRequestState.OPEN:
        return False
    marker = parse_marker(last.body)
    return (last.head if marker is None else marker.head) == site.head_revision


def find_override_answer(override: Override, last: PullRequest | None) -> str | None:
    """How a person decided on what the override is for, since it began; None: nobody did.

    Merged with what it asked for, git says so, and the override is spent.
    """
    if last is None or last.state is PullRequestState.OPEN or (last.closed_at is not None and last.closed_at < override.at):
        return None
    marker = parse_marker(last.body)
    if marker is None or marker.withdrawn or (marker.aim, marker.version) != (ProposalReason.ROLL_BACK, override.version):
        return None
    return (
        f"{last.url} was closed unmerged"
        if last.state is PullRequestState.CLOSED
        else f"{last.url} was merged, and says otherwise"
    )
