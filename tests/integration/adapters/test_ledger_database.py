"""The ledger's database, of each kind: opening, reading beside a writer, surviving a kill, and many writers at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.database import LedgerDatabase, select_backend
from promoter.adapters.ledger.schema import VERSION_TABLE, metadata
from promoter.application.ports import Ledger
from promoter.domain.audit import NewAuditRecord, RecordFilter, RecordKind, RevisionState, WebhookDelivery
from promoter.domain.decision import Decision, Verdict
from promoter.domain.errors import PermanentError, TransientError
from tests.support.fixtures.ledger import fill, inside, locked, outside, rows, waiting_for_the_lock
from tests.support.remembered import numbers, present, remembered

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)

CHILD = """
import os, pathlib, signal, sys, time
from datetime import UTC, datetime
from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.identity import RememberedVersion
url, start, deed = sys.argv[1:]
print("ready", flush=True)
while not pathlib.Path(start).exists():
    time.sleep(0.001)
ledger = SqlLedger.open(url)
record = NewAuditRecord(datetime.now(UTC), RecordKind.CHANGE, "fraud", "champion", 1, 2)
if deed == "die":
    print(ledger.record_intent(record, None), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
ledger.record_intent(record, None)
names = [f"m{i}" for i in range(2000)]
moves = [NewAuditRecord(record.at, RecordKind.OBSERVED, name, "champion", None, os.getpid()) for name in names]
ledger.record_observed_moves(moves, only_first=True)
agreed = {name: {"champion": RememberedVersion(os.getpid())} for name in names}
ledger.record_last_applied(agreed, None, record.at, only_first=True)
"""


def opened(url: str, *, read_only: bool = False) -> SqlLedger:
    """The ledger in that database; it waits for nobody for long."""
    return SqlLedger.open(url, read_only=read_only, busy_timeout=0.2)


def change(to: int = 2) -> NewAuditRecord:
    """A change."""
    return NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 1, to)


def child(url: str, start: Path, deed: str) -> subprocess.Popen[str]:
    """A process that opens the ledger as soon as the file `start` is there."""
    command = [sys.executable, "-c", CHILD, url, str(start), deed]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_nothing_reads_as_an_empty_ledger_and_stays_nothing(database_url: str) -> None:
    """Read-only commands leave nothing behind, and cannot write."""
    ledger: Ledger = opened(database_url, read_only=True)
    assert not ledger.find_audit_records(RecordFilter())
    assert not ledger.list_recent_decisions()
    assert numbers(ledger.read_last_known_versions()) == numbers(ledger.read_last_applied()) == {}
    assert not ledger.find_open_intents()
    assert not ledger.has_held_alias("fraud", "champion", present(1, NOW))
    assert ledger.find_last_revision(RevisionState.APPLIED) is None
    assert ledger.last_applied_revision("fraud", "champion") is None
    assert ledger.find_alias_moves([("fraud", "champion")]) == {("fraud", "champion"): []}
    assert ledger.find_guard_checks([("fraud", "champion")]) == {("fraud", "champion"): []}
    assert ledger.find_tag_observations(["fraud"]) == {"fraud": []}
    assert not list(ledger.iterate_decisions_with_evidence())
    with pytest.raises(PermanentError, match="for reading only"):
        ledger.record_intent(change(), None)
    ledger.close_connections()  # type: ignore[attr-defined]
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    else:
        with outside(database_url) as connection:
            assert inspect(connection).get_table_names() == []


def test_a_ledger_is_read_while_it_is_written(database_url: str) -> None:
    """A reader waits for no writer, and sees what was committed."""
    ledger = opened(database_url)
    ledger.record_intent(change(), None)
    with ledger._database.write_transaction() as connection:
        inside(connection).record_intent(change(3), None)
        reader = opened(database_url, read_only=True)
        reader.read_chain_head()
        assert len(reader.find_audit_records(RecordFilter())) == 1
    assert len(reader.find_audit_records(RecordFilter())) == 2
    reader.close_connections()
    ledger.close_connections()


def test_a_read_sees_one_moment(database_url: str) -> None:
    """However often it reads, and whoever writes meanwhile."""
    ledger = opened(database_url)
    with ledger._database.read_transaction() as connection:
        assert not inside(connection).find_audit_records(RecordFilter())
        ledger.record_intent(change(), None)
        assert not inside(connection).find_audit_records(RecordFilter())
    assert len(ledger.find_audit_records(RecordFilter())) == 1
    ledger.close_connections()


def test_a_locked_ledger_is_unavailable_in_time(database_url: str) -> None:
    """For one that writes, not for one that reads; afterwards it works again."""
    ledger = opened(database_url)
    with locked(database_url):
        with pytest.raises(TransientError, match=r"stayed locked by another program for 0\.2 s"):
            ledger.record_intent(change(), None)
        ledger.read_chain_head()
    assert ledger.record_intent(change(), None)
    ledger.close_connections()


def test_a_new_ledger_that_is_locked_is_unavailable(postgres_url: str) -> None:
    """Its creation waits its turn like any other write."""
    store = select_backend(postgres_url, 1.0)
    with LedgerDatabase(store, read_only=False).write_transaction(), pytest.raises(TransientError, match="stayed locked"):
        opened(postgres_url)
    opened(postgres_url).close_connections()


def test_what_fails_in_the_middle_is_undone(ledger: SqlLedger) -> None:
    """All of a call, or nothing."""
    with pytest.raises(PermanentError, match="without a zone"):
        ledger.record_observed_moves([change(), change(3), replace(change(4), at=NOW.replace(tzinfo=None))])
    assert not ledger.find_audit_records(RecordFilter())


@pytest.mark.parametrize("unheard", ["fraud\0", "\ud800"], ids=["nul", "surrogate"])
def test_what_no_database_keeps_is_refused_in_words(unheard: str, ledger: SqlLedger) -> None:
    """By each kind of database alike, and before anything is kept."""
    for record in (replace(change(), model=unheard), replace(change(), reason=unheard)):
        with pytest.raises(PermanentError, match=r"NUL|no database can keep"):
            ledger.record_intent(record, None)
    assert not ledger.find_audit_records(RecordFilter())


def test_what_is_only_long_is_kept(ledger: SqlLedger) -> None:
    """Where no query searches by it."""
    ledger.record_intent(replace(change(), reason="m" * 2_000_000), None)
    assert [each.fact.reason for each in ledger.find_audit_records(RecordFilter())] == ["m" * 2_000_000]


@pytest.mark.parametrize("table", [name for name in metadata.tables if name != "contents"])
def test_rows_are_never_changed_or_deleted(table: str, ledger: SqlLedger, database_url: str) -> None:
    """The database refuses it, whoever asks, the owner too."""
    fill(ledger)
    kept = rows(database_url, table)
    assert kept
    statements = [f"UPDATE {table} SET id = id", f"DELETE FROM {table}"]
    if database_url.startswith("postgresql"):
        statements += [f"TRUNCATE {table} CASCADE"]
    for statement in statements:
        with outside(database_url) as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))
    assert rows(database_url, table) == kept


def test_every_table_is_guarded(ledger: SqlLedger, database_url: str) -> None:
    """Against changes all of them; against deletion those of the chain, since old evidence may be dropped."""
    queries = {
        "sqlite": "SELECT tbl_name, CASE WHEN sql LIKE '%BEFORE UPDATE%' THEN 'UPDATE' ELSE 'DELETE' END"
        " FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT event_object_table, event_manipulation FROM information_schema.triggers",
    }
    with outside(database_url) as connection:
        found = {tuple(row) for row in connection.exec_driver_sql(queries[connection.dialect.name])}
    assert found == {(table, verb) for table in metadata.tables for verb in ("UPDATE", "DELETE")} - {("contents", "DELETE")}
    ledger.read_chain_head()


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """By name, and with what to do."""
    opened(database_url).close_connections()
    with outside(database_url) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(PermanentError, match=r"schema 9999, which is newer than this program.*upgrade Promoter"):
        opened(database_url)
    with pytest.raises(PermanentError, match=r"schema 9999.*upgrade Promoter"):
        opened(database_url, read_only=True)


@pytest.mark.slow
def test_an_intent_survives_a_kill_right_after_it_was_made(database_url: str) -> None:
    """The row is there, open, for the next run to close."""
    process = child(database_url, Path(__file__), "die")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    ledger = opened(database_url)
    assert [record.id for record in ledger.find_open_intents()] == [int(output.split()[1])]
    ledger.close_connections()


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_share_it(database_url: str, tmp_path: Path) -> None:
    """All of them write; what only the first may record is recorded once for each model."""
    start = tmp_path / "start"
    processes = [child(database_url, start, "write") for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        start.touch()
        for process in processes:
            process.communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    ledger = opened(database_url, read_only=True)
    assert len(ledger.find_open_intents()) == 4
    assert len(ledger.find_audit_records(RecordFilter(kind=RecordKind.OBSERVED, limit=10_000))) == 2_000
    assert rows(database_url, "settled") == 2_000
    ledger.close_connections()


def test_eight_threads_lose_nothing(database_url: str) -> None:
    """Every intent has its own id and its own outcome; one delivery is accepted once."""
    ledger = SqlLedger.open(database_url)

    def work(number: int) -> tuple[list[int], int]:
        intents = [ledger.record_intent(change(number * 100 + step), None) for step in range(10)]
        for intent in intents:
            ledger.record_outcome(intent, "applied", NOW)
        return intents, sum(ledger.record_delivery(WebhookDelivery("mlflow", str(step), NOW, "e")) for step in range(5))

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, range(8)))
    assert len({intent for intents, _ in done for intent in intents}) == 80
    assert sum(accepted for _, accepted in done) == 5
    assert len(ledger.find_audit_records(RecordFilter())) == 160
    assert not ledger.find_open_intents()
    ledger.close_connections()


def test_what_only_the_first_may_record_is_compared_again_under_the_lock(database_url: str) -> None:
    """Another writer records it between the first comparison and the lock: it is not repeated, nor contradicted."""
    mine = SqlLedger.open(database_url)
    waits = waiting_for_the_lock(mine)
    calls: list[Callable[[SqlLedger, int], object]] = [
        lambda ledger, to: ledger.record_observed_moves(
            [NewAuditRecord(NOW, RecordKind.OBSERVED, "fraud", "champion", None, to)], only_first=True
        ),
        lambda ledger, to: ledger.record_last_applied(remembered({"fraud": {"champion": to}}), None, NOW, only_first=True),
        lambda ledger, _: ledger.record_revision_state("r1", RevisionState.APPLIED, NOW),
        lambda ledger, _: ledger.record_decisions([Decision("fraud", None, 1, None, None, Verdict.PASS, (), NOW)], None),
    ]
    with ThreadPoolExecutor(1) as pool:
        for call in calls:
            waits.clear()
            with locked(database_url) as connection:
                waiting = pool.submit(call, mine, 2)
                assert waits.wait(10)
                call(inside(connection), 1)
            waiting.result()
    assert [rows(database_url, table) for table in ("records", "settled", "revisions", "decisions")] == [1, 1, 1, 1]
    assert numbers(mine.read_last_known_versions()) == numbers(mine.read_last_applied()) == {"fraud": {"champion": 1}}
    mine.close_connections()


def test_opening_at_head_needs_no_migration_tool(database_url: str) -> None:
    """Its import alone would cost more than all else: commands are to start quickly."""
    opened(database_url).close_connections()
    script = (
        "import sys; from promoter.adapters.ledger import SqlLedger\n"
        f"SqlLedger.open({database_url!r}).read_chain_head(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_migrations_lead_to_the_tables_that_the_program_knows(database_url: str) -> None:
    """Nothing is left for a migration to add."""
    opened(database_url).close_connections()
    with outside(database_url) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
