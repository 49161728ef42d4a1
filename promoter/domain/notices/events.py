"""Events: what others are told of the ledger. Pure functions of its entries, so that an entry and its events are one write.

They are CloudEvents 1.0. The id of an event is the same for ever, however often it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from promoter.domain.audit import AuditRecord, RecordKind, NewAuditRecord, ChangeOutcome, RecordedDecision, is_alias_move
from promoter.domain.plan import ChangeCause
from promoter.domain.verdict import Verdict, escape_invisible

EVENT_SCHEMA = 1
"""The version of `data`. Fields are added without another one."""
FIRST_SEEN = "first seen"
"""The reason of an observed record that says where an alias stood when Promoter first looked: nothing moved."""
_SEQUENCE_DIGITS = 20
_RULES_SHOWN = 3

SourceEntry = AuditRecord | RecordedDecision
"""An entry of the ledger that may be an event, or several."""


class EventType(StrEnum):
    """CHANGED: an alias moved, whoever moved it. DRIFTED: somebody else than Promoter did. BLOCKED: a policy stopped a change.

    ROLLED_BACK: a version gave way to an earlier one, under a hold or an override. TEST: nothing happened.
    """

    CHANGED = "dev.promoter.alias.changed"
    DRIFTED = "dev.promoter.alias.drifted"
    ROLLED_BACK = "dev.promoter.alias.rolled-back"
    BLOCKED = "dev.promoter.alias.blocked"
    TEST = "dev.promoter.test"

    @property
    def short_name(self) -> str:
        """The last part: how settings, ids and tables name it."""
        return self.value.rpartition(".")[2]


ALIAS_EVENT_TYPES = tuple(each for each in EventType if each is not EventType.TEST)
"""What a channel is told of, unless it asks for less."""


@dataclass(frozen=True)
class NotificationEvent:
    """One CloudEvent. `entry` is the number of the ledger's entry that it tells, 0 for a test."""

    id: str
    type: EventType
    source: str
    subject: str
    at: datetime
    entry: int
    data: Mapping[str, Any]

    @property
    def summary_line(self) -> str:
        """What happened, in one line for people."""
        return str(self.data["summary"])

    def to_attributes(self) -> dict[str, Any]:
        """All that CloudEvents wants beside `data`. Sequences are of one width, so that as text they are in order, too."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.type.value,
            "source": self.source,
            "subject": self.subject,
            "time": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "sequence": f"{self.entry:0{_SEQUENCE_DIGITS}d}",
        }

    def to_json(self) -> dict[str, Any]:
        """The structured form."""
        return {**self.to_attributes(), "data": dict(self.data)}


@dataclass(frozen=True)
class EventBuilder:
    """Whose events they are: the name of the ledger, and the address of this Promoter, if it is known."""

    ledger: str
    url: str | None = None

    @property
    def source_uri(self) -> str:
        """CloudEvents' `source`."""
        return self.url.rstrip("/") if self.url else f"urn:promoter:{self.ledger}"

    def build_events(self, entry: SourceEntry) -> tuple[NotificationEvent, ...]:
        """What the entry stands for, in the order in which it is told; for most entries nothing."""
        return self._build_record_events(entry) if isinstance(entry, AuditRecord) else self._build_decision_events(entry)

    def build_test_event(self, name: str, at: datetime) -> NotificationEvent:
        """One that says that nothing happened, under that name."""
        data = {"schema": EVENT_SCHEMA, "ledger": self.ledger, "summary": "This is a test. Nothing happened."}
        return NotificationEvent(f"{self.ledger}/test/{name}", EventType.TEST, self.source_uri, "test", at, 0, data)

    def _build_record_events(self, record: AuditRecord) -> tuple[NotificationEvent, ...]:
        if not is_alias_move(record) or is_first_observation(record):
            return ()
        types = [EventType.CHANGED]
        types += [EventType.DRIFTED] if record.fact.kind is RecordKind.OBSERVED else []
        types += [EventType.ROLLED_BACK] if is_version_rollback(record.fact) else []
        return tuple(self._build_record_event(record, each) for each in types)

    def _build_record_event(self, record: AuditRecord, of: EventType) -> NotificationEvent:
        fact = record.fact
        return self._build_event(record.id, of, (fact.model, fact.alias), fact.at, record.to_json(), _describe_move(record, of))

    def _build_decision_events(self, decision: RecordedDecision) -> tuple[NotificationEvent, ...]:
        tree = decision.tree
        if not decision.gate or tree["verdict"] == Verdict.PASS or tree.get("enforcement") == "audit":
            return ()
        facts = {
            "id": decision.id,
            "at": decision.at.isoformat(),
            **{name: tree.get(name) for name in ("model", "alias", "version", "policy", "policy_digest", "verdict", "rules")},
            "revision": decision.revision,
            "trigger": decision.trigger,
            "tool": decision.tool,
            "hash": decision.hash,
        }
        name = (str(tree["model"]), str(tree["alias"]))
        return (self._build_event(decision.id, EventType.BLOCKED, name, decision.at, facts, _describe_blocked_change(tree)),)

    def _build_event(
        self, entry: int, of: EventType, name: tuple[str, str], at: datetime, facts: dict[str, Any], words: str
    ) -> NotificationEvent:
        data = {"schema": EVENT_SCHEMA, "ledger": self.ledger, "summary": escape_invisible(words), **facts}
        return NotificationEvent(f"{self.ledger}/{entry}/{of.short_name}", of, self.source_uri, "@".join(name), at, entry, data)


def is_first_observation(record: AuditRecord) -> bool:
    """Whether the record says where an alias stood when the ledger first heard of it: that is no move."""
    fact = record.fact
    return fact.kind is RecordKind.OBSERVED and fact.from_version is None and fact.reason == FIRST_SEEN


def is_version_rollback(fact: NewAuditRecord) -> bool:
    """Whether the change took a version away for an earlier one: by an override, or by a commit whose hold says so.

    That a decision has no policy is the mark of a version that returns under a hold: it is gated by readiness alone.
    """
    if fact.kind is not RecordKind.CHANGE or fact.outcome not in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED):
        return False
    if fact.cause == ChangeCause.OVERRIDE:
        return True
    lower = fact.from_version is not None and fact.to_version is not None and fact.to_version < fact.from_version
    returns = fact.verdict is not None and fact.policy is None
    return fact.cause == ChangeCause.COMMIT and lower and (fact.hold is not None or returns)


def join_event_names(types: Iterable[EventType]) -> str:
    """Their words, for people."""
    return ", ".join(each.short_name for each in types)


def _describe_move(record: AuditRecord, of: EventType) -> str:
    fact = record.fact
    name, was, now = f"{fact.model}@{fact.alias}", _format_version(fact.from_version), _format_version(fact.to_version)
    by = (fact.actor or "").partition(" <")[0]
    why = "; ".join(part for part in (fact.reason, record.review_summary) if part)
    if fact.kind is RecordKind.OBSERVED:
        window = f" between {_format_utc_minute(fact.not_before)} and {_format_utc_minute(fact.at)}" if fact.not_before else ""
        return f"{name} was moved from {was} to {now} outside of Promoter{window}"
    sentence = f"{name} went back from {was} to {now}" if of is EventType.ROLLED_BACK else f"{name} moved from {was} to {now}"
    return sentence + (f": {why}" if why else "") + (f" (by {by})" if by else "")


def _describe_blocked_change(tree: Mapping[str, Any]) -> str:
    unmet = [rule for rule in tree.get("rules") or () if rule.get("verdict") != Verdict.PASS]
    unmet_rules = "; ".join(f"{rule['rule']} is {rule['verdict']}" for rule in unmet[:_RULES_SHOWN])
    more = f"; and {len(unmet) - _RULES_SHOWN} more" if len(unmet) > _RULES_SHOWN else ""
    under = f"policy {tree['policy']}" if tree.get("policy") else "readiness"
    return f"{tree['model']}@{tree['alias']} does not move to v{tree['version']}: {under} says {tree['verdict']}: {unmet_rules}{more}"


def _format_version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"


def _format_utc_minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
