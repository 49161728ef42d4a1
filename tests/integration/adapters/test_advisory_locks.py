"""Locks by key in PostgreSQL: between threads, processes and hosts, after a death, and after a lost connection."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.locks import AdvisoryLocks
from promoter.application.ports import Locks
from promoter.domain.errors import PermanentError, TransientError
from tests.support.stage.stage import until
from tests.support.transaction_pooler import TransactionPooler

pytestmark = pytest.mark.slow

CHILD = """
import sys
from promoter.adapters.ledger.locks import AdvisoryLocks
with AdvisoryLocks.open(sys.argv[1], lambda: "one").hold("fraud"):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLDERS = "SELECT DISTINCT l.pid FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted"


def open_locks(url: str, ledger: str = "one", group: str = "", timeout: float = 0.2) -> AdvisoryLocks:
    """Those of a ledger with that name."""
    return AdvisoryLocks.open(url, lambda: ledger, group, timeout=timeout)


@pytest.fixture
def locks(postgres_url: str) -> Iterator[AdvisoryLocks]:
    """Of a program that waits for a moment only."""
    found = open_locks(postgres_url)
    yield found
    found.close_connections()


def run_elsewhere(act: Callable[[], None]) -> list[Exception]:
    """Run it in another thread; what it raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  # the caller looks at it
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def take(locks: Locks, key: str = "fraud") -> Callable[[], None]:
    """Take the key, and give it back."""

    def act() -> None:
        with locks.hold(key):
            locks.require_held(key)

    return act


def count_holders(url: str) -> int:
    """How many connections hold an advisory lock of that database."""
    with psycopg.connect(url) as connection:
        return len(connection.execute(HOLDERS).fetchall())


def cut_holders(url: str) -> None:
    """End every connection that holds a lock, as a server does that restarts."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({HOLDERS}) AS holders")
    until(lambda: count_holders(url) == 0, "nobody holds a lock")


def test_a_key_is_held_by_one_process_and_freed_by_its_death(postgres_url: str, locks: AdvisoryLocks) -> None:
    """Another key is free all the while; a stopped holder goes on holding, and whoever waits in vain reads who it is."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, postgres_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        child.send_signal(signal.SIGSTOP)
        take(locks, "churn")()
        with pytest.raises(TransientError, match=rf"'fraud' stayed held by another run \(promoter {child.pid}@.*\) for 0\.2 s"):
            take(locks)()
        child.send_signal(signal.SIGKILL)
        child.wait()
        until(lambda: count_holders(postgres_url) == 0, "the server has noticed")
        take(locks)()
    finally:
        child.kill()
        child.communicate()


def test_threads_exclude_each_other_and_an_error_frees_the_key(postgres_url: str) -> None:
    """No two are inside at once, each gets its turn, and what one thread raised keeps nobody out."""
    locks = open_locks(postgres_url, timeout=30)
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
            with pytest.raises(ZeroDivisionError), locks.hold("fraud"):
                raise ZeroDivisionError

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locks.close_connections()
    assert (most, turns) == (1, 80)
    assert count_holders(postgres_url) == 0


def test_one_thread_has_one_connection_for_all_that_it_holds(postgres_url: str, locks: AdvisoryLocks) -> None:
    """So that there are never more of them than workers; the same key twice in one thread is an error at once."""
    with locks.hold("fraud"), locks.hold("churn"):
        assert count_holders(postgres_url) == 1
        locks.require_held("fraud")
        locks.require_held("churn")
        with pytest.raises(RuntimeError, match="holds 'fraud' already"), locks.hold("fraud"):
            pass
        assert len(run_elsewhere(take(locks, "churn"))) == 1
    with pytest.raises(RuntimeError, match="does not hold 'fraud'"):
        locks.require_held("fraud")
    assert count_holders(postgres_url) == 0


def test_two_ledgers_in_one_database_and_two_groups_do_not_collide(postgres_url: str, locks: AdvisoryLocks) -> None:
    """The lock's number is made of the ledger's name, the group and the key, whoever logs in and from wherever."""
    with locks.hold("fraud"):
        assert not run_elsewhere(take(open_locks(postgres_url, "two")))
        assert not run_elsewhere(take(open_locks(postgres_url, group="channels")))
        assert len(run_elsewhere(take(open_locks(f"{postgres_url}?application_name=other")))) == 1


def test_a_lock_whose_connection_ended_is_lost(postgres_url: str, locks: AdvisoryLocks) -> None:
    """The check finds it, nothing takes another lock on the same footing, others get the key, and later all is well again."""
    with locks.hold("fraud"):
        locks.require_held("fraud")
        cut_holders(postgres_url)
        for _ in range(2):
            with pytest.raises(TransientError, match="the lock of 'fraud' was lost"):
                locks.require_held("fraud")
        with pytest.raises(TransientError, match="the lock of 'fraud' was lost"):
            take(locks, "churn")()
        other = open_locks(postgres_url)
        assert not run_elsewhere(take(other))
    take(locks)()


def test_a_lost_connection_is_noticed_while_another_key_is_taken(postgres_url: str, locks: AdvisoryLocks) -> None:
    """Neither key counts as held then."""
    with locks.hold("fraud"):
        cut_holders(postgres_url)
        with pytest.raises(TransientError):
            take(locks, "churn")()
        with pytest.raises(TransientError, match="'fraud' was lost"):
            locks.require_held("fraud")
    take(locks)()


def test_a_database_that_cannot_be_reached_is_named_without_its_password() -> None:
    """As everywhere else."""
    locks = open_locks("postgresql://alice:hunter2@127.0.0.1:1/promoter")
    with pytest.raises(TransientError) as caught, locks.hold("fraud"):
        pass
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"
    with pytest.raises(PermanentError, match="only PostgreSQL"):
        open_locks("sqlite:///promoter.db")


def test_a_writer_that_is_stopped_in_mid_transaction_stops_nobody_for_long(
    migrated_postgres_url: str,
) -> None:
    """The server ends its transaction before another writer's patience does."""
    program = (
        "import sys; from promoter.adapters.ledger import SqlLedger\n"
        "with SqlLedger.open(sys.argv[1])._database.append_transaction():\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, migrated_postgres_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        assert child.stdout.readline() == "in\n"
        child.send_signal(signal.SIGSTOP)
        ledger = SqlLedger.open(migrated_postgres_url)
        with ledger._database.append_transaction():
            pass
        ledger.close_connections()
    finally:
        child.kill()
        child.communicate()


def test_a_pooler_in_transaction_mode_is_refused(postgres_url: str) -> None:
    """Two sessions behind it may be one server process, to which a lock that it has already is free."""
    with TransactionPooler(postgres_url) as pooler:
        parts = make_url(postgres_url).set(port=pooler.port)
        locks = open_locks(parts.render_as_string(hide_password=False))
        for _ in range(2):
            with pytest.raises(PermanentError, match="pooler in transaction mode, in which no lock holds"), locks.hold("fraud"):
                pass
        locks.close_connections()
    assert count_holders(postgres_url) == 0
