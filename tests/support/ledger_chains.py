"""Chains for tests, and the problems that their verification reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from promoter.domain.approvals import SigningKey
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, advance_head, digest_bytes, encode_canonical, seal_entry
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind
from promoter.domain.ledger.verify import ChainVerifier
from promoter.domain.ledger.witnesses import Witness, WitnessIndex

NAME = "0b1c7a52-5d0e-4c59-8f5e-1f2f6a3c9d10"
TABLES = ("records", "decisions", "settled", "revisions")
SIGNER = SigningKey.from_seed(b"k" * 32)

facts = st.fixed_dictionaries(
    {"at": st.just("2026-11-24T04:00:00.000000+00:00")},
    optional={
        "model": st.text('abü"{:,', max_size=9),
        "version": st.integers(1, 99),
        "review": st.fixed_dictionaries({"id": st.integers(1, 40), "previous": st.text("0af", max_size=5)}),
        "verdict": st.sampled_from(["pass", "fail"]),
    },
)


def chained(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[LedgerEntry]:
    """A ledger of these facts, behind the entry that names it."""
    head, found = LedgerHead(NAME), []
    for table, facts in [("milestones", {"event": "opened", "ledger": NAME}), *entries]:
        entry = seal_entry(head, table, facts)
        head = advance_head(head, entry)
        found.append(entry)
    return found


ledgers = st.lists(st.tuples(st.sampled_from(TABLES), facts), min_size=3, max_size=12).map(chained)


def head_of(entries: Sequence[LedgerEntry]) -> LedgerHead:
    """The last one's."""
    return LedgerHead(NAME, entries[-1].id, entries[-1].hash)


def verified(
    entries: Sequence[LedgerEntry],
    *witnesses: Witness,
    rows: bool = True,
    end: LedgerHead | None = None,
    start: int = 0,
    trusted: frozenset[str] = frozenset(),
) -> list[LedgerProblem]:
    """The problems that are named. `end`: what the last line of an export says."""
    verifier = ChainVerifier(WitnessIndex(NAME, witnesses), start, rows=rows, trusted=trusted)
    verifier.verify_entries(entries if rows else [replace(entry, id=0, hash="", table="") for entry in entries])
    verifier.finish_verification(Witness(end, "the last line") if end else None)
    return verifier.problems


def named(problems: Sequence[LedgerProblem]) -> list[tuple[ProblemKind, int | None]]:
    """In short."""
    return [(problem.kind, problem.entry) for problem in problems]


def edited(entry: LedgerEntry, key: str, value: object) -> LedgerEntry:
    """With another text, and the hash that was."""
    return replace(entry, body=encode_canonical({**json.loads(entry.body), key: value}))


def resealed(entry: LedgerEntry, key: str, value: object) -> LedgerEntry:
    """With another text, and the hash of that."""
    changed = edited(entry, key, value)
    return replace(changed, hash=digest_bytes(changed.body))
