"""When tags of versions were seen, and what guards found; append-only like all the rest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("sightings", "guard_checks")

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both."""
    _sightings()
    _guard_checks()
    {"sqlite": _append_only_sqlite, "postgresql": _append_only_postgresql}[op.get_bind().dialect.name]()


def _sightings() -> None:
    op.create_table(
        "sightings",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("sightings_of", "sightings", ["model", "version", "created_at", "tag", "id"])


def _guard_checks() -> None:
    op.create_table(
        "guard_checks",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("guard_checks_of", "guard_checks", ["model", "alias", "id"])


def _append_only_sqlite() -> None:
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def _append_only_postgresql() -> None:
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        )
