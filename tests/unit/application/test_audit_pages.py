"""Audit records page by page, forwards and backwards, with and without filters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.application.audit import RecordPage, read_record_page
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from tests.support.fixtures.ledger import NOW

ALICE, BOB = "Alice <alice@example.org>", "Bob <bob@example.org>"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    """Thirteen records of two models."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'promoter.db'}")
    for n in range(5):
        at, model = NOW + timedelta(hours=n), "m" if n % 2 else "other"
        actor, verdict = (ALICE, "pass") if n % 2 else (BOB, "fail")
        intent = ledger.record_intent(
            NewAuditRecord(at, RecordKind.CHANGE, model, "champion", n, n + 1, actor=actor, verdict=verdict), None
        )
        ledger.record_outcome(intent, "failed" if n == 3 else "applied", at)
    ledger.record_observed_moves(
        [NewAuditRecord(NOW + timedelta(hours=9), RecordKind.OBSERVED, "m", "shadow", n, n + 1) for n in range(3)]
    )
    yield ledger
    ledger.close_connections()


def ids(ledger: SqlLedger, where: RecordFilter) -> list[int]:
    """All of them at once."""
    return [each.id for each in ledger.find_audit_records(where)]


@pytest.mark.parametrize("limit", [1, 2, 3, 12, 13, 14])
@pytest.mark.parametrize("model", [None, "m", "nobody"])
def test_both_ways_see_every_record_once(kept: SqlLedger, limit: int, model: str | None) -> None:
    """From the oldest on, and from the newest back; the cursors end with the records."""
    every = ids(kept, RecordFilter(model=model))
    forth, found = [], read_record_page(kept, RecordFilter(model=model, limit=limit))
    assert found.older is None
    forth += [each.id for each in found.records]
    while found.newer is not None:
        found = read_record_page(kept, RecordFilter(model=model, limit=limit, after=found.newer))
        assert found.older == found.records[0].id
        forth += [each.id for each in found.records]
    back, found = [], read_record_page(kept, RecordFilter(model=model, limit=limit, newest=True))
    assert found.newer is None
    back += [each.id for each in found.records]
    while found.older is not None:
        found = read_record_page(kept, RecordFilter(model=model, limit=limit, newest=True, before=found.older))
        assert found.newer == found.records[-1].id
        back = [each.id for each in found.records] + back
    assert forth == back == every


def test_none_at_all(kept: SqlLedger) -> None:
    """Of nothing there is no next page; that asks for none is told nothing."""
    assert read_record_page(kept, RecordFilter(model="nobody")) == RecordPage([], None, None)
    assert read_record_page(kept, RecordFilter(limit=0)).records == []


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (RecordFilter(actor=ALICE), 4),
        (RecordFilter(actor="Alice"), 4),  # as lists show it
        (RecordFilter(actor="alice"), 0),
        (RecordFilter(actor="Al"), 0),
        (RecordFilter(actor="A%"), 0),
        (RecordFilter(verdict="fail"), 6),
        (RecordFilter(outcome=ChangeOutcome.FAILED), 1),
        (RecordFilter(kind=RecordKind.OBSERVED), 3),
        (RecordFilter(since=NOW + timedelta(hours=1)), 11),
        (RecordFilter(until=NOW + timedelta(hours=1)), 2),
        (RecordFilter(since=NOW + timedelta(hours=1), until=NOW + timedelta(hours=3)), 4),
        (RecordFilter(model="m", alias="champion", actor=ALICE, verdict="pass", outcome=ChangeOutcome.APPLIED), 1),
    ],
)
def test_filters_go_together_with_pages(kept: SqlLedger, where: RecordFilter, count: int) -> None:
    """As many as there are, a page of all of them having no neighbours."""
    found = read_record_page(kept, where)
    assert (len(found.records), found.older, found.newer) == (count, None, None)
