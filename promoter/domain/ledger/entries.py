"""Entries as they are kept: what each says, and what it calls itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from itertools import repeat
from typing import Any

from promoter.domain.ledger.chain import Entry, told
from promoter.domain.ledger.problems import short

MILESTONES = "milestones"
MARK = b'"table":"milestones"'
"""What every milestone has in its bytes."""
Row = tuple[str, int, bytes, str]
"""An `Entry` as a plain tuple: millions go by, and to make an object of each would take longer than to hash it."""


def read(body: bytes) -> dict[str, Any] | None:
    """What an entry says; None for what is no entry."""
    try:
        facts = told(Entry("", 0, body, ""))
    except (ValueError, RecursionError):
        return None
    number, previous = facts.get("id"), facts.get("previous")
    return facts if type(number) is int and number > 0 and isinstance(previous, str) else None


def in_order(run: Sequence[Row], top: int, digest: str, *, rows: bool) -> list[str]:
    """Their hashes, where all of them follow entry `top` of that hash in order and none is a milestone; otherwise none.

    All at once: a step of Python for each would take several times as long as to hash them. `rows`: see `Walk`.
    """
    tables, numbers, bodies, beside = zip(*run, strict=True)
    found = [sha256(body).hexdigest() for body in bodies]
    due = range(top + 1, top + 1 + len(run))
    if rows:
        good = beside == tuple(found) and numbers == tuple(due) and MILESTONES not in tables
        good = good and _say(bodies, map(_mark, tables))
    else:
        good = max(map(bytes.find, bodies, repeat(MARK))) < 0
    good = good and _say(bodies, [f'"previous":"{before}"'.encode() for before in (digest, *found)])
    return found if good and _say(bodies, [b'"id":%d,' % number for number in due]) else []


def _say(bodies: Sequence[bytes], words: Iterable[bytes]) -> bool:
    """Whether each has its words in it. Not by `in`: that takes them for a number first, and half as long again."""
    return -1 not in map(bytes.find, bodies, words)


@cache
def _mark(table: str) -> bytes:
    """What each entry of that table says."""
    return f'"table":"{table}"'.encode()


def about(facts: dict[str, Any] | None) -> str:
    """What an entry calls itself, for people."""
    if facts is None:
        return ""
    model, alias, version = (facts.get(name) for name in ("model", "alias", "version"))
    what = f"{model}@{alias}" if alias else f"{model}/{version}" if model and version else model or facts.get("event") or ""
    return f"{facts.get('table')}{' ' + short(what) if what else ''}"
