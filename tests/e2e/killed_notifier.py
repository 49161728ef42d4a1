"""A notifier that dies by SIGKILL around the record of what it sent: `python -m tests.e2e.killed_notifier before|after`."""

from __future__ import annotations

import sys

from promoter.bootstrap import World
from promoter.settings import load
from tests.e2e.killed import Boundary, Deadly

if __name__ == "__main__":
    world = World(load())
    if len(sys.argv) > 1:
        world.outbox = Deadly(world.outbox, Boundary("outbox", "keep", after=sys.argv[1] == "after"))
    world.notifier.begin()
    for name in world.notifier.names:
        world.notifier.run(name, "test")
