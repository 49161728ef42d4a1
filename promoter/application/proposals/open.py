"""Keep Promoter's own pull requests: at most one open one a model and alias, and it says what is wanted now.

A look works out what is wanted, reads branch and pull request as they are, and takes the steps that are missing. Nothing is
remembered: after a stop anywhere in between, the next look finds what there is, and goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from promoter.application.markdown.marker import Marker, answer_of, read_marker, with_marker
from promoter.application.markdown.text import inline
from promoter.application.ports import Clock, Documents, Draft, Forge, Ledger, Locks, PullRequest, Repository, State
from promoter.application.proposals.asked import AskedFor, answered, decided, of_override
from promoter.application.proposals.drafts import Drafts
from promoter.application.proposals.evidence import Comparer
from promoter.application.proposals.into_git import wanted_content
from promoter.application.proposals.notes import LEFT_ALONE, keep_note
from promoter.application.proposals.scene import Scene, Wanted
from promoter.application.proposals.sites import Site, Sites, refused
from promoter.application.proposals.wants import found_by_looking, overtaken
from promoter.application.pulls.verified import Verified
from promoter.application.revisions import Revisions
from promoter.application.survey import Surveyor
from promoter.domain.faults import Overtaken, Refused, Unavailable
from promoter.domain.override import Override
from promoter.domain.proposal import Proposal

log = structlog.get_logger(__name__)

ROUNDS = 5
"""How often one look begins again when somebody writes first, before it leaves the rest to the next."""


@dataclass(frozen=True)
class Rooms:
    """The ports and use cases that it works with."""

    forge: Forge
    repository: Repository
    documents: Documents
    ledger: Ledger
    locks: Locks
    clock: Clock
    survey: Surveyor
    revisions: Revisions
    compare: Comparer


class OpenProposals:
    """Looks at the proposals for one model at a time."""

    def __init__(self, rooms: Rooms) -> None:
        """Takes the ports and use cases."""
        self._rooms = rooms
        self._sites = Sites(rooms.forge, rooms.repository)
        self._asked_for = AskedFor(rooms.repository, rooms.documents)
        self._draft = Drafts(rooms.forge, rooms.repository, rooms.compare)
        self._noted = Verified(rooms.clock)
        self._listed: dict[str, Sequence[PullRequest]] = {}

    def models(self, opened: Sequence[PullRequest], also: Collection[str] = ()) -> frozenset[str]:
        """The models that have something open, or a branch that waits to be opened or cleared away; and `also`.

        The next look at each goes by this list of all that is open, which may be another by then: what is written is read
        again before, and where it is another, the look begins again with a list of its own.
        """
        found = self._sites.models(opened) | frozenset(also)
        self._noted.only({pull.number for pull in opened})
        self._listed = dict.fromkeys(found, opened)
        return found

    def opened(self, proposal: Proposal) -> PullRequest:
        """The open pull request for what a person asks for, whose branch is pushed: looks once, and opens it where it is not.

        Raises `Unavailable` where it is not open yet: the next look opens it.
        """
        self.one(proposal.edit.model)
        found = self._rooms.forge.latest_from(proposal.branch)
        if found is None or found.state is not State.OPEN:
            raise Unavailable(self._rooms.forge.name, f"there is no open pull request from {proposal.branch} yet")
        return found

    def one(self, model: str) -> bool:
        """Look at the proposals for a model; whether the model itself has to be looked at after that.

        Raises `Refused` where a person has to act, once everything else is done.
        """
        with self._rooms.locks.hold(f"proposals/{model}"):
            listed = self._listed.pop(model, None)
            for _ in range(ROUNDS):
                try:
                    return self._round(model, listed)
                except Overtaken as error:
                    log.info("somebody wrote first, looking again", model=model, why=error.message)
                    listed = None
        raise Unavailable("git", f"the proposals for {model} kept changing while they were looked at; the next look goes on")

    def _round(self, model: str, listed: Sequence[PullRequest] | None) -> bool:
        rooms = self._rooms
        found = self._sites.read(model, listed)
        declaration = rooms.revisions.refresh().declaration
        if declaration is None or declaration.revision is None or not rooms.revisions.current:
            return False
        view = rooms.survey(declaration, {model})
        base, seen = declaration.revision, view.models.get(model)
        scene = Scene(model, base, rooms.repository.read(base), view, seen)
        looked = found_by_looking(seen)
        wanted: list[Wanted] = []
        trouble: list[Refused] = []
        again = False
        for site in self._sites.of(model, seen.intent.aliases if seen else {}, base, found):
            try:
                again |= self._look(site, scene, looked.get(site.alias), wanted)
            except Refused as error:
                trouble.append(error)
        trouble += self._draft(scene, wanted)
        if trouble:
            raise trouble[0]
        return again

    def _look(self, site: Site, scene: Scene, found: Proposal | None, wanted: list[Wanted]) -> bool:
        """Add what is to be open; where nothing is, leave the site in order. Whether an override ended."""
        said, override = scene.said(site.alias), scene.override(site.alias)
        asked = self._asked_for(site, said)
        last = None
        if site.pull is None and (asked or override or found):
            last = self._last(site, scene)
        ended = override is not None and self._end(override, last)
        urgent = None if override is None or ended else of_override(override, said)
        if not site.ours:
            self._leave(site, urgent or found)
            return ended
        in_order = [
            None if decided(site, last) else asked,
            urgent,
            None if found is None or _declined(site, last, found) else found,
        ]
        for proposal in in_order:
            content = self._edited(scene, proposal) if proposal else None
            if proposal and content is not None:
                wanted.append(Wanted(site, proposal, content, last))
                return ended
        self._clear(site, scene)
        return ended

    def _last(self, site: Site, scene: Scene) -> PullRequest | None:
        """The branch's last pull request. It is not open, and git has it where it was merged; or this look began too early."""
        last = self._rooms.forge.latest_from(site.branch)
        if last is not None and last.state is State.OPEN:
            raise Overtaken(self._rooms.forge.name, f"{last.url} was opened during this look")
        if last is not None and last.state is State.MERGED:
            declaration = self._rooms.revisions.refresh().declaration
            if declaration is None or declaration.revision != scene.base:
                raise Overtaken("git", f"{last.url} may have been merged during this look")
        return last

    def _end(self, override: Override, last: PullRequest | None) -> bool:
        """Where a person decided otherwise, git's word counts again."""
        told = answered(override, last)
        if told is None:
            return False
        self._rooms.ledger.end_override(override.id, self._rooms.clock.now(), f"declined: {told}")
        log.info("override declined", model=override.model, alias=override.alias, why=told)
        return True

    def _leave(self, site: Site, found: Proposal | None) -> None:
        """A person committed to the branch: nothing of it is touched."""
        if site.pull is not None:
            log.info("somebody committed to the branch, left alone", branch=site.branch, pull_request=site.pull.url)
            if not self._noted.so(site.pull.number, LEFT_ALONE):
                self._still_open(site.pull)
                keep_note(self._rooms.forge, site.pull.number, LEFT_ALONE)
                self._noted.keep(site.pull.number, LEFT_ALONE)
        elif found is not None:
            raise Refused(
                "git",
                f"{site.branch} has commits that are not Promoter's, and no pull request: {found.subject!r} is not proposed",
                "open a pull request from the branch, or delete it",
            )

    def _edited(self, scene: Scene, proposal: Proposal) -> bytes | None:
        """`registry.yaml` as it asks for; None where git says so already."""
        wanted = wanted_content(self._rooms.repository, self._rooms.documents, scene.base, proposal)
        return wanted[0] if wanted else None

    def _clear(self, site: Site, scene: Scene) -> None:
        """Nothing is to be open. What is, and is overtaken, is closed; the branch goes, where nobody has it open."""
        if site.pull is not None:
            marker = site.marker
            why = overtaken(scene.view, scene.seen, marker, scene.said(site.alias)) if marker else None
            why = why or (marker.withdrawn if marker else None)  # what has begun finishes
            if marker is None or why is None:
                return
            self._withdraw(site.pull, marker, why)
        elif site.head is not None:
            last = self._rooms.forge.latest_from(site.branch)
            if last is not None and last.state is State.OPEN:  # a forge would close it with its branch, as if a person said no
                raise Overtaken(self._rooms.forge.name, f"{last.url} is open by now")
        if site.head is not None:
            self._rooms.repository.discard(site.branch, site.head)
            log.info("branch removed", branch=site.branch)

    def _withdraw(self, pull: PullRequest, marker: Marker, why: str) -> None:
        """Says so first, so that nobody takes it for a person's no."""
        forge = self._rooms.forge
        self._still_open(pull)
        if marker.withdrawn != why:
            forge.revise(pull.number, Draft(pull.branch, pull.title, with_marker(pull.body, replace(marker, withdrawn=why))))
        keep_note(forge, pull.number, f"Overtaken: {inline(why)}.")
        forge.close(pull.number)
        log.info("proposal closed", pull_request=pull.url, why=why)

    def _still_open(self, pull: PullRequest) -> None:
        forge = self._rooms.forge
        if forge.pull_request(pull.number).state is not State.OPEN:
            raise Overtaken(forge.name, f"{pull.url} is not open any more")


def _declined(site: Site, last: PullRequest | None, found: Proposal) -> bool:
    """Whether a person said no to it: to the last pull request of the branch, or to one before what is open now."""
    if site.pull is None:
        return refused(last, found.subject, answer_of(found))
    told = read_marker(site.pull.body)
    return told is not None and answer_of(found) in told.declined
