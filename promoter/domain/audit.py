"""Audit records: what the ledger keeps, one row a fact, never rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from promoter.domain.evidence import Stretch
from promoter.domain.review import in_words


class Kind(StrEnum):
    """CHANGE: Promoter moved an alias. OBSERVED: the registry shows a move that Promoter did not make.

    OVERRIDE: what stands in for git's word until a pull request is decided; the record that names it as `intent` ends it.
    """

    CHANGE = "change"
    OBSERVED = "observed"
    OVERRIDE = "override"


class Outcome(StrEnum):
    """INTENDED opens a change; one of the others closes it. RECOVERED: a crash lay between write and record."""

    INTENDED = "intended"
    APPLIED = "applied"
    FAILED = "failed"
    RECOVERED = "recovered"


class RevisionState(StrEnum):
    """ATTEMPTED: the newest that was tried. APPLIED: in force. REFUSED: its files, or its plan, cannot be used."""

    ATTEMPTED = "attempted"
    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True)
class NewRecord:
    """A fact before it has an id. `to_version` None: the alias is (to be) gone. `reason` is one line for people.

    `cause` is a `promoter.domain.plan.Cause`, `review` what `Origin.as_json` tells of the pull request that brought the change,
    `until` when an override expires.
    """

    at: datetime
    kind: Kind
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    revision: str | None = None
    actor: str | None = None
    trigger: str | None = None
    policy: str | None = None
    verdict: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    cause: str | None = None
    review: Mapping[str, Any] | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class AuditRecord:
    """A row of the ledger. `intent` is the id of the intent that an outcome closes; `decision` the decision's row."""

    id: int
    fact: NewRecord
    intent: int | None = None
    decision: int | None = None
    hash: str | None = None

    @property
    def word(self) -> str:
        """What kind of record it is, or how the change stands, in a word or two for people."""
        if self.fact.kind is Kind.OVERRIDE:
            return "override over" if self.intent else "override"
        return (self.fact.outcome or self.fact.kind).value

    @property
    def told(self) -> str | None:
        """Its reason for people; of the beginning of an override, until when it stands too."""
        fact = self.fact
        if fact.kind is Kind.OVERRIDE and self.intent is None and fact.until:
            return f"until {fact.until:%Y-%m-%d %H:%M} UTC: {fact.reason}"
        return fact.reason

    @property
    def reviewed(self) -> str:
        """The pull request that brought it, for people; empty where none is known."""
        return in_words(self.fact.review)

    def as_json(self) -> dict[str, Any]:
        """The shape of `audit list --format json`."""
        fact = self.fact
        return {
            "id": self.id,
            "at": fact.at.isoformat(),
            "kind": fact.kind.value,
            "model": fact.model,
            "alias": fact.alias,
            "from": fact.from_version,
            "to": fact.to_version,
            "revision": fact.revision,
            "actor": fact.actor,
            "trigger": fact.trigger,
            "policy": fact.policy,
            "verdict": fact.verdict,
            "outcome": fact.outcome.value if fact.outcome else None,
            "reason": fact.reason,
            "cause": fact.cause,
            "review": fact.review,
            "until": fact.until.isoformat() if fact.until else None,
            "intent": self.intent,
            "decision": self.decision,
            "hash": self.hash,
        }


@dataclass(frozen=True)
class RecordFilter:
    """Which records: each None is no restriction. `after` is an id, for paging upwards; `newest` keeps the last `limit`."""

    model: str | None = None
    alias: str | None = None
    kind: Kind | None = None
    outcome: Outcome | None = None
    after: int | None = None
    limit: int = 1_000
    newest: bool = False


@dataclass(frozen=True)
class Delivery:
    """A webhook delivery that was accepted: who sent it, under which id, and what it named."""

    source: str
    id: str
    at: datetime
    event: str
    model: str | None = None


@dataclass(frozen=True)
class RecordedDecision:
    """A decision as the ledger keeps it: `tree` is `Decision.as_json`, `evidence` is `Evidence.as_json`."""

    id: int
    at: datetime
    revision: str | None
    tree: dict[str, Any]
    evidence: dict[str, Any] | None


@dataclass(frozen=True)
class Span:
    """A stretch of time in which a version held an alias. `since` None: before the ledger began. `until` None: still."""

    version: int | None
    since: datetime | None
    until: datetime | None
    revision: str | None
    actor: str | None
    reason: str | None
    review: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The shape of `history --format json`."""
        return {
            "version": self.version,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "revision": self.revision,
            "actor": self.actor,
            "reason": self.reason,
            "review": self.review,
        }


def moved(record: AuditRecord) -> bool:
    """Whether the record says that the registry's alias did move."""
    return record.fact.kind is Kind.OBSERVED or record.fact.outcome in (Outcome.APPLIED, Outcome.RECOVERED)


def spans(records: list[AuditRecord]) -> list[Span]:
    """Who held one alias when, oldest first, from that alias's records in ascending order."""
    facts = [record.fact for record in records if moved(record)]
    ends = [*(fact.at for fact in facts[1:]), None][: len(facts)]
    found = [
        Span(fact.to_version, fact.at, end, fact.revision, fact.actor, fact.reason, fact.review)
        for fact, end in zip(facts, ends, strict=True)
    ]
    if facts and facts[0].from_version is not None:
        found.insert(0, Span(facts[0].from_version, None, facts[0].at, None, None, "before the ledger began"))
    return found


def longest_stretch(records: Sequence[AuditRecord], version: int, at: datetime) -> Stretch | None:
    """The longest time without a break in which the version held the alias of these moves; None where it never did.

    What was before the ledger began does not count, since nobody knows how long it was.
    """
    held = [span for span in spans(list(records)) if span.version == version and span.since is not None]
    found = [Stretch(span.since, span.until) for span in held if span.since is not None]
    return max(found, key=lambda stretch: (stretch.until or at) - stretch.since, default=None)
