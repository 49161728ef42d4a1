"""The pauses between tries."""

from __future__ import annotations

import pytest

from promoter.domain.backoff import compute_backoff


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10_000, 30.0)]
)
def test_a_pause_doubles_up_to_the_longest(failures: int, seconds: float) -> None:
    """However many failures there were."""
    assert compute_backoff(failures, 0.5, 30.0) == seconds
