"""The chain: how the ledger's entries vouch for each other.

An entry is a line of JSON in its canonical form (RFC 8785). It says its own number and the hash of the entry before it; its
hash is the SHA-256 of its bytes. So whoever knows one hash knows everything that was written before it.
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
"""In place of the hash that comes before the first entry."""
LARGEST_EXACT_INTEGER = 2**53 - 1
"""The greatest whole number that JSON's canonical form knows: what is beyond is told as text."""
_ENTRY_DIGITS = 16
_TRAILER_LINE = re.compile(r"[A-Za-z0-9-]+: ")
LEDGER_TRAILER = "Promoter-Ledger"
"""The trailer of Promoter's own commits that names the ledger, its last entry, and that entry's hash."""


class NotCanonical(ValueError):  # noqa: N818  # says what the facts are
    """Facts that canonical JSON has no word for, or that no database keeps in it."""


@dataclass(frozen=True)
class LedgerHead:
    """The last entry of a ledger: its number and its hash. `ledger` is the ledger's own name; empty before its first entry."""

    ledger: str = ""
    entry: int = 0
    hash: str = GENESIS_HASH

    @property
    def trailer_value(self) -> str:
        """`LEDGER ENTRY HASH`, as commits tell it."""
        return f"{self.ledger} {self.entry} {self.hash}"

    @classmethod
    def parse_trailer(cls, trailer: str) -> LedgerHead | None:
        """What `trailer` told; None for anything else."""
        ledger, _, rest = trailer.strip().partition(" ")
        entry, _, found = rest.partition(" ")
        whole = len(found) == len(GENESIS_HASH) and not set(found) - set("0123456789abcdef")
        number = entry.isascii() and entry.isdigit() and len(entry) <= _ENTRY_DIGITS  # of more Python makes no number
        return cls(ledger, int(entry), found) if ledger and number and whole else None


@dataclass(frozen=True)
class LedgerEntry:
    """A row of the ledger as it is kept: which `table` it is in, its number, its bytes, and the hash that stands beside."""

    table: str
    id: int
    body: bytes
    hash: str


def add_ledger_trailer(message: str, head: LedgerHead) -> str:
    """The commit message with the trailer that names the ledger's head; as it is before the ledger has a name."""
    if not head.ledger:
        return message
    *_, last = message.rstrip().split("\n\n")
    trailers = all(_TRAILER_LINE.match(line) for line in last.split("\n")) and last != message.rstrip()
    return message.rstrip() + ("\n" if trailers else "\n\n") + f"{LEDGER_TRAILER}: {head.trailer_value}\n"


def seal_entry(head: LedgerHead, table: str, facts: Mapping[str, Any]) -> LedgerEntry:
    """The next entry: these facts behind that head. Raises `NotCanonical`."""
    number = head.entry + 1
    body = encode_canonical({**facts, "id": number, "previous": head.hash, "table": table})
    return LedgerEntry(table, number, body, digest_bytes(body))


def advance_head(head: LedgerHead, entry: LedgerEntry) -> LedgerHead:
    """The head once the entry is in."""
    return replace(head, entry=entry.id, hash=entry.hash)


def encode_canonical(facts: Mapping[str, Any]) -> bytes:
    """RFC 8785. Times become text in UTC to the microsecond, and so do numbers that it cannot tell. Raises `NotCanonical`."""
    try:
        return rfc8785.dumps(to_plain_value(dict(facts)))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise NotCanonical(str(error)) from error


def to_plain_value(value: Any) -> Any:
    """The value with nothing but what canonical JSON can tell. Raises `NotCanonical` for a NUL."""
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
    """Text of fixed width, so that its order is that of time. Raises `NotCanonical` for a time without a zone."""
    if at.tzinfo is None:
        raise NotCanonical("a time without a zone does not belong in the ledger")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def digest_bytes(content: bytes) -> str:
    """SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def parse_entry_facts(entry: LedgerEntry) -> dict[str, Any]:
    """What the entry says. Raises ValueError where that is no object."""
    found = json.loads(entry.body)
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004  # whatever is wrong with it, callers ask for one kind of error
    return found
