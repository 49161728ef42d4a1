"""Those of a race that are programs: a Promoter with its workers, and what trains and registers models."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from random import Random
from typing import Any

from promoter.adapters.work_queue import KeyedWorkQueue
from promoter.application.work_items import GIT, PULLS, REGISTRY, WorkItem, WorkKind
from promoter.container import Container
from promoter.domain.errors import Conflict
from promoter.settings import Settings
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import until

WORKERS = 4
"""As many as the daemon has."""
_RETRY = 0.2
_WRITES = {
    "git": {"commit_file": "commit", "push_proposal": "propose", "delete_branch": "discard"},
    "forge": {
        "open_pull_request": "propose",
        "update_pull_request": "revise",
        "close_pull_request": "close",
        "add_comment": "comment",
        "edit_comment": "edit_comment",
        "delete_comment": "delete_comment",
        "set_commit_status": "set_status",
    },
}
"""What each writing method is called in the counts."""


class CountedPort:
    """A port that counts what is written through it, and how often somebody else was first."""

    def __init__(self, room: str, port: Any, counts: Counter[str], lock: threading.Lock) -> None:
        """`room`: `git` or `forge`."""
        self._room, self._port, self._counts, self._lock = room, port, counts, lock

    def __getattr__(self, name: str) -> Any:
        """The port's own."""
        found = getattr(self._port, name)
        label = _WRITES[self._room].get(name)
        return found if label is None else self._counting(f"{self._room} {label}", found)

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            try:
                result = call(*args, **named)
            except Conflict:
                self._count(f"{name} overtaken")
                raise
            self._count(name)
            return result

        return counted

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


class Racer:
    """A Promoter as the daemon has it, but for the web and the clock that polls: looks are asked for here."""

    def __init__(self, settings: Settings, models: Collection[str]) -> None:
        """Starts its workers; they have nothing to do yet."""
        self.counts: Counter[str] = Counter()
        self._lock = lock = threading.Lock()
        self.queue: KeyedWorkQueue[WorkItem] = KeyedWorkQueue()
        plain = Container(settings)
        repository: Any = CountedPort("git", plain.repository, self.counts, lock)
        forge: Any = CountedPort("forge", plain.forge, self.counts, lock)
        self.world = Container(settings, enqueue_work=self.queue.enqueue, repository=repository, forge=forge)
        self.watch = self.world.build_controller(lambda _: _RETRY)
        kinds = (WorkKind.MODEL, WorkKind.PROPOSALS)
        self._items = [GIT, REGISTRY, PULLS, *(WorkItem(kind, model) for kind in kinds for model in models)]
        self.queue.start_workers(self._run, WORKERS)

    def _run(self, item: WorkItem, trigger: str) -> float | None:
        with self._lock:
            self.counts["looks"] += 1
        return self.watch.run_work_item(item, trigger)

    def look(self, random: Random) -> None:
        """At everything, in whatever order."""
        for item in random.sample(self._items, len(self._items)):
            self.queue.enqueue(item, "race")

    def poll(self) -> None:
        """As the daemon does now and then."""
        for item in (GIT, REGISTRY, PULLS):
            self.queue.enqueue(item, "poll")


class Trainer:
    """Registers versions, better and worse ones."""

    def __init__(self, client: Any, models: Collection[str], random: Random) -> None:
        """Each model gets three, so that aliases have somewhere to go."""
        self.made = 0
        self._client, self._models, self._random = client, list(models), random
        self._best = dict.fromkeys(self._models, 1.0)
        for model in self._models:
            for _ in range(3):
                self._version(model, 0.5)

    def act(self) -> None:
        """One or two more."""
        for model in self._random.sample(self._models, self._random.randint(1, 2)):
            score = round(self._best[model] + self._random.uniform(-0.1, 0.1), 6)
            self._best[model] = max(score, self._best[model])
            self._version(model, score)

    def _version(self, model: str, score: float) -> None:
        make_version(self._client, model, {"auc": score}, mlmodel=None)
        self.made += 1


def until_idle(racers: Collection[Racer], told: Callable[[], str] = str) -> None:
    """Wait until no key waits or runs anywhere."""
    until(lambda: all(racer.queue.is_idle() for racer in racers), "all queues are idle", 120, told)
