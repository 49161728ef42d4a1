"""The part of the port that is about what git and the registry agreed on, and about what was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from promoter.adapters.ledger import checks, records, settlements, sightings
from promoter.adapters.ledger.opened import OpenLedger
from promoter.domain.guards import GuardCheck
from promoter.domain.sightings import TagObservation


class SqlObservationLog(OpenLedger):
    """Agreements, sightings of tags, and checks of guards."""

    def record_last_applied(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent). What they agreed on before is skipped."""
        news = [(model, alias, version) for model, versions in statements.items() for alias, version in versions.items()]
        with self._database.read_transaction() as connection:
            fresh = settlements.select_new_last_applied(connection, news, only_first=only_first)
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            fresh = settlements.select_new_last_applied(chain.connection, fresh, only_first=only_first)
            settlements.insert_last_applied(chain, fresh, revision, at)

    def forget_last_applied(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        with self._database.append_transaction() as chain:
            known = settlements.find_last_applied(chain.connection, set(aliases))
            gone = [
                (model, alias, settlements.UNDECLARED)
                for model, alias_names in aliases.items()
                for alias in alias_names
                if alias in known.get(model, {})
            ]
            settlements.insert_last_applied(chain, gone, revision, at)

    def read_last_applied(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        with self._database.read_transaction() as connection:
            return settlements.find_last_applied(connection, models)

    def has_held_alias(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        with self._database.read_transaction() as connection:
            held = settlements.was_ever_applied(connection, model, alias, version)
            return held or records.has_alias_moved_to(connection, model, alias, version)

    def last_applied_revision(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry came to agree on the alias last; None where they never did."""
        with self._database.read_transaction() as connection:
            return settlements.find_last_applied_revision(connection, model, alias)

    def find_tag_observations(self, models: Collection[str]) -> Mapping[str, Sequence[TagObservation]]:
        """What was seen of the watched tags of these models' versions, oldest first, for each model that is asked for."""
        with self._database.read_transaction() as connection:
            return sightings.find_tag_observations(connection, models)

    def record_tag_observations(self, news: Iterable[TagObservation]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        with self._database.read_transaction() as connection:
            fresh = sightings.select_changed_observations(connection, news)
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            sightings.insert_tag_observations(chain, sightings.select_changed_observations(chain.connection, fresh))

    def find_guard_checks(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards, oldest first, for each model and alias that is asked for."""
        with self._database.read_transaction() as connection:
            return checks.find_guard_checks(connection, aliases)

    def record_guard_checks(self, news: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        found = list(news)
        if found:
            with self._database.append_transaction() as chain:
                checks.insert_guard_checks(chain, found)
