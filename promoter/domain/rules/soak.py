"""`soak`: how long the version has held an alias, as the ledger knows it."""

from __future__ import annotations

from typing import ClassVar

from promoter.domain.document import Document
from promoter.domain.duration import Duration, in_words
from promoter.domain.evidence import Evidence, Need
from promoter.domain.moment import in_utc
from promoter.domain.names import AliasName
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Finding, Verdict


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
        """As it is written."""
        return f"soak {self.soak.alias} at_least {in_words(self.soak.at_least)}"

    def need(self, setting: Setting) -> Need:
        """How long the version held the alias."""
        del setting
        return Need(held=frozenset({self.soak.alias}))

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Never held it, and not long enough yet, are pending; held it too shortly, and no more, is pending as well."""
        del setting
        alias, at_least = self.soak.alias, self.soak.at_least
        stretch = evidence.candidate.held.get(alias)
        if stretch is None:
            return self.found(Verdict.PENDING, f"never held {alias}", f"held {alias} for {in_words(at_least)}")
        if stretch.until is not None:
            seen = f"held {alias} from {in_utc(stretch.since)} to {in_utc(stretch.until)}"
            enough = stretch.until - stretch.since >= at_least
            return self.found(Verdict.PASS if enough else Verdict.PENDING, seen, f"held {alias} for {in_words(at_least)}")
        enough = evidence.at - stretch.since >= at_least
        expected = f"held {alias} for {in_words(at_least)}: at {in_utc(stretch.since + at_least)}"
        return self.found(Verdict.PASS if enough else Verdict.PENDING, f"holds {alias} since {in_utc(stretch.since)}", expected)
