"""The fixture of the use cases' tests: an application on fakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.app import App
from tests.support.fakes.registry import FakeRegistry
from tests.support.fakes.repository import FakeRepository


@pytest.fixture
def app(tmp_path: Path, migrated_sqlite: Path) -> App:
    """An empty registry, an empty ledger, a repository without a commit."""
    shutil.copy(migrated_sqlite, tmp_path / "promoter.db")
    return App(tmp_path, FakeRegistry(), FakeRepository())
