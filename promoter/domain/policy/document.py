"""A policy: what a version must show before an alias may point at it. `policies/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from promoter.domain.approvals import NO_APPROVERS, ApproverDirectory
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.errors import DocumentPath
from promoter.domain.evidence import AliasPast, Need, VersionEvidence
from promoter.domain.fields import (
    AliasName,
    Document,
    Duration,
    FormatVersion,
    ModelName,
    Moment,
    VersionNumber,
    format_duration,
    format_utc,
)
from promoter.domain.observed import MetricRef, SourceName
from promoter.domain.policy.rules import RULES, Rule
from promoter.domain.policy.rules.base import RankOrder, RuleContext


class Waiver(Document):
    """One version of one model need not meet one rule. `rule` is the rule's name, or its text as `explain` shows it."""

    model: ModelName
    version: VersionNumber
    rule: str = Field(
        min_length=1, max_length=1_000, description="The rule's `name`, or its text as `promoter explain` shows it."
    )
    reason: str = Field(min_length=1, max_length=1_000)
    by: str | None = Field(default=None, min_length=1, max_length=200)
    until: Moment = Field(description="Until when: a time with its zone, `2026-12-01T00:00:00Z`.")
    registered: Moment | None = Field(
        default=None, description="When the version was registered, where its number was another version's before."
    )

    def is_in_force(self, now: datetime) -> bool:
        """Return whether it has not expired."""
        return now < self.until

    def means_version(self, version: VersionEvidence) -> bool:
        """Return whether it is about that version of its number, and not about another one that had the number before."""
        if self.registered is None:
            return not version.replaced
        created_at, second = version.created_at, timedelta(seconds=1)
        return created_at is not None and timedelta() <= created_at - self.registered.replace(microsecond=0) < second

    def __str__(self) -> str:
        who = f" by {self.by}" if self.by else ""
        return f"waived{who} until {self.until:%Y-%m-%d %H:%M %Z}: {self.reason}"


ONE_DAY = timedelta(days=1)
FREEZE_OVERRIDE_TRAILER = "Promoter-Override-Freeze"
"""The trailer of a commit that takes its changes past a freeze; its value is the reason."""

_CRON_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def _validate_cron(expression: str) -> str:
    if len(expression.split()) != 5:  # noqa: PLR2004  # minute, hour, day, month, day of the week
        raise ValueError("a cron expression has five fields: minute, hour, day of the month, month, day of the week")
    try:
        next(CronSim(expression, _CRON_EPOCH))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"not a cron expression that ever begins: {error}") from None
    return expression


def _validate_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"`{name:.60}` is no time zone: write one such as `Europe/Berlin`, or `UTC`") from None
    return name


_CronExpression = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": r"^\s*\S+(\s+\S+){4}\s*$", "examples": ["0 18 * * FRI"]}),
    AfterValidator(_validate_cron),
]
_TimeZoneName = Annotated[
    str,
    Field(max_length=100, json_schema_extra={"minLength": 1, "examples": ["Europe/Berlin", "UTC"]}),
    AfterValidator(_validate_timezone),
]


def _find_offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _find_clock_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the moment between these two at which the zone's clock goes forward, to the second."""
    old = _find_offset(zone, before)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        before, after = (middle, after) if _find_offset(zone, middle) == old else (before, middle)
    return after.replace(microsecond=0)


class Limits(Document):
    """How often an alias may move: not before `cooldown` is over, and not more than `max_per_day` times in 24 hours."""

    cooldown: Duration | None = None
    max_per_day: int | None = Field(default=None, ge=1, le=1_000)

    @property
    def has_any_limit(self) -> bool:
        """Whether any limit is set."""
        return self.cooldown is not None or self.max_per_day is not None

    def evaluate_limits(self, past: AliasPast, at: datetime) -> list[RuleFinding]:
        """Return a finding for each limit that is set."""
        found = []
        last = max(past.moves, default=None)
        if self.cooldown:
            due = last + self.cooldown if last else None
            expected = f"the last move to be {format_duration(self.cooldown)} ago" + (f": at {format_utc(due)}" if due else "")
            verdict = Verdict.PASS if due is None or at >= due else Verdict.PENDING
            found.append(
                RuleFinding(f"cooldown {format_duration(self.cooldown)}", verdict, format_utc(last) if last else None, expected)
            )
        if self.max_per_day:
            recent = sorted(move for move in past.moves if at - ONE_DAY < move <= at)
            open_again = recent[-self.max_per_day] + ONE_DAY if len(recent) >= self.max_per_day else None
            expected = f"fewer than {self.max_per_day} moves in 24 hours" + (
                f": at {format_utc(open_again)}" if open_again else ""
            )
            verdict = Verdict.PENDING if open_again else Verdict.PASS
            found.append(RuleFinding(f"max_per_day {self.max_per_day}", verdict, len(recent), expected))
        return found


class Freeze(Document):
    """A time in which nothing moves: it begins when the cron expression says, in that time zone, and lasts for `duration`."""

    cron: _CronExpression = Field(description="When it begins: minute, hour, day of the month, month, day of the week.")
    duration: Duration = Field(description="How long it lasts: `62h`.")
    timezone: _TimeZoneName = Field(default="UTC", description="The zone of the times in `cron`: `Europe/Berlin`.")
    reason: str | None = Field(default=None, min_length=1, max_length=1_000)

    def find_freeze_end(self, at: datetime) -> datetime | None:
        """Return the end of the freeze that is in force at that moment; None where none is."""
        zone = ZoneInfo(self.timezone)
        # Near a change of the clock, the next reading of it may belong to an earlier moment: all of a day's offsets count.
        offsets = [_find_offset(zone, at + timedelta(hours=hours)) for hours in range(-24, 25, 4)]
        clock = at.astimezone(UTC).replace(tzinfo=None)
        latest, spread = clock + max(offsets), max(offsets) - min(offsets)
        started: datetime | None = None
        # Without a zone, CronSim only reads the clock; which moments have that reading is found here.
        for reading in CronSim(self.cron, latest.replace(microsecond=0) + timedelta(seconds=1), reverse=True):
            found = max((each for each in self._list_starts(reading, zone) if each <= at), default=None)
            started = max(filter(None, (started, found)), default=None)
            if reading < latest - spread - (timedelta() if started else self.duration):
                break
        end = started + self.duration if started else None
        return end if end and at < end else None

    def _list_starts(self, reading: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the moments (UTC) at which the freeze begins by that reading of the zone's clock.

        A reading that the clock skips counts as soon as it has been skipped. One that comes twice counts the first time, and
        the second time too unless that is still within the freeze that began the first time. It also counts twice where one
        freeze goes over into the next: else the time that is repeated would be a hole between them.
        """
        first, second = (reading.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if second < first:  # skipped: fold 1 takes the offset after the change, and lies before it
            return [_find_clock_change(zone, second, first)]
        if second == first:
            return [first]
        once = second - first < self.duration < next(CronSim(self.cron, reading)) - reading
        return [first] if once else [first, second]

    def evaluate_freeze(self, past: AliasPast, at: datetime) -> RuleFinding:
        """Return pending while the freeze is in force, unless the change began before it or its commit overrides it."""
        rule = f"freeze {self.cron} for {format_duration(self.duration)} {self.timezone}"
        end = self.find_freeze_end(past.begun or at)
        if end is None:
            when = " when the change began" if past.begun and self.find_freeze_end(at) else ""
            return RuleFinding(rule, Verdict.PASS, "no freeze" + when, "no freeze")
        frozen = f"frozen until {format_utc(end)}" + (f": {self.reason}" if self.reason else "")
        if past.override:
            return RuleFinding(
                rule, Verdict.PASS, f"{frozen}; overridden by the commit: {past.override}", "no freeze, or an override"
            )
        return RuleFinding(
            rule, Verdict.PENDING, frozen, f"no freeze, or a commit with the trailer `{FREEZE_OVERRIDE_TRAILER}: REASON`"
        )


ANY_NEWER = "any"

Enforcement = Literal["enforce", "audit"]


class Rank(Document):
    """Which candidate is the best: by this metric, in this order."""

    metric: str = Field(min_length=1, max_length=250, description="The metric that candidates are compared by.")
    order: RankOrder = Field(description="Which values are better: highest or lowest.")


class Candidates(Document):
    """Where rotation looks: at the holder of another alias, or at `any` version newer than the alias's own."""

    from_: AliasName = Field(
        alias="from", description="An alias, whose holder is the candidate; or `any`: every version newer than the alias's own."
    )
    rank: Rank | None = Field(
        default=None, description="Which candidate is the best: `{metric: val_auc, order: highest}`. Left out: the newest."
    )


class MetricSource(Document):
    """Where metrics are read: the training run, or the logged model, of which on one dataset."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["dataset"], "properties": {"dataset": {"type": "string"}}},
            "then": {"required": ["source"], "properties": {"source": {"const": "logged_model"}}},
        }
    )

    source: SourceName = Field(default="run", description="run, or logged_model.")
    dataset: str | None = Field(
        default=None, min_length=1, max_length=500, description="The dataset that the logged model was measured on."
    )

    @model_validator(mode="after")
    def _check_dataset_source(self) -> MetricSource:
        if self.dataset is not None and self.source == "run":
            raise ValueError("`dataset` goes with `source: logged_model`: MLflow keeps one value of a metric for a run")
        return self


class PolicyDocument(Document):
    """`policies/NAME.yaml` as it is written."""

    version: FormatVersion
    description: str = Field(default="", description="What the policy is for, in a sentence.")
    enforcement: Enforcement = Field(default="enforce", description="enforce, or audit: decide and record, never block.")
    candidates: Candidates | None = Field(
        default=None, description="Where rotation looks: `{from: challenger, rank: {metric: val_auc, order: highest}}`."
    )
    metrics: MetricSource = Field(
        default=MetricSource(),
        description="Where metrics are read: `{source: run}`, or `{source: logged_model, dataset: holdout}`.",
    )
    rules: tuple[Rule, ...] = Field(
        min_length=1,
        max_length=200,
        strict=False,
        description="What a version must show: each `pass`, `fail`, `pending` or `error`; all must pass.",
    )
    guards: tuple[Rule, ...] = Field(
        default=(),
        max_length=50,
        strict=False,
        description="What must go on holding while the alias is held: `{metric: live_auc, at_least: 0.85, for: 3}`.",
    )
    limits: Limits = Field(default=Limits(), description="How often the alias may move: `{cooldown: 6h, max_per_day: 3}`.")
    freeze: tuple[Freeze, ...] = Field(
        default=(),
        max_length=20,
        strict=False,
        description='When nothing moves: `{cron: "0 18 * * FRI", duration: 62h, timezone: Europe/Berlin}`.',
    )
    waivers: tuple[Waiver, ...] = Field(
        default=(),
        max_length=1_000,
        strict=False,
        description="What a version need not meet: `{model: M, version: 9, rule: NAME, reason: TEXT, until: TIME}`.",
    )

    @property
    def candidate_rank(self) -> Rank | None:
        """How candidates compare; None: the newest is the best."""
        return self.candidates.rank if self.candidates else None

    @property
    def rule_context(self) -> RuleContext:
        """What the rules may know of their policy, as far as the document states it."""
        order = self.candidate_rank.order if self.candidate_rank else None
        return RuleContext(order=order, source=self.metrics.source, dataset=self.metrics.dataset)

    def find_faults(self) -> list[tuple[DocumentPath, str]]:
        """Return the faults that no single field shows, each with its place in the document."""
        context = self.rule_context
        found: list[tuple[DocumentPath, str]] = []
        for part, rules in (("rules", self.rules), ("guards", self.guards)):
            found += [((part, index), message) for index, rule in enumerate(rules) for message in rule.find_faults(context)]
        return [*found, *self._find_guard_faults(), *self._find_waiver_faults()]

    def _find_guard_faults(self) -> Iterator[tuple[DocumentPath, str]]:
        for index, rule in enumerate(self.rules):
            if any(each.has_guard_terms for each in rule.walk_rules()):
                yield ("rules", index), "`for` and `every` belong to a guard: a rule is asked once for each decision"
        for index, rule in enumerate(self.guards):
            if any(each.has_guard_terms for each in list(rule.walk_rules())[1:]):
                yield ("guards", index), "`for` and `every` belong to the guard as a whole, not to a rule inside"
            kinds = {each.kind for each in rule.walk_rules()}
            yield from (
                (("guards", index), each.guard_objection) for each in RULES if each.kind in kinds and each.guard_objection
            )

    def _find_waiver_faults(self) -> Iterator[tuple[DocumentPath, str]]:
        for index, waiver in enumerate(self.waivers):
            count = sum(rule.is_named_by(waiver.rule) for rule in self.rules)
            if count != 1:
                matches = "no rule of this policy" if not count else f"{count} rules: give the one that is meant a `name`"
                yield ("waivers", index, "rule"), f"`{waiver.rule:.80}` names {matches} (a rule's text is what `explain` shows)"


@dataclass(frozen=True)
class Policy:
    """A policy at a revision."""

    name: str
    """The name of its file."""
    digest: str
    """The SHA-256 of the file's bytes."""
    document: PolicyDocument
    approvers: ApproverDirectory = NO_APPROVERS
    """The approvers of the same revision."""
    source: str | None = field(default=None, compare=False, repr=False)
    """The file's text, for the ledger; None where nobody read a file."""
    approvers_source: str | None = field(default=None, compare=False, repr=False)
    """The text of approvers.yaml, for the ledger; None where there is no such file."""

    @cached_property
    def rule_context(self) -> RuleContext:
        """What its rules may know of it."""
        bare = self.document.rule_context
        used = {metric for rule in self.document.rules for metric in rule.used_metrics(bare)}
        used |= {self.rank_metric} if self.rank_metric else set()
        return replace(bare, policy=self.name, digest=self.digest, approvers=self.approvers, used=tuple(sorted(used, key=str)))

    @property
    def rank_metric(self) -> MetricRef | None:
        """The metric that candidates are ranked by; None: by number."""
        rank, metrics = self.document.candidate_rank, self.document.metrics
        return MetricRef(rank.metric, metrics.source, metrics.dataset) if rank else None

    @cached_property
    def read_metrics(self) -> Mapping[MetricRef, RankOrder | None]:
        """The metrics that it reads of a version, the ranked one first, and in which direction each of them is better.

        None: its rules and its rank say nothing of the direction, or do not agree on one.
        """
        rules, context, rank = (*self.document.rules, *self.document.guards), self.rule_context, self.document.candidate_rank
        guarded = sorted((metric for rule in self.document.guards for metric in rule.used_metrics(context)), key=str)
        first = [self.rank_metric] if self.rank_metric else []
        known: dict[MetricRef, set[RankOrder]] = {metric: set() for metric in (*first, *context.used, *guarded)}
        for metric, order in (pair for rule in rules for pair in rule.list_metric_orders(context)):
            known.setdefault(metric, set()).add(order)
        if self.rank_metric and rank:
            known[self.rank_metric].add(rank.order)
        return {metric: next(iter(orders)) if len(orders) == 1 else None for metric, orders in known.items()}

    @cached_property
    def needed_evidence(self) -> Need:
        """The evidence that its rules and its rank need."""
        metric = self.rank_metric
        need = Need(run=metric is not None, logged_model=metric is not None and metric.source == "logged_model")
        for rule in self.document.rules:
            need |= rule.needed_evidence(self.rule_context)
        return need

    @cached_property
    def guard_policy(self) -> Policy | None:
        """A policy of its guards alone, which judges a holder; None where it has no guards."""
        document = self.document
        if not document.guards:
            return None
        bare = {"rules": document.guards, "guards": (), "limits": Limits(), "freeze": (), "waivers": ()}
        return replace(self, document=document.model_copy(update=bare))
