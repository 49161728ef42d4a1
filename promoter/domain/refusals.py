"""Refusals: what a person turned down for an alias by closing its pull request, and how that is taken back.

The ledger keeps each refusal, and each time one is taken back, as a lifecycle event. A refusal stands until a later event of
the same alias and version takes it back, and only for the version that had the number then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.audit import AliasKey
from promoter.domain.fields import format_utc
from promoter.domain.identity import RememberedVersion
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.proposal import Proposal, ProposalReason
from promoter.domain.text import version_label

_WHAT = {
    ProposalReason.ROTATE: "{version}",
    ProposalReason.GUARD: "the return from {replaces} to {version}",
    ProposalReason.ADOPT: "the adoption of {version}",
    ProposalReason.PUT_BACK: "the way back in git from {replaces} to {version}",
}
"""What a person turns down, by the reason of the proposal.

Rollbacks, holds and quarantines are requests: closing them answers these.
"""
REFUSABLE_REASONS = tuple(_WHAT)
_WAYS_BACK = (ProposalReason.GUARD, ProposalReason.PUT_BACK)
"""What is refused as a way from one version to another."""
_MAX_DIGITS = 18
REMEMBERED_BY_MARKERS = 100
"""How many refusals the text of a pull request remembers: the newest."""


def build_answer_key(aim: ProposalReason, version: int | None, replaces: int | None) -> str:
    """Build the key by which what was turned down is known again; for a way back, the version that it leaves too."""
    return f"{aim}:{version}" + (f":{replaces}" if aim in _WAYS_BACK else "")


def find_answer_key(proposal: Proposal) -> str:
    """Find the key of what a person turns down by closing the pull request of that proposal."""
    return build_answer_key(proposal.aim, proposal.edit.version, proposal.replaces)


@dataclass(frozen=True)
class RefusedAnswer:
    """What a key says was turned down."""

    aim: ProposalReason
    """A rotation, the return that a broken guard asks for, the adoption of a move by hand, or a way back in git."""
    version: int
    """The version that was proposed."""
    replaces: int | None = None
    """Of a way back, the version that it leaves."""

    @classmethod
    def parse(cls, key: str) -> RefusedAnswer | None:
        """Parse a key; None for any other text, and for the requests of persons, which are answered and not refused."""
        aim, *numbers = key.split(":")
        plain = all(each.isascii() and each.isdigit() and len(each) <= _MAX_DIGITS for each in numbers)
        if aim not in {each.value for each in _WHAT} or not plain:
            return None
        if len(numbers) != (2 if aim in _WAYS_BACK else 1):
            return None
        return cls(ProposalReason(aim), int(numbers[0]), int(numbers[1]) if numbers[1:] else None)

    def __str__(self) -> str:
        return _WHAT[self.aim].format(version=version_label(self.version), replaces=version_label(self.replaces))


@dataclass(frozen=True)
class ProposalRefusal:
    """One proposal for an alias that a person turned down."""

    model: str
    """The registered model."""
    alias: str
    """The alias that was to move."""
    answer_key: str
    """What was turned down, as `build_answer_key` writes it: the reason of the proposal, and its version."""
    version: int
    """The version that was proposed."""
    at: datetime
    """When the pull request was closed, or when Promoter learned of it."""
    by: str | None = None
    """The account that closed it; None: the forge does not name it."""
    pull_request: str | None = None
    """The address of the pull request; None: a later pull request remembered it, and the ledger did not."""
    identity: str | None = None
    """The identity of the version; None: unknown."""

    @property
    def answer(self) -> RefusedAnswer:
        """What was turned down."""
        return RefusedAnswer.parse(self.answer_key) or RefusedAnswer(ProposalReason.ROTATE, self.version)

    @property
    def aim(self) -> ProposalReason:
        """Why the version was proposed."""
        return self.answer.aim

    @property
    def replaces(self) -> int | None:
        """Of a way back, the version that it leaves."""
        return self.answer.replaces

    @property
    def is_of_rotation(self) -> bool:
        """Whether it was rotation that proposed the version."""
        return self.aim is ProposalReason.ROTATE

    @property
    def description(self) -> str:
        """What was refused, by whom, when and where, in one line."""
        if self.pull_request is None:
            return f"{self.answer} was refused in an earlier pull request; by whom and when is not known"
        by = self.by or "an account that the forge does not name"
        return f"{self.answer} was refused by {by} on {format_utc(self.at)} ({self.pull_request})"

    @property
    def way_back(self) -> str:
        """The command that takes it back."""
        return f"promoter reconsider {self.model}@{self.alias} {self.version}"

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records it."""
        facts = {name: value for name, value in vars(self).items() if name != "at" and value is not None}
        return {**facts, "closed": self.at.isoformat()}

    @classmethod
    def from_event(cls, event: LifecycleEvent) -> ProposalRefusal | None:
        """Read it from an event of the type REFUSED; None where its facts are none of a refusal."""
        facts = event.facts
        answer = RefusedAnswer.parse(str(facts.get("answer_key")))
        if answer is None or not (facts.get("model") and facts.get("alias")):
            return None
        return cls(
            str(facts["model"]),
            str(facts["alias"]),
            str(facts["answer_key"]),
            answer.version,
            _read_moment(facts) or event.at,
            **{name: str(facts[name]) if facts.get(name) else None for name in ("by", "pull_request", "identity")},
        )

    def still_holds(self, observed: ObservedModel) -> bool:
        """Whether the version that has the number now is the one that was turned down."""
        return observed.still_has(RememberedVersion(self.version, self.identity, self.at))


def find_refusal(refusals: Iterable[ProposalRefusal], proposal: Proposal) -> ProposalRefusal | None:
    """Return which of an alias's refusals is about that proposal; None where nobody turned it down."""
    key = find_answer_key(proposal)
    return next((each for each in refusals if each.answer_key == key), None)


class RefusalMemory:
    """The refusals of a ledger, event by event: which stand, and which were ever recorded."""

    def __init__(self) -> None:
        self._standing: dict[AliasKey, dict[str, ProposalRefusal]] = {}
        self._answered: dict[tuple[AliasKey, str], set[tuple[str | None, datetime]]] = {}
        self.entry = 0
        """The number of the last event that was added."""

    def add_events(self, events: Iterable[LifecycleEvent]) -> None:
        """Add events of the types REFUSED and RECONSIDERED, in the order of their numbers; known ones change nothing."""
        for event in events:
            if event.id <= self.entry:
                continue
            self.entry = event.id
            if event.event is LifecycleEventType.RECONSIDERED:
                self._take_back(event)
            elif refusal := ProposalRefusal.from_event(event):
                self._add_refusal(refusal)

    def _add_refusal(self, refusal: ProposalRefusal) -> None:
        key = (refusal.model, refusal.alias)
        self._standing.setdefault(key, {})[refusal.answer_key] = refusal
        self._answered.setdefault((key, refusal.answer_key), set()).add((refusal.pull_request, refusal.at))

    def _take_back(self, event: LifecycleEvent) -> None:
        facts = event.facts
        of_alias = self._standing.get((str(facts.get("model")), str(facts.get("alias"))), {})
        wanted = facts.get("answer_key")
        for key, refusal in list(of_alias.items()):
            if refusal.version == facts.get("version") and wanted in (None, key):
                del of_alias[key]

    def find_standing(self, model: str, alias: str) -> tuple[ProposalRefusal, ...]:
        """Return what stands refused for the alias, the oldest first."""
        of_alias = self._standing.get((model, alias), {})
        return tuple(sorted(of_alias.values(), key=lambda each: (each.at, each.answer_key)))

    def find_of_model(self, model: str, observed: ObservedModel | None = None) -> dict[str, tuple[ProposalRefusal, ...]]:
        """Return by alias what stands refused of the versions in `observed`; None: of any versions.

        What was refused of an earlier version with the same number is left out.
        """
        aliases = [alias for name, alias in self._standing if name == model]
        found = {alias: self.find_standing(model, alias) for alias in aliases}
        kept = {
            alias: tuple(each for each in refusals if observed is None or each.still_holds(observed))
            for alias, refusals in found.items()
        }
        return {alias: refusals for alias, refusals in kept.items() if refusals}

    def knows_key(self, refusal: ProposalRefusal) -> bool:
        """Return whether the ledger has any answer of that alias and key: then the text of a pull request counts no more."""
        return ((refusal.model, refusal.alias), refusal.answer_key) in self._answered

    def knows_answer(self, refusal: ProposalRefusal, closed: datetime | None) -> bool:
        """Return whether exactly this closing is recorded, also where it was taken back since.

        `closed` is when the forge says that it was closed; None: it does not say, and any closing of the pull request counts.
        Only moments that the forge gave are compared, so that no clock has to agree with another one.
        """
        known = self._answered.get(((refusal.model, refusal.alias), refusal.answer_key), set())
        return any(url == refusal.pull_request and closed in (None, at) for url, at in known)


def _read_moment(facts: Mapping[str, Any]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(facts.get("closed")))
    except ValueError:
        return None
    return found if found.tzinfo else None
