"""The one place that constructs adapters. Heavy rooms are imported where they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from promoter.application.decide import no_override
from promoter.application.look import Looker, Rooms
from promoter.application.overrides import Overrides
from promoter.application.ports import Clock, Documents, Ledger, Locks, Registry, Repository
from promoter.application.propose import Proposer
from promoter.application.reconcile import Reconciler
from promoter.application.revisions import Revisions
from promoter.application.survey import Surveyor
from promoter.application.watch import Watch
from promoter.domain.faults import Fault, Faults
from promoter.settings import Settings

if TYPE_CHECKING:
    from promoter.adapters.mlflow.webhooks import MlflowWebhooks

_NEEDED = {
    "mlflow_tracking_uri": ("MLFLOW_TRACKING_URI", "set it to the address of the MLflow server"),
    "repo": ("PROMOTER_REPO", "set it to the URL or the path of the repository that holds registry.yaml"),
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
        return GitRepository(
            settings.repo or "", settings.branch, settings.mirror_path, token=settings.git_token, author=settings.author
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The database, migrated."""
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url)

    @cached_property
    def past(self) -> Ledger:
        """The database for reading: one that does not exist reads as empty, and is not made."""
        from promoter.adapters.ledger import SqlLedger

        return SqlLedger.open(self.settings.database_url, read_only=True)

    @cached_property
    def locks(self) -> Locks:
        """Locks that lie beside the database."""
        from promoter.adapters.locks import locks_for

        return locks_for(self.settings.database_url)

    @cached_property
    def survey(self) -> Surveyor:
        """Views of the registry."""
        override = Overrides(self.repository, self.documents, self.ledger) if self.settings.repo else no_override
        return Surveyor(self.registry, self.ledger, self.clock, override)

    @cached_property
    def reading_survey(self) -> Surveyor:
        """Views of the registry for commands that write nothing, not even a database."""
        return Surveyor(self.registry, self.past, self.clock)

    @cached_property
    def revisions(self) -> Revisions:
        """The revision in force."""
        return Revisions(self.repository, self.documents, self.ledger, self.survey, self.clock, self.locks)

    @cached_property
    def looker(self) -> Looker:
        """Looks."""
        reconcile = Reconciler(self.registry, self.repository, self.documents, self.ledger, self.survey, self.clock)
        propose = Proposer(self.repository, self.documents)
        return Looker(Rooms(self.survey, reconcile, propose, self.revisions, self.ledger, self.locks))

    def watch(self, backoff: Callable[[int], float]) -> Watch:
        """What the daemon runs."""
        return Watch(self.looker, self.revisions, self.clock, backoff)
