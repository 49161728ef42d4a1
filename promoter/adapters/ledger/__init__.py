"""The ledger's room: the append-only record in a SQL database. SQLAlchemy and Alembic are used here and nowhere else."""

from promoter.adapters.ledger.ledger import SqlLedger

__all__ = ["SqlLedger"]
