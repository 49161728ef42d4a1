"""Two Promoters and a person push at once: no lost edit, no duplicate proposal, and git and the registry agree at the end.

The short form; `benchmarks/two_promoters.py` goes on for 200 rounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.forges.detect import ForgeKind
from tests.support.races.race import RaceTerms, race
from tests.support.shared_server import SharedMlflow

pytestmark = pytest.mark.slow

ROUNDS = 8


@pytest.mark.parametrize(("kind", "shared"), [("gitlab", True), ("gitea", False)], ids=["shared", "separate"])
def test_two_promoters_and_a_person(
    mlflow_server: SharedMlflow, mlflow_client: Any, tmp_path: Path, kind: ForgeKind, *, shared: bool
) -> None:
    """On one database as on two, everything that people did stays, and nothing is proposed twice."""
    figures = race(RaceTerms(ROUNDS, kind, shared, folder="" if shared else "ml"), tmp_path, mlflow_client, mlflow_server.uri)
    assert not figures.violations, figures.table()
    assert figures.counts["proposals opened"] > 0
    assert figures.counts["alias moves"] > 0
