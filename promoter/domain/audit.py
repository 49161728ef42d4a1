"""Audit records: what the ledger keeps, one row a fact, never rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from promoter.domain.review import describe_origin


class RecordKind(StrEnum):
    """CHANGE: Promoter moved an alias. OBSERVED: the registry shows a move that Promoter did not make.

    OVERRIDE: what stands in for git's word until a pull request is decided; the record that names it as `intent` ends it.
    """

    CHANGE = "change"
    OBSERVED = "observed"
    OVERRIDE = "override"


class ChangeOutcome(StrEnum):
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
class NewAuditRecord:
    """A fact before it has an id. `to_version` None: the alias is (to be) gone. `reason` is one line for people.

    `cause` is a `promoter.domain.plan.Cause`, `review` what `Origin.as_json` tells of the pull request that brought the change,
    `until` when an override expires. `not_before`: of what others did, when the registry was last seen as it was before (None:
    nobody knows), so that it happened between then and `at`. `hold` is the reason of the hold that git states with it.
    """

    at: datetime
    kind: RecordKind
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    revision: str | None = None
    actor: str | None = None
    trigger: str | None = None
    policy: str | None = None
    verdict: str | None = None
    outcome: ChangeOutcome | None = None
    reason: str | None = None
    cause: str | None = None
    review: Mapping[str, Any] | None = None
    until: datetime | None = None
    not_before: datetime | None = None
    hold: str | None = None


@dataclass(frozen=True)
class AuditRecord:
    """A row of the ledger. `intent` is the id of the intent that an outcome closes; `decision` the decision's row."""

    id: int
    fact: NewAuditRecord
    intent: int | None = None
    decision: int | None = None
    hash: str | None = None

    @property
    def status_label(self) -> str:
        """What kind of record it is, or how the change stands, in a word or two for people."""
        if self.fact.kind is RecordKind.OVERRIDE:
            return "override over" if self.intent else "override"
        return (self.fact.outcome or self.fact.kind).value

    @property
    def description(self) -> str | None:
        """Its reason for people; of the beginning of an override, until when it stands too."""
        fact = self.fact
        if fact.kind is RecordKind.OVERRIDE and self.intent is None and fact.until:
            return f"until {fact.until:%Y-%m-%d %H:%M} UTC: {fact.reason}"
        return fact.reason

    @property
    def review_summary(self) -> str:
        """The pull request that brought it, for people; empty where none is known."""
        return describe_origin(self.fact.review)

    def to_event_data(self) -> dict[str, Any]:
        """Return every field as events carry it: what a `RecordResponse` says of the record."""
        names = {"from_version": "from", "to_version": "to"}
        facts = {names.get(name, name): value for name, value in vars(self.fact).items()}
        facts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
        return {"id": self.id, **facts, "intent": self.intent, "decision": self.decision, "hash": self.hash}


@dataclass(frozen=True)
class RecordFilter:
    """Which records: each None is no restriction. `since` is the first moment that counts, `until` the first that does not.

    `after` and `before` are ids, for paging upwards and downwards; `newest` keeps the last `limit`.
    """

    model: str | None = None
    alias: str | None = None
    kind: RecordKind | None = None
    outcome: ChangeOutcome | None = None
    after: int | None = None
    limit: int = 1_000
    newest: bool = False
    before: int | None = None
    actor: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class WebhookDelivery:
    """A webhook delivery that was accepted: who sent it, under which id, and what it named."""

    source: str
    id: str
    at: datetime
    event: str
    model: str | None = None


@dataclass(frozen=True)
class RecordedDecision:
    """A decision as the ledger keeps it: `tree` is `Decision.as_json`, `evidence` is `Evidence.as_json`.

    `evidence` is None where there was none, and where it was dropped since: then only `evidence_digest` is left of it.
    `approvers` is the digest of approvers.yaml. `gate`: a change that git states waited for it. `tool` is the version of
    Promoter that decided, `purpose` what for (see `promoter.domain.verdict.Purpose`); None before these were recorded.
    """

    id: int
    at: datetime
    revision: str | None
    tree: dict[str, Any]
    evidence: dict[str, Any] | None
    evidence_digest: str | None = None
    approvers: str | None = None
    gate: bool = False
    trigger: str | None = None
    tool: str | None = None
    hash: str | None = None
    purpose: str | None = None

    @property
    def numbered_tree(self) -> dict[str, Any]:
        """The tree as it was hashed, behind its number and its revision."""
        return {"id": self.id, "revision": self.revision, **self.tree}


def is_alias_move(record: AuditRecord) -> bool:
    """Whether the record says that the registry's alias did move."""
    return record.fact.kind is RecordKind.OBSERVED or record.fact.outcome in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED)
