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
from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import LedgerDatabase, _migrate_schema, select_backend
from promoter.adapters.ledger.outbox import SqlOutbox
from promoter.adapters.ledger.schema import VERSION_TABLE, records
from promoter.domain.approvals import SigningKey
from promoter.domain.audit import ChangeOutcome, NewAuditRecord, RecordKind, RevisionState, WebhookDelivery
from promoter.domain.decision import (
    AppliedWaiver,
    ConfidenceInterval,
    Decision,
    DecisionBasis,
    DecisionPurpose,
    RuleFinding,
    Verdict,
)
from promoter.domain.evidence import Evidence, TagObservation, VersionEvidence
from promoter.domain.ledger.chain import digest_bytes
from promoter.domain.ledger.checkpoints import LedgerCheckpoint, LifecycleEvent, LifecycleEventType
from promoter.domain.plan import ChangeCause
from promoter.domain.policy.guards import GuardCheck
from promoter.domain.review import ChangeOrigin, PullRequestReview

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
SIGNER = SigningKey.from_seed(b"k" * 32)
"""Whose checkpoints `fill` makes."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite database that is not there yet, for what SQLite alone does."""
    return tmp_path / "promoter.db"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with an empty ledger in it: copied, since to migrate takes most of the time of a short test."""
    file = tmp_path_factory.mktemp("ledger") / "promoter.db"
    SqlLedger.open(f"sqlite:///{file}").close_connections()
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
    opened.close_connections()


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
    with other._database.write_transaction() as connection:
        yield connection
    other.close_connections()


class _Joined:
    """A database whose every transaction is the one that is open already."""

    def __init__(self, connection: Connection) -> None:
        self.read_transaction = self.write_transaction = lambda: nullcontext(connection)
        self.append_transaction = lambda: nullcontext(ChainWriter(connection))


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
    ledger.record_delivery(WebhookDelivery("mlflow", "i", NOW, "e", "fraud"))
    for state in (RevisionState.ATTEMPTED, RevisionState.REFUSED, RevisionState.APPLIED):
        ledger.record_revision_state("r1", state, NOW, "what became of it")
    ledger.record_tag_observations([TagObservation("fraud", 8, NOW, "approved_by", "risk", NOW)])
    ledger.record_guard_checks([GuardCheck("fraud", "champion", 8, "age", Verdict.PASS, NOW)])
    _fill_milestones(ledger)
    SqlOutbox(ledger._database).start_channel("ci", NOW)


def _fill_decisions(ledger: SqlLedger) -> None:
    interval, waived = ConfidenceInterval(0.91, 0.95, 0.9), AppliedWaiver(Verdict.FAIL, "waived by alice until 2026-12-01")
    inner = RuleFinding("metric auc at_least 0.9", Verdict.PASS, 0.93, "at least 0.9", interval=interval)
    outer = RuleFinding("all_of", Verdict.PASS, True, "each of them", (inner,), waived=waived)
    other = RuleFinding("tag owner", Verdict.PASS, None, "a tag", waived=waived)
    evidence = Evidence(NOW, VersionEvidence(8, {"owner": "r\u00edsk"}, "run-8", created_at=NOW), model="fraud")
    policy = "version: 1\nrules: []\n"
    basis, digest = DecisionBasis(policy, "version: 1\napprovers: {}\n"), digest_bytes(policy.encode())
    gate = Decision(
        "fraud", "champion", 8, "gates", digest, Verdict.PASS, (outer, other), NOW, evidence, "audit", basis, gate=True
    )
    ledger.record_decisions([replace(gate, purpose=DecisionPurpose.GATE)], "r1", "webhook:mlflow:i")


def _fill_records(ledger: SqlLedger) -> None:
    review = PullRequestReview("alice", NOW), PullRequestReview("bob", NOW)
    origin = ChangeOrigin(12, "https://forge/12", "carol", reviews=review, merge_commit="c0ffee", merged_by="dave")
    whole = NewAuditRecord(
        at=NOW,
        kind=RecordKind.CHANGE,
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
        cause=ChangeCause.COMMIT.value,
        review=origin.to_json(),
        until=NOW,
        not_before=NOW,
        hold="until Monday",
    )
    basis = Decision("fraud", "champion", 8, None, None, Verdict.PASS, (), NOW, Evidence(NOW, VersionEvidence(8)))
    for outcome in (ChangeOutcome.FAILED, ChangeOutcome.RECOVERED, ChangeOutcome.APPLIED):
        ledger.record_outcome(ledger.record_intent(whole, basis), outcome.value, NOW, "what came of it")
    ledger.record_observed_moves([replace(whole, kind=RecordKind.OBSERVED)])
    ledger.end_override(ledger.record_override(replace(whole, kind=RecordKind.OVERRIDE)), NOW, "git says so by now")


def _fill_milestones(ledger: SqlLedger) -> None:
    watching = {"run": "a1", "tool": "0", "looked": NOW}
    for event_ in (LifecycleEventType.STARTED, LifecycleEventType.WATCHING, LifecycleEventType.STOPPED):
        ledger.record_lifecycle_event(LifecycleEvent(NOW, event_, watching))
    ledger.record_lifecycle_event(
        LifecycleEvent(NOW, LifecycleEventType.RETENTION, {"before": NOW - timedelta(days=9), "dropped": 1, "actor": "alice"})
    )
    ledger.record_lifecycle_event(
        LifecycleEvent(
            NOW, LifecycleEventType.CHECKPOINT, LedgerCheckpoint.sign_head(ledger.read_chain_head(), SIGNER).event_facts
        )
    )


def insert_record(url: str, **facts: object) -> None:
    """An audit record that the ledger had no say in; it is not part of the chain."""
    body = json.dumps({"id": 1_000_000, "at": NOW.isoformat(), **facts})
    with outside(url) as connection:
        connection.execute(insert(records).values(id=1_000_000, body=body, hash=""))


def make_older(url: str, schema: str, *statements: str) -> None:
    """A database as an earlier Promoter left it, with these rows; `{now}` in them is NOW as that database keeps it."""
    store = select_backend(url, 1.0)
    store.prepare_database()
    database = LedgerDatabase(store, read_only=False)
    _migrate_schema(database, schema)
    database.close_connections()
    now = f"'{NOW:%Y-%m-%d %H:%M:%S.%f}{'+00' if url.startswith('postgresql') else ''}'"
    with outside(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("{now}", now))


def schema_of(url: str) -> str:
    """What the database says that it is."""
    with outside(url) as connection:
        return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())
