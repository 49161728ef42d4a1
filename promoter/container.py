"""The one place that constructs adapters. Heavy rooms are imported where they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from promoter.application import notifications
from promoter.application.controller import Controller, Heartbeat, PullRequestWork
from promoter.application.notifications import ChannelNotifier, DeliveryTerms
from promoter.application.planner import Planner
from promoter.application.ports import Clock, DeclarationDocuments, Forge, Ledger, Locks, Registry, Repository, VersionCopies
from promoter.application.ports.outbox import EventOutbox, NotificationChannel
from promoter.application.proposals.commits import RotationProposer
from promoter.application.provenance import ClonedProvenance, GitProvenance
from promoter.application.reconciler import ModelReconciler, PlanExecutor, ReconcilerDeps, VersionCopier
from promoter.application.revisions import RevisionTracker
from promoter.domain.errors import Fault, Faults
from promoter.domain.ledger.chain import add_ledger_trailer
from promoter.settings import Settings

if TYPE_CHECKING:
    from promoter.adapters.git.checkout import LocalClone
    from promoter.adapters.ledger import SqlLedger
    from promoter.adapters.mlflow.webhooks import MlflowWebhooks
    from promoter.application.audit import CheckpointSigner
    from promoter.application.proposals.reconciler import ProposalReconciler


_NEEDED = {
    "mlflow_tracking_uri": ("MLFLOW_TRACKING_URI", "set it to the address of the MLflow server"),
    "repo": ("PROMOTER_REPO", "set it to the URL or the path of the repository that holds registry.yaml"),
    "checkpoint_key": ("PROMOTER_CHECKPOINT_KEY", "set it to the path of an Ed25519 key: see docs/audit.md"),
}


@dataclass
class Container:
    """The adapters, made on first use, and the use cases on top of them.

    A test may replace any port by assigning it before it is first used.
    """

    settings: Settings

    def require_settings(self, *names: str) -> None:
        """Raises `Faults` with every one of these settings that is not set, and what to set it to."""
        missing = [name for name in names if not getattr(self.settings, name)]
        if missing:
            raise Faults(Fault(f"{_NEEDED[name][0]} is not set", fix=_NEEDED[name][1]) for name in missing)

    @cached_property
    def clock(self) -> Clock:
        """The system's clock."""
        from promoter.adapters.system import SystemClock

        return SystemClock()

    @cached_property
    def documents(self) -> DeclarationDocuments:
        """The YAML files."""
        from promoter.adapters.yaml import YamlDocuments

        return YamlDocuments()

    @cached_property
    def registry(self) -> Registry:
        """MLflow's registry. Raises `Faults` where no tracking server is configured."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        return MlflowRegistry(self._tracking_uri, load_models=self.settings.load_models)

    @cached_property
    def source_registries(self) -> Mapping[str, Registry]:
        """The registries that the settings name, for reading."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        return {name: MlflowRegistry(uri, elsewhere=True) for name, uri in self.settings.registries.items()}

    @cached_property
    def version_copies(self) -> VersionCopies:
        """Versions that come from elsewhere."""
        from promoter.adapters.mlflow.copy import MlflowCopies

        return MlflowCopies(self.settings.mlflow_tracking_uri or "", self.settings.registries)

    @cached_property
    def mlflow_webhooks(self) -> MlflowWebhooks:
        """The webhooks on the MLflow server."""
        from promoter.adapters.mlflow.webhooks import MlflowWebhooks

        return MlflowWebhooks(self._tracking_uri)

    @property
    def _tracking_uri(self) -> str:
        self.require_settings("mlflow_tracking_uri")
        return self.settings.mlflow_tracking_uri or ""

    @cached_property
    def repository(self) -> Repository:
        """The watched branch. Raises `Faults` where no repository is configured."""
        from promoter.adapters.git.repository import GitRepository

        settings = self.settings
        self.require_settings("repo")
        repository = GitRepository(
            settings.repo or "",
            settings.branch,
            settings.mirror_path,
            token=settings.git_token,
            author=settings.commit_author,
            signing_key=settings.signing_key,
        )
        repository.attest = lambda message: add_ledger_trailer(message, self.ledger.read_chain_head())
        return repository

    @cached_property
    def forge(self) -> Forge | None:
        """Where pull requests are; None where no forge is configured. Raises `PermanentError` where it cannot be used as it is set."""
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
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The database, migrated."""
        return self._database

    @cached_property
    def reading_ledger(self) -> SqlLedger:
        """The database for reading: one that does not exist reads as empty, and is not made."""
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url, read_only=True)

    @cached_property
    def existing_ledger(self) -> SqlLedger:
        """The same, for questions about the ledger itself. Raises `PermanentError` where there is none: "empty" would mislead."""
        self.reading_ledger.require_initialized()
        return self.reading_ledger

    @cached_property
    def event_outbox(self) -> EventOutbox:
        """The same database as a source of events."""
        return self._database.outbox

    @cached_property
    def _database(self) -> SqlLedger:
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url)

    @cached_property
    def notification_channels(self) -> Sequence[NotificationChannel]:
        """Who is told of events. Raises `Faults` that name every one which cannot be."""
        from promoter.adapters.notifications import create_channels

        return create_channels(self.settings.notifications)

    @cached_property
    def notifier(self) -> ChannelNotifier:
        """Tells them."""
        from promoter.adapters.file_locks import create_channel_locks

        settings = self.settings
        locks = create_channel_locks(settings.database_url)
        terms = DeliveryTerms(timedelta(seconds=settings.notifications_patience), settings.url)
        return ChannelNotifier(
            self.notification_channels, notifications.NotifierDeps(self.event_outbox, locks, self.clock), terms
        )

    @cached_property
    def locks(self) -> Locks:
        """Locks that lie beside the database."""
        from promoter.adapters.file_locks import create_database_locks

        return create_database_locks(self.settings.database_url)

    @cached_property
    def planner(self) -> Planner:
        """Views of the registry."""
        provenance = self.provenance if self.settings.repo or "repository" in self.__dict__ else None
        return Planner(self.registry, self.ledger, self.clock, provenance, self.version_copies)

    @cached_property
    def provenance(self) -> GitProvenance:
        """Where changes come from."""
        return GitProvenance(self.repository, self.documents, self.ledger, self.clock, lambda: self._configured_forge)

    @property
    def _configured_forge(self) -> Forge | None:
        """The forge; None where no repository is named that could lie on one."""
        return self.forge if self.settings.repo or "forge" in self.__dict__ else None

    @cached_property
    def reading_planner(self) -> Planner:
        """Views of the registry for commands that write nothing, not even a database."""
        return Planner(
            self.registry, self.reading_ledger, self.clock, ClonedProvenance(self._find_merged_provenance), self.version_copies
        )

    def _find_merged_provenance(self, revision: str) -> GitProvenance | None:
        return self._clone_provenance if self._local_clone.has_merged(self.settings.branch, revision) else None

    @cached_property
    def _clone_provenance(self) -> GitProvenance:
        return GitProvenance(self._local_clone, self.documents, self.reading_ledger, self.clock, lambda: self._configured_forge)

    @cached_property
    def _local_clone(self) -> LocalClone:
        from promoter.adapters.git.checkout import LocalClone

        return LocalClone(Path())

    @cached_property
    def revisions(self) -> RevisionTracker:
        """The revision in force."""
        return RevisionTracker(self.repository, self.documents, self.ledger, self.planner, self.clock, self.locks)

    @cached_property
    def model_reconciler(self) -> ModelReconciler:
        """Looks."""
        reconcile = PlanExecutor(self.registry, self.provenance, self.ledger, self.planner, self.clock)
        propose = RotationProposer(self.repository, self.documents)
        return ModelReconciler(
            ReconcilerDeps(
                self.planner, reconcile, VersionCopier(self.version_copies), propose, self.revisions, self.ledger, self.locks
            )
        )

    @cached_property
    def proposal_reconciler(self) -> ProposalReconciler | None:
        """Promoter's own pull requests; None where no forge is configured."""
        from promoter.application.proposals.comparison import VersionComparer
        from promoter.application.proposals.reconciler import ProposalDeps, ProposalReconciler

        forge = self._configured_forge
        if forge is None:
            return None
        return ProposalReconciler(
            ProposalDeps(
                forge=forge,
                repository=self.repository,
                documents=self.documents,
                ledger=self.ledger,
                locks=self.locks,
                clock=self.clock,
                planner=self.planner,
                revisions=self.revisions,
                compare=VersionComparer(self.registry),
            )
        )

    @cached_property
    def pull_request_work(self) -> PullRequestWork | None:
        """What looks at pull requests; None where no forge is configured."""
        from promoter.application.pull_plans import PullPlanner, PullPlanUpdater

        forge, proposals = self._configured_forge, self.proposal_reconciler
        if forge is None or proposals is None:
            return None
        planner = PullPlanner(self.registry, self.ledger, self.repository, self.documents, self.clock, self.provenance)
        settings = self.settings
        plans = PullPlanUpdater(forge, self.repository, planner, self.revisions, self.locks, settings.branch, settings.url)
        return PullRequestWork(forge, proposals, plans)

    @cached_property
    def heartbeat(self) -> Heartbeat:
        """What the ledger is told of this run."""
        return Heartbeat(self.ledger, self.clock, self.planner)

    @cached_property
    def checkpoint_signer(self) -> CheckpointSigner | None:
        """Vouches for the ledger; None where no key is configured. Raises `PermanentError` where the key cannot be used."""
        from promoter.adapters.system import read_unattended_key
        from promoter.application.audit import CheckpointSigner

        key = self.settings.checkpoint_key
        return CheckpointSigner(self.ledger, self.clock, read_unattended_key(key)) if key else None

    def build_controller(self, backoff: Callable[[int], float]) -> Controller:
        """What the daemon runs."""
        return Controller(self.model_reconciler, self.revisions, self.clock, backoff, self.pull_request_work)
