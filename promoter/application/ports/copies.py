"""Versions from elsewhere: who holds an alias of another model or registry, and copies of such versions here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from promoter.domain.sources import SourceAlias, AliasRef, SourceVersion


class VersionCopies(Protocol):
    """What `promote_from` needs of the world."""

    def read_source_aliases(self, places: Collection[AliasRef]) -> Mapping[AliasRef, SourceAlias]:
        """Who holds each of these now: one read in bulk a registry. Never raises: a holding tells its own trouble.

        Bounded in time, whatever another registry does.
        """
        ...

    def copy_version(self, source: SourceVersion, model: str) -> int:
        """See that this registry has a complete copy of that version, as a version of that model; the copy's number.

        One that is there is not made again, and what an earlier attempt left half done is finished. The model is registered
        where it is not yet; no alias moves. The caller holds the model's lock. Raises `TransientError` or `PermanentError`.
        """
        ...
