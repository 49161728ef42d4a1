"""Spans: who held an alias when, from its records."""

from __future__ import annotations

from datetime import datetime, timedelta

from promoter.application.responses.registry import SpanResponse
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.history import build_alias_spans
from promoter.domain.review import describe_origin
from tests.support.strategies.plans import NOW


def record(number: int, was: int | None, now: int | None, outcome: ChangeOutcome | None = None) -> AuditRecord:
    """The record of that number, a minute after the one before."""
    kind = RecordKind.CHANGE if outcome else RecordKind.OBSERVED
    return AuditRecord(number, NewAuditRecord(minute(number), kind, "fraud", "champion", was, now, outcome=outcome))


def minute(number: int) -> datetime:
    """That many minutes from now."""
    return NOW + timedelta(minutes=number)


def test_no_record_is_no_span() -> None:
    """An alias that the ledger does not know has no history."""
    assert build_alias_spans([]) == []


def test_spans_follow_what_moved_and_say_where_the_ledger_does_not_know() -> None:
    """Intents and failures move nothing; what held before the first record did so since an unknown time."""
    found = build_alias_spans(
        [
            record(1, 3, 4, ChangeOutcome.INTENDED),
            record(2, 3, 4, ChangeOutcome.APPLIED),
            record(3, 4, 5, ChangeOutcome.INTENDED),
            record(4, 4, 5, ChangeOutcome.FAILED),
            record(5, 4, None),
            record(6, None, 5, ChangeOutcome.RECOVERED),
        ]
    )
    assert [(span.version, span.since, span.until) for span in found] == [
        (3, None, minute(2)),
        (4, minute(2), minute(5)),
        (None, minute(5), minute(6)),
        (5, minute(6), None),
    ]


def test_a_span_tells_the_pull_request_that_began_it() -> None:
    """As the record has it; in words, a crowd has an end."""
    review = {"number": 12, "author": "bob", "reviewers": [f"r{number}" for number in range(7)], "merged_by": "erin"}
    record = AuditRecord(
        1, NewAuditRecord(NOW, RecordKind.CHANGE, "m", "champion", None, 2, outcome=ChangeOutcome.APPLIED, review=review)
    )
    (span,) = build_alias_spans([record])
    assert SpanResponse.from_value(span).to_json()["review"] == review
    assert record.review_summary == "#12 by bob, reviewed by r0, r1, r2, r3, r4 and 2 more, merged by erin"
    assert describe_origin({**review, "reviewers": [], "merged_by": None}) == "#12 by bob, reviewed by nobody"
    assert describe_origin(None) == ""
