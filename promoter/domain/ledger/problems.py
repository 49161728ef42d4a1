"""The problems that verification finds, each with its entry, and the quick check of entries that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from promoter.domain.ledger.chain import LedgerEntry, parse_entry_facts
from promoter.domain.text import escape_invisible

_QUOTED_CHARACTERS = 80


class ProblemKind(StrEnum):
    """What can be wrong with a ledger or an export."""

    EDITED = "edited"
    """An entry is not what was written."""
    DROPPED = "dropped"
    """Entries are missing."""
    INSERTED = "inserted"
    """Something stands where no entry belongs."""
    REORDERED = "reordered"
    """An entry is not in its place."""
    SECOND = "second"
    """There is a second entry of the same number."""
    MISFILED = "misfiled"
    """An entry lies in another table, or under another number, than it names."""
    UNREADABLE = "unreadable"
    """A row or a line is no entry at all."""
    REWRITTEN = "rewritten"
    """A witness outside of the ledger attests another hash."""
    REPLACED = "replaced"
    """A witness attests another ledger, in whose place this one stands."""
    TRUNCATED = "truncated"
    """A witness attests an entry behind the last one."""
    SIGNATURE = "signature"
    """A checkpoint proves nothing."""
    TEXT = "text"
    """A text has another digest than decisions name."""
    LACKING = "lacking"
    """A text that a decision names is missing."""
    CUT = "cut"
    """An export has no ending."""


@dataclass(frozen=True)
class LedgerProblem:
    """A problem of a ledger or an export. Its texts come from what may be forged: invisible characters are escaped."""

    kind: ProblemKind
    """What is wrong."""
    entry: int | None
    """The number of the first entry that it is about; None where it is about no entry."""
    message: str
    """What is wrong, in words."""
    last: int | None = None
    """The number of the last entry that it is about, where that is another one."""
    about: str = ""
    """What the entry now names: its table, and its alias, version or event."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape_invisible(self.message))
        object.__setattr__(self, "about", escape_invisible(self.about))

    @property
    def last_entry(self) -> int | None:
        """The number of the last entry that it is about."""
        return self.entry if self.last is None else self.last

    @property
    def entry_range_text(self) -> str:
        """The entries as `7` or `7 to 9`; `-` where there is none."""
        if self.entry is None:
            return "-"
        return str(self.entry) if self.last in (None, self.entry) else f"{self.entry} to {self.last}"


def quote_shortened(text: object) -> str:
    """Quote a text, and shorten it to what fits a line."""
    full_text = str(text)
    return f"`{full_text if len(full_text) <= _QUOTED_CHARACTERS else full_text[:_QUOTED_CHARACTERS] + '…'}`"


LIFECYCLE_TABLE = "milestones"
LIFECYCLE_TABLE_BYTES = b'"table":"milestones"'
"""The bytes that every lifecycle event contains."""
EntryRow = tuple[str, int, bytes, str]
"""A `LedgerEntry` as a plain tuple: to make an object of each of millions would take longer than to hash it."""


class EntryHeader(msgspec.Struct, gc=False):
    """The place that an entry names; its other facts are skipped, which makes it quick to read."""

    id: int
    """Its number."""
    previous: str
    """The hash of the entry before it."""
    table: str
    """Its table."""


_decode_header = msgspec.json.Decoder(EntryHeader).decode


def parse_entry_body(body: bytes) -> dict[str, Any] | None:
    """Parse the facts of an entry; None where the body is no entry."""
    try:
        facts = parse_entry_facts(LedgerEntry("", 0, body, ""))
    except (ValueError, RecursionError):
        return None
    number, previous = facts.get("id"), facts.get("previous")
    return facts if type(number) is int and number > 0 and isinstance(previous, str) else None


def hash_ordered_rows(run: Sequence[EntryRow], top: int, digest: str, *, rows: bool) -> list[str]:
    """Hash rows that all follow entry `top`, of that hash, in order; none where any does not, or is a lifecycle event.

    All at once, since a step of Python for each would take longer than to hash them. `rows`: see `ChainVerifier`.
    """
    found, tables = _check_row_order(run, top, digest, rows=rows)
    return [] if LIFECYCLE_TABLE in tables else found


def is_next_entry(entry: LedgerEntry, top: int, digest: str, *, rows: bool) -> bool:
    """Whether the entry, also a lifecycle event, follows entry `top` of that hash."""
    return bool(_check_row_order([(entry.table, entry.id, entry.body, entry.hash)], top, digest, rows=rows)[0])


def _check_row_order(run: Sequence[EntryRow], top: int, digest: str, *, rows: bool) -> tuple[list[str], Sequence[str]]:
    """Return the hashes and the tables of rows that are all in order; otherwise none."""
    tables, numbers, bodies, beside = zip(*run, strict=True)
    try:
        headers = [_decode_header(body) for body in bodies]
    except (ValueError, RecursionError):
        return [], ()
    found = [sha256(body).hexdigest() for body in bodies]
    due, named_tables = list(range(top + 1, top + 1 + len(run))), [header.table for header in headers]
    good = [header.id for header in headers] == due and [header.previous for header in headers] == [digest, *found[:-1]]
    if rows:
        good = good and list(numbers) == due and list(beside) == found and list(tables) == named_tables
    return (found, named_tables) if good else ([], ())


def describe_entry(facts: dict[str, Any] | None) -> str:
    """Describe an entry in words, by its table and the alias, version or event that it is about."""
    if facts is None:
        return ""
    model, alias, version = (facts.get(name) for name in ("model", "alias", "version"))
    what = f"{model}@{alias}" if alias else f"{model}/{version}" if model and version else model or facts.get("event") or ""
    return f"{facts.get('table')}{' ' + quote_shortened(what) if what else ''}"
