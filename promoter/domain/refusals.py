"""Refusals: what a person turned down for an alias by closing its pull request, and how that is taken back.

The ledger keeps each no and each taking back as a lifecycle event. A no stands until a later event of the same alias and
version takes it back, and only for the version that had the number then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.audit import AliasKey
from promoter.domain.identity import RememberedVersion
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.proposal import ProposalReason
from promoter.domain.text import version_label


@dataclass(frozen=True)
class Refusal:
    """A no of a person to one proposal for an alias."""

    model: str
    """The registered model."""
    alias: str
    """The alias that was to move."""
    answer_key: str
    """What was turned down, as `build_answer_key` writes it: the reason of the proposal, and its version."""
    version: int | None
    """The version that was proposed."""
    at: datetime
    """When the pull request was closed, or when Promoter learned of it."""
    by: str | None = None
    """The account that closed it; None: the forge does not tell."""
    pull_request: str | None = None
    """The address of the pull request; None: a later pull request remembered it, and the ledger did not."""
    identity: str | None = None
    """The identity of the version; None: unknown."""

    @property
    def is_of_rotation(self) -> bool:
        """Whether it was rotation that proposed the version."""
        return self.answer_key.startswith(f"{ProposalReason.ROTATE}:")

    @property
    def description(self) -> str:
        """The no in one line: which version, by whom, when and where."""
        by = self.by or "somebody"
        where = f" ({self.pull_request})" if self.pull_request else ""
        return f"{version_label(self.version)} was refused by {by} on {self.at:%Y-%m-%d %H:%M} UTC{where}"

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records it."""
        facts = {name: value for name, value in vars(self).items() if name != "at" and value is not None}
        return {**facts, "closed": self.at.isoformat()}

    @classmethod
    def from_event(cls, event: LifecycleEvent) -> Refusal:
        """Read it from an event of the type REFUSED."""
        facts = event.facts
        names = ("by", "pull_request", "identity")
        return cls(
            str(facts["model"]),
            str(facts["alias"]),
            str(facts["answer_key"]),
            facts.get("version"),
            datetime.fromisoformat(str(facts["closed"])),
            **{name: facts.get(name) for name in names},
        )

    def still_holds(self, observed: ObservedModel) -> bool:
        """Whether the version that has the number now is the one that was turned down."""
        return self.version is None or observed.still_has(RememberedVersion(self.version, self.identity, self.at))


def build_answer_key(aim: ProposalReason, version: int | None, replaces: int | None) -> str:
    """Build the key by which what was turned down is known again; for a guard's rollback, the version that broke too."""
    return f"{aim}:{version}" + (f":{replaces}" if aim is ProposalReason.GUARD else "")


class RefusalMemory:
    """The refusals of a ledger, event by event: which stand, and which were ever recorded."""

    def __init__(self) -> None:
        self._standing: dict[str, dict[str, dict[str, Refusal]]] = {}
        self._answered: dict[tuple[AliasKey, str], datetime] = {}
        self.entry = 0
        """The number of the last event that was added."""

    def add_events(self, events: Iterable[LifecycleEvent]) -> None:
        """Add events of the types REFUSED and RECONSIDERED, in the order of their numbers; known ones change nothing."""
        for event in events:
            if event.id <= self.entry:
                continue
            self.entry = event.id
            if event.event is LifecycleEventType.REFUSED:
                self._add_refusal(Refusal.from_event(event))
            else:
                self._take_back(event)

    def _add_refusal(self, refusal: Refusal) -> None:
        of_model = self._standing.setdefault(refusal.model, {})
        of_model.setdefault(refusal.alias, {})[refusal.answer_key] = refusal
        self._answered[(refusal.model, refusal.alias), refusal.answer_key] = refusal.at

    def _take_back(self, event: LifecycleEvent) -> None:
        model, alias = str(event.facts["model"]), str(event.facts["alias"])
        for refusal in self.find_standing(model, alias):
            if refusal.version == event.facts.get("version"):
                del self._standing[model][alias][refusal.answer_key]
                self._answered[(model, alias), refusal.answer_key] = event.at

    def find_standing(self, model: str, alias: str) -> tuple[Refusal, ...]:
        """Return what stands refused for the alias, the oldest first."""
        of_alias = self._standing.get(model, {}).get(alias, {})
        return tuple(sorted(of_alias.values(), key=lambda each: (each.at, each.answer_key)))

    def find_of_model(self, model: str, observed: ObservedModel) -> dict[str, tuple[Refusal, ...]]:
        """Return by alias what stands refused, but for what another version was refused for that had the number before."""
        found = {alias: self.find_standing(model, alias) for alias in self._standing.get(model, {})}
        kept = {alias: tuple(each for each in refusals if each.still_holds(observed)) for alias, refusals in found.items()}
        return {alias: refusals for alias, refusals in kept.items() if refusals}

    def is_answered(self, model: str, alias: str, answer_key: str, since: datetime | None) -> bool:
        """Whether a yes or no to that is recorded, at that moment or later; `since` None: at any time."""
        at = self._answered.get(((model, alias), answer_key))
        return at is not None and (since is None or at >= since)
