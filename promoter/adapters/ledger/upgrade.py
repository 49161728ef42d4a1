"""Opens the ledger's database, and brings its schema up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.schema import SCHEMA
from promoter.adapters.ledger.store import LEDGER, Store
from promoter.domain.faults import Refused

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"


def open_to_write(store: Store) -> Database:
    """Create what is not there, and migrate. Programs that start at once take turns; the first one does the work."""
    store.prepare()
    database = Database(store, read_only=False)
    try:
        with database.read() as connection:
            found = database.version(connection)
        if found != SCHEMA:
            _migrate(database)
    except BaseException:
        database.dispose()
        raise
    return database


def open_to_read(store: Store) -> Database:
    """Change nothing; a ledger that nobody has written yet is an empty one."""
    database = Database(store, read_only=True)
    try:
        with database.read() as connection:
            found = database.version(connection)
    except BaseException:
        database.dispose()
        raise
    if found in (None, SCHEMA):
        return database if found else database.emptied()
    database.dispose()
    older = found in _known()
    fix = "let a command that writes, such as `promoter apply`, migrate it" if older else "upgrade Promoter"
    raise Refused(LEDGER, f"{database.place} has schema {found}, this program reads {SCHEMA}", fix)


def _migrate(database: Database, to: str = "head") -> None:
    from alembic import command

    config = _config()
    with database.write() as connection:
        found = database.version(connection)
        if found is not None and found not in _known():
            newer = f"{database.place} has schema {found}, which is newer than this program ({SCHEMA})"
            raise Refused(LEDGER, newer, "upgrade Promoter")
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _known() -> frozenset[str]:
    """The revisions that this program has a step for."""
    from alembic.script import ScriptDirectory

    return frozenset(step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions())
