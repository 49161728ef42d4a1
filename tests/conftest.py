"""Loads the fixtures that several rooms share."""

pytest_plugins = [
    "tests.fixtures_postgres",
    "tests.fixtures_mlflow",
    "tests.fixtures_git",
    "tests.fixtures_ledger",
    "tests.fixtures_forging",
    "tests.fixtures_signing",
]
