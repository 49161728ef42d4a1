"""What git and the registry agreed on, in SQL: a row each time that it changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.records import Places
from promoter.adapters.ledger.schema import among, same, settled

Statement = tuple[str, str, int | None]
"""Model, alias, version."""

UNSTATED = 0
"""In place of a version: git stopped saying anything of the alias, and what was agreed on counts no more."""


def last_settled(connection: Connection, models: Collection[str] | None) -> Places:
    """What was agreed on last, by model and alias."""
    found: Places = {}
    for condition in among(settled.c.model, models):
        newest = select(func.max(settled.c.id)).group_by(settled.c.model, settled.c.alias)
        if condition is not None:
            newest = newest.where(condition)
        last = select(settled.c.model, settled.c.alias, settled.c.version).where(settled.c.id.in_(newest))
        for model, alias, version in connection.execute(last):
            if version != UNSTATED:
                found.setdefault(model, {})[alias] = version
    return found


def not_yet_settled(connection: Connection, news: Collection[Statement], *, only_first: bool) -> list[Statement]:
    """The statements that say something else than the last one did; with `only_first`, where there is none."""
    known = last_settled(connection, {model for model, _, _ in news})
    fresh = []
    for model, alias, version in news:
        said = known.get(model, {})
        if alias not in said or (said[alias] != version and not only_first):
            fresh.append((model, alias, version))
    return fresh


def insert_settled(chain: Chain, news: Iterable[Statement], revision: str | None, at: datetime) -> None:
    """All of them."""
    common = {"revision": revision, "at": at}
    told = ({"model": model, "alias": alias, "version": version} for model, alias, version in news)
    chain.append_all(settled, (each | common for each in told))


def last_agreement(connection: Connection, model: str, alias: str) -> str | None:
    """The revision of the last statement that was agreed on; None where there is none, or where it came from no revision."""
    of_alias = same((settled.c.model, model), (settled.c.alias, alias))
    stated = or_(settled.c.version.is_(None), settled.c.version != UNSTATED)
    last = select(settled.c.revision).where(of_alias, stated).order_by(settled.c.id.desc()).limit(1)
    found: str | None = connection.scalar(last)
    return found


def settled_on(connection: Connection, model: str, alias: str, version: int) -> bool:
    """Whether git and the registry ever agreed on that version."""
    said = same((settled.c.model, model), (settled.c.alias, alias), (settled.c.version, version))
    return bool(connection.scalar(select(select(settled.c.id).where(said).exists())))
