"""What follows the end of an override, and how a record tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.commit_status import STATUS_LENGTH_LIMIT
from promoter.domain.desired import AliasIntent, ModelIntent, OnDrift, Override
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.overrides import (
    OverrideEffect,
    OverrideEnd,
    OverrideOutlook,
    build_override_outlooks,
    find_causing_end,
    is_expiring,
)
from promoter.domain.rollback import RollbackRequest

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
OVERRIDE = Override(7, AT, "m", "champion", 1, 2, "bad recall", "alice", AT + timedelta(hours=24))
V2_RETURNS = "v2 returns, the version that was rolled back"


def build(
    declared: AliasIntent, agreed: int | None = 2, held: int | None = 1, on_drift: OnDrift = "revert", versions: int = 3
) -> OverrideOutlook:
    """Return the outlook of the override over that declaration."""
    aliases = {} if held is None else {"champion": held}
    observed = ObservedModel("m", aliases, {number: ModelVersion(number, None, AT) for number in range(1, versions + 1)})
    settled = {} if agreed is None else {"champion": RememberedVersion(agreed)}
    intent = ModelIntent("m", on_drift=on_drift, aliases={"champion": declared}).apply_overrides([OVERRIDE])
    return build_override_outlooks(intent, observed, settled)["champion"]


@pytest.mark.parametrize(
    ("outlook", "follows", "returns"),
    [
        (build(AliasIntent("m", "champion", 2)), V2_RETURNS, 2),
        (build(AliasIntent("m", "champion", 3), agreed=3), "v3 returns", 3),
        (build(AliasIntent("m", "champion", 3)), "v3 follows at once: git states it by now", None),
        (
            build(AliasIntent("m", "champion", 3, policy="p")),
            "v3 follows once policy p lets it through: git states it by now",
            None,
        ),
        (build(AliasIntent("m", "champion")), "v1 stays: git states no version of the alias", None),
        (
            build(AliasIntent("m", "champion", absent=True)),
            "the alias is deleted, since git states that it must not exist",
            None,
        ),
        (build(AliasIntent("m", "champion", 2), held=2), "v2 stays", None),
        (
            build(AliasIntent("m", "champion", 2), on_drift="report"),
            "v1 stays, and is shown as drift from v2, which git states (`on_drift: report`)",
            None,
        ),
        (
            build(AliasIntent("m", "champion", 2), on_drift="adopt"),
            "v1 stays, and a pull request asks whether git adopts it in place of v2 (`on_drift: adopt`)",
            None,
        ),
        (
            build(AliasIntent("m", "champion", 2), versions=1),
            "v1 stays: the registry has no version 2 of this model (the newest is 1)",
            None,
        ),
    ],
)
def test_what_follows_is_what_the_planner_would_do(outlook: OverrideOutlook, follows: str, returns: int | None) -> None:
    """Nothing is promised that does not come: what git states, what it agreed on, and `on_drift` decide."""
    assert (outlook.consequence, outlook.returning_version) == (follows, returns)


def test_a_plan_names_an_override_though_nothing_differs() -> None:
    """The version that serves and that it is not there yet are told apart."""
    declared = AliasIntent("m", "champion", 2)
    end = "under an override until 2026-11-24 12:00 UTC, by alice: bad recall. Unless git states v1 by 2026-11-24 12:00 UTC, "
    assert build(declared).description == f"m@champion: v1 serves {end}{V2_RETURNS}"
    assert build(declared, held=2).description == f"m@champion: v1 is to serve {end}v2 stays"


def test_without_an_override_there_is_no_outlook() -> None:
    """And none is computed."""
    assert build_override_outlooks(ModelIntent("m"), None, {}) == {}


@pytest.mark.parametrize(("answer", "closed"), [(True, "closed, or not merged by then"), (False, "not merged by then")])
def test_the_status_begins_with_what_matters(answer: bool, closed: str) -> None:
    """Which version serves until when, what a merge does, and what comes otherwise; a long name is cut, and not that."""
    long = replace(OVERRIDE, model="m" * 200)
    outlook = replace(build(AliasIntent("m", "champion", 2)), override=long)
    line = OverrideEffect(outlook, AliasIntent("m", "champion", 1), answer).status_line
    assert line.startswith(
        f"v1 serves under an override until 2026-11-24 12:00 UTC; merged: git states it; {closed}: v2 returns ("
    )
    assert line.index(" (mmm") < STATUS_LENGTH_LIMIT


def test_its_end_is_near_in_its_last_hour() -> None:
    """At once where it lasts no longer, and not any more once it is over."""
    assert [is_expiring(OVERRIDE, AT + timedelta(hours=hours)) for hours in (0, 22.9, 23, 23.9, 24)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert is_expiring(replace(OVERRIDE, until=AT + timedelta(minutes=10)), AT)


def record(number: int, kind: RecordKind, to: int, intent: int | None = None, **more: object) -> AuditRecord:
    """Return a record of the alias."""
    fact = NewAuditRecord(AT, kind, "m", "champion", 2, to, actor="alice <a@b>", **more)  # type: ignore[arg-type]
    return AuditRecord(number, fact, intent)


MOVED = record(2, RecordKind.CHANGE, 1, 1, outcome=ChangeOutcome.APPLIED, cause="override")
ENDED = record(4, RecordKind.OVERRIDE, 1, 1, reason="expired: nobody decided in time; v2 returns")
FAILED = record(5, RecordKind.CHANGE, 2, outcome=ChangeOutcome.FAILED, cause="drift")
BY_HAND = record(3, RecordKind.OBSERVED, 1)
GIT = record(6, RecordKind.CHANGE, 1, outcome=ChangeOutcome.APPLIED, cause="commit")


@pytest.mark.parametrize(
    ("records", "held", "found"),
    [
        ([ENDED, MOVED], 1, True),
        ([FAILED, ENDED, MOVED], 1, True),
        ([ENDED, MOVED], 3, False),
        ([ENDED, BY_HAND, MOVED], 1, False),
        ([BY_HAND, ENDED, MOVED], 1, False),
        ([GIT, ENDED, MOVED], 1, False),
        ([MOVED], 1, False),
        ([ENDED], 1, False),
        ([], 1, False),
    ],
)
def test_only_what_an_override_left_behind_is_its_own(records: list[AuditRecord], held: int, *, found: bool) -> None:
    """What a hand or git moved after it or under it is drift like any other."""
    end = find_causing_end(records, held)
    assert (end is not None) is found
    if end:
        assert (end.by, end.outcome, end.clause, end.aftermath) == ("alice", "expired", "nobody decided", "v2 returns")


def test_an_end_is_read_from_its_record_alone() -> None:
    """The beginning of an override is none; ends that older Promoters wrote say less."""
    assert OverrideEnd.from_record(record(1, RecordKind.OVERRIDE, 1, reason="bad recall")) is None
    old = OverrideEnd.from_record(record(4, RecordKind.OVERRIDE, 1, 1, reason="declined: https://forge/1 was closed unmerged"))
    assert old is not None
    assert (old.outcome, old.clause, old.aftermath) == ("declined", "https://forge/1 was closed unmerged", "")


@pytest.mark.parametrize(
    ("lasts", "later", "renews"),
    [
        (None, timedelta(hours=5), False),
        (timedelta(hours=24), timedelta(minutes=1), False),
        (timedelta(hours=24), timedelta(minutes=5), True),
        (timedelta(hours=2), timedelta(0), True),
    ],
)
def test_another_end_is_asked_for_by_a_time(lasts: timedelta | None, later: timedelta, *, renews: bool) -> None:
    """To repeat a command right after it is no renewal."""
    request = RollbackRequest("m", "champion", "bad recall", "alice", now=True, lasts=lasts)
    assert request.renews(OVERRIDE, AT + later) is renews
