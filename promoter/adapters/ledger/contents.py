"""Texts by their SHA-256, in SQL: what decisions stand on. The chain holds the digests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, insert, literal_column, select, union

from promoter.adapters.ledger.chain import BODY_AS_BYTES_SQL
from promoter.adapters.ledger.schema import split_in_conditions, contents, decisions
from promoter.domain.ledger.chain import digest_bytes
from promoter.domain.ledger.export import ExportedText

_BLOB_PAGE_SIZE = 200


@dataclass(frozen=True)
class TextBlob:
    """A text, and what it is: `evidence`, `policy` or `approvers`."""

    kind: str
    body: str

    @property
    def digest(self) -> str:
        """SHA-256 of its UTF-8 bytes."""
        return digest_bytes(self.body.encode())


def insert_missing_blobs(connection: Connection, news: Iterable[TextBlob]) -> None:
    """Those that are not there yet, once each."""
    by_digest = {each.digest: each for each in news}
    there = find_blobs(connection, by_digest).keys()
    rows = [
        {"digest": digest, "kind": each.kind, "body": each.body} for digest, each in by_digest.items() if digest not in there
    ]
    if rows:
        connection.execute(insert(contents), rows)


def find_blobs(connection: Connection, digests: Collection[str]) -> Mapping[str, str]:
    """The texts that are there, by digest."""
    texts: dict[str, str] = {}
    for condition in split_in_conditions(contents.c.digest, digests):
        query = select(contents.c.digest, contents.c.body)
        rows = connection.execute(query if condition is None else query.where(condition))
        texts.update({row.digest: row.body for row in rows})
    return texts


def stream_referenced_blobs(connection: Connection, behind: int) -> Iterator[ExportedText]:
    """The texts that decisions behind that number refer to (behind none: all texts), few of them in memory at a time."""
    body: ColumnElement[bytes] = literal_column(BODY_AS_BYTES_SQL[connection.dialect.name])
    query = select(contents.c.digest, contents.c.kind, body).order_by(contents.c.digest)
    if behind:
        names = (decisions.c.evidence, decisions.c.policy_digest, decisions.c.approvers)
        referenced_digests = union(*(select(name).where(decisions.c.id > behind, name.is_not(None)) for name in names))
        query = query.where(contents.c.digest.in_(referenced_digests))
    rows = connection.execute(query, execution_options={"yield_per": _BLOB_PAGE_SIZE, "stream_results": True})
    for part in rows.partitions(_BLOB_PAGE_SIZE):
        for digest, kind, raw in part:
            yield ExportedText(digest, kind, bytes(raw).decode(errors="replace"))
