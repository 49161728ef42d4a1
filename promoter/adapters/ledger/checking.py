"""The part of the port that is about verification: everything as one moment sees it, and nothing taken for granted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from promoter.adapters.ledger import chain
from promoter.adapters.ledger.chain import BYTES
from promoter.adapters.ledger.opened import Opened
from promoter.domain.ledger.entries import Row, about
from promoter.domain.ledger.references import APPROVERS, EVIDENCE, POLICY, Reference

_PAGE = 200
_NAMED = {"evidence": EVIDENCE, "policy_digest": POLICY, "approvers": APPROVERS}
_READABLE = {"sqlite": "json_valid(body)", "postgresql": "true"}
"""Whether there are columns at all: SQLite computes them when they are asked for."""
_TOOL = """body LIKE '%"tool":"%'"""
"""Whether it was written by a Promoter that says which one it is."""


class Checking(Opened):
    """What can be verified."""

    def verifiable(self) -> Iterator[Sequence[Row] | Reference]:
        """The chain, many entries at a time; then each text that a decision names and that is altered, or is not there."""
        with self._database.read() as connection:
            yield from chain.rows(connection)
            yield from _altered(connection)
            yield from _lacking(connection)


def _altered(connection: Connection) -> Iterator[Reference]:
    """Those that no decision names prove nothing, and are left out."""
    query = text(f"SELECT digest, {BYTES[connection.dialect.name]} FROM contents")  # noqa: S608  # constants
    wrong: list[str] = []
    for part in connection.execute(query, execution_options={"yield_per": _PAGE, "stream_results": True}).partitions(_PAGE):
        wrong += [digest for digest, raw in part if sha256(raw).hexdigest() != digest]
    for digest in wrong:
        yield from _first(connection, digest)


def _first(connection: Connection, digest: str) -> Iterator[Reference]:
    """The first decision that names it."""
    readable = _READABLE[connection.dialect.name]
    names = f"CASE WHEN {readable} THEN evidence = :digest OR policy_digest = :digest OR approvers = :digest END"
    columns = ", ".join(_NAMED)
    query = text(f"SELECT id, at, model, alias, version, {columns} FROM decisions WHERE {names} ORDER BY id LIMIT 1")  # noqa: S608  # constants
    for row in connection.execute(query, {"digest": digest}):
        kind = next(kind for name, kind in _NAMED.items() if getattr(row, name) == digest)
        yield Reference(row.id, row.at or "", kind, digest, altered=True, about=_about(row))


def _lacking(connection: Connection) -> Iterator[Reference]:
    readable = _READABLE[connection.dialect.name]
    lacking = (
        f"CASE WHEN NOT EXISTS (SELECT 1 FROM contents WHERE digest = {name} AND kind = '{kind}') THEN {name} END AS {name}"  # noqa: S608  # constants
        for name, kind in _NAMED.items()
    )
    columns = f"id, at, model, alias, version, {', '.join(lacking)}, {_TOOL} AS kept"
    query = text(f"SELECT {columns} FROM decisions WHERE {readable} ORDER BY id")  # noqa: S608  # constants
    for part in connection.execute(query, execution_options={"yield_per": _PAGE, "stream_results": True}).partitions(_PAGE):
        for row in part:
            for name, kind in _NAMED.items():
                digest = getattr(row, name)
                if digest is not None and (row.kept or kind != POLICY):
                    yield Reference(row.id, row.at or "", kind, digest, about=_about(row))


def _about(row: Any) -> str:
    return about({"table": "decisions", "model": row.model, "alias": row.alias, "version": row.version})
