"""What can be wrong with a ledger, each problem with the entry that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from promoter.domain.ledger.chain import LedgerEntry, parse_entry_facts
from promoter.domain.text import escape_invisible

_SHOWN = 80


class ProblemKind(StrEnum):
    """EDITED: an entry does not say what it said. DROPPED, INSERTED, REORDERED: not all and only the entries, in their order.

    SECOND: a second entry of one number. MISFILED: it lies where it does not belong. UNREADABLE: it is no entry at all.
    REWRITTEN: somebody outside of the ledger vouched for another hash. TRUNCATED: somebody vouched for what is not there.
    SIGNATURE: a checkpoint that proves nothing. TEXT: a text is not what its digest says. LACKING: a text is not there.
    CUT: an export without its end.
    """

    EDITED = "edited"
    DROPPED = "dropped"
    INSERTED = "inserted"
    REORDERED = "reordered"
    SECOND = "second"
    MISFILED = "misfiled"
    UNREADABLE = "unreadable"
    REWRITTEN = "rewritten"
    TRUNCATED = "truncated"
    SIGNATURE = "signature"
    TEXT = "text"
    LACKING = "lacking"
    CUT = "cut"


@dataclass(frozen=True)
class LedgerProblem:
    """One of them, in words. `entry` to `last` are the entries that it is about; None: it is about no entry.

    `about` is what the entry calls itself now: its table, and the alias that it is about.
    """

    wrong: ProblemKind
    entry: int | None
    message: str
    last: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        """What is told of a ledger that may be forged is visible: it must not paint over a terminal."""
        object.__setattr__(self, "message", escape_invisible(self.message))
        object.__setattr__(self, "about", escape_invisible(self.about))

    @property
    def last_entry(self) -> int | None:
        """The last of the entries that it is about."""
        return self.entry if self.last is None else self.last

    @property
    def entry_range_text(self) -> str:
        """The entries, for people."""
        if self.entry is None:
            return "-"
        return str(self.entry) if self.last in (None, self.entry) else f"{self.entry} to {self.last}"


def quote_shortened(text: object) -> str:
    """What somebody wrote, in quotes and not longer than fits a line."""
    full_text = str(text)
    return f"`{full_text if len(full_text) <= _SHOWN else full_text[:_SHOWN] + '…'}`"


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
