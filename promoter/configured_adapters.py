"""The adapters as the settings ask for them, behind the ports that the use cases know.

An adapter is made when it is first needed, and its module imported only then: `promoter --help` stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

from promoter.application.ports import Clock, DeclarationDocuments, Forge, Ledger, Locks, Registry, Repository, VersionCopies
from promoter.application.ports.outbox import EventOutbox, NotificationChannel
from promoter.application.work_items import EnqueueWork
from promoter.domain.errors import Fault, Faults, PermanentError
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.ledger.chain import add_ledger_trailer
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.links import MlflowAddresses, PageAddresses
from promoter.domain.proposal import CommitRequest
from promoter.settings import Settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from promoter.adapters.git.checkout import CloneRemote, LocalClone
    from promoter.adapters.git.command import GitConfiguration
    from promoter.adapters.ledger import SqlLedger
    from promoter.adapters.mlflow.credentials import HostCredentials
    from promoter.adapters.mlflow.sandbox import SandboxFinder, SandboxTerms
    from promoter.adapters.mlflow.webhooks import MlflowWebhooks


_NEEDED = {
    "mlflow_tracking_uri": ("MLFLOW_TRACKING_URI", "set it to the address of the MLflow server"),
    "repo": ("PROMOTER_REPO", "set it to the URL or the path of the repository that holds registry.yaml"),
    "checkpoint_key": ("PROMOTER_CHECKPOINT_KEY", "set it to the path of an Ed25519 key: see docs/audit.md"),
}


class Ports(TypedDict, total=False):
    """Ports that stand in for the adapters that the settings ask for."""

    clock: Clock
    documents: DeclarationDocuments
    registry: Registry
    source_registries: Mapping[str, Registry]
    version_copies: VersionCopies
    repository: Repository
    forge: Forge | None
    ledger: Ledger
    event_outbox: EventOutbox
    locks: Locks


_Port = TypeVar("_Port")


class _port(cached_property[_Port]):  # noqa: N801  # a decorator
    """A port: the one that was given to the container, else the adapter that the method builds on first use."""

    def __init__(self, build: Callable[[Any], _Port]) -> None:
        name = build.__name__
        super().__init__(lambda container: container.ports[name] if name in container.ports else build(container))
        self.__doc__ = build.__doc__


class ConfiguredAdapters:
    """The adapters, each made on first use. A port that is given to the constructor stands in for its adapter."""

    def __init__(
        self,
        settings: Settings,
        *,
        enqueue_work: EnqueueWork = lambda _item, _trigger: None,
        enqueue_channel: Callable[[str, str], None] = lambda _channel, _trigger: None,
        creates_ledger: bool = True,
        lock_patience: float = 60.0,
        place: RepositoryFolder | None = None,
        report_step: Callable[[str], None] = lambda _step: None,
        **ports: Unpack[Ports],
    ) -> None:
        """`enqueue_work` and `enqueue_channel` ask for work in the daemon's queues; a command that ends needs none.

        `creates_ledger`: whether a ledger begins where there is none. `lock_patience`: for how many seconds the lock of a model
        is waited for. `place`: the folder of the clone that a command stands in, which counts where `PROMOTER_PATH` is not set.
        `report_step` hears what a command does next that may take a while, for the person who waits.
        `ports` stand in for what the settings ask for.
        """
        self.settings = settings
        self.ports = ports
        self._enqueue_work = enqueue_work
        self._enqueue_channel = enqueue_channel
        self._creates_ledger = creates_ledger
        self._lock_patience = lock_patience
        self._place = place
        self._report_step = report_step

    def with_ports(self, **ports: Unpack[Ports]) -> Self:
        """Return another container with the same settings, in which these ports stand in as well."""
        merged: Ports = {**self.ports, **ports}
        return type(self)(
            self.settings,
            enqueue_work=self._enqueue_work,
            enqueue_channel=self._enqueue_channel,
            creates_ledger=self._creates_ledger,
            lock_patience=self._lock_patience,
            place=self._place,
            report_step=self._report_step,
            **merged,
        )

    @property
    def repository_folder(self) -> RepositoryFolder:
        """The folder of the repository that holds Promoter's files."""
        return self.settings.folder or self._place or TOP_FOLDER

    def require_settings(self, *names: str) -> None:
        """Raise `Faults` with every one of these settings that is not set, and what to set it to."""
        missing = [name for name in names if not getattr(self.settings, name)]
        if missing:
            raise Faults(Fault(f"{_NEEDED[name][0]} is not set", fix=_NEEDED[name][1]) for name in missing)

    @_port
    def clock(self) -> Clock:
        """The system's clock."""
        from promoter.adapters.system import SystemClock

        return SystemClock()

    @_port
    def documents(self) -> DeclarationDocuments:
        """The parser and editor of `registry.yaml` and `policies/`."""
        from promoter.adapters.yaml import YamlDocuments

        return YamlDocuments(self.repository_folder)

    @_port
    def registry(self) -> Registry:
        """MLflow's registry. Raises `Faults` where no tracking server is configured."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        if self.settings.load_models:
            from promoter.adapters.system import close_own_memory

            close_own_memory()
        return MlflowRegistry(self._tracking_uri, load_models=self.settings.load_models, sandbox=self.sandbox_terms)

    @property
    def sandbox_terms(self) -> SandboxTerms:
        """What the settings decide about the place where models are loaded."""
        from promoter.adapters.mlflow.sandbox import SandboxTerms

        settings = self.settings
        folders = [settings.mirror_path, *settings.database_folders]
        return SandboxTerms(settings.load_user, settings.load_environment, tuple(each.resolve() for each in folders))

    @property
    def sandbox_finder(self) -> SandboxFinder:
        """What finds a sandbox to load models in."""
        from promoter.adapters.mlflow.sandbox import SandboxFinder

        return SandboxFinder(self.sandbox_terms)

    @_port
    def source_registries(self) -> Mapping[str, Registry]:
        """The registries that the settings name, for reading."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        credentials, workspaces = self._registry_credentials, self.settings.registry_workspaces
        return {
            name: MlflowRegistry(uri, elsewhere=True, credentials=credentials[name], workspace=workspaces.get(name))
            for name, uri in self.settings.registries.items()
        }

    @property
    def _registry_credentials(self) -> dict[str, HostCredentials]:
        from promoter.adapters.mlflow.credentials import HostCredentials

        found = {name: self.settings.find_registry_credentials(name) for name in self.settings.registries}
        return {
            name: HostCredentials(*(part.get_secret_value() if part else None for part in astuple(each)))
            for name, each in found.items()
        }

    @_port
    def version_copies(self) -> VersionCopies:
        """What reads and copies versions of other registries, for `promote_from`."""
        from promoter.adapters.mlflow.copy import MlflowCopies

        settings = self.settings
        return MlflowCopies(
            settings.mlflow_tracking_uri or "",
            settings.registries,
            credentials=self._registry_credentials,
            workspaces=settings.registry_workspaces,
        )

    @cached_property
    def mlflow_webhooks(self) -> MlflowWebhooks:
        """The webhooks on the MLflow server."""
        from promoter.adapters.mlflow.webhooks import MlflowWebhooks

        return MlflowWebhooks(self._tracking_uri)

    @property
    def _tracking_uri(self) -> str:
        self.require_settings("mlflow_tracking_uri")
        return self.settings.mlflow_tracking_uri or ""

    @_port
    def repository(self) -> Repository:
        """The watched branch. Raises `Faults` where no repository is configured."""
        self.require_settings("repo")
        return self._build_repository(self.settings.repo or "", self.settings.git_token)

    def _build_repository(self, url: str, token: SecretStr | None = None, credentials: GitConfiguration = ()) -> Repository:
        from promoter.adapters.git.repository import GitRepository

        settings = self.settings
        return GitRepository(
            url,
            settings.branch,
            self._mirror_path,
            token=token,
            author=settings.commit_author,
            signing_key=settings.signing_key,
            attest=lambda message: add_ledger_trailer(message, self.ledger.read_chain_head()),
            record_own=self.record_own_commit,
            credentials=credentials,
            fetch_limit=settings.fetch_limit,
            folder=self.repository_folder,
        )

    @cached_property
    def _local_clone(self) -> LocalClone:
        from promoter.adapters.git.checkout import LocalClone

        return LocalClone(Path(), self.repository_folder)

    def with_clone_remote(self, remote: CloneRemote) -> Self:
        """Return another container, whose repository is that remote of a clone: git signs in as the clone's user does."""
        return self.with_ports(repository=self._build_repository(remote.url, credentials=remote.credentials))

    def with_local_repository(self, path: Path) -> Self:
        """Return another container, whose repository is the clone at that path itself."""
        return self.with_ports(repository=self._build_repository(str(path)))

    @property
    def _mirror_path(self) -> Path:
        """The mirror's folder. Raises `PermanentError` where it is to lie beside a ledger whose folder does not exist."""
        path = self.settings.mirror_path
        folder = path.parent.parent
        if self.settings.mirror is None and not folder.is_dir():
            fix = "create it, or change PROMOTER_DATABASE_URL"
            raise PermanentError("git", f"there is no folder {folder} for the mirror, which lies beside the ledger", fix)
        return path

    def record_own_commit(self, revision: str, message: str) -> None:
        """Record who asked for a commit of Promoter's own; where no person did, there is nothing to record."""
        request = CommitRequest.from_message(message, revision)
        if request:
            event = LifecycleEvent(self.clock.now(), LifecycleEventType.REQUESTED, request.event_facts)
            self.ledger.record_lifecycle_event(event)

    @_port
    def forge(self) -> Forge | None:
        """The forge of the repository; None where none is configured. Raises `PermanentError` where its settings are wrong."""
        from promoter.adapters.forges import connect_forge

        settings = self.settings
        self.require_settings("repo")
        return connect_forge(
            settings.repo or "",
            settings.branch,
            kind=settings.forge,
            url=settings.forge_url,
            project=settings.forge_project,
            token=settings.forge_token or settings.git_token,
            account=settings.forge_account,
            folder=self.repository_folder,
        )

    @property
    def _configured_forge(self) -> Forge | None:
        """The forge; None where no repository is named that could lie on one."""
        return self.forge if self.settings.repo or "forge" in self.ports else None

    @_port
    def ledger(self) -> Ledger:
        """The database, migrated. Raises `PermanentError` where there is none and this command begins none."""
        return self._database

    def require_ledger(self) -> None:
        """Open the ledger before all else. Raises `PermanentError` where there is none and this command begins none."""
        self.ledger.read_chain_head()

    @cached_property
    def reading_ledger(self) -> SqlLedger:
        """The database for reading: one that does not exist reads as empty, and is not made."""
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url, read_only=True)

    @cached_property
    def existing_ledger(self) -> SqlLedger:
        """The database for questions about the ledger itself. Raises `PermanentError` where there is none: "empty" misleads."""
        self.reading_ledger.require_initialized()
        return self.reading_ledger

    @_port
    def event_outbox(self) -> EventOutbox:
        """The database as a source of events for notifications."""
        return self._database.outbox

    @cached_property
    def _database(self) -> SqlLedger:
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url, create=self._creates_ledger, on_append=self._wake_channels)

    @property
    def ledger_location(self) -> str:
        """The database of the ledger, named without secrets."""
        return self._database.location

    @property
    def is_ledger_new(self) -> bool:
        """Whether this program has just begun the ledger, so that nothing from before is known."""
        return "ledger" not in self.ports and self._database.is_new

    def _wake_channels(self) -> None:
        for channel in self.settings.notifications:
            self._enqueue_channel(channel.name, "recorded")

    @property
    def page_addresses(self) -> PageAddresses:
        """Where others find the pages; MLflow's own variables name another server for the registry, and the workspace."""
        from promoter.adapters.forges.detect import find_commit_pages

        settings, registry = self.settings, os.environ.get("MLFLOW_REGISTRY_URI") or self.settings.mlflow_tracking_uri
        workspace = os.environ.get("MLFLOW_WORKSPACE", "").strip() or None
        mlflow = MlflowAddresses.build(settings.mlflow_tracking_uri, registry, settings.mlflow_ui_url, workspace)
        place = (settings.forge, settings.forge_url, settings.forge_project)
        commits = find_commit_pages(settings.repo or "", *place)
        return PageAddresses.build(settings.url, mlflow, settings.registries, commits, settings.registry_workspaces)

    @cached_property
    def notification_channels(self) -> Sequence[NotificationChannel]:
        """The receivers of events. Raises `Faults` that name every channel which cannot be set up."""
        from promoter.adapters.notifications import create_channels

        return create_channels(self.settings.notifications)

    @_port
    def locks(self) -> Locks:
        """Locks that all programs on that ledger share: in the database, or beside the file of a SQLite ledger."""
        return self._build_locks("", self._lock_patience)

    def _build_locks(self, group: str, patience: float) -> Locks:
        """Build locks. Keys of another `group` never wait for these; `patience` is how many seconds a key is waited for."""
        from promoter.adapters.file_locks import FileLocks, find_lock_folder

        url = self.settings.database_url
        folder = find_lock_folder(url)
        if folder:
            return FileLocks(folder / group, timeout=patience, digits=64 if group else 2)
        from promoter.adapters.ledger.locks import AdvisoryLocks

        return AdvisoryLocks.open(url, lambda: self.ledger.read_chain_head().ledger, group, timeout=patience)
