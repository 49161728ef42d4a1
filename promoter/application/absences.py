"""Absences: what an answer of the registry no longer has is read again another way, before anything follows from it.

MLflow leaves what is empty out of its answers, so that an answer that lost its aliases on the way looks like one of a model
that has none. What was there a moment ago, or by the ledger's last record, is worth a second question; what never was there
is not, so that a look at which nothing vanished costs nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from promoter.application.ports import Absence, Registry
from promoter.domain.errors import ModelsWithheld, TransientError
from promoter.domain.identity import IdentityTimes, RememberedVersion
from promoter.domain.observed import ModelVersion, ObservedModel

MAX_VERSIONS_READ_AGAIN = 50
"""How many versions of one model that have vanished are read again, the newest ones: each is a request."""

KnownHolders = Mapping[str, int | None]
"""The version that the ledger last saw at each alias of a model; None: nobody held it."""


def find_absences(name: str, before: ObservedModel | None, known: KnownHolders, now: ObservedModel | None) -> Iterator[Absence]:
    """Yield what a model had at the last look (`before`), or by the ledger, and does not have now."""
    held = {alias for alias, version in known.items() if version is not None}
    if now is None:
        if before is not None or held:
            yield Absence(name)
        return
    for alias in sorted((held | (before.aliases.keys() if before else set())) - now.aliases.keys()):
        yield Absence(name, alias)
    numbers = {version for version in known.values() if version is not None} | (before.versions.keys() if before else set())
    for number in sorted(numbers - now.versions.keys(), reverse=True)[:MAX_VERSIONS_READ_AGAIN]:
        yield Absence(name, version=number)
    for number, version in now.versions.items():
        was = before.versions.get(number) if before else None
        if was is not None and was is not version:
            yield from _find_lost_parts(name, was, version)


def _find_lost_parts(name: str, was: ModelVersion, now: ModelVersion) -> Iterator[Absence]:
    if was.created_at == now.created_at:
        if was.run_id and not now.run_id:
            yield Absence(name, version=now.number, run_id=was.run_id)
        for key in sorted(was.tags.keys() - now.tags.keys()):
            yield Absence(name, version=now.number, tag=key, value=was.tags[key])


def check_origins(observed: Mapping[str, ObservedModel], known: Mapping[str, Mapping[str, RememberedVersion]]) -> None:
    """Check that not every version has lost its run on the way, which would make all of them other versions than before.

    MLflow never changes the run of a version. Where one of the same times has another origin than the ledger knows, and no
    version of the whole answer has a run, the answer has lost them. Raises `TransientError`.
    """
    if any(version.run_id for model in observed.values() for version in model.versions.values()):
        return
    for name in known.keys() & observed.keys():
        for was in known[name].values():
            now = observed[name].find_identity(was.number)
            times = IdentityTimes.parse(now)
            if now != was.identity and times is not None and times == IdentityTimes.parse(was.identity):
                lost = f"version {was.number} of model {name} without the run that it was registered from"
                raise TransientError("MLflow", f"an answer cannot be true: {lost}")


class AbsenceMemory:
    """Remembers the last look at each managed model, and has the registry confirm what vanished since. Safe between threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._last: dict[str, ObservedModel] = {}
        self._confirmed: frozenset[Absence] = frozenset()

    def check(
        self, observed: Mapping[str, ObservedModel], known: Mapping[str, KnownHolders], names: Collection[str] | None
    ) -> frozenset[str]:
        """Check an answer about the named models, or about all. Return the models that Promoter may not read any more.

        Raises `TransientError` for an answer that cannot be true, `ModelsWithheld` where no named model may be read.
        """
        looked = self._last.keys() | known.keys() if names is None else set(names)
        missing = [
            absence
            for name in sorted(looked)
            for absence in find_absences(name, self._last.get(name), known.get(name, {}), observed.get(name))
        ]
        withheld: frozenset[str] = frozenset()
        try:
            self._registry.confirm_absences([each for each in missing if each not in self._confirmed])
        except ModelsWithheld as error:
            withheld = error.models
            if names is not None and withheld >= set(names):
                raise
        others = (each for each in self._confirmed if names is not None and each.model not in looked)
        self._confirmed = frozenset({*others, *(each for each in missing if each.model not in withheld)})
        return withheld

    def remember(self, observed: Mapping[str, ObservedModel], names: Collection[str]) -> None:
        """Remember what these models have now, after a look that `check` let pass."""
        for name in names:
            if name in observed:
                self._last[name] = observed[name]
            else:
                self._last.pop(name, None)
