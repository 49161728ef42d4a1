"""Decisions in SQL, with the texts behind them, and the retention of evidence."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, delete, except_, func, select, text

from promoter import __version__
from promoter.adapters.ledger.chain import ChainWriter, TextBlob, find_blobs, insert_missing_blobs
from promoter.adapters.ledger.database import SqlRepository, appending, reading, streaming
from promoter.adapters.ledger.observations import append_lifecycle_event
from promoter.adapters.ledger.schema import (
    LEDGER,
    build_equality_condition,
    contents,
    decisions,
    records,
    select_last_of_each,
    split_in_conditions,
)
from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Decision
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence
from promoter.domain.ledger.chain import digest_bytes
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType

DECISION_COLUMNS: Sequence[Column[Any]] = (decisions.c.id, decisions.c.body, decisions.c.hash)
"""The columns that `parse_decision_row` needs; every other one is computed from the body."""
DecisionKey = tuple[str, str | None, int]
"""Model, alias and version."""
DigestedDecision = tuple[Decision, str]
"""A decision and its digest, which takes longer to compute than to look up."""
DROP_BATCH_SIZE = 1_000
"""How many texts are dropped in one transaction: other writers wait for that long, about a tenth of a second."""

_KEY = (decisions.c.model, decisions.c.alias, decisions.c.version)
_DECISION_CHUNK_SIZE = 400
_DECISION_PAGE_SIZE = 100
_MODEL_FILTER_LIMIT = 1_000
_EVIDENCE = "evidence"
_DELETE_RIGHT_QUERY = text("SELECT current_user, has_table_privilege('contents', 'DELETE')")


class SqlDecisionLog(SqlRepository):
    """The port `DecisionLog` on a SQL database."""

    def record_decisions(self, new: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Append the decisions that say something else than the last one of their model, alias and version."""

        def append(chain: ChainWriter, digested: Iterable[DigestedDecision]) -> None:
            waiting = iter(digested)
            while part := list(islice(waiting, _DECISION_CHUNK_SIZE)):
                _insert_texts(chain, [decision for decision, _ in part])
                facts = (_build_decision_facts(decision, digest, revision, trigger) for decision, digest in part)
                chain.append_entries(decisions, facts)

        self.append_if_new([(each, each.compute_digest()) for each in new], _select_changed_decisions, append)

    @reading
    def find_decision(self, connection: Connection, number: int) -> RecordedDecision | None:
        """Find a decision by its own number, or by that of the audit record that it is behind."""
        behind = connection.scalar(select(records.c.decision).where(records.c.id == number))
        rows = connection.execute(select(*DECISION_COLUMNS).where(decisions.c.id == (behind or number)))
        return next(_parse_decision_rows(connection, rows), None)

    @reading
    def list_recent_decisions(
        self, connection: Connection, model: str | None = None, alias: str | None = None, limit: int = 100
    ) -> Sequence[RecordedDecision]:
        """List decisions, the newest first. Their trees are large: these are read once it is known which ones."""
        numbers = select(decisions.c.id).order_by(decisions.c.id.desc()).limit(limit)
        if model is not None:
            numbers = numbers.where(decisions.c.model == model)
        if alias is not None:
            numbers = numbers.where(decisions.c.alias == alias)
        query = select(*DECISION_COLUMNS).where(decisions.c.id.in_(numbers)).order_by(decisions.c.id.desc())
        return list(_parse_decision_rows(connection, connection.execute(query)))

    @streaming
    def iterate_decisions(self, connection: Connection) -> Iterator[RecordedDecision]:
        """Stream all decisions, few of them in memory at a time."""
        return _stream_decisions(connection, select(*DECISION_COLUMNS).order_by(decisions.c.id))

    @streaming
    def iterate_decisions_with_evidence(
        self, connection: Connection, models: Collection[str] | None = None
    ) -> Iterator[RecordedDecision]:
        """Stream the decisions whose evidence is there, few of them in memory at a time."""
        chosen = None if models is None else frozenset(models)
        query = select(*DECISION_COLUMNS).where(decisions.c.evidence.in_(select(contents.c.digest))).order_by(decisions.c.id)
        if chosen is not None and len(chosen) <= _MODEL_FILTER_LIMIT:
            # The numbers are what is sorted, not the rows, whose trees are large.
            query = query.where(decisions.c.id.in_(select(decisions.c.id).where(decisions.c.model.in_(sorted(chosen)))))
            chosen = None
        found = _stream_decisions(connection, query)
        return found if chosen is None else (each for each in found if each.tree["model"] in chosen)

    @reading
    def find_blob_text(self, connection: Connection, digest: str) -> str | None:
        """Find a text by its digest."""
        return find_blobs(connection, [digest]).get(digest)

    @reading
    def count_evidence_before(self, connection: Connection, before: datetime) -> int:
        """Count the texts that `drop_evidence_before` would drop."""
        return connection.scalar(select(func.count()).select_from(_select_old_evidence(before).subquery())) or 0

    def drop_evidence_before(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop the evidence in portions, so that no other writer waits for long.

        Each portion records in its own transaction what it dropped: whatever stops the call, every text that is missing is
        accounted for, and the next call goes on. Where there is nothing to drop, nothing is recorded. Texts of policies and
        approvers stay: they are few and shared.
        """
        with self._database.read_transaction() as connection:
            _check_delete_right(connection)
            waiting = iter(connection.scalars(_select_old_evidence(before)).all())
        dropped = 0
        while portion := list(islice(waiting, DROP_BATCH_SIZE)):
            dropped += self._drop_evidence_batch(portion, before, actor, at)
        return dropped

    @appending
    def _drop_evidence_batch(
        self, chain: ChainWriter, portion: Sequence[str], before: datetime, actor: str, at: datetime
    ) -> int:
        dropped = sum(
            chain.connection.execute(delete(contents).where(part, contents.c.kind == _EVIDENCE)).rowcount
            for part in split_in_conditions(contents.c.digest, portion)
        )
        if dropped:
            facts = {"before": before, "dropped": dropped, "actor": actor}
            append_lifecycle_event(chain, LifecycleEvent(at, LifecycleEventType.RETENTION, facts))
        return dropped


def append_decision_once(chain: ChainWriter, decision: Decision, revision: str | None, trigger: str | None) -> int:
    """Append a decision, unless the last one of its model, alias and version says the same; the number of that entry."""
    digest = decision.compute_digest()
    of_key = build_equality_condition(*zip(_KEY, _decision_key(decision), strict=True))
    query = select(decisions.c.id, decisions.c.digest, decisions.c.gate).where(of_key).order_by(decisions.c.id.desc()).limit(1)
    last = chain.connection.execute(query).one_or_none()
    if last is not None and (last.digest, bool(last.gate)) == (digest, decision.gate):
        return int(last.id)
    _insert_texts(chain, [decision])
    return chain.append_entry(decisions, _build_decision_facts(decision, digest, revision, trigger))


def parse_decision_row(row: Row[Any], entry: Mapping[str, Any], evidence: str | None = None) -> RecordedDecision:
    """Build a decision of a row of `DECISION_COLUMNS`, whose body says `entry`, and of the text of its evidence."""
    return RecordedDecision(
        id=row.id,
        at=datetime.fromisoformat(entry["at"]),
        revision=entry.get("revision"),
        tree=entry["tree"],
        evidence=json.loads(evidence) if evidence else None,
        evidence_digest=entry.get("evidence"),
        approvers=entry.get("approvers"),
        gate=bool(entry.get("gate")),
        trigger=entry.get("trigger"),
        tool=entry.get("tool"),
        hash=row.hash,
        purpose=entry.get("purpose"),
    )


def _parse_decision_rows(connection: Connection, rows: Iterable[Row[Any]]) -> Iterator[RecordedDecision]:
    waiting = iter(rows)
    while part := list(islice(waiting, _DECISION_PAGE_SIZE)):
        entries = [(row, json.loads(row.body)) for row in part]
        texts = find_blobs(connection, {entry["evidence"] for _, entry in entries if "evidence" in entry})
        for row, entry in entries:
            yield parse_decision_row(row, entry, texts.get(entry.get("evidence", "")))


def _stream_decisions(connection: Connection, query: Select[Any]) -> Iterator[RecordedDecision]:
    return _parse_decision_rows(connection, connection.execute(query, execution_options={"yield_per": _DECISION_PAGE_SIZE}))


def _select_changed_decisions(connection: Connection, digested: Iterable[DigestedDecision]) -> list[DigestedDecision]:
    """Select those that say something else than the one before them, of their model, alias and version."""
    changed: list[DigestedDecision] = []
    waiting = iter(digested)
    last_digests: dict[DecisionKey, tuple[str, bool]] = {}
    while part := list(islice(waiting, _DECISION_CHUNK_SIZE)):
        last_digests = _find_last_digests(connection, [_decision_key(decision) for decision, _ in part]) | last_digests
        for decision, digest in part:
            if last_digests.get(_decision_key(decision)) != (digest, decision.gate):
                changed.append((decision, digest))
            last_digests[_decision_key(decision)] = digest, decision.gate
    return changed


def _find_last_digests(connection: Connection, keys: Sequence[DecisionKey]) -> dict[DecisionKey, tuple[str, bool]]:
    models, versions = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    chosen = (decisions.c.model.in_(models), decisions.c.version.in_(versions))
    rows = connection.execute(select_last_of_each(_KEY, (*_KEY, decisions.c.digest, decisions.c.gate), *chosen))
    return {(row.model, row.alias, row.version): (row.digest, bool(row.gate)) for row in rows}


def _decision_key(decision: Decision) -> DecisionKey:
    return decision.model, decision.alias, decision.version


def _insert_texts(chain: ChainWriter, new: Iterable[Decision]) -> None:
    """Insert the texts behind these decisions that are not there yet."""
    texts: list[TextBlob] = []
    for decision in new:
        basis = decision.basis
        texts += [TextBlob(_EVIDENCE, _serialize_evidence(decision.evidence))] if decision.evidence else []
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
        "approvers": digest_bytes(approvers.encode()) if approvers is not None else None,
        "digest": digest,
        "gate": decision.gate,
        "purpose": decision.purpose.value if decision.purpose else None,
        "revision": revision,
        "trigger": trigger,
        "tool": __version__,
        "tree": decision.to_json(),
        "evidence": digest_bytes(_serialize_evidence(decision.evidence).encode()) if decision.evidence else None,
    }


def _serialize_evidence(evidence: Evidence) -> str:
    return json.dumps(evidence.to_json(), sort_keys=True, separators=(",", ":"))


def _select_old_evidence(before: datetime) -> Select[Any]:
    """Select the digests of evidence that is there, and that no decision from that moment on refers to."""
    referred = decisions.c.evidence
    only_old = except_(
        select(referred).where(decisions.c.at < before, referred.is_not(None)),
        select(referred).where(decisions.c.at >= before, referred.is_not(None)),
    )
    return select(contents.c.digest).where(contents.c.kind == _EVIDENCE, contents.c.digest.in_(only_old))


def _check_delete_right(connection: Connection) -> None:
    """Raise `PermanentError` where the role may delete nothing: the daemon's is not meant to."""
    if connection.dialect.name != "postgresql":
        return
    role, may = connection.execute(_DELETE_RIGHT_QUERY).one()
    if not may:
        fix = "give PROMOTER_DATABASE_URL of a role with the right to DELETE on `contents`: see docs/evidence.md"
        raise PermanentError(LEDGER, f"the role {role} may not drop evidence", fix)
