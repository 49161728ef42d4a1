"""Notices: what is told of an entry, and what became of telling it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind, is_alias_move
from promoter.domain.decision import Verdict
from promoter.domain.plan import ChangeCause
from promoter.domain.text import escape_invisible, version_label

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
        return self._build_event(
            record.id, of, (fact.model, fact.alias), fact.at, record.to_event_data(), _describe_move(record, of)
        )

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
    name, was, now = f"{fact.model}@{fact.alias}", version_label(fact.from_version), version_label(fact.to_version)
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


def _format_utc_minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(hours=1)
"""The first and the longest pause between two tries."""
DEFAULT_PATIENCE = timedelta(hours=24)
"""How long an event is tried for until it is dead, unless told otherwise."""
_DOUBLINGS = 20


class DeliveryState(StrEnum):
    """STARTED: the channel came to be, and is told what comes after that entry. PASSED: nothing for it up to that entry.

    DELIVERED, WAITING (for the next try), DEAD (given up): how it stands with an event. AGAIN: a person asked to try once more.
    """

    STARTED = "started"
    PASSED = "passed"
    DELIVERED = "delivered"
    WAITING = "waiting"
    DEAD = "dead"
    AGAIN = "again"


OPEN_STATES = (DeliveryState.WAITING, DeliveryState.AGAIN)
"""What still has to be sent."""


@dataclass(frozen=True)
class DeliveryAttempt:
    """One row. `event` is the event's id, None where the row is about the channel itself; `entry` the ledger's entry.

    `attempts` counts the failures in a row and `since` says when they began; `due` is when to try again, `detail` what was
    wrong. `id` is 0 before the row is kept.
    """

    channel: str
    state: DeliveryState
    at: datetime
    entry: int
    event: str | None = None
    attempts: int = 0
    since: datetime | None = None
    due: datetime | None = None
    detail: str | None = None
    id: int = 0


@dataclass
class ChannelCursor:
    """How it stands with a channel: all rows of it, summed up.

    `entry`: of everything up to there it is known what became of it. `row`: the last row that is summed up. `waiting`: what
    is still to be sent, by the event's id.
    """

    channel: str
    entry: int = 0
    row: int = 0
    waiting: dict[str, DeliveryAttempt] = field(default_factory=dict)

    def add_attempt(self, dispatch: DeliveryAttempt) -> None:
        """Take in one more row. Rows come in order; one that was taken in before may come again with those after it."""
        self.entry = max(self.entry, dispatch.entry)
        self.row = max(self.row, dispatch.id)
        if dispatch.event is None:
            return
        if dispatch.state in OPEN_STATES:
            self.waiting[dispatch.event] = dispatch
        else:
            self.waiting.pop(dispatch.event, None)

    def list_due_attempts(self, now: datetime) -> list[DeliveryAttempt]:
        """What is to be tried now, the longest due first."""
        found = [each for each in self.waiting.values() if each.due is None or each.due <= now]
        return sorted(found, key=lambda each: (each.due or each.at, each.entry, each.event or ""))

    def find_next_due_time(self) -> datetime | None:
        """When the next try is due; None: nothing waits."""
        return min((each.due or each.at for each in self.waiting.values()), default=None)


def compute_retry_pause(attempts: int) -> timedelta:
    """From one try to the next after so many failures: doubling, from a second to an hour."""
    doublings = min(max(attempts, 1) - 1, _DOUBLINGS)
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << doublings))


def build_failed_attempt(
    last: DeliveryAttempt, at: datetime, detail: str, *, patience: timedelta, stretch: float
) -> DeliveryAttempt:
    """The row for a try that failed, behind the `last` one of the event: to be tried again, or given up.

    `stretch` scales the pause, so that what failed together is not tried again together.
    """
    since, attempts = last.since or at, last.attempts + 1
    dead = at - since >= patience
    due = None if dead else at + compute_retry_pause(attempts) * stretch
    state = DeliveryState.DEAD if dead else DeliveryState.WAITING
    return DeliveryAttempt(last.channel, state, at, last.entry, last.event, attempts, since, due, detail)


def build_redelivery(dead: DeliveryAttempt, at: datetime) -> DeliveryAttempt:
    """The row that puts an event back: to be tried at once, and for as long as a new one."""
    return DeliveryAttempt(dead.channel, DeliveryState.AGAIN, at, dead.entry, dead.event, due=at, detail=dead.detail)
