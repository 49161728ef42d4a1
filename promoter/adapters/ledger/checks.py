"""Checks of guards, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, func, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import split_key_conditions, guard_checks
from promoter.domain.guards import GuardCheck
from promoter.domain.verdict import Verdict

GUARD_CHECK_LIMIT = 1_000
"""Checks of one alias that are read: the newest."""


def find_guard_checks(connection: Connection, aliases: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[GuardCheck]]:
    """The newest of each alias, oldest first, by model and alias; nothing for one that was never checked."""
    found: dict[tuple[str, str], list[GuardCheck]] = {each: [] for each in aliases}
    table = guard_checks.c
    age = func.row_number().over(partition_by=(table.model, table.alias), order_by=table.id.desc()).label("age")
    for condition in split_key_conditions((table.model, table.alias), aliases):
        aged = select(table.id, age).where(condition).subquery()
        newest = select(aged.c.id).where(aged.c.age <= GUARD_CHECK_LIMIT)
        for row in connection.execute(select(guard_checks).where(table.id.in_(newest)).order_by(table.id)):
            check = GuardCheck(row.model, row.alias, row.version, row.rule, Verdict(row.verdict), row.at)
            found[row.model, row.alias].append(check)
    return found


def insert_guard_checks(chain: ChainWriter, news: Iterable[GuardCheck]) -> None:
    """All of them, in order."""
    chain.append_entries(guard_checks, map(vars, news))
