"""Texts by their SHA-256, in SQL: what decisions stand on. The chain holds the digests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, insert, literal_column, select, union

from promoter.adapters.ledger.chain import BYTES
from promoter.adapters.ledger.schema import among, contents, decisions
from promoter.domain.ledger.chain import digest_of
from promoter.domain.ledger.export import Text

_PAGE = 200


@dataclass(frozen=True)
class Content:
    """A text, and what it is: `evidence`, `policy` or `approvers`."""

    kind: str
    body: str

    @property
    def digest(self) -> str:
        """SHA-256 of its UTF-8 bytes."""
        return digest_of(self.body.encode())


def insert_new(connection: Connection, news: Iterable[Content]) -> None:
    """Those that are not there yet, once each."""
    by_digest = {each.digest: each for each in news}
    there = found(connection, by_digest).keys()
    rows = [
        {"digest": digest, "kind": each.kind, "body": each.body} for digest, each in by_digest.items() if digest not in there
    ]
    if rows:
        connection.execute(insert(contents), rows)


def found(connection: Connection, digests: Collection[str]) -> Mapping[str, str]:
    """The texts that are there, by digest."""
    texts: dict[str, str] = {}
    for condition in among(contents.c.digest, digests):
        query = select(contents.c.digest, contents.c.body)
        rows = connection.execute(query if condition is None else query.where(condition))
        texts.update({row.digest: row.body for row in rows})
    return texts


def referred(connection: Connection, behind: int) -> Iterator[Text]:
    """The texts that decisions behind that number refer to (behind none: all texts), few of them in memory at a time."""
    body: ColumnElement[bytes] = literal_column(BYTES[connection.dialect.name])
    query = select(contents.c.digest, contents.c.kind, body).order_by(contents.c.digest)
    if behind:
        names = (decisions.c.evidence, decisions.c.policy_digest, decisions.c.approvers)
        wanted = union(*(select(name).where(decisions.c.id > behind, name.is_not(None)) for name in names))
        query = query.where(contents.c.digest.in_(wanted))
    rows = connection.execute(query, execution_options={"yield_per": _PAGE, "stream_results": True})
    for part in rows.partitions(_PAGE):
        for digest, kind, raw in part:
            yield Text(digest, kind, bytes(raw).decode(errors="replace"))
