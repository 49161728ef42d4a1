"""A work queue in this process: one run of a key at a time, duplicates coalesce, an event during a run causes one more."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

import structlog

from promoter.application.notifications import random_jitter
from promoter.domain.backoff import compute_backoff

log = structlog.get_logger(__name__)

Key = TypeVar("Key", bound=Hashable)

FIRST_DELAY, LAST_DELAY = 0.5, 30.0


def compute_backoff_delay(failures: int) -> float:
    """Return the seconds until the next try: doubling from 0.5 to 30, each with a random quarter more or less."""
    return compute_backoff(failures, FIRST_DELAY, LAST_DELAY) * random_jitter()


class KeyedWorkQueue(Generic[Key]):
    """Threads that work on the keys that are enqueued, each with the trigger that asked for it first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: OrderedDict[Key, str] = OrderedDict()
        self._running: set[Key] = set()
        self._again: dict[Key, str] = {}
        self._later: list[tuple[float, int, Key, str]] = []
        self._sequence = count()
        self._due: dict[Key, float] = {}
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start_workers(self, work: Callable[[Key, str], float | None], workers: int) -> None:
        """Start so many threads that call `work` with a key and its trigger; it returns the seconds until the key is due again.

        `work` must not raise: what it raises is logged, and the key is tried again after a backoff, so that one poisoned key
        never stops the others.
        """
        self._threads = [
            threading.Thread(target=self._run_worker, args=(work,), name=f"look-{n}", daemon=True) for n in range(workers)
        ]
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

    def enqueue(self, key: Key, trigger: str, delay: float = 0.0) -> None:
        """Ask for one run of the key, now or after `delay` seconds. The first trigger of several is kept."""
        with self._condition:
            if delay > 0:
                self._schedule_later(key, trigger, delay)
            else:
                self._enqueue_now(key, trigger)
            self._condition.notify()

    @property
    def queue_depth(self) -> int:
        """How many keys wait or run; keys that are due later do not count."""
        with self._condition:
            return len(self._waiting) + len(self._running) + len(self._again)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs; keys that are due later do not count."""
        return self.queue_depth == 0

    def _run_worker(self, work: Callable[[Key, str], float | None]) -> None:
        while (taken := self._take_next_key()) is not None:
            key, trigger = taken
            delay: float | None = None
            try:
                delay = work(key, trigger)
            except Exception:
                log.exception("a look failed in an unforeseen way", key=str(key))
                delay = LAST_DELAY
            self._finish_key(key, trigger, delay)

    def _take_next_key(self) -> tuple[Key, str] | None:
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

    def _enqueue_now(self, key: Key, trigger: str) -> None:
        (self._again if key in self._running else self._waiting).setdefault(key, trigger)

    def _schedule_later(self, key: Key, trigger: str, delay: float) -> None:
        # One date a key: the latest one counts, and what the heap still holds of an older one is passed over.
        self._due[key] = time.monotonic() + delay
        heapq.heappush(self._later, (self._due[key], next(self._sequence), key, trigger))

    def _enqueue_due_keys(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            due, _, key, trigger = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._enqueue_now(key, trigger)

    def _finish_key(self, key: Key, trigger: str, delay: float | None) -> None:
        with self._condition:
            self._running.discard(key)
            again = self._again.pop(key, None)
            if again is not None:
                self._waiting.setdefault(key, again)
            elif delay is not None:
                self._schedule_later(key, trigger, delay)
            self._condition.notify()
