"""The ledger's file: opening, durability, and many writers at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import VERSION_TABLE, metadata
from promoter.domain.audit import Delivery, Kind, NewRecord, RecordFilter, RevisionState
from promoter.domain.verdict import Decision, Verdict

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)

CHILD = """
import os, pathlib, signal, sys, time
from datetime import UTC, datetime
from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import Kind, NewRecord
url, start, deed = sys.argv[1:]
print("ready", flush=True)
while not pathlib.Path(start).exists():
    time.sleep(0.001)
ledger = SqlLedger.open(url)
record = NewRecord(datetime.now(UTC), Kind.CHANGE, "fraud", "champion", 1, 2)
if deed == "die":
    print(ledger.intend(record, None), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
ledger.intend(record, None)
names = [f"m{i}" for i in range(2000)]
ledger.observe([NewRecord(record.at, Kind.OBSERVED, name, "champion", None, os.getpid()) for name in names], only_first=True)
ledger.settle({name: {"champion": os.getpid()} for name in names}, None, record.at, only_first=True)
"""


def opened(file: Path, *, read_only: bool = False) -> SqlLedger:
    """The ledger in that file; it waits for nobody for long."""
    return SqlLedger.open(f"sqlite:///{file}", read_only=read_only, busy_timeout=0.2)


def change(to: int = 2) -> NewRecord:
    """A change."""
    return NewRecord(NOW, Kind.CHANGE, "fraud", "champion", 1, to)


class _Joined:
    """A database whose every transaction is the one that is open already."""

    def __init__(self, connection: Connection) -> None:
        self.read = self.write = lambda: nullcontext(connection)


def child(file: Path, start: Path, deed: str) -> subprocess.Popen[str]:
    """A process that opens the ledger as soon as the file `start` is there."""
    command = [sys.executable, "-c", CHILD, f"sqlite:///{file}", str(start), deed]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_an_intent_survives_a_kill_right_after_it_was_made(file: Path) -> None:
    """The row is there, open, for the next run to close."""
    process = child(file, file.parent, "die")
    told, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    ledger = opened(file)
    assert [record.id for record in ledger.open_intents()] == [int(told.split()[1])]
    ledger.dispose()


def test_every_commit_is_synchronised_to_the_disk(file: Path) -> None:
    """A kill does not show it, a power cut would: each connection of the pool is set to write ahead and synchronise fully."""
    ledger = opened(file)
    with ledger._database.write() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    ledger.dispose()


def test_processes_that_open_a_new_database_at_once_share_it(file: Path) -> None:
    """All of them write; what only the first may say is said once for each model."""
    start = file.with_name("start")
    processes = [child(file, start, "write") for _ in range(4)]
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
    ledger = opened(file, read_only=True)
    assert len(ledger.open_intents()) == 4
    assert len(ledger.records(RecordFilter(kind=Kind.OBSERVED, limit=10_000))) == 2_000
    with ledger._database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM settled").scalar() == 2_000
    ledger.dispose()


def test_eight_threads_lose_nothing(file: Path) -> None:
    """Every intent has its own id and its own outcome; one delivery is accepted once."""
    ledger = SqlLedger.open(f"sqlite:///{file}")

    def work(number: int) -> tuple[list[int], int]:
        intents = [ledger.intend(change(number * 100 + step), None) for step in range(10)]
        for intent in intents:
            ledger.close(intent, "applied", NOW)
        return intents, sum(ledger.deliver(Delivery("mlflow", str(step), NOW, "e")) for step in range(5))

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, range(8)))
    assert len({intent for intents, _ in done for intent in intents}) == 80
    assert sum(accepted for _, accepted in done) == 5
    assert len(ledger.records(RecordFilter())) == 160
    assert not ledger.open_intents()
    ledger.dispose()


def test_what_only_the_first_may_say_is_looked_up_again_under_the_lock(file: Path) -> None:
    """Somebody else says it between the first look and the lock: it is not said twice, nor contradicted."""
    mine, theirs = SqlLedger.open(f"sqlite:///{file}"), opened(file)
    looked = threading.Event()

    checkouts = 0

    @event.listens_for(mine._database._engine, "checkout")
    def checked_out(*_: object) -> None:
        nonlocal checkouts
        checkouts += 1  # one to look, one to write
        if checkouts % 2 == 0:
            looked.set()

    calls: list[Callable[[SqlLedger, int], object]] = [
        lambda ledger, to: ledger.observe([NewRecord(NOW, Kind.OBSERVED, "fraud", "champion", None, to)], only_first=True),
        lambda ledger, to: ledger.settle({"fraud": {"champion": to}}, None, NOW, only_first=True),
        lambda ledger, _: ledger.mark_revision("r1", RevisionState.APPLIED, NOW),
        lambda ledger, _: ledger.decide([Decision("fraud", None, 1, None, None, Verdict.PASS, (), NOW)], None),
    ]
    with ThreadPoolExecutor(1) as pool:
        for call in calls:
            looked.clear()
            with theirs._database.write() as connection:
                waiting = pool.submit(call, mine, 2)
                assert looked.wait(10)
                # What `theirs` says in the transaction that it holds, told to the ledger as if it were one of its own.
                call(SqlLedger(_Joined(connection)), 1)  # type: ignore[arg-type]
            waiting.result()
    with theirs._database.read() as connection:
        tables = ("records", "settled", "revisions", "decisions")
        assert [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in tables] == [1, 1, 1, 1]
    assert mine.last_known() == mine.settled() == {"fraud": {"champion": 1}}
    mine.dispose()
    theirs.dispose()


def test_opening_at_head_needs_no_migration_tool(file: Path) -> None:
    """Its import alone would cost more than all else: commands are to start quickly."""
    opened(file).dispose()
    script = (
        "import sys; from promoter.adapters.ledger import SqlLedger\n"
        f"SqlLedger.open('sqlite:///{file}').ping(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_migrations_lead_to_the_tables_that_the_program_knows(file: Path) -> None:
    """Nothing is left for a migration to add."""
    opened(file).dispose()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
