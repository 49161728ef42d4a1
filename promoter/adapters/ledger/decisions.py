"""Decisions in SQL, with the evidence behind them; what was said last is not said again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from promoter.adapters.ledger.schema import decisions, same
from promoter.domain.audit import RecordedDecision
from promoter.domain.verdict import Decision

Key = tuple[str, str | None, int]
Digested = tuple[Decision, str]

_CHUNK = 400
_PAGE = 100
_MANY = 1_000


def digested(news: Iterable[Decision]) -> list[Digested]:
    """Each with its digest, which takes longer than to look it up."""
    return [(decision, decision.digest()) for decision in news]


def insert_once(connection: Connection, decision: Decision, revision: str | None) -> int:
    """The id of its row: the last one of its model, alias and version, where that says the same."""
    digest = decision.digest()
    of_key = same(*zip((decisions.c.model, decisions.c.alias, decisions.c.version), _key(decision), strict=True))
    query = select(decisions.c.id, decisions.c.digest).where(of_key).order_by(decisions.c.id.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    if last is not None and last.digest == digest:
        return int(last.id)
    key = connection.execute(insert(decisions).values(_row(decision, digest, revision))).inserted_primary_key
    return int(key[0]) if key else 0


def insert_all(connection: Connection, news: Iterable[Digested], revision: str | None) -> None:
    """All of them, in order."""
    rows = [_row(decision, digest, revision) for decision, digest in news]
    if rows:
        connection.execute(insert(decisions), rows)


def not_said_last(connection: Connection, news: Iterable[Digested]) -> list[Digested]:
    """Those that say something else than the one before them, of their model, alias and version."""
    fresh: list[Digested] = []
    waiting = iter(news)
    said: dict[Key, str] = {}
    while part := list(islice(waiting, _CHUNK)):
        said = _last_digests(connection, [_key(decision) for decision, _ in part]) | said
        for decision, digest in part:
            if said.get(_key(decision)) != digest:
                fresh.append((decision, digest))
            said[_key(decision)] = digest
    return fresh


def find(connection: Connection, model: str | None, alias: str | None, limit: int) -> list[RecordedDecision]:
    """The newest first."""
    ids = select(decisions.c.id).order_by(decisions.c.id.desc()).limit(limit)
    if model is not None:
        ids = ids.where(decisions.c.model == model)
    if alias is not None:
        ids = ids.where(decisions.c.alias == alias)
    # Trees are large: they are read once it is known which ones.
    query = select(decisions).where(decisions.c.id.in_(ids)).order_by(decisions.c.id.desc())
    return [_recorded(row) for row in connection.execute(query)]


def evidenced(connection: Connection, models: Collection[str] | None) -> Iterator[RecordedDecision]:
    """All that have evidence, the oldest first, few of them in memory at a time."""
    wanted = None if models is None else frozenset(models)
    query = select(decisions).where(decisions.c.evidence.is_not(None)).order_by(decisions.c.id)
    if wanted is not None and len(wanted) <= _MANY:
        # The ids are what is sorted, not the rows, whose trees are large.
        query = query.where(decisions.c.id.in_(select(decisions.c.id).where(decisions.c.model.in_(sorted(wanted)))))
        wanted = None
    for row in connection.execute(query, execution_options={"yield_per": _PAGE}):
        if wanted is None or row.model in wanted:
            yield _recorded(row)


def _recorded(row: Row[Any]) -> RecordedDecision:
    return RecordedDecision(row.id, row.at, row.revision, row.tree, row.evidence)


def _last_digests(connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    columns = (decisions.c.model, decisions.c.alias, decisions.c.version)
    models, versions = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    newest = select(func.max(decisions.c.id)).where(columns[0].in_(models), columns[2].in_(versions)).group_by(*columns)
    rows = connection.execute(select(*columns, decisions.c.digest).where(decisions.c.id.in_(newest)))
    return {(row.model, row.alias, row.version): row.digest for row in rows}


def _key(decision: Decision) -> Key:
    return decision.model, decision.alias, decision.version


def _row(decision: Decision, digest: str, revision: str | None) -> dict[str, Any]:
    return {
        "at": decision.at,
        "model": decision.model,
        "alias": decision.alias,
        "version": decision.version,
        "policy": decision.policy,
        "digest": digest,
        "revision": revision,
        "tree": decision.as_json(),
        "evidence": decision.evidence.as_json() if decision.evidence else None,
    }
