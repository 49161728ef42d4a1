"""A keyed queue in this process: one run of a key at a time, duplicates coalesce, an event during a run causes one more."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


WorkFunction = Callable[[str, str], float | None]
"""Takes a key and the trigger; returns None, or after how many seconds to look at the key again."""

FIRST_DELAY, LAST_DELAY = 0.5, 30.0


def compute_backoff_delay(failures: int) -> float:
    """Seconds until the next try: doubling from 0.5 to 30, each with a random quarter more or less."""
    delay: float = min(LAST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 10))
    return delay * random.uniform(0.75, 1.25)  # noqa: S311  # jitter, not cryptography


class KeyedWorkQueue:
    """Threads that call `work` for the keys that are put.

    `work` must not raise: what it raises is logged and the key looked at again after a backoff, so that one poisoned key
    never stops the others.
    """

    def __init__(self, work: WorkFunction, workers: int = 4) -> None:
        """Starts no thread yet."""
        self._work = work
        self._condition = threading.Condition()
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._running: set[str] = set()
        self._again: dict[str, str] = {}
        self._later: list[tuple[float, str, str]] = []
        self._due: dict[str, float] = {}
        self._stopping = False
        self._threads = [threading.Thread(target=self._run_worker, name=f"look-{n}", daemon=True) for n in range(workers)]

    def start_workers(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop_workers(self, timeout: float = 20.0) -> bool:
        """Let running keys finish, drop waiting ones (they are found again at the next start); whether all finished."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def enqueue(self, key: str, trigger: str, delay: float = 0.0) -> None:
        """Ask for one look at the key, now or after `delay` seconds. The first trigger of several is kept."""
        with self._condition:
            if delay > 0:
                self._schedule_later(key, trigger, delay)
            elif key in self._running:
                self._again.setdefault(key, trigger)
            else:
                self._waiting.setdefault(key, trigger)
            self._condition.notify()

    @property
    def queue_depth(self) -> int:
        """How many keys wait or run."""
        with self._condition:
            return len(self._waiting) + len(self._running) + len(self._again)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs; keys that are due later do not count."""
        return self.queue_depth == 0

    def _run_worker(self) -> None:
        while (taken := self._take_next_key()) is not None:
            key, trigger = taken
            delay: float | None = None
            try:
                delay = self._work(key, trigger)
            except Exception:
                log.exception("a look failed in an unforeseen way", key=key)
                delay = LAST_DELAY
            self._finish_key(key, trigger, delay)

    def _take_next_key(self) -> tuple[str, str] | None:
        with self._condition:
            while not self._stopping:
                self._enqueue_due_keys()
                if self._waiting:
                    key, trigger = self._waiting.popitem(last=False)
                    self._running.add(key)
                    self._due.pop(key, None)
                    return key, trigger
                timeout = self._later[0][0] - time.monotonic() if self._later else None
                self._condition.wait(timeout)
            return None

    def _schedule_later(self, key: str, trigger: str, delay: float) -> None:
        # One date a key: the latest said stands, and what the heap still holds of an older one is passed over.
        self._due[key] = time.monotonic() + delay
        heapq.heappush(self._later, (self._due[key], key, trigger))

    def _enqueue_due_keys(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            due, key, trigger = heapq.heappop(self._later)
            if self._due.get(key) != due:
                continue
            del self._due[key]
            if key in self._running:
                self._again.setdefault(key, trigger)
            else:
                self._waiting.setdefault(key, trigger)

    def _finish_key(self, key: str, trigger: str, delay: float | None) -> None:
        with self._condition:
            self._running.discard(key)
            again = self._again.pop(key, None)
            if again is not None:
                self._waiting.setdefault(key, again)
            elif delay is not None:
                self._schedule_later(key, trigger, delay)
            self._condition.notify()
