"""Work queues in this process: one run of a key at a time, duplicates coalesce, an event during a run causes one more.

A run that hangs must not keep other keys waiting. So a run that takes longer than usual gives its place to another thread,
keys whose last run failed after a long time share a few threads of their own, and some threads serve only keys whose last
run was quick.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import IntEnum
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


@dataclass(frozen=True)
class WorkerLimits:
    """How many runs of one kind of work may go on at once."""

    workers: int
    """The places for runs."""
    reserved: int = 0
    """So many of these places are only for keys whose last run was quick."""
    spare: int = 0
    """So many runs that take long may go on beside those that have a place."""
    hanging: int = 1
    """So many keys whose last run failed after a long time may run at once, all of them without a place."""
    patience: float = 3.0
    """The seconds after which a run takes long."""

    @property
    def threads(self) -> int:
        """The number of threads, which is the most that can run at once."""
        return self.workers + self.spare


class _KeyClass(IntEnum):
    """What the last run of a key says about the next one."""

    QUICK = 0
    UNKNOWN = 1
    HANGING = 2


class KeyedWorkQueue(Generic[Key]):
    """Threads that work on the keys that are enqueued, each with the trigger that asked for it first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: dict[_KeyClass, OrderedDict[Key, tuple[int, str]]] = {each: OrderedDict() for each in _KeyClass}
        self._running: dict[Key, float] = {}
        self._class: dict[Key, _KeyClass] = {}
        self._again: dict[Key, str] = {}
        self._later: list[tuple[float, int, Key, str]] = []
        self._sequence = count()
        self._due: dict[Key, float] = {}
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._limits = WorkerLimits(1)

    def start_workers(self, work: Callable[[Key, str], float | None], workers: int | WorkerLimits, name: str = "work") -> None:
        """Start threads that call `work` with a key and its trigger; it returns the seconds until the key is due again.

        `work` must not raise: what it raises is logged, and the key is tried again after a backoff, so that one poisoned key
        never stops the others.
        """
        self._limits = WorkerLimits(workers) if isinstance(workers, int) else workers
        self._threads = [
            threading.Thread(target=self._run_worker, args=(work,), name=f"{name}-{n}", daemon=True)
            for n in range(self._limits.threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop_workers(self, timeout: float = 20.0) -> bool:
        """Let running keys finish, drop waiting ones (they are found again at the next start); whether all finished."""
        self.refuse_work()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def refuse_work(self) -> None:
        """Begin no further run."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def enqueue(self, key: Key, trigger: str, delay: float = 0.0) -> None:
        """Request one run of the key, now or after `delay` seconds. The first trigger of several is kept."""
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
            return sum(map(len, self._waiting.values())) + len(self._running) + len(self._again)

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
                log.exception("a run failed in an unforeseen way", key=str(key))
                delay = LAST_DELAY
            self._finish_key(key, trigger, delay)

    def _take_next_key(self) -> tuple[Key, str] | None:
        with self._condition:
            while not self._stopping:
                self._enqueue_due_keys()
                now = time.monotonic()
                if (chosen := self._choose_class(now)) is not None:
                    key, (_, trigger) = self._waiting[chosen].popitem(last=False)
                    self._running[key] = now
                    self._due.pop(key, None)
                    self._condition.notify()  # whoever watched the clock may be this thread
                    return key, trigger
                self._condition.wait(self._find_wait_seconds(now))
            return None

    def _choose_class(self, now: float) -> _KeyClass | None:
        """Choose the class whose first key has waited longest, of those that may run now."""
        limits, heads = self._limits, {each: next(iter(keys.values()))[0] for each, keys in self._waiting.items() if keys}
        if not heads:
            return None
        hanging = sum(self._class.get(key) is _KeyClass.HANGING for key in self._running)
        late = sum(self._is_late(key, since, now) for key, since in self._running.items())
        places = limits.workers - (len(self._running) - min(late, limits.spare))
        allowed = {
            _KeyClass.QUICK: places > 0,
            _KeyClass.UNKNOWN: places > limits.reserved,
            _KeyClass.HANGING: late < limits.spare and hanging < limits.hanging if limits.spare else places > 0,
        }
        return min((each for each in heads if allowed[each]), key=heads.__getitem__, default=None)

    def _is_late(self, key: Key, since: float, now: float) -> bool:
        return self._class.get(key) is _KeyClass.HANGING or now - since >= self._limits.patience

    def _find_wait_seconds(self, now: float) -> float | None:
        """Find the seconds until a key is due, or until a run that takes long makes room for a key that waits."""
        moments = [self._later[0][0]] if self._later else []
        if any(self._waiting.values()):
            patience = self._limits.patience
            moments += [since + patience for since in self._running.values() if since + patience > now]
        return max(0.0, min(moments) - now) if moments else None

    def _enqueue_now(self, key: Key, trigger: str) -> None:
        if key in self._running:
            self._again.setdefault(key, trigger)
        else:
            waiting = self._waiting[self._class.get(key, _KeyClass.UNKNOWN)]
            waiting.setdefault(key, (next(self._sequence), trigger))

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
            late = time.monotonic() - self._running.pop(key) >= self._limits.patience
            self._classify_key(key, late=late, failed=delay is not None)
            again = self._again.pop(key, None)
            if again is not None:
                self._enqueue_now(key, again)
            elif delay is not None:
                self._schedule_later(key, trigger, delay)
            self._condition.notify()

    def _classify_key(self, key: Key, *, late: bool, failed: bool) -> None:
        if late and failed:
            self._class[key] = _KeyClass.HANGING
        elif not failed and not late:
            self._class[key] = _KeyClass.QUICK
        elif not failed or self._class.get(key) is _KeyClass.QUICK:
            self._class.pop(key, None)


class WorkLanes(Generic[Key]):
    """One queue with threads of its own for each kind of work, so that one kind never keeps another one waiting."""

    def __init__(self, find_kind: Callable[[Key], str], limits: Mapping[str, WorkerLimits]) -> None:
        """`find_kind` returns the kind of a key, which is one of `limits`."""
        self._find_kind = find_kind
        self._limits = limits
        self._queues: dict[str, KeyedWorkQueue[Key]] = {kind: KeyedWorkQueue() for kind in limits}

    def start_workers(self, work: Callable[[Key, str], float | None]) -> None:
        """Start the threads of every kind; see `KeyedWorkQueue.start_workers`."""
        for kind, queue in self._queues.items():
            queue.start_workers(work, self._limits[kind], kind)

    def stop_workers(self, timeout: float = 20.0) -> bool:
        """Let running keys finish, for up to `timeout` seconds in all; whether all finished."""
        for queue in self._queues.values():
            queue.refuse_work()
        deadline = time.monotonic() + timeout
        finished = [queue.stop_workers(max(0.0, deadline - time.monotonic())) for queue in self._queues.values()]
        return all(finished)

    def enqueue(self, key: Key, trigger: str, delay: float = 0.0) -> None:
        """Request one run of the key; see `KeyedWorkQueue.enqueue`."""
        self._queues[self._find_kind(key)].enqueue(key, trigger, delay)

    @property
    def queue_depths(self) -> Mapping[str, int]:
        """How many keys of each kind wait or run."""
        return {kind: queue.queue_depth for kind, queue in self._queues.items()}
