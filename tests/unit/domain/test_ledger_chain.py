"""The chain: canonical form, hashes, and the trailer by which commits attest it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.ledger.chain import (
    GENESIS_HASH,
    LedgerEntry,
    LedgerHead,
    NotCanonical,
    add_ledger_trailer,
    advance_head,
    encode_canonical,
    parse_entry_facts,
    seal_entry,
)

HASH = "ab" * 32
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ\u00e9", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text("abcdefé", min_size=1, max_size=4), VALUES, max_size=5))
def test_the_canonical_form_is_that_of_the_library(facts: dict[str, object]) -> None:
    """What JSON can represent is written as RFC 8785 has it, and read back as it was."""
    assert encode_canonical(facts) == rfc8785.dumps(facts)
    assert json.loads(encode_canonical(facts), parse_int=float) == facts


def test_what_json_cannot_tell_becomes_text() -> None:
    """Times in UTC and of one width; numbers beyond JSON's, sets in order."""
    east = datetime(2026, 10, 3, 16, 5, tzinfo=timezone(timedelta(hours=2)))
    facts = {"at": east, "big": 2**60, "nan": float("nan"), "set": frozenset({"b", "a"}), "pair": (1, 2)}
    assert encode_canonical(facts) == (
        b'{"at":"2026-10-03T14:05:00.000000+00:00","big":"1152921504606846976","nan":"nan","pair":[1,2],"set":["a","b"]}'
    )


@pytest.mark.parametrize("fact", ["a\0b", ["a\0b"], {"k": {"a\0b": 1}}, "\ud800", datetime(2026, 1, 1), b"bytes"])  # noqa: DTZ001
def test_what_nobody_can_keep_is_refused(fact: object) -> None:
    """It is refused, and never stored as something else."""
    with pytest.raises(NotCanonical):
        encode_canonical({"fact": fact})


def test_each_entry_says_its_number_and_the_hash_before_it() -> None:
    """So that the SHA-256 of a line, by whichever program, is what the next line has."""
    head, lines = LedgerHead("l"), []
    for number in range(3):
        entry = seal_entry(head, "records", {"model": "fraud", "to": number})
        head = advance_head(head, entry)
        lines.append(entry.body)
        assert entry.hash == hashlib.sha256(entry.body).hexdigest() == head.hash
    assert [json.loads(line)["previous"] for line in lines] == [
        GENESIS_HASH, *(hashlib.sha256(line).hexdigest() for line in lines[:2])
    ]  # fmt: skip
    assert [json.loads(line)["id"] for line in lines] == [1, 2, 3]
    assert head == LedgerHead("l", 3, hashlib.sha256(lines[2]).hexdigest())
    assert parse_entry_facts(entry)["table"] == "records"
    with pytest.raises(ValueError, match="no object"):
        parse_entry_facts(LedgerEntry("records", 1, b"[]", HASH))


def test_a_head_is_read_back_from_its_trailer() -> None:
    """And nothing else is."""
    head = LedgerHead("3a06-d7", 12, HASH)
    assert LedgerHead.parse_trailer(head.trailer_value) == LedgerHead.parse_trailer(f"  {head.trailer_value}\n") == head
    for other in ("", "a 1", f"a x {HASH}", f"a 1 {HASH[:-1]}", f"a 1 {HASH[:-1]}G", f" 1 {HASH}", f"a ² {HASH}"):
        assert LedgerHead.parse_trailer(other) is None, other


def test_the_trailer_joins_the_others() -> None:
    """Git reads trailers from the last paragraph only."""
    head = LedgerHead("led", 1, HASH)
    line = f"Promoter-Ledger: led 1 {HASH}\n"
    assert add_ledger_trailer("Rotate\n\nWhy.\n\nPromoter-Aim: rotate\nPromoter-Model: m\n", head) == (
        f"Rotate\n\nWhy.\n\nPromoter-Aim: rotate\nPromoter-Model: m\n{line}"
    )
    assert add_ledger_trailer("Rotate\n\nWhy: prose.\nMore prose", head) == f"Rotate\n\nWhy: prose.\nMore prose\n\n{line}"
    assert add_ledger_trailer("Promoter: x", head) == f"Promoter: x\n\n{line}"
    assert add_ledger_trailer("Rotate\n", LedgerHead()) == "Rotate\n"


def test_times_are_written_in_utc() -> None:
    """Whatever zone they came in."""
    assert json.loads(encode_canonical({"at": datetime(2026, 1, 1, tzinfo=UTC)}))["at"] == "2026-01-01T00:00:00.000000+00:00"
