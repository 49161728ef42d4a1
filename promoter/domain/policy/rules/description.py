"""`description`: people wrote what the version, or its registered model, is."""

from __future__ import annotations

from typing import ClassVar

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import Document, LiteralTrue
from promoter.domain.observed import Unreadable
from promoter.domain.policy.rules.base import BaseRule, RuleContext

SHOWN_CHARACTERS = 200


class DescriptionTerms(Document):
    """That there is a description."""

    present: LiteralTrue


class DescriptionRule(BaseRule):
    """`{description: {present: true}}`: the version has a description, or its registered model has one.

    MLflow keeps no history of descriptions: a replay takes what decisions of that time recorded, else what MLflow says now.
    """

    kind: ClassVar[str] = "description"

    description: DescriptionTerms

    def __str__(self) -> str:
        return "description present"

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return that it needs the description."""
        del context
        return Need(description=True)

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return what to describe."""
        return f"write a description of version {version} of {model}" if finding.verdict is Verdict.PENDING else None

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for an absent or blank text, since somebody may write one; error for one that could not be read."""
        del context
        text = evidence.candidate.description
        if isinstance(text, Unreadable):
            return self.build_finding(Verdict.ERROR, None, f"a description that can be read: {text.reason}")
        found = (text or "").strip()[:SHOWN_CHARACTERS] or None
        return self.build_finding(
            Verdict.PASS if found else Verdict.PENDING, found, "a description of the version or its model"
        )
