"""A week of nightly training: how many promotions are merged, for each value of `proposals.revise`.

    python benchmarks/nightly.py [--rounds 7]

Each night registers a version that is better than the last, and Promoter looks until it has nothing left to do. In the evening
a reviewer is at the open pull request, and needs two rounds for an answer. The policy asks for one approval. `always` is what
Promoter did before there was the setting. Ledger and documents are the real ones; registry, git and forge are in memory. An
approval counts for the newest commit only, as the rule `review` has it.

- `approves, merges two rounds later`: the reviewer approves at once, and merges what is still approved two rounds later.
- `reads, answers two rounds later`: the reviewer reads, and approves and merges it two rounds later, if it is still there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the fakes are those of the tests

if TYPE_CHECKING:
    from promoter.application.ports import PullRequest
    from tests.support.app import App

ROUNDS = 7
PATIENCE = 2
"""How many rounds an answer takes."""
POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion, by: 0.0005}
  - {review: {at_least: 1}}
"""
SETTINGS = ("always", "until-approved", "never")
HABITS = ("approves, merges two rounds later", "reads, answers two rounds later")


@dataclass
class Reviewer:
    """Somebody who comes to the open pull request once a round."""

    app: App
    habit: str
    since: dict[tuple[int, str], int] = field(default_factory=dict)
    """Since which round each head of a pull request is approved, or read."""
    merged: int = 0

    def come(self, number: int) -> bool:
        """Do what the habit says in that round; return whether something was merged."""
        opened = self.app.hub.open
        if not opened:
            return False
        pull = opened[0]
        first = self.since.setdefault((pull.number, pull.head), number)
        if first == number and self.habit == HABITS[0]:
            self.app.hub.approve(pull.number, "ada")
        if number - first < PATIENCE:
            return False
        self._answer(pull)
        return True

    def _answer(self, pull: PullRequest) -> None:
        if self.habit == HABITS[1]:
            self.app.hub.approve(pull.number, "ada")
        self.app.hub.merge(pull.number, "ada")
        self.merged += 1


def run_week(folder: Path, database: Path, revise: str, habit: str, rounds: int) -> tuple[int, int]:
    """Return how many pull requests were merged, and how often the alias moved."""
    import shutil

    from tests.support.app import App
    from tests.support.fakes.registry import FakeRegistry
    from tests.support.fakes.repository import FakeRepository
    from tests.support.proposals import aliases, settle

    folder.mkdir()
    shutil.copy(database, folder / "promoter.db")
    app = App(folder, FakeRegistry(), FakeRepository())
    app.mlflow.version("m", auc=0.8)
    app.mlflow.place("m", "champion", 1)
    app.commit(aliases(), head=f"defaults: {{proposals: {{revise: {revise}}}}}\n", champion=POLICY)
    settle(app)
    reviewer, moves = Reviewer(app, habit), 0
    for number in range(1, rounds + 1):
        app.mlflow.version("m", auc=0.8 + number / 100)
        settle(app)
        if reviewer.come(number):
            settle(app)
            moves = sum(each == "applied" for each in app.outcomes())
            settle(app)
            reviewer.come(number)
        app.time.pass_time(days=1)
    app.close()
    return reviewer.merged, moves


def main() -> int:
    """Run every week, and print the table."""
    import structlog

    from promoter.adapters.ledger import SqlLedger

    parser = argparse.ArgumentParser(description="Merged promotions in a week of nightly training.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print("| reviewer | `revise` | rounds | merged | promoted |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="promoter-nightly-") as place:
        database = Path(place, "empty.db")
        SqlLedger.open(f"sqlite:///{database}").close_connections()
        for habit in HABITS:
            for revise in SETTINGS:
                folder = Path(place, f"{HABITS.index(habit)}-{revise}")
                merged, moves = run_week(folder, database, revise, habit, options.rounds)
                print(f"| {habit} | `{revise}` | {options.rounds} | {merged} | {moves} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
