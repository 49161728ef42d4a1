"""`run`: the training run that the version came from."""

from __future__ import annotations

from typing import ClassVar, Literal

from promoter.domain.document import Document
from promoter.domain.evidence import Evidence, Need
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Finding, Verdict

RunStatus = Literal["FINISHED", "RUNNING", "SCHEDULED", "FAILED", "KILLED"]
_MAY_CHANGE = ("RUNNING", "SCHEDULED")


class RunTerms(Document):
    """What the run must be."""

    status: RunStatus


class RunRule(BaseRule):
    """`{run: {status: FINISHED}}`."""

    kind: ClassVar[str] = "run"

    run: RunTerms

    def __str__(self) -> str:
        """As it is written."""
        return f"run status {self.run.status}"

    @property
    def need(self) -> Need:
        """The run."""
        return Need(run=True)

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Unfinished is pending; a version without a readable run is an error: it can never be known."""
        del setting
        status, expected = evidence.candidate.run_status, self.run.status
        if status is None:
            return self.found(Verdict.ERROR, None, f"{expected} (the version has no run that can be read)")
        if status == expected:
            return self.found(Verdict.PASS, status, expected)
        return self.found(Verdict.PENDING if status in _MAY_CHANGE else Verdict.FAIL, status, expected)
