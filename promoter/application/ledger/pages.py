"""Audit records page by page: a page, and where its neighbours begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from promoter.application.ports import Ledger
from promoter.domain.audit import AuditRecord, RecordFilter


@dataclass(frozen=True)
class RecordPage:
    """Records, oldest first. `older`: what to give as `before` for those that come before, `newer`: as `after` for the others.

    None: there are none. Of the newest page `newer` is None although more may come: these have greater ids than its last.
    """

    records: Sequence[AuditRecord]
    older: int | None
    newer: int | None

    def to_json(self) -> dict[str, Any]:
        """The shape of `audit list --format json`."""
        return {"records": [each.to_json() for each in self.records], "next": {"before": self.older, "after": self.newer}}


def read_record_page(ledger: Ledger, where: RecordFilter) -> RecordPage:
    """At most `limit` records: the first behind `after`, or with `newest` the last before `before`."""
    found = list(ledger.find_audit_records(replace(where, limit=where.limit + 1)))
    if len(found) <= where.limit:
        records, more = found, False
    else:
        records, more = found[1:] if where.newest else found[: where.limit], True
    if not records:
        return RecordPage(records, None, None)
    first, last = records[0].id, records[-1].id
    if where.newest:
        return RecordPage(records, first if more else None, last if _has_records(ledger, where, after=last) else None)
    return RecordPage(records, first if _has_records(ledger, where, before=first) else None, last if more else None)


def _has_records(ledger: Ledger, where: RecordFilter, *, after: int | None = None, before: int | None = None) -> bool:
    """Whether there are others, of those that the cursors left out."""
    return bool(ledger.find_audit_records(replace(where, after=after, before=before, limit=1)))
