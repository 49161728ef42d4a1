"""Entries as they are kept: what each says, and what it calls itself."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from promoter.domain.ledger.chain import LedgerEntry, parse_entry_facts
from promoter.domain.ledger.problems import quote_shortened

LIFECYCLE_TABLE = "milestones"
LIFECYCLE_TABLE_BYTES = b'"table":"milestones"'
"""What every milestone has in its bytes."""
EntryRow = tuple[str, int, bytes, str]
"""An `Entry` as a plain tuple: millions go by, and to make an object of each would take longer than to hash it."""


class EntryHeader(msgspec.Struct, gc=False):
    """What an entry says of where it stands. What else it says is passed over, which is why it is quick to read."""

    id: int
    previous: str
    table: str


_decode_header = msgspec.json.Decoder(EntryHeader).decode


def parse_entry_body(body: bytes) -> dict[str, Any] | None:
    """What an entry says; None for what is no entry."""
    try:
        facts = parse_entry_facts(LedgerEntry("", 0, body, ""))
    except (ValueError, RecursionError):
        return None
    number, previous = facts.get("id"), facts.get("previous")
    return facts if type(number) is int and number > 0 and isinstance(previous, str) else None


def hash_ordered_rows(run: Sequence[EntryRow], top: int, digest: str, *, rows: bool) -> list[str]:
    """Their hashes, where all of them follow entry `top` of that hash in order and none is a milestone; otherwise none.

    All at once: a step of Python for each would take longer than to hash them. `rows`: see `ChainVerifier`.
    """
    found, tables = _check_row_order(run, top, digest, rows=rows)
    return [] if LIFECYCLE_TABLE in tables else found


def is_next_entry(entry: LedgerEntry, top: int, digest: str, *, rows: bool) -> bool:
    """Whether the entry, a milestone or not, is the one behind entry `top` of that hash."""
    return bool(_check_row_order([(entry.table, entry.id, entry.body, entry.hash)], top, digest, rows=rows)[0])


def _check_row_order(run: Sequence[EntryRow], top: int, digest: str, *, rows: bool) -> tuple[list[str], Sequence[str]]:
    """Their hashes and their tables, where all are in order; otherwise none."""
    tables, numbers, bodies, beside = zip(*run, strict=True)
    try:
        places = [_decode_header(body) for body in bodies]
    except (ValueError, RecursionError):
        return [], ()
    found = [sha256(body).hexdigest() for body in bodies]
    due, named_tables = list(range(top + 1, top + 1 + len(run))), [place.table for place in places]
    good = [place.id for place in places] == due and [place.previous for place in places] == [digest, *found[:-1]]
    if rows:
        good = good and list(numbers) == due and list(beside) == found and list(tables) == named_tables
    return (found, named_tables) if good else ([], ())


def describe_entry(facts: dict[str, Any] | None) -> str:
    """What an entry calls itself, for people."""
    if facts is None:
        return ""
    model, alias, version = (facts.get(name) for name in ("model", "alias", "version"))
    what = f"{model}@{alias}" if alias else f"{model}/{version}" if model and version else model or facts.get("event") or ""
    return f"{facts.get('table')}{' ' + quote_shortened(what) if what else ''}"
