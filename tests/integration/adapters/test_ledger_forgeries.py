"""Whole rows are forged straight in the database, past every guard: they are named, or the test says that nobody could."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, parse_entry_facts
from promoter.domain.ledger.problems import ProblemKind
from promoter.domain.ledger.witnesses import Witness
from tests.support.fixtures.forged_ledger import (
    FilledLedger,
    delete,
    forging,
    insert,
    named,
    overwrite,
    problems,
    resealed,
    rewritten,
    undone,
)


def found(connection: Connection, *witnesses: Witness) -> list[tuple[ProblemKind, int | None, int | None]]:
    """What is named, from which entry to which."""
    return [(each.kind, each.entry, each.last or each.entry) for each in problems(connection, *witnesses)]


def test_dropped_rows(filled: FilledLedger) -> None:
    """Any one, and any few; the last one only where a witness attests it."""
    with forging(filled) as connection:
        for entry in filled.entries[:-1]:
            with undone(connection):
                delete(connection, entry)
                assert found(connection) == [(ProblemKind.DROPPED, entry.id, entry.id)]
        for first in (0, 5, 12):
            with undone(connection):
                for entry in filled.entries[first : first + 4]:
                    delete(connection, entry)
                assert found(connection) == [(ProblemKind.DROPPED, first + 1, first + 4)]


def test_the_end_cut_off(filled: FilledLedger) -> None:
    """Nothing in a chain says how long it is to be: a commit, or a checkpoint kept elsewhere, does."""
    with forging(filled) as connection:
        for count in (1, 2, 5):
            with undone(connection):
                for entry in filled.entries[-count:]:
                    delete(connection, entry)
                last = filled.head.entry
                assert found(connection) == []
                assert found(connection, filled.witness) == [(ProblemKind.TRUNCATED, last - count + 1, last)]


@pytest.mark.parametrize("behind", [0, 3, 9])
def test_the_end_written_anew(filled: FilledLedger, behind: int) -> None:
    """Each with its right hash: nothing in the chain tells. A commit behind the first does, and so does a checkpoint."""
    record = next(each for each in filled.entries if each.table == "records" and each.id < filled.signed)
    start = record.id if behind else filled.signed + 2
    changed = {"actor": "mallory"} if behind else {"at": "2020-01-01T00:00:00.000000+00:00"}
    anew = rewritten(filled.entries, start, changed)
    with forging(filled) as connection:
        for entry in anew:
            overwrite(connection, entry)
        own = [] if start > filled.signed else [(ProblemKind.REWRITTEN, filled.signed, filled.signed)]
        assert found(connection) == own
        seen = filled.entries[start - 2 + behind] if behind else filled.entries[-1]
        commit = Witness(LedgerHead(filled.head.ledger, seen.id, seen.hash), "commit 1f2e3d", "commit")
        names = {each.entry for each in problems(connection, commit)}
        assert seen.id in names
        before = filled.entries[start - 2]
        assert found(connection, Witness(LedgerHead(filled.head.ledger, before.id, before.hash), "commit")) == own


def test_swapped_rows(filled: FilledLedger) -> None:
    """Two entries under each other's number; within a table and across."""
    tables: dict[str, list[LedgerEntry]] = {}
    for entry in filled.entries:
        tables.setdefault(entry.table, []).append(entry)
    with forging(filled) as connection:
        for one, other in ((each[0], each[-1]) for each in tables.values() if len(each) > 2):
            with undone(connection):
                delete(connection, one)
                delete(connection, other)
                insert(connection, replace(one, id=other.id))
                insert(connection, replace(other, id=one.id))
                assert named(connection) == {one.id, other.id}


def test_a_row_in_another_table(filled: FilledLedger) -> None:
    """As it is: with its number, its text and its right hash."""
    with forging(filled) as connection:
        for entry in filled.entries:
            with undone(connection):
                delete(connection, entry)
                insert(connection, replace(entry, table="sightings" if entry.table != "sightings" else "records"))
                assert named(connection) == {entry.id}, entry


def test_inserted_rows(filled: FilledLedger) -> None:
    """A number that another table has, one beyond the end, and one that was never given."""
    last, record = filled.entries[-1], next(each for each in filled.entries if each.table == "records")
    with forging(filled) as connection:
        for entry in (each for each in filled.entries if each.table != "records"):
            forged = resealed(replace(record, id=entry.id), id=entry.id)
            for other in (
                forged,
                resealed(forged, previous=parse_entry_facts(entry)["previous"]),
                replace(forged, hash="0" * 64),
            ):
                with undone(connection):
                    insert(connection, other)
                    assert found(connection) == [(ProblemKind.SECOND, entry.id, entry.id)], entry
        stray = resealed(replace(record, id=last.id + 1), id=last.id + 1)
        with undone(connection):
            insert(connection, stray)
            assert named(connection, filled.witness) == {last.id + 1}
        with undone(connection):
            insert(connection, resealed(replace(record, id=last.id + 5), id=last.id + 5, previous=last.hash))
            assert found(connection) == [(ProblemKind.DROPPED, last.id + 1, last.id + 4)]
        with undone(connection):
            insert(connection, replace(resealed(stray, previous=last.hash, id=999), id=last.id + 1))
            assert named(connection) & {last.id + 1, 999}
        with undone(connection):
            insert(connection, resealed(stray, previous=last.hash))
            assert found(connection) == [], "a well-made entry behind the last is what an append is"


def test_texts(filled: FilledLedger) -> None:
    """What decisions stand on: changed, filed under another digest or kind, gone."""
    decision = next(each for each in filled.entries if each.table == "decisions" and "policy_digest" in parse_entry_facts(each))
    digests = {kind: parse_entry_facts(decision)[name] for kind, name in KINDS.items()}
    changes = [
        ("UPDATE contents SET body = body || ' ' WHERE digest = :digest", ProblemKind.TEXT),
        ("UPDATE contents SET body = '' WHERE digest = :digest", ProblemKind.TEXT),
        (f"UPDATE contents SET digest = '{'0' * 64}' WHERE digest = :digest", ProblemKind.LACKING),
        ("UPDATE contents SET kind = 'other' WHERE digest = :digest", ProblemKind.LACKING),
        ("DELETE FROM contents WHERE digest = :digest", ProblemKind.LACKING),
    ]
    with forging(filled) as connection:
        assert found(connection) == []
        for kind, digest in digests.items():
            for statement, wrong in changes:
                with undone(connection):
                    assert connection.execute(text(statement), {"digest": digest}).rowcount == 1
                    (problem,) = problems(connection)
                    assert (problem.kind, problem.entry) == (wrong, decision.id), statement
                    assert kind in problem.message
                    assert problem.about == "decisions `fraud@champion`"


KINDS = {"evidence": "evidence", "policy": "policy_digest", "approvers": "approvers"}


def test_evidence_that_no_retention_dropped(filled: FilledLedger) -> None:
    """Only of decisions before the moment that the ledger tells; without that entry, of none."""
    dropped = filled.entries[1]
    assert dropped.table == "decisions"
    forged = list(filled.entries)
    for entry in filled.entries:
        if parse_entry_facts(entry).get("event") == "retention":
            forged[entry.id - 1 :] = rewritten(forged, entry.id, {"before": parse_entry_facts(dropped)["at"]})
    with forging(filled) as connection:
        assert found(connection) == []
        for entry in forged:
            overwrite(connection, entry)
        assert (ProblemKind.LACKING, dropped.id, dropped.id) in found(connection)
