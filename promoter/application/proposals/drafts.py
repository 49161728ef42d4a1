"""Make branch and pull request of a proposal so: the branch first, so that what a pull request says is there to be merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import structlog

from promoter.application.markdown.marker import Marker, read_marker, with_marker
from promoter.application.markdown.proposal import proposal_markdown
from promoter.application.ports import Draft, Forge, Repository, State
from promoter.application.proposals.evidence import Comparer, Comparison, Subject
from promoter.application.proposals.notes import keep_note
from promoter.application.proposals.scene import Scene, Wanted
from promoter.application.proposals.sites import refusals, stands
from promoter.domain.desired import ProposalSettings
from promoter.domain.faults import Overtaken, Refused
from promoter.domain.proposal import Aim, Proposal

log = structlog.get_logger(__name__)


class Drafts:
    """Writes only what is not so already."""

    def __init__(self, forge: Forge, repository: Repository, compare: Comparer) -> None:
        """Takes what it works with."""
        self._forge = forge
        self._repository = repository
        self._compare = compare

    def __call__(self, scene: Scene, wanted: Sequence[Wanted]) -> list[Refused]:
        """All of them; what was refused. Raises `Overtaken` where somebody wrote first."""
        subjects = [Subject(each.proposal, scene.policy(each.site.alias), scene.observed) for each in wanted]
        trouble = []
        for each, comparison in zip(wanted, self._compare(subjects) if subjects else [], strict=True):
            try:
                self._pull_request(each, self._branch(each, scene), comparison, scene.settings)
            except Refused as error:
                trouble.append(error)
        return trouble

    def _branch(self, each: Wanted, scene: Scene) -> str:
        """Its head: as it is, where merging it gives exactly what is wanted; else made anew on the newest commit."""
        site, repository = each.site, self._repository
        if site.tip is not None and stands(repository, scene.base, site.tip, each.proposal, each.content):
            return site.tip.revision
        made = repository.propose(site.branch, site.head, scene.base, each.content, each.proposal.message)
        log.info("branch made", branch=site.branch, revision=made, model=site.model, alias=site.alias)
        return made

    def _pull_request(self, each: Wanted, head: str, comparison: Comparison | None, settings: ProposalSettings) -> None:
        site, proposal, forge = each.site, each.proposal, self._forge
        told = read_marker(site.pull.body) if site.pull else None
        draft = _draft(proposal, comparison, settings)
        marker = _marker(proposal, head, draft, told.declined if told else refusals(each.last))
        if told == marker:
            return
        # A forge takes several calls for labels, reviewers and auto-merge: until all are through, the marker does not say so.
        steps = (told.settings if told else "") != marker.settings
        first = _whole(draft, replace(marker, settings="") if steps else marker)
        number = site.pull.number if site.pull else self._opened(each, first)
        if site.pull:
            if forge.pull_request(number).state is not State.OPEN:
                # A person answered meanwhile, and the answer is to what it said until now: it must not be reworded.
                raise Overtaken(forge.name, f"{site.pull.url} is not open any more")
            if told and told.withdrawn:
                keep_note(forge, number, None)
            forge.revise(number, first)
        if steps:
            forge.revise(number, _whole(draft, marker))
        log.info("pull request revised" if site.pull else "pull request opened", number=number, title=draft.title)

    def _opened(self, each: Wanted, draft: Draft) -> int:
        """The number of a new one: unless there was another since this look began, which a person may have answered already."""
        newest = self._forge.latest_from(each.site.branch)
        if newest is not None and (each.last is None or (newest.number, newest.state) != (each.last.number, each.last.state)):
            raise Overtaken(self._forge.name, f"{newest.url} was opened or answered during this look")
        return self._forge.propose(draft).number


def _draft(proposal: Proposal, comparison: Comparison | None, settings: ProposalSettings) -> Draft:
    return Draft(
        branch=proposal.branch,
        title=proposal.subject,
        body=proposal_markdown(proposal, comparison),
        labels=settings.labels,
        reviewers=settings.reviewers,
        # What somebody did by hand past git is for a person to answer, never for a setting.
        auto_merge=settings.auto_merge and proposal.aim is not Aim.ADOPT,
    )


def _whole(draft: Draft, marker: Marker) -> Draft:
    return replace(draft, body=with_marker(draft.body, marker))


def _marker(proposal: Proposal, head: str, draft: Draft, declined: tuple[str, ...]) -> Marker:
    """Of all that the draft says: settings that change are carried to what is open."""
    settings = [draft.labels, draft.reviewers, draft.auto_merge]
    edit = proposal.edit
    return Marker(
        aim=proposal.aim,
        model=edit.model,
        alias=edit.alias,
        version=edit.version,
        replaces=proposal.replaces,
        head=head if proposal.aim.asked else None,
        digest=_digest([draft.title, draft.body]),
        settings=_digest(settings) if any(settings) else "",
        declined=declined,
    )


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
