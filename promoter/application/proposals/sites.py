"""Where proposals stand: the branches of one model, each with its pull request, as remote and forge have them now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from promoter.application.markdown.marker import PullRequestMarker, parse_marker
from promoter.application.ports import GitCommit, Forge, PullRequest, Repository, PullRequestState
from promoter.domain.proposal import (
    BRANCH_PREFIX,
    REGISTRY_FILE,
    ProposalReason,
    Proposal,
    build_branch_name,
    build_branch_prefix,
)

_MODEL, _ALIAS, _AIM, _VERSION = (f"Promoter-{part}" for part in ("Model", "Alias", "Aim", "Version"))


@dataclass(frozen=True)
class ProposalBranch:
    """One branch, for one alias. `tip`: its newest commit, None where there is no such branch; `pull`: the open pull request.

    `ours`: nobody but Promoter committed to it.
    """

    model: str
    alias: str
    branch: str
    tip: GitCommit | None = None
    pull: PullRequest | None = None
    ours: bool = True

    @property
    def current_marker(self) -> PullRequestMarker | None:
        """What the pull request says of itself; where it says nothing, what the branch does."""
        marker = parse_marker(self.pull.body) if self.pull else None
        return marker or (parse_commit_marker(self.tip) if self.tip and self.ours else None)

    @property
    def head_revision(self) -> str | None:
        """The branch's newest revision."""
        return self.tip.revision if self.tip else None

    @property
    def requested_reason(self) -> ProposalReason | None:
        """What a person asks for on the branch; None: nothing, or what was found by looking."""
        marker = parse_commit_marker(self.tip) if self.tip and self.ours else None
        return marker.aim if marker and marker.aim.is_requested else None


class ProposalBranches:
    """Finds them. Reads only."""

    def __init__(self, forge: Forge, repository: Repository) -> None:
        """Takes the ports that it reads."""
        self._forge = forge
        self._repository = repository

    def read_remote_state(
        self, model: str, listed: Sequence[PullRequest] | None = None
    ) -> tuple[Sequence[PullRequest], Mapping[str, str]]:
        """Open pull requests from Promoter's branches (`listed`: all open ones, as just read), and the model's branches' heads.

        In this order, and before the watched branch is fetched: whatever is not open any more, git shows by then.
        """
        opened = self._forge.list_open_pull_requests() if listed is None else listed
        return [each for each in opened if is_own_pull_request(each)], self._repository.list_branches(
            build_branch_prefix(model)
        )

    def build_branches(
        self, model: str, aliases: Collection[str], base: str, found: tuple[Sequence[PullRequest], Mapping[str, str]]
    ) -> list[ProposalBranch]:
        """A site for each of these aliases, and for each other alias of the model that something is left of."""
        opened, heads = found
        tips = {branch: self._repository.read_commit(head) for branch, head in heads.items()}
        pulls = {pull.branch: pull for pull in opened}
        named = {build_branch_name(model, alias): alias for alias in aliases}
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
        """The models that have something open, or a branch."""
        tips = {
            branch: self._repository.read_commit(head) for branch, head in self._repository.list_branches(BRANCH_PREFIX).items()
        }
        found = {tip.trailers[_MODEL] for tip in tips.values() if tip.trailers.get(_MODEL)}
        for pull in opened:
            marker = parse_marker(pull.body) if is_own_pull_request(pull) else None
            if marker:
                found.add(marker.model)
            elif is_own_pull_request(pull) and pull.branch not in tips:
                found.add(pull.branch.removeprefix(BRANCH_PREFIX).partition("/")[0])
        return frozenset(found)


def is_own_pull_request(pull: PullRequest) -> bool:
    """Whether it comes from one of Promoter's branches."""
    return pull.branch.startswith(BRANCH_PREFIX) and not pull.fork


def parse_commit_marker(tip: GitCommit) -> PullRequestMarker | None:
    """What a commit of Promoter's says it is for; None where it does not say."""
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
    """Whether the commit was made for that very proposal."""
    marker = parse_commit_marker(tip)
    edit = proposal.edit
    wanted = (proposal.aim, edit.model, edit.alias, edit.version)
    return marker is not None and (marker.aim, marker.model, marker.alias, marker.version) == wanted


def is_up_to_date(repository: Repository, base: str, tip: GitCommit, proposal: Proposal, content: bytes) -> bool:
    """Whether the branch asks for that proposal, and merging it into `base` gives exactly that `registry.yaml`, no more."""
    if not is_same_proposal(tip, proposal):
        return False
    merged = repository.preview_merge(base, tip.revision)
    return not merged.conflicts and dict(merged.sources) == {**repository.read_sources(base), REGISTRY_FILE: content}


def is_refused(last: PullRequest | None, subject: str, answer: str) -> bool:
    """Whether a person closed the last pull request of a branch, or one before it, to say no to that.

    Where somebody has taken the marker out of the body, its title tells.
    """
    if last is None or last.state is PullRequestState.OPEN:
        return False
    marker = parse_marker(last.body)
    if last.state is PullRequestState.CLOSED:
        return last.title == subject if marker is None else answer in marker.declined_answers
    return marker is not None and answer in marker.declined


def list_refusals(last: PullRequest | None) -> tuple[str, ...]:
    """What was said no to on the branch so far."""
    marker = parse_marker(last.body) if last else None
    if marker is None or last is None:
        return ()
    return marker.declined_answers if last.state is PullRequestState.CLOSED else marker.declined
