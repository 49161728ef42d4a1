"""What was found out once and does not change: kept while it is in use, and bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from math import inf
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Key to value; what was not used for longest is dropped. Safe to share between threads."""

    def __init__(self, size: int) -> None:
        """Holds at most `size` values."""
        self._size = size
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value; None where there is none, or none any more."""
        with self._lock:
            value, until = self._kept.get(key, (None, inf))
            if value is None or time.monotonic() >= until:
                return None
            self._kept.move_to_end(key)
            return value

    def put(self, key: K, value: V, seconds: float = inf) -> None:
        """Keep the value, for that long."""
        with self._lock:
            self._kept[key] = value, time.monotonic() + seconds
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
