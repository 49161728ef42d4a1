"""Limits: cooldown, moves a day, freezes with their time zones, and how waivers and `enforcement: audit` act on a decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promoter.domain.decision import Decision, Verdict
from promoter.domain.evidence import AliasPast, Evidence, VersionEvidence
from promoter.domain.observed import TrainingRun
from promoter.domain.policy.document import Freeze, Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from tests.support.strategies.plans import NOW

HOUR = timedelta(hours=1)
WEEKEND: dict[str, Any] = {"cron": "0 18 * * FRI", "duration": "62h", "timezone": "Europe/Berlin"}
AUC = {"metric": "auc", "at_least": 0.9}
AGO = "the last move to be 6h ago"
TEXT = "metric auc at_least 0.9"


def decided(document: dict[str, Any], *, auc: float = 0.95, past: AliasPast | None = None, at: datetime = NOW) -> Decision:
    """What a policy that asks for an auc of 0.9, and says that, decides on version 9 of fraud."""
    policy = Policy("p", "d", PolicyDocument.model_validate({"version": 1, "rules": [AUC], **document}))
    assert policy.document.find_faults() == []
    candidate = VersionEvidence(9, run=TrainingRun("r", "FINISHED", {"auc": auc}))
    return evaluate_policy(policy, "fraud", "champion", Evidence(at, candidate, {}, past))


@pytest.mark.parametrize(
    ("limits", "hours_ago", "verdict", "value", "expected"),
    [
        ({"cooldown": "6h"}, [], "pass", None, "the last move to be 6h ago"),
        (
            {"cooldown": "6h"},
            [9, 6],
            "pass",
            "2026-11-23 06:00:00 UTC",
            "the last move to be 6h ago: at 2026-11-23 12:00:00 UTC",
        ),
        (
            {"cooldown": "6h"},
            [9, 5],
            "pending",
            "2026-11-23 07:00:00 UTC",
            "the last move to be 6h ago: at 2026-11-23 13:00:00 UTC",
        ),
        ({"max_per_day": 2}, [30, 1], "pass", 1, "fewer than 2 moves in 24 hours"),
        ({"max_per_day": 2}, [24, 1], "pass", 1, "fewer than 2 moves in 24 hours"),
        ({"max_per_day": 2}, [23, 1], "pending", 2, "fewer than 2 moves in 24 hours: at 2026-11-23 13:00:00 UTC"),
        ({"max_per_day": 2}, [23, 2, 1], "pending", 3, "fewer than 2 moves in 24 hours: at 2026-11-24 10:00:00 UTC"),
    ],
)
def test_how_often_an_alias_may_move(
    limits: dict[str, Any], hours_ago: list[int], verdict: str, value: Any, expected: str
) -> None:
    """Too soon is pending, and says when it is not any more."""
    past = AliasPast(tuple(NOW - each * HOUR for each in hours_ago))
    decision = decided({"limits": limits}, past=past)
    found = decision.findings[-1]
    assert (found.verdict.value, found.value, found.expected, decision.verdict.value) == (verdict, value, expected, verdict)


def test_limits_matter_only_where_an_alias_would_move() -> None:
    """A version that is judged by itself, or that has the alias, is not limited."""
    assert [each.rule for each in decided({"limits": {"cooldown": "6h"}, "freeze": [WEEKEND]}).findings] == [TEXT]


@pytest.mark.parametrize(
    ("local", "frozen"),
    [
        ("2026-11-20T17:59:59", False),
        ("2026-11-20T18:00:00", True),
        ("2026-11-23T07:59:59", True),
        ("2026-11-23T08:00:00", False),
        ("2026-10-23T18:00:00", True),  # over the night in which summer time ends, 62 hours are over at 07:00
        ("2026-10-26T06:59:59", True),
        ("2026-10-26T07:00:00", False),
        ("2027-03-29T08:59:59", True),  # and at 09:00 when it begins
        ("2027-03-29T09:00:00", False),
    ],
)
def test_a_freeze_follows_the_clocks_of_its_time_zone(local: str, frozen: bool) -> None:
    """It begins by the local clock, and lasts as long as it says."""
    at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    decision = decided({"freeze": [WEEKEND]}, past=AliasPast(), at=at)
    assert decision.verdict is (Verdict.PENDING if frozen else Verdict.PASS)


FRIDAY = datetime(2026, 11, 20, 20, tzinfo=UTC)


def test_what_a_freeze_says() -> None:
    """Until when, why, and how a commit gets past it."""
    freeze = {**WEEKEND, "reason": "nobody is in"}
    found = decided({"freeze": [freeze]}, past=AliasPast(), at=FRIDAY).findings[-1]
    assert found.rule == "freeze 0 18 * * FRI for 62h Europe/Berlin"
    assert found.value == "frozen until 2026-11-23 07:00:00 UTC: nobody is in"
    assert found.expected == "no freeze, or a commit with the trailer `Promoter-Override-Freeze: REASON`"


def test_what_has_begun_finishes_and_a_commit_may_override() -> None:
    """A change that began before the freeze goes on; an override says its reason; both are told."""
    begun = decided({"freeze": [WEEKEND]}, past=AliasPast(begun=FRIDAY - 4 * HOUR), at=FRIDAY)
    assert (begun.verdict, begun.findings[-1].value) == (Verdict.PASS, "no freeze when the change began")
    late = decided({"freeze": [WEEKEND]}, past=AliasPast(begun=FRIDAY - HOUR), at=FRIDAY)
    assert late.verdict is Verdict.PENDING
    overridden = decided({"freeze": [WEEKEND]}, past=AliasPast(override="fraud wave"), at=FRIDAY)
    told = "frozen until 2026-11-23 07:00:00 UTC; overridden by the commit: fraud wave"
    assert (overridden.verdict, overridden.findings[-1].value) == (Verdict.PASS, told)


@given(st.integers(0, 400 * 24 * 60), st.integers(1, 96))
def test_a_moment_is_frozen_exactly_within_the_duration(minutes: int, hours: int) -> None:
    """Against the definition: some Friday 18:00 UTC lies less than the duration before that moment."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    freeze = Freeze.model_validate({"cron": "0 18 * * FRI", "duration": f"{hours}h"})
    first = datetime(2025, 12, 5, 18, tzinfo=UTC)  # a Friday
    fridays = [first + timedelta(weeks=week) for week in range(70)]
    ends = [friday + hours * HOUR for friday in fridays if friday <= at < friday + hours * HOUR]
    assert freeze.find_freeze_end(at) == max(ends, default=None)


@pytest.mark.parametrize(
    ("cron", "duration", "timezone", "at", "end"),
    [
        ("30 2 * * *", "3h", "Europe/Berlin", "2026-10-25T00:29", None),
        ("30 2 * * *", "3h", "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T03:30"),
        ("30 2 * * *", "3h", "Europe/Berlin", "2026-10-25T01:10", "2026-10-25T03:30"),
        ("30 2 * * *", "3h", "Europe/Berlin", "2026-10-25T03:29", "2026-10-25T03:30"),
        ("30 2 * * *", "3h", "Europe/Berlin", "2026-10-25T03:30", None),
        ("30 2 * * *", "10m", "Europe/Berlin", "2026-10-25T00:35", "2026-10-25T00:40"),
        ("30 2 * * *", "10m", "Europe/Berlin", "2026-10-25T01:10", None),
        ("30 2 * * *", "10m", "Europe/Berlin", "2026-10-25T01:35", "2026-10-25T01:40"),
        ("0 2-4 * * *", "1h", "Europe/Berlin", "2026-10-25T01:10", "2026-10-25T02:00"),
        ("*/30 * * * *", "1h", "Europe/Berlin", "2026-10-25T01:10", "2026-10-25T02:00"),
        ("*/30 * * * *", "61m", "Europe/Berlin", "2026-10-25T01:35", "2026-10-25T02:31"),  # no end between two freezes
        ("0 * * * *", "90m", "Europe/Berlin", "2026-10-25T01:45", "2026-10-25T02:30"),
        ("0 18 * * SAT", "62h", "Europe/Berlin", "2026-10-25T01:10", "2026-10-27T06:00"),
        ("30 2 * * *", "1h", "Europe/Berlin", "2026-03-29T00:59", None),  # the clock goes from 02:00 to 03:00
        ("30 2 * * *", "1h", "Europe/Berlin", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("0 0 * * *", "2h", "America/Santiago", "2026-09-06T03:59", None),  # from 00:00 to 01:00
        ("0 0 * * *", "2h", "America/Santiago", "2026-09-06T04:00", "2026-09-06T06:00"),
        ("30 23 * * *", "2h", "America/Santiago", "2026-04-05T03:10", "2026-04-05T04:30"),  # 23:00 to 24:00 comes twice
        ("45 1 * * *", "1h", "Australia/Lord_Howe", "2026-04-04T15:05", "2026-04-04T15:45"),  # by half an hour
        ("15 2 * * *", "1h", "Australia/Lord_Howe", "2026-10-03T15:29", None),
        ("15 2 * * *", "1h", "Australia/Lord_Howe", "2026-10-03T15:30", "2026-10-03T16:30"),
        ("0 12 * * *", "6h", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T16:00"),  # a day that never was
    ],
)
def test_a_freeze_has_no_hole_where_clocks_change(cron: str, duration: str, timezone: str, at: str, end: str | None) -> None:
    """Times are in UTC. A reading that comes twice begins the freeze at its first; a skipped one when it was skipped."""
    freeze = Freeze.model_validate({"cron": cron, "duration": duration, "timezone": timezone})
    expected = datetime.fromisoformat(end).replace(tzinfo=UTC) if end else None
    assert freeze.find_freeze_end(datetime.fromisoformat(at).replace(tzinfo=UTC)) == expected


@given(
    st.sampled_from(["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "America/St_Johns", "UTC"]),
    st.sampled_from(["*/30 * * * *", "0 * * * *", "15 2 * * *", "0 0 * * *", "30 1-3 * * SUN"]),
    st.integers(0, 365 * 24 * 60),
    st.integers(1, 240),
)
def test_a_freeze_is_the_sum_of_its_beginnings(zone: str, cron: str, minute: int, duration: int) -> None:
    """Against the definition, minute by minute: wherever the clock reads what the cron names, the freeze is in force."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    freeze = Freeze.model_validate({"cron": cron, "duration": f"{duration}m", "timezone": zone})
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if next(CronSim(cron, local - timedelta(minutes=1))) == local:
        assert freeze.find_freeze_end(at) is not None


@pytest.mark.parametrize(
    "freeze",
    [
        {"cron": "0 18 * *", "duration": "1h"},
        {"cron": "* * * * * *", "duration": "1h"},
        {"cron": "61 18 * * FRI", "duration": "1h"},
        {"cron": "0 0 30 2 *", "duration": "1h"},
        {"cron": "0 18 * * FRI", "duration": "1h", "timezone": "Europe/Atlantis"},
        {"cron": "0 18 * * FRI", "duration": "1h", "timezone": "../../etc/passwd"},
        {"cron": "0 18 * * FRI", "duration": "0h"},
        {"cron": "0 18 * * FRI", "duration": 62},
    ],
)
def test_a_freeze_that_could_never_be_is_refused(freeze: dict[str, Any]) -> None:
    """As a fault of the file."""
    with pytest.raises(ValidationError):
        Freeze.model_validate(freeze)


WAIVER = {"model": "fraud", "version": 9, "rule": TEXT, "reason": "recall matters more", "until": NOW + HOUR, "by": "ada"}


@pytest.mark.parametrize(
    ("waiver", "verdict"),
    [
        ({}, "pass"),
        ({"until": NOW}, "fail"),
        ({"version": 8}, "fail"),
        ({"model": "churn"}, "fail"),
    ],
)
def test_a_waiver_acts_for_one_version_until_it_ends(waiver: dict[str, Any], verdict: str) -> None:
    """And nowhere else."""
    assert decided({"waivers": [{**WAIVER, **waiver}]}, auc=0.8).verdict.value == verdict


def test_a_waiver_is_shown_wherever_it_acted() -> None:
    """What the rule found by itself stays; a rule that passes by itself needs none."""
    decision = decided({"waivers": [WAIVER]}, auc=0.8)
    words = "waived by ada until 2026-11-23 13:00 UTC: recall matters more"
    assert decision.findings[0].extra_notes == (f"{words} (it was fail)",)
    assert decision.to_json()["rules"][0]["waived"] == {"verdict": "fail", "waiver": words}
    assert decision.summary_line == "passes p, 1 waived"
    assert decided({"waivers": [WAIVER]}).waived_findings == ()


@pytest.mark.parametrize(
    ("bound", "named", "faults"),
    [
        (0.9500004, "metric auc at_least 0.9500004", 0),
        (0.9500004, "metric auc at_least 0.95", 1),
        (0.9999996, "metric auc at_least 1", 1),
        (1_000_000, "metric auc at_least 1e+06", 0),
        (1_000_000, "metric auc at_least 1000000", 0),
        (1_000_000, "metric other at_least 1e+06", 1),
        (0.9, "metric auc at_least 0.90", 0),
        (0.9, "metric auc at_most 0.9", 1),
    ],
)
def test_a_waiver_answers_for_the_bound_as_it_is_written(bound: float, named: str, faults: int) -> None:
    """One for a rounded bound names no rule; one in other digits of the same number, as they were once shown, does."""
    waiver = {**WAIVER, "rule": named}
    document = PolicyDocument.model_validate({"version": 1, "rules": [{**AUC, "at_least": bound}], "waivers": [waiver]})
    assert len(document.find_faults()) == faults
    beside = PolicyDocument.model_validate(
        {
            "version": 1,
            "rules": [AUC | {"at_least": 0.95}, AUC | {"at_least": 0.9500004}],
            "waivers": [{**WAIVER, "rule": TEXT + "5"}],
        }
    )
    assert beside.find_faults() == []


def test_a_waiver_may_name_a_rule_by_its_name() -> None:
    """Where two rules read the same, a name is what tells them apart; a waiver of no rule, or of two, is a fault."""
    named = {"rules": [{**AUC, "name": "good enough"}], "waivers": [{**WAIVER, "rule": "good enough"}]}
    assert decided(named, auc=0.8).verdict is Verdict.PASS
    document = PolicyDocument.model_validate({"version": 1, "rules": [AUC, AUC], "waivers": [WAIVER, {**WAIVER, "rule": "x"}]})
    assert [(path, said.split(" (")[0]) for path, said in document.find_faults()] == [
        (("waivers", 0, "rule"), f"`{TEXT}` names 2 rules: give the one that is meant a `name`"),
        (("waivers", 1, "rule"), "`x` names no rule of this policy"),
    ]


def test_a_policy_that_only_watches_lets_everything_through_and_says_so() -> None:
    """Decided as ever; the verdict is that of the rules."""
    watching, enforcing = decided({"enforcement": "audit"}, auc=0.8), decided({}, auc=0.8)
    assert (watching.verdict, watching.lets_through, watching.would_block) == (Verdict.FAIL, True, True)
    assert (enforcing.verdict, enforcing.lets_through, enforcing.would_block) == (Verdict.FAIL, False, False)
    assert decided({"enforcement": "audit"}).would_block is False
