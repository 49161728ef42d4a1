"""Limits of an alias, whatever the version: how often it may move, and when it may not move at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from promoter.domain.document import Document
from promoter.domain.duration import Duration, format_duration
from promoter.domain.evidence import AliasPast
from promoter.domain.moment import format_utc
from promoter.domain.verdict import RuleFinding, Verdict

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


class Limits(Document):
    """How often an alias may move: not before `cooldown` is over, and not more than `max_per_day` times in 24 hours."""

    cooldown: Duration | None = None
    max_per_day: int | None = Field(default=None, ge=1, le=1_000)

    @property
    def has_any_limit(self) -> bool:
        """Whether any limit is set."""
        return self.cooldown is not None or self.max_per_day is not None

    def evaluate_limits(self, past: AliasPast, at: datetime) -> list[RuleFinding]:
        """One for each limit that is set."""
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

    cron: Annotated[str, Field(max_length=200), AfterValidator(_validate_cron)]
    duration: Duration
    timezone: Annotated[str, Field(max_length=100), AfterValidator(_validate_timezone)] = "UTC"
    reason: str | None = Field(default=None, min_length=1, max_length=1_000)

    def find_freeze_end(self, at: datetime) -> datetime | None:
        """When the freeze that is in force at that moment ends; None where none is."""
        local = at.astimezone(ZoneInfo(self.timezone)) + timedelta(minutes=1)
        begun = next(CronSim(self.cron, local.replace(second=0, microsecond=0), reverse=True), None)
        end = begun.astimezone(UTC) + self.duration if begun else None
        return end if end and begun and begun <= at < end else None

    def evaluate_freeze(self, past: AliasPast, at: datetime) -> RuleFinding:
        """Pending while it is in force, unless the change had begun before, or its commit overrides the freeze."""
        rule = f"freeze {self.cron} for {format_duration(self.duration)} {self.timezone}"
        end = self.find_freeze_end(past.begun or at)
        if end is None:
            begun = " when the change began" if past.begun and self.find_freeze_end(at) else ""
            return RuleFinding(rule, Verdict.PASS, "no freeze" + begun, "no freeze")
        frozen = f"frozen until {format_utc(end)}" + (f": {self.reason}" if self.reason else "")
        if past.override:
            return RuleFinding(
                rule, Verdict.PASS, f"{frozen}; overridden by the commit: {past.override}", "no freeze, or an override"
            )
        return RuleFinding(
            rule, Verdict.PENDING, frozen, f"no freeze, or a commit with the trailer `{FREEZE_OVERRIDE_TRAILER}: REASON`"
        )
