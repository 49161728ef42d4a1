"""Audit records, and the other facts that the ledger records: deliveries, revisions, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from promoter.domain.fields import format_utc_minute
from promoter.domain.identity import RememberedVersion
from promoter.domain.review import describe_origin

AliasKey = tuple[str, str]
"""Model and alias."""
_WHERE_KNOWN = ("from_identity", "to_identity", "run_id", "without_artifact_check", "copied_from", "workspace")
"""Fields that are shown only where they are known."""


class RecordKind(StrEnum):
    """What an audit record is about."""

    CHANGE = "change"
    """Promoter moves an alias."""
    OBSERVED = "observed"
    """The registry shows a move that Promoter did not make."""
    OVERRIDE = "override"
    """A version stands in for what git declares until a pull request is decided; a record that names it as `intent` ends it."""
    REPLACED = "replaced"
    """The number that was recorded for the alias stands for another version now, or for none. No alias moved."""


class ChangeOutcome(StrEnum):
    """How far a change got: INTENDED opens it, one of the others closes it."""

    INTENDED = "intended"
    """The write is about to be made."""
    APPLIED = "applied"
    """The write was made, and read back."""
    FAILED = "failed"
    """The write was not made."""
    RECOVERED = "recovered"
    """The write was made, and a crash came before its record."""


OVERRIDE_OVER = "override over"
"""The status label of the record that ends an override."""


class RevisionState(StrEnum):
    """What became of a revision of git."""

    ATTEMPTED = "attempted"
    """It was tried."""
    APPLIED = "applied"
    """It is in force."""
    REFUSED = "refused"
    """Its files, or its plan, cannot be used."""


@dataclass(frozen=True)
class NewAuditRecord:
    """A fact about one alias before it is recorded."""

    at: datetime
    """When it happened, or was observed."""
    kind: RecordKind
    """What it is about."""
    model: str
    """The model's name."""
    alias: str
    """The alias of the model."""
    from_version: int | None
    """The version that held the alias before; None where none did."""
    to_version: int | None
    """The version that holds the alias afterwards; None where it is deleted."""
    revision: str | None = None
    """The revision of git that declares it."""
    actor: str | None = None
    """Who declared or did it."""
    trigger: str | None = None
    """What made Promoter reconcile."""
    policy: str | None = None
    """The name of the policy that decided."""
    verdict: str | None = None
    """The verdict of that policy."""
    outcome: ChangeOutcome | None = None
    """How far a change got; None for other kinds."""
    reason: str | None = None
    """Why, in one line."""
    cause: str | None = None
    """A `promoter.domain.plan.ChangeCause`."""
    review: Mapping[str, Any] | None = None
    """The pull request that brought the change, as `ChangeOrigin.to_json` writes it."""
    until: datetime | None = None
    """When an override expires."""
    not_before: datetime | None = None
    """When the registry was last seen as it was before, so that an observed move lies between then and `at`; None: unknown."""
    hold: str | None = None
    """The reason of the hold that git declares with it."""
    from_identity: str | None = None
    """The identity of `from_version`, as `VersionIdentity.text` writes it; None: unknown."""
    to_identity: str | None = None
    """The identity of `to_version`; None: unknown."""
    run_id: str | None = None
    """The training run of `to_version`; None: it has none, or the record is older than this field."""
    without_artifact_check: bool | None = None
    """Of an override: True where the person asked for the version although its artifact may not pass its check."""
    copied_from: Mapping[str, Any] | None = None
    """The version that `to_version` is a copy of, as `CopyOrigin.facts` has it; None: it is no copy, or the record is older."""
    workspace: str | None = None
    """The workspace of the registry, which the ledger adds; None: the server has none, or the record is older."""

    @property
    def target(self) -> RememberedVersion:
        """The version that holds the alias afterwards, as this record remembers it."""
        return RememberedVersion(self.to_version, self.to_identity, self.at)

    @property
    def origin(self) -> RememberedVersion:
        """The version that held the alias before, as this record remembers it."""
        return RememberedVersion(self.from_version, self.from_identity, self.at)


@dataclass(frozen=True)
class AuditRecord:
    """A fact about one alias as the ledger records it."""

    id: int
    """The number of its entry."""
    fact: NewAuditRecord
    """The fact itself."""
    intent: int | None = None
    """The number of the record that this one closes or ends."""
    decision: int | None = None
    """The number of the decision behind it."""
    hash: str | None = None
    """The hash of its entry."""

    @property
    def status_label(self) -> str:
        """The outcome of a change, otherwise the kind of record, in a word or two."""
        if self.fact.kind is RecordKind.OVERRIDE:
            return OVERRIDE_OVER if self.intent else RecordKind.OVERRIDE.value
        return (self.fact.outcome or self.fact.kind).value

    @property
    def description(self) -> str | None:
        """The reason; where an override begins, also when it expires."""
        fact = self.fact
        if fact.kind is RecordKind.OVERRIDE and self.intent is None and fact.until:
            return f"until {format_utc_minute(fact.until)}: {fact.reason}"
        return fact.reason

    @property
    def review_summary(self) -> str:
        """The pull request that brought it, in words; empty where none is known."""
        return describe_origin(self.fact.review)

    def to_event_data(self) -> dict[str, Any]:
        """Return every field as events carry it: what a `RecordResponse` says of the record."""
        names = {"from_version": "from", "to_version": "to"}
        known = {name: value for name, value in vars(self.fact).items() if value is not None or name not in _WHERE_KNOWN}
        facts = {names.get(name, name): value for name, value in known.items()}
        facts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
        return {"id": self.id, **facts, "intent": self.intent, "decision": self.decision, "hash": self.hash}


@dataclass(frozen=True)
class RecordFilter:
    """Which audit records to find. A field that is None restricts nothing; the others name the value of a record's field."""

    model: str | None = None
    alias: str | None = None
    kind: RecordKind | None = None
    outcome: ChangeOutcome | None = None
    after: int | None = None
    """Only records with a greater number, for paging upwards."""
    limit: int = 1_000
    """How many records at most."""
    newest: bool = False
    """Whether the limit keeps the last records rather than the first."""
    before: int | None = None
    """Only records with a smaller number, for paging downwards."""
    actor: str | None = None
    verdict: str | None = None
    closing: bool | None = None
    """Whether only records that end another one, or only those that do not."""
    since: datetime | None = None
    """The first moment that counts."""
    until: datetime | None = None
    """The first moment that counts no more."""


STATUS_LABELS = (*ChangeOutcome, RecordKind.OBSERVED, RecordKind.REPLACED, RecordKind.OVERRIDE, OVERRIDE_OVER)
"""Every word that `AuditRecord.status_label` has."""


def restrict_to_status_label(where: RecordFilter, label: str) -> RecordFilter:
    """Return the filter, for the records with that status label only. Raises `ValueError` where there is none such."""
    if label in tuple(ChangeOutcome):
        return replace(where, outcome=ChangeOutcome(label))
    if label not in STATUS_LABELS:
        raise ValueError(f"`{label}` is none of {', '.join(STATUS_LABELS)}")
    kind = RecordKind.OVERRIDE if label == OVERRIDE_OVER else RecordKind(label)
    if where.kind not in {None, kind}:
        raise ValueError(f"no record of kind {where.kind} is `{label}`")
    return replace(where, kind=kind, closing=label == OVERRIDE_OVER if kind is RecordKind.OVERRIDE else None)


WEBHOOK_TRIGGER = "webhook:"


def build_webhook_trigger(source: str, delivery: str) -> str:
    """Return the trigger that names a webhook's delivery; without an id it names the source only."""
    return WEBHOOK_TRIGGER + source + (f":{delivery}" if delivery else "")


@dataclass(frozen=True)
class WebhookDelivery:
    """A webhook delivery that was accepted. The ledger keeps those that led to an entry."""

    source: str
    """Who sent it, such as `mlflow` or `github`."""
    id: str
    """The sender's id of the delivery."""
    at: datetime
    """When it arrived."""
    event: str
    """The sender's name of the event."""
    model: str | None = None
    """The model that it names."""

    @property
    def trigger(self) -> str:
        """The trigger of the work that it asks for."""
        return build_webhook_trigger(self.source, self.id)


@dataclass(frozen=True)
class RecordedDecision:
    """A decision as the ledger records it."""

    id: int
    """The number of its entry."""
    at: datetime
    """When it was made."""
    revision: str | None
    """The revision of git that its policy is of."""
    tree: dict[str, Any]
    """The decision, as `Decision.to_json` writes it."""
    evidence: dict[str, Any] | None
    """The evidence, as `Evidence.to_json` writes it; None where there was none, and where it was dropped since."""
    evidence_digest: str | None = None
    """The SHA-256 of the evidence, which stays when that is dropped."""
    approvers: str | None = None
    """The SHA-256 of approvers.yaml."""
    gate: bool = False
    """Whether a change that git declares waited for it."""
    trigger: str | None = None
    """What made Promoter decide."""
    tool: str | None = None
    """The version of Promoter that decided; None before that was recorded."""
    hash: str | None = None
    """The hash of its entry."""
    purpose: str | None = None
    """A `promoter.domain.decision.DecisionPurpose`; None before that was recorded."""

    @property
    def numbered_tree(self) -> dict[str, Any]:
        """The tree as it was hashed, behind its number and its revision."""
        return {"id": self.id, "revision": self.revision, **self.tree}


def is_alias_move(record: AuditRecord) -> bool:
    """Whether the record says that the alias moved in the registry."""
    return record.fact.kind is RecordKind.OBSERVED or record.fact.outcome in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED)
