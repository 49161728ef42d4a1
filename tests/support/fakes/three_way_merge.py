"""A three-way merge of one file by lines: changes that touch each other conflict, as git has it."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import pairwise

_Hunk = tuple[int, int, tuple[bytes, ...]]


def merge_text(was: bytes | None, ours: bytes | None, theirs: bytes | None) -> tuple[bytes | None, bool]:
    """The merged content (None: no such file), and whether it merged by itself; theirs where it did not."""
    if theirs in (ours, was):
        return ours, True
    if was == ours:
        return theirs, True
    if was is None or ours is None or theirs is None:
        return theirs, False
    lines = was.splitlines(keepends=True)
    hunks = sorted({*_hunks(lines, ours.splitlines(keepends=True)), *_hunks(lines, theirs.splitlines(keepends=True))})
    if any(one[1] >= other[0] for one, other in pairwise(hunks)):
        return theirs, False
    for start, end, new in reversed(hunks):
        lines[start:end] = new
    return b"".join(lines), True


def _hunks(was: list[bytes], now: list[bytes]) -> list[_Hunk]:
    found = SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
    return [(i1, i2, tuple(now[j1:j2])) for tag, i1, i2, j1, j2 in found if tag != "equal"]
