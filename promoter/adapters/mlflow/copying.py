"""The port `Copies` on MLflow servers: who holds an alias elsewhere, and copies within a server or between two."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from promoter.adapters.mlflow.artifact import Flawed, within
from promoter.adapters.mlflow.convert import version_of
from promoter.adapters.mlflow.errors import address, translated
from promoter.adapters.mlflow.memory import Memory
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.transferring import CopyBounds, Server, TooLarge, Transfer
from promoter.adapters.mlflow.transport import connect
from promoter.domain.faults import OutsideError, Refused, Unavailable
from promoter.domain.observed import ObservedModel
from promoter.domain.sources import Holding, Place, SourceVersion, unknown

_SECONDS = 30.0  # for one read of another registry: it must not keep this one's aliases waiting
_AGAIN_AFTER = 60.0  # seconds: until a registry that did not answer is asked again
_A_TURN = 60.0  # seconds to wait for another copy to be done: each takes room on the disk
_TOO_LARGE = 3_600.0  # seconds: what is too large is not fetched at every look to find that out
_REMEMBERED = 1_000
_THREADS = 8


class MlflowCopies:
    """The port `Copies`. Safe to share between threads. Connects on first use, and makes one copy at a time."""

    def __init__(self, tracking_uri: str, registries: Mapping[str, str], bounds: CopyBounds | None = None) -> None:
        """`registries`: name to tracking URI of the others. Any URI may hold user and password: neither is ever shown."""
        self._uri = tracking_uri
        self._uris = dict(registries)
        self._bounds = bounds or CopyBounds()
        self._own = MlflowRegistry(tracking_uri)
        self._others = {name: MlflowRegistry(uri, elsewhere=True) for name, uri in registries.items()}
        self._silent: Memory[str, OutsideError] = Memory(_REMEMBERED)
        self._too_large: Memory[str, TooLarge] = Memory(_REMEMBERED)
        self._turn = BoundedSemaphore(1)

    def __repr__(self) -> str:
        """Without secrets."""
        return f"MlflowCopies({self._own.address!r}, {sorted(self._others)!r})"

    def holdings(self, places: Collection[Place]) -> Mapping[Place, Holding]:
        """Who holds each; the registries are read at the same time, each in bulk."""
        by_registry: dict[str, list[Place]] = {}
        for place in places:
            by_registry.setdefault(place.registry, []).append(place)
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda each: self._in_registry(*each), by_registry.items())
            return {holding.place: holding for holdings in found for holding in holdings}

    def copy(self, source: SourceVersion, model: str) -> int:
        """Within a server MLflow copies by itself, and needs no room; between two, everything travels through this machine."""
        found = self._found(source, model)
        if found is not None:
            return found
        if not source.registry:
            return self._copy_within(source, model)
        known = self._too_large.get(source.digest)
        if known is not None:
            raise known.with_traceback(None)
        if not self._turn.acquire(timeout=_A_TURN):
            raise Unavailable("MLflow", f"{source} waits to be copied: another copy is still under way")
        try:
            return self._transfer(source)(source, model)
        except TooLarge as fault:
            self._too_large.put(source.digest, fault, _TOO_LARGE)
            raise
        finally:
            self._turn.release()

    def _in_registry(self, name: str, places: Iterable[Place]) -> list[Holding]:
        try:
            models = self._observed(name, {place.model for place in places})
        except OutsideError as error:
            return [Holding(place, trouble=error) for place in places]
        return [Holding(place, _holder(place, models.get(place.model))) for place in places]

    def _observed(self, name: str, models: Collection[str]) -> Mapping[str, ObservedModel]:
        registry = self._own if not name else self._other(name)
        silent = self._silent.get(name)
        if silent is not None:
            raise silent.with_traceback(None)
        try:
            return within(_SECONDS, lambda: registry.observe(models))
        except Flawed:
            said = f"{registry.address} does not answer within {_SECONDS:.0f} s"
            error: OutsideError = Unavailable(name or "MLflow", said)
        except OutsideError as fault:
            error = type(fault)(name or fault.what, fault.message, fault.fix)
        if isinstance(error, Unavailable):
            self._silent.put(name, error, _AGAIN_AFTER)
        raise error

    def _other(self, name: str) -> MlflowRegistry:
        if name not in self._others:
            raise unknown(name)
        if address(self._uris[name]) == address(self._uri):
            raise Refused(name, "it is this registry itself", "leave `registry` out of `promote_from`, and name the `model`")
        return self._others[name]

    def _found(self, source: SourceVersion, model: str) -> int | None:
        observed = self._own.observe({model}).get(model)
        copies = source.copies(observed) if observed else ()
        if observed is None or not copies:
            return None
        ready = [number for number in copies if observed.versions[number].ready]
        if not ready:
            raise Unavailable("MLflow", f"v{copies[-1]} of {model}, the copy of {source}, is still being registered, or failed")
        return ready[-1]

    def _copy_within(self, source: SourceVersion, model: str) -> int:
        with translated(f"copy {source} to model {model}", self._own.address):
            client, number = connect(self._uri), str(source.version.number)
            if version_of(client.get_model_version(source.model, number)).created_at != source.version.created_at:
                raise Unavailable("MLflow", f"{source} was registered anew; the next look goes on from there")
            return int(client.copy_model_version(f"models:/{source.model}/{number}", model).version)

    def _transfer(self, source: SourceVersion) -> Transfer:
        self._other(source.registry)
        there, here = self._uris[source.registry], self._uri
        return Transfer(Server(there, connect(there, elsewhere=True)), Server(here, connect(here)), self._bounds)


def _holder(place: Place, model: ObservedModel | None) -> SourceVersion | None:
    number = model.aliases.get(place.alias) if model else None
    version = model.versions.get(number) if model and number is not None else None
    return SourceVersion(place.registry, place.model, version) if version else None
