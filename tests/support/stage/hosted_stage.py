"""The stage on a hosted forge: its repository over smart HTTP, its API and webhooks over HTTP, and people at work there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.application.ports import CommitStatus
from promoter.settings import Settings
from tests.support.driven import DrivenContainer
from tests.support.forges.model import Pull
from tests.support.forges.under_test import TOKEN, ForgeUnderTest
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import Daemon, Stage, converge, registry_yaml, until
from tests.support.stage.warm import Warm

HOOK_SECRET = "what the forge and Promoter share"
BOT = "promoter-bot"
REVIEWED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {run: {status: FINISHED}}
  - {metric: auc, beats: champion, by: 0.005}
  - {review: {at_least: 2, from: [ada, acme/risk]}}
"""
SETTLED = 12
"""So many rounds of everything a world may take until nothing is left to be written."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """Its output, as JSON."""
        assert self.out.startswith("{"), self.out + self.err
        return dict(json.loads(self.out))


class HostedStage(Stage):
    """Ada, Bob and Cy write and review; Bob is of the team `acme/risk`. `home` is the repository, as the forge has it."""

    def __init__(self, folder: Path, scene: ForgeUnderTest, client: Any, tracking_uri: str, warm: Warm) -> None:
        """Nothing of Promoter's runs yet."""
        super().__init__(folder, scene.remote, client, tracking_uri, warm)
        self.scene = scene
        self.forge = scene.forge
        self.home = scene.home
        self.forge.team("acme/risk", "bob")

    # Promoter.

    def settings(self, **changed: Any) -> Settings:
        """Of a Promoter that knows the forge."""
        own = {key.removeprefix("PROMOTER_").lower(): text for key, text in self.scene.environment.items()}
        return super().settings(**{**own, "load_models": False, **changed})

    def environment(self, **changed: str) -> dict[str, str]:
        """The same for a process."""
        own = self.scene.environment | {
            "PROMOTER_LOAD_MODELS": "false",
            f"PROMOTER_{self.scene.kind.upper()}_WEBHOOK_SECRET": HOOK_SECRET,
        }
        return super().environment(**{**own, **changed})

    def world(self, **changed: Any) -> DrivenContainer:
        """A Promoter that has just started, in this process."""
        return DrivenContainer(self.settings(**changed))

    def daemon(self, *, patient: bool = False, **changed: str) -> Daemon:
        """One that the forge's webhooks go to. `patient`: it polls so rarely that only they tell it anything."""
        if patient:
            changed |= {"PROMOTER_POLL_INTERVAL": "1h"}
        daemon = super().daemon(**changed)
        self.forge.hooks.clear()
        self.scene.hook(f"{daemon.url}/webhooks/{self.scene.kind}", HOOK_SECRET)
        return daemon

    def settle(self, **changed: Any) -> DrivenContainer:
        """Start anew and look at everything, again and again until nothing is written any more; the last that did."""
        for _ in range(SETTLED):
            before = self.marks()
            world = self.world(**changed)
            watch = converge(world)
            assert not watch.health.current_problems, watch.health.current_problems
            if self.marks() == before:
                return world
            world.ledger.close_connections()  # type: ignore[attr-defined]  # the real one is a database
        raise AssertionError(f"still writing: {self.forge.faults.writes[-4:]}")

    def marks(self) -> tuple[object, ...]:
        """What changes with every write outside."""
        self.forge.refresh()
        return len(self.forge.faults.writes), tuple(sorted(self.home.git.heads().items()))

    def run(self, *arguments: str, seconds: float = 120.0, **changed: str) -> Ran:
        """`promoter ARGUMENTS`, as a process of its own."""
        done = self.warm.run("promoter", arguments, self.folder, self.environment(**changed), seconds)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    # The registry.

    def version(self, model: str, auc: float, **tags: str) -> int:
        """Register the next version: one that looks as if it could be loaded."""
        return make_version(self.client, model, {"auc": auc}, tags)

    def serving(self, model: str, *measured: float) -> None:
        """Register these versions, and let the first be the champion."""
        for auc in measured:
            self.version(model, auc)
        self.by_hand(model, "champion", 1)

    # The forge.

    def branch(self, model: str, alias: str = "champion") -> str:
        """Promoter's branch for it."""
        return f"promoter/{model}/{alias}"

    def pulls(self, branch: str | None = None, state: str | None = None) -> list[Pull]:
        """Pull requests from that branch, in that state (None: any), oldest first."""
        with self.forge.using():
            return [pull for pull in self.home.pulls.values() if branch in (None, pull.branch) and state in (None, pull.state)]

    def open_pull(self, model: str, title: str = "") -> Pull | None:
        """The one open pull request from Promoter's branch, with that in its title; None: not there yet."""
        found = self.pulls(self.branch(model), "open")
        assert len(found) <= 1, found
        return found[0] if found and title in found[0].title else None

    def until_open(self, model: str, title: str = "") -> Pull:
        """Wait for it."""
        pull: Pull = until(lambda: self.open_pull(model, title), f"a pull request {title!r} is open", told=self.told)
        return pull

    def until_state(self, pull: Pull, state: str) -> None:
        """Wait until the pull request is `open`, `closed` or `merged`."""
        until(lambda: self.pulls()[pull.number - 1].state == state, f"#{pull.number} is {state}", told=self.told)

    def status(self, pull: Pull) -> CommitStatus | None:
        """What `promoter/plan` says of its head, as the forge tells it."""
        return self.scene.port.read_commit_status(pull.head)

    def until_status(self, pull: Pull, state: str, description: str = "") -> None:
        """Wait until its head has that status."""

        def there() -> bool:
            has = self.status(pull)
            return has is not None and has.state == state and description in has.description

        until(there, f"#{pull.number} is {state}: {description}", told=lambda: f"{self.status(pull)}\n{self.told()}")

    def comments(self, pull: Pull, marker: str = COMMENT_MARKER) -> list[str]:
        """Promoter's comments on it that begin with that marker."""
        with self.forge.using():
            return [each.body for each in pull.remarks if each.by == BOT and each.body.lstrip().startswith(marker)]

    def approve(self, pull: Pull, *logins: str) -> None:
        """These people approve what it says now."""
        with self.forge.using():
            for login in logins:
                self.home.review(pull.number, login, "approved")

    def merge(self, pull: Pull, by: str = "cy") -> str:
        """Somebody merges it; the merge commit."""
        with self.forge.using():
            return self.home.merge(pull.number, by)

    def decline(self, pull: Pull, by: str = "cy") -> None:
        """Somebody closes it unmerged."""
        with self.forge.using():
            self.home.close(pull.number, by)

    def propose(
        self, branch: str, by: str = "ada", models: str | None = None, *, message: str = "Work", **policies: bytes
    ) -> Pull:
        """Somebody pushes a branch with these files, and opens a pull request from it."""
        self.push(branch, by, models, message=message, **policies)
        with self.forge.using():
            return self.home.open(by, branch, f"Change {branch}")

    def push(self, branch: str, by: str = "ada", models: str | None = None, *, message: str = "Work", **policies: bytes) -> str:
        """Somebody pushes these files to the branch, which is made where it is not there yet."""
        files = {f"policies/{name}.yaml": text.decode() for name, text in policies.items()}
        if models is not None:
            files["registry.yaml"] = registry_yaml(models).decode()
        with self.forge.using():
            return self.scene.push(files, by, branch, message=message)

    def protect(self) -> None:
        """From now on the watched branch takes no pushes; pull requests are merged all the same."""
        with self.forge.using():
            self.home.protect(self.remote.branch)

    def told(self) -> str:
        """For a test that failed: what everybody has."""
        logs = "\n".join(daemon.log()[-5000:] for daemon in self.daemons)
        rows = "\n".join(f"#{each.number} {each.state} {each.branch} {each.title}" for each in self.pulls())
        return f"{rows}\n{self.git('log', '--oneline', '--all', '-15')}\n{logs}"
