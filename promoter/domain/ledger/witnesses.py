"""Witnesses, which attest hashes of entries from outside of the ledger, and what the ledger states of itself on the way.

Inside the ledger each entry attests the one before it; whoever rewrites all of them up to the end leaves no trace. Only a hash
that is stored elsewhere reveals that: in a commit's trailer, under a signature, in an auditor's notes.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, parse_entry_facts
from promoter.domain.ledger.checkpoints import LedgerCheckpoint, LifecycleEventType
from promoter.domain.ledger.problems import LIFECYCLE_TABLE, LIFECYCLE_TABLE_BYTES, LedgerProblem, ProblemKind, quote_shortened

_HASH_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class Witness:
    """Something outside of the chain that attests the hash of an entry."""

    head: LedgerHead
    """The ledger, the entry and the hash that it attests."""
    who: str
    """What messages call it, such as `commit 1f2e3d4c5b`."""
    kind: str = "given"
    """`commit`, `checkpoint`, `given` (by an auditor) or `end` (the last line of an export)."""
    elsewhere: bool = False
    """Whether it is a commit that leaves the files of this ledger's Promoter as they are: another's, of another folder."""


@dataclass(frozen=True)
class _WitnessCheck:
    entry: int
    """The number of the entry."""
    witness: Witness
    """The witness that was compared with it."""
    found: str | None
    """The hash that the entry has now, where it is another one."""


class WitnessIndex:
    """The witnesses of one ledger by the entry that they attest, and the results of comparing them with it."""

    def __init__(self, ledger: str, witnesses: Iterable[Witness] = ()) -> None:
        self.ledger = ledger
        """The ledger's name."""
        self.foreign: list[Witness] = []
        """The witnesses of other ledgers, which are only counted."""
        self._by_entry: dict[int, list[Witness]] = defaultdict(list)
        self._checks: list[_WitnessCheck] = []
        for witness in witnesses:
            if witness.head.ledger == ledger:
                self._by_entry[witness.head.entry].append(witness)
            elif not witness.elsewhere:
                self.foreign.append(witness)
        self._sorted = sorted(self._by_entry)

    def find_next_attested(self, entry: int) -> int:
        """Find the next entry that a witness attests; one that is never reached where there is none."""
        index = bisect_right(self._sorted, entry)
        return self._sorted[index] if index < len(self._sorted) else sys.maxsize

    def __contains__(self, entry: int) -> bool:
        return entry in self._by_entry

    def check_attested_hash(self, entry: int, digest: str) -> bool | None:
        """Whether witnesses attest that hash of the entry; None where there are none, or they contradict each other."""
        matches = {witness.head.hash == digest for witness in self._by_entry.get(entry, ())}
        return matches.pop() if len(matches) == 1 else None

    def check_witnesses_of(self, entry: int, hashes: Collection[str]) -> None:
        """Compare the witnesses of an entry with its hash, or with its hashes, where its row contradicts itself."""
        for witness in self._by_entry.get(entry, ()):
            self.record_witness_check(witness, hashes)

    def record_witness_check(self, witness: Witness, hashes: Collection[str]) -> None:
        """Compare one witness with the hashes of its entry."""
        fits = witness.head.hash in hashes
        self._checks.append(_WitnessCheck(witness.head.entry, witness, None if fits else next(iter(hashes), "")))

    def list_confirmed_witnesses(self, kind: str) -> list[Witness]:
        """List the witnesses of that kind whose hash is the ledger's."""
        return [each.witness for each in self._checks if each.found is None and each.witness.kind == kind]

    @property
    def last_confirmed_entry(self) -> int:
        """The last entry for which a commit or a given head vouches; 0 where there is none."""
        outside = (each.entry for each in self._checks if each.found is None and each.witness.kind in ("commit", "given"))
        return max(outside, default=0)

    def count_unchecked(self, start: int) -> int:
        """Count the witnesses of entries up to `start`, which were not verified."""
        return sum(len(each) for entry, each in self._by_entry.items() if entry <= start)

    def list_problems(self, start: int, end: int, named: Collection[int]) -> list[LedgerProblem]:
        """List where witnesses contradict the entries behind `start` up to `end`. `named`: entries with a problem already."""
        return [*self._find_rewritten_entries(named), *self._find_truncation(start, end)]

    def _find_rewritten_entries(self, named: Collection[int]) -> list[LedgerProblem]:
        """Find one problem for each run of contradicted witnesses, which a confirmed one ends."""
        found: list[LedgerProblem] = []
        run: list[_WitnessCheck] = []
        sound = 0
        for each in sorted(self._checks, key=lambda check: (check.entry, check.found is not None)):
            if each.found is not None:
                run += [each] if each.entry not in named else []
            elif not any(check.entry == each.entry for check in run):
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
    attested, found = first.witness.head.hash[:_HASH_DIGITS_SHOWN], (first.found or "")[:_HASH_DIGITS_SHOWN]
    message = (
        f"{_name_witnesses([each.witness for each in run])} says that its hash was {attested}…, it is "
        f"{found}…: it was rewritten, or something before it{since}"
    )
    return [LedgerProblem(ProblemKind.REWRITTEN, first.entry, message)]


def _name_witnesses(witnesses: list[Witness]) -> str:
    more = f" (and {len(witnesses) - 1} more)" if len(witnesses) > 1 else ""
    return f"{witnesses[0].who}{more}"


CHECKPOINT_REACH = 10_000
"""How many entries back a checkpoint may attest: it is made of the head, and few other entries can come between."""
_KEY_CHARACTERS_SHOWN = 24


class LedgerFacts:
    """What the lifecycle events of a ledger state: its name, its checkpoints, and which evidence was dropped."""

    def __init__(self, witnesses: WitnessIndex, trusted: frozenset[str]) -> None:
        self.problems: list[LedgerProblem] = []
        self.opening = 0
        """The entry that names the ledger; 0 where none did."""
        self.keys: dict[str, int] = {}
        """How many checkpoints each public key signed."""
        self.dropped: dict[str, int] = {}
        """The moments before which evidence was dropped, as the ledger writes them, each with the last entry of that moment."""
        self.successions: dict[str, int] = {}
        """The ledgers that this one follows, as it says, each with the last entry that says so."""
        self.trusted = trusted
        """The public keys whose checkpoints count; where there is none, those of every key do."""
        self._witnesses = witnesses
        self._last_trusted = 0
        """The last entry that a checkpoint of a trusted key attests."""
        self._recent: deque[tuple[int, Sequence[str | tuple[str, ...]]]] = deque()

    def record_passed_hashes(self, last: int, hashes: Sequence[str | tuple[str, ...]]) -> None:
        """Remember the hashes of a run of entries up to that number: the hash of each, or all that it might have."""
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
        """Read an entry, where it is a lifecycle event that has its hash; a contradiction is reported elsewhere."""
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
        elif event == LifecycleEventType.SUCCEEDED:
            self.successions[str(facts.get("other", ""))] = number
        elif event == LifecycleEventType.CHECKPOINT:
            self._check_checkpoint(number, facts)

    def was_evidence_dropped(self, number: int, at: str) -> bool:
        """Whether a recorded retention dropped the evidence of the decision of that number and moment."""
        return bool(at) and any(at < before and number < entry for before, entry in self.dropped.items())

    def find_replaced_ledger_problems(self) -> list[LedgerProblem]:
        """Find what shows that the ledger took the place of another one: commits that vouch for that, keys that signed nothing.

        An entry that tells of the succession excuses that, where something outside of the ledger vouches for the entry.
        """
        foreign: dict[str, list[Witness]] = defaultdict(list)
        for witness in self._witnesses.foreign:
            if witness.kind == "commit":
                foreign[witness.head.ledger].append(witness)
        found = [
            LedgerProblem(
                ProblemKind.REPLACED,
                self.successions.get(name) or self.opening or None,
                self._describe_replacement(name, commits),
            )
            for name, commits in sorted(foreign.items())
            if not self.is_known_succession(name)
        ]
        if any(map(self.is_known_succession, self.successions)) or any(p.kind is ProblemKind.SIGNATURE for p in self.problems):
            return found
        return found + [
            LedgerProblem(
                ProblemKind.SIGNATURE, None, f"no checkpoint of the key {key[:_KEY_CHARACTERS_SHOWN]}… is in this ledger"
            )
            for key in sorted(self.trusted - self.keys.keys())
        ]

    def is_known_succession(self, name: str) -> bool:
        """Whether the ledger says that it follows that one, and a commit, a given head or a trusted key vouches for that."""
        entry = self.successions.get(name)
        return entry is not None and entry <= max(self._witnesses.last_confirmed_entry, self._last_trusted)

    def _describe_replacement(self, name: str, commits: list[Witness]) -> str:
        vouched = f"{_name_witnesses(commits)} vouched for the ledger {quote_shortened(name)}, and this one is another"
        if name in self.successions:
            return (
                f"{vouched}: it says that it follows that one, and no commit, given head or trusted key vouches for this entry"
            )
        return f"{vouched}: it took its place. Where that is meant, `promoter audit succeed` records why"

    def list_certain_problems(self, named: Collection[int]) -> list[LedgerProblem]:
        """List the problems of a ledger that was verified from its first entry. `named`: entries with a problem already.

        Where the ledger's name was changed, no signature fits any more: that is one problem, not one for each of them.
        """
        if self.opening and self.opening not in named:
            return self.problems
        return [each for each in self.problems if each.kind is not ProblemKind.SIGNATURE]

    def _record_ledger_name(self, number: int, name: str) -> None:
        self.opening = self.opening or number
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
        if hashes is not None and checkpoint.key in self.trusted and checkpoint.head.hash in hashes:
            self._last_trusted = max(self._last_trusted, checkpoint.head.entry)
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


EVIDENCE_KIND, POLICY_KIND, APPROVERS_KIND = "evidence", "policy", "approvers"
_TEXT_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class TextReference:
    """A text that a decision names by its digest."""

    decision: int
    """The number of the decision's entry."""
    at: str
    """The moment of the decision, as the ledger writes it."""
    kind: str
    """`evidence`, `policy` or `approvers`."""
    digest: str
    """The digest that the decision names."""
    altered: bool = False
    """Whether the text is there, and has another digest."""
    about: str = ""
    """What the decision is about, in words."""

    def find_problem(self, facts: LedgerFacts) -> LedgerProblem | None:
        """Build the problem of a text that is altered or missing; None where retention dropped it, as it may only evidence."""
        text = f"the text of its {self.kind} ({self.digest[:_TEXT_DIGITS_SHOWN]}…)"
        if self.altered:
            return LedgerProblem(
                ProblemKind.TEXT, self.decision, f"{text} was changed: it has another SHA-256", about=self.about
            )
        if self.kind == EVIDENCE_KIND and facts.was_evidence_dropped(self.decision, self.at):
            return None
        message = f"{text} is not there" + (", and no retention dropped it" if self.kind == EVIDENCE_KIND else "")
        return LedgerProblem(ProblemKind.LACKING, self.decision, message, about=self.about)


def list_text_references(number: int, facts: Mapping[str, Any], about: str = "") -> Iterator[TextReference]:
    """List the texts that a decision names. Texts of policies are recorded since decisions name a version (`tool`)."""
    kinds = {"evidence": EVIDENCE_KIND, "policy_digest": POLICY_KIND, "approvers": APPROVERS_KIND}
    for name, kind in kinds.items():
        digest = facts.get(name)
        if isinstance(digest, str) and (kind != POLICY_KIND or "tool" in facts):
            yield TextReference(number, str(facts.get("at", "")), kind, digest, about=about)
