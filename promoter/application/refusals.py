"""Refusals: read from the ledger, recorded where a person closes a proposal, and taken back where a person asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from threading import Lock

import structlog

from promoter.application.markdown.proposal import find_answer_key, parse_marker
from promoter.application.ports import Clock, Forge, Ledger, ObservationLog, PullRequest, PullRequestState
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.proposal import Proposal
from promoter.domain.refusals import Refusal, RefusalMemory

log = structlog.get_logger(__name__)


class RefusalReader:
    """Reads what stands refused. It remembers what it has read, and each time reads only what was recorded since."""

    def __init__(self, ledger: ObservationLog) -> None:
        self._ledger = ledger
        self._memory = RefusalMemory()
        self._lock = Lock()

    def find_of_models(self, observed: Mapping[str, ObservedModel]) -> dict[str, dict[str, tuple[Refusal, ...]]]:
        """Find what stands refused of these versions, by model and alias."""
        with self._lock:
            self._update()
            return {name: self._memory.find_of_model(name, model) for name, model in observed.items()}

    def find_standing(self, model: str, alias: str) -> tuple[Refusal, ...]:
        """Find what stands refused for the alias, the oldest first."""
        with self._lock:
            self._update()
            return self._memory.find_standing(model, alias)

    def is_answered(self, model: str, alias: str, answer_key: str, since: datetime | None = None) -> bool:
        """Whether the ledger knows a yes or no of a person to that, from that moment on."""
        with self._lock:
            self._update()
            return self._memory.is_answered(model, alias, answer_key, since)

    def _update(self) -> None:
        self._memory.add_events(self._ledger.find_refusal_events(self._memory.entry))


class RefusalRecorder:
    """Records what people decided about pull requests of Promoter's: a no where one was closed, and a second thought."""

    def __init__(self, forge: Forge, ledger: Ledger, clock: Clock) -> None:
        self._forge = forge
        self._ledger = ledger
        self._clock = clock
        self._reader = RefusalReader(ledger)

    def record_answers(
        self, key: tuple[str, str], pull: PullRequest | None, found: Proposal | None, observed: ObservedModel
    ) -> bool:
        """Record each no that the pull request of that model and alias knows and the ledger does not; return whether any was.

        `found` is what rotation proposes: where somebody removed the marker from the body, the title tells what was refused.
        """
        recorded = False
        for refusal, since in self._iterate_answers(key, pull, found, observed) if pull else ():
            if self._reader.is_answered(refusal.model, refusal.alias, refusal.answer_key, since):
                continue
            event = LifecycleEvent(self._clock.now(), LifecycleEventType.REFUSED, refusal.event_facts)
            self._ledger.record_lifecycle_event(event)
            log.info("a person refused a version", model=refusal.model, alias=refusal.alias, version=refusal.version,
                     by=refusal.by, pull_request=refusal.pull_request)  # fmt: skip
            recorded = True
        return recorded

    def record_second_thought(self, pull: PullRequest) -> bool:
        """Take back the no that closing the pull request was, where somebody has opened it again; return whether it was one."""
        marker = parse_marker(pull.body)
        if marker is None or marker.version is None:
            return False
        standing = self._reader.find_standing(marker.model, marker.alias)
        mine = [each for each in standing if each.answer_key == marker.answer_key and each.pull_request == pull.url]
        if not mine or self._forge.read_pull_request(pull.number).state is not PullRequestState.OPEN:
            return False
        reason = f"{pull.url} was opened again"
        _record_reconsidered(self._ledger, self._clock, (marker.model, marker.alias), marker.version, None, reason)
        return True

    def _iterate_answers(
        self, key: tuple[str, str], pull: PullRequest, found: Proposal | None, observed: ObservedModel
    ) -> Iterator[tuple[Refusal, datetime | None]]:
        """Yield each no in the pull request, with the moment from which on an entry of the ledger would be about it."""
        model, alias = key
        marker, closed = parse_marker(pull.body), pull.state is PullRequestState.CLOSED
        for answer_key in marker.declined if marker else ():
            version = _parse_version(answer_key)
            yield Refusal(model, alias, answer_key, version, self._clock.now(), identity=observed.find_identity(version)), None
        if not closed or (marker and marker.withdrawn):
            return
        if marker:
            answer_key, version = marker.answer_key, marker.version
        elif found and pull.title == found.subject_line:
            answer_key, version = find_answer_key(found), found.edit.version
        else:
            return
        at = pull.closed_at or self._clock.now()
        if self._reader.is_answered(model, alias, answer_key, pull.closed_at):
            return  # without asking the forge who it was
        by = self._forge.find_closing_account(pull.number)
        yield Refusal(model, alias, answer_key, version, at, by, pull.url, observed.find_identity(version)), pull.closed_at


class RefusalReconsiderer:
    """Takes back a person's no: the version is proposed again, once it is the best candidate."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def __call__(self, model: str, alias: str, version: int, by: str, reason: str | None) -> Refusal:
        """Return the no that was taken back. Raises `PermanentError` where nobody refused the version for the alias."""
        standing = RefusalReader(self._ledger).find_standing(model, alias)
        refused = next((each for each in standing if each.version == version), None)
        if refused is None:
            known = ", ".join(f"v{each.version}" for each in standing)
            fix = f"what was refused: {known}" if known else "`promoter explain` shows what keeps a version from being proposed"
            raise PermanentError("reconsider", f"nobody refused v{version} for {model}@{alias}", fix)
        _record_reconsidered(self._ledger, self._clock, (model, alias), version, by, reason)
        return refused


def _record_reconsidered(
    ledger: Ledger, clock: Clock, key: tuple[str, str], version: int, by: str | None, reason: str | None
) -> None:
    facts = {"model": key[0], "alias": key[1], "version": version, "by": by, "reason": reason}
    known = {name: value for name, value in facts.items() if value is not None}
    ledger.record_lifecycle_event(LifecycleEvent(clock.now(), LifecycleEventType.RECONSIDERED, known))


def _parse_version(answer_key: str) -> int | None:
    """Parse the version in a key such as `rotate:2`; None where it names none."""
    number = answer_key.split(":")[1] if ":" in answer_key else ""
    return int(number) if number.isascii() and number.isdigit() else None
