"""The MLflow server that all test processes share: one while anybody uses it, none afterwards, another one later."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.support.shared_server import share_mlflow

pytestmark = pytest.mark.slow


def test_one_server_for_all_its_users(tmp_path: Path) -> None:
    """The second user gets the first one's, which ends behind the last of them."""
    with share_mlflow(tmp_path) as first:
        with share_mlflow(tmp_path) as second:
            assert second == first
        with urllib.request.urlopen(f"{first.uri}/health") as answer:
            assert answer.status == 200
    assert not (tmp_path / "uri").exists()
    with pytest.raises(URLError, match="refused"):
        urllib.request.urlopen(f"{first.uri}/health", timeout=5)
