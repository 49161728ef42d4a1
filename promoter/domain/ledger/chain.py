"""The chain: each entry of the ledger attests the one before it.

An entry is a line of JSON in its canonical form (RFC 8785). It names its own number and the hash of the entry before it; its
hash is the SHA-256 of its bytes. So whoever knows one hash can prove everything that was written before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import rfc8785

GENESIS_HASH = "0" * 64
"""The hash that the first entry names as that of the entry before it."""
LARGEST_EXACT_INTEGER = 2**53 - 1
"""The largest whole number that canonical JSON represents exactly; a larger one is written as text."""
_ENTRY_DIGITS = 16
_TRAILER_LINE = re.compile(r"[A-Za-z0-9-]+: ")
LEDGER_TRAILER = "Promoter-Ledger"
"""The trailer of Promoter's own commits that names the ledger, its last entry, and that entry's hash."""


class NotCanonical(ValueError):  # noqa: N818  # names what the facts are
    """Facts that canonical JSON cannot represent, or that no database can store."""


@dataclass(frozen=True)
class LedgerHead:
    """The last entry of a ledger."""

    ledger: str = ""
    """The ledger's own name; empty before its first entry."""
    entry: int = 0
    """The number of the last entry; 0 where there is none."""
    hash: str = GENESIS_HASH
    """The hash of the last entry."""

    @property
    def trailer_value(self) -> str:
        """The head as `LEDGER ENTRY HASH`, which the trailer of a commit holds."""
        return f"{self.ledger} {self.entry} {self.hash}"

    @classmethod
    def parse_trailer(cls, trailer: str) -> LedgerHead | None:
        """Parse a `trailer_value`; None for anything else."""
        ledger, _, rest = trailer.strip().partition(" ")
        entry, _, found = rest.partition(" ")
        whole = len(found) == len(GENESIS_HASH) and not set(found) - set("0123456789abcdef")
        number = entry.isascii() and entry.isdigit() and len(entry) <= _ENTRY_DIGITS  # of more Python makes no number
        return cls(ledger, int(entry), found) if ledger and number and whole else None


@dataclass(frozen=True)
class LedgerEntry:
    """A row of the ledger as it is stored."""

    table: str
    """The table that the row lies in."""
    id: int
    """The number in the row's own column."""
    body: bytes
    """The entry itself: its line of canonical JSON."""
    hash: str
    """The hash in the row's own column."""


def add_ledger_trailer(message: str, head: LedgerHead) -> str:
    """Add the trailer that names the ledger's head to a commit message; a ledger without a name adds none."""
    if not head.ledger:
        return message
    *_, last = message.rstrip().split("\n\n")
    trailers = all(_TRAILER_LINE.match(line) for line in last.split("\n")) and last != message.rstrip()
    return message.rstrip() + ("\n" if trailers else "\n\n") + f"{LEDGER_TRAILER}: {head.trailer_value}\n"


def seal_entry(head: LedgerHead, table: str, facts: Mapping[str, Any]) -> LedgerEntry:
    """Build the entry that follows the head, with these facts. Raises `NotCanonical`."""
    number = head.entry + 1
    body = encode_canonical({**facts, "id": number, "previous": head.hash, "table": table})
    return LedgerEntry(table, number, body, digest_bytes(body))


def advance_head(head: LedgerHead, entry: LedgerEntry) -> LedgerHead:
    """Return the head as it is once the entry is appended."""
    return replace(head, entry=entry.id, hash=entry.hash)


def encode_canonical(facts: Mapping[str, Any]) -> bytes:
    """Encode facts as RFC 8785 has it; times, and numbers that it cannot represent, become text. Raises `NotCanonical`."""
    try:
        return rfc8785.dumps(to_plain_value(dict(facts)))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise NotCanonical(str(error)) from error


def to_plain_value(value: Any) -> Any:
    """Convert a value to what canonical JSON can represent. Raises `NotCanonical` for a NUL."""
    if isinstance(value, str):
        if "\0" in value:
            raise NotCanonical("a text holds the character NUL")
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_EXACT_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _to_plain_container(value)


def _to_plain_container(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_ledger_time(value)
    if isinstance(value, Mapping):
        return {to_plain_value(str(key)): to_plain_value(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return [to_plain_value(each) for each in sorted(value)]
    return [to_plain_value(each) for each in value] if isinstance(value, list | tuple) else value


def format_ledger_time(at: datetime) -> str:
    """Format a time as UTC text of fixed width, so that texts sort by time. Raises `NotCanonical` for one without a zone."""
    if at.tzinfo is None:
        raise NotCanonical("a time without a zone does not belong in the ledger")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def parse_entry_facts(entry: LedgerEntry) -> dict[str, Any]:
    """Parse the facts of an entry. Raises ValueError where its body is no JSON object."""
    found = json.loads(entry.body)
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004  # whatever is wrong with it, callers ask for one kind of error
    return found
