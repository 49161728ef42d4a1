"""Versions as the ledger remembers them, written and read as plain numbers where a test is about nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from promoter.domain.identity import PresentVersion, RememberedVersion

Numbers = dict[str, dict[str, int | None]]


def numbers(found: Mapping[str, Mapping[str, RememberedVersion]]) -> Numbers:
    """The numbers alone."""
    return {model: {alias: version.number for alias, version in versions.items()} for model, versions in found.items()}


def remembered(statements: Mapping[str, Mapping[str, int | None]]) -> dict[str, dict[str, RememberedVersion]]:
    """Versions of which nobody recorded the identity."""
    return {
        model: {alias: RememberedVersion(number) for alias, number in versions.items()}
        for model, versions in statements.items()
    }


def present(number: int, at: datetime) -> PresentVersion:
    """A version that was registered at that moment, with an identity that nobody knows."""
    return PresentVersion(number, at, None)
