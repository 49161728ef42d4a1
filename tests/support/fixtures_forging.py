"""A ledger of each kind in the hands of somebody who may do anything in its database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import CHAINED, metadata
from promoter.application.audit_verify import verify_ledger
from promoter.domain.audit import WebhookDelivery
from promoter.domain.decision import Decision, Verdict
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.ledger.chain import (
    LedgerEntry,
    LedgerHead,
    advance_head,
    digest_bytes,
    encode_canonical,
    parse_entry_facts,
    seal_entry,
)
from promoter.domain.ledger.checkpoints import LifecycleEventType
from promoter.domain.ledger.problems import LedgerProblem
from promoter.domain.ledger.witnesses import Witness
from tests.support.fixtures_ledger import NOW, fill, inside
from tests.support.fixtures_postgres import new_database

CHAIN = [table.name for table in CHAINED]
_LONG_AGO = NOW - timedelta(days=30)


@dataclass(frozen=True)
class Filled:
    """A ledger with an entry of every kind in it, and evidence that was dropped in good order."""

    url: str
    entries: tuple[LedgerEntry, ...]
    head: LedgerHead

    @property
    def witness(self) -> Witness:
        """A commit that vouches for its last entry."""
        return Witness(self.head, "commit 1f2e3d", "commit")

    @property
    def signed(self) -> int:
        """The number of the entry that a key vouches for."""
        return next(
            int(facts["entry"])
            for facts in map(parse_entry_facts, self.entries)
            if facts.get("event") == LifecycleEventType.CHECKPOINT
        )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """In each kind of database, once for all tests of a file: none of them leaves anything behind."""
    if request.param == "sqlite":
        yield filled_at(f"sqlite:///{tmp_path_factory.mktemp('forging') / 'promoter.db'}")
    else:
        template = request.getfixturevalue("postgres_template")
        with new_database(str(request.getfixturevalue("postgres_home")), template) as url:
            yield filled_at(url)


def filled_at(url: str) -> Filled:
    """Fill that database."""
    ledger = SqlLedger.open(url)
    old = Evidence(_LONG_AGO, VersionEvidence(3))
    ledger.record_decisions([Decision("fraud", "champion", 3, None, None, Verdict.PASS, (), _LONG_AGO, old)], None)
    assert ledger.drop_evidence_before(_LONG_AGO + timedelta(days=1), "alice", NOW) == 1
    fill(ledger)
    for number in range(4):
        ledger.record_delivery(WebhookDelivery("mlflow", f"after the checkpoint {number}", NOW, "e", "fraud"))
    found = Filled(url, tuple(ledger.iterate_entries()), ledger.read_chain_head())
    ledger.close_connections()
    return found


@contextmanager
def forging(filled: Filled) -> Iterator[Connection]:
    """A transaction without triggers and checks, which is undone as a whole."""
    ledger = SqlLedger.open(filled.url)
    with ledger._database._writing_engine.connect() as connection, connection.begin() as transaction:
        unguard(connection)
        yield connection
        transaction.rollback()
    ledger.close_connections()


def unguard(connection: Connection) -> None:
    """Remove every trigger and check."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for name in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        return
    for table in metadata.tables:
        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for table in CHAIN:
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {table}_numbered")


def unlock_columns(connection: Connection) -> None:
    """Remove what reads the texts when they are written, so that they need not be JSON any more."""
    if connection.dialect.name == "sqlite":
        for table in CHAIN:
            connection.exec_driver_sql(f"CREATE TABLE plain AS SELECT * FROM {table}")
            connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql(f"ALTER TABLE plain RENAME TO {table}")
        return
    for table in CHAINED:
        for column in computed(table.name):
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ALTER COLUMN {column} DROP EXPRESSION")


def computed(table: str) -> list[str]:
    """The columns that the database computes."""
    return [column.name for column in metadata.tables[table].columns if column.name not in ("id", "body", "hash")]


@contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """Whatever is changed in here is as it was behind it."""
    with connection.begin_nested() as savepoint:
        yield
        savepoint.rollback()


def problems(connection: Connection, *witnesses: Witness) -> Sequence[LedgerProblem]:
    """What verification names."""
    return verify_ledger(inside(connection), witnesses).problems


def named(connection: Connection, *witnesses: Witness) -> set[int]:
    """The entries that it names, and not more than one problem of each but where a checkpoint proves nothing either."""
    found: set[int] = set()
    for each in problems(connection, *witnesses):
        assert each.entry is not None, each
        found.update(range(each.entry, (each.last or each.entry) + 1))
    return found


def insert(connection: Connection, entry: LedgerEntry) -> None:
    """A row."""
    statement = f"INSERT INTO {entry.table} (id, body, hash) VALUES (:id, :body, :hash)"
    connection.execute(text(statement), _row(entry))


def overwrite(connection: Connection, entry: LedgerEntry) -> None:
    """The row of that number."""
    connection.execute(text(f"UPDATE {entry.table} SET body = :body, hash = :hash WHERE id = :id"), _row(entry))


def delete(connection: Connection, entry: LedgerEntry) -> None:
    """Its row."""
    connection.execute(text(f"DELETE FROM {entry.table} WHERE id = :id"), {"id": entry.id})


def _row(entry: LedgerEntry) -> dict[str, Any]:
    return {"id": entry.id, "body": entry.body.decode(), "hash": entry.hash}


def resealed(entry: LedgerEntry, **changed: object) -> LedgerEntry:
    """With other facts, and the hash of these."""
    body = encode_canonical({**parse_entry_facts(entry), **changed})
    table, number = changed.get("table", entry.table), changed.get("id", entry.id)
    assert isinstance(number, int)
    return replace(entry, table=str(table), id=number, body=body, hash=digest_bytes(body))


def rewritten(entries: Sequence[LedgerEntry], start: int, changed: Mapping[str, object]) -> list[LedgerEntry]:
    """All entries from that number on, the first of them with other facts, each with the hash that is then right."""
    before = entries[start - 2]
    head, found = LedgerHead("", before.id, before.hash), []
    for entry in entries[start - 1 :]:
        facts = {name: fact for name, fact in parse_entry_facts(entry).items() if name not in ("id", "previous", "table")}
        anew = seal_entry(head, entry.table, facts | (dict(changed) if entry.id == start else {}))
        head = advance_head(head, anew)
        found.append(anew)
    return found
