"""Identities in the ledger, in each kind of database: beside every number, and unknown in entries from before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.identity import PresentVersion, RememberedVersion
from promoter.domain.plan import ChangeCause
from tests.support.fixtures.ledger import NOW, rows

OLD, NEW = RememberedVersion(1, "old"), RememberedVersion(1, "new")
MOVE = NewAuditRecord(NOW, RecordKind.OBSERVED, "m", "champion", None, 1, to_identity="old")
REPLACED = NewAuditRecord(
    NOW, RecordKind.REPLACED, "m", "champion", 1, 1, cause="replaced", from_identity="old", to_identity="new"
)


def test_agreements_keep_identities(ledger: SqlLedger, database_url: str) -> None:
    """Another identity is another agreement; one that is not known repeats what is known."""
    for version in (RememberedVersion(1), OLD, RememberedVersion(1), OLD, NEW):
        ledger.record_last_applied({"m": {"champion": version}}, "r", NOW)
    assert rows(database_url, "settled") == 3
    assert ledger.read_last_applied() == {"m": {"champion": replace(NEW, at=NOW)}}


def test_without_the_lock_an_identity_is_only_learned(ledger: SqlLedger) -> None:
    """`only_first` adds the identity of the version that was agreed on, and never another version's."""
    ledger.record_last_applied({"m": {"champion": RememberedVersion(1)}}, "r", NOW)
    ledger.record_last_applied({"m": {"champion": RememberedVersion(2, "two")}}, "r", NOW, only_first=True)
    ledger.record_last_applied({"m": {"champion": OLD}}, "r", NOW, only_first=True)
    ledger.record_last_applied({"m": {"champion": NEW}}, "r", NOW, only_first=True)
    assert ledger.read_last_applied() == {"m": {"champion": replace(OLD, at=NOW)}}


def test_moves_keep_identities(ledger: SqlLedger) -> None:
    """Intent, outcome and agreement have that of the target; a move to another version of the number continues there."""
    change = NewAuditRecord(NOW, RecordKind.CHANGE, "m", "champion", None, 1, cause=ChangeCause.COMMIT.value, to_identity="old")
    ledger.record_outcome(ledger.record_intent(change, None), ChangeOutcome.APPLIED, NOW)
    assert ledger.read_last_applied() == {"m": {"champion": replace(OLD, at=NOW)}}
    assert ledger.read_last_known_versions() == {"m": {"champion": replace(OLD, at=NOW)}}
    moved = replace(MOVE, from_version=1, from_identity="old", to_identity="new")
    ledger.record_observed_moves([replace(moved, from_identity="other")], only_next=True)
    ledger.record_observed_moves([moved], only_next=True)
    assert ledger.read_last_known_versions() == {"m": {"champion": replace(NEW, at=NOW)}}
    assert [each.fact.to_identity for each in ledger.find_alias_moves({("m", "champion")})["m", "champion"]] == ["old", "new"]


@pytest.mark.parametrize("way", ["agreed", "arrived", "left"])
def test_only_the_same_version_held_the_alias(ledger: SqlLedger, way: str) -> None:
    """However it is known that the number held the alias: another version of it did not."""
    if way == "agreed":
        ledger.record_last_applied({"m": {"champion": OLD}}, "r", NOW)
    elif way == "arrived":
        ledger.record_observed_moves([MOVE])
    else:
        ledger.record_observed_moves([replace(MOVE, from_version=1, from_identity="old", to_version=2, to_identity="two")])
    later = NOW + timedelta(days=1)
    assert ledger.has_held_alias("m", "champion", PresentVersion(1, NOW, "old"))
    assert not ledger.has_held_alias("m", "champion", PresentVersion(1, later, "new"))
    assert not ledger.has_held_alias("m", "champion", PresentVersion(2, NOW, "old"))


def test_an_entry_without_identity_means_no_later_version(ledger: SqlLedger) -> None:
    """A version that was registered after the record did not hold the alias then."""
    ledger.record_observed_moves([replace(MOVE, to_identity=None)])
    assert ledger.has_held_alias("m", "champion", PresentVersion(1, NOW, "any"))
    assert not ledger.has_held_alias("m", "champion", PresentVersion(1, NOW + timedelta(milliseconds=1), "any"))


def test_a_replacement_is_recorded_once(ledger: SqlLedger) -> None:
    """Of one alias and number; back and forth is recorded each time, and no alias moves by it."""
    back = replace(REPLACED, from_identity="new", to_identity="old")
    other = replace(REPLACED, from_version=2, to_version=2)
    for found in ([REPLACED], [REPLACED], [REPLACED, other], [back], [back], [REPLACED, other]):
        ledger.record_replacements(found)
    found = ledger.find_audit_records(RecordFilter(kind=RecordKind.REPLACED))
    assert [each.fact for each in found] == [REPLACED, other, back, REPLACED]
    assert ledger.read_last_known_versions() == {}
    page = ledger.outbox.read_source_entries(0, 10)
    assert [entry.id for entry in page.entries] == [each.id for each in found]
