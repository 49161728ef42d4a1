"""A ledger in PostgreSQL: a server that is gone, that refuses, or that is set up otherwise."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import make_url, text

from promoter.adapters.ledger import SqlLedger
from promoter.demo.servers.mlflow import find_free_port
from promoter.domain.audit import NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from tests.support.fixtures.ledger import inside, outside
from tests.support.fixtures.postgres import SharedPostgres, new_database

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
CHANGE = NewAuditRecord(NOW, RecordKind.CHANGE, "fraud", "champion", 1, 2)


@pytest.fixture
def url(postgres_server: SharedPostgres) -> Iterator[str]:
    """A database with an empty ledger in it, on the server of the tests."""
    with new_database(postgres_server.url()) as found:
        SqlLedger.open(found).close_connections()
        yield found


def database(url: str) -> str:
    """Its name."""
    return str(make_url(url).database)


def full_text(error: BaseException) -> str:
    """All that a log could say of an error, its causes included."""
    causes = [error, *(each for each in (error.__cause__, error.__context__) if each)]
    return " ".join(f"{each} {each!r}" for each in causes)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda url: url.set(password="hunter2"), PermanentError, "authentication failed"),
        (lambda url: url.set(password=""), PermanentError, "no password supplied"),
        (lambda url: url.set(username="nobody-else"), PermanentError, "authentication failed"),
        (lambda url: url.set(database="none"), PermanentError, 'database "none" does not exist'),
        (lambda url: url.set(query={"sslmode": "require"}), PermanentError, "does not support SSL"),
        (lambda url: url.set(port=find_free_port()), TransientError, "Connection refused"),
        (lambda url: url.set(host="nowhere.invalid"), TransientError, "nowhere.invalid"),
    ],
    ids=["password", "no-password", "user", "database", "ssl", "port", "host"],
)
def test_a_server_that_lets_nobody_in_is_reported_in_words(
    wrong: Callable[..., object], kind: type[ExternalError], message: str, read_only: bool, url: str
) -> None:
    """By kind of fault, in one line, with what to do, and without the password."""
    there = make_url(url)
    wrong_url = wrong(there).render_as_string(hide_password=False)  # type: ignore[attr-defined]
    with pytest.raises(kind) as caught:
        SqlLedger.open(wrong_url, read_only=read_only)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert (caught.value.fix or "").startswith("check PROMOTER_DATABASE_URL") == (kind is PermanentError)
    assert not [secret for secret in ("hunter2", str(there.password)) if secret in full_text(caught.value)]


def _written_while_it_stops(ledger: SqlLedger, server: SharedPostgres) -> None:
    ledger.record_intent(CHANGE, None)
    server.stop()
    ledger.record_intent(CHANGE, None)


def test_a_ledger_recovers_by_itself_from_a_server_that_was_gone(url: str, postgres_server: SharedPostgres) -> None:
    """Unavailable while it is down, for readers and writers; what was being written is not there; then all goes on."""
    ledger, reader = SqlLedger.open(url), SqlLedger.open(url, read_only=True)
    ledger.record_intent(CHANGE, None)
    reader.read_chain_head()
    try:
        with pytest.raises(TransientError), ledger._database.write_transaction() as connection:
            _written_while_it_stops(inside(connection), postgres_server)
        for _ in range(2):
            with pytest.raises(TransientError, match="Connection refused"):
                ledger.record_intent(CHANGE, None)
            with pytest.raises(TransientError, match="Connection refused"):
                reader.read_chain_head()
    finally:
        postgres_server.start()
    assert len(reader.find_audit_records(RecordFilter())) == 1
    ledger.record_intent(CHANGE, None)
    assert len(reader.find_audit_records(RecordFilter())) == 2
    ledger.close_connections()
    reader.close_connections()


def test_connections_that_the_server_closed_are_no_fault(url: str, postgres_server: SharedPostgres) -> None:
    """Nothing was under way on them: new ones are made."""
    ledger = SqlLedger.open(url)
    ledger.record_intent(CHANGE, None)
    with postgres_server.superuser() as administrator:
        closed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        assert administrator.execute(closed, [database(url)]).fetchall()
    assert ledger.record_intent(CHANGE, None)
    ledger.close_connections()


@pytest.mark.parametrize(
    "broken", ["SELECT pg_terminate_backend(pg_backend_pid())", "SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)"]
)
def test_what_the_server_breaks_off_is_worth_another_try(broken: str, url: str) -> None:
    """Whatever was written before it in the same transaction is undone."""
    ledger = SqlLedger.open(url)
    with pytest.raises(TransientError), ledger._database.write_transaction() as connection:
        connection.exec_driver_sql(broken)
    assert ledger.record_intent(CHANGE, None)
    ledger.close_connections()


def test_a_server_that_takes_no_writes_is_refused_and_read(url: str) -> None:
    """A standby, or one whose administrator says so."""
    with outside(url) as connection:
        connection.execute(text(f"ALTER DATABASE {database(url)} SET default_transaction_read_only = on"))
    ledger = SqlLedger.open(url)
    with pytest.raises(PermanentError, match=r"read-only transaction.*name the primary server"):
        ledger.record_intent(CHANGE, None)
    assert not ledger.find_audit_records(RecordFilter())
    ledger.close_connections()


def test_a_text_that_is_too_long_for_an_index_is_refused(url: str) -> None:
    """Another try would end the same way, for ever."""
    ledger = SqlLedger.open(url)
    with pytest.raises(PermanentError, match="index row"):
        ledger.record_intent(replace(CHANGE, model=secrets.token_hex(100_000)), None)
    ledger.close_connections()


def test_a_commit_is_durable_and_a_writer_sees_all_whatever_the_server_has_set(url: str) -> None:
    """This one would answer before a commit is on its disk, and show a writer what was there before it had its turn."""
    ledger = SqlLedger.open(url)
    with outside(url) as connection:
        names = ("synchronous_commit", "default_transaction_isolation", "timezone")
        assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names] == [
            "off",
            "serializable",
            "Asia/Kolkata",
        ]
    with ledger._database.write_transaction() as connection:
        names = ("synchronous_commit", "transaction_isolation")
        assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names] == ["on", "read committed"]
    with outside(url) as connection:
        connection.execute(text(f"ALTER DATABASE {database(url)} SET synchronous_commit = remote_apply"))
    ledger.close_connections()
    with ledger._database.write_transaction() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "remote_apply"
    ledger.close_connections()
