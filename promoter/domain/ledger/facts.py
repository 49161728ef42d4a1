"""What a ledger tells of itself: its name, its checkpoints, and when evidence was dropped. Gathered while its entries go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from promoter.domain.ledger.chain import Entry, told
from promoter.domain.ledger.checkpoints import Checkpoint
from promoter.domain.ledger.entries import MARK, MILESTONES
from promoter.domain.ledger.milestones import Event
from promoter.domain.ledger.problems import Problem, Wrong, short
from promoter.domain.ledger.witnesses import Witness, Witnesses

REACH = 10_000
"""How many entries back a checkpoint may vouch: it is made of the head, and few others can get in between."""
_DIGITS = 24


class LedgerFacts:
    """Asks each checkpoint what it says of an entry that went by. `trusted`: public keys; empty: every key is heard."""

    def __init__(self, witnesses: Witnesses, trusted: frozenset[str]) -> None:
        """Nothing has gone by."""
        self.problems: list[Problem] = []
        self.name = ""
        self.opening = 0
        """The entry that names the ledger; 0: none did."""
        self.keys: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        """The moments before which evidence was dropped, as the ledger writes them, each with the last entry that says so."""
        self._witnesses = witnesses
        self.trusted = trusted
        self._recent: deque[tuple[int, Sequence[str | tuple[str, ...]]]] = deque()

    def passed(self, last: int, hashes: Sequence[str | tuple[str, ...]]) -> None:
        """A run of entries went by, up to that number: the hash of each, or all that it might have."""
        self._recent.append((last, hashes))
        while self._recent[0][0] <= last - REACH:
            self._recent.popleft()

    def _hashes_of(self, number: int) -> tuple[str, ...] | None:
        for last, hashes in reversed(self._recent):
            if last - len(hashes) < number <= last:
                found = hashes[number - last - 1]
                return (found,) if isinstance(found, str) else found
        return None

    def look(self, entry: Entry, digest: str) -> None:
        """At what it says, where it is a milestone that is what its hash says. Others are named elsewhere."""
        if MARK not in entry.body or (entry.hash and entry.hash != digest):
            return
        try:
            facts = told(entry)
        except (ValueError, RecursionError):
            return
        event, number = facts.get("event"), facts.get("id")
        if facts.get("table") != MILESTONES or not isinstance(number, int):
            return
        if event == Event.OPENED:
            self._opened(number, str(facts.get("ledger")))
        elif event == Event.RETENTION:
            self.dropped[str(facts.get("before", ""))] = number
        elif event == Event.CHECKPOINT:
            self._asked(number, facts)

    def covers(self, number: int, at: str) -> bool:
        """Whether the evidence of a decision of that number and moment was dropped by a retention that the ledger tells of."""
        return bool(at) and any(at < before and number < entry for before, entry in self.dropped.items())

    def doubtless(self, named: Collection[int]) -> list[Problem]:
        """The problems, of a ledger whose first entry went by. `named`: entries with a problem already.

        Where the ledger's name was tampered with, no signature fits what it vouches for, and that is no news of each of them.
        """
        if self.opening and self.opening not in named:
            return self.problems
        return [each for each in self.problems if each.wrong is not Wrong.SIGNATURE]

    def _opened(self, number: int, name: str) -> None:
        self.name, self.opening = self.name or name, self.opening or number
        if name != self._witnesses.ledger:
            said = f"it calls the ledger {short(name)}, and it was taken for {short(self._witnesses.ledger)}"
            self.problems.append(Problem(Wrong.MISFILED, number, said))

    def _asked(self, number: int, facts: Mapping[str, Any]) -> None:
        checkpoint = Checkpoint.of(self._witnesses.ledger, facts)
        objection = self._objection(checkpoint, number)
        if checkpoint is None or objection:
            self.problems.append(Problem(Wrong.SIGNATURE, number, objection or "it is no checkpoint that can be read"))
            return
        self.keys[checkpoint.key] = self.keys.get(checkpoint.key, 0) + 1
        hashes = self._hashes_of(checkpoint.head.entry)
        if hashes is not None:
            self._witnesses.heard(Witness(checkpoint.head, f"checkpoint {number}", "checkpoint"), hashes)

    def _objection(self, checkpoint: Checkpoint | None, number: int) -> str:
        if checkpoint is None:
            return ""
        if self.trusted and checkpoint.key not in self.trusted:
            return f"it is signed with a key that is not trusted: {checkpoint.key[:_DIGITS]}…"
        if not checkpoint.holds:
            return "its signature does not fit what it vouches for"
        entry = checkpoint.head.entry
        return (
            "" if number - REACH < entry < number else f"it vouches for entry {entry}, which Promoter would not have done here"
        )
