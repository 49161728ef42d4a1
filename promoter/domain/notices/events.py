"""Events: what others are told of the ledger. Pure functions of its entries, so that an entry and its events are one write.

They are CloudEvents 1.0. The id of an event is the same for ever, however often it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from promoter.domain.audit import AuditRecord, Kind, NewRecord, Outcome, RecordedDecision, moved
from promoter.domain.plan import Cause
from promoter.domain.verdict import Verdict, visible

SCHEMA = 1
"""The version of `data`. Fields are added without another one."""
FIRST_SEEN = "first seen"
"""The reason of an observed record that says where an alias stood when Promoter first looked: nothing moved."""
_DIGITS = 20
_RULES = 3

Told = AuditRecord | RecordedDecision
"""An entry of the ledger that may be an event, or several."""


class Type(StrEnum):
    """CHANGED: an alias moved, whoever moved it. DRIFTED: somebody else than Promoter did. BLOCKED: a policy stopped a change.

    ROLLED_BACK: a version gave way to an earlier one, under a hold or an override. TEST: nothing happened.
    """

    CHANGED = "dev.promoter.alias.changed"
    DRIFTED = "dev.promoter.alias.drifted"
    ROLLED_BACK = "dev.promoter.alias.rolled-back"
    BLOCKED = "dev.promoter.alias.blocked"
    TEST = "dev.promoter.test"

    @property
    def word(self) -> str:
        """The last part: how settings, ids and tables name it."""
        return self.value.rpartition(".")[2]


ALIAS_TYPES = tuple(each for each in Type if each is not Type.TEST)
"""What a channel is told of, unless it asks for less."""


@dataclass(frozen=True)
class Event:
    """One CloudEvent. `entry` is the number of the ledger's entry that it tells, 0 for a test."""

    id: str
    type: Type
    source: str
    subject: str
    at: datetime
    entry: int
    data: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What happened, in one line for people."""
        return str(self.data["summary"])

    def attributes(self) -> dict[str, Any]:
        """All that CloudEvents wants beside `data`. Sequences are of one width, so that as text they are in order, too."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.type.value,
            "source": self.source,
            "subject": self.subject,
            "time": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "sequence": f"{self.entry:0{_DIGITS}d}",
        }

    def as_json(self) -> dict[str, Any]:
        """The structured form."""
        return {**self.attributes(), "data": dict(self.data)}


@dataclass(frozen=True)
class Teller:
    """Whose events they are: the name of the ledger, and the address of this Promoter, if it is known."""

    ledger: str
    url: str | None = None

    @property
    def source(self) -> str:
        """CloudEvents' `source`."""
        return self.url.rstrip("/") if self.url else f"urn:promoter:{self.ledger}"

    def events(self, entry: Told) -> tuple[Event, ...]:
        """What the entry stands for, in the order in which it is told; for most entries nothing."""
        return self._of_record(entry) if isinstance(entry, AuditRecord) else self._of_decision(entry)

    def test(self, name: str, at: datetime) -> Event:
        """One that says that nothing happened, under that name."""
        data = {"schema": SCHEMA, "ledger": self.ledger, "summary": "This is a test. Nothing happened."}
        return Event(f"{self.ledger}/test/{name}", Type.TEST, self.source, "test", at, 0, data)

    def _of_record(self, record: AuditRecord) -> tuple[Event, ...]:
        if not moved(record) or first_sight(record):
            return ()
        types = [Type.CHANGED]
        types += [Type.DRIFTED] if record.fact.kind is Kind.OBSERVED else []
        types += [Type.ROLLED_BACK] if rolled_back(record.fact) else []
        return tuple(self._record(record, each) for each in types)

    def _record(self, record: AuditRecord, of: Type) -> Event:
        fact = record.fact
        return self._event(record.id, of, (fact.model, fact.alias), fact.at, record.as_json(), _moved_words(record, of))

    def _of_decision(self, decision: RecordedDecision) -> tuple[Event, ...]:
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
        return (self._event(decision.id, Type.BLOCKED, name, decision.at, facts, _blocked_words(tree)),)

    def _event(self, entry: int, of: Type, name: tuple[str, str], at: datetime, facts: dict[str, Any], words: str) -> Event:
        data = {"schema": SCHEMA, "ledger": self.ledger, "summary": visible(words), **facts}
        return Event(f"{self.ledger}/{entry}/{of.word}", of, self.source, "@".join(name), at, entry, data)


def first_sight(record: AuditRecord) -> bool:
    """Whether the record says where an alias stood when the ledger first heard of it: that is no move."""
    fact = record.fact
    return fact.kind is Kind.OBSERVED and fact.from_version is None and fact.reason == FIRST_SEEN


def rolled_back(fact: NewRecord) -> bool:
    """Whether the change took a version away for an earlier one: by an override, or by a commit whose hold says so.

    That a decision has no policy is the mark of a version that returns under a hold: it is gated by readiness alone.
    """
    if fact.kind is not Kind.CHANGE or fact.outcome not in (Outcome.APPLIED, Outcome.RECOVERED):
        return False
    if fact.cause == Cause.OVERRIDE:
        return True
    lower = fact.from_version is not None and fact.to_version is not None and fact.to_version < fact.from_version
    returns = fact.verdict is not None and fact.policy is None
    return fact.cause == Cause.COMMIT and lower and (fact.hold is not None or returns)


def words_of(types: Iterable[Type]) -> str:
    """Their words, for people."""
    return ", ".join(each.word for each in types)


def _moved_words(record: AuditRecord, of: Type) -> str:
    fact = record.fact
    name, was, now = f"{fact.model}@{fact.alias}", _version(fact.from_version), _version(fact.to_version)
    by = (fact.actor or "").partition(" <")[0]
    why = "; ".join(part for part in (fact.reason, record.reviewed) if part)
    if fact.kind is Kind.OBSERVED:
        window = f" between {_minute(fact.not_before)} and {_minute(fact.at)}" if fact.not_before else ""
        return f"{name} was moved from {was} to {now} outside of Promoter{window}"
    told = f"{name} went back from {was} to {now}" if of is Type.ROLLED_BACK else f"{name} moved from {was} to {now}"
    return told + (f": {why}" if why else "") + (f" (by {by})" if by else "")


def _blocked_words(tree: Mapping[str, Any]) -> str:
    unmet = [rule for rule in tree.get("rules") or () if rule.get("verdict") != Verdict.PASS]
    told = "; ".join(f"{rule['rule']} is {rule['verdict']}" for rule in unmet[:_RULES])
    more = f"; and {len(unmet) - _RULES} more" if len(unmet) > _RULES else ""
    under = f"policy {tree['policy']}" if tree.get("policy") else "readiness"
    return f"{tree['model']}@{tree['alias']} does not move to v{tree['version']}: {under} says {tree['verdict']}: {told}{more}"


def _version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
