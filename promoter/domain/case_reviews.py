"""The pull request that brings a change, as a case states it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from promoter.domain.case_versions import Name
from promoter.domain.document import Document
from promoter.domain.evidence import NOT_READ
from promoter.domain.observed import Unread
from promoter.domain.review import Origin, Review

PUSHED, UNREADABLE = "none", "unreadable"
_Names = Annotated[tuple[Name, ...], Field(max_length=100, strict=False)]


class ReviewCase(Document):
    """Who wrote it, and who approves it. Or the word `none` (pushed without one), or `unreadable` (the forge is down)."""

    author: Name = "author"
    authors: _Names = ()
    reviewers: _Names = ()
    stale: _Names = ()
    teams: dict[Name, _Names] = Field(default_factory=dict, max_length=100)
    merged: bool = False
    word: str | None = Field(default=None, exclude=True)

    @property
    def origin(self) -> Origin | Unread | None:
        """As the forge would tell it."""
        if self.word is not None:
            return Unread("the case says so") if self.word == UNREADABLE else None
        reviews = [Review(name) for name in self.reviewers] + [Review(name, stale=True) for name in self.stale]
        authors, teams = frozenset({self.author, *self.authors}), {team: frozenset(each) for team, each in self.teams.items()}
        return Origin(1, "the case's", self.author, authors, tuple(reviews), self.merged, teams=teams)


def _or_word(value: object) -> object:
    if isinstance(value, str):
        if value not in (PUSHED, UNREADABLE):
            raise ValueError(f"this is a mapping, or one of the words `{PUSHED}` and `{UNREADABLE}`")
        return {"word": value}
    return value


StatedReview = Annotated[
    ReviewCase, BeforeValidator(_or_word, json_schema_input_type=ReviewCase | Literal["none", "unreadable"])
]


def origin_of(case: ReviewCase | None) -> Origin | Unread | None:
    """What a rule sees; a case that says nothing has no pull request yet."""
    return case.origin if case else NOT_READ
