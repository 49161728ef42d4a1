"""Two Promoters, a person and a trainer at work at once on one repository, one forge and one registry, round by round."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import structlog

from promoter.adapters.forges.detect import ForgeKind
from promoter.domain.audit import ChangeOutcome, RecordFilter
from promoter.domain.audit import RecordKind as Recorded
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.settings import Settings
from tests.support.forges.under_test import TOKEN, ForgeUnderTest, hosted
from tests.support.races.checks import EXPECTED, apart, branches_left, comments, complaints, duplicates, ledgers, lost_edits
from tests.support.races.person import RacePerson
from tests.support.races.racers import Racer, Trainer, until_idle

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}]
"""
NEXT = POLICY.replace(b"beats: champion", b"beats: challenger")
PASSES = 30
"""So many looks at everything are enough to come to rest."""
BREATH = 6
"""Rounds between two pauses in which everybody comes to rest."""
_REGISTRY = """version: 1
# edits end
models:
  {0}:
    owners: [ada]
    aliases:
      champion: {{version: 1, policy: best, rotation: commit}}
      shadow: 1
  {1}:
    owners: [ada]
    aliases:
      champion: {{version: 1, policy: best, rotation: pull-request}}
      challenger: {{version: 1, policy: next, rotation: commit}}
  {2}:
    owners: [ada]
    aliases:
      champion: {{version: 1, policy: best, rotation: pull-request}}
      challenger: {{version: 1, policy: next, rotation: pull-request}}
      shadow: 1
  {3}:
    on_drift: adopt
    aliases:
      champion: 1
# reviews end
# nothing stands here
# pulls end
"""


@dataclass(frozen=True)
class RaceTerms:
    """How long, on which forge, and whether both Promoters have one database."""

    rounds: int
    kind: ForgeKind
    shared: bool
    seed: int = 4
    folder: str = ""
    """Where Promoter's files lie in the repository."""


@dataclass
class RaceFigures:
    """What came of a race. `violations` is empty where all held."""

    terms: RaceTerms
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        databases = "one database" if self.terms.shared else "separate databases"
        where = f", in the folder {self.terms.folder}" if self.terms.folder else ""
        head = f"two Promoters and a person, {self.terms.kind}, {databases}{where}"
        rows = {"rounds": self.terms.rounds, **self.counts, "violations": len(self.violations)}
        lines = [f"  {name:<46}{value:>8}" for name, value in rows.items()]
        return "\n".join([head, *lines, f"  {'seconds':<46}{self.seconds:>8.1f}", *(f"  ! {each}" for each in self.violations)])


class Race:
    """One of them. `run` goes through with it."""

    def __init__(self, terms: RaceTerms, scene: ForgeUnderTest, folder: Path, client: Any, tracking_uri: str) -> None:
        """The repository's first files are there; both Promoters have their own mirrors, and one database or two."""
        self.scene, self.client, self.shared, seed = scene, client, terms.shared, terms.seed
        self.random = Random(seed)
        self.models = [f"race-{uuid4().hex[:6]}-{word}" for word in ("one", "two", "three", "four")]
        self.trainer = Trainer(client, self.models, Random(seed + 1))
        self.place = RepositoryFolder.parse(terms.folder) if terms.folder else TOP_FOLDER
        files = {"registry.yaml": _REGISTRY.format(*self.models), "policies/best.yaml": POLICY.decode()}
        files |= {"policies/next.yaml": NEXT.decode()}
        scene.push({self.place.locate(path): text for path, text in files.items()}, branch="main")
        self.racers = [Racer(self._settings(folder, number, tracking_uri), self.models) for number in range(2)]
        self.worlds = [racer.world for racer in self.racers[: 1 if terms.shared else 2]]
        self.person = RacePerson(scene, folder, client, self.models, Random(seed + 2), self.place, self.worlds)

    def _settings(self, folder: Path, number: int, tracking_uri: str) -> Settings:
        own = folder / f"promoter-{number}"
        own.mkdir()
        database = (folder if self.shared else own) / "promoter.db"
        return Settings(
            mlflow_tracking_uri=tracking_uri,
            database_url=f"sqlite:///{database}",
            mirror=own / "mirror.git",
            repo=self.scene.remote.url,
            path=self.place.path or None,
            git_token=TOKEN,
            forge=self.scene.kind,
            forge_url=self.scene.environment["PROMOTER_FORGE_URL"],
            forge_project=self.scene.home.name,
            forge_token=TOKEN,
        )

    def round(self, number: int) -> None:
        """Everybody at once; over when the people are through. What the Promoters have not got to, they take into the next.

        Every sixth round waits until they have nothing left to look at.
        """
        faults: list[BaseException] = []
        threads = [
            threading.Thread(target=_kept, args=(faults, act))
            for act in (lambda: self.person.act(number), self.trainer.act, *(self._looks(racer) for racer in self.racers))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        if number % BREATH == BREATH - 1:
            self.poll()

    def _looks(self, racer: Racer) -> Callable[[], None]:
        return racer.poll if self.random.random() < 0.8 else lambda: racer.look(self.random)

    def poll(self) -> None:
        """Both as the daemon does now and then, until nothing is left to look at."""
        for racer in self.racers:
            racer.poll()
        until_idle(self.racers)

    def look(self) -> None:
        """Both at everything, until nothing is left to look at."""
        for racer in self.racers:
            racer.look(self.random)
        until_idle(self.racers)

    def settle(self) -> int:
        """Look until a look at everything by both writes nothing; how many it took. Raises `AssertionError`."""
        for number in range(1, PASSES + 1):
            before = self._state()
            self.scene.forge.faults.writes.clear()
            self.look()
            if self._state() == before and not self.scene.forge.faults.writes:
                return number
        raise AssertionError(f"no rest after {PASSES} looks: {self.scene.forge.faults.writes[-3:]}")

    def aliases(self, model: str) -> dict[str, int]:
        """Where the registry has them."""
        return {alias: int(version) for alias, version in self.client.get_registered_model(model).aliases.items()}

    def _state(self) -> tuple[Any, ...]:
        rows = [len(world.ledger.find_audit_records(RecordFilter(limit=1_000_000))) for world in self.worlds]
        return self.scene.home.git.heads(), [self.aliases(model) for model in self.models], rows

    def moves(self) -> int:
        """Aliases that Promoter moved."""
        records = [each for world in self.worlds for each in world.ledger.find_audit_records(RecordFilter(limit=1_000_000))]
        done = (ChangeOutcome.APPLIED, ChangeOutcome.RECOVERED)
        return sum(each.fact.kind is Recorded.CHANGE and each.fact.outcome in done for each in records)


def race(
    terms: RaceTerms, folder: Path, client: Any, tracking_uri: str, tell: Callable[[int], None] = lambda _: None
) -> RaceFigures:
    """Go through with one. `client` is MLflow's own; `tell` is called with each round's number."""
    figures = RaceFigures(terms)
    begun = time.monotonic()
    with _logs() as events, hosted(terms.kind, folder) as scene:
        running = Race(terms, scene, folder, client, tracking_uri)
        try:
            running.poll()
            for number in range(terms.rounds):
                running.round(number)
                tell(number + 1)
            left = _end(running, figures.violations)
            figures.violations += _violations(running, events)
        finally:
            for racer in running.racers:
                racer.queue.stop_workers()
        figures.counts = _counted(running, events) | left
    figures.seconds = time.monotonic() - begun
    return figures


def _end(running: Race, violations: list[str]) -> dict[str, int]:
    """Everybody stops, and all comes to rest; a person sees to what waits for one, and then git and registry agree."""
    running.poll()
    running.person.tidy()
    looks = running.settle()
    waiting = apart(running.worlds[0], running.aliases)
    for (model, alias), (version, why) in waiting.items():
        if why is None:
            violations.append(f"git says v{version} of {model}@{alias}, and nothing keeps it from being so")
        running.person.put_back(model, alias, version)
    if waiting:
        looks += running.settle()
    for (model, alias), (version, why) in apart(running.worlds[-1], running.aliases).items():
        violations.append(f"at the end, {model}@{alias} is not at v{version}: {why}")
    return {"aliases that waited for a person at the end": len(waiting), "looks at everything until rest": looks}


def _violations(running: Race, events: Sequence[dict[str, Any]]) -> Iterator[str]:
    scene, person = running.scene, running.person
    yield from lost_edits(scene, person)
    yield from duplicates(scene, person)
    yield from comments(scene, person)
    yield from branches_left(scene, person.place)
    yield from ledgers(running.worlds, running.models)
    yield from complaints(events)


def _counted(running: Race, events: Sequence[dict[str, Any]]) -> dict[str, int]:
    both = Counter[str]()
    rows: dict[str, int] = {}
    for number, racer in enumerate(running.racers, 1):
        counts, name = racer.counts, f"Promoter {number}:"
        both += counts
        rows[f"{name} looks"] = counts["looks"]
        rows[f"{name} commits to the watched branch"] = counts["git commit"]
        rows[f"{name} commits that others were ahead of"] = counts["git commit overtaken"]
        rows[f"{name} branches made or removed"] = counts["git propose"] + counts["git discard"]
        rows[f"{name} the same, others were first"] = counts["git propose overtaken"] + counts["git discard overtaken"]
    person, pulls = running.person.counts, running.scene.home.pulls.values()
    rows |= {
        "person: pushes": person["pushes"],
        "person: pushes lost and made again": person["pushes lost"],
        "person: commits on branches of proposals": person["commits on proposals"],
        "person: aliases moved by hand": person["aliases moved by hand"],
        "person: own pull requests opened": person["own pull requests opened"],
        "person: own pull requests merged": person["own pull requests merged"],
        "versions registered": running.trainer.made,
        "proposals opened": both["forge propose"],
        "proposals opened by the other in that moment": both["forge propose overtaken"],
        "proposals revised": both["forge revise"],
        "proposals closed by Promoter": sum(each.state == "closed" and each.closed_by == "promoter-bot" for each in pulls),
        "proposals closed by a person": person["proposals closed by hand"],
        "proposals merged": person["proposals merged"],
        "proposals approved": person["proposals approved"],
        "refusals taken back": person["refusals taken back"],
        "proposals reworded after they were answered": sum(
            running.scene.home.pulls[number].body != body for number, body in (*running.person.said_no, *running.person.merged)
        ),
        "merges that the forge refused": sum(count for name, count in person.items() if name.startswith("merges refused")),
        "alias moves": running.moves(),
        "looks that were put off": sum(event["event"] == "not now, looking again" for event in events),
        "looks that ended with a task for a person": sum(any(words in str(event) for words in EXPECTED) for event in events),
    }
    return rows


def _kept(faults: list[BaseException], act: Callable[[], None]) -> None:
    try:
        act()
    except BaseException as fault:  # noqa: BLE001  # told by the thread that waits
        faults.append(fault)


@contextmanager
def _logs() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged meanwhile, by any thread."""
    events: list[dict[str, Any]] = []

    def keep(_logger: Any, _name: str, event: Any) -> Any:
        events.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, keep])
    try:
        yield events
    finally:
        structlog.configure(**before)
