"""What git and the registry agreed on, in SQL: a row each time that it changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.records import AliasVersions
from promoter.adapters.ledger.schema import split_in_conditions, build_equality_condition, last_applied

AppliedVersion = tuple[str, str, int | None]
"""Model, alias, version."""

UNDECLARED = 0
"""In place of a version: git stopped saying anything of the alias, and what was agreed on counts no more."""


def find_last_applied(connection: Connection, models: Collection[str] | None) -> AliasVersions:
    """What was agreed on last, by model and alias."""
    found: AliasVersions = {}
    for condition in split_in_conditions(last_applied.c.model, models):
        newest = select(func.max(last_applied.c.id)).group_by(last_applied.c.model, last_applied.c.alias)
        if condition is not None:
            newest = newest.where(condition)
        last = select(last_applied.c.model, last_applied.c.alias, last_applied.c.version).where(last_applied.c.id.in_(newest))
        for model, alias, version in connection.execute(last):
            if version != UNDECLARED:
                found.setdefault(model, {})[alias] = version
    return found


def select_new_last_applied(
    connection: Connection, news: Collection[AppliedVersion], *, only_first: bool
) -> list[AppliedVersion]:
    """The statements that say something else than the last one did; with `only_first`, where there is none."""
    known = find_last_applied(connection, {model for model, _, _ in news})
    fresh = []
    for model, alias, version in news:
        versions = known.get(model, {})
        if alias not in versions or (versions[alias] != version and not only_first):
            fresh.append((model, alias, version))
    return fresh


def insert_last_applied(chain: ChainWriter, news: Iterable[AppliedVersion], revision: str | None, at: datetime) -> None:
    """All of them."""
    common = {"revision": revision, "at": at}
    facts = ({"model": model, "alias": alias, "version": version} for model, alias, version in news)
    chain.append_entries(last_applied, (each | common for each in facts))


def find_last_applied_revision(connection: Connection, model: str, alias: str) -> str | None:
    """The revision of the last statement that was agreed on; None where there is none, or where it came from no revision."""
    of_alias = build_equality_condition((last_applied.c.model, model), (last_applied.c.alias, alias))
    stated = or_(last_applied.c.version.is_(None), last_applied.c.version != UNDECLARED)
    last = select(last_applied.c.revision).where(of_alias, stated).order_by(last_applied.c.id.desc()).limit(1)
    found: str | None = connection.scalar(last)
    return found


def was_ever_applied(connection: Connection, model: str, alias: str, version: int) -> bool:
    """Whether git and the registry ever agreed on that version."""
    condition = build_equality_condition(
        (last_applied.c.model, model), (last_applied.c.alias, alias), (last_applied.c.version, version)
    )
    return bool(connection.scalar(select(select(last_applied.c.id).where(condition).exists())))
