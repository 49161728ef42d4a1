"""What a person asks for: read back from the branch that Promoter made for him, and how it was answered."""

from __future__ import annotations

from promoter.application.markdown.marker import read_marker
from promoter.application.ports import Documents, PullRequest, Repository, State
from promoter.application.proposals.sites import Site
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.faults import Faults, Refused
from promoter.domain.override import Override
from promoter.domain.proposal import Aim, Edit, Proposal

_FIX = "delete the branch, and ask again"


class AskedFor:
    """Reads proposals back. Reads only."""

    def __init__(self, repository: Repository, documents: Documents) -> None:
        """Takes the ports that it reads."""
        self._repository = repository
        self._documents = documents

    def __call__(self, site: Site, said: AliasIntent | None) -> Proposal | None:
        """What the branch asks for; None where no person asks. `said` is git's word. Raises `Refused` where that cannot be."""
        if site.tip is None or site.asked is None:
            return None
        by, reason = site.tip.trailers.get("Promoter-By"), site.tip.trailers.get("Promoter-Reason")
        if site.asked is Aim.RELEASE:
            return Proposal(Edit(site.model, site.alias, None, release=True), None, None, site.asked, by, reason)
        alias = self._alias(site, site.tip.revision)
        if alias is None or alias.version is None:
            raise Refused(site.branch, "does not say what its commit says", _FIX)
        bad = sorted(alias.quarantine - (said.quarantine if said else frozenset()))
        edit = Edit(site.model, site.alias, alias.version, alias.hold, tuple(bad))
        replaces = bad[-1] if bad else said.version if said else None
        return Proposal(edit, replaces, None, site.asked, by, alias.hold.reason if alias.hold else reason)

    def _alias(self, site: Site, tip: str) -> AliasIntent | None:
        try:
            intent = self._documents.parse(self._repository.read(tip), tip).desired.intent(site.model)
        except Faults as faults:
            raise Refused(site.branch, f"cannot be read: {faults}", _FIX) from None
        return intent.aliases.get(site.alias) if intent else None


def of_override(override: Override, said: AliasIntent | None) -> Proposal:
    """What a person asked for who could not wait for git."""
    hold = Hold(reason=override.reason, by=override.by)
    bad = (override.replaces,) if override.replaces and override.replaces != override.version else ()
    edit = Edit(override.model, override.alias, override.version, hold, bad)
    replaces = override.replaces or (said.version if said else None)
    return Proposal(edit, replaces, None, Aim.ROLL_BACK, override.by, override.reason)


def decided(site: Site, last: PullRequest | None) -> bool:
    """Whether what the branch asks for was answered: with that very commit, its pull request is not open any more."""
    if last is None or last.state is State.OPEN:
        return False
    told = read_marker(last.body)
    return (last.head if told is None else told.head) == site.head


def answered(override: Override, last: PullRequest | None) -> str | None:
    """How a person decided on what the override is for, since it began; None: nobody did.

    Merged with what it asked for, git says so, and the override is spent.
    """
    if last is None or last.state is State.OPEN or (last.closed_at is not None and last.closed_at < override.at):
        return None
    told = read_marker(last.body)
    if told is None or told.withdrawn or (told.aim, told.version) != (Aim.ROLL_BACK, override.version):
        return None
    return f"{last.url} was closed unmerged" if last.state is State.CLOSED else f"{last.url} was merged, and says otherwise"
