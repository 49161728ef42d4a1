"""A ledger in each kind of database, and a look at its rows from outside."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, insert, text

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.schema import VERSION_TABLE, records
from promoter.adapters.ledger.stores import store_of
from promoter.adapters.ledger.upgrade import _migrate
from promoter.domain.approvals import Signer
from promoter.domain.audit import Delivery, Kind, NewRecord, Outcome, RevisionState
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.guards import GuardCheck
from promoter.domain.ledger.chain import digest_of
from promoter.domain.ledger.checkpoints import Checkpoint
from promoter.domain.ledger.milestones import Event, Milestone
from promoter.domain.plan import Cause
from promoter.domain.review import Origin, Review
from promoter.domain.sightings import Sighting
from promoter.domain.verdict import Basis, Decision, Finding, Interval, Purpose, Verdict, Waived

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
SIGNER = Signer.of_seed(b"k" * 32)
"""Whose checkpoints `fill` makes."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite database that is not there yet, for what SQLite alone does."""
    return tmp_path / "promoter.db"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with an empty ledger in it: copied, since to migrate takes most of the time of a short test."""
    file = tmp_path_factory.mktemp("ledger") / "promoter.db"
    SqlLedger.open(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database that nobody has written to yet, of each kind."""
    kept = "ledger" in request.fixturenames
    if request.param == "sqlite":
        file = request.getfixturevalue("file")
        if kept:
            shutil.copy(request.getfixturevalue("migrated_sqlite"), file)
        return f"sqlite:///{file}"
    return str(request.getfixturevalue("migrated_postgres_url" if kept else "postgres_url"))


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    """An empty ledger."""
    opened = SqlLedger.open(database_url)
    yield opened
    opened.dispose()


@contextmanager
def outside(url: str) -> Iterator[Connection]:
    """A connection that the ledger knows nothing of; each statement is a transaction."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def rows(url: str, table: str) -> int:
    """How many rows a table has, seen from outside."""
    with outside(url) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@contextmanager
def locked(url: str) -> Iterator[Connection]:
    """Another program is in the midst of a write, in the transaction that is handed over."""
    other = SqlLedger.open(url)
    with other._database.write() as connection:
        yield connection
    other.dispose()


class _Joined:
    """A database whose every transaction is the one that is open already."""

    def __init__(self, connection: Connection) -> None:
        self.read = self.write = lambda: nullcontext(connection)
        self.append = lambda: nullcontext(Chain(connection))


def inside(connection: Connection) -> SqlLedger:
    """A ledger that says what it says in that transaction."""
    return SqlLedger(_Joined(connection))  # type: ignore[arg-type]


def second_look(ledger: SqlLedger) -> threading.Event:
    """Set as soon as the ledger has looked once without the lock, and asks for a connection to write with."""
    looked, checkouts = threading.Event(), count(1)

    @event.listens_for(ledger._database._engine, "checkout")
    def checked_out(*_: object) -> None:
        if next(checkouts) % 2 == 0:  # one to look, one to write
            looked.set()

    return looked


def plans_of(ledger: SqlLedger) -> list[str]:
    """How the database means to answer what the ledger asks from now on, line by line, if it reads no table as a whole."""
    plans: list[str] = []

    @event.listens_for(ledger._database._engine, "before_cursor_execute")
    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if not statement.startswith("SELECT"):
            return
        raw = cursor.connection
        if connection.dialect.name == "postgresql":
            raw.execute("SET LOCAL enable_seqscan = off")  # which it prefers for tables as small as these
            plans.extend(row[0] for row in raw.execute(f"EXPLAIN {statement}", parameters))
        else:
            plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    return plans


def fill(ledger: SqlLedger) -> None:
    """Every kind of entry, with every field that it can have, and a row or more in the other tables."""
    _fill_decisions(ledger)
    _fill_records(ledger)
    ledger.deliver(Delivery("mlflow", "i", NOW, "e", "fraud"))
    for state in (RevisionState.ATTEMPTED, RevisionState.REFUSED, RevisionState.APPLIED):
        ledger.mark_revision("r1", state, NOW, "what became of it")
    ledger.sight([Sighting("fraud", 8, NOW, "approved_by", "risk", NOW)])
    ledger.check([GuardCheck("fraud", "champion", 8, "age", Verdict.PASS, NOW)])
    _fill_milestones(ledger)
    SqlOutbox(ledger._database).begin("ci", NOW)


def _fill_decisions(ledger: SqlLedger) -> None:
    interval, waived = Interval(0.91, 0.95, 0.9), Waived(Verdict.FAIL, "waived by alice until 2026-12-01")
    inner = Finding("metric auc at_least 0.9", Verdict.PASS, 0.93, "at least 0.9", interval=interval)
    outer = Finding("all_of", Verdict.PASS, True, "each of them", (inner,), waived=waived)
    other = Finding("tag owner", Verdict.PASS, None, "a tag", waived=waived)
    evidence = Evidence(NOW, VersionEvidence(8, {"owner": "r\u00edsk"}, "run-8", created_at=NOW), model="fraud")
    policy = "version: 1\nrules: []\n"
    basis, digest = Basis(policy, "version: 1\napprovers: {}\n"), digest_of(policy.encode())
    gate = Decision(
        "fraud", "champion", 8, "gates", digest, Verdict.PASS, (outer, other), NOW, evidence, "audit", basis, gate=True
    )
    ledger.decide([replace(gate, purpose=Purpose.GATE)], "r1", "webhook:mlflow:i")


def _fill_records(ledger: SqlLedger) -> None:
    review = Review("alice", NOW), Review("bob", NOW)
    origin = Origin(12, "https://forge/12", "carol", reviews=review, merge_commit="c0ffee", merged_by="dave")
    whole = NewRecord(
        at=NOW,
        kind=Kind.CHANGE,
        model="fraud",
        alias="champion",
        from_version=7,
        to_version=8,
        revision="r1",
        actor="alice",
        trigger="webhook:mlflow:i",
        policy="gates",
        verdict="pass",
        reason="a better one",
        cause=Cause.COMMIT.value,
        review=origin.as_json(),
        until=NOW,
        not_before=NOW,
        hold="until Monday",
    )
    basis = Decision("fraud", "champion", 8, None, None, Verdict.PASS, (), NOW, Evidence(NOW, VersionEvidence(8)))
    for outcome in (Outcome.FAILED, Outcome.RECOVERED, Outcome.APPLIED):
        ledger.close(ledger.intend(whole, basis), outcome.value, NOW, "what came of it")
    ledger.observe([replace(whole, kind=Kind.OBSERVED)])
    ledger.end_override(ledger.override(replace(whole, kind=Kind.OVERRIDE)), NOW, "git says so by now")


def _fill_milestones(ledger: SqlLedger) -> None:
    watching = {"run": "a1", "tool": "0", "looked": NOW}
    for event_ in (Event.STARTED, Event.WATCHING, Event.STOPPED):
        ledger.mark(Milestone(NOW, event_, watching))
    ledger.mark(Milestone(NOW, Event.RETENTION, {"before": NOW - timedelta(days=9), "dropped": 1, "actor": "alice"}))
    ledger.mark(Milestone(NOW, Event.CHECKPOINT, Checkpoint.sign(ledger.head(), SIGNER).told))


def insert_record(url: str, **facts: object) -> None:
    """An audit record that the ledger had no say in; it is not part of the chain."""
    body = json.dumps({"id": 1_000_000, "at": NOW.isoformat(), **facts})
    with outside(url) as connection:
        connection.execute(insert(records).values(id=1_000_000, body=body, hash=""))


def make_older(url: str, schema: str, *statements: str) -> None:
    """A database as an earlier Promoter left it, with these rows; `{now}` in them is NOW as that database keeps it."""
    store = store_of(url, 1.0)
    store.prepare()
    database = Database(store, read_only=False)
    _migrate(database, schema)
    database.dispose()
    now = f"'{NOW:%Y-%m-%d %H:%M:%S.%f}{'+00' if url.startswith('postgresql') else ''}'"
    with outside(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("{now}", now))


def schema_of(url: str) -> str:
    """What the database says that it is."""
    with outside(url) as connection:
        return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())
