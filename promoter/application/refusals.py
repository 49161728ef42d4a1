"""Refusals: read from the ledger, recorded where a person closes a proposal, and taken back where a person asks for that.

The ledger decides. The markers in pull requests are a second memory: they count for what the ledger has nothing of, such as
after a ledger was lost. Opening a pull request again takes the refusal back that closing it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from threading import Lock

import structlog

from promoter.application.markdown.proposal import parse_marker
from promoter.application.ports import Clock, Forge, ObservationLog, PullRequest, PullRequestState, Registry
from promoter.application.proposals.branches import ProposalBranch
from promoter.domain.errors import PermanentError
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.proposal import IDENTITY_TRAILER, Proposal
from promoter.domain.refusals import ProposalRefusal, RefusalMemory, RefusedAnswer, find_answer_key
from promoter.domain.rollback import parse_person, parse_reason

log = structlog.get_logger(__name__)


class RefusalReader:
    """Reads what stands refused. It remembers what it has read, and each time reads only what was recorded since."""

    def __init__(self, ledger: ObservationLog) -> None:
        self._ledger = ledger
        self._memory = RefusalMemory()
        self._lock = Lock()

    def find_of_models(self, observed: Mapping[str, ObservedModel]) -> dict[str, dict[str, tuple[ProposalRefusal, ...]]]:
        """Find what stands refused of these versions, by model and alias."""
        with self._lock:
            self._update()
            return {name: self._memory.find_of_model(name, model) for name, model in observed.items()}

    def find_standing(self, model: str, alias: str) -> tuple[ProposalRefusal, ...]:
        """Find what stands refused for the alias, the oldest first."""
        with self._lock:
            self._update()
            return self._memory.find_standing(model, alias)

    def find_aliases(self, model: str, version: int) -> tuple[str, ...]:
        """Find the aliases for which that version stands refused."""
        with self._lock:
            self._update()
            found = self._memory.find_of_model(model)
        return tuple(sorted(alias for alias, refusals in found.items() if any(each.version == version for each in refusals)))

    def is_known(self, refusal: ProposalRefusal, closed: datetime | None) -> bool:
        """Return whether the ledger has recorded this closing; without a pull request, whether it has any answer of that key.

        `closed` is when the forge says that the pull request was closed.
        """
        with self._lock:
            self._update()
            memory = self._memory
            return memory.knows_answer(refusal, closed) if refusal.pull_request else memory.knows_key(refusal)

    def _update(self) -> None:
        self._memory.add_events(self._ledger.find_refusal_events(self._memory.entry))


class RefusalRecorder:
    """Records refusals where people close pull requests of Promoter's, and takes them back where they open these again."""

    def __init__(self, forge: Forge, ledger: ObservationLog, clock: Clock) -> None:
        self._forge = forge
        self._ledger = ledger
        self._clock = clock
        self._reader = RefusalReader(ledger)

    def record_answers(
        self, site: ProposalBranch, pull: PullRequest | None, found: Proposal | None, observed: ObservedModel
    ) -> bool:
        """Record each refusal that the branch's newest pull request has and the ledger has not; return whether there was one.

        `found` is what is proposed now: where somebody removed the marker from the body, the title shows what was refused.
        """
        if pull is None:
            return False
        recorded = False
        for refusal in (*self._iterate_own(site, pull, found, observed), *self._iterate_remembered(site, pull, observed)):
            event = LifecycleEvent(self._clock.now(), LifecycleEventType.REFUSED, refusal.event_facts)
            self._ledger.record_lifecycle_event(event)
            log.info("a person refused a version", model=refusal.model, alias=refusal.alias, version=refusal.version,
                     by=refusal.by, pull_request=refusal.pull_request)  # fmt: skip
            recorded = True
        return recorded

    def record_reopening(self, site: ProposalBranch, pull: PullRequest) -> bool:
        """Take back what was refused by closing the pull request, if it is open again; return whether anything was."""
        standing = self._reader.find_standing(site.model, site.alias)
        mine = [each for each in standing if each.pull_request == pull.url]
        if not mine or self._forge.read_pull_request(pull.number).state is not PullRequestState.OPEN:
            return False
        for each in mine:
            _record_reconsidered(self._ledger, self._clock, each, None, f"{pull.url} was opened again")
        return True

    def _iterate_own(
        self, site: ProposalBranch, pull: PullRequest, found: Proposal | None, observed: ObservedModel
    ) -> Iterator[ProposalRefusal]:
        """Yield what was refused by closing it: nothing where Promoter closed it, or where a person had asked for it."""
        marker = parse_marker(pull.body)
        if pull.state is not PullRequestState.CLOSED or (marker and marker.withdrawn):
            return
        key = marker.answer_key if marker else find_answer_key(found) if found and pull.title == found.subject_line else ""
        answer = RefusedAnswer.parse(key)
        if answer is None:
            return
        at, identity = pull.closed_at or self._clock.now(), _find_refused_identity(site, pull, answer.version, observed)
        refusal = ProposalRefusal(site.model, site.alias, key, answer.version, at, None, pull.url, identity)
        if not self._reader.is_known(refusal, pull.closed_at):  # only then the forge is asked who it was
            yield replace(refusal, by=self._find_closing_account(pull))

    def _iterate_remembered(
        self, site: ProposalBranch, pull: PullRequest, observed: ObservedModel
    ) -> Iterator[ProposalRefusal]:
        """Yield the refusals of earlier pull requests in the marker, of versions that were there before it was closed."""
        marker = parse_marker(pull.body)
        for key in marker.declined if marker else ():
            answer = RefusedAnswer.parse(key)
            present = observed.find_present(answer.version) if answer else None
            if answer is None or present is None or (marker and key == marker.answer_key):
                continue
            at = pull.closed_at or self._clock.now()
            refusal = ProposalRefusal(site.model, site.alias, key, answer.version, at, identity=present.identity)
            if present.created_at <= at and not self._reader.is_known(refusal, None):
                yield refusal

    def _find_closing_account(self, pull: PullRequest) -> str | None:
        """Find who closed it. Where the forge does not let Promoter read that, the refusal counts without a name."""
        try:
            return self._forge.find_closing_account(pull.number)
        except PermanentError as error:
            log.warning("who closed it cannot be read", pull_request=pull.url, answer=error.message)
            return None


def _find_refused_identity(site: ProposalBranch, pull: PullRequest, version: int, observed: ObservedModel) -> str | None:
    """Return the identity by the branch's commit, else that of the version with the number, if it was there in time."""
    tip = site.tip
    if tip and site.ours and tip.revision == pull.head and tip.trailers.get(IDENTITY_TRAILER):
        return tip.trailers[IDENTITY_TRAILER]
    present = observed.find_present(version)
    in_time = present is not None and (pull.closed_at is None or present.created_at <= pull.closed_at)
    return present.identity if present and in_time else None


class RefusalReconsiderer:
    """Takes a refusal back when a person asks for that: the version is proposed again, once it is the best candidate."""

    def __init__(
        self,
        ledger: ObservationLog,
        clock: Clock,
        registry: Registry,
        folder: RepositoryFolder,
        find_forge: Callable[[], Forge | None],
    ) -> None:
        """`find_forge` is called where the ledger knows of no refusal: the alias's last pull request may remember one."""
        self._ledger = ledger
        self._clock = clock
        self._registry = registry
        self._folder = folder
        self._find_forge = find_forge
        self._reader = RefusalReader(ledger)

    def __call__(self, model: str, alias: str, version: int, by: str, reason: str | None) -> tuple[ProposalRefusal, ...]:
        """Return each refusal that was taken back. Raises `PermanentError` where nobody refused the version for the alias."""
        by, reason = parse_person(by, _WHAT), parse_reason(reason, _WHAT)
        refused = self._find_refusals(model, alias, version) or (
            self._find_refusals(model, alias, version) if self._read_forge(model, alias) else ()
        )
        if not refused:
            raise self._build_error(model, alias, version)
        for each in refused:
            _record_reconsidered(self._ledger, self._clock, each, by, reason)
        return refused

    def _find_refusals(self, model: str, alias: str, version: int) -> tuple[ProposalRefusal, ...]:
        return tuple(each for each in self._reader.find_standing(model, alias) if each.version == version)

    def _read_forge(self, model: str, alias: str) -> bool:
        """Record the refusals that only the alias's last pull request has; return whether there was one."""
        forge, branch = self._find_forge(), self._folder.build_branch_name(model, alias)
        last = forge.find_latest_pull_request(branch) if forge else None
        if forge is None or last is None:
            return False
        observed = self._registry.observe_models({model}).get(model) or ObservedModel(model)
        site = ProposalBranch(model, alias, branch)
        return RefusalRecorder(forge, self._ledger, self._clock).record_answers(site, last, None, observed)

    def _build_error(self, model: str, alias: str, version: int) -> PermanentError:
        message, standing = f"nobody refused v{version} for {model}@{alias}", self._reader.find_standing(model, alias)
        known = ", ".join(dict.fromkeys(f"v{each.version}" for each in standing))
        if known:
            return PermanentError(_WHAT, message, f"what was refused: {known}")
        others = " or ".join(f"{model}@{each}" for each in self._reader.find_aliases(model, version))
        if others:
            return PermanentError(_WHAT, message, f"did you mean {others}?")
        return PermanentError(_WHAT, message, "`promoter explain` shows what keeps a version from being proposed")


_WHAT = "reconsider"


def _record_reconsidered(
    ledger: ObservationLog, clock: Clock, refusal: ProposalRefusal, by: str | None, reason: str | None
) -> None:
    named = {"model": refusal.model, "alias": refusal.alias, "version": refusal.version, "answer_key": refusal.answer_key}
    facts = {**named, "by": by, "reason": reason}
    known = {name: value for name, value in facts.items() if value is not None}
    ledger.record_lifecycle_event(LifecycleEvent(clock.now(), LifecycleEventType.RECONSIDERED, known))
    log.info("a refusal is taken back", model=refusal.model, alias=refusal.alias, version=refusal.version, by=by)
