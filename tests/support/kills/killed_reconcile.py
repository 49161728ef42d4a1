"""A Promoter that looks at one model and dies by SIGKILL at one boundary.

`python -m tests.support.kills.killed_reconcile BOUNDARY MODEL`
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from promoter.container import Container
from promoter.settings import load_settings


@dataclass(frozen=True)
class Boundary:
    """Around which call of which port: before or after its `nth` time."""

    port: str
    call: str
    after: bool
    nth: int = 1


BOUNDARIES = {
    "before-intent": Boundary("ledger", "record_intent", after=False),
    "after-intent": Boundary("ledger", "record_intent", after=True),
    "after-second-intent": Boundary("ledger", "record_intent", after=True, nth=2),
    "before-write": Boundary("registry", "set_alias", after=False, nth=2),
    "after-write": Boundary("registry", "set_alias", after=True),
    "after-second-write": Boundary("registry", "set_alias", after=True, nth=2),
    "after-delete": Boundary("registry", "delete_alias", after=True),
    "after-read-back": Boundary("ledger", "record_outcome", after=False),
    "after-outcome": Boundary("ledger", "record_outcome", after=True, nth=2),
    "before-push": Boundary("repository", "commit_file", after=False),
    "after-push": Boundary("repository", "commit_file", after=True),
}


class DeadlyPort:
    """Stands in for a port, and is that port until the call that kills."""

    def __init__(self, port: Any, boundary: Boundary) -> None:
        """Wraps."""
        self._port = port
        self._boundary = boundary
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        """The port's own, but for the one call."""
        own = getattr(self._port, name)
        if name != self._boundary.call:
            return own

        def deadly(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            if self._calls < self._boundary.nth:
                return own(*args, **kwargs)
            if self._boundary.after:
                own(*args, **kwargs)
            _die()

        return deadly


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived")


if __name__ == "__main__":
    boundary = BOUNDARIES[sys.argv[1]]
    plain = Container(load_settings())
    ports: Any = {boundary.port: DeadlyPort(getattr(plain, boundary.port), boundary)}
    world = plain.with_ports(**ports)
    world.revisions.refresh_head()
    world.model_reconciler.reconcile(sys.argv[2], "killed")
