"""The stream of a test that kills: a person pushes, a trainer registers versions, and an outsider moves aliases by hand.

They act such that afterwards it is known exactly how often an alias moved. Git never changes `touched`, and the outsider moves
it only where it stands as git says and the ledger knows that: so each of his moves is seen, once, and put back.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from uuid import uuid4

from promoter.demo.servers.git import GitHttpServer
from promoter.domain.audit import AuditRecord
from tests.support.fixtures.git import Colleague, git
from tests.support.stage.stage import Stage

MODELS = ("one", "two", "three")
BY_HAND = "aliases moved by hand"
TOUCHED = 2
"""Where git has the outsider's alias, always."""
GOOD = 0.5
"""The measure that `strict` asks for."""
BEST = b"version: 1\ncandidates: {from: any, rank: {metric: auc, order: highest}}\nrules: [{metric: auc, beats: champion}]\n"
STRICT = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
ALIASES = """{model}:
  aliases:
    champion: {{version: 1, policy: best, rotation: commit}}
    gated: {{version: 1, policy: strict}}
    shadow: 1
    legacy: 1
    touched: 2
"""
HEAD = "safety: {max_changes: 100%}\n"

Ledger = Callable[[], tuple[Mapping[str, Mapping[str, int | None]], list[AuditRecord]]]
"""Gives where the ledger last saw every alias, and the open intents."""


class PushingPerson:
    """Has a clone, and pushes; where somebody else was first, again on top of that."""

    def __init__(self, remote: GitHttpServer, folder: Path) -> None:
        """Clones."""
        self.pushes = self.lost = 0
        self._folder = Colleague(remote, folder, "none-asked-for").folder

    def state(self, said: Mapping[tuple[str, str], str]) -> None:
        """Push `registry.yaml` with these words behind these aliases."""
        file = self._folder / "registry.yaml"
        while True:
            git(self._folder, "fetch", "--quiet", "origin")
            git(self._folder, "reset", "--quiet", "--hard", "origin/main")
            text = before = file.read_text()
            for (model, alias), word in said.items():
                text = re.sub(rf"(  {model}:\n  +aliases:\n(?:      .*\n)*?      {alias}: ).*", rf"\g<1>{word}", text)
            if text == before:
                return
            file.write_text(text)
            git(self._folder, "commit", "--quiet", "--all", "--message", f"State {len(said)} of them")
            try:
                git(self._folder, "push", "--quiet", "origin", "HEAD:main")
            except AssertionError as error:
                if "rejected" not in str(error) and "failed to push" not in str(error):
                    raise
                self.lost += 1
            else:
                self.pushes += 1
                return


class Workload:
    """Everybody but Promoter, in a thread of its own, one after the other in random order."""

    def __init__(self, stage: Stage, ledger: Ledger, random: Random, pace: float) -> None:
        """Registers three versions of each model and commits the first statements. `pace`: mean seconds between two acts."""
        self.models = [f"kill-{uuid4().hex[:6]}-{word}" for word in MODELS]
        self.measured: dict[str, dict[int, float]] = {model: {} for model in self.models}
        self.counts: Counter[str] = Counter()
        self.better = threading.Event()
        """Set when a version is registered that rotation will want."""
        self._stage, self._ledger, self._random, self._pace = stage, ledger, random, pace
        for model in self.models:
            for auc in (0.6, 0.59, 0.58):
                self._version(model, auc)
        statements = "".join(ALIASES.format(model=model) for model in self.models)
        stage.commit(statements, HEAD, best=BEST, strict=STRICT)
        self.person = PushingPerson(stage.remote, stage.folder / "person")
        self.fault: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End what is being done, and bring what a policy blocks to a version that it lets through. Raises what went wrong."""
        self._over.set()
        self._thread.join()
        if self.fault:
            raise self.fault
        self.person.state({(model, "gated"): self._gated(self._any(model, good=True)) for model in self.models})

    def _run(self) -> None:
        acts = (self._push, self._push, self._train, self._train, self._touch, self._touch)
        try:
            while not self._over.wait(self._random.uniform(0.2, 1.8) * self._pace):
                self._random.choice(acts)()
        except BaseException as fault:  # noqa: BLE001  # told by the thread that waits
            self.fault = fault

    def _push(self) -> None:
        said: dict[tuple[str, str], str] = {}
        for model in self._random.sample(self.models, self._random.randint(1, 2)):
            for alias in self._random.sample(("shadow", "legacy", "gated"), self._random.randint(1, 2)):
                version = self._any(model)
                absent = alias == "legacy" and self._random.random() < 0.4
                said[model, alias] = self._gated(version) if alias == "gated" else "absent" if absent else str(version)
        self.person.state(said)

    def _gated(self, version: int) -> str:
        return f"{{version: {version}, policy: strict}}"

    def _any(self, model: str, *, good: bool = False) -> int:
        measured = self.measured[model]
        return self._random.choice([version for version, auc in measured.items() if auc >= GOOD or not good][-8:])

    def _train(self) -> None:
        model = self._random.choice(self.models)
        best, luck = max(self.measured[model].values()), self._random.random()
        if luck < 0.6:
            self._version(model, round(best + self._random.uniform(0.001, 0.01), 6))
            self.better.set()
        else:
            self._version(model, 0.55 if luck < 0.7 else 0.1)

    def _version(self, model: str, auc: float) -> None:
        number = self._stage.version(model, auc)
        self.measured[model][number] = auc
        self.counts["versions registered"] += 1

    def _touch(self) -> None:
        model = self._random.choice(self.models)
        known, intents = self._ledger()
        quiet = known.get(model, {}).get("touched") == TOUCHED and not any(each.fact.model == model for each in intents)
        if quiet and self._stage.aliases(model).get("touched") == TOUCHED:
            self._stage.by_hand(model, "touched", self._random.choice((1, 3, None)))
            self.counts[BY_HAND] += 1


def best(measured: Mapping[int, float]) -> int:
    """The version that rotation ends at."""
    return max(measured, key=lambda version: measured[version])
