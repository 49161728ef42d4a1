"""A week in a ledger: one model is promoted, a daemon is down for two days, and somebody moves an alias meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from promoter.application.ports import Ledger
from promoter.domain.audit import Kind, NewRecord, Outcome
from promoter.domain.ledger.milestones import BEAT, Event, Milestone
from promoter.domain.verdict import Decision, Finding, Interval, Verdict, Waived

MODEL = "fraud-detector"
COMMIT = "55aa4f9de8" * 4
REVIEW = {"number": 12, "author": "bob", "reviewers": ["alice"], "merged_by": "carol"}


def on(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """That time in October."""
    return datetime(2026, 10, day, hour, minute, second, tzinfo=UTC)


NOW = on(7, 12, 30)
DECISION = Decision(
    MODEL, "champion", 7, "champion", "1f2e3d4c5b6a" + "0" * 52, Verdict.PASS,
    (
        Finding("metric val_auc at_least 0.9", Verdict.PASS, 0.953, "at least 0.9"),
        Finding("metric val_auc beats champion by 0.005", Verdict.PASS, 0.953, "more than v6's 0.941 by at least 0.005",
                interval=Interval(0.001, 0.02, 0.9)),
        Finding("any_of", Verdict.PASS, None, "one of them", (
            Finding("metric p99_ms at_most 50", Verdict.FAIL, float("nan"), "at most 50"),
            Finding("tag waived_by present", Verdict.PASS, "erin", "present", waived=Waived(Verdict.FAIL, "waived by erin")),
        )),
    ),
    on(2, 9),
)  # fmt: skip
PROMOTED = NewRecord(
    on(2, 9), Kind.CHANGE, MODEL, "champion", 6, 7, COMMIT, "Ada Lovelace <ada@example.org>", "git", "champion", "pass",
    reason="Promote v7: better recall on card-not-present", cause="commit", review=REVIEW,
)  # fmt: skip


def seen(at: datetime, model: str, was: int | None, now: int | None, not_before: datetime | None = None) -> NewRecord:
    """A move that Promoter did not make."""
    reason = "moved outside Promoter" if not_before else "first seen"
    return NewRecord(at, Kind.OBSERVED, model, "champion", was, now, reason=reason, not_before=not_before)


def watch(ledger: Ledger, run: str, begin: datetime, end: datetime, *, stops: bool) -> None:
    """A daemon watches."""
    moments = [begin + number * BEAT for number in range(int((end - begin) / BEAT) + 1)]
    for number, at in enumerate(moments):
        event = Event.WATCHING if number else Event.STARTED
        ledger.mark(Milestone(at, event, {"run": run, "tool": "1", "looked": at.isoformat()}))
    if stops:
        ledger.mark(Milestone(end, Event.STOPPED, {"run": run, "tool": "1", "looked": end.isoformat()}))


def write(ledger: Ledger) -> None:
    """All of it; noon of the seventh has come when it is done."""
    watch(ledger, "first", on(1, 8), on(3, 16, 30), stops=True)
    ledger.observe([seen(on(1, 8, 0, 1), MODEL, None, 6), seen(on(1, 8, 0, 1), "churn", None, 2)])
    ledger.close(ledger.intend(PROMOTED, DECISION), "applied", on(2, 9, 0, 1))
    watch(ledger, "second", on(5, 10), on(7, 12), stops=False)
    ledger.observe([seen(on(5, 10, 0, 5), MODEL, 7, 3, not_before=on(3, 16, 30))])
    ledger.observe([seen(on(6), "churn", 2, None, not_before=on(6) - timedelta(minutes=1))])
    back = ledger.intend(NewRecord(on(6, 8), Kind.CHANGE, MODEL, "champion", 3, 7, COMMIT, "Ada Lovelace", cause="drift"), None)
    ledger.close(back, Outcome.RECOVERED.value, on(6, 8, 20))
