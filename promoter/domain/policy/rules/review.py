"""`review`: people who approve the pull request that brings the change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from pydantic import Field, field_validator

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import NOT_REQUESTED, Evidence, Need
from promoter.domain.fields import Document, format_utc
from promoter.domain.observed import Unreadable
from promoter.domain.policy.rules.base import BaseRule, ReplayGap, RuleContext
from promoter.domain.review import ChangeOrigin, PullRequestReview

_ACCOUNT_PATTERN = re.compile(r"[A-Za-z0-9][\w.\[\]-]{0,99}", re.ASCII)
_TEAM_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]{0,99}(?:/[A-Za-z0-9][\w.-]{0,99})*/?", re.ASCII)
_SHOWN = 20
_EXPECTED_REVIEW = "an approval that counts"
_NO_PULL_REQUEST = "no pull request yet"
_THIS_PULL_REQUEST = "this pull request, whose approvals count"
_REVIEW_GAP = ReplayGap("review", "who would have approved its pull request", lambda _: False)


class ReviewTerms(Document):
    """How many accounts, and whose word counts: accounts, and teams as `org/team`. Left out: anybody's."""

    at_least: int = Field(default=1, ge=1, le=100, description="How many accounts must approve the pull request.")
    from_: tuple[str, ...] = Field(
        default=(),
        alias="from",
        max_length=100,
        strict=False,
        description="Whose approvals count: accounts, or teams as `org/team`. Left out: anybody's.",
    )
    not_author: bool = Field(default=True, description="false: whoever wrote it may approve it too.")

    @field_validator("from_")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not (_TEAM_PATTERN if "/" in name else _ACCOUNT_PATTERN).fullmatch(name):
                raise ValueError(f"`{name:.60}` is neither an account nor a team (`org/team`, or `group/` at the top level)")
        return names

    @property
    def named_teams(self) -> frozenset[str]:
        """The names with a slash."""
        return frozenset(name for name in self.from_ if "/" in name)


class ReviewRule(BaseRule):
    """`{review: {at_least: 2, from: [alice, acme/risk], not_author: true}}`.

    Reads the pull request that brings the change: while it is open, its approvals as they are; once it is merged, those that
    it had then. Counts accounts. What was approved before the last commit counts for nothing, nor does what was approved before
    the version was registered: that was another version of its number.
    """

    kind: ClassVar[str] = "review"
    guard_objection: ClassVar[str | None] = (
        "a review cannot guard: it is over when the version has the alias, and says nothing of how it serves"
    )

    review: ReviewTerms

    def __str__(self) -> str:
        terms = self.review
        text = f"review at_least {terms.at_least}"
        text += f" from [{', '.join(terms.from_)}]" if terms.from_ else ""
        return text + ("" if terms.not_author else " not_author false")

    @property
    def replay_gap(self) -> ReplayGap:
        """The reviewers: a version that nobody proposed had no pull request."""
        return _REVIEW_GAP

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the pull request, and the members of the teams that it names."""
        del context
        return Need(review=True, teams=self.review.named_teams)

    def find_faults(self, context: RuleContext) -> list[str]:
        """Return a fault where `from` names fewer accounts than have to approve."""
        del context
        named = len({name.casefold() for name in self.review.from_})
        if self.review.from_ and not self.review.named_teams and named < self.review.at_least:
            return [f"`at_least: {self.review.at_least}` can never be: `from` names {named} accounts, and no team"]
        return []

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for too few while people can still approve, and fail once they cannot."""
        del context
        origin, expected = evidence.origin, self._describe_expectation()
        if origin is NOT_REQUESTED:
            return self.build_finding(Verdict.PENDING, _NO_PULL_REQUEST, expected)
        if isinstance(origin, Unreadable):
            return self.build_finding(Verdict.ERROR, None, f"{expected}, and its pull request to be readable: {origin.reason}")
        if origin is None:
            return self.build_finding(Verdict.FAIL, "pushed without a pull request", expected)
        candidate = evidence.candidate
        registered_at = candidate.created_at if candidate.identity else None
        children = tuple(self._weigh_reviews(origin, registered_at))
        count = sum(each.verdict is Verdict.PASS for each in children)
        short = Verdict.FAIL if origin.merged else Verdict.PENDING
        unknown = sorted(self.review.named_teams - origin.teams.keys())
        if unknown:
            short, expected = Verdict.ERROR, f"{expected}, and to know who is in {', '.join(unknown)}"
        verdict = Verdict.PASS if count >= self.review.at_least else short
        return RuleFinding(
            str(self), verdict, f"{count} of {self.review.at_least} approve #{origin.number}", expected, children
        )

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return the way to have it reviewed after all: approvals of what is merged already count for nothing."""
        del model, version
        if finding.verdict is not Verdict.FAIL:
            return None
        again = "revert it, propose the same by a pull request, and merge that once it has the approvals"
        return f"{again}: approvals that are given after the merge do not count"

    def _describe_expectation(self) -> str:
        terms = self.review
        who = f"of [{', '.join(terms.from_)}] " if terms.from_ else ""
        own = ", none of them an author" if terms.not_author else ""
        return f"{terms.at_least} {who}to approve the pull request{own}"

    def _weigh_reviews(self, origin: ChangeOrigin, registered_at: datetime | None) -> Iterator[RuleFinding]:
        """Yield each account that approves, by name; those that count come first, so that no crowd hides them."""
        by_name: dict[str, PullRequestReview] = {}
        for review in origin.reviews:
            known = by_name.get(review.by.casefold())
            if known is None or known.stale:
                by_name[review.by.casefold()] = review
        weighed = [
            (self._find_review_objection(review, origin, registered_at), review) for _, review in sorted(by_name.items())
        ]
        for objection, review in sorted(weighed, key=lambda each: each[0] is not None)[: self.review.at_least + _SHOWN]:
            verdict = Verdict.PASS if objection is None else Verdict.PENDING
            yield RuleFinding(review.by, verdict, objection or "approves", _EXPECTED_REVIEW)

    def _find_review_objection(
        self, review: PullRequestReview, origin: ChangeOrigin, registered_at: datetime | None
    ) -> str | None:
        """Return why the approval does not count; None: it does."""
        who = review.by.casefold()
        if review.stale:
            return "approved an earlier commit"
        if registered_at and review.at and review.at < registered_at:
            return f"approved before this version was registered ({format_utc(registered_at)})"
        if self.review.not_author and who in {name.casefold() for name in {*origin.authors, origin.author}}:
            return "an author"
        if self.review.from_ and who not in self._list_allowed_reviewers(origin):
            return f"not among [{', '.join(self.review.from_)}]"
        return None

    def _list_allowed_reviewers(self, origin: ChangeOrigin) -> set[str]:
        members = (member for team in self.review.named_teams for member in origin.teams.get(team, ()))
        return {name.casefold() for name in (*self.review.from_, *members) if "/" not in name}


def describe_within_pull_request(findings: Iterable[RuleFinding]) -> tuple[RuleFinding, ...]:
    """Return findings that were made before there was a pull request as that pull request shows them to its readers.

    It does not count the approvals: they change, and the text does not.
    """
    return tuple(
        replace(
            each,
            value=_THIS_PULL_REQUEST if _is_about_reviews(each) and each.value == _NO_PULL_REQUEST else each.value,
            children=describe_within_pull_request(each.children),
        )
        for each in findings
    )


def _is_about_reviews(finding: RuleFinding) -> bool:
    """Return whether the rule is of this kind: a tag may have any value, also the same words."""
    return finding.rule.startswith("review ")


def build_approving_origin(rules: Iterable[BaseRule]) -> ChangeOrigin:
    """Return a pull request that satisfies every review rule among these, and those inside them.

    Enough accounts approve it, each of them in every team and under every name.
    """
    found = [each for rule in rules for each in rule.walk_rules() if isinstance(each, ReviewRule)]
    names = {name for rule in found for name in rule.review.from_ if "/" not in name}
    names |= {f"reviewer-{number}" for number in range(max((rule.review.at_least for rule in found), default=0))}
    teams = {team: frozenset(names) for rule in found for team in rule.review.named_teams}
    return ChangeOrigin(1, "", "", reviews=tuple(PullRequestReview(name) for name in sorted(names)), teams=teams)
