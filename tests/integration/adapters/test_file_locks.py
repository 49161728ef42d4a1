"""Locks by key: between threads, between processes, and after a death."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from promoter.adapters.file_locks import FileLocks, find_lock_folder
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


def test_the_locks_of_a_sqlite_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way the file is named, and whatever TMPDIR says; nothing is created before a lock is taken."""
    (tmp_path / "link").symlink_to(tmp_path)
    folder = tmp_path / "promoter.db.locks"
    monkeypatch.chdir(tmp_path)
    for temporary in ("one", "two"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / temporary))
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert find_lock_folder(f"sqlite:///{tmp_path}/promoter.db") == folder
        assert find_lock_folder(f"sqlite+pysqlite:///{tmp_path}/link/promoter.db?timeout=3") == folder
        assert find_lock_folder("sqlite:///promoter.db") == folder
    assert not folder.exists()
    with FileLocks(folder).hold("fraud"):
        assert folder.is_dir()


def test_no_other_database_has_locks_in_a_folder() -> None:
    """A folder excludes the programs of one host only, and such a ledger is reached from many."""
    assert find_lock_folder("postgresql://alice:hunter2@db/promoter") is None
    assert find_lock_folder("postgresql+psycopg:///promoter?host=/run/postgresql") is None


def test_a_lock_whose_file_was_removed_is_lost(tmp_path: Path) -> None:
    """Somebody who clears the folder lets others in: whoever checks the lock again learns of it."""
    locks = FileLocks(tmp_path)
    with locks.hold("fraud"):
        locks.require_held("fraud")
        (lock,) = tmp_path.iterdir()
        lock.unlink()
        with pytest.raises(TransientError, match="somebody has removed"):
            locks.require_held("fraud")
        lock.touch()
        with pytest.raises(TransientError, match="'fraud' was lost"):
            locks.require_held("fraud")
    with pytest.raises(RuntimeError, match="does not hold 'fraud'"):
        locks.require_held("fraud")


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """In words."""
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="cannot open"), FileLocks(tmp_path / "file").hold("fraud"):
        pass


def test_the_lock_of_revisions_shares_no_file(tmp_path: Path) -> None:
    """Whatever model another thread holds, it can be taken: those who hold a model wait for it too."""
    locks = FileLocks(tmp_path, timeout=0.2)
    own = sha256(b"/revisions").hexdigest()[:2]
    model = next(name for number in count() if sha256((name := f"m{number}").encode()).hexdigest()[:2] == own)
    taken: list[str] = []

    def take() -> None:
        with locks.hold("/revisions"):
            taken.append("/revisions")

    with locks.hold(model):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(10)
    assert taken == ["/revisions"]
