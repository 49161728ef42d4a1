"""Decisions in SQL, with the evidence behind them; what was said last is not said again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from promoter import __version__
from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.contents import Content, found, insert_new
from promoter.adapters.ledger.schema import contents, decisions, records, same
from promoter.domain.audit import RecordedDecision
from promoter.domain.evidence import Evidence
from promoter.domain.verdict import Decision

Key = tuple[str, str | None, int]
Digested = tuple[Decision, str]

_CHUNK = 400
_PAGE = 100
_MANY = 1_000
_WHOLE: Sequence[Column[Any]] = (decisions.c.id, decisions.c.body, decisions.c.hash)


def digested(news: Iterable[Decision]) -> list[Digested]:
    """Each with its digest, which takes longer than to look it up."""
    return [(decision, decision.digest()) for decision in news]


def insert_once(chain: Chain, decision: Decision, revision: str | None, trigger: str | None = None) -> int:
    """The number of its entry: the last one of its model, alias and version, where that says the same."""
    digest = decision.digest()
    of_key = same(*zip((decisions.c.model, decisions.c.alias, decisions.c.version), _key(decision), strict=True))
    query = select(decisions.c.id, decisions.c.digest, decisions.c.gate).where(of_key).order_by(decisions.c.id.desc()).limit(1)
    last = chain.connection.execute(query).one_or_none()
    if last is not None and (last.digest, bool(last.gate)) == (digest, decision.gate):
        return int(last.id)
    _keep(chain, [decision])
    return chain.append(decisions, _facts(decision, digest, revision, trigger))


def insert_all(chain: Chain, news: Iterable[Digested], revision: str | None, trigger: str | None = None) -> None:
    """All of them, in order."""
    waiting = iter(news)
    while part := list(islice(waiting, _CHUNK)):
        _keep(chain, [decision for decision, _ in part])
        chain.append_all(decisions, (_facts(decision, digest, revision, trigger) for decision, digest in part))


def not_said_last(connection: Connection, news: Iterable[Digested]) -> list[Digested]:
    """Those that say something else than the one before them, of their model, alias and version."""
    fresh: list[Digested] = []
    waiting = iter(news)
    said: dict[Key, tuple[str, bool]] = {}
    while part := list(islice(waiting, _CHUNK)):
        said = _last_digests(connection, [_key(decision) for decision, _ in part]) | said
        for decision, digest in part:
            if said.get(_key(decision)) != (digest, decision.gate):
                fresh.append((decision, digest))
            said[_key(decision)] = digest, decision.gate
    return fresh


def find_one(connection: Connection, number: int) -> RecordedDecision | None:
    """The decision of that number, or the one behind the record of that number."""
    behind = connection.scalar(select(records.c.decision).where(records.c.id == number))
    rows = connection.execute(select(*_WHOLE).where(decisions.c.id == (behind or number)))
    return next(_recorded(connection, rows), None)


def find(connection: Connection, model: str | None, alias: str | None, limit: int) -> list[RecordedDecision]:
    """The newest first."""
    ids = select(decisions.c.id).order_by(decisions.c.id.desc()).limit(limit)
    if model is not None:
        ids = ids.where(decisions.c.model == model)
    if alias is not None:
        ids = ids.where(decisions.c.alias == alias)
    # Trees are large: they are read once it is known which ones.
    query = select(*_WHOLE).where(decisions.c.id.in_(ids)).order_by(decisions.c.id.desc())
    return list(_recorded(connection, connection.execute(query)))


def evidenced(connection: Connection, models: Collection[str] | None) -> Iterator[RecordedDecision]:
    """All whose evidence is there, the oldest first, few of them in memory at a time."""
    wanted = None if models is None else frozenset(models)
    query = select(*_WHOLE).where(decisions.c.evidence.in_(select(contents.c.digest))).order_by(decisions.c.id)
    if wanted is not None and len(wanted) <= _MANY:
        # The ids are what is sorted, not the rows, whose trees are large.
        query = query.where(decisions.c.id.in_(select(decisions.c.id).where(decisions.c.model.in_(sorted(wanted)))))
        wanted = None
    for recorded in _recorded(connection, connection.execute(query, execution_options={"yield_per": _PAGE})):
        if wanted is None or recorded.tree["model"] in wanted:
            yield recorded


def every(connection: Connection) -> Iterator[RecordedDecision]:
    """All, the oldest first, few of them in memory at a time."""
    query = select(*_WHOLE).order_by(decisions.c.id)
    yield from _recorded(connection, connection.execute(query, execution_options={"yield_per": _PAGE}))


def _recorded(connection: Connection, rows: Iterable[Row[Any]]) -> Iterator[RecordedDecision]:
    waiting = iter(rows)
    while part := list(islice(waiting, _PAGE)):
        said = [(row, json.loads(row.body)) for row in part]
        texts = found(connection, {each["evidence"] for _, each in said if "evidence" in each})
        for row, each in said:
            evidence = texts.get(each.get("evidence", ""))
            yield RecordedDecision(
                id=row.id,
                at=datetime.fromisoformat(each["at"]),
                revision=each.get("revision"),
                tree=each["tree"],
                evidence=json.loads(evidence) if evidence else None,
                evidence_digest=each.get("evidence"),
                approvers=each.get("approvers"),
                gate=bool(each.get("gate")),
                trigger=each.get("trigger"),
                tool=each.get("tool"),
                hash=row.hash,
                purpose=each.get("purpose"),
            )


def _last_digests(connection: Connection, keys: Sequence[Key]) -> dict[Key, tuple[str, bool]]:
    columns = (decisions.c.model, decisions.c.alias, decisions.c.version)
    models, versions = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    newest = select(func.max(decisions.c.id)).where(columns[0].in_(models), columns[2].in_(versions)).group_by(*columns)
    rows = connection.execute(select(*columns, decisions.c.digest, decisions.c.gate).where(decisions.c.id.in_(newest)))
    return {(row.model, row.alias, row.version): (row.digest, bool(row.gate)) for row in rows}


def _key(decision: Decision) -> Key:
    return decision.model, decision.alias, decision.version


def _keep(chain: Chain, news: Iterable[Decision]) -> None:
    """What they stand on, where it is not there yet."""
    texts: list[Content] = []
    for decision in news:
        basis = decision.basis
        texts += [Content("evidence", _told(decision.evidence))] if decision.evidence else []
        texts += [Content("policy", basis.policy)] if basis else []
        texts += [Content("approvers", basis.approvers)] if basis and basis.approvers is not None else []
    insert_new(chain.connection, texts)


def _facts(decision: Decision, digest: str, revision: str | None, trigger: str | None) -> dict[str, Any]:
    approvers = decision.basis.approvers if decision.basis else None
    return {
        "at": decision.at,
        "model": decision.model,
        "alias": decision.alias,
        "version": decision.version,
        "policy": decision.policy,
        "policy_digest": decision.policy_digest,
        "approvers": Content("approvers", approvers).digest if approvers is not None else None,
        "digest": digest,
        "gate": decision.gate,
        "purpose": decision.purpose.value if decision.purpose else None,
        "revision": revision,
        "trigger": trigger,
        "tool": __version__,
        "tree": decision.as_json(),
        "evidence": Content("evidence", _told(decision.evidence)).digest if decision.evidence else None,
    }


def _told(evidence: Evidence) -> str:
    return json.dumps(evidence.as_json(), sort_keys=True, separators=(",", ":"))
