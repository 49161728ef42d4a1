"""Waivers: a rule of the policy that one version need not meet, for a reason, until a day."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from promoter.domain.document import Document
from promoter.domain.moment import Moment
from promoter.domain.names import ModelName, VersionNumber


class Waiver(Document):
    """One version of one model need not meet one rule. `rule` is the rule's name, or its text as `explain` shows it."""

    model: ModelName
    version: VersionNumber
    rule: str = Field(min_length=1, max_length=1_000)
    reason: str = Field(min_length=1, max_length=1_000)
    by: str | None = Field(default=None, min_length=1, max_length=200)
    until: Moment

    def is_in_force(self, now: datetime) -> bool:
        """Whether it still holds."""
        return now < self.until

    def __str__(self) -> str:
        """For whoever reads a decision."""
        who = f" by {self.by}" if self.by else ""
        return f"waived{who} until {self.until:%Y-%m-%d %H:%M %Z}: {self.reason}"
