"""The port `VersionCopies` on MLflow servers: who holds an alias elsewhere, and copies within a server or between two."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from promoter.adapters.mlflow.artifact import ArtifactError, run_with_deadline
from promoter.adapters.mlflow.convert import parse_model_version
from promoter.adapters.mlflow.errors import redact_server_address, translate_mlflow_errors
from promoter.adapters.mlflow.memory import ExpiringCache
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.transferring import CopyBounds, TrackingServer, ArtifactTooLarge, VersionTransfer
from promoter.adapters.mlflow.transport import create_mlflow_client
from promoter.domain.faults import ExternalError, PermanentError, TransientError
from promoter.domain.observed import ObservedModel
from promoter.domain.sources import SourceAlias, AliasRef, SourceVersion, build_unknown_registry_error

_READ_SECONDS = 30.0  # for one read of another registry: it must not keep this one's aliases waiting
_RETRY_AFTER_SECONDS = 60.0  # seconds: until a registry that did not answer is asked again
_TURN_SECONDS = 60.0  # seconds to wait for another copy to be done: each takes room on the disk
_TOO_LARGE_SECONDS = 3_600.0  # seconds: what is too large is not fetched at every look to find that out
_CACHE_SIZE = 1_000
_MAX_THREADS = 8


class MlflowCopies:
    """The port `VersionCopies`. Safe to share between threads. Connects on first use, and makes one copy at a time."""

    def __init__(self, tracking_uri: str, registries: Mapping[str, str], bounds: CopyBounds | None = None) -> None:
        """`registries`: name to tracking URI of the others. Any URI may hold user and password: neither is ever shown."""
        self._uri = tracking_uri
        self._uris = dict(registries)
        self._bounds = bounds or CopyBounds()
        self._own = MlflowRegistry(tracking_uri)
        self._others = {name: MlflowRegistry(uri, elsewhere=True) for name, uri in registries.items()}
        self._silent: ExpiringCache[str, ExternalError] = ExpiringCache(_CACHE_SIZE)
        self._too_large: ExpiringCache[str, ArtifactTooLarge] = ExpiringCache(_CACHE_SIZE)
        self._turn = BoundedSemaphore(1)

    def __repr__(self) -> str:
        """Without secrets."""
        return f"MlflowCopies({self._own.address!r}, {sorted(self._others)!r})"

    def read_source_aliases(self, places: Collection[AliasRef]) -> Mapping[AliasRef, SourceAlias]:
        """Who holds each; the registries are read at the same time, each in bulk."""
        by_registry: dict[str, list[AliasRef]] = {}
        for place in places:
            by_registry.setdefault(place.registry, []).append(place)
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            found = pool.map(lambda each: self._find_in_registry(*each), by_registry.items())
            return {holding.place: holding for holdings in found for holding in holdings}

    def copy_version(self, source: SourceVersion, model: str) -> int:
        """Within a server MLflow copies by itself, and needs no room; between two, everything travels through this machine."""
        found = self._find_ready_copy(source, model)
        if found is not None:
            return found
        if not source.registry:
            return self._copy_within_server(source, model)
        known = self._too_large.get(source.short_digest)
        if known is not None:
            raise known.with_traceback(None)
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise TransientError("MLflow", f"{source} waits to be copied: another copy is still under way")
        try:
            return self._build_transfer(source)(source, model)
        except ArtifactTooLarge as fault:
            self._too_large.put(source.short_digest, fault, _TOO_LARGE_SECONDS)
            raise
        finally:
            self._turn.release()

    def _find_in_registry(self, name: str, places: Iterable[AliasRef]) -> list[SourceAlias]:
        try:
            models = self._observe_registry(name, {place.model for place in places})
        except ExternalError as error:
            return [SourceAlias(place, trouble=error) for place in places]
        return [SourceAlias(place, _find_alias_holder(place, models.get(place.model))) for place in places]

    def _observe_registry(self, name: str, models: Collection[str]) -> Mapping[str, ObservedModel]:
        registry = self._own if not name else self._require_other_registry(name)
        silent = self._silent.get(name)
        if silent is not None:
            raise silent.with_traceback(None)
        try:
            return run_with_deadline(_READ_SECONDS, lambda: registry.observe_models(models))
        except ArtifactError:
            message = f"{registry.address} does not answer within {_READ_SECONDS:.0f} s"
            error: ExternalError = TransientError(name or "MLflow", message)
        except ExternalError as fault:
            error = type(fault)(name or fault.what, fault.message, fault.fix)
        if isinstance(error, TransientError):
            self._silent.put(name, error, _RETRY_AFTER_SECONDS)
        raise error

    def _require_other_registry(self, name: str) -> MlflowRegistry:
        if name not in self._others:
            raise build_unknown_registry_error(name)
        if redact_server_address(self._uris[name]) == redact_server_address(self._uri):
            raise PermanentError(
                name, "it is this registry itself", "leave `registry` out of `promote_from`, and name the `model`"
            )
        return self._others[name]

    def _find_ready_copy(self, source: SourceVersion, model: str) -> int | None:
        observed = self._own.observe_models({model}).get(model)
        copies = source.find_copies(observed) if observed else ()
        if observed is None or not copies:
            return None
        ready = [number for number in copies if observed.versions[number].ready]
        if not ready:
            raise TransientError(
                "MLflow", f"v{copies[-1]} of {model}, the copy of {source}, is still being registered, or failed"
            )
        return ready[-1]

    def _copy_within_server(self, source: SourceVersion, model: str) -> int:
        with translate_mlflow_errors(f"copy {source} to model {model}", self._own.address):
            client, number = create_mlflow_client(self._uri), str(source.version.number)
            if parse_model_version(client.get_model_version(source.model, number)).created_at != source.version.created_at:
                raise TransientError("MLflow", f"{source} was registered anew; the next look goes on from there")
            return int(client.copy_model_version(f"models:/{source.model}/{number}", model).version)

    def _build_transfer(self, source: SourceVersion) -> VersionTransfer:
        self._require_other_registry(source.registry)
        there, here = self._uris[source.registry], self._uri
        return VersionTransfer(
            TrackingServer(there, create_mlflow_client(there, elsewhere=True)),
            TrackingServer(here, create_mlflow_client(here)),
            self._bounds,
        )


def _find_alias_holder(place: AliasRef, model: ObservedModel | None) -> SourceVersion | None:
    number = model.aliases.get(place.alias) if model else None
    version = model.versions.get(number) if model and number is not None else None
    return SourceVersion(place.registry, place.model, version) if version else None
