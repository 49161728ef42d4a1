"""Verification of the chain: any one change of a sound ledger is named, once, and at the right entry."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, digest_bytes
from promoter.domain.ledger.problems import ProblemKind
from promoter.domain.ledger.witnesses import Witness
from tests.support.ledger_chains import NAME, chained, edited, head_of, ledgers, named, resealed, verified


@given(ledgers)
def test_a_sound_ledger_has_no_problem(entries: list[LedgerEntry]) -> None:
    """As rows, as the lines of an export, and from any entry on; a witness of each entry agrees."""
    seen = [Witness(LedgerHead(NAME, entry.id, entry.hash), "somebody") for entry in entries]
    assert verified(entries, *seen) == verified(entries, rows=False, end=head_of(entries)) == []
    assert verified(entries[2:], start=2) == verified(entries[1:], rows=False, start=1, end=head_of(entries)) == []


fields = st.sampled_from(["at", "id", "previous", "table", "model", "version", "new"])
values = st.one_of(st.integers(0, 99), st.just("0" * 64), st.text("ab", max_size=4), st.none())


@given(st.data(), ledgers, fields, values)
def test_a_changed_text_is_named(data: st.DataObject, entries: list[LedgerEntry], field: str, value: object) -> None:
    """Whichever field it is, of whichever entry, as row and as line; nothing else is named."""
    index = data.draw(st.integers(0, len(entries) - 1))
    changed = edited(entries[index], field, value)
    if changed.body == entries[index].body:
        return
    forged = [*entries[:index], changed, *entries[index + 1 :]]
    assert named(verified(forged)) == [(ProblemKind.EDITED, index + 1)]
    (problem,) = verified(forged, rows=False, end=head_of(entries))
    assert index + 1 in (problem.entry, problem.last), problem


@given(st.data(), ledgers, fields, values)
def test_a_text_changed_with_its_hash_is_named(
    data: st.DataObject, entries: list[LedgerEntry], field: str, value: object
) -> None:
    """The next entry knows what was there; of the last one only a witness does."""
    index = data.draw(st.integers(0, len(entries) - 1))
    changed = resealed(entries[index], field, value)
    if changed.body == entries[index].body:
        return
    forged = [*entries[:index], changed, *entries[index + 1 :]]
    (problem,) = verified(forged, Witness(head_of(entries), "commit 1f2e3d"))
    assert index + 1 in (problem.entry, problem.last), problem


@given(st.data(), ledgers)
def test_a_changed_hash_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """Also where it is emptied."""
    index = data.draw(st.integers(0, len(entries) - 1))
    forged = list(entries)
    forged[index] = replace(entries[index], hash=data.draw(st.sampled_from(["", "0" * 64, "f" * 64, "no hash"])))
    assert named(verified(forged)) == [(ProblemKind.EDITED, index + 1)]


@given(st.data(), ledgers)
def test_a_row_filed_under_another_number_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """Wherever it comes to stand by it, also beside one of another table."""
    index = data.draw(st.integers(0, len(entries) - 1))
    number = data.draw(st.integers(1, len(entries) + 3).filter(lambda each: each != index + 1))
    forged = sorted([*entries[:index], replace(entries[index], id=number), *entries[index + 1 :]], key=lambda each: each.id)
    if data.draw(st.booleans()):
        forged.sort(key=lambda each: (each.id, each.body == entries[index].body))
    problems = verified(forged)
    assert [problem.entry for problem in problems] in ([index + 1], [number]), problems


@given(st.data(), ledgers)
def test_a_row_in_another_table_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """Although its text and its hash are right."""
    index = data.draw(st.integers(0, len(entries) - 1))
    forged = list(entries)
    forged[index] = replace(entries[index], table="sightings")
    assert named(verified(forged)) == [(ProblemKind.MISFILED, index + 1)]


@given(st.data(), ledgers)
def test_dropped_entries_are_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """Which ones, by number; at the end only where a witness attests them."""
    first = data.draw(st.integers(0, len(entries) - 1))
    last = data.draw(st.integers(first, len(entries) - 1))
    if last - first + 1 == len(entries):
        return
    forged = [*entries[:first], *entries[last + 1 :]]
    cut = last == len(entries) - 1
    (problem,) = verified(forged, Witness(head_of(entries), "commit 1f2e3d"))
    assert (problem.kind, problem.last) == (ProblemKind.TRUNCATED if cut else ProblemKind.DROPPED, last + 1)
    assert problem.entry == first + 1
    (problem,) = verified(forged, rows=False, end=head_of(entries))
    assert (problem.kind, problem.entry, problem.last) == (ProblemKind.DROPPED, first + 1, last + 1)


@given(st.data(), ledgers)
def test_a_second_entry_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """A copy of a line anywhere; a row with a number that another table has."""
    index = data.draw(st.integers(0, len(entries) - 1))
    where = data.draw(st.integers(0, len(entries)))
    lines = [*entries[:where], entries[index], *entries[where:]]
    assert named(verified(lines, rows=False, end=head_of(entries))) == [(ProblemKind.SECOND, index + 1)]
    forged = resealed(replace(entries[index], table="sightings"), "table", "sightings")
    for other in (forged, replace(forged, hash="0" * 64), resealed(forged, "previous", "0" * 63 + "1")):
        for pair in ([other, entries[index]], [entries[index], other]):
            rows = [*entries[:index], *pair, *entries[index + 1 :]]
            assert named(verified(rows)) == [(ProblemKind.SECOND, index + 1)]


@given(st.data(), ledgers, st.integers(-1, 40))
def test_an_inserted_line_is_named(data: st.DataObject, entries: list[LedgerEntry], number: int) -> None:
    """Whatever it calls itself, and where it is no entry at all."""
    where = data.draw(st.integers(1, len(entries)))
    fake = resealed(entries[0], "id", number)
    (problem,) = verified([*entries[:where], fake, *entries[where:]], rows=False, end=head_of(entries))
    assert problem.kind in (
        ProblemKind.INSERTED,
        ProblemKind.SECOND,
        ProblemKind.REORDERED,
        ProblemKind.UNREADABLE,
        ProblemKind.EDITED,
    ), problem
    assert problem.entry in (where, where + 1, number), problem


@given(st.data(), ledgers)
def test_swapped_entries_are_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """Both where they are apart; of two neighbouring lines the one that came too early."""
    one = data.draw(st.integers(0, len(entries) - 2))
    other = data.draw(st.integers(one + 1, len(entries) - 1))
    rows = list(entries)
    rows[one], rows[other] = replace(entries[other], id=one + 1), replace(entries[one], id=other + 1)
    found = verified(rows)
    assert {problem.kind for problem in found} <= {ProblemKind.REORDERED}, found
    assert [problem.entry for problem in found] == [one + 1, other + 1]
    lines = verified(rows, rows=False, end=head_of(entries))
    assert {problem.kind for problem in lines} == {ProblemKind.REORDERED}, lines
    assert {problem.entry for problem in lines} <= {one + 1, other + 1}


@given(st.data(), ledgers)
def test_a_moved_line_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """A line that was taken out and put in elsewhere."""
    index, where = data.draw(st.integers(0, len(entries) - 1)), data.draw(st.integers(0, len(entries) - 1))
    if index == where:
        return
    lines = [*entries[:index], *entries[index + 1 :]]
    lines.insert(where, entries[index])
    found = verified(lines, rows=False, end=head_of(entries))
    assert found
    assert {problem.kind for problem in found} == {ProblemKind.REORDERED}, found
    assert len(found) == 1 or abs(index - where) == 1 or len(entries) < 5, found


@given(st.data(), ledgers)
def test_an_unreadable_line_is_named(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """And what is behind it is verified all the same."""
    index = data.draw(st.integers(0, len(entries) - 1))
    body = data.draw(st.sampled_from([b"", b"{", b"[]", b"\xff", b"{}", b"[" * 9_000, b'{"id":true,"previous":""}']))
    forged = [*entries[:index], replace(entries[index], body=body), *entries[index + 1 :]]
    assert named(verified(forged)) == [(ProblemKind.EDITED, index + 1)]
    found = verified(forged, rows=False, end=head_of(entries))
    assert [problem.kind for problem in found] == [ProblemKind.UNREADABLE]
    assert found[0].entry == index + 1
    sealed = [*entries[:index], replace(entries[index], body=body, hash=digest_bytes(body)), *entries[index + 1 :]]
    assert named(verified(sealed)) == [(ProblemKind.UNREADABLE, index + 1)]


@given(st.data(), ledgers)
def test_only_witnesses_find_a_rewritten_tail(data: st.DataObject, entries: list[LedgerEntry]) -> None:
    """All entries from one on are made anew, each with its right hash: the first that a witness attests is named, once."""
    index = data.draw(st.integers(1, len(entries) - 1))
    facts = [json.loads(entry.body) for entry in entries]
    facts[index]["model"] = "forged"
    forged = chained([(entry.table, facts) for entry, facts in zip(entries[1:], facts[1:], strict=True)])
    assert verified(forged) == []
    seen = [Witness(LedgerHead(NAME, entry.id, entry.hash), f"commit {entry.id}", "commit") for entry in entries]
    assert named(verified(forged, *seen)) == [(ProblemKind.REWRITTEN, index + 1)]
    (problem,) = verified(forged, seen[index - 1], seen[-1])
    assert problem.entry == len(entries)
    assert f"after entry {index}" in problem.message


def test_problems_behind_a_problem_are_named_too() -> None:
    """All that was changed, in one go."""
    entries = chained([("records", {"model": "m", "version": number}) for number in range(30)])
    forged = list(entries)
    forged[4] = edited(entries[4], "version", 99)
    forged[9] = resealed(entries[9], "version", 99)
    forged[20] = replace(entries[20], hash="0" * 64)
    del forged[14:16]
    assert named(verified(forged)) == [
        (ProblemKind.EDITED, 5),
        (ProblemKind.EDITED, 10),
        (ProblemKind.DROPPED, 15),
        (ProblemKind.EDITED, 21),
    ]
