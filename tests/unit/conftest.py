"""What every unit test begins with."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _every_line_of_the_log() -> None:
    """No line is left out: a test that ran a command before, in this process, may have asked for warnings only."""
    structlog.reset_defaults()
