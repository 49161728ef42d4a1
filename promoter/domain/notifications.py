"""Notifications: the events that a ledger entry stands for, and the delivery attempts of each event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind, is_alias_move
from promoter.domain.backoff import compute_backoff
from promoter.domain.decision import Verdict
from promoter.domain.fields import format_utc_minute
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.links import NO_ADDRESSES, MlflowAddresses, build_model_uri, build_page_link
from promoter.domain.overrides import DECIDED, OverrideEnd
from promoter.domain.plan import ChangeCause
from promoter.domain.text import escape_invisible, summarize_lines, version_label

EVENT_SCHEMA = 1
"""The version of `data`. Fields are added without another one."""
EVENT_DATA_SCHEMA = f"urn:promoter:schema:event:{EVENT_SCHEMA}"
"""CloudEvents' `dataschema`: the `$id` of `schemas/event.schema.json`. It is no address: all Promoters send the same."""
FIRST_SEEN = "first seen"
"""The reason of an observed record that says where an alias stood when Promoter first looked: nothing moved."""
_SEQUENCE_DIGITS = 20
_RULES_SHOWN = 3
_SUMMARY_LIMIT = 2_000
"""Characters of the sentence for people: a commit may have a thousand faults."""

SourceEntry = AuditRecord | RecordedDecision | LifecycleEvent
"""An entry of the ledger that may be an event, or several."""


@dataclass(frozen=True)
class EntryContext:
    """What the entries before one, and its evidence, tell of it: an event is a function of the ledger up to its entry."""

    holder: int | None = None
    """The version that the alias had before an entry that does not say so itself."""
    run_id: str | None = None
    """The training run of the version that the entry is about, where the entry does not name it."""
    pull_request: str | None = None
    """The address of the pull request that brings the change, where the entry does not name it."""
    is_return: bool = False
    """Whether the version that the alias moves to held it before, as git stated then."""
    workspace: str | None = None
    """The workspace that the ledger was about, where the entry does not name it."""

    @property
    def workspace_facts(self) -> Mapping[str, str]:
        """The workspace as a fact of an event; empty where there is none."""
        return {"workspace": self.workspace} if self.workspace else {}


NO_CONTEXT = EntryContext()
"""For an entry that says all of it itself."""


class EventType(StrEnum):
    """CHANGED: an alias moved. DRIFTED: somebody other than Promoter moved it. BLOCKED: a policy stopped a change.

    ROLLED_BACK: an earlier version returned, under a hold or an override. REPLACED: the number that was recorded for an alias
    stands for another version now. OVERRIDE_STARTED: a version serves in place of the one that git states. OVERRIDE_EXPIRING:
    that ends soon, unless a person decides. OVERRIDE_ENDED: git counts again. REVISION_REFUSED: the branch's head cannot be in
    force. TEST: nothing happened.
    """

    CHANGED = "dev.promoter.alias.changed"
    DRIFTED = "dev.promoter.alias.drifted"
    ROLLED_BACK = "dev.promoter.alias.rolled-back"
    BLOCKED = "dev.promoter.alias.blocked"
    REPLACED = "dev.promoter.alias.replaced"
    OVERRIDE_STARTED = "dev.promoter.override.started"
    OVERRIDE_EXPIRING = "dev.promoter.override.expiring"
    OVERRIDE_ENDED = "dev.promoter.override.ended"
    REVISION_REFUSED = "dev.promoter.revision.refused"
    TEST = "dev.promoter.test"

    @property
    def short_name(self) -> str:
        """Return the name in settings, ids and tables: `changed` for an alias, else with its group: `override-started`."""
        return self.value.removeprefix("dev.promoter.").removeprefix("alias.").replace(".", "-")


CHANNEL_EVENT_TYPES = tuple(each for each in EventType if each is not EventType.TEST)
"""The events that a channel gets, unless it asks for less."""
_OVERRIDE_EVENT_TYPES = frozenset({EventType.OVERRIDE_STARTED, EventType.OVERRIDE_EXPIRING, EventType.OVERRIDE_ENDED})
_URGENT_EVENT_TYPES = frozenset({EventType.BLOCKED, EventType.ROLLED_BACK})


def select_event_types(names: Collection[str]) -> frozenset[EventType]:
    """Return the types that a channel gets which asks for these short names; all types where it asks for none.

    Whoever hears of blocked changes or of rollbacks hears of overrides too: at their end a version returns that was taken away.
    """
    named = frozenset(each for each in CHANNEL_EVENT_TYPES if not names or each.short_name in names)
    return named | _OVERRIDE_EVENT_TYPES if named & _URGENT_EVENT_TYPES else named


LIFECYCLE_SOURCES = {
    LifecycleEventType.OVERRIDE_EXPIRING: EventType.OVERRIDE_EXPIRING,
    LifecycleEventType.REVISION_REFUSED: EventType.REVISION_REFUSED,
}
"""The types of lifecycle events that stand for an event of their own."""


@dataclass(frozen=True)
class NotificationEvent:
    """One CloudEvent."""

    id: str
    """Unique for its ledger; the same for every delivery."""
    type: EventType
    """What happened."""
    source: str
    """CloudEvents' `source`: where the event comes from."""
    subject: str
    """The model and alias; the revision, where it is about none."""
    at: datetime
    """When it happened."""
    entry: int
    """The number of the ledger entry that it stands for; 0 for a test."""
    data: Mapping[str, Any]
    """What the receiver reads."""

    @property
    def summary_line(self) -> str:
        """Return one line that says what happened."""
        return str(self.data["summary"])

    def to_attributes(self) -> dict[str, Any]:
        """Return the CloudEvents attributes. Sequence numbers have one width, so that they sort as text too."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.type.value,
            "source": self.source,
            "subject": self.subject,
            "time": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "dataschema": EVENT_DATA_SCHEMA,
            "sequence": f"{self.entry:0{_SEQUENCE_DIGITS}d}",
        }

    def to_json(self) -> dict[str, Any]:
        """The structured form."""
        return {**self.to_attributes(), "data": dict(self.data)}


@dataclass(frozen=True)
class EventBuilder:
    """Builds the events of one ledger."""

    ledger: str
    """The name of the ledger."""
    url: str | None = None
    """The address of this Promoter, if it is known."""
    mlflow: MlflowAddresses = NO_ADDRESSES
    """The addresses of its MLflow server."""

    @property
    def source_uri(self) -> str:
        """Return CloudEvents' `source`."""
        return self.url.rstrip("/") if self.url else f"urn:promoter:{self.ledger}"

    def build_events(self, entry: SourceEntry, context: EntryContext = NO_CONTEXT) -> tuple[NotificationEvent, ...]:
        """Return the events that the entry stands for, in the order of delivery; for most entries there are none."""
        match entry:
            case AuditRecord():
                return self._build_record_events(entry, context)
            case LifecycleEvent():
                return self._build_lifecycle_events(entry, context)
            case _:
                return self._build_decision_events(entry, context)

    def build_test_event(self, name: str, at: datetime) -> NotificationEvent:
        """Return a test event under that name."""
        data = self._build_data(0, _EventTarget(None, None), "This is a test. Nothing happened.", {})
        return NotificationEvent(f"{self.ledger}/test/{name}", EventType.TEST, self.source_uri, "test", at, 0, data)

    def _build_record_events(self, record: AuditRecord, context: EntryContext) -> tuple[NotificationEvent, ...]:
        if record.fact.kind is RecordKind.REPLACED:
            return (self._build_record_event(record, EventType.REPLACED),)
        if record.fact.kind is RecordKind.OVERRIDE:
            of = EventType.OVERRIDE_STARTED if record.intent is None else EventType.OVERRIDE_ENDED
            return (self._build_record_event(record, of),)
        if not is_alias_move(record) or is_first_observation(record) or record.fact.cause == ChangeCause.REPLACED:
            return ()
        types = [EventType.CHANGED]
        types += [EventType.DRIFTED] if record.fact.kind is RecordKind.OBSERVED else []
        types += [EventType.ROLLED_BACK] if is_version_rollback(record.fact, is_return=context.is_return) else []
        return tuple(self._build_record_event(record, each) for each in types)

    def _build_record_event(self, record: AuditRecord, of: EventType) -> NotificationEvent:
        fact = record.fact
        pull_request = (fact.review or {}).get("pull_request")
        versions = (fact.to_version, fact.from_version)
        target = _EventTarget(fact.model, fact.alias, *versions, fact.run_id, fact.policy, pull_request, record.decision)
        return self._build_event(record.id, of, target, fact.at, _describe_move(record, of), record.to_event_data())

    def _build_lifecycle_events(self, event: LifecycleEvent, context: EntryContext) -> tuple[NotificationEvent, ...]:
        of = LIFECYCLE_SOURCES.get(event.event)
        if of is None:
            return ()
        facts = {"id": event.id, "at": event.at.isoformat(), **event.facts, **context.workspace_facts}
        target = _EventTarget.from_facts(event.facts, context)
        return (self._build_event(event.id, of, target, event.at, _SENTENCES[of](event.facts), facts),)

    def _build_decision_events(self, decision: RecordedDecision, context: EntryContext) -> tuple[NotificationEvent, ...]:
        tree = decision.tree
        if not is_blocked_change(decision):
            return ()
        facts = {
            "id": decision.id,
            "at": decision.at.isoformat(),
            **{name: tree.get(name) for name in ("model", "alias", "version", "policy", "policy_digest", "verdict", "rules")},
            "revision": decision.revision,
            "trigger": decision.trigger,
            "tool": decision.tool,
            "hash": decision.hash,
            **context.workspace_facts,
        }
        target, words = _EventTarget.from_facts({**tree, "decision": decision.id}, context), _describe_blocked_change(tree)
        return (self._build_event(decision.id, EventType.BLOCKED, target, decision.at, words, facts),)

    def _build_event(
        self, entry: int, of: EventType, target: _EventTarget, at: datetime, words: str, facts: Mapping[str, Any]
    ) -> NotificationEvent:
        data = self._build_data(entry, target, words, facts)
        name = f"{self.ledger}/{entry}/{of.short_name}"
        return NotificationEvent(name, of, self.source_uri, _name_subject(data), at, entry, data)

    def _build_data(self, entry: int, target: _EventTarget, words: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data: what every event has, in front of what only entries of its kind have."""
        model, version, run = target.model, target.version, target.run_id
        pages = {
            "page": build_page_link(self.url, model) if model else self.url,
            "version": self.mlflow.link_version(model, version) if model else None,
            "run": self.mlflow.link_run(run),
            "pull_request": target.pull_request,
        }
        common = {
            "schema": EVENT_SCHEMA,
            "ledger": self.ledger,
            "entry": entry or None,
            "summary": _shorten(escape_invisible(words)),
            "model": model,
            "alias": target.alias,
            "version": version,
            "previous_version": target.previous_version,
            "run_id": run,
            "model_uri": build_model_uri(model, version) if model else None,
            "tracking_uri": self.mlflow.tracking_uri,
            "policy": target.policy,
            "decision": target.decision,
            "pull_request": target.pull_request,
            "links": pages,
        }
        return common | {name: fact for name, fact in facts.items() if name not in common}


def _shorten(words: str) -> str:
    return words if len(words) <= _SUMMARY_LIMIT else words[: _SUMMARY_LIMIT - 1] + "…"


@dataclass(frozen=True)
class _EventTarget:
    """What an event is about, as every event names it."""

    model: str | None
    alias: str | None
    version: int | None = None
    previous_version: int | None = None
    run_id: str | None = None
    policy: str | None = None
    pull_request: str | None = None
    decision: int | None = None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], context: EntryContext) -> _EventTarget:
        """Read the facts of an entry; what they do not say is in its context."""
        previous = facts.get("replaces", context.holder)
        origin = facts.get("pull_request") or context.pull_request
        known = (facts.get("model"), facts.get("alias"), facts.get("version"), previous, facts.get("run_id") or context.run_id)
        return cls(*known, facts.get("policy"), origin, facts.get("decision"))


def is_first_observation(record: AuditRecord) -> bool:
    """Return whether the record only says which version an alias had when the ledger first saw it. That is no move."""
    fact = record.fact
    return fact.kind is RecordKind.OBSERVED and fact.from_version is None and fact.reason == FIRST_SEEN


def is_version_rollback(fact: NewAuditRecord, *, is_return: bool = False) -> bool:
    """Return whether the change brought an earlier version back: by an override, or by a commit.

    `is_return`: whether the version held the alias before, whatever its number. A lower number under a hold counts as well: the
    version may have served before the ledger began. So does a decision without a policy: only readiness gates what returns.
    """
    if fact.kind is not RecordKind.CHANGE or fact.outcome not in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED):
        return False
    if fact.cause == ChangeCause.OVERRIDE:
        return True
    lower = fact.from_version is not None and fact.to_version is not None and fact.to_version < fact.from_version
    returns = fact.verdict is not None and fact.policy is None
    return fact.cause == ChangeCause.COMMIT and (is_return or (lower and (fact.hold is not None or returns)))


def may_be_return(record: AuditRecord) -> bool:
    """Return whether the record may say that an earlier holder came back, so that the moves before it decide."""
    fact = record.fact
    closed = fact.kind is RecordKind.CHANGE and fact.outcome in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED)
    return closed and fact.cause == ChangeCause.COMMIT and None not in (fact.from_version, fact.to_version)


def is_blocked_change(decision: RecordedDecision) -> bool:
    """Return whether a change that git states waited for the decision, and was stopped by it."""
    tree = decision.tree
    return decision.gate and tree["verdict"] != Verdict.PASS and tree.get("enforcement") != "audit"


def join_event_names(types: Iterable[EventType]) -> str:
    """Return the short names of the types as people read them."""
    return ", ".join(each.short_name for each in types)


def _describe_move(record: AuditRecord, of: EventType) -> str:
    fact = record.fact
    name, was, now = f"{fact.model}@{fact.alias}", version_label(fact.from_version), version_label(fact.to_version)
    by = (fact.actor or "").partition(" <")[0]
    if of is EventType.OVERRIDE_STARTED:
        until = f" until {format_utc_minute(fact.until)}" if fact.until else ""
        return f"{name} serves {now} in place of {was} under an override{until}: {fact.reason} (by {by})"
    if of is EventType.OVERRIDE_ENDED:
        return f"the override of {name} to {now} (by {by}) ended: {_explain_override_end(record)}"
    if of is EventType.REPLACED:
        return f"{name}: {fact.reason}; it has to be approved anew"
    why = "; ".join(part for part in (fact.reason, record.review_summary) if part)
    if fact.kind is RecordKind.OBSERVED:
        window = f" between {format_utc_minute(fact.not_before)} and {format_utc_minute(fact.at)}" if fact.not_before else ""
        return f"{name} was moved from {was} to {now} outside of Promoter{window}"
    sentence = f"{name} went back from {was} to {now}" if of is EventType.ROLLED_BACK else f"{name} moved from {was} to {now}"
    return sentence + (f": {why}" if why else "") + (f" (by {by})" if by else "")


def _explain_override_end(record: AuditRecord) -> str:
    """Return how an override ended, and what follows; a merge moves nothing."""
    fact, end = record.fact, OverrideEnd.from_record(record)
    if end and end.outcome == DECIDED:
        return f"git states {version_label(fact.to_version)} now, and nothing moves"
    return fact.reason or ""


def _describe_expiring_override(facts: Mapping[str, Any]) -> str:
    name, version = f"{facts['model']}@{facts['alias']}", version_label(facts["version"])
    until = format_utc_minute(datetime.fromisoformat(str(facts["until"])))
    then = facts.get("then") or f"{version_label(facts.get('replaces'))} returns"
    by = f" (by {facts['by']})" if facts.get("by") else ""
    return f"the override of {name} to {version}{by} ends at {until}: then {then}, unless it is merged"


def _describe_refused_revision(facts: Mapping[str, Any]) -> str:
    by = str(facts.get("author") or "").partition(" <")[0]
    refused = f"revision {str(facts['revision'])[:10]} is refused, and nothing of it is carried out"
    return f"{refused}: {summarize_lines(str(facts['reason']))}" + (f" (by {by})" if by else "")


_SENTENCES: Mapping[EventType, Callable[[Mapping[str, Any]], str]] = {
    EventType.OVERRIDE_EXPIRING: _describe_expiring_override,
    EventType.REVISION_REFUSED: _describe_refused_revision,
}
"""The sentence for people that the facts of a lifecycle event make; one for each type in `LIFECYCLE_SOURCES`."""


def _name_subject(facts: Mapping[str, Any]) -> str:
    """Return the model and alias that an event's data name; where they name none, the revision of git."""
    return f"{facts['model']}@{facts['alias']}" if facts.get("model") else str(facts["revision"])


def _describe_blocked_change(tree: Mapping[str, Any]) -> str:
    unmet = [rule for rule in tree.get("rules") or () if rule.get("verdict") != Verdict.PASS]
    unmet_rules = "; ".join(f"{rule['rule']} is {rule['verdict']}" for rule in unmet[:_RULES_SHOWN])
    more = f"; and {len(unmet) - _RULES_SHOWN} more" if len(unmet) > _RULES_SHOWN else ""
    under = f"policy {tree['policy']}" if tree.get("policy") else "readiness"
    target = f"{tree['model']}@{tree['alias']} does not move to v{tree['version']}"
    return f"{target}: {under} says {tree['verdict']}: {unmet_rules}{more}"


FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(hours=1)
"""The first and the longest pause between two tries."""
DEFAULT_PATIENCE = timedelta(hours=24)
"""How long an event is tried for until it is dead, unless told otherwise."""


class DeliveryState(StrEnum):
    """STARTED: the channel exists, and gets what comes after that entry. PASSED: nothing for it up to that entry.

    DELIVERED, WAITING (for the next attempt) and DEAD (given up) are states of one event. AGAIN: a person asked for another
    attempt.
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
    """One row of a channel's deliveries."""

    channel: str
    """The name of the channel."""
    state: DeliveryState
    """What became of it."""
    at: datetime
    """When the row was written."""
    entry: int
    """The number of the ledger entry."""
    event: str | None = None
    """The id of the event; None where the row is about the channel itself."""
    attempts: int = 0
    """How many attempts failed in a row."""
    since: datetime | None = None
    """When those failures began."""
    due: datetime | None = None
    """When the next attempt is due."""
    detail: str | None = None
    """What was wrong."""
    id: int = 0
    """The number of the row; 0 before it is stored."""


@dataclass
class ChannelCursor:
    """The state of one channel: all its rows, summed up."""

    channel: str
    """The name of the channel."""
    entry: int = 0
    """Up to this entry, the outcome of every event is known."""
    row: int = 0
    """The last row that is summed up."""
    waiting: dict[str, DeliveryAttempt] = field(default_factory=dict)
    """The last row of each event that is still to be sent, by the event's id."""

    def add_attempt(self, dispatch: DeliveryAttempt) -> None:
        """Add one more row. Rows come in order; known rows may come again together with newer ones."""
        self.entry = max(self.entry, dispatch.entry)
        self.row = max(self.row, dispatch.id)
        if dispatch.event is None:
            return
        if dispatch.state in OPEN_STATES:
            self.waiting[dispatch.event] = dispatch
        else:
            self.waiting.pop(dispatch.event, None)

    def list_due_attempts(self, now: datetime) -> list[DeliveryAttempt]:
        """Return the attempts that are due now, the longest due first."""
        found = [each for each in self.waiting.values() if each.due is None or each.due <= now]
        return sorted(found, key=lambda each: (each.due or each.at, each.entry, each.event or ""))

    def find_next_due_time(self) -> datetime | None:
        """Return when the next attempt is due; None where nothing waits."""
        return min((each.due or each.at for each in self.waiting.values()), default=None)


def compute_retry_pause(attempts: int) -> timedelta:
    """Return the pause after so many failures: it doubles, from a second to an hour."""
    return timedelta(seconds=compute_backoff(attempts, FIRST_PAUSE.total_seconds(), LONGEST_PAUSE.total_seconds()))


def build_failed_attempt(
    last: DeliveryAttempt, at: datetime, detail: str, *, patience: timedelta, stretch: float
) -> DeliveryAttempt:
    """Return the row for a failed attempt after the event's `last` row: it waits for the next attempt, or is dead.

    `stretch` scales the pause, so that events that failed together are not sent again together.
    """
    since, attempts = last.since or at, last.attempts + 1
    dead = at - since >= patience
    due = None if dead else at + compute_retry_pause(attempts) * stretch
    state = DeliveryState.DEAD if dead else DeliveryState.WAITING
    return DeliveryAttempt(last.channel, state, at, last.entry, last.event, attempts, since, due, detail)


def build_redelivery(dead: DeliveryAttempt, at: datetime) -> DeliveryAttempt:
    """Return the row that sends a dead event again, at once and for as long as a new one."""
    return DeliveryAttempt(dead.channel, DeliveryState.AGAIN, at, dead.entry, dead.event, due=at, detail=dead.detail)
