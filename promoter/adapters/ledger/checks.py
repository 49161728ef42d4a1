"""Checks of guards, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, func, insert, select

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


def insert_all(connection: Connection, news: Iterable[GuardCheck]) -> None:
    """All of them, in order."""
    rows = [vars(each) | {"verdict": each.verdict.value} for each in news]
    if rows:
        connection.execute(insert(guard_checks), rows)
