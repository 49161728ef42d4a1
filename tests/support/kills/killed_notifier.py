"""A notifier that dies by SIGKILL around the record of what it sent.

`python -m tests.support.kills.killed_notifier before|after`
"""

from __future__ import annotations

import sys
from typing import Any

from promoter.container import Container
from promoter.settings import load_settings
from tests.support.kills.killed_reconcile import Boundary, DeadlyPort

if __name__ == "__main__":
    world = Container(load_settings())
    if len(sys.argv) > 1:
        boundary = Boundary("outbox", "record_delivery_attempts", after=sys.argv[1] == "after")
        outbox: Any = DeadlyPort(world.event_outbox, boundary)
        world = world.with_ports(event_outbox=outbox)
    world.notifier.start_channels()
    for name in world.notifier.channel_names:
        world.notifier.run_channel(name, "test")
