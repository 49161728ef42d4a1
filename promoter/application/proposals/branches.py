"""The branches of proposals, each with its pull request, as the remote and the forge have them now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from promoter.application.markdown.proposal import PullRequestMarker, parse_marker
from promoter.application.ports import (
    DeclarationDocuments,
    Forge,
    GitCommit,
    ObservationLog,
    PullRequest,
    PullRequestState,
    Repository,
)
from promoter.application.snapshots import ModelSnapshot, RegistrySnapshot
from promoter.domain.desired import AliasIntent, Override, ProposalSettings
from promoter.domain.errors import Faults, PermanentError
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.observed import ObservedModel
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.policy.document import Policy
from promoter.domain.proposal import (
    IDENTITY_TRAILER,
    QUARANTINE_TRAILER,
    CommitRequest,
    Proposal,
    ProposalReason,
    RegistryEdit,
)
from promoter.domain.refusals import REMEMBERED_BY_MARKERS

_MODEL, _ALIAS, _AIM, _VERSION = (f"Promoter-{part}" for part in ("Model", "Alias", "Aim", "Version"))


@dataclass(frozen=True)
class ProposalBranch:
    """The branch for one alias."""

    model: str
    """The registered model."""
    alias: str
    """The alias."""
    branch: str
    """The name of the branch."""
    tip: GitCommit | None = None
    """Its newest commit; None where the branch does not exist."""
    pull: PullRequest | None = None
    """The open pull request."""
    ours: bool = True
    """Whether only Promoter committed to it."""

    @property
    def current_marker(self) -> PullRequestMarker | None:
        """Return the marker of the pull request, or else the one in the branch's newest commit."""
        marker = parse_marker(self.pull.body) if self.pull else None
        return marker or (parse_commit_marker(self.tip) if self.tip and self.ours else None)

    @property
    def head_revision(self) -> str | None:
        """Return the branch's newest revision."""
        return self.tip.revision if self.tip else None

    @property
    def requested_reason(self) -> ProposalReason | None:
        """Return what a person asks for on the branch; None where no person does."""
        marker = parse_commit_marker(self.tip) if self.tip and self.ours else None
        return marker.aim if marker and marker.aim.is_requested else None


class ProposalBranches:
    """Reads the branches of proposals."""

    def __init__(self, forge: Forge, repository: Repository) -> None:
        self._forge = forge
        self._repository = repository
        self._folder = repository.folder

    def read_remote_state(
        self, model: str, listed: Sequence[PullRequest] | None = None
    ) -> tuple[Sequence[PullRequest], Mapping[str, str]]:
        """Return the open pull requests of Promoter's branches, and the heads of the model's branches.

        `listed` has all open pull requests, as just read. They are read in this order, and before the watched branch is
        fetched, so that git shows the merge of whatever is not open any more.
        """
        opened = self._forge.list_open_pull_requests() if listed is None else listed
        return [each for each in opened if self._is_own(each)], self._repository.list_branches(
            self._folder.build_model_prefix(model)
        )

    def build_branches(
        self, model: str, aliases: Collection[str], base: str, found: tuple[Sequence[PullRequest], Mapping[str, str]]
    ) -> list[ProposalBranch]:
        """Return a branch for each of these aliases, and for each other alias of the model that has something left."""
        opened, heads = found
        tips = {branch: self._repository.read_commit(head) for branch, head in heads.items()}
        pulls = {pull.branch: pull for pull in opened}
        named = {self._folder.build_branch_name(model, alias): alias for alias in aliases}
        for branch, tip in tips.items():
            if branch not in named and tip.trailers.get(_MODEL) == model and _ALIAS in tip.trailers:
                named[branch] = tip.trailers[_ALIAS]
        for branch, pull in pulls.items():
            marker = parse_marker(pull.body)
            if branch not in named and marker and marker.model == model:
                named[branch] = marker.alias
        return [
            ProposalBranch(
                model=model,
                alias=alias,
                branch=branch,
                tip=tips.get(branch),
                pull=pulls.get(branch),
                ours=branch not in heads or self._repository.has_only_own_commits(base, heads[branch]),
            )
            for branch, alias in sorted(named.items())
        ]

    def find_models(self, opened: Sequence[PullRequest]) -> frozenset[str]:
        """Return the models that have an open pull request or a branch."""
        tips = {
            branch: self._repository.read_commit(head)
            for branch, head in self._repository.list_branches(self._folder.branch_prefix).items()
        }
        found = {tip.trailers[_MODEL] for tip in tips.values() if tip.trailers.get(_MODEL)}
        for pull in opened:
            marker = parse_marker(pull.body) if self._is_own(pull) else None
            if marker:
                found.add(marker.model)
            elif self._is_own(pull) and pull.branch not in tips:
                found.add(pull.branch.removeprefix(self._folder.branch_prefix).partition("/")[0])
        return frozenset(found)

    def _is_own(self, pull: PullRequest) -> bool:
        """Return whether it comes from one of this Promoter's branches."""
        return pull.branch.startswith(self._folder.branch_prefix) and not pull.fork


def parse_commit_marker(tip: GitCommit) -> PullRequestMarker | None:
    """Return the marker in a commit of Promoter's; None where there is none."""
    trailers = tip.trailers
    try:
        aim, version = ProposalReason(trailers.get(_AIM, "")), trailers.get(_VERSION)
        number = int(version) if version else None
    except ValueError:
        return None
    return PullRequestMarker(
        aim, trailers.get(_MODEL, ""), trailers.get(_ALIAS, ""), number, head=tip.revision if aim.is_requested else None
    )


def is_same_proposal(tip: GitCommit, proposal: Proposal) -> bool:
    """Return whether the commit was made for exactly that proposal."""
    marker = parse_commit_marker(tip)
    edit = proposal.edit
    wanted = (proposal.aim, edit.model, edit.alias, edit.version)
    same = marker is not None and (marker.aim, marker.model, marker.alias, marker.version) == wanted
    return same and tip.trailers.get(IDENTITY_TRAILER) in (None, proposal.identity)


def is_up_to_date(repository: Repository, base: str, tip: GitCommit, proposal: Proposal, content: bytes) -> bool:
    """Return whether the branch holds that proposal, and merging it into `base` gives exactly that `registry.yaml`."""
    if not is_same_proposal(tip, proposal):
        return False
    merged = repository.preview_merge(base, tip.revision)
    return not merged.conflicts and dict(merged.sources) == {**repository.read_sources(base), REGISTRY_FILE: content}


_FIX = "delete the branch, and ask again"


class ProposalRequestReader:
    """Reads back what a person asked for on a branch."""

    def __init__(self, repository: Repository, documents: DeclarationDocuments, ledger: ObservationLog) -> None:
        self._repository = repository
        self._documents = documents
        self._ledger = ledger

    def __call__(self, site: ProposalBranch, declared: AliasIntent | None) -> Proposal | None:
        """Return the proposal; None where no person asked. `declared` is what git states.

        Raises `PermanentError` where it is impossible.
        """
        if site.tip is None or site.requested_reason is None:
            return None
        request = self._find_request(site, site.tip)
        by, reason = (request.by, request.reason) if request else (None, site.tip.trailers.get("Promoter-Reason"))
        if site.requested_reason is ProposalReason.RELEASE:
            return Proposal(
                RegistryEdit(site.model, site.alias, None, release=True), None, None, site.requested_reason, by, reason
            )
        alias = self._read_alias_intent(site, site.tip.revision)
        if site.requested_reason.moves_nothing:
            edit = _read_hold_edit(site, site.requested_reason, site.tip, alias)
            was = declared.version if declared else None
            return Proposal(edit, was, None, site.requested_reason, by, edit.hold.reason if edit.hold else reason)
        if alias is None or alias.version is None:
            raise _build_branch_error(site)
        bad = sorted(alias.quarantine - (declared.quarantine if declared else frozenset()))
        edit = RegistryEdit(site.model, site.alias, alias.version, alias.hold, tuple(bad))
        replaces = bad[-1] if bad else declared.version if declared else None
        return Proposal(edit, replaces, None, site.requested_reason, by, alias.hold.reason if alias.hold else reason)

    def _find_request(self, site: ProposalBranch, tip: GitCommit) -> CommitRequest | None:
        """Who asked for the commit, by the ledger: a commit that is made anew must not lend its trailers Promoter's word."""
        found = map(CommitRequest.from_event_facts, (each.facts for each in self._ledger.find_commit_requests({tip.revision})))
        return next((each for each in found if each and (each.model, each.alias) == (site.model, site.alias)), None)

    def _read_alias_intent(self, site: ProposalBranch, tip: str) -> AliasIntent | None:
        try:
            declaration = self._documents.parse_declaration(self._repository.read_sources(tip), tip)
        except Faults as faults:
            raise PermanentError(site.branch, f"cannot be read: {faults}", _FIX, about_one_model=True) from None
        return declaration.desired.find_alias_intent(site.model, site.alias)


def _read_hold_edit(site: ProposalBranch, aim: ProposalReason, tip: GitCommit, alias: AliasIntent | None) -> RegistryEdit:
    """Return the hold that the branch states, or what its commit says of the quarantine. Raises where they do not agree."""
    number = tip.trailers.get(QUARANTINE_TRAILER, "")
    version = int(number) if number.isascii() and number.isdigit() else None
    if alias is not None and aim is ProposalReason.HOLD and alias.hold:
        return RegistryEdit(site.model, site.alias, None, alias.hold)
    if alias is not None and aim is ProposalReason.QUARANTINE and version and version in alias.quarantine:
        return RegistryEdit(site.model, site.alias, None, quarantine=(version,))
    if alias is not None and aim is ProposalReason.LIFT_QUARANTINE and version and version not in alias.quarantine:
        return RegistryEdit(site.model, site.alias, None, lifted=version)
    raise _build_branch_error(site)


def _build_branch_error(site: ProposalBranch) -> PermanentError:
    return PermanentError(site.branch, "does not say what its commit says", _FIX, about_one_model=True)


def build_override_proposal(override: Override, declared: AliasIntent | None) -> Proposal:
    """Return the proposal for what a person put in force by an override, before git states it."""
    bad = (override.replaces,) if override.replaces and override.replaces != override.version else ()
    edit = RegistryEdit(override.model, override.alias, override.version, override.hold, bad)
    replaces = override.replaces or (declared.version if declared else None)
    return Proposal(edit, replaces, None, ProposalReason.ROLL_BACK, override.by, override.reason)


def is_request_answered(site: ProposalBranch, last: PullRequest | None) -> bool:
    """Return whether the request was answered: the pull request of that very commit is not open any more."""
    if last is None or last.state is PullRequestState.OPEN:
        return False
    marker = parse_marker(last.body)
    return (last.head if marker is None else marker.head) == site.head_revision


def find_override_answer(override: Override, last: PullRequest | None) -> str | None:
    """Return how a person decided on the override since it began; None where nobody did.

    Once it is merged, git states the same, and the override ends.
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


@dataclass(frozen=True)
class ProposalContext:
    """The head of the watched branch, and a snapshot of the model against it."""

    model: str
    """The registered model."""
    base: str
    """The head of the watched branch."""
    view: RegistrySnapshot
    """The snapshot of the registry."""
    snapshot: ModelSnapshot | None
    """The snapshot of the model; None where git does not manage it."""

    def find_declared_intent(self, alias: str) -> AliasIntent | None:
        """Return what git states of the alias, without overrides."""
        return self.view.declaration.desired.find_alias_intent(self.model, alias)

    def find_outlook(self, alias: str) -> OverrideOutlook | None:
        """Return the override on the alias, and what follows its end."""
        return self.snapshot.outlooks.get(alias) if self.snapshot else None

    def find_declined_answers(self, alias: str) -> tuple[str, ...]:
        """Return the keys of what people turned down for the alias."""
        refusals = self.snapshot.refusals.get(alias, ()) if self.snapshot else ()
        return tuple(each.answer_key for each in refusals)[-REMEMBERED_BY_MARKERS:]

    def find_policy(self, alias: str) -> Policy | None:
        """Return the policy that gates the alias."""
        declared = self.find_declared_intent(alias)
        return self.view.declaration.policies.get(declared.policy) if declared and declared.policy else None

    @property
    def observed_model(self) -> ObservedModel:
        """Return the model in the registry; without versions where it does not exist."""
        return (self.snapshot.observed if self.snapshot else None) or ObservedModel(self.model)

    @property
    def proposal_settings(self) -> ProposalSettings:
        """Return the labels, reviewers and other settings of its pull requests."""
        return self.snapshot.intent.proposals if self.snapshot else ProposalSettings()


@dataclass(frozen=True)
class DesiredPullRequest:
    """A pull request that should be open."""

    site: ProposalBranch
    """Its branch."""
    proposal: Proposal
    """What it proposes."""
    content: bytes
    """The `registry.yaml` that it asks for."""
    last: PullRequest | None = None
    """The newest pull request, where none is open."""
    declined: tuple[str, ...] = ()
    """The keys of what people turned down for the alias, for the marker."""
    note: str | None = None
    """What Promoter's note on the pull request says; None: there is to be none."""
    outlook: OverrideOutlook | None = None
    """The override in force on the alias, where it proposes a rollback, and what follows its end."""

    @property
    def override_number(self) -> int | None:
        """Return the number of the override that the rollback's body is about."""
        return self.outlook.override.id if self.outlook and self.proposal.aim is ProposalReason.ROLL_BACK else None
