"""Dispatches: what became of each event on each channel. Rows are only ever added here, too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDICES = {
    "dispatches_of": "channel event id",
    "dispatches_in": "state channel id",
    "dispatches_since": "channel id",
    "dispatches_upto": "channel entry",
}


def upgrade() -> None:
    """The table, what it is searched by, and its guards."""
    op.create_table(
        "dispatches",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("entry", _ID, nullable=False),
        sa.Column("event", sa.Text),
        sa.Column("attempts", _ID, nullable=False),
        sa.Column("since", sa.Text),
        sa.Column("due", sa.Text),
        sa.Column("detail", sa.Text),
    )
    for name, columns in _INDICES.items():
        op.create_index(name, "dispatches", columns.split())
    {"sqlite": _append_only_sqlite, "postgresql": _append_only_postgresql}[op.get_bind().dialect.name]()


def _append_only_sqlite() -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER dispatches_no_{verb.lower()} BEFORE {verb} ON dispatches "
            f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )


def _append_only_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER dispatches_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON dispatches "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
    )
