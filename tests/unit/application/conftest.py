"""The fixture of the use cases' tests: an application on fakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.fakes.registry import FakeRegistry
from tests.support.fakes.repository import FakeRepository
from tests.support.rollbacks import POLICY, ROTATING


@pytest.fixture
def app(tmp_path: Path, migrated_sqlite: Path) -> App:
    """An empty registry, an empty ledger, a repository without a commit."""
    shutil.copy(migrated_sqlite, tmp_path / "promoter.db")
    return App(tmp_path, FakeRegistry(), FakeRepository())


@pytest.fixture
def watched_app(app: App) -> App:
    """v1, v2 and v3 were the champion one after the other, by rotation; v3 is."""
    app.mlflow.version("m", auc=0.6)
    app.mlflow.place("m", "champion", 1)
    app.commit(ROTATING, p=POLICY)
    app.converge()
    for auc in (0.7, 0.8):
        app.mlflow.version("m", auc=auc)
        app.converge()
    assert app.aliases() == {"champion": 3}
    return app
