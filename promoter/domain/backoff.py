"""How long to wait before something that failed is tried again."""

from __future__ import annotations

_MAX_DOUBLINGS = 20


def compute_backoff(failures: int, first: float, longest: float) -> float:
    """Return the seconds until the next try after so many failures in a row: doubling from `first` to `longest`."""
    return min(longest, first * 2.0 ** min(max(failures, 1) - 1, _MAX_DOUBLINGS))
