"""Where proposals stand: the branches of one model, each with its pull request, as remote and forge have them now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from promoter.application.markdown.marker import Marker, read_marker
from promoter.application.ports import Commit, Forge, PullRequest, Repository, State
from promoter.domain.proposal import PREFIX, REGISTRY_FILE, Aim, Proposal, branch_of, branches_of

_MODEL, _ALIAS, _AIM, _VERSION = (f"Promoter-{part}" for part in ("Model", "Alias", "Aim", "Version"))


@dataclass(frozen=True)
class Site:
    """One branch, for one alias. `tip`: its newest commit, None where there is no such branch; `pull`: the open pull request.

    `ours`: nobody but Promoter committed to it.
    """

    model: str
    alias: str
    branch: str
    tip: Commit | None = None
    pull: PullRequest | None = None
    ours: bool = True

    @property
    def marker(self) -> Marker | None:
        """What the pull request says of itself; where it says nothing, what the branch does."""
        told = read_marker(self.pull.body) if self.pull else None
        return told or (told_by(self.tip) if self.tip and self.ours else None)

    @property
    def head(self) -> str | None:
        """The branch's newest revision."""
        return self.tip.revision if self.tip else None

    @property
    def asked(self) -> Aim | None:
        """What a person asks for on the branch; None: nothing, or what was found by looking."""
        told = told_by(self.tip) if self.tip and self.ours else None
        return told.aim if told and told.aim.asked else None


class Sites:
    """Finds them. Reads only."""

    def __init__(self, forge: Forge, repository: Repository) -> None:
        """Takes the ports that it reads."""
        self._forge = forge
        self._repository = repository

    def read(self, model: str, listed: Sequence[PullRequest] | None = None) -> tuple[Sequence[PullRequest], Mapping[str, str]]:
        """Open pull requests from Promoter's branches (`listed`: all open ones, as just read), and the model's branches' heads.

        In this order, and before the watched branch is fetched: whatever is not open any more, git shows by then.
        """
        opened = self._forge.open_pull_requests() if listed is None else listed
        return [each for each in opened if proposed(each)], self._repository.branches(branches_of(model))

    def of(
        self, model: str, aliases: Collection[str], base: str, found: tuple[Sequence[PullRequest], Mapping[str, str]]
    ) -> list[Site]:
        """A site for each of these aliases, and for each other alias of the model that something is left of."""
        opened, heads = found
        tips = {branch: self._repository.message(head) for branch, head in heads.items()}
        pulls = {pull.branch: pull for pull in opened}
        named = {branch_of(model, alias): alias for alias in aliases}
        for branch, tip in tips.items():
            if branch not in named and tip.trailers.get(_MODEL) == model and _ALIAS in tip.trailers:
                named[branch] = tip.trailers[_ALIAS]
        for branch, pull in pulls.items():
            told = read_marker(pull.body)
            if branch not in named and told and told.model == model:
                named[branch] = told.alias
        return [
            Site(
                model=model,
                alias=alias,
                branch=branch,
                tip=tips.get(branch),
                pull=pulls.get(branch),
                ours=branch not in heads or self._repository.untouched(base, heads[branch]),
            )
            for branch, alias in sorted(named.items())
        ]

    def models(self, opened: Sequence[PullRequest]) -> frozenset[str]:
        """The models that have something open, or a branch."""
        tips = {branch: self._repository.message(head) for branch, head in self._repository.branches(PREFIX).items()}
        found = {tip.trailers[_MODEL] for tip in tips.values() if tip.trailers.get(_MODEL)}
        for pull in opened:
            told = read_marker(pull.body) if proposed(pull) else None
            if told:
                found.add(told.model)
            elif proposed(pull) and pull.branch not in tips:
                found.add(pull.branch.removeprefix(PREFIX).partition("/")[0])
        return frozenset(found)


def proposed(pull: PullRequest) -> bool:
    """Whether it comes from one of Promoter's branches."""
    return pull.branch.startswith(PREFIX) and not pull.fork


def told_by(tip: Commit) -> Marker | None:
    """What a commit of Promoter's says it is for; None where it does not say."""
    said = tip.trailers
    try:
        aim, version = Aim(said.get(_AIM, "")), said.get(_VERSION)
        number = int(version) if version else None
    except ValueError:
        return None
    return Marker(aim, said.get(_MODEL, ""), said.get(_ALIAS, ""), number, head=tip.revision if aim.asked else None)


def says_the_same(tip: Commit, proposal: Proposal) -> bool:
    """Whether the commit was made for that very proposal."""
    told = told_by(tip)
    edit = proposal.edit
    wanted = (proposal.aim, edit.model, edit.alias, edit.version)
    return told is not None and (told.aim, told.model, told.alias, told.version) == wanted


def stands(repository: Repository, base: str, tip: Commit, proposal: Proposal, content: bytes) -> bool:
    """Whether the branch asks for that proposal, and merging it into `base` gives exactly that `registry.yaml`, no more."""
    if not says_the_same(tip, proposal):
        return False
    merged = repository.merge(base, tip.revision)
    return not merged.conflicts and dict(merged.sources) == {**repository.read(base), REGISTRY_FILE: content}


def refused(last: PullRequest | None, subject: str, answer: str) -> bool:
    """Whether a person closed the last pull request of a branch, or one before it, to say no to that.

    Where somebody has taken the marker out of the body, its title tells.
    """
    if last is None or last.state is State.OPEN:
        return False
    told = read_marker(last.body)
    if last.state is State.CLOSED:
        return last.title == subject if told is None else answer in told.refusals
    return told is not None and answer in told.declined


def refusals(last: PullRequest | None) -> tuple[str, ...]:
    """What was said no to on the branch so far."""
    told = read_marker(last.body) if last else None
    if told is None or last is None:
        return ()
    return told.refusals if last.state is State.CLOSED else told.declined
