"""The pull request that brings a change, as a case states it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from promoter.domain.case_versions import CaseName
from promoter.domain.document import Document
from promoter.domain.evidence import NOT_REQUESTED
from promoter.domain.observed import Unreadable
from promoter.domain.review import ChangeOrigin, PullRequestReview

PUSHED_WORD, UNREADABLE_WORD = "none", "unreadable"
_Names = Annotated[tuple[CaseName, ...], Field(max_length=100, strict=False)]


class ReviewCase(Document):
    """Who wrote it, and who approves it. Or the word `none` (pushed without one), or `unreadable` (the forge is down)."""

    author: CaseName = "author"
    authors: _Names = ()
    reviewers: _Names = ()
    stale: _Names = ()
    teams: dict[CaseName, _Names] = Field(default_factory=dict, max_length=100)
    merged: bool = False
    word: str | None = Field(default=None, exclude=True)

    @property
    def to_change_origin(self) -> ChangeOrigin | Unreadable | None:
        """As the forge would tell it."""
        if self.word is not None:
            return Unreadable("the case says so") if self.word == UNREADABLE_WORD else None
        reviews = [PullRequestReview(name) for name in self.reviewers] + [
            PullRequestReview(name, stale=True) for name in self.stale
        ]
        authors, teams = frozenset({self.author, *self.authors}), {team: frozenset(each) for team, each in self.teams.items()}
        return ChangeOrigin(1, "the case's", self.author, authors, tuple(reviews), self.merged, teams=teams)


def _parse_review_word(value: object) -> object:
    if isinstance(value, str):
        if value not in (PUSHED_WORD, UNREADABLE_WORD):
            raise ValueError(f"this is a mapping, or one of the words `{PUSHED_WORD}` and `{UNREADABLE_WORD}`")
        return {"word": value}
    return value


StatedReview = Annotated[
    ReviewCase, BeforeValidator(_parse_review_word, json_schema_input_type=ReviewCase | Literal["none", "unreadable"])
]


def build_case_origin(case: ReviewCase | None) -> ChangeOrigin | Unreadable | None:
    """What a rule sees; a case that says nothing has no pull request yet."""
    return case.to_change_origin if case else NOT_REQUESTED
