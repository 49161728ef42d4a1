"""What goes wrong with a hosted forge, on demand, and what it was asked to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass(frozen=True)
class ForgeCall:
    """One request. `path` as it came, with its query; `body` parsed where it is JSON; `account` by its token."""

    method: str
    path: str
    body: Any = None
    account: str | None = None

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method not in ("GET", "HEAD", "OPTIONS")


Predicate = Callable[[ForgeCall], bool]


@dataclass(frozen=True)
class FaultyAnswer:
    """A ready answer, in the place of the forge's own."""

    status: int
    body: bytes = b'{"message": "Server Error"}'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def writing(part: str = "") -> Predicate:
    """Whether a call writes, to a path with that part in it."""
    return lambda call: call.writes and part in call.path


@dataclass
class _Armed:
    predicate: Predicate
    times: int
    answer: FaultyAnswer | None = None


@dataclass
class FaultPlan:
    """Armed faults, each for so many calls. `down`: every call gets a 502. `latency`: seconds before each answer.

    `writes` are the calls that may have changed something and were done, oldest first; cut ones among them. `calls` are all.
    """

    down: bool = False
    latency: float = 0.0
    calls: list[ForgeCall] = field(default_factory=list)
    writes: list[ForgeCall] = field(default_factory=list)
    hit: list[ForgeCall] = field(default_factory=list)
    _before: list[_Armed] = field(default_factory=list)
    _after: list[_Armed] = field(default_factory=list)
    _instead: list[_Armed] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def fail_before(self, predicate: Predicate, times: int = 1) -> None:
        """Cut the connection before such a call is done: nothing is written, nothing answered."""
        self._before.append(_Armed(predicate, times))

    def fail_after(self, predicate: Predicate, times: int = 1) -> None:
        """Do the call, and cut the connection without an answer."""
        self._after.append(_Armed(predicate, times))

    def answer(self, predicate: Predicate, answer: FaultyAnswer, times: int = 1) -> None:
        """Give this answer, and do nothing."""
        self._instead.append(_Armed(predicate, times, answer))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self.down, self.latency = False, 0.0
            for armed in (self._before, self._after, self._instead):
                armed.clear()

    def cuts_before(self, call: ForgeCall) -> bool:
        """Whether it is cut now; counts as one hit."""
        return self._struck(self._before, call) is not None

    def cuts_after(self, call: ForgeCall) -> bool:
        """Whether it is cut now; counts as one hit."""
        return self._struck(self._after, call) is not None

    def instead(self, call: ForgeCall) -> FaultyAnswer | None:
        """The answer that was prepared for it; counts as one hit."""
        struck = self._struck(self._instead, call)
        return struck.answer if struck else None

    def _struck(self, armed: list[_Armed], call: ForgeCall) -> _Armed | None:
        with self._lock:
            found = next((each for each in armed if each.predicate(call)), None)
            if found is None:
                return None
            found.times -= 1
            if found.times <= 0:
                armed.remove(found)
            self.hit.append(call)
            return found
