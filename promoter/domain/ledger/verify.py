"""Verification of the chain: entries are read once, in order, and every problem names the entry that it is about.

One change is reported once, not again for each entry behind it. Three things show what an entry was: its own bytes, the hash
that is stored beside them (in a database; an export has none), and the hash of it that the next entry names. Where two agree,
it is the third that was changed.

Of an entry that is in order nothing is parsed but its number, its table, and the hash of the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from promoter.domain.ledger.chain import GENESIS_HASH, LedgerEntry, LedgerHead
from promoter.domain.ledger.problems import (
    EntryRow,
    LedgerProblem,
    ProblemKind,
    describe_entry,
    hash_ordered_rows,
    is_next_entry,
    parse_entry_body,
)
from promoter.domain.ledger.witnesses import LedgerFacts, Witness, WitnessIndex


class EntryNumbers:
    """The numbers that are missing so far, and the entries out of place, until it is known why."""

    def __init__(self, start: int) -> None:
        self.displaced: set[int] = set()
        """The numbers of entries that lie in the place of another one."""
        self._start = start
        """The number before the first that is due."""
        self._missing: list[tuple[int, int]] = []
        """Runs of missing numbers: the first and the last of each."""
        self._intruders: list[tuple[int, int, str]] = []
        """Entries between two that follow each other: their number, that of the one before, and what they are about."""

    def record_gap(self, first: int, number: int) -> None:
        """Record that an entry came where the one of number `first` was due: those from there on are missing."""
        if number > first:
            self._missing.append((first, number - 1))

    def fill_missing_number(self, number: int) -> bool:
        """Remove a number that comes late from the missing ones; False where it was not missing."""
        for index, (first, last) in enumerate(self._missing):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self._missing[index : index + 1] = [each for each in rest if each[0] <= each[1]]
                return True
        return False

    def record_intruder(self, number: int, behind: int, about: str) -> None:
        """Record an entry that lies between two that follow each other, behind the first of them."""
        self._intruders.append((number, behind, about))

    def list_problems(self, end: int) -> list[LedgerProblem]:
        """List the entries that are missing or too many in a ledger that ends with that number."""
        named = [self._build_intruder_problem(*each, end) for each in self._intruders]
        return named + [_build_dropped_problem(first, min(last, end)) for first, last in self._missing if first <= end]

    def _build_intruder_problem(self, number: int, behind: int, about: str, end: int) -> LedgerProblem:
        if self.fill_missing_number(number) or number == end + 1:
            return LedgerProblem(ProblemKind.REORDERED, number, f"it stands behind entry {behind}", about=about)
        if self._start < number <= end:
            return LedgerProblem(
                ProblemKind.SECOND,
                number,
                f"there is another entry of this number; this one stands behind entry {behind}",
                about=about,
            )
        return LedgerProblem(
            ProblemKind.INSERTED, behind, f"behind it stands one that calls itself number {number}", about=about
        )


def _build_dropped_problem(first: int, last: int) -> LedgerProblem:
    return LedgerProblem(
        ProblemKind.DROPPED, first, "it is not there" if first == last else f"they are not there: {last - first + 1}", last
    )


_SLOW_PACE, _FAST_PACE = 8, 512
"""How many entries are verified together: few behind a problem, where the next may be near, and then more and more."""


class ChainVerifier:
    """Verifies the entries of one ledger; `problems` is complete once `finish_verification` was called.

    `start`: the number of the entry before the first one. `rows`: each entry has a number and a hash beside its bytes, as in a
    database. `trusted`: the public keys whose checkpoints count; without any, those of every key do.
    """

    def __init__(
        self, witnesses: WitnessIndex, start: int = 0, *, rows: bool = True, trusted: frozenset[str] = frozenset()
    ) -> None:
        self.witnesses = witnesses
        self.start = start
        self.count = 0
        """How many entries were verified."""
        self.problems: list[LedgerProblem] = []
        self.facts = LedgerFacts(witnesses, trusted)
        self._rows = rows
        self._numbers = EntryNumbers(start)
        self._top = start
        """The number of the last entry."""
        self._hashes: tuple[str, ...] = () if start else (GENESIS_HASH,)
        """Its hash, or all that it might have; none where that is not known."""
        self._blamed = False
        """Whether it has a problem, so that a hash of it that the next entry names is no second one."""
        self._doubt: tuple[int, int, tuple[str, ...]] | None = None
        """The last two entries of an export, where they contradict each other, and the hashes of the first."""
        self._waiting: Sequence[EntryRow] = ()
        self._pace = _SLOW_PACE

    @property
    def current_head(self) -> LedgerHead:
        """The last entry that was verified, with the hash that it has now."""
        return LedgerHead(self.witnesses.ledger, self._top, self._hashes[0] if self._hashes else GENESIS_HASH)

    def verify_entries(self, entries: Iterable[LedgerEntry]) -> None:
        """Verify entries, all at once."""
        self.verify_rows([(entry.table, entry.id, entry.body, entry.hash) for entry in entries])

    def verify_rows(self, rows: Sequence[EntryRow]) -> None:
        """Verify the next rows. One that is not in order waits for the row behind it, which shows what is wrong."""
        rows = [*self._waiting, *rows]
        index = self._skip_ordered_rows(rows, 0)
        while index < len(rows) - 1:
            self._verify_entry(LedgerEntry(*rows[index]), LedgerEntry(*rows[index + 1]))
            index = self._skip_ordered_rows(rows, index + 1)
        self._waiting = rows[index:]

    def _skip_ordered_rows(self, rows: Sequence[EntryRow], index: int) -> int:
        """Verify the rows that are in order, and return the index of the first one that is not."""
        while self._hashes and index < len(rows):
            run = rows[index : index + min(self._pace, self.witnesses.find_next_attested(self._top) - self._top - 1)]
            found = hash_ordered_rows(run, self._top, self._hashes[0], rows=self._rows) if run else []
            if not found:
                self._pace = _SLOW_PACE
                return index
            index += len(found)
            self.count += len(found)
            self._top, self._hashes, self._blamed = self._top + len(found), (found[-1],), False
            self.facts.record_passed_hashes(self._top, found)
            self._pace = min(_FAST_PACE, self._pace * 2)
        return index

    def verify_waiting_rows(self) -> None:
        """Verify the rows that wait: nothing comes behind them."""
        for row in self._waiting:
            self._verify_entry(LedgerEntry(*row), None)
        self._waiting = ()

    def finish_verification(self, last: Witness | None = None) -> None:
        """Complete the problems: there are no more entries. `last`: the head that the ending of an export names."""
        self.verify_waiting_rows()
        if self._doubt:
            self._resolve_last_link(*self._doubt, last)
        if last is not None:
            self._check_export_ending(last)
        named = {each.entry for each in self.problems if each.entry is not None}
        missing = self._numbers.list_problems(last.head.entry if last else self._top)
        outside = self.witnesses.list_problems(self.start, max(self._top, last.head.entry if last else 0), named)
        facts = (
            self.facts.problems
            if self.start
            else self.facts.list_certain_problems(named | {each.entry or 0 for each in missing})
        )
        found = [*self.problems, *missing, *facts, *outside]
        self.problems = sorted(found, key=lambda problem: (problem.entry or 0, problem.last or 0))

    def _check_export_ending(self, last: Witness) -> None:
        """Compare the head that the ending of an export names with the last entry."""
        if last.head.entry == self._top:
            if self._hashes:  # else it is an export of nothing, behind the last entry
                self.witnesses.record_witness_check(last, self._hashes)
        elif last.head.entry > self._top:
            self._numbers.record_gap(self._top + 1, last.head.entry + 1)
        elif not any((each.entry or 0) > last.head.entry for each in self.problems):
            self._record_problem(ProblemKind.INSERTED, last.head.entry, "behind it the export was to end, and goes on")

    def _verify_entry(self, entry: LedgerEntry, following: LedgerEntry | None) -> None:
        self.count += 1
        digest = sha256(entry.body).hexdigest()
        if self._hashes and is_next_entry(entry, self._top, self._hashes[0], rows=self._rows):
            self._advance_to(self._top + 1, (digest,))
        elif self._rows and digest != entry.hash:
            self._report_changed_row(entry, digest, following)
        else:
            self._report_misplaced_entry(entry, digest, following)
        self.facts.read_lifecycle_event(entry, digest)

    def _report_changed_row(self, entry: LedgerEntry, digest: str, following: LedgerEntry | None) -> None:
        """Report a row whose bytes and whose hash contradict each other."""
        facts = parse_entry_body(entry.body)
        if entry.id <= self._top or (following is not None and following.id == entry.id):
            self._record_problem(
                ProblemKind.SECOND, entry.id, "there is another entry of this number, and this one's hash is not its own", facts
            )
            return
        previous = (parse_entry_body(following.body) or {}).get("previous") if following else None
        message = "its text was changed" if previous == entry.hash else "its text and its hash contradict each other"
        message = "its hash was changed, its text was not" if previous == digest else message
        self._record_problem(ProblemKind.EDITED, entry.id, message + ("" if facts else "; it cannot be read any more"), facts)
        self._numbers.record_gap(self._top + 1, entry.id)
        self._advance_to(entry.id, (digest, entry.hash), blamed=True)

    def _report_misplaced_entry(self, entry: LedgerEntry, digest: str, following: LedgerEntry | None) -> None:
        """Report an entry that is not in order, although its bytes agree with its hash, or have none."""
        facts, place = parse_entry_body(entry.body), self._top + 1
        after = self._claimed_number(following) if following else None
        if facts is None:
            self._report_unreadable_entry(entry, digest, after)
        elif facts["id"] == place:
            self._check_entry_in_place(entry, facts, digest, following)
        elif facts["id"] == self._top and not self._is_due_entry(entry, facts):
            self._record_second_entry(facts, digest)
        elif after == place:
            self._numbers.record_intruder(facts["id"], self._top, describe_entry(facts))
        elif self._numbers.fill_missing_number(facts["id"]):
            where = f"it is filed under {entry.id}" if self._rows else f"it stands behind entry {self._top}"
            self._record_problem(ProblemKind.MISFILED if self._rows else ProblemKind.REORDERED, facts["id"], where, facts)
        elif entry.id == place if self._rows else self._fills_due_place(facts, after):
            self._record_replaced_entry(facts, digest)
        elif facts["id"] > place:
            self._numbers.record_gap(place, facts["id"])
            self._check_filing(entry, facts)
            self._advance_to(facts["id"], (digest,))
        else:
            self._record_second_entry(facts, digest)

    def _report_unreadable_entry(self, entry: LedgerEntry, digest: str, after: int | None) -> None:
        place = self._top + 1
        if not self._rows and after == place:
            self._record_problem(ProblemKind.INSERTED, self._top, "behind it stands a line that is no entry")
            return
        number = max(entry.id, place) if self._rows else place
        self._record_problem(
            ProblemKind.UNREADABLE, number, "it is no entry: it cannot be read, or has no number, or no hash of the one before"
        )
        self._numbers.record_gap(place, number)
        self._advance_to(number, (digest,), blamed=True)

    def _check_entry_in_place(
        self, entry: LedgerEntry, facts: dict[str, Any], digest: str, following: LedgerEntry | None
    ) -> None:
        place = self._top + 1
        unlinked = bool(self._hashes) and not self._blamed and facts["previous"] not in self._hashes
        if unlinked and following and self._claimed_number(following) == place:
            self._record_second_entry(facts, digest)
            return
        self._check_filing(entry, facts)
        self._advance_to(place, (digest,), blamed=unlinked and self._report_broken_link(facts, digest, following))

    def _report_broken_link(self, facts: dict[str, Any], digest: str, following: LedgerEntry | None) -> bool:
        """Report an entry that names another hash of the one before: one of both was changed. Return whether it is this one."""
        top, place = self._top, self._top + 1
        if top == self.start:
            self._record_problem(ProblemKind.EDITED, place, "it says another hash of what came before it", facts)
            return True
        here, there = (
            self.witnesses.check_attested_hash(place, digest),
            self.witnesses.check_attested_hash(top, self._hashes[0]),
        )
        ahead = parse_entry_body(following.body) if following else None
        mine: bool | None = None
        if here is not None or there is not None:
            mine = here is False or there is True
        elif ahead is not None and ahead["id"] == place + 1:
            mine = ahead["previous"] != digest
        if mine is None and following is None and not self._rows:
            self._doubt = top, place, self._hashes
        else:
            self._record_broken_link(top, place, mine=mine)
        return bool(mine)

    def _record_broken_link(self, top: int, place: int, *, mine: bool | None) -> None:
        if mine is None:
            message = "the one says another hash of the other: one of both was rewritten with its hash"
            self._record_problem(ProblemKind.EDITED, top, message, last=place)
        elif mine:
            self._record_problem(ProblemKind.EDITED, place, f"it says another hash of entry {top}, and is not what was written")
        else:
            self._record_problem(
                ProblemKind.EDITED, top, f"entry {place} says another hash of it: it was rewritten, or is another one"
            )

    def _resolve_last_link(self, top: int, place: int, hashes: tuple[str, ...], last: Witness | None) -> None:
        """Decide by the ending of an export which of its last two entries was changed."""
        if last is None or last.head.entry not in (top, place):
            self._record_broken_link(top, place, mine=None)
        elif last.head.entry == place:
            self._record_broken_link(top, place, mine=last.head.hash not in self._hashes)
        elif last.head.hash not in hashes:
            self._record_broken_link(top, place, mine=False)

    def _record_replaced_entry(self, facts: dict[str, Any], digest: str) -> None:
        """Report an entry that lies in the place of the one that is due."""
        if facts["previous"] in self._hashes:
            self._record_problem(ProblemKind.EDITED, self._top + 1, f"its number was changed to {facts['id']}", facts)
        else:
            self._record_problem(
                ProblemKind.REORDERED, self._top + 1, f"in its place stands one that calls itself number {facts['id']}", facts
            )
            self._numbers.displaced.add(facts["id"])
        self._advance_to(self._top + 1, (digest,), blamed=True)

    def _record_second_entry(self, facts: dict[str, Any], digest: str) -> None:
        self._record_problem(ProblemKind.SECOND, facts["id"], "there is another entry of this number", facts)
        if facts["id"] == self._top:
            self._hashes = (*self._hashes, digest)  # whichever of them the next one follows

    def _is_due_entry(self, entry: LedgerEntry, facts: dict[str, Any]) -> bool:
        """Whether it is the entry that is due, although it has the number of the one before."""
        place = self._top + 1
        return (self._rows and entry.id == place) or facts["previous"] in self._hashes or place in self._numbers.displaced

    def _fills_due_place(self, facts: dict[str, Any], after: int | None) -> bool:
        """Whether a line is in the place of the entry that is due: it follows the last one, or the next one follows it."""
        place = self._top + 1
        return facts["previous"] in self._hashes or after == place + 1 or place in self._numbers.displaced

    def _check_filing(self, entry: LedgerEntry, facts: dict[str, Any]) -> None:
        if self._rows and entry.id != facts["id"]:
            self._record_problem(ProblemKind.MISFILED, facts["id"], f"it is filed under {entry.id}", facts)
        elif self._rows and entry.table != facts.get("table"):
            self._record_problem(ProblemKind.MISFILED, facts["id"], f"it lies in the table {entry.table}", facts)

    def _claimed_number(self, entry: LedgerEntry) -> int | None:
        """The number that it is stored under, or in an export, that it names."""
        if self._rows:
            return entry.id
        facts = parse_entry_body(entry.body)
        return int(facts["id"]) if facts else None

    def _advance_to(self, number: int, hashes: tuple[str, ...], *, blamed: bool = False) -> None:
        self._top, self._hashes, self._blamed = number, hashes, blamed
        if number in self.witnesses:
            self.witnesses.check_witnesses_of(number, hashes)
        self.facts.record_passed_hashes(number, [hashes])

    def _record_problem(
        self, kind: ProblemKind, number: int, message: str, facts: dict[str, Any] | None = None, *, last: int | None = None
    ) -> None:
        before = self.problems[-1] if self.problems else None
        if before and (before.kind, before.entry, kind) == (ProblemKind.MISFILED, number, ProblemKind.EDITED):
            self.problems.pop()  # where it lies is right, and what it says of that was changed
        self.problems.append(LedgerProblem(kind, number, message, last, describe_entry(facts)))
