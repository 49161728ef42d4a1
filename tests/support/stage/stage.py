"""The stage of an end-to-end test: a git remote, an MLflow server, and Promoters on them, in this process or their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mlflow.exceptions import MlflowException

from promoter.adapters.ledger import SqlLedger
from promoter.application.controller import Controller
from promoter.application.work_items import GIT, PULLS, REGISTRY
from promoter.demo.servers.git import GitHttpServer
from promoter.demo.servers.mlflow import find_free_port
from promoter.domain.audit import AuditRecord, ChangeOutcome, RecordFilter, is_alias_move
from promoter.settings import Settings
from tests.support.driven import DrivenContainer
from tests.support.remembered import numbers
from tests.support.stage.seeding import make_version
from tests.support.stage.warm import Copy, Warm

SECRET = "a secret of the end-to-end tests"  # shared with the webhooks
DEADLINE = 60.0
POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {run: {status: FINISHED}}
  - {metric: auc, beats: champion, by: 0.005}
"""

Move = tuple[int | None, int | None]


def until(holds: Callable[[], Any], what: str, seconds: float = DEADLINE, told: Callable[[], str] = str) -> Any:
    """Ask again until the answer is true, and return it; fail with `what`, and what `told` says, when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}\n{told()}")
        time.sleep(0.05)
    return found


def registry_yaml(models: str, head: str = "") -> bytes:
    """`registry.yaml` with those lines under `models` (an empty text: none)."""
    body = "models:\n" + "".join(f"  {line}\n" for line in models.strip().splitlines()) if models else "models: {}\n"
    return f"version: 1\n{head}{body}".encode()


class Stage:
    """One GitOps repository, and one folder with one database, on one MLflow server.

    `tracking_uri` is what Promoter is given, `client` goes to the server directly. `warm`: what programs are copies of.
    """

    def __init__(self, folder: Path, remote: GitHttpServer, client: Any, tracking_uri: str, warm: Warm) -> None:
        """Nothing runs yet."""
        self.warm = warm
        self.folder = folder
        self.remote = remote
        self.client = client
        self.tracking_uri = tracking_uri
        self.daemons: list[Daemon] = []

    @property
    def database(self) -> str:
        """The address of the ledger."""
        return f"sqlite:///{self.folder / 'promoter.db'}"

    def commit(self, models: str, head: str = "", message: str = "By hand", **policies: bytes) -> str:
        """Commit `registry.yaml`, and policies by name; the new revision."""
        files = {"registry.yaml": registry_yaml(models, head)}
        files |= {f"policies/{name}.yaml": content for name, content in policies.items()}
        return self.remote.commit_files(files, message)

    def commit_raw(self, **content: bytes) -> str:
        """Commit `registry=` and policies by name, as these bytes; the new revision."""
        paths = {name: "registry.yaml" if name == "registry" else f"policies/{name}.yaml" for name in content}
        return self.remote.commit_files({paths[name]: text for name, text in content.items()}, "Raw bytes")

    def git(self, *arguments: str, **environment: str) -> str:
        """Run git in the remote's repository; its output."""
        command = ["git", f"--git-dir={self.remote.path}", *arguments]
        identity = {f"GIT_{role}_{what}": "bob@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | identity | environment)
        return done.stdout.strip()

    def stated(self) -> str:
        """`registry.yaml` at the remote's head."""
        return self.git("show", f"{self.remote.branch}:registry.yaml")

    def head(self) -> str:
        """The remote's head."""
        return self.git("rev-parse", self.remote.branch)

    def force(self, revision: str) -> None:
        """Move the branch to that revision, whatever it leaves behind."""
        self.git("update-ref", f"refs/heads/{self.remote.branch}", revision)

    def without(self, revision: str, path: str) -> str:
        """A commit on top of that one in which the file is gone; the branch stays."""
        environment = {"GIT_INDEX_FILE": str(self.folder / "index")}
        self.git("read-tree", revision, **environment)
        self.git("rm", "--cached", "--quiet", path, **environment)
        return self.git("commit-tree", self.git("write-tree", **environment), "-p", revision, "-m", f"Delete {path}")

    def version(self, model: str, auc: float, **tags: str) -> int:
        """Register the next version, from a run with that metric."""
        return make_version(self.client, model, {"auc": auc}, tags, mlmodel=None)

    def by_hand(self, model: str, alias: str, version: int | None) -> None:
        """Move the alias past Promoter; again where MLflow refuses one of two who set it in the same moment."""
        if version is None:
            self.client.delete_registered_model_alias(model, alias)
            return
        while True:
            try:
                self.client.set_registered_model_alias(model, alias, str(version))
            except MlflowException as error:
                if "IntegrityError" not in str(error):
                    raise
            else:
                return

    def aliases(self, model: str) -> dict[str, int]:
        """Where the registry has the model's aliases."""
        return {alias: int(version) for alias, version in self.client.get_registered_model(model).aliases.items()}

    def until_at(self, model: str, aliases: dict[str, int | None], told: Callable[[], str] = str) -> None:
        """Wait until the registry has these aliases, and nothing else, and the ledger has recorded them and is done."""

        def there() -> bool:
            ledger = SqlLedger.open(self.database, read_only=True)
            try:
                known = numbers(ledger.read_last_known_versions({model})).get(model, {})
                recorded = {alias: version for alias, version in known.items() if version is not None}
                return self.aliases(model) == recorded == aliases and not ledger.find_open_intents({model})
            finally:
                ledger.close_connections()

        until(there, f"{model} is at {aliases}", told=told)

    def settings(self, **changed: Any) -> Settings:
        """Of a Promoter on this stage."""
        given = {"repo": self.remote.url, "database_url": self.database, "mlflow_tracking_uri": self.tracking_uri}
        return Settings(**{**given, **changed})

    def environment(self, **changed: str) -> dict[str, str]:
        """The same for a process. MLflow's client is given less patience than it has by default, to keep tests short."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PROMOTER_", "MLFLOW_"))}
        given = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
            "PROMOTER_REPO": self.remote.url,
            "PROMOTER_DATABASE_URL": self.database,
            "PROMOTER_POLL_INTERVAL": "1s",
            "PROMOTER_MLFLOW_WEBHOOK_SECRET": SECRET,
            "PROMOTER_GITHUB_WEBHOOK_SECRET": SECRET,
        }
        return inherited | given | changed

    def start(self, *, cold: bool = False, **changed: str) -> Daemon:
        """Start a daemon; `cold`: as users do, with all its imports."""
        daemon = Daemon(self.folder, self.environment(**changed), len(self.daemons), None if cold else self.warm)
        self.daemons.append(daemon)
        return daemon

    def daemon(self, *, cold: bool = False, **changed: str) -> Daemon:
        """Start one, and wait until it answers."""
        daemon = self.start(cold=cold, **changed)
        until(lambda: daemon.ask("/healthz")[0] == 200, "the daemon answers", told=daemon.log)
        return daemon

    def records(self, model: str, alias: str | None = None) -> list[AuditRecord]:
        """What the ledger has of it."""
        ledger = SqlLedger.open(self.database, read_only=True)
        try:
            return list(ledger.find_audit_records(RecordFilter(model=model, alias=alias, limit=100_000)))
        finally:
            ledger.close_connections()

    def moves(self, model: str, alias: str) -> list[Move]:
        """From and to of each move that the ledger has of the alias."""
        return [(each.fact.from_version, each.fact.to_version) for each in self.records(model, alias) if is_alias_move(each)]


class Daemon:
    """`promoter serve` as a process of its own: a copy of `warm`, or started as users do."""

    process: subprocess.Popen[bytes] | Copy

    def __init__(self, folder: Path, environment: Mapping[str, str], number: int, warm: Warm | None = None) -> None:
        """Starts it."""
        self.port = find_free_port()
        self.cold = warm is None
        self._file = folder / f"daemon-{number}.log"
        given = {**environment, "PROMOTER_LISTEN": f"127.0.0.1:{self.port}"}
        if warm is not None:
            self.process = warm.start("promoter", ["serve"], folder, given, self._file, self._file)
            return
        command = [sys.executable, "-m", "promoter", "serve"]
        with self._file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        """What it has said."""
        return self._file.read_text(errors="replace")

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """Status and JSON of an answer; status 0: none."""
        try:
            with urlopen(Request(self.url + path, method=method), timeout=10) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def until_ready(self) -> dict[str, Any]:
        """Wait for 200 of /readyz; what it told."""
        until(lambda: self.ask("/readyz")[0] == 200, "/readyz says ready", told=self.told)
        return dict(self.ask("/readyz")[1])

    def until_trouble(self, part: str) -> str:
        """Wait until /readyz is 503 and names that part; what it says of it."""

        def named() -> str | None:
            status, told = self.ask("/readyz")
            return told["trouble"].get(part) if status == 503 else None

        return str(until(named, f"/readyz names {part}", told=self.told))

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def told(self) -> str:
        """What it says of itself, what its threads are at, and the end of its log: for a test that waits in vain."""
        if isinstance(self.process, Copy):
            self.process.stacks()
        return f"{self.ask('/readyz')}\n{self.log()[-12_000:]}"


def converge(world: DrivenContainer) -> Controller:
    """Do what a daemon does after its start, until nothing is left to do; what it watches with."""
    watch = world.build_controller(lambda _: 0.0)
    world.run_all(watch, "test", GIT, REGISTRY, *([PULLS] if watch.pull_request_work else []), retry=True)
    return watch


def assert_one_outcome_each(records: list[AuditRecord]) -> None:
    """Every intent has exactly one outcome, and at no time were two intents of one model open."""
    open_now: dict[str, int] = {}
    for record in records:
        model = record.fact.model
        if record.fact.outcome is ChangeOutcome.INTENDED:
            assert model not in open_now, f"intent {record.id} was opened while {open_now[model]} was open"
            open_now[model] = record.id
        elif record.intent is not None:
            assert open_now.pop(model, None) == record.intent, f"outcome {record.id} closes {record.intent}"
    assert not open_now, f"without an outcome: {open_now}"


def assert_unbroken(moves: list[Move]) -> None:
    """Each move of an alias starts where the one before it ended: no change went without a record."""
    for (_, reached), (left, _) in pairwise(moves):
        assert reached == left, moves
