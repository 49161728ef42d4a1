"""One run of kills: a daemon with its hands full dies at moments that are looked for or come by chance, again and again."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from random import Random

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.mlflow.webhooks import WEBHOOK_EVENTS
from promoter.domain.audit import AuditRecord
from tests.support.kills.checks import apart, events_of
from tests.support.kills.workload import Workload
from tests.support.remembered import numbers
from tests.support.stage.inboxes import SignedInbox
from tests.support.stage.stage import SECRET, Daemon, Stage, until

CHANNEL = "test"
PATIENCE = 4.0
"""Seconds to wait for a moment that may not come."""
LONG_PATIENCE = 12.0
"""The same for one that takes a while: a rotation comes when everything else of its model is done."""
COLD = 0.1
"""The share of daemons that are started as users do, which takes longer."""
REST = 2.0
"""Seconds without anything new, after which nothing more is expected."""


@dataclass(frozen=True)
class KillTerms:
    """How often, with which seed, and how busy everybody is (seconds between two acts)."""

    kills: int
    seed: int = 5
    pace: float = 0.15
    patience: float = 120.0


class KillStage(Stage):
    """A stage with its ledger where one likes."""

    def __init__(self, stage: Stage, database: str, tracking_uri: str | None = None) -> None:
        """That stage, but for its ledger, and the way to MLflow if it is another. Nothing runs yet."""
        super().__init__(stage.folder, stage.remote, stage.client, tracking_uri or stage.tracking_uri, stage.warm)
        self._database = database

    @property
    def database(self) -> str:
        """The address of the ledger."""
        return self._database


@dataclass(frozen=True)
class KillSurroundings:
    """Who gets MLflow's webhooks, and who gets Promoter's events."""

    webhooks: SignedInbox
    events: SignedInbox


class KillRun:
    """One run. `go` goes through with it."""

    def __init__(self, terms: KillTerms, stage: Stage, around: KillSurroundings) -> None:
        """Registers the first versions; nothing of Promoter runs yet."""
        self.terms, self.stage, self.around = terms, stage, around
        self.random = Random(terms.seed)
        self.counts: Counter[str] = Counter()
        self.stream = Workload(stage, self.state, Random(terms.seed + 1), terms.pace)
        self.moments: dict[str, Callable[[Daemon], None]] = {
            "while it starts": lambda daemon: time.sleep(self.random.uniform(0, self.startup if daemon.cold else 0.5)),
            "some time after it answers": lambda daemon: self._after(lambda: self._answers(daemon), 3.0),
            "when it has opened an intent": lambda _: self._after(self._intends, 0.1),
            "when MLflow tells of an alias": lambda _: self._after(self._heard, 0.05),
            "when a better version is there": lambda _: self._after(self.stream.better.is_set, 2.0),
            "when it has pushed a rotation": lambda _: self._after(self._rotates(), 0.1, LONG_PATIENCE),
            "when an event arrives": lambda _: self._after(around.events.came.is_set, 0.2),
        }
        self.startup = 0.0
        self._last_intent = 0

    @cached_property
    def ledger(self) -> SqlLedger:
        """The ledger, for reading, once there is one."""
        return SqlLedger.open(self.stage.database, read_only=True)

    def state(self) -> tuple[Mapping[str, Mapping[str, int | None]], list[AuditRecord]]:
        """Where the ledger last saw every alias, and the intents without an outcome."""
        return numbers(self.ledger.read_last_known_versions()), list(self.ledger.find_open_intents())

    def go(self, tell: Callable[[int], None]) -> list[str]:
        """First in peace until all is as git says; then the kills; then in peace again until nothing is left to do.

        What is not as it should be even then.
        """
        begun = time.monotonic()
        daemon = self._daemon(cold=True)
        until(lambda: self._answers(daemon), "the daemon answers", told=daemon.log)
        self.startup = time.monotonic() - begun
        self._rest()
        daemon.kill()
        self.stream.start()
        for number in range(self.terms.kills):
            self._round()
            tell(number + 1)
        self.stream.stop()
        last = self._daemon(cold=True)
        left = self._rest()
        if left:
            left.append(f"the last daemon {'runs' if last.process.poll() is None else 'ended by itself'}: {last.log()[-3000:]}")
        return left

    def left(self) -> list[str]:
        """What is not yet as it should be in the end."""
        found = list(apart(self.stage, self.ledger, self.stream))
        if not found and (missing := events_of(self.ledger, CHANNEL) - self.around.events.times.keys()):
            found = [f"the event {each} has not arrived" for each in sorted(missing)]
        return found

    def _rest(self) -> list[str]:
        """Wait until nothing new happens; what still is not as it should be after the patience is over."""
        deadline, still, before = time.monotonic() + self.terms.patience, time.monotonic(), None
        while time.monotonic() < deadline:
            left = self.left()
            now = (left, self.ledger.read_chain_head(), len(self.around.webhooks.letters))
            if now != before or left:
                before, still = now, time.monotonic()
            elif time.monotonic() - still > REST:
                break
            time.sleep(0.2)
        return left

    def _round(self) -> None:
        for signal in (self.around.webhooks.came, self.around.events.came, self.stream.better):
            signal.clear()
        daemon = self._daemon(cold=self.random.random() < COLD)
        self.counts["killed of those that were started as users do"] += daemon.cold
        moment = self.random.choice(sorted(self.moments))
        self.moments[moment](daemon)
        if daemon.process.poll() is not None:
            raise AssertionError(f"it ended by itself:\n{daemon.log()[-3000:]}")
        daemon.kill()
        self.counts[f"killed {moment}"] += 1
        self._look_at_what_is_left()

    def _daemon(self, *, cold: bool) -> Daemon:
        settings = {"PROMOTER_NOTIFICATIONS": json.dumps([self._channel()])}
        given = self.stage.folder, self.stage.environment(**settings), len(self.stage.daemons)
        daemon = Daemon(*given, None if cold else self.stage.warm)
        self.stage.daemons.append(daemon)
        self.around.webhooks.forward = lambda: f"{daemon.url}/webhooks/mlflow"
        return daemon

    def _channel(self) -> dict[str, object]:
        return {"name": CHANNEL, "url": self.around.events.url, "secret": SECRET, "networks": ["127.0.0.1/32"]}

    def _look_at_what_is_left(self) -> None:
        """Intents that an earlier kill left, and that nobody has got to yet, do not count again."""
        intents = [each for each in self.ledger.find_open_intents() if each.id > self._last_intent]
        for intent in intents:
            self._last_intent = max(self._last_intent, intent.id)
            there = self.stage.aliases(intent.fact.model).get(intent.fact.alias) == intent.fact.to_version
            self.counts[f"intents left open, the alias {'moved already' if there else 'not moved yet'}"] += 1
        self.counts["kills that left an intent open"] += bool(intents)

    def _after(self, holds: Callable[[], bool], at_most: float, patience: float = PATIENCE) -> None:
        """Wait for the moment, and a random while longer."""
        deadline = time.monotonic() + patience
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(self.random.uniform(0, at_most))

    def _answers(self, daemon: Daemon) -> bool:
        return daemon.ask("/healthz")[0] == 200

    def _rotates(self) -> Callable[[], bool]:
        before = self.stage.head()
        return lambda: "Rotate" in self.stage.git("log", "--format=%s", f"{before}..{self.stage.remote.branch}")

    def _intends(self) -> bool:
        return any(each.id > self._last_intent for each in self.ledger.find_open_intents())

    def _heard(self) -> bool:
        if not self.around.webhooks.came.is_set():
            return False
        self.around.webhooks.came.clear()
        return bool(self.around.webhooks.letters[-1].told["entity"] == "model_version_alias")


@contextmanager
def told_by(stage: Stage, webhooks: SignedInbox) -> Iterator[None]:
    """MLflow's webhook, working."""
    name = f"kills-{webhooks.url.rpartition(':')[2].strip('/')}"
    webhook = stage.client.create_webhook(name, webhooks.url, list(WEBHOOK_EVENTS), secret=SECRET)
    try:
        probe = f"probe-{name}"
        stage.version(probe, 0.5)

        def heard() -> bool:
            stage.by_hand(probe, "probe", 1)
            return webhooks.came.wait(0.2)

        until(heard, "MLflow's webhook works")
        yield
    finally:
        stage.client.delete_webhook(webhook.webhook_id)
