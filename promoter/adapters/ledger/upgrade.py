"""Opens the ledger's database, and brings its schema up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from promoter.adapters.ledger.database import LedgerDatabase
from promoter.adapters.ledger.schema import SCHEMA_REVISION
from promoter.adapters.ledger.store import LEDGER, DatabaseBackend
from promoter.domain.faults import PermanentError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"


def open_for_writing(backend: DatabaseBackend) -> LedgerDatabase:
    """Create what is not there, and migrate. Programs that start at once take turns; the first one does the work."""
    backend.prepare_database()
    database = LedgerDatabase(backend, read_only=False)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
        if found != SCHEMA_REVISION:
            _migrate_schema(database)
    except BaseException:
        database.close_connections()
        raise
    return database


def open_for_reading(backend: DatabaseBackend) -> LedgerDatabase:
    """Change nothing; a ledger that nobody has written yet is an empty one."""
    database = LedgerDatabase(backend, read_only=True)
    try:
        with database.read_transaction() as connection:
            found = database.find_schema_version(connection)
    except BaseException:
        database.close_connections()
        raise
    if found in (None, SCHEMA_REVISION):
        return database if found else database.replace_with_empty()
    database.close_connections()
    older = found in _list_known_revisions()
    fix = "let a command that writes, such as `promoter apply`, migrate it" if older else "upgrade Promoter"
    raise PermanentError(LEDGER, f"{database.location} has schema {found}, this program reads {SCHEMA_REVISION}", fix)


def _migrate_schema(database: LedgerDatabase, to: str = "head") -> None:
    from alembic import command

    config = _build_alembic_config()
    with database.write_transaction() as connection:
        found = database.find_schema_version(connection)
        if found is not None and found not in _list_known_revisions():
            newer = f"{database.location} has schema {found}, which is newer than this program ({SCHEMA_REVISION})"
            raise PermanentError(LEDGER, newer, "upgrade Promoter")
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _build_alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _list_known_revisions() -> frozenset[str]:
    """The revisions that this program has a step for."""
    from alembic.script import ScriptDirectory

    return frozenset(step.revision for step in ScriptDirectory.from_config(_build_alembic_config()).walk_revisions())
