"""Comments on a pull request about its override: when it begins, when it ends soon, and when it has ended, each once."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from promoter.application.comments import VerifiedStates, find_marked_comments
from promoter.application.markdown.override import render_ended_comment, render_expiring_comment, render_started_comment
from promoter.application.markdown.proposal import PullRequestMarker
from promoter.application.ports import Clock, Forge, Ledger, PullRequest, PullRequestComment
from promoter.domain.audit import AuditRecord, RecordFilter, RecordKind
from promoter.domain.desired import Override
from promoter.domain.errors import ExternalError
from promoter.domain.overrides import DECLINED, EXPIRED, VOID, OverrideEnd, OverrideOutlook, is_expiring
from promoter.domain.proposal import Proposal, ProposalReason

log = structlog.get_logger(__name__)

OVERRIDE_MARK = "<!-- promoter:override -->"
"""What the comments begin with. An edited comment notifies nobody, so that each moment has a comment of its own."""
STARTED, EXPIRING, ENDED = "started", "expiring", "ended"
_SEARCHED_RECORDS = 200
"""Records of overrides of one alias that are read to find how one ended."""


class OverrideNotices:
    """Writes the comments about overrides. It reads which are there already, so that it repeats none after a stop.

    The body of a new pull request says that its override began; a comment says so only where the pull request was open before.
    """

    def __init__(self, forge: Forge, ledger: Ledger, clock: Clock) -> None:
        self._forge = forge
        self._ledger = ledger
        self._clock = clock
        self._verified = VerifiedStates(clock)

    def update_comments(
        self, pull: PullRequest, marker: PullRequestMarker | None, outlook: OverrideOutlook | None, *, managed: bool
    ) -> bool:
        """Comment that the override ended or ends soon. Return False where the body has to stay as it is for now.

        That is so while the override that the body names is over, and the ledger does not have its end yet. The model's next
        reconcile records the end, where git still manages the model (`managed`).
        """
        named = marker.override if marker else None
        active = outlook.override if outlook else None
        if marker and named is not None and (active is None or active.id != named):
            begun, end = self._find_end(marker.model, marker.alias, named)
            if begun and end is None and managed:
                return False
            if end and end.outcome in (EXPIRED, VOID, DECLINED):
                self._write_once(pull, named, ENDED, render_ended_comment(f"{marker.model}@{marker.alias}", end))
        answers = marker and active and (marker.aim, marker.version) == (ProposalReason.ROLL_BACK, active.version)
        if outlook and active and answers and self._is_announced(active):
            self._write_once(pull, active.id, EXPIRING, render_expiring_comment(outlook))
        return True

    def write_started_comment(
        self, pull: PullRequest, marker: PullRequestMarker | None, proposal: Proposal, outlook: OverrideOutlook
    ) -> None:
        """Comment on a pull request that is open already that it is the one of an override now, unless its body says so.

        A rollback to another version does not decide on the override, and gets no comment.
        """
        override = outlook.override
        answers = (proposal.aim, proposal.edit.version) == (ProposalReason.ROLL_BACK, override.version)
        if answers and (marker is None or marker.override != override.id):
            self._write_once(pull, override.id, STARTED, render_started_comment(outlook))

    def write_declined_comment(self, pull: PullRequest, override: Override, reason: str) -> None:
        """Comment on a pull request that a person closed what follows, before it follows. A forge that fails stops nothing."""
        name = f"{override.model}@{override.alias}"
        versions, unchecked = (override.version, override.replaces), override.without_artifact_check
        end = OverrideEnd(override.id, self._clock.now(), *versions, override.by, reason, unchecked)
        try:
            self._write_once(pull, override.id, ENDED, render_ended_comment(name, end))
        except ExternalError as error:
            log.warning("no comment says that an override ended", pull_request=pull.url, error=str(error))

    def _is_announced(self, override: Override) -> bool:
        """Return whether the ledger has announced the end of the override, which it does once, in the last hour."""
        expiring = is_expiring(override, self._clock.now())
        return expiring and override.id in self._ledger.find_announced_overrides([override.id])

    def _write_once(self, pull: PullRequest, override: int, moment: str, text: str) -> None:
        own = f"<!-- override {override} {moment} -->"
        if self._verified.is_verified(pull.number, own):
            return
        if not self._find_comments(pull, own):
            self._forge.add_comment(pull.number, f"{self._forge.folder.mark_comment(OVERRIDE_MARK)}\n{own}\n{text}")
            log.info("comment on an override", pull_request=pull.url, moment=moment)
            for extra in self._find_comments(pull, own)[1:]:  # another Promoter may have written one in the same moment
                self._forge.delete_comment(pull.number, extra.id)
        self._verified.record_verified(pull.number, own)

    def _find_comments(self, pull: PullRequest, own: str) -> list[PullRequestComment]:
        """Find the comments on that moment of that override, oldest first."""
        return [each for each in find_marked_comments(self._forge, pull.number, OVERRIDE_MARK) if own in each.body]

    def _find_end(self, model: str, alias: str, number: int) -> tuple[bool, OverrideEnd | None]:
        """Return whether the ledger has that override of the alias, and its end; None: it has not ended."""
        where = RecordFilter(model, alias, kind=RecordKind.OVERRIDE, newest=True, limit=_SEARCHED_RECORDS)
        records: Sequence[AuditRecord] = self._ledger.find_audit_records(where)
        begun = any(each.id == number and each.intent is None for each in records)
        ends = (OverrideEnd.from_record(each) for each in records if each.intent == number)
        return begun, next((each for each in ends if each), None)
