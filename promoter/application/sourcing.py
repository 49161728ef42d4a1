"""Sourcing: who holds the aliases that versions come from, asked once for all of them. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from promoter.application.ports import VersionCopies
from promoter.domain.desired import ModelIntent
from promoter.domain.sources import SourceAlias, AliasRef

SourceAliases = Mapping[AliasRef, SourceAlias]


class SourceAliasReader:
    """Asks only for aliases that rotate: nothing else ever waits for a version from elsewhere."""

    def __init__(self, copies: VersionCopies | None) -> None:
        """Takes the port that it asks; None: nobody is asked."""
        self._copies = copies

    def __call__(self, intents: Iterable[ModelIntent]) -> SourceAliases:
        """By place. Empty where nothing comes from elsewhere: then no other registry is asked anything."""
        rotating = (alias for intent in intents for alias in intent.aliases.values() if alias.rotation != "off")
        places = {place for alias in rotating if (place := AliasRef.from_intent(alias))}
        return self._copies.read_source_aliases(places) if places and self._copies else {}
