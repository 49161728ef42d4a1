"""Locks by key: between threads, between processes, and after a death."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from promoter.adapters.file_locks import FileLocks, create_database_locks
from promoter.application.ports import Locks
from promoter.domain.errors import PermanentError, TransientError

CHILD = """
import pathlib, sys, time
from promoter.adapters.file_locks import FileLocks
with FileLocks(pathlib.Path(sys.argv[1])).hold("fraud"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_key_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    """Another key is free all the while; after a kill -9 the key is free at once."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        locks: Locks = FileLocks(tmp_path, timeout=0.1)
        with locks.hold("churn"):
            pass
        with pytest.raises(TransientError, match=r"'fraud' stayed held by another run for 0\.1 s"), locks.hold("fraud"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locks.hold("fraud"):
            pass
    finally:
        process.kill()
        process.communicate()


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """No two are inside at once, and each gets its turn."""
    locks = FileLocks(tmp_path / "locks")
    inside, most, turns = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(20):
            with locks.hold("fraud"):
                inside += 1
                most = max(most, inside)
                turns += 1
                threading.Event().wait(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 80)


def test_an_error_inside_frees_the_key(tmp_path: Path) -> None:
    """The next one gets it."""
    locks = FileLocks(tmp_path, timeout=0)
    with pytest.raises(ZeroDivisionError), locks.hold("fraud"):
        raise ZeroDivisionError
    with locks.hold("fraud"):
        pass


def test_a_key_is_not_re_entrant_but_others_may_be_held_along(tmp_path: Path) -> None:
    """To take the same one again is an error at once; more keys than files, in one thread, do not wait for each other."""
    locks = FileLocks(tmp_path, timeout=0)

    def nested(number: int) -> None:
        if number < 300:
            with locks.hold(f"model-{number}"):
                nested(number + 1)

    nested(0)
    with locks.hold("fraud"), pytest.raises(RuntimeError, match="holds 'fraud' already"), locks.hold("fraud"):
        pass
    assert len(list(tmp_path.iterdir())) <= 256


def test_the_locks_of_a_sqlite_file_lie_beside_it(tmp_path: Path) -> None:
    """Whichever way the file is named; nothing is created before a lock is taken."""
    (tmp_path / "link").symlink_to(tmp_path)
    locks = create_database_locks(f"sqlite:///{tmp_path}/promoter.db", timeout=0)
    assert not (tmp_path / "promoter.db.locks").exists()
    same = create_database_locks(f"sqlite+pysqlite:///{tmp_path}/link/promoter.db?timeout=3", timeout=0)
    with locks.hold("fraud"):
        with pytest.raises(RuntimeError), locks.hold("fraud"):
            pass
        blocked: list[Exception] = []

        def other() -> None:
            try:
                with same.hold("fraud"):
                    pass
            except TransientError as fault:
                blocked.append(fault)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(blocked) == 1
    assert (tmp_path / "promoter.db.locks").is_dir()


def test_other_databases_are_locked_on_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their address, whoever logs in; in a folder that is nobody else's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, two = (
        create_database_locks("postgresql://alice:hunter2@db/promoter"),
        create_database_locks("postgresql://bob@db/promoter?sslmode=require"),
    )
    assert one._folder == two._folder
    assert create_database_locks("postgresql://alice@db/other")._folder != one._folder
    assert one._folder.stat().st_mode & 0o777 == 0o700
    one._folder.rmdir()
    one._folder.symlink_to(tmp_path)
    with pytest.raises(PermanentError, match="belongs to somebody else"):
        create_database_locks("postgresql://alice:hunter2@db/promoter")
    with pytest.raises(PermanentError) as caught:
        create_database_locks("postgresql://alice:hunter2@db:port/promoter")
    assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """In words."""
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="cannot open"), FileLocks(tmp_path / "file").hold("fraud"):
        pass
