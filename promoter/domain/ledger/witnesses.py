"""Witnesses: who vouches from outside for the hash of an entry, and what follows where the ledger says another one.

Inside the ledger each entry vouches for the one before it; whoever rewrites all of them up to the end leaves no seam. Only a
hash that lies elsewhere finds that: in a commit's trailer, under a signature, in an auditor's notes.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind

_HASH_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class Witness:
    """Somebody who vouches: `who` is told to people, such as `commit 1f2e3d4c5b`; `kind` is commit, checkpoint or given."""

    head: LedgerHead
    who: str
    kind: str = "given"


@dataclass(frozen=True)
class _WitnessCheck:
    entry: int
    witness: Witness
    found: str | None
    """The hash that the entry has now, where it is another one."""


class WitnessIndex:
    """Those of one ledger, by the entry that they vouch for; and what came of asking them."""

    def __init__(self, ledger: str, witnesses: Iterable[Witness] = ()) -> None:
        """`ledger`: its name. Those of other ledgers are only counted."""
        self.ledger = ledger
        self.foreign: list[Witness] = []
        self._by_entry: dict[int, list[Witness]] = defaultdict(list)
        self._heard: list[_WitnessCheck] = []
        for witness in witnesses:
            if witness.head.ledger == ledger:
                self._by_entry[witness.head.entry].append(witness)
            else:
                self.foreign.append(witness)
        self._sorted = sorted(self._by_entry)

    def find_next_attested(self, entry: int) -> int:
        """The next entry that somebody vouches for; one that is never reached where there is none."""
        place = bisect_right(self._sorted, entry)
        return self._sorted[place] if place < len(self._sorted) else sys.maxsize

    def __contains__(self, entry: int) -> bool:
        """Whether anybody vouches for that entry."""
        return entry in self._by_entry

    def check_attested_hash(self, entry: int, digest: str) -> bool | None:
        """Whether that is the entry's hash; None where nobody knows, or they contradict each other."""
        matches = {witness.head.hash == digest for witness in self._by_entry.get(entry, ())}
        return matches.pop() if len(matches) == 1 else None

    def check_witnesses_of(self, entry: int, hashes: Collection[str]) -> None:
        """The entry is there, with that hash (or one of these, where its row contradicts itself)."""
        for witness in self._by_entry.get(entry, ()):
            self.record_witness_check(witness, hashes)

    def record_witness_check(self, witness: Witness, hashes: Collection[str]) -> None:
        """What one witness said of an entry that is there."""
        fits = witness.head.hash in hashes
        self._heard.append(_WitnessCheck(witness.head.entry, witness, None if fits else next(iter(hashes), "")))

    def list_confirmed_witnesses(self, kind: str) -> list[Witness]:
        """Those of the kind whose hash the ledger has."""
        return [each.witness for each in self._heard if each.found is None and each.witness.kind == kind]

    def count_unchecked(self, start: int) -> int:
        """How many vouch for something that was before the first entry that was looked at."""
        return sum(len(each) for entry, each in self._by_entry.items() if entry <= start)

    def list_problems(self, start: int, end: int, named: Collection[int]) -> list[LedgerProblem]:
        """What they say that the ledger, from behind `start` up to `end`, does not. `named`: entries with a problem already."""
        return [*self._find_rewritten_entries(named), *self._find_truncation(start, end)]

    def _find_rewritten_entries(self, named: Collection[int]) -> list[LedgerProblem]:
        """One problem for each stretch of entries for which nobody vouches and somebody vouches for others."""
        found: list[LedgerProblem] = []
        run: list[_WitnessCheck] = []
        sound = 0
        for each in sorted(self._heard, key=lambda heard: (heard.entry, heard.found is not None)):
            if each.found is not None:
                run += [each] if each.entry not in named else []
            elif not any(heard.entry == each.entry for heard in run):
                found += _build_rewrite_problems(run, sound)
                run, sound = [], each.entry
        return found + _build_rewrite_problems(run, sound)

    def _find_truncation(self, start: int, end: int) -> list[LedgerProblem]:
        beyond = sorted(entry for entry in self._by_entry if entry > max(end, start))
        if not beyond:
            return []
        witnesses = [witness for entry in beyond for witness in self._by_entry[entry]]
        message = f"it ends with entry {end}; {_name_witnesses(witnesses)} vouched for entry {beyond[-1]}"
        return [LedgerProblem(ProblemKind.TRUNCATED, end + 1, message, beyond[-1])]


def _build_rewrite_problems(run: list[_WitnessCheck], sound: int) -> list[LedgerProblem]:
    if not run:
        return []
    first = run[0]
    since = f" after entry {sound}, for which somebody vouches" if sound else ""
    message = (
        f"{_name_witnesses([each.witness for each in run])} says that its hash was {first.witness.head.hash[:_HASH_DIGITS_SHOWN]}…, it is "
        f"{(first.found or '')[:_HASH_DIGITS_SHOWN]}…: it was rewritten, or something before it{since}"
    )
    return [LedgerProblem(ProblemKind.REWRITTEN, first.entry, message)]


def _name_witnesses(witnesses: list[Witness]) -> str:
    more = f" (and {len(witnesses) - 1} more)" if len(witnesses) > 1 else ""
    return f"{witnesses[0].who}{more}"
