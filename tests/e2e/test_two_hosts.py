"""Two daemons on two hosts, with one ledger in PostgreSQL: each change is made once, by one of them, and recorded once.

The short form; `benchmarks/two_hosts.py` goes on for several rounds of 48 changes.
"""

from __future__ import annotations

import pytest

from tests.support.kills.kill_run import KillStage
from tests.support.races.two_hosts import HostTerms, run_two_hosts
from tests.support.stage.stage import Stage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stopped", [0.0, 2.5], ids=["running", "stopped"])
def test_two_daemons_with_nothing_in_common_but_the_ledger(stage: Stage, postgres_url: str, stopped: float) -> None:
    """Each has its own TMPDIR and mirror, and one may be stopped in mid-change: no change fails, none is done twice."""
    figures = run_two_hosts(KillStage(stage, postgres_url), HostTerms(models=6, drifts=2, stopped=stopped), rounds=1)
    assert not figures.violations, figures.table("two hosts")
    assert figures.counts["intended"] == figures.counts["applied"] == 18
    assert not figures.counts["failed"] + figures.counts["recovered"] + figures.counts["false observations"]
    assert (figures.counts["daemons stopped in mid-change"] > 0) == (stopped > 0)
