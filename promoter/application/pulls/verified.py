"""What this process knows to be as it should be on the forge, so that a poll need not read all of it again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from promoter.application.ports import Clock

VERIFIED_LIFETIME = timedelta(minutes=10)
"""So long a comment or a status that somebody else takes away may be missing; forges count the calls of an hour."""


class VerifiedStates:
    """What was last found, or made, as it is to be on each pull request, by number, and when."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is known after a start."""
        self._clock = clock
        self._known: dict[int, tuple[datetime, object]] = {}

    def is_verified(self, number: int, what: object) -> bool:
        """Whether exactly that was so within the last ten minutes."""
        at, known = self._known.get(number, (None, None))
        return at is not None and known == what and self._clock.now() - at < VERIFIED_LIFETIME

    def record_verified(self, number: int, what: object) -> None:
        """It is so now."""
        self._known[number] = self._clock.now(), what

    def retain_pull_requests(self, numbers: Collection[int]) -> None:
        """Forget all others."""
        for number in list(self._known):  # looks at other pull requests may add to it meanwhile
            if number not in numbers:
                self._known.pop(number, None)
