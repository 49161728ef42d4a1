"""What follows the end of an override, when its end is announced, and how records of it are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from promoter.domain.audit import AuditRecord, ChangeOutcome, RecordKind
from promoter.domain.desired import AliasIntent, ModelIntent, Override
from promoter.domain.fields import format_utc_minute
from promoter.domain.identity import RememberedVersion
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import AliasDifference, ChangeCause, ModelComparison, compare_model
from promoter.domain.text import version_label

EXPIRY_NOTICE = timedelta(hours=1)
"""So long before its end an override is announced to expire; one that lasts no longer is announced with its beginning."""

DECIDED, DECLINED, EXPIRED, REPLACED, VOID = "decided", "declined", "expired", "replaced", "void"
"""How an override ended: the first word of the reason in the record that ends it."""


def is_expiring(override: Override, now: datetime) -> bool:
    """Return whether the override ends within the hour; also where it began within it."""
    return override.is_in_force(now) and override.until - now <= EXPIRY_NOTICE


def build_expiring_event(outlook: OverrideOutlook, now: datetime) -> LifecycleEvent:
    """Return the event that announces the end of an override."""
    override = outlook.override
    facts = {
        "override": override.id,
        "model": override.model,
        "alias": override.alias,
        "version": override.version,
        "replaces": override.replaces,
        "until": override.until.isoformat(),
        "by": override.by,
        "reason": override.reason,
        "then": outlook.consequence,
    }
    return LifecycleEvent(now, LifecycleEventType.OVERRIDE_EXPIRING, facts)


@dataclass(frozen=True)
class OverrideOutlook:
    """An override in force, and what follows where it ends before git states its version."""

    override: Override
    declared: AliasIntent
    """What git itself states of the alias."""
    held: int | None
    """The version that the registry has there now."""
    on_drift: str
    """The model's `on_drift`."""
    difference: AliasDifference | None = None
    """What git and the registry differ in without the override; None: nothing."""
    obstacle: str | None = None
    """Why nothing moves at its end: what git states is not in the registry."""

    @property
    def is_serving(self) -> bool:
        """Return whether the registry has the version of the override."""
        return self.held == self.override.version

    @property
    def returning_version(self) -> int | None:
        """Return the version that comes back by itself at the end; None where none does."""
        return self.difference.to_version if self._returns and self.difference else None

    @property
    def consequence(self) -> str:
        """Return what happens to the alias once the override ends and git does not state its version, in a clause."""
        what, stays = self.difference, f"{version_label(self.held)} stays"
        if self.obstacle:
            return f"{stays}: {self.obstacle}"
        if what is None:
            return stays if self.declared.has_declared_target else f"{stays}: git states no version of the alias"
        return self._describe_difference(what, stays)

    def _describe_difference(self, what: AliasDifference, stays: str) -> str:
        if what.to_version is None:
            return "the alias is deleted, since git states that it must not exist"
        target = version_label(what.to_version)
        if what.cause is ChangeCause.COMMIT:
            gate = f"once policy {self.declared.policy} lets it through" if self.declared.policy else "at once"
            return f"{target} follows {gate}: git states it by now"
        if self.on_drift == "report":
            return f"{stays}, and is shown as drift from {target}, which git states (`on_drift: report`)"
        if self.on_drift == "adopt":
            return f"{stays}, and a pull request asks whether git adopts it in place of {target} (`on_drift: adopt`)"
        return f"{target} returns" + (", the version that was rolled back" if what.to_version == self.override.replaces else "")

    @property
    def description(self) -> str:
        """Return which version serves until when, who wants that and why, and what follows."""
        override, serves = self.override, "serves" if self.is_serving else "is to serve"
        what = f"{override.model}@{override.alias}: v{override.version} {serves} under an override"
        return f"{what} until {format_utc_minute(override.until)}, by {override.by}: {override.reason}. {self.warning}"

    @property
    def warning(self) -> str:
        """Return what follows where git does not state the version in time, in a sentence."""
        override = self.override
        return f"Unless git states {version_label(override.version)} by {format_utc_minute(override.until)}, {self.consequence}"

    @property
    def short_consequence(self) -> str:
        """Return the same in a few words, for one line."""
        returning = self.returning_version
        return f"{version_label(returning)} returns" if returning else self.consequence.partition(":")[0].partition(",")[0]

    @property
    def _returns(self) -> bool:
        what = self.difference
        return what is not None and what.cause is ChangeCause.DRIFT and self.on_drift == "revert" and not self.obstacle


def build_override_outlooks(
    intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, RememberedVersion]
) -> dict[str, OverrideOutlook]:
    """Return the outlook of each override of a model, by alias. `intent` has the overrides in the place of git's word."""
    overridden = [(each.override, each.declared) for each in intent.aliases.values() if each.override and each.declared]
    if not overridden:
        return {}
    without = compare_model(intent.remove_overrides(), observed, settled)
    return {
        override.alias: build_outlook(override, declared, observed, intent.on_drift, without)
        for override, declared in overridden
    }


def build_outlook(
    override: Override, declared: AliasIntent, observed: ObservedModel | None, on_drift: str, without: ModelComparison
) -> OverrideOutlook:
    """Return the outlook of one override; `without` compares the model with what git states without any override."""
    found = (each for each in (*without.differences, *without.reported) if each.alias == override.alias)
    return OverrideOutlook(
        override=override,
        declared=declared,
        held=observed.aliases.get(override.alias) if observed else None,
        on_drift=on_drift,
        difference=next(found, None),
        obstacle=next((each.reason for each in without.blocked), None),
    )


@dataclass(frozen=True)
class OverrideEnd:
    """The end of an override, as the ledger records it."""

    override: int
    """The number of the record that began it."""
    at: datetime
    version: int | None
    replaces: int | None
    by: str
    """The person who asked for the override."""
    reason: str
    """How it ended, and what follows: the first word is the outcome."""
    without_artifact_check: bool = False
    """Whether its version returned without a check of its artifact, and does so again once git states it."""

    @classmethod
    def from_record(cls, record: AuditRecord) -> OverrideEnd | None:
        """Read the record; None where it ends no override."""
        fact = record.fact
        if fact.kind is not RecordKind.OVERRIDE or record.intent is None:
            return None
        by = (fact.actor or "somebody").partition(" <")[0]
        versions = (fact.to_version, fact.from_version)
        return cls(record.intent, fact.at, *versions, by, fact.reason or "", bool(fact.without_artifact_check))

    @property
    def outcome(self) -> str:
        """How it ended: one of the words above, or in an old record another one."""
        return self.reason.partition(":")[0].partition(" ")[0]

    @property
    def clause(self) -> str:
        """How it ended, in a clause: `nobody decided`."""
        if self.outcome == EXPIRED:
            return "nobody decided"
        return self.reason.partition(": ")[2].partition("; ")[0] or self.reason

    @property
    def aftermath(self) -> str:
        """What follows, in a clause; empty where the record does not say."""
        return self.reason.partition("; ")[2]


def find_causing_end(newest_first: Iterable[AuditRecord], held: int | None) -> OverrideEnd | None:
    """Return the end of the override that left the alias at `held`; None where something else did.

    The records are those of one alias. What somebody moved by hand after it, or under it, is drift like any other.
    """
    end = None
    for record in newest_first:
        fact = record.fact
        if fact.kind is RecordKind.OVERRIDE:
            end = end or OverrideEnd.from_record(record)
        elif fact.kind is RecordKind.OBSERVED:
            return None
        elif fact.outcome in (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED):
            moved_there = fact.cause == ChangeCause.OVERRIDE and fact.to_version == held
            return end if moved_there and end is not None and end.version == held else None
    return None


def describe_return(end: OverrideEnd, version: int | None) -> str:
    """Return the reason of the record that brings the version back: that an override ended, and how."""
    return f"the override of {end.by} ended ({end.clause}), {version_label(version)} returned"


@dataclass(frozen=True)
class OverrideEffect:
    """What a pull request does to an override in force: it states something else of the alias than its base does."""

    outlook: OverrideOutlook
    stated: AliasIntent | None
    """What the merged files state of the alias; None: nothing."""
    is_answer: bool = False
    """Whether it is the override's own pull request: to close it ends the override."""

    @property
    def is_confirmed(self) -> bool:
        """Return whether git states the version of the override after the merge."""
        return self.stated is not None and self.stated.version == self.outlook.override.version

    @property
    def status_line(self) -> str:
        """Return what matters most, in few characters: which version serves until when, and what follows each answer."""
        override, then = self.outlook.override, self.outlook.short_consequence
        version, end = version_label(override.version), format_utc_minute(override.until)
        name = f"{override.model}@{override.alias}"
        serves = "serves" if self.outlook.is_serving else "is to serve"
        if not self.is_confirmed:
            return f"{version} {serves} {name} under an override until {end}; this counts after that"
        closed = f"closed, or not merged by then: {then}" if self.is_answer else f"not merged by then: {then}"
        return f"{version} {serves} under an override until {end}; merged: git states it; {closed} ({name})"

    @property
    def description(self) -> str:
        """Return the same in a sentence for the reviewer."""
        outlook, override = self.outlook, self.outlook.override
        version, end = version_label(override.version), format_utc_minute(override.until)
        serves = "serves" if outlook.is_serving else "is to serve"
        start = f"{override.model}@{override.alias}: {version} {serves} under an override until {end}, by {override.by}"
        if not self.is_confirmed:
            return f"{start}: {override.reason}. The override stands in for git's word until it ends; this is judged after that"
        closed = "If this is closed, or nobody decides until then" if self.is_answer else "If git does not state it by then"
        merged = "nothing moves" if outlook.is_serving else "it moves there as soon as the version is found to load"
        start = f"{start}: {override.reason}. If this is merged, git states {version}, and {merged}"
        return f"{start}. {closed}, {outlook.consequence}"


def select_expiring(outlooks: Iterable[OverrideOutlook], now: datetime) -> Sequence[OverrideOutlook]:
    """Return those whose end is to be announced by now."""
    return [each for each in outlooks if is_expiring(each.override, now)]
