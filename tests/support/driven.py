"""A Promoter without a daemon: the work that it asks for is kept, and carried out by hand."""

from __future__ import annotations

from collections import deque
from typing import Unpack

from promoter.application.controller import Controller
from promoter.application.work_items import WorkItem
from promoter.configured_adapters import Ports
from promoter.container import Container
from promoter.settings import Settings


class DrivenContainer(Container):
    """A container whose work waits in `requested` until a test carries it out."""

    def __init__(self, settings: Settings, **ports: Unpack[Ports]) -> None:
        """`ports` stand in for what the settings ask for."""
        self.requested: list[tuple[WorkItem, str]] = []
        """The work that was asked for, with its triggers, oldest first."""
        super().__init__(settings, enqueue_work=lambda item, trigger: self.requested.append((item, trigger)), **ports)

    @property
    def asked(self) -> list[WorkItem]:
        """The work that was asked for."""
        return [item for item, _ in self.requested]

    def run(self, watch: Controller, item: WorkItem, trigger: str = "poll") -> list[WorkItem]:
        """Carry one item out; the work that it asks for."""
        self.requested.clear()
        watch.run_work_item(item, trigger)
        return self.asked

    def run_all(self, watch: Controller, trigger: str, *items: WorkItem, retry: bool = False) -> None:
        """Carry out the items, and what they ask for, until nothing waits; `retry`: also what has to be tried again."""
        self.requested.clear()
        waiting = deque(items)
        for _ in range(200):
            if not waiting:
                return
            item = waiting.popleft()
            if watch.run_work_item(item, trigger) is not None and retry:
                self.requested.append((item, trigger))
            waiting.extend(each for each in dict.fromkeys(self.asked) if each not in waiting)
            self.requested.clear()
        raise AssertionError(f"goes on for ever: {waiting}, {watch.health.current_problems}")
