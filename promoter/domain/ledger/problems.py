"""What can be wrong with a ledger, each problem with the entry that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from promoter.domain.verdict import escape_invisible

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
        object.__setattr__(self, "told", escape_invisible(self.message))
        object.__setattr__(self, "about", escape_invisible(self.about))

    @property
    def entry_range_text(self) -> str:
        """The entries, for people."""
        if self.entry is None:
            return "-"
        return str(self.entry) if self.last in (None, self.entry) else f"{self.entry} to {self.last}"

    def to_json(self) -> dict[str, Any]:
        """For `audit verify --format json`."""
        last = self.entry if self.last is None else self.last
        return {
            "problem": self.wrong.value,
            "entry": self.entry,
            "last": last,
            "about": self.about or None,
            "told": self.message,
        }


def quote_shortened(text: object) -> str:
    """What somebody wrote, in quotes and not longer than fits a line."""
    full_text = str(text)
    return f"`{full_text if len(full_text) <= _SHOWN else full_text[:_SHOWN] + '…'}`"
