"""Decisions in SQL, with the evidence behind them; what was said last is not said again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from promoter import __version__
from promoter.adapters.ledger import chain
from promoter.adapters.ledger.chain import ChainWriter, TextBlob, find_blobs, insert_missing_blobs
from promoter.adapters.ledger.database import OpenLedger
from promoter.adapters.ledger.schema import build_equality_condition, contents, decisions, records
from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Decision
from promoter.domain.evidence import Evidence

DecisionKey = tuple[str, str | None, int]
DigestedDecision = tuple[Decision, str]

_DECISION_CHUNK_SIZE = 400
_DECISION_PAGE_SIZE = 100
_MODEL_FILTER_LIMIT = 1_000
_DECISION_COLUMNS: Sequence[Column[Any]] = (decisions.c.id, decisions.c.body, decisions.c.hash)


def compute_decision_digests(news: Iterable[Decision]) -> list[DigestedDecision]:
    """Each with its digest, which takes longer than to look it up."""
    return [(decision, decision.compute_digest()) for decision in news]


def insert_decision_once(chain: ChainWriter, decision: Decision, revision: str | None, trigger: str | None = None) -> int:
    """The number of its entry: the last one of its model, alias and version, where that says the same."""
    digest = decision.compute_digest()
    of_key = build_equality_condition(
        *zip((decisions.c.model, decisions.c.alias, decisions.c.version), _decision_key(decision), strict=True)
    )
    query = select(decisions.c.id, decisions.c.digest, decisions.c.gate).where(of_key).order_by(decisions.c.id.desc()).limit(1)
    last = chain.connection.execute(query).one_or_none()
    if last is not None and (last.digest, bool(last.gate)) == (digest, decision.gate):
        return int(last.id)
    _insert_decision_blobs(chain, [decision])
    return chain.append_entry(decisions, _build_decision_facts(decision, digest, revision, trigger))


def insert_decisions(
    chain: ChainWriter, news: Iterable[DigestedDecision], revision: str | None, trigger: str | None = None
) -> None:
    """All of them, in order."""
    waiting = iter(news)
    while part := list(islice(waiting, _DECISION_CHUNK_SIZE)):
        _insert_decision_blobs(chain, [decision for decision, _ in part])
        chain.append_entries(
            decisions, (_build_decision_facts(decision, digest, revision, trigger) for decision, digest in part)
        )


def select_changed_decisions(connection: Connection, news: Iterable[DigestedDecision]) -> list[DigestedDecision]:
    """Those that say something else than the one before them, of their model, alias and version."""
    fresh: list[DigestedDecision] = []
    waiting = iter(news)
    last_digests: dict[DecisionKey, tuple[str, bool]] = {}
    while part := list(islice(waiting, _DECISION_CHUNK_SIZE)):
        last_digests = _find_last_digests(connection, [_decision_key(decision) for decision, _ in part]) | last_digests
        for decision, digest in part:
            if last_digests.get(_decision_key(decision)) != (digest, decision.gate):
                fresh.append((decision, digest))
            last_digests[_decision_key(decision)] = digest, decision.gate
    return fresh


def find_decision(connection: Connection, number: int) -> RecordedDecision | None:
    """The decision of that number, or the one behind the record of that number."""
    behind = connection.scalar(select(records.c.decision).where(records.c.id == number))
    rows = connection.execute(select(*_DECISION_COLUMNS).where(decisions.c.id == (behind or number)))
    return next(_parse_decision_rows(connection, rows), None)


def find_decisions(connection: Connection, model: str | None, alias: str | None, limit: int) -> list[RecordedDecision]:
    """The newest first."""
    ids = select(decisions.c.id).order_by(decisions.c.id.desc()).limit(limit)
    if model is not None:
        ids = ids.where(decisions.c.model == model)
    if alias is not None:
        ids = ids.where(decisions.c.alias == alias)
    # Trees are large: they are read once it is known which ones.
    query = select(*_DECISION_COLUMNS).where(decisions.c.id.in_(ids)).order_by(decisions.c.id.desc())
    return list(_parse_decision_rows(connection, connection.execute(query)))


def stream_decisions_with_evidence(connection: Connection, models: Collection[str] | None) -> Iterator[RecordedDecision]:
    """All whose evidence is there, the oldest first, few of them in memory at a time."""
    selected_models = None if models is None else frozenset(models)
    query = select(*_DECISION_COLUMNS).where(decisions.c.evidence.in_(select(contents.c.digest))).order_by(decisions.c.id)
    if selected_models is not None and len(selected_models) <= _MODEL_FILTER_LIMIT:
        # The ids are what is sorted, not the rows, whose trees are large.
        query = query.where(decisions.c.id.in_(select(decisions.c.id).where(decisions.c.model.in_(sorted(selected_models)))))
        selected_models = None
    for recorded in _parse_decision_rows(
        connection, connection.execute(query, execution_options={"yield_per": _DECISION_PAGE_SIZE})
    ):
        if selected_models is None or recorded.tree["model"] in selected_models:
            yield recorded


def stream_all_decisions(connection: Connection) -> Iterator[RecordedDecision]:
    """All, the oldest first, few of them in memory at a time."""
    query = select(*_DECISION_COLUMNS).order_by(decisions.c.id)
    yield from _parse_decision_rows(connection, connection.execute(query, execution_options={"yield_per": _DECISION_PAGE_SIZE}))


def _parse_decision_rows(connection: Connection, rows: Iterable[Row[Any]]) -> Iterator[RecordedDecision]:
    waiting = iter(rows)
    while part := list(islice(waiting, _DECISION_PAGE_SIZE)):
        bodies = [(row, json.loads(row.body)) for row in part]
        texts = find_blobs(connection, {each["evidence"] for _, each in bodies if "evidence" in each})
        for row, each in bodies:
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


def _find_last_digests(connection: Connection, keys: Sequence[DecisionKey]) -> dict[DecisionKey, tuple[str, bool]]:
    columns = (decisions.c.model, decisions.c.alias, decisions.c.version)
    models, versions = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    newest = select(func.max(decisions.c.id)).where(columns[0].in_(models), columns[2].in_(versions)).group_by(*columns)
    rows = connection.execute(select(*columns, decisions.c.digest, decisions.c.gate).where(decisions.c.id.in_(newest)))
    return {(row.model, row.alias, row.version): (row.digest, bool(row.gate)) for row in rows}


def _decision_key(decision: Decision) -> DecisionKey:
    return decision.model, decision.alias, decision.version


def _insert_decision_blobs(chain: ChainWriter, news: Iterable[Decision]) -> None:
    """What they stand on, where it is not there yet."""
    texts: list[TextBlob] = []
    for decision in news:
        basis = decision.basis
        texts += [TextBlob("evidence", _serialize_evidence(decision.evidence))] if decision.evidence else []
        texts += [TextBlob("policy", basis.policy)] if basis else []
        texts += [TextBlob("approvers", basis.approvers)] if basis and basis.approvers is not None else []
    insert_missing_blobs(chain.connection, texts)


def _build_decision_facts(decision: Decision, digest: str, revision: str | None, trigger: str | None) -> dict[str, Any]:
    approvers = decision.basis.approvers if decision.basis else None
    return {
        "at": decision.at,
        "model": decision.model,
        "alias": decision.alias,
        "version": decision.version,
        "policy": decision.policy,
        "policy_digest": decision.policy_digest,
        "approvers": TextBlob("approvers", approvers).digest if approvers is not None else None,
        "digest": digest,
        "gate": decision.gate,
        "purpose": decision.purpose.value if decision.purpose else None,
        "revision": revision,
        "trigger": trigger,
        "tool": __version__,
        "tree": decision.to_json(),
        "evidence": TextBlob("evidence", _serialize_evidence(decision.evidence)).digest if decision.evidence else None,
    }


def _serialize_evidence(evidence: Evidence) -> str:
    return json.dumps(evidence.to_json(), sort_keys=True, separators=(",", ":"))


class SqlDecisionLog(OpenLedger):
    """Decisions."""

    def iterate_decisions_with_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from stream_decisions_with_evidence(connection, models)

    def iterate_decisions(self) -> Iterator[RecordedDecision]:
        """Every recorded decision, oldest first, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from stream_all_decisions(connection)

    def record_decisions(self, news: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        with self._database.read_transaction() as connection:
            fresh = select_changed_decisions(connection, compute_decision_digests(news))
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            insert_decisions(chain, select_changed_decisions(chain.connection, fresh), revision, trigger)

    def find_decision(self, number: int) -> RecordedDecision | None:
        """The decision of that number, or the one behind the audit record of that number; None where there is neither."""
        with self._database.read_transaction() as connection:
            return find_decision(connection, number)

    def list_recent_decisions(
        self, model: str | None = None, alias: str | None = None, limit: int = 100
    ) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        with self._database.read_transaction() as connection:
            return find_decisions(connection, model, alias, limit)

    def find_blob_text(self, digest: str) -> str | None:
        """A text by its SHA-256; None where it is not there (any more)."""
        with self._database.read_transaction() as connection:
            return chain.find_blobs(connection, [digest]).get(digest)
