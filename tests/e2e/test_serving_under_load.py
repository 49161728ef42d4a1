"""Both model servers under 20 requests a second, while Promoter rotates the champion and rolls it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stage.serving_load import ServingLoad
from tests.support.stage.stage import Stage

SLOPES = {1: 2.0, 2: -3.0, 3: 4.0, 4: -5.0}


@pytest.mark.slow
def test_three_rotations_and_a_rollback(stage: Stage, fresh_name: str, tmp_path: Path) -> None:
    """No request is dropped or fails, each is answered by the version that it names, and every version has served in turn."""
    with ServingLoad(stage, fresh_name, tmp_path, SLOPES) as load:
        for version in (2, 3, 4):
            load.rotate(version)
        load.roll_back(3)
    for name, stream in load.streams.items():
        assert stream.faults == [], name
        seen = [version for place, version in enumerate(stream.answers) if version not in stream.answers[:place]]
        assert seen == [1, 2, 3, 4], name
        assert set(stream.answers[-10:]) == {3}, name
    assert stage.moves(fresh_name, "champion") == [(None, 1), (1, 2), (2, 3), (3, 4), (4, 3)]
