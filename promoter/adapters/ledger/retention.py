"""The part of the port that drops old evidence: texts only, never an entry of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, delete, except_, func, select, text

from promoter.adapters.ledger import journal
from promoter.adapters.ledger.opened import OpenLedger
from promoter.adapters.ledger.schema import split_in_conditions, contents, decisions
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.faults import PermanentError
from promoter.domain.ledger.milestones import LifecycleEventType, LifecycleEvent

EVIDENCE = "evidence"
DROP_BATCH_SIZE = 1_000
"""How many texts go in one transaction: other writers wait for that long, about a tenth of a second."""
_DELETE_RIGHT_QUERY = text("SELECT current_user, has_table_privilege('contents', 'DELETE')")


class SqlRetention(OpenLedger):
    """Evidence that only old decisions refer to. Texts of policies and approvers stay: they are few and shared."""

    def count_evidence_before(self, before: datetime) -> int:
        """How many texts `drop_evidence_before` would drop."""
        with self._database.read_transaction() as connection:
            return connection.scalar(select(func.count()).select_from(_select_old_evidence(before).subquery())) or 0

    def drop_evidence_before(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop the evidence that only decisions before that moment refer to; how many texts that was.

        In portions, so that nobody who writes waits for long. Each says in its own transaction what it dropped: whatever stops
        it, every text that is missing is accounted for, and the next call goes on. Nothing to drop, nothing to record.
        """
        with self._database.read_transaction() as connection:
            _check_delete_right(connection)
            waiting = iter(list(connection.scalars(_select_old_evidence(before))))
        dropped = 0
        while portion := list(islice(waiting, DROP_BATCH_SIZE)):
            dropped += self._drop_evidence_batch(portion, before, actor, at)
        return dropped

    def _drop_evidence_batch(self, portion: Sequence[str], before: datetime, actor: str, at: datetime) -> int:
        with self._database.append_transaction() as end:
            gone = sum(
                end.connection.execute(delete(contents).where(each, contents.c.kind == EVIDENCE)).rowcount
                for each in split_in_conditions(contents.c.digest, portion)
                if each is not None
            )
            if gone:
                facts = {"before": before, "dropped": gone, "actor": actor}
                journal.insert_lifecycle_event(end, LifecycleEvent(at, LifecycleEventType.RETENTION, facts))
            return gone


def _select_old_evidence(before: datetime) -> Select[Any]:
    """The digests of the evidence that is there, and that no decision from that moment on refers to."""
    referred = decisions.c.evidence
    only_old = except_(
        select(referred).where(decisions.c.at < before, referred.is_not(None)),
        select(referred).where(decisions.c.at >= before, referred.is_not(None)),
    )
    return select(contents.c.digest).where(contents.c.kind == EVIDENCE, contents.c.digest.in_(only_old))


def _check_delete_right(connection: Connection) -> None:
    """The role of the daemon may not delete anything, and is not meant to."""
    if connection.dialect.name != "postgresql":
        return
    role, may = connection.execute(_DELETE_RIGHT_QUERY).one()
    if not may:
        fix = "give PROMOTER_DATABASE_URL of a role with the right to DELETE on `contents`: see docs/evidence.md"
        raise PermanentError(LEDGER, f"the role {role} may not drop evidence", fix)
