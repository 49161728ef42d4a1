"""Each field of each kind of entry is changed straight in the database, past every guard: verification names that entry.

Every field that `fill` writes: by itself, and with the row's hash made to fit. Each change is undone before the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.application.audit_verify import verify_ledger
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordedDecision, RecordKind, RevisionState, WebhookDelivery
from promoter.domain.evidence import TagObservation
from promoter.domain.ledger.chain import LedgerEntry, digest_bytes, encode_canonical, parse_entry_facts
from promoter.domain.ledger.checkpoints import LifecycleEventType
from promoter.domain.ledger.problems import ProblemKind
from promoter.domain.policy.guards import GuardCheck
from tests.support.fixtures.forged_ledger import (
    CHAIN,
    FilledLedger,
    computed,
    filled_at,
    forging,
    named,
    overwrite,
    problems,
    undone,
    unguard,
    unlock_columns,
)
from tests.support.fixtures.ledger import outside

SEAL = {"id", "previous", "table"}


def changes(value: Any) -> Iterator[tuple[str, Any]]:
    """Every way to change one thing in a document: where, and the document with it."""
    if isinstance(value, dict):
        yield " one more", value | {"new": 1}
        for name, each in value.items():
            yield f".{name} removed", {key: kept for key, kept in value.items() if key != name}
            yield from ((f".{name}{where}", value | {name: other}) for where, other in changes(each))
    elif isinstance(value, list):
        yield " one more", [*value, "new"]
        for index, each in enumerate(value):
            before, behind = value[:index], value[index + 1 :]
            yield f"[{index}] removed", [*before, *behind]
            yield from ((f"[{index}]{where}", [*before, other, *behind]) for where, other in changes(each))
    elif isinstance(value, bool):
        yield from ((" turned", not value), (" as text", str(value).lower()))
    elif isinstance(value, int | float):
        yield from ((" greater", value + 1_000), (" as text", str(value)))
    elif isinstance(value, str):
        yield from ((" longer", f"{value}x"), (" emptied", ""))
    else:
        yield " stated", "x"


def forgeries(entry: LedgerEntry) -> Iterator[tuple[str, bytes]]:
    """Every text that differs from the entry's in one place, also where it says the same."""
    yield from ((where, encode_canonical(document)) for where, document in changes(parse_entry_facts(entry)))
    yield " a blank", b" " + entry.body
    yield " a key twice", entry.body.replace(b"{", b'{"at":"",', 1)


@pytest.mark.parametrize("fits", [False, True], ids=["text", "text-and-hash"])
@pytest.mark.parametrize("table", CHAIN)
def test_every_field_of_every_kind_of_entry(filled: FilledLedger, table: str, fits: bool) -> None:
    """Whoever changes it, takes it away, or adds one: that entry is named, and no other, also where its hash fits again."""
    missed, tried = [], 0
    with forging(filled) as connection:
        for entry in (each for each in filled.entries if each.table == table):
            for where, body in forgeries(entry):
                tried += 1
                with undone(connection):
                    overwrite(connection, replace(entry, body=body, hash=digest_bytes(body) if fits else entry.hash))
                    found = named(connection, filled.witness)
                if found != {entry.id}:
                    missed.append((f"{table} {entry.id}{where}", found))
    assert missed == []
    assert tried > 10


def test_nothing_that_the_ledger_keeps_is_left_out(filled: FilledLedger) -> None:
    """Every kind of entry is among those that are changed, and in each of them every field that it can have."""
    documents = [(entry.table, parse_entry_facts(entry)) for entry in filled.entries]
    words = {"from_version": "from", "to_version": "to"}

    def facts(of: type, *more: str) -> set[str]:
        return {words.get(each.name, each.name) for each in fields(of)} | {*more} | SEAL

    keys: dict[str, set[str]] = {}
    for table, document in documents:
        keys[table] = keys.get(table, set()) | document.keys()
    assert keys["records"] == facts(NewAuditRecord, "intent", "decision")
    assert keys["sightings"] == facts(TagObservation)
    assert keys["guard_checks"] == facts(GuardCheck)
    assert keys["deliveries"] == facts(WebhookDelivery, "delivery")
    decided = facts(RecordedDecision) - {"hash", "evidence_digest"}
    assert keys["decisions"] == decided | {"model", "alias", "version", "policy", "policy_digest", "digest"}
    for table in CHAIN:
        assert {words.get(column, column) for column in computed(table)} <= keys[table], table
    assert {document["event"] for table, document in documents if table == "milestones"} == set(LifecycleEventType)
    assert {document["state"] for table, document in documents if table == "revisions"} == set(RevisionState)
    kinds = {(document["kind"], document.get("outcome")) for table, document in documents if table == "records"}
    assert kinds == {(RecordKind.CHANGE, each) for each in ChangeOutcome} | {
        (RecordKind.OBSERVED, None),
        (RecordKind.REPLACED, None),
        (RecordKind.OVERRIDE, None),
    }
    overrides = [document for table, document in documents if table == "records" and document["kind"] == RecordKind.OVERRIDE]
    assert ["intent" in each for each in overrides] == [False, True]
    whole = [set(document) for table, document in documents if table == "records"]
    assert all(each | {"outcome", "intent", "decision"} == keys["records"] for each in whole)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "{}", "[" * 9_000, '{"id":true,"previous":""}', "no JSON at all"])
def test_a_text_that_is_no_entry(filled: FilledLedger, body: str) -> None:
    """Wherever it stands, also in place of the first entry, which names the ledger; with the old hash, and with its own."""
    found = {}
    with forging(filled) as connection:
        unlock_columns(connection)
        for entry in filled.entries:
            for hashed in (entry.hash, digest_bytes(body.encode())):
                with undone(connection):
                    overwrite(connection, replace(entry, body=body.encode(), hash=hashed))
                    found[entry.id, hashed] = named(connection)
    assert {key: each for key, each in found.items() if each != {key[0]}} == {}


def test_a_hash_that_was_changed(filled: FilledLedger) -> None:
    """To another one, to that of another entry, to nothing."""
    missed = []
    with forging(filled) as connection:
        for entry in filled.entries:
            turned = entry.hash[:-1] + ("0" if entry.hash[-1] != "0" else "1")
            for other in (turned, entry.hash.upper(), filled.entries[entry.id - 2].hash, ""):
                with undone(connection):
                    overwrite(connection, replace(entry, hash=other))
                    found = [(each.kind, each.entry) for each in problems(connection)]
                if found != [(ProblemKind.EDITED, entry.id)]:
                    missed.append((entry.id, other, found))
    assert missed == []


@pytest.mark.parametrize("table", CHAIN)
def test_no_column_but_the_text_says_anything(filled: FilledLedger, table: str) -> None:
    """What the database computes cannot be written, by whoever it is: no search shows anything else than what is hashed."""
    entry = next(each for each in filled.entries if each.table == table)
    with forging(filled) as connection:
        for column in computed(table):
            statements = [
                f"UPDATE {table} SET {column} = NULL WHERE id = {entry.id}",
                f"INSERT INTO {table} (id, body, hash, {column}) SELECT 999, body, hash, NULL FROM {table}",
            ]
            for statement in statements:
                with (
                    pytest.raises(DBAPIError, match=r"generated column|can only be updated to DEFAULT|non-DEFAULT value"),
                    undone(connection),
                ):
                    connection.execute(text(statement))
        assert not problems(connection, filled.witness)


def test_what_another_program_changed_for_good(database_url: str) -> None:
    """Committed, and found by a ledger that is opened to be read only; as it was before, it has no problem."""
    filled = filled_at(database_url)
    ledger = SqlLedger.open(database_url, read_only=True)
    assert verify_ledger(ledger, [filled.witness]).problems == ()
    record = next(each for each in filled.entries if each.table == "records")
    body = record.body.replace(b'"actor":"alice"', b'"actor":"mallory"')
    with outside(database_url) as connection:
        unguard(connection)
        overwrite(connection, replace(record, body=body, hash=digest_bytes(body)))
    (problem,) = verify_ledger(ledger, [filled.witness]).problems
    assert (problem.kind, problem.entry) == (ProblemKind.EDITED, record.id)
    ledger.close_connections()
