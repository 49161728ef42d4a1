"""A small world around the web: a registry and a repository in memory, a clock that stands, and everything else real."""

from __future__ import annotations

import http.client
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from promoter.adapters.ledger import SqlLedger
from promoter.application.controller import Controller
from promoter.application.ports import Absence, EvidenceTarget, GitCommit, ModelLabels, RegistryServer, Sources, VersionKey
from promoter.application.work_items import GIT, REGISTRY, WorkItem, WorkKind
from promoter.container import Container
from promoter.domain.errors import Conflict, ExternalError
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.observed import (
    LoadingResult,
    MetricRef,
    MetricSeries,
    ModelVersion,
    ObservedModel,
    ReadinessCheck,
    TrainingRun,
)
from promoter.settings import Settings
from promoter.web.app import AppDependencies, create_app
from promoter.web.server import WebServer

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
MLFLOW_SECRET, GITHUB_SECRET = "s3cret", "hub-9d1f04"
POLICY = b"""\
version: 1
candidates: {from: any}
rules:
  - {metric: val_auc, at_least: 0.90}
  - {tag: approved_by, one_of: [risk, growth]}
"""
MINIMAL = {"registry.yaml": b"version: 1\nmodels:\n  fraud: {aliases: {champion: 1}}\n"}


class StandingClock:
    """Time that moves only when it is told to."""

    def __init__(self) -> None:
        """Begins at NOW."""
        self.time = NOW

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def ahead(self, **by: float) -> None:
        """Let time go by."""
        self.time += timedelta(**by)


REGISTERED = NOW - timedelta(days=30)
"""When versions were registered: before anything that a ledger remembers of them."""


@dataclass
class MemoryRegistry:
    """Implements `Registry`. `error`, where set, is what every call raises."""

    models: dict[str, ObservedModel] = field(default_factory=dict)
    measured: dict[str, TrainingRun] = field(default_factory=dict)
    error: ExternalError | None = None
    workspace: str | None = None

    def add(self, name: str, count: int, metrics: Mapping[str, float] | None = None, **aliases: int) -> None:
        """Register versions 1 to `count`, each from a run with those metrics, and point the aliases."""
        versions = {n: ModelVersion(n, REGISTERED, f"{name}-{n}", tags={}) for n in range(1, count + 1)}
        for version in versions.values():
            self.measured[version.run_id or ""] = TrainingRun(version.run_id or "", "FINISHED", dict(metrics or {}))
        self.models[name] = ObservedModel(name, dict(aliases), versions)

    def _answer(self) -> None:
        if self.error:
            raise self.error

    def observe_models(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """As in the port."""
        self._answer()
        return {name: model for name, model in self.models.items() if names is None or name in names}

    def read_model_labels(self) -> Mapping[str, ModelLabels]:
        """As in the port: the models have no tags and no stages."""
        self._answer()
        return {name: ModelLabels({}, {}) for name in self.models}

    def read_server(self) -> RegistryServer:
        """As in the port: it does not tell when it was set up."""
        self._answer()
        return RegistryServer("memory", None, self.workspace)

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, TrainingRun]:
        """As in the port."""
        del experiments
        self._answer()
        return {run_id: self.measured[run_id] for run_id in run_ids if run_id in self.measured}

    def read_metric_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> Mapping[VersionKey, tuple[MetricSeries, ...]]:
        """As in the port: the odd versions did a little better in each of five folds."""
        self._answer()
        points = {each.version_key: _folds(each.version.number % 2) for each in versions}
        return {key: tuple(MetricSeries(metric, told) for metric in metrics) for key, told in points.items()}

    def read_aliases(self, model: str) -> Mapping[str, int] | None:
        """As in the port."""
        self._answer()
        return dict(self.models[model].aliases) if model in self.models else None

    def confirm_absences(self, absences: Collection[Absence]) -> None:
        """As in the port: what is missing here is gone indeed."""
        del absences
        self._answer()

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """As in the port; also how a person moves one by hand."""
        self._answer()
        found = self.models[model]
        self.models[model] = replace(found, aliases={**found.aliases, alias: version})

    def delete_alias(self, model: str, alias: str) -> None:
        """As in the port."""
        self._answer()
        found = self.models[model]
        self.models[model] = replace(found, aliases={key: held for key, held in found.aliases.items() if key != alias})

    def check_readiness(self, model: str, version: int) -> ReadinessCheck:
        """As in the port."""
        return ReadinessCheck("READY", ("sklearn",), loading=LoadingResult("loaded", f"{model} v{version}"))


def _folds(better: int) -> tuple[tuple[int, float], ...]:
    return tuple((fold, 0.9 + better * (0.02 + fold / 500)) for fold in range(5))


@dataclass
class MemoryRepository:
    """Implements `Repository`: a list of commits, each with all its files."""

    history: list[tuple[GitCommit, Sources]] = field(default_factory=list)
    error: ExternalError | None = None
    folder: RepositoryFolder = TOP_FOLDER
    address: str = "https://git.example/models"

    def push(self, files: Sources, subject: str = "By hand", author: str = "Bob <bob@example.org>") -> str:
        """A new head."""
        revision = f"{len(self.history) + 1:02x}" * 20
        self.history.append((GitCommit(revision, author, NOW, subject), dict(files)))
        return revision

    def fetch_branch(self) -> str:
        """As in the port."""
        if self.error:
            raise self.error
        return self.history[-1][0].revision

    def read_sources(self, revision: str) -> Sources:
        """As in the port."""
        return next(files for commit, files in self.history if commit.revision == revision)

    def read_commit(self, revision: str) -> GitCommit:
        """As in the port."""
        return next(commit for commit, _ in self.history if commit.revision == revision)

    def describe_rewrite(self, before: str, after: str) -> None:
        """As in the port: nobody forces a push."""

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """As in the port; every commit touches every file."""
        del path
        known = [commit for commit, _ in self.history]
        names = [commit.revision for commit in known]
        start = names.index(base) + 1 if base in names else max(0, names.index(head) + 1 - last)
        return known[start : names.index(head) + 1]

    def commit_file(self, base: str, path: str, content: bytes, message: str) -> str:
        """As in the port."""
        if self.fetch_branch() != base:
            raise Conflict("git", "somebody pushed")
        return self.push({**self.read_sources(base), path: content}, message, "Promoter <promoter@localhost>")


@dataclass
class WebAnswer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class WebSite:
    """The real application on the real server, over that world; `puts` are the looks that were asked for."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Starts to answer; looks at nothing yet."""
        self.file = folder / "promoter.db"
        secrets = {"mlflow_webhook_secret": MLFLOW_SECRET, "github_webhook_secret": GITHUB_SECRET}
        options = Settings(**{"database_url": f"sqlite:///{self.file}"} | secrets | dict(settings or {}))
        self.clock, self.registry, self.repository = StandingClock(), MemoryRegistry(), MemoryRepository()
        self.ledger = SqlLedger.open(options.database_url, busy_timeout=0.2)
        self.world = Container(
            options, clock=self.clock, registry=self.registry, repository=self.repository, ledger=self.ledger
        )
        self.watch: Controller = self.world.build_controller(lambda _: 1.0)
        self.puts: list[tuple[str, str]] = []
        self.depth = 0
        self.parts = AppDependencies(
            self.world.settings, self.watch, self.ledger, self.clock, self._enqueue, lambda: {"models": self.depth}
        )
        self.server = WebServer(create_app(self.parts), "127.0.0.1", 0)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}"

    def close(self) -> None:
        """Stop, and close the ledger."""
        self.server.stop()
        self.ledger.close_connections()

    def _enqueue(self, item: WorkItem, trigger: str) -> None:
        self.puts.append((str(item), trigger))

    def look(self, *models: str) -> None:
        """Look at git, at the registry, and at those models, here and now."""
        for item in (GIT, REGISTRY, *(WorkItem(WorkKind.MODEL, model) for model in models)):
            self.watch.run_work_item(item, "test")

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None,
        *, chunked: bool = False,
    ) -> WebAnswer:  # fmt: skip
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        sent: Iterable[bytes] | bytes | None = body
        told = dict(headers or {})
        if chunked and body is not None:
            sent = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
            told["Transfer-Encoding"] = "chunked"
        try:
            connection.request(method, path, sent, told, encode_chunked=chunked)
            answer = connection.getresponse()
            return WebAnswer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str], *, chunked: bool = False) -> WebAnswer:
        """A webhook."""
        return self.ask(path, "POST", body, headers, chunked=chunked)
