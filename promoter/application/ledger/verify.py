"""Verification: everything that a ledger or an export of it says, held against itself and against whoever vouches for it.

It asks nobody but those who are handed in, changes nothing, and goes on behind a problem, so that all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.application.ports import Ledger
from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind
from promoter.domain.ledger.references import TextReference
from promoter.domain.ledger.verify import ChainVerifier
from promoter.domain.ledger.witnesses import Witness, WitnessIndex

COMMIT, CHECKPOINT, GIVEN = "commit", "checkpoint", "given"
Progress = Callable[[int], None]
"""Told now and then how many entries were looked at."""
_MAX_TEXT_PROBLEMS = 1_000
"""How many texts with a problem are named one by one."""


@dataclass(frozen=True)
class VerificationReport:
    """What came of it.

    `head` is the end as it is now, `start` the number of the entry before the first that was looked at. `vouching`: how many of
    each kind (commit, checkpoint, given) have the hash that the ledger has; `foreign`: how many of each kind vouch for other
    ledgers, `earlier` for entries before the first. `keys`: how many checkpoints each public key signed; `trusted`: whether it
    was said which keys may. `dropped`: of how many decisions retention dropped the evidence.
    """

    head: LedgerHead
    start: int
    entries: int
    problems: tuple[LedgerProblem, ...]
    vouching: Mapping[str, int]
    foreign: Mapping[str, int]
    earlier: int = 0
    keys: Mapping[str, int] = field(default_factory=dict)
    trusted: bool = False
    dropped: int = 0
    more: int = 0
    """Problems with texts beyond those that are named."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The shape of `audit verify --format json`."""
        return {
            "sound": self.is_sound,
            "ledger": self.head.ledger or None,
            "from": self.start + 1,
            "entries": self.entries,
            "head": self.head.trailer_value if self.entries else None,
            "vouching": dict(self.vouching),
            "foreign": dict(self.foreign),
            "earlier": self.earlier,
            "keys": dict(self.keys),
            "trusted": self.trusted,
            "dropped": self.dropped,
            "problems": [problem.to_json() for problem in self.problems],
            "more": self.more,
        }


class TextProblems:
    """What is wrong with the texts that decisions name. Only so many are kept."""

    def __init__(self) -> None:
        """None yet."""
        self.problems: list[LedgerProblem] = []
        self.dropped = self.more = 0

    def check_reference(self, reference: TextReference, walk: ChainVerifier) -> None:
        """At a text that is altered or is not there, once all entries went by."""
        problem = reference.find_problem(walk.facts)
        if problem is None:
            self.dropped += 1
        elif len(self.problems) < _MAX_TEXT_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1


def verify_ledger(
    ledger: Ledger,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> VerificationReport:
    """Verify what a database holds. `trusted`: public keys; checkpoints of other keys are then problems."""
    walk = ChainVerifier(WitnessIndex(ledger.read_chain_head().ledger, witnesses), trusted=frozenset(trusted))
    texts = TextProblems()
    for part in ledger.iterate_verifiable_parts():
        if isinstance(part, TextReference):
            walk.verify_waiting_rows()
            texts.check_reference(part, walk)
        else:
            walk.verify_rows(part)
            progress(walk.count)
    return build_verification_report(walk, texts)


def build_verification_report(
    walk: ChainVerifier, texts: TextProblems, last: Witness | None = None, *, more: Iterable[LedgerProblem] = ()
) -> VerificationReport:
    """The end of a walk. `last`: what an export's last line says; `more`: what else is wrong."""
    walk.finish_verification(last)
    about = [*walk.problems, *texts.problems, *more]
    if not any(each.wrong is ProblemKind.CUT for each in about):
        about += _find_foreign_heads(walk)
    problems = sorted(about, key=lambda problem: (problem.entry or 0, problem.last or 0))
    foreign = [witness.kind for witness in walk.witnesses.foreign]
    return VerificationReport(
        head=walk.current_head,
        start=walk.start,
        entries=walk.count,
        problems=tuple(problems),
        vouching={kind: len(walk.witnesses.list_confirmed_witnesses(kind)) for kind in (COMMIT, CHECKPOINT, GIVEN)},
        foreign={kind: foreign.count(kind) for kind in (COMMIT, GIVEN)},
        earlier=walk.witnesses.count_unchecked(walk.start),
        keys=dict(walk.facts.keys),
        trusted=bool(walk.facts.trusted),
        dropped=texts.dropped,
        more=texts.more,
    )


def _find_foreign_heads(walk: ChainVerifier) -> list[LedgerProblem]:
    """A head that was given is one of this ledger, or this is not the ledger that somebody thinks it is."""
    if not walk.count and not walk.start:
        return [
            LedgerProblem(
                ProblemKind.TRUNCATED, None, "there is no entry at all, not even the first one, which every ledger begins with"
            )
        ]
    name = walk.current_head.ledger or "a ledger without a name"
    return [
        LedgerProblem(ProblemKind.REWRITTEN, None, f"{each.who} is of the ledger {each.head.ledger}, and this one is {name}")
        for each in walk.witnesses.foreign
        if each.kind == GIVEN
    ]
