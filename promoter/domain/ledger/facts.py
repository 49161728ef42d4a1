"""What a ledger tells of itself: its name, its checkpoints, and when evidence was dropped. Gathered while its entries go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from promoter.domain.ledger.chain import LedgerEntry, parse_entry_facts
from promoter.domain.ledger.checkpoints import LedgerCheckpoint
from promoter.domain.ledger.entries import LIFECYCLE_TABLE_BYTES, LIFECYCLE_TABLE
from promoter.domain.ledger.milestones import LifecycleEventType
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind, quote_shortened
from promoter.domain.ledger.witnesses import Witness, WitnessIndex

CHECKPOINT_REACH = 10_000
"""How many entries back a checkpoint may vouch: it is made of the head, and few others can get in between."""
_KEY_CHARACTERS_SHOWN = 24


class LedgerFacts:
    """Asks each checkpoint what it says of an entry that went by. `trusted`: public keys; empty: every key is heard."""

    def __init__(self, witnesses: WitnessIndex, trusted: frozenset[str]) -> None:
        """Nothing has gone by."""
        self.problems: list[LedgerProblem] = []
        self.name = ""
        self.opening = 0
        """The entry that names the ledger; 0: none did."""
        self.keys: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        """The moments before which evidence was dropped, as the ledger writes them, each with the last entry that says so."""
        self._witnesses = witnesses
        self.trusted = trusted
        self._recent: deque[tuple[int, Sequence[str | tuple[str, ...]]]] = deque()

    def record_passed_hashes(self, last: int, hashes: Sequence[str | tuple[str, ...]]) -> None:
        """A run of entries went by, up to that number: the hash of each, or all that it might have."""
        self._recent.append((last, hashes))
        while self._recent[0][0] <= last - CHECKPOINT_REACH:
            self._recent.popleft()

    def _find_hashes(self, number: int) -> tuple[str, ...] | None:
        for last, hashes in reversed(self._recent):
            if last - len(hashes) < number <= last:
                found = hashes[number - last - 1]
                return (found,) if isinstance(found, str) else found
        return None

    def read_lifecycle_event(self, entry: LedgerEntry, digest: str) -> None:
        """At what it says, where it is a milestone that is what its hash says. Others are named elsewhere."""
        if LIFECYCLE_TABLE_BYTES not in entry.body or (entry.hash and entry.hash != digest):
            return
        try:
            facts = parse_entry_facts(entry)
        except (ValueError, RecursionError):
            return
        event, number = facts.get("event"), facts.get("id")
        if facts.get("table") != LIFECYCLE_TABLE or not isinstance(number, int):
            return
        if event == LifecycleEventType.OPENED:
            self._record_ledger_name(number, str(facts.get("ledger")))
        elif event == LifecycleEventType.RETENTION:
            self.dropped[str(facts.get("before", ""))] = number
        elif event == LifecycleEventType.CHECKPOINT:
            self._check_checkpoint(number, facts)

    def was_evidence_dropped(self, number: int, at: str) -> bool:
        """Whether the evidence of a decision of that number and moment was dropped by a retention that the ledger tells of."""
        return bool(at) and any(at < before and number < entry for before, entry in self.dropped.items())

    def list_certain_problems(self, named: Collection[int]) -> list[LedgerProblem]:
        """The problems, of a ledger whose first entry went by. `named`: entries with a problem already.

        Where the ledger's name was tampered with, no signature fits what it vouches for, and that is no news of each of them.
        """
        if self.opening and self.opening not in named:
            return self.problems
        return [each for each in self.problems if each.wrong is not ProblemKind.SIGNATURE]

    def _record_ledger_name(self, number: int, name: str) -> None:
        self.name, self.opening = self.name or name, self.opening or number
        if name != self._witnesses.ledger:
            message = (
                f"it calls the ledger {quote_shortened(name)}, and it was taken for {quote_shortened(self._witnesses.ledger)}"
            )
            self.problems.append(LedgerProblem(ProblemKind.MISFILED, number, message))

    def _check_checkpoint(self, number: int, facts: Mapping[str, Any]) -> None:
        checkpoint = LedgerCheckpoint.from_event_facts(self._witnesses.ledger, facts)
        objection = self._find_checkpoint_objection(checkpoint, number)
        if checkpoint is None or objection:
            self.problems.append(
                LedgerProblem(ProblemKind.SIGNATURE, number, objection or "it is no checkpoint that can be read")
            )
            return
        self.keys[checkpoint.key] = self.keys.get(checkpoint.key, 0) + 1
        hashes = self._find_hashes(checkpoint.head.entry)
        if hashes is not None:
            self._witnesses.record_witness_check(Witness(checkpoint.head, f"checkpoint {number}", "checkpoint"), hashes)

    def _find_checkpoint_objection(self, checkpoint: LedgerCheckpoint | None, number: int) -> str:
        if checkpoint is None:
            return ""
        if self.trusted and checkpoint.key not in self.trusted:
            return f"it is signed with a key that is not trusted: {checkpoint.key[:_KEY_CHARACTERS_SHOWN]}…"
        if not checkpoint.has_valid_signature:
            return "its signature does not fit what it vouches for"
        entry = checkpoint.head.entry
        return (
            ""
            if number - CHECKPOINT_REACH < entry < number
            else f"it vouches for entry {entry}, which Promoter would not have done here"
        )
