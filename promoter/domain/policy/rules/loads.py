"""`loads`: the version's artifact is there, and its flavor loads it."""

from __future__ import annotations

from typing import ClassVar

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import LiteralTrue
from promoter.domain.policy.rules.base import BaseRule, ReplayGap, RuleContext

_EXPECTED_LOADING = "an artifact that loads"
_VERDICTS = {"loaded": Verdict.PASS, "failed": Verdict.FAIL, "untried": Verdict.ERROR}
_LOADING_GAP = ReplayGap("loads", "whether its artifact loaded then", lambda known: "loading" in known.parts)


class LoadsRule(BaseRule):
    """`{loads: true}`. Tried once everything else passes, in a process of its own, within a time limit.

    To load a model is to run code that came with it: it runs in a sandbox or not at all, and only where the deployment says so.
    """

    kind: ClassVar[str] = "loads"

    loads: LiteralTrue

    def __str__(self) -> str:
        return "loads"

    @property
    def replay_gap(self) -> ReplayGap:
        """The loading: nobody can load an artifact as it was."""
        return _LOADING_GAP

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return that it needs the loading."""
        del context
        return Need(loading=True)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending until it is tried, and error where it cannot be tried here (no library, no storage, no time)."""
        del context
        loading = evidence.candidate.loading
        if loading is None:
            return self.build_finding(Verdict.PENDING, "not tried: it is, once everything else passes", _EXPECTED_LOADING)
        return self.build_finding(_VERDICTS[loading.outcome], loading.detail, _EXPECTED_LOADING)
