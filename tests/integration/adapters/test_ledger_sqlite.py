"""A ledger in a SQLite file: one that is locked, full, foreign, forbidden or moved."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordFilter, RecordKind, RevisionState
from promoter.domain.errors import PermanentError, TransientError

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)


def opened(file: Path, *, read_only: bool = False) -> SqlLedger:
    """The ledger in that file; it waits for nobody for long."""
    return SqlLedger.open(f"sqlite:///{file}", read_only=read_only, busy_timeout=0.2)


def change(to: int = 2) -> NewAuditRecord:
    """A change."""
    return NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 1, to)


def test_an_empty_file_is_a_new_ledger(file: Path) -> None:
    """As a crash may leave it right after it was made."""
    file.touch()
    reader = opened(file, read_only=True)
    assert not reader.find_audit_records(RecordFilter())
    ledger = opened(file)
    assert ledger.record_intent(change(), None)
    ledger.close_connections()


def test_every_commit_is_synchronised_to_the_disk(file: Path) -> None:
    """A kill does not show it, a power cut would: each connection of the pool is set to write ahead and synchronise fully."""
    ledger = opened(file)
    with ledger._database.write_transaction() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    ledger.close_connections()


def test_a_file_that_another_program_keeps_for_itself_is_unavailable_in_time(file: Path) -> None:
    """For one that writes; afterwards it works again."""
    ledger = opened(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TransientError, match=r"stayed locked by another program for 0\.2 s"):
        ledger.record_intent(change(), None)
    ledger.read_chain_head()
    other.execute("ROLLBACK")
    other.close()
    assert ledger.record_intent(change(), None)
    ledger.close_connections()


def test_a_new_database_that_is_locked_is_unavailable(file: Path) -> None:
    """Its creation waits its turn like any other write, and is done as soon as it can be."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # SQLite does not wait for this lock by itself
    with pytest.raises(TransientError, match="stayed locked"):
        opened(file)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(SqlLedger.open, f"sqlite:///{file}")
        threading.Event().wait(0.1)
        assert not waiting.done()
        other.execute("ROLLBACK")
        waiting.result().close_connections()
    other.close()


def test_a_full_disk_is_unavailable(file: Path) -> None:
    """What was begun is undone; nothing is half written."""
    ledger = opened(file)

    @event.listens_for(ledger._database._engine, "checkout")
    def full(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    with pytest.raises(TransientError, match=r"full.*make room"):
        ledger.record_observed_moves(
            [NewAuditRecord(NOW, RecordKind.OBSERVED, "m" * 250, str(number), None, 1) for number in range(1_000)]
        )
    assert not ledger.find_audit_records(RecordFilter())
    ledger.close_connections()


def test_a_file_that_is_no_database_is_refused(file: Path) -> None:
    """And left as it is."""
    file.write_text("these are notes, not a database\n" * 100)
    for read_only in (False, True):
        with pytest.raises(PermanentError, match="is not a ledger"):
            opened(file, read_only=read_only)
    assert file.read_text().startswith("these are notes")


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """No such folder, a folder itself, memory only, another kind of database, no URL."""
    for url, message in (
        (f"sqlite:///{tmp_path}/none/promoter.db", "there is no folder"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        ("sqlite://", "needs a file"),
        ("mysql://alice:hunter2@host/db", "no ledger is kept in `mysql`"),
        ("hunter2", "not a database URL"),
    ):
        with pytest.raises(PermanentError, match=message) as caught:
            SqlLedger.open(url)
        assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}"


def test_a_file_without_write_permission_is_refused() -> None:
    """The child gives up root, whom no permission stops; hence a folder of its own, that others may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opened(folder / "promoter.db").close_connections()
        folder.chmod(0o555)
        process = os.fork()
        if process == 0:
            messages: list[str] = []
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                for read_only in (False, True):
                    try:
                        opened(folder / "promoter.db", read_only=read_only)
                    except PermanentError as refusal:
                        messages.append(refusal.message)
            finally:
                os._exit(len([text for text in messages if "may not be written" in text]))
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 2
        folder.chmod(0o755)


def test_a_file_that_was_moved_away_takes_no_more_writes(file: Path) -> None:
    """They would succeed, and nobody would ever read them."""
    ledger = opened(file)
    ledger.record_intent(change(), None)
    file.rename(file.with_name("elsewhere.db"))
    with pytest.raises(PermanentError, match="was moved or replaced"):
        ledger.record_intent(change(), None)
    ledger.close_connections()


def test_a_file_that_was_moved_away_is_missed_by_a_new_connection(file: Path) -> None:
    """Which is refused by SQLite itself, before any write could be."""
    ledger = opened(file)
    ledger.close_connections()
    file.rename(file.with_name("elsewhere.db"))
    with pytest.raises(PermanentError, match="was moved or replaced"):
        ledger.find_last_revision(RevisionState.APPLIED)
    file.with_name("elsewhere.db").rename(file)
    assert ledger.find_last_revision(RevisionState.APPLIED) is None
    ledger.close_connections()
