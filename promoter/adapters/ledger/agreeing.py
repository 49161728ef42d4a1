"""The part of the port that is about what git and the registry agreed on, and about what was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from promoter.adapters.ledger import checks, records, settlements, sightings
from promoter.adapters.ledger.opened import Opened
from promoter.domain.guards import GuardCheck
from promoter.domain.sightings import Sighting


class Agreeing(Opened):
    """Agreements, sightings of tags, and checks of guards."""

    def settle(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent). What they agreed on before is skipped."""
        news = [(model, alias, version) for model, said in statements.items() for alias, version in said.items()]
        with self._database.read() as connection:
            fresh = settlements.not_yet_settled(connection, news, only_first=only_first)
        if not fresh:
            return
        with self._database.append() as chain:
            fresh = settlements.not_yet_settled(chain.connection, fresh, only_first=only_first)
            settlements.insert_settled(chain, fresh, revision, at)

    def unsettle(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        with self._database.append() as chain:
            known = settlements.last_settled(chain.connection, set(aliases))
            gone = [
                (model, alias, settlements.UNSTATED)
                for model, said in aliases.items()
                for alias in said
                if alias in known.get(model, {})
            ]
            settlements.insert_settled(chain, gone, revision, at)

    def settled(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        with self._database.read() as connection:
            return settlements.last_settled(connection, models)

    def held_before(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        with self._database.read() as connection:
            held = settlements.settled_on(connection, model, alias, version)
            return held or records.moved_to(connection, model, alias, version)

    def settled_at(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry came to agree on the alias last; None where they never did."""
        with self._database.read() as connection:
            return settlements.last_agreement(connection, model, alias)

    def sightings(self, models: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        """What was seen of the watched tags of these models' versions, oldest first, for each model that is asked for."""
        with self._database.read() as connection:
            return sightings.find(connection, models)

    def sight(self, news: Iterable[Sighting]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        with self._database.read() as connection:
            fresh = sightings.not_seen_last(connection, news)
        if not fresh:
            return
        with self._database.append() as chain:
            sightings.insert_all(chain, sightings.not_seen_last(chain.connection, fresh))

    def checks(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards, oldest first, for each model and alias that is asked for."""
        with self._database.read() as connection:
            return checks.find(connection, asked)

    def check(self, news: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        found = list(news)
        if found:
            with self._database.append() as chain:
                checks.insert_all(chain, found)
