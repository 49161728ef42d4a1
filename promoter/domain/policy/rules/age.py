"""`age`: how long ago the version was registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import ClassVar

from pydantic import ConfigDict, model_validator

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence
from promoter.domain.fields import Document, Duration, format_duration, format_utc, require_at_least_one
from promoter.domain.policy.rules.base import BaseRule, RuleContext


class AgeTerms(Document):
    """How old the version must be, and may be."""

    model_config = ConfigDict(json_schema_extra=require_at_least_one("at_least", "at_most"))

    at_least: Duration | None = None
    at_most: Duration | None = None

    @model_validator(mode="after")
    def _check_terms(self) -> AgeTerms:
        if self.at_least is None and self.at_most is None:
            raise ValueError("`age` says `at_least`, `at_most` or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("`at_least` is longer than `at_most`: no version could pass")
        return self


class AgeRule(BaseRule):
    """`{age: {at_least: 1h, at_most: 90d}}`. Time counts from the version's registration, on Promoter's own clock."""

    kind: ClassVar[str] = "age"

    age: AgeTerms

    def __str__(self) -> str:
        terms = (("at_least", self.age.at_least), ("at_most", self.age.at_most))
        return "age " + " ".join(f"{key} {format_duration(value)}" for key, value in terms if value)

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return how long to wait, which is all that helps while it is too young."""
        del model, version
        return f"wait: {finding.expected}" if finding.verdict is Verdict.PENDING else None

    def list_wait_ends(self, created_at: datetime, held_since: Callable[[str], Iterable[datetime]]) -> Iterator[datetime]:
        """Yield when the version is old enough."""
        del held_since
        if self.age.at_least:
            yield created_at + self.age.at_least

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for too young, since it passes by waiting, fail for too old, error for no time of registration."""
        del context
        created = evidence.candidate.created_at
        at_least, at_most = self.age.at_least, self.age.at_most
        if created is None:
            return self.build_finding(Verdict.ERROR, None, "a time of registration")
        terms = [f"not before {format_utc(created + at_least)}"] if at_least else []
        terms += [f"until {format_utc(created + at_most)}"] if at_most else []
        expected = " and ".join(terms)
        seen = f"registered {format_utc(created)}"
        if at_most is not None and evidence.at > created + at_most:
            return self.build_finding(Verdict.FAIL, seen, expected)
        if at_least is not None and evidence.at < created + at_least:
            return self.build_finding(Verdict.PENDING, seen, expected)
        return self.build_finding(Verdict.PASS, seen, expected)
