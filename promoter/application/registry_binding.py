"""The binding of a ledger to its registry and to its repository: what a ledger remembers says nothing of others.

A server is known by when the database behind it was set up, which MLflow shows as the creation of its Default experiment; where
that cannot be read, by when the models were registered that the ledger remembers. Each workspace of a server is a registry of
its own: models of one name in two of them have nothing in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

import structlog

from promoter.application.ports import (
    DEFAULT_WORKSPACE,
    Clock,
    Ledger,
    Registry,
    RegistryServer,
    Repository,
    describe_place,
)
from promoter.domain.audit import RecordFilter, RevisionState
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.fields import format_utc
from promoter.domain.folder import RepositoryFolder
from promoter.domain.identity import UNIDENTIFIED, IdentityTimes, RememberedVersion, describe_replacement
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType

log = structlog.get_logger(__name__)

CHECK_LIFETIME = timedelta(seconds=10)
"""How long a check counts for the models that are reconciled in between; every look at all models checks anew."""
_ENOUGH_MODELS = 3
"""So many models, all of them registered at another time than the ledger remembers, are another registry's."""
_LEDGER = "ledger"
_FIX = (
    "point MLFLOW_TRACKING_URI at the registry of this ledger, or PROMOTER_DATABASE_URL at a ledger for this registry; if the "
    "registry was replaced on purpose, `promoter registry accept --reason TEXT` goes on with this one, "
    "where every version is a new decision"
)
_WORKSPACE_FIX = (
    "set MLFLOW_WORKSPACE to the workspace of this ledger, or PROMOTER_DATABASE_URL to a ledger for this workspace; if the "
    "models were moved on purpose, `promoter registry accept --reason TEXT` goes on with this workspace, where every version "
    "that the ledger does not know is a new decision"
)


@dataclass(frozen=True)
class RegistryComparison:
    """The registry as it is, beside the one that the ledger is about."""

    server: RegistryServer
    """What the registry tells of itself."""
    bound: LifecycleEvent | None
    """The entry that binds the ledger; None: the ledger is not bound yet."""
    mismatch: str | None
    """Why it is another registry than the ledger's, in a sentence; None: nothing speaks for that."""
    is_other_workspace: bool = False
    """Whether it is another workspace of the ledger's server."""

    @property
    def fix(self) -> str | None:
        """What to do about the mismatch."""
        return (_WORKSPACE_FIX if self.is_other_workspace else _FIX) if self.mismatch else None

    @property
    def states_too_little(self) -> bool:
        """Whether the ledger does not say yet which registry it is about, and this one can be told from others."""
        if self.bound is None:
            return self.server.created_at is not None or self.server.workspace is not None
        return self.server.workspace is not None and "workspace" not in self.bound.facts


class RegistryBinding:
    """Compares the registry with the one that the ledger is about, and binds a ledger that is not bound yet."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock) -> None:
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._lock = Lock()
        self._checked_at: datetime | None = None
        self._seen: RegistryServer | None = None

    @property
    def workspace(self) -> str | None:
        """The workspace that Promoter works in, as of the last comparison; before the first one, that of the ledger.

        None also where the ledger cannot be read now.
        """
        if self._seen is not None:
            return self._seen.workspace
        with suppress(ExternalError):
            return read_bound_workspace(self._ledger.find_last_lifecycle_event(LifecycleEventType.REGISTRY))
        return None

    def require_own_registry(self, *, fresh: bool = False) -> None:
        """Raise `PermanentError` where the registry is not the ledger's. A ledger that is not bound yet is bound to it.

        `fresh`: a check from moments ago does not count.
        """
        with self._lock:
            now, last = self._clock.now(), self._checked_at
            if not fresh and last is not None and timedelta() <= now - last < CHECK_LIFETIME:
                return
            found = self.compare()
            if found.mismatch:
                self._checked_at = None
                raise PermanentError(_LEDGER, found.mismatch, found.fix)
            if found.states_too_little:
                self._ledger.record_lifecycle_event(_build_event(found.server, now))
                log.info("the ledger is about this registry from now on", registry=found.server.place)
            self._checked_at = now

    def compare(self) -> RegistryComparison:
        """Compare without recording anything."""
        self._seen = server = self._registry.read_server()
        bound = self._ledger.find_last_lifecycle_event(LifecycleEventType.REGISTRY)
        if mismatch := self._find_other_server(server, bound):
            return RegistryComparison(server, bound, mismatch)
        mismatch = find_other_workspace(server, bound)
        return RegistryComparison(server, bound, mismatch, is_other_workspace=mismatch is not None)

    def accept(self, actor: str, reason: str) -> RegistryComparison:
        """Bind the ledger to the registry as it is now, in the name of a person. Return how the two compared before.

        What was agreed on before identities were recorded counts for no version of the accepted registry.
        """
        found, now = self.compare(), self._clock.now()
        unidentified = {
            model: {alias: RememberedVersion(each.number, UNIDENTIFIED) for alias, each in was.items() if _is_unknown(each)}
            for model, was in self._ledger.read_last_applied().items()
        }
        self._ledger.record_last_applied({model: each for model, each in unidentified.items() if each}, None, now)
        self._ledger.record_lifecycle_event(_build_event(found.server, now, actor=actor, reason=reason))
        return found

    def _find_other_server(self, server: RegistryServer, bound: LifecycleEvent | None) -> str | None:
        created_at, known = server.created_at, _read_server_time(bound)
        if created_at is None or (bound is not None and known is None):
            return self._compare_models(server, bound)
        if bound is None:
            other = self._compare_with_first_record(server, created_at)
            return other or (self._compare_models(server, bound) if server.workspace else None)
        if known == created_at:
            return None
        was = f"{bound.facts.get('address')}, set up {format_utc(known)}" if known else "another one"
        return (
            f"this ledger is about another registry ({was}, as of {format_utc(bound.at)}) "
            f"than {server.address}, set up {format_utc(created_at)}"
        )

    def _compare_with_first_record(self, server: RegistryServer, created_at: datetime) -> str | None:
        first = next(iter(self._ledger.find_audit_records(RecordFilter(limit=1))), None)
        if first is None or first.fact.at >= created_at:
            return None
        return (
            f"this ledger is about another registry: it begins {format_utc(first.fact.at)}, "
            f"and {server.address} was set up {format_utc(created_at)}"
        )

    def _compare_models(self, server: RegistryServer, bound: LifecycleEvent | None) -> str | None:
        """Without the time of the server itself, many models that were all registered at other times tell as much."""
        since = bound.at if bound else None
        remembered: dict[str, datetime] = {}
        for model, versions in self._ledger.read_last_known_versions().items():
            times = (IdentityTimes.parse(each.identity) for each in versions.values() if _is_since(each, since))
            remembered.update((model, each.model_created_at) for each in times if each)
        observed = self._registry.observe_models(remembered.keys()) if len(remembered) >= _ENOUGH_MODELS else {}
        present = {name: model.created_at for name, model in observed.items() if model.created_at is not None}
        if len(present) < _ENOUGH_MODELS or any(remembered[name] == moment for name, moment in present.items()):
            return None
        return (
            f"this ledger is about another registry than {server.place}: "
            f"all {len(present)} models that both know were registered at other times"
        )


def _is_since(version: RememberedVersion, moment: datetime | None) -> bool:
    return moment is None or version.at is None or version.at >= moment


def _is_unknown(version: RememberedVersion) -> bool:
    return version.identity is None and version.number is not None


def _read_server_time(bound: LifecycleEvent | None) -> datetime | None:
    text = str(bound.facts.get("server", "")) if bound else ""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def read_bound_workspace(bound: LifecycleEvent | None) -> str | None:
    """Read the workspace that the ledger is about; None where it does not say, or is about a server without workspaces.

    `bound` is the last entry of the type REGISTRY.
    """
    found = bound.facts.get("workspace") if bound else None
    return str(found) if found else None


def find_other_workspace(server: RegistryServer, bound: LifecycleEvent | None) -> str | None:
    """Return why the ledger is about another workspace of the same server, in a sentence; None: nothing speaks for that.

    A server without workspaces has what its default workspace has once they are enabled. An entry that says when the server was
    set up, and nothing of workspaces, was written in the default workspace: no other one showed that then.
    """
    if bound is None:
        return None
    stated = read_bound_workspace(bound)
    if stated is None and _read_server_time(bound) is None:
        return None
    if (stated or DEFAULT_WORKSPACE) == (server.workspace or DEFAULT_WORKSPACE):
        return None
    was = describe_place(str(bound.facts.get("address")), stated or DEFAULT_WORKSPACE)
    now = f"this Promoter works in workspace {server.workspace}" if server.workspace else f"{server.address} has no workspaces"
    return f"this ledger is about {was} (as of {format_utc(bound.at)}), and {now}"


def _build_event(server: RegistryServer, at: datetime, **facts: str) -> LifecycleEvent:
    created: Mapping[str, str] = {"server": server.created_at.isoformat()} if server.created_at else {}
    workspace: Mapping[str, str] = {"workspace": server.workspace} if server.workspace else {}
    return LifecycleEvent(at, LifecycleEventType.REGISTRY, {**created, "address": server.address, **workspace, **facts})


_REPOSITORY_FIX = (
    "give each Promoter a ledger of its own (PROMOTER_DATABASE_URL), or point PROMOTER_REPO and PROMOTER_PATH at the folder of "
    "this ledger; if the files were moved on purpose, `promoter repository accept --reason TEXT` goes on with this one"
)


@dataclass(frozen=True)
class RepositoryComparison:
    """The folder of the repository that the settings name, beside the one that the ledger is about."""

    address: str
    """The repository's address, without credentials."""
    folder: RepositoryFolder
    """The folder that the settings name, or the top."""
    bound: LifecycleEvent | None
    """The entry that binds the ledger; None: the ledger is not bound yet."""
    mismatch: str | None
    """Why it is another one than the ledger's, in a sentence; None: nothing speaks for that."""


class RepositoryBinding:
    """Compares the folder of the repository with the one that the ledger is about, and binds a ledger that is not bound yet.

    Two Promoters of different folders on one ledger would each take what the other's files state for what is no longer stated.
    A repository that has moved is the same one as long as it has the revision that was last in force.
    """

    def __init__(self, repository: Repository, ledger: Ledger, clock: Clock) -> None:
        self._repository = repository
        self._ledger = ledger
        self._clock = clock

    def require_own_folder(self) -> None:
        """Raise `PermanentError` where the ledger is about another folder. The repository itself is not read."""
        bound = self._ledger.find_last_lifecycle_event(LifecycleEventType.REPOSITORY)
        mismatch = find_other_folder(bound, self._repository.folder)
        if mismatch:
            raise PermanentError(_LEDGER, mismatch, _REPOSITORY_FIX)

    def require_own_repository(self, head: str) -> None:
        """Raise `PermanentError` where the ledger is about another folder or repository; `head` is that of the branch."""
        mismatch = self.compare(head).mismatch
        if mismatch:
            raise PermanentError(_LEDGER, mismatch, _REPOSITORY_FIX)

    def compare(self, head: str | None = None) -> RepositoryComparison:
        """Compare without recording anything. Without a head, only the folder is compared."""
        bound = self._ledger.find_last_lifecycle_event(LifecycleEventType.REPOSITORY)
        mismatch = find_other_folder(bound, self._repository.folder) or (
            self._find_other_repository(bound, head) if head else None
        )
        return RepositoryComparison(self._repository.address, self._repository.folder, bound, mismatch)

    def bind(self) -> None:
        """Bind the ledger, unless it is bound: a revision of this folder is about to be in force."""
        if self._ledger.find_last_lifecycle_event(LifecycleEventType.REPOSITORY) is None:
            self._ledger.record_lifecycle_event(self._build_event())
            log.info("the ledger is about this folder from now on", folder=str(self._repository.folder))

    def accept(self, actor: str, reason: str) -> None:
        """Bind the ledger to the folder of the settings, in the name of a person."""
        self._ledger.record_lifecycle_event(self._build_event(actor=actor, reason=reason))

    def _build_event(self, **facts: str) -> LifecycleEvent:
        place = {"address": self._repository.address, "folder": self._repository.folder.path}
        return LifecycleEvent(self._clock.now(), LifecycleEventType.REPOSITORY, {**place, **facts})

    def _find_other_repository(self, bound: LifecycleEvent | None, head: str) -> str | None:
        last = self._ledger.find_last_revision(RevisionState.APPLIED)
        if bound is None or last is None or bound.facts.get("address") == self._repository.address:
            return None
        if self._repository.is_ancestor(last, head):
            return None
        return (
            f"this ledger is about another repository ({bound.facts.get('address')}, as of {format_utc(bound.at)}) than "
            f"{self._repository.address}, which does not have {last[:10]}, the revision that was last in force"
        )


def find_other_folder(bound: LifecycleEvent | None, folder: RepositoryFolder) -> str | None:
    """Return why the ledger is about another folder than this one, in a sentence; None: it is not, or is not bound yet.

    `bound` is the last entry of the type REPOSITORY.
    """
    if bound is None or bound.facts.get("folder") == folder.path:
        return None
    own = RepositoryFolder(str(bound.facts.get("folder", "")))  # never parsed, so that any text can be shown
    return f"this ledger is about another folder of the repository ({own}, as of {format_utc(bound.at)}) than {folder}"


def find_replaced_versions(registry: Registry, ledger: Ledger) -> list[str]:
    """Return a sentence for each alias whose last agreed version is gone, or whose number stands for another one now."""
    applied = ledger.read_last_applied()
    observed, found = registry.observe_models(applied.keys()) if applied else {}, []
    for model, versions in sorted(applied.items()):
        seen = observed.get(model)
        for alias, agreed in sorted(versions.items()):
            present = seen.find_present(agreed.number) if seen else None
            if agreed.number is not None and (present is None or not agreed.is_still(present)):
                what = describe_replacement(agreed, present, seen.created_at if seen else None)
                found.append(f"{model}@{alias}: {what}")
    return found
