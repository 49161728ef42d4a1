"""Programs and children that start at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from promoter.adapters.mlflow import subprocesses
from tests.support.warm import Children, Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What Promoter's programs are copies of, wherever their start is not what a test is about."""
    with Warm() as program:
        yield program


@pytest.fixture
def warm_children(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> Children:
    """The children that fetch and put artifacts are copies as well: else each begins with seconds of imports."""
    children = Children(warm)
    monkeypatch.setattr(subprocesses, "subprocess", children)
    return children
