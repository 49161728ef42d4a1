"""A whole Promoter on fakes: the ledger and the documents are the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from promoter.adapters.ledger import SqlLedger
from promoter.application.controller import Controller
from promoter.application.reconciler import PlanApplier
from promoter.application.work_items import GIT, REGISTRY
from promoter.domain.audit import AuditRecord, RecordFilter, is_alias_move
from promoter.settings import Settings
from tests.support.driven import DrivenContainer
from tests.support.fakes.forge import FakeForge
from tests.support.fakes.registry import FakeClock, FakeRegistry, FakeRepository, FreeLocks

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion, by: 0.005}]
"""


class App(DrivenContainer):
    """A Promoter with handles on its fakes."""

    def __init__(
        self, folder: Path, registry: FakeRegistry, repository: FakeRepository, forge: FakeForge | None = None
    ) -> None:
        """A second one on the same folder and fakes is a restart, or another replica."""
        self.mlflow, self.git, self.time, self.keys = registry, repository, FakeClock(), FreeLocks()
        self.hub = forge or FakeForge(repository)
        self.folder = folder
        super().__init__(
            Settings(database_url=f"sqlite:///{folder / 'promoter.db'}"),
            registry=registry,
            repository=repository,
            clock=self.time,
            locks=self.keys,
            forge=self.hub,
        )
        repository.record_own = self.record_own_commit

    def another(self) -> App:
        """The same app, as a process has it that has just started."""
        return App(self.folder, self.mlflow, self.git, self.hub)

    def commit(self, models: str, head: str = "", subject: str = "By hand", **policies: bytes) -> str:
        """Somebody commits `registry.yaml` with those lines under `models`."""
        body = "models:\n" + "".join(f"  {line}\n" for line in models.strip().splitlines())
        files = {f"policies/{name}.yaml": text for name, text in policies.items()}
        return self.git.push({"registry.yaml": f"version: 1\n{head}{body}".encode(), **files}, subject)

    def look(self, model: str = "m") -> None:
        """Take in the branch, and look at the model."""
        self.revisions.refresh_head()
        self.model_reconciler.reconcile(model, "test")

    def converge(self) -> Controller:
        """Everything that a daemon would do, until nothing is left to do."""
        watch = self.build_controller(float)
        self.run_all(watch, "test", GIT, REGISTRY)
        return watch

    def aliases(self, model: str = "m") -> dict[str, int]:
        """Where the registry has them."""
        return dict(self.mlflow.models[model].aliases)

    def records(self, model: str = "m", alias: str | None = None) -> list[AuditRecord]:
        """What the ledger has."""
        return list(self.ledger.find_audit_records(RecordFilter(model=model, alias=alias)))

    def outcomes(self, model: str = "m") -> list[str]:
        """Kind or outcome of each record."""
        return [str(each.fact.outcome or each.fact.kind) for each in self.records(model)]

    def moves(self, alias: str = "champion", model: str = "m") -> list[tuple[int | None, int | None]]:
        """From and to of each move that the ledger has."""
        return [(each.fact.from_version, each.fact.to_version) for each in self.records(model, alias) if is_alias_move(each)]

    def propose(self, model: str = "m") -> bool:
        """Look at the proposals of the model, as the daemon does."""
        assert self.proposal_reconciler is not None
        return self.proposal_reconciler.reconcile_model(model)

    @property
    def apply(self) -> PlanApplier:
        """The use case of `promoter apply`."""
        return PlanApplier(self.planner, self.model_reconciler, self.ledger, self.clock)

    def close(self) -> None:
        """Let go of the database."""
        cast("SqlLedger", self.ledger).close_connections()
