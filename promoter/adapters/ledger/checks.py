"""Checks of guards, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, func, select

from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.schema import among_all, guard_checks
from promoter.domain.guards import GuardCheck
from promoter.domain.verdict import Verdict

LIMIT = 1_000
"""Checks of one alias that are read: the newest."""


def find(connection: Connection, asked: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[GuardCheck]]:
    """The newest of each alias, oldest first, by model and alias; nothing for one that was never checked."""
    found: dict[tuple[str, str], list[GuardCheck]] = {each: [] for each in asked}
    table = guard_checks.c
    age = func.row_number().over(partition_by=(table.model, table.alias), order_by=table.id.desc()).label("age")
    for condition in among_all((table.model, table.alias), asked):
        aged = select(table.id, age).where(condition).subquery()
        newest = select(aged.c.id).where(aged.c.age <= LIMIT)
        for row in connection.execute(select(guard_checks).where(table.id.in_(newest)).order_by(table.id)):
            check = GuardCheck(row.model, row.alias, row.version, row.rule, Verdict(row.verdict), row.at)
            found[row.model, row.alias].append(check)
    return found


def insert_all(chain: Chain, news: Iterable[GuardCheck]) -> None:
    """All of them, in order."""
    chain.append_all(guard_checks, map(vars, news))
