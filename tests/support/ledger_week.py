"""A week in a ledger: one model is promoted, a daemon is down for two days, and somebody moves an alias meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from promoter.application.ports import Ledger
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.decision import AppliedWaiver, ConfidenceInterval, Decision, RuleFinding, Verdict
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL, LifecycleEvent, LifecycleEventType

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
        RuleFinding("metric val_auc at_least 0.9", Verdict.PASS, 0.953, "at least 0.9"),
        RuleFinding("metric val_auc beats champion by 0.005", Verdict.PASS, 0.953, "more than v6's 0.941 by at least 0.005",
                interval=ConfidenceInterval(0.001, 0.02, 0.9)),
        RuleFinding("any_of", Verdict.PASS, None, "one of them", (
            RuleFinding("metric p99_ms at_most 50", Verdict.FAIL, float("nan"), "at most 50"),
            RuleFinding(
                "tag waived_by present", Verdict.PASS, "erin", "present", waived=AppliedWaiver(Verdict.FAIL, "waived by erin")
            ),
        )),
    ),
    on(2, 9),
)  # fmt: skip
PROMOTED = NewAuditRecord(
    on(2, 9), RecordKind.CHANGE, MODEL, "champion", 6, 7, COMMIT, "Ada Lovelace <ada@example.org>", "git", "champion", "pass",
    reason="Promote v7: better recall on card-not-present", cause="commit", review=REVIEW,
)  # fmt: skip


def seen(at: datetime, model: str, was: int | None, now: int | None, not_before: datetime | None = None) -> NewAuditRecord:
    """A move that Promoter did not make."""
    reason = "moved outside Promoter" if not_before else "first seen"
    return NewAuditRecord(at, RecordKind.OBSERVED, model, "champion", was, now, reason=reason, not_before=not_before)


def watch(ledger: Ledger, run: str, begin: datetime, end: datetime, *, stops: bool) -> None:
    """A daemon watches."""
    moments = [begin + number * HEARTBEAT_INTERVAL for number in range(int((end - begin) / HEARTBEAT_INTERVAL) + 1)]
    for number, at in enumerate(moments):
        event = LifecycleEventType.WATCHING if number else LifecycleEventType.STARTED
        ledger.record_lifecycle_event(LifecycleEvent(at, event, {"run": run, "tool": "1", "looked": at.isoformat()}))
    if stops:
        ledger.record_lifecycle_event(
            LifecycleEvent(end, LifecycleEventType.STOPPED, {"run": run, "tool": "1", "looked": end.isoformat()})
        )


def write(ledger: Ledger) -> None:
    """All of it; noon of the seventh has come when it is done."""
    watch(ledger, "first", on(1, 8), on(3, 16, 30), stops=True)
    ledger.record_observed_moves([seen(on(1, 8, 0, 1), MODEL, None, 6), seen(on(1, 8, 0, 1), "churn", None, 2)])
    ledger.record_outcome(ledger.record_intent(PROMOTED, DECISION), "applied", on(2, 9, 0, 1))
    watch(ledger, "second", on(5, 10), on(7, 12), stops=False)
    ledger.record_observed_moves([seen(on(5, 10, 0, 5), MODEL, 7, 3, not_before=on(3, 16, 30))])
    ledger.record_observed_moves([seen(on(6), "churn", 2, None, not_before=on(6) - timedelta(minutes=1))])
    back = ledger.record_intent(
        NewAuditRecord(on(6, 8), RecordKind.CHANGE, MODEL, "champion", 3, 7, COMMIT, "Ada Lovelace", cause="drift"), None
    )
    ledger.record_outcome(back, ChangeOutcome.RECOVERED.value, on(6, 8, 20))
