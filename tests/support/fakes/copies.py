"""Another registry in memory, and copies from there into the fake one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from promoter.domain.copy_source import AliasRef, SourceAlias, SourceVersion, build_unknown_registry_error
from promoter.domain.errors import ExternalError
from promoter.domain.observed import ObservedModel
from tests.support.fakes.registry import FakeRegistry

STAGING = "staging"


class FakeCopies:
    """The port `VersionCopies`: `staging` is another registry. `trouble` is what it answers while it cannot be read."""

    def __init__(self, here: FakeRegistry) -> None:
        """Nothing is there yet."""
        self.here = here
        self.staging = FakeRegistry()
        self.trouble: ExternalError | None = None
        self.failing: ExternalError | None = None
        self.asked: list[frozenset[AliasRef]] = []
        self.made: list[tuple[str, int]] = []

    def read_source_aliases(self, places: Collection[AliasRef]) -> Mapping[AliasRef, SourceAlias]:
        """As the port says."""
        self.asked.append(frozenset(places))
        return {place: self._holding(place) for place in places}

    def copy_version(self, source: SourceVersion, model: str, withheld_tags: Collection[str] = ()) -> int:
        """As the port says."""
        seen = self.here.models.get(model) or ObservedModel(model)
        if found := source.find_copies(seen):
            return found[-1]
        if self.failing:
            raise self.failing
        number = (seen.newest_version or 0) + 1
        version = source.version
        made = replace(version, number=number, tags=source.select_copied_tags(withheld_tags))
        if not source.registry:
            made = replace(made, source=f"models:/{source.model}/{version.number}")
        elif version.run_id:
            run_id = f"copy-{model}-{number}"
            self.here.all_runs[run_id] = replace(self.staging.all_runs[version.run_id], run_id=run_id)
            made = replace(made, run_id=run_id)
        self.here.models[model] = replace(seen, versions={**seen.versions, number: made})
        self.made.append((model, number))
        return number

    def _holding(self, place: AliasRef) -> SourceAlias:
        if place.registry not in ("", STAGING):
            return SourceAlias(place, trouble=build_unknown_registry_error(place.registry))
        if place.registry and self.trouble:
            return SourceAlias(place, trouble=self.trouble)
        models = self.staging.models if place.registry else self.here.models
        model = models.get(place.model)
        number = model.aliases.get(place.alias) if model else None
        if model is None or number is None:
            return SourceAlias(place)
        return SourceAlias(place, SourceVersion(place.registry, place.model, model.versions[number]))
