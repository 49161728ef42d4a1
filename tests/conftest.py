"""Loads the fixtures that several folders share, and decides which cases `make test` leaves to `make test-slow`."""

from __future__ import annotations

import pytest

from tests.support.profiles import load_profiles

load_profiles()

pytest_plugins = [
    "tests.support.fixtures.postgres",
    "tests.support.fixtures.mlflow",
    "tests.support.fixtures.workspaces",
    "tests.support.fixtures.git",
    "tests.support.fixtures.ledger",
    "tests.support.fixtures.forged_ledger",
    "tests.support.fixtures.sandbox",
    "tests.support.fixtures.basic_auth",
    "tests.support.fixtures.s3",
    "tests.support.fixtures.signing",
    "tests.support.fixtures.warm",
    "tests.support.fixtures.web",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what follows from a case: slow ones by their parameters, and those whose examples are drawn."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        fast = item.get_closest_marker("slow_except")
        if fast is not None and getattr(callspec, "id", "") not in fast.args:
            item.add_marker("slow")
        if item.get_closest_marker("postgres") and not item.get_closest_marker("each_database"):
            item.add_marker("slow")
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("property_based")
