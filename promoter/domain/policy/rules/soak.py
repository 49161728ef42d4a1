"""`soak`: how long the version has held an alias, as the ledger knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import ClassVar

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import AliasName, Document, Duration, format_duration, format_utc
from promoter.domain.policy.rules.base import BaseRule, RuleContext


class SoakTerms(Document):
    """Which alias, and for how long."""

    alias: AliasName
    at_least: Duration


class SoakRule(BaseRule):
    """`{soak: {alias: challenger, at_least: 24h}}`.

    What counts is the longest time without a break, from the first moment that the ledger knows of, whether it is over or
    not: a commit may move the alias on and promote the version in one go.
    """

    kind: ClassVar[str] = "soak"

    soak: SoakTerms

    def __str__(self) -> str:
        return f"soak {self.soak.alias} at_least {format_duration(self.soak.at_least)}"

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return how long the version held the alias."""
        del context
        return Need(held=frozenset({self.soak.alias}))

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return how long to wait, which is all that helps."""
        if finding.verdict is not Verdict.PENDING:
            return None
        terms = self.soak
        return f"wait until version {version} of {model} has held `{terms.alias}` for {format_duration(terms.at_least)}"

    def list_wait_ends(self, created_at: datetime, held_since: Callable[[str], Iterable[datetime]]) -> Iterator[datetime]:
        """Yield when each time that the version held the alias is long enough."""
        del created_at
        yield from (since + self.soak.at_least for since in held_since(self.soak.alias))

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for a version that never held it, did not hold it long enough yet, or held it too shortly."""
        del context
        alias, at_least = self.soak.alias, self.soak.at_least
        stretch = evidence.candidate.held.get(alias)
        if stretch is None:
            return self.build_finding(Verdict.PENDING, f"never held {alias}", f"held {alias} for {format_duration(at_least)}")
        if stretch.until is not None:
            seen = f"held {alias} from {format_utc(stretch.since)} to {format_utc(stretch.until)}"
            enough = stretch.until - stretch.since >= at_least
            return self.build_finding(
                Verdict.PASS if enough else Verdict.PENDING, seen, f"held {alias} for {format_duration(at_least)}"
            )
        enough = evidence.at - stretch.since >= at_least
        expected = f"held {alias} for {format_duration(at_least)}: at {format_utc(stretch.since + at_least)}"
        return self.build_finding(
            Verdict.PASS if enough else Verdict.PENDING, f"holds {alias} since {format_utc(stretch.since)}", expected
        )
