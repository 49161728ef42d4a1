"""A ledger in PostgreSQL that belongs to one user, and is used by another one who may read and append only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import sql
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.postgres import render_grants_sql
from promoter.adapters.ledger.schema import VERSION_TABLE, metadata
from promoter.domain.audit import RecordFilter, RevisionState
from promoter.domain.errors import PermanentError
from tests.support.fixtures.ledger import NOW, fill, outside, rows
from tests.support.fixtures.postgres import SharedPostgres, new_database
from tests.support.remembered import numbers

PASSWORD = "d4e5f6"


@pytest.fixture
def owner(postgres_server: SharedPostgres) -> Iterator[str]:
    """A database that its owner has migrated."""
    with new_database(postgres_server.url()) as url:
        SqlLedger.open(url).close_connections()
        yield url


@pytest.fixture
def role(postgres_server: SharedPostgres, owner: str) -> Iterator[str]:
    """A user without any rights."""
    name = f"daemon-{uuid.uuid4().hex[:8]}"
    with postgres_server.superuser(str(make_url(owner).database)) as administrator:
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(PASSWORD)))
        yield name
        administrator.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        administrator.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def daemon(owner: str, role: str) -> str:
    """The database as that user names it."""
    return make_url(owner).set(username=role, password=PASSWORD).render_as_string(hide_password=False)


def grant(owner: str, statements: str) -> None:
    """As the owner does."""
    with outside(owner) as connection:
        connection.execute(text(statements))


def test_select_and_insert_are_all_that_a_daemon_needs(owner: str, role: str, daemon: str) -> None:
    """It writes rows of every table, and reads them; what it cannot do is what nobody should."""
    grant(owner, render_grants_sql(role))
    ledger = SqlLedger.open(daemon)
    fill(ledger)
    assert len(ledger.find_audit_records(RecordFilter())) == 10
    assert numbers(ledger.read_last_applied()) == {"fraud": {"champion": 8}}
    assert ledger.find_last_revision(RevisionState.APPLIED) == "r1"
    assert ledger.find_tag_observations(["fraud"])["fraud"]
    assert ledger.find_guard_checks([("fraud", "champion")])["fraud", "champion"]
    ledger.close_connections()
    assert all(rows(owner, table) for table in metadata.tables)
    tables = [*metadata.tables, VERSION_TABLE]
    refused = [f"{verb} {table}" for table in tables for verb in ("DELETE FROM", "TRUNCATE", "DROP TABLE")]
    refused += [f"UPDATE {table} SET id = id" for table in metadata.tables if table != "contents"] + [
        f"INSERT INTO {VERSION_TABLE} VALUES ('x')"
    ]
    refused += [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in metadata.tables] + ["CREATE TABLE mine (x int)"]
    for statement in refused:
        with outside(daemon) as connection, pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            connection.execute(text(statement))


def test_who_may_drop_old_evidence_may_delete_nothing_else(owner: str, role: str, daemon: str) -> None:
    """The daemon may not, and the error says so."""
    grant(owner, render_grants_sql(role))
    ledger = SqlLedger.open(daemon)
    fill(ledger)
    later = NOW + timedelta(days=1)
    with pytest.raises(PermanentError, match="may not drop evidence"):
        ledger.drop_evidence_before(later, "alice", later)
    grant(owner, render_grants_sql(role, retention=True))
    assert ledger.drop_evidence_before(later, "alice", later) == 2
    ledger.close_connections()
    refused = [f"DELETE FROM {table}" for table in metadata.tables if table != "contents"]
    for statement in (*refused, "TRUNCATE contents", "UPDATE contents SET kind = kind"):
        with outside(daemon) as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(statement))


def test_select_is_all_that_a_reader_needs(owner: str, role: str, daemon: str) -> None:
    """It cannot write, and the error says so."""
    grant(owner, render_grants_sql(role).replace("SELECT, INSERT", "SELECT"))
    for read_only in (True, False):
        ledger = SqlLedger.open(daemon, read_only=read_only)
        assert not ledger.find_audit_records(RecordFilter())
        ledger.read_chain_head()
        if not read_only:
            with pytest.raises(
                PermanentError, match=r"permission denied for table \w+ \(give the user of PROMOTER_DATABASE_URL its rights"
            ):
                fill(ledger)
        ledger.close_connections()


def test_without_its_rights_the_error_names_them(daemon: str) -> None:
    """Not that there is no ledger."""
    for read_only in (True, False):
        with pytest.raises(
            PermanentError, match=r"permission denied for table .*give the user of PROMOTER_DATABASE_URL its rights"
        ):
            SqlLedger.open(daemon, read_only=read_only)


def test_only_the_owner_migrates(postgres_server: SharedPostgres, daemon: str) -> None:
    """A database that its user may not make a ledger in is refused, in words."""
    with new_database(postgres_server.url()) as empty:
        url = make_url(daemon).set(database=make_url(empty).database).render_as_string(hide_password=False)
        with pytest.raises(PermanentError, match=r"permission denied for schema public.*give the user"):
            SqlLedger.open(url)
