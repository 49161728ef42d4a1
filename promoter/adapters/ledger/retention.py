"""The part of the port that drops old evidence: texts only, never an entry of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, delete, except_, func, select, text

from promoter.adapters.ledger import journal
from promoter.adapters.ledger.opened import Opened
from promoter.adapters.ledger.schema import among, contents, decisions
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import Refused
from promoter.domain.ledger.milestones import Event, Milestone

EVIDENCE = "evidence"
PORTION = 1_000
"""How many texts go in one transaction: other writers wait for that long, about a tenth of a second."""
_MAY = text("SELECT current_user, has_table_privilege('contents', 'DELETE')")


class Retaining(Opened):
    """Evidence that only old decisions refer to. Texts of policies and approvers stay: they are few and shared."""

    def old_evidence(self, before: datetime) -> int:
        """How many texts `drop_evidence` would drop."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(_old(before).subquery())) or 0

    def drop_evidence(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop the evidence that only decisions before that moment refer to; how many texts that was.

        In portions, so that nobody who writes waits for long. Each says in its own transaction what it dropped: whatever stops
        it, every text that is missing is accounted for, and the next call goes on. Nothing to drop, nothing to record.
        """
        with self._database.read() as connection:
            _check_right(connection)
            waiting = iter(list(connection.scalars(_old(before))))
        dropped = 0
        while portion := list(islice(waiting, PORTION)):
            dropped += self._drop(portion, before, actor, at)
        return dropped

    def _drop(self, portion: Sequence[str], before: datetime, actor: str, at: datetime) -> int:
        with self._database.append() as end:
            gone = sum(
                end.connection.execute(delete(contents).where(each, contents.c.kind == EVIDENCE)).rowcount
                for each in among(contents.c.digest, portion)
                if each is not None
            )
            if gone:
                told = {"before": before, "dropped": gone, "actor": actor}
                journal.insert_milestone(end, Milestone(at, Event.RETENTION, told))
            return gone


def _old(before: datetime) -> Select[Any]:
    """The digests of the evidence that is there, and that no decision from that moment on refers to."""
    referred = decisions.c.evidence
    only_old = except_(
        select(referred).where(decisions.c.at < before, referred.is_not(None)),
        select(referred).where(decisions.c.at >= before, referred.is_not(None)),
    )
    return select(contents.c.digest).where(contents.c.kind == EVIDENCE, contents.c.digest.in_(only_old))


def _check_right(connection: Connection) -> None:
    """The role of the daemon may not delete anything, and is not meant to."""
    if connection.dialect.name != "postgresql":
        return
    role, may = connection.execute(_MAY).one()
    if not may:
        fix = "give PROMOTER_DATABASE_URL of a role with the right to DELETE on `contents`: see docs/evidence.md"
        raise Refused(LEDGER, f"the role {role} may not drop evidence", fix)
