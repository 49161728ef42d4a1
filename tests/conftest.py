"""Loads the fixtures that several rooms share, and lets Hypothesis take its time: nothing here asserts a duration."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unhurried", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # of what runs in CI, which is the same at each run, the rest stays as it is
settings.load_profile("unhurried")

pytest_plugins = [
    "tests.support.fixtures.postgres",
    "tests.support.fixtures.mlflow",
    "tests.support.fixtures.git",
    "tests.support.fixtures.ledger",
    "tests.support.fixtures.forged_ledger",
    "tests.support.fixtures.signing",
    "tests.support.fixtures.warm",
    "tests.support.fixtures.web",
]
