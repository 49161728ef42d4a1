"""The one place that constructs adapters. Heavy rooms are imported where they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from promoter.application import notify
from promoter.application.copies import Copier
from promoter.application.look import Looker, Rooms
from promoter.application.notify import Notifier, Terms
from promoter.application.ports import Clock, Copies, Documents, Forge, Ledger, Locks, Registry, Repository
from promoter.application.ports.outbox import Channel, Outbox
from promoter.application.presence import Presence
from promoter.application.propose import Proposer
from promoter.application.provenance import ClonedProvenance, GitProvenance
from promoter.application.reconcile import Reconciler
from promoter.application.revisions import Revisions
from promoter.application.survey import Surveyor
from promoter.application.watch import Pulls, Watch
from promoter.domain.faults import Fault, Faults
from promoter.domain.ledger.chain import vouched
from promoter.settings import Settings

if TYPE_CHECKING:
    from promoter.adapters.git.clone import Clone
    from promoter.adapters.ledger import SqlLedger
    from promoter.adapters.mlflow.webhooks import MlflowWebhooks
    from promoter.application.ledger.checkpoint import Checkpoints
    from promoter.application.proposals.open import OpenProposals

_NEEDED = {
    "mlflow_tracking_uri": ("MLFLOW_TRACKING_URI", "set it to the address of the MLflow server"),
    "repo": ("PROMOTER_REPO", "set it to the URL or the path of the repository that holds registry.yaml"),
    "checkpoint_key": ("PROMOTER_CHECKPOINT_KEY", "set it to the path of an Ed25519 key: see docs/audit.md"),
}


@dataclass
class World:
    """The adapters, made on first use, and the use cases on top of them.

    A test may replace any port by assigning it before it is first used.
    """

    settings: Settings

    def require(self, *names: str) -> None:
        """Raises `Faults` with every one of these settings that is not set, and what to set it to."""
        missing = [name for name in names if not getattr(self.settings, name)]
        if missing:
            raise Faults(Fault(f"{_NEEDED[name][0]} is not set", fix=_NEEDED[name][1]) for name in missing)

    @cached_property
    def clock(self) -> Clock:
        """The system's clock."""
        from promoter.adapters.clock import SystemClock

        return SystemClock()

    @cached_property
    def documents(self) -> Documents:
        """The YAML files."""
        from promoter.adapters.documents import YamlDocuments

        return YamlDocuments()

    @cached_property
    def registry(self) -> Registry:
        """MLflow's registry. Raises `Faults` where no tracking server is configured."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        return MlflowRegistry(self._tracking_uri, load_models=self.settings.load_models)

    @cached_property
    def registries(self) -> Mapping[str, Registry]:
        """The registries that the settings name, for reading."""
        from promoter.adapters.mlflow.registry import MlflowRegistry

        return {name: MlflowRegistry(uri, elsewhere=True) for name, uri in self.settings.registries.items()}

    @cached_property
    def copies(self) -> Copies:
        """Versions that come from elsewhere."""
        from promoter.adapters.mlflow.copying import MlflowCopies

        return MlflowCopies(self.settings.mlflow_tracking_uri or "", self.settings.registries)

    @cached_property
    def webhooks(self) -> MlflowWebhooks:
        """The webhooks on the MLflow server."""
        from promoter.adapters.mlflow.webhooks import MlflowWebhooks

        return MlflowWebhooks(self._tracking_uri)

    @property
    def _tracking_uri(self) -> str:
        self.require("mlflow_tracking_uri")
        return self.settings.mlflow_tracking_uri or ""

    @cached_property
    def repository(self) -> Repository:
        """The watched branch. Raises `Faults` where no repository is configured."""
        from promoter.adapters.git.repository import GitRepository

        settings = self.settings
        self.require("repo")
        repository = GitRepository(
            settings.repo or "",
            settings.branch,
            settings.mirror_path,
            token=settings.git_token,
            author=settings.author,
            signing_key=settings.signing_key,
        )
        repository.vouch = lambda message: vouched(message, self.ledger.head())
        return repository

    @cached_property
    def forge(self) -> Forge | None:
        """Where pull requests are; None where no forge is configured. Raises `Refused` where it cannot be used as it is set."""
        from promoter.adapters.forges import connect

        settings = self.settings
        self.require("repo")
        return connect(
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
    def past(self) -> SqlLedger:
        """The database for reading: one that does not exist reads as empty, and is not made."""
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url, read_only=True)

    @cached_property
    def kept(self) -> SqlLedger:
        """The same, for questions about the ledger itself. Raises `Refused` where there is none: "empty" would mislead."""
        self.past.expect()
        return self.past

    @cached_property
    def outbox(self) -> Outbox:
        """The same database as a source of events."""
        return self._database.outbox

    @cached_property
    def _database(self) -> SqlLedger:
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url)

    @cached_property
    def channels(self) -> Sequence[Channel]:
        """Who is told of events. Raises `Faults` that name every one which cannot be."""
        from promoter.adapters.notices.choice import channels

        return channels(self.settings.notifications)

    @cached_property
    def notifier(self) -> Notifier:
        """Tells them."""
        from promoter.adapters.locks import channel_locks_for

        settings = self.settings
        locks = channel_locks_for(settings.database_url)
        terms = Terms(timedelta(seconds=settings.notifications_patience), settings.url)
        return Notifier(self.channels, notify.Rooms(self.outbox, locks, self.clock), terms)

    @cached_property
    def locks(self) -> Locks:
        """Locks that lie beside the database."""
        from promoter.adapters.locks import locks_for

        return locks_for(self.settings.database_url)

    @cached_property
    def survey(self) -> Surveyor:
        """Views of the registry."""
        provenance = self.provenance if self.settings.repo or "repository" in self.__dict__ else None
        return Surveyor(self.registry, self.ledger, self.clock, provenance, self.copies)

    @cached_property
    def provenance(self) -> GitProvenance:
        """Where changes come from."""
        return GitProvenance(self.repository, self.documents, self.ledger, self.clock, lambda: self._given_forge)

    @property
    def _given_forge(self) -> Forge | None:
        """The forge; None where no repository is named that could lie on one."""
        return self.forge if self.settings.repo or "forge" in self.__dict__ else None

    @cached_property
    def reading_survey(self) -> Surveyor:
        """Views of the registry for commands that write nothing, not even a database."""
        return Surveyor(self.registry, self.past, self.clock, ClonedProvenance(self._merged), self.copies)

    def _merged(self, revision: str) -> GitProvenance | None:
        return self._cloned if self._clone.has_merged(self.settings.branch, revision) else None

    @cached_property
    def _cloned(self) -> GitProvenance:
        return GitProvenance(self._clone, self.documents, self.past, self.clock, lambda: self._given_forge)

    @cached_property
    def _clone(self) -> Clone:
        from promoter.adapters.git.clone import Clone

        return Clone(Path())

    @cached_property
    def revisions(self) -> Revisions:
        """The revision in force."""
        return Revisions(self.repository, self.documents, self.ledger, self.survey, self.clock, self.locks)

    @cached_property
    def looker(self) -> Looker:
        """Looks."""
        reconcile = Reconciler(self.registry, self.provenance, self.ledger, self.survey, self.clock)
        propose = Proposer(self.repository, self.documents)
        return Looker(Rooms(self.survey, reconcile, Copier(self.copies), propose, self.revisions, self.ledger, self.locks))

    @cached_property
    def proposals(self) -> OpenProposals | None:
        """Promoter's own pull requests; None where no forge is configured."""
        from promoter.application.proposals.evidence import Comparer
        from promoter.application.proposals.open import OpenProposals, Rooms

        forge = self._given_forge
        if forge is None:
            return None
        return OpenProposals(
            Rooms(
                forge=forge,
                repository=self.repository,
                documents=self.documents,
                ledger=self.ledger,
                locks=self.locks,
                clock=self.clock,
                survey=self.survey,
                revisions=self.revisions,
                compare=Comparer(self.registry),
            )
        )

    @cached_property
    def pulls(self) -> Pulls | None:
        """What looks at pull requests; None where no forge is configured."""
        from promoter.application.pulls.planner import PullPlanner
        from promoter.application.pulls.plans import PullPlans

        forge, proposals = self._given_forge, self.proposals
        if forge is None or proposals is None:
            return None
        planner = PullPlanner(self.registry, self.ledger, self.repository, self.documents, self.clock, self.provenance)
        settings = self.settings
        plans = PullPlans(forge, self.repository, planner, self.revisions, self.locks, settings.branch, settings.url)
        return Pulls(forge, proposals, plans)

    @cached_property
    def presence(self) -> Presence:
        """What the ledger is told of this run."""
        return Presence(self.ledger, self.clock, self.survey)

    @cached_property
    def checkpoints(self) -> Checkpoints | None:
        """Vouches for the ledger; None where no key is configured. Raises `Refused` where the key cannot be used."""
        from promoter.adapters.keyfiles import read_unattended
        from promoter.application.ledger.checkpoint import Checkpoints

        key = self.settings.checkpoint_key
        return Checkpoints(self.ledger, self.clock, read_unattended(key)) if key else None

    def watch(self, backoff: Callable[[int], float]) -> Watch:
        """What the daemon runs."""
        return Watch(self.looker, self.revisions, self.clock, backoff, self.pulls)
