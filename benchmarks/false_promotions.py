"""How often each form of `beats` promotes a version that is no better, and how soon it promotes one that is.

    python benchmarks/false_promotions.py [--rotations 1000] [--seed 1]

Simulated cross-validation. The score of a model on a fold is

    quality + difficulty of the fold + luck of the training + noise

- quality     0.85; a better model has that many noise deviations more
- difficulty  deviation 0.02, one draw a fold, the same for every model: the same splits are used
- luck        one draw a model, the same on all of its folds, since they share training data
- noise       one draw a model and fold

Luck and noise together have a deviation of 0.01; `luck` is their correlation between two folds of one model, the share of that
variance that is luck. It is what the spread between the folds does not show. Days are measured once each, on data of
their own: no luck. A rotation compares one new version with the holder, through the product's own policy and evaluation;
every rule sees the same versions. Intervals in brackets are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from promoter.domain.decision import Verdict
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import MetricRef, MetricSeries, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy

QUALITY, DIFFICULTY, NOISE = 0.85, 0.02, 0.01
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOST = 30  # versions that a better challenger is given

FOLDED = {"metric": "fold_auc", "beats": "champion"}
MEAN = {"metric": "auc", "beats": "champion"}
RULES: Mapping[str, Mapping[str, Any]] = {
    "beats,\nlast fold": FOLDED,
    "beats,\nmean": MEAN,
    "beats by\n0.005, mean": {**MEAN, "by": 0.005},
    "0.95,\nindependent": {**FOLDED, "confidence": 0.95, "steps": "independent"},
    "0.95, folds\n(default)": {**FOLDED, "confidence": 0.95},
    "0.99,\nfolds": {**FOLDED, "confidence": 0.99},
}


def policy(rule: Mapping[str, Any]) -> Policy:
    """A policy of that one rule."""
    candidates = {"from": "challenger", "rank": {"metric": "auc", "order": "highest"}}
    return Policy("champion", "", PolicyDocument.model_validate({"version": 1, "candidates": candidates, "rules": [rule]}))


POLICIES = {name: policy(rule) for name, rule in RULES.items()}


@dataclass(frozen=True)
class World:
    """How versions are measured."""

    steps: int
    luck: float
    what: str = "folds"

    def __str__(self) -> str:
        """As the tables call it."""
        return f"{self.steps} {self.what}, luck {self.luck:g}"


WORLDS = (
    World(5, 0.0),
    World(5, 0.2),
    World(5, 0.5),
    World(10, 0.0),
    World(10, 0.1),
    World(10, 0.3),
    World(10, 0.5),
    World(30, 0.0, "days"),
)


class Rotations:
    """One holder, and versions of one quality that arrive one after the other; the same for every rule that asks."""

    def __init__(self, world: World, gain: float, seed: str) -> None:
        """The gain is in noise deviations."""
        self.world, self.gain, self.random = world, gain, random.Random(seed)
        self.difficulty = [self.random.gauss(0, DIFFICULTY) for _ in range(world.steps)]
        self.holder = self.version(1, 0)
        self.seen: list[VersionEvidence] = []

    def version(self, number: int, gain: float) -> VersionEvidence:
        """A new version, measured."""
        luck = self.random.gauss(0, NOISE * math.sqrt(self.world.luck))
        noise = NOISE * math.sqrt(1 - self.world.luck)
        level = QUALITY + gain * NOISE + luck
        points = tuple((step, level + hard + self.random.gauss(0, noise)) for step, hard in enumerate(self.difficulty))
        last = {"auc": statistics.fmean(value for _, value in points), "fold_auc": points[-1][1]}
        run = TrainingRun(f"run-{number}", "FINISHED", last)
        return VersionEvidence(number, run_id=run.run_id, run=run, series=(MetricSeries(MetricRef("fold_auc"), points),))

    def versions(self) -> Iterator[VersionEvidence]:
        """Version 2, 3, ..., without end."""
        for index in count():
            if index == len(self.seen):
                self.seen.append(self.version(index + 2, self.gain))
            yield self.seen[index]

    def promoted(self, rule: str, most: int) -> int:
        """How many versions it takes until that rule promotes one; `most + 1` where none of so many is."""
        for number, candidate in zip(range(1, most + 1), self.versions(), strict=False):
            decision = evaluate_policy(
                POLICIES[rule], "prices", "champion", Evidence(NOW, candidate, {"champion": self.holder})
            )
            if decision.verdict not in {Verdict.PASS, Verdict.FAIL}:
                raise SystemExit(f"not a study of {decision.verdict}: {decision.summary_line}")
            if decision.verdict is Verdict.PASS:
                return number
        return most + 1


def study(world: World, gain: float, most: int, options: argparse.Namespace) -> dict[str, list[int]]:
    """For each rule: after how many versions it promoted, in each rotation."""
    taken: dict[str, list[int]] = {rule: [] for rule in RULES}
    for number in range(options.rotations):
        rotations = Rotations(world, gain, f"{options.seed} {world} {gain} {most} {number}")
        for rule, numbers in taken.items():
            numbers.append(rotations.promoted(rule, most))
    return taken


def share(numbers: list[int], most: int) -> str:
    """The share of rotations that promoted within so many versions, with its interval."""
    hits = sum(number <= most for number in numbers)
    wilson = binomtest(hits, len(numbers)).proportion_ci(0.95, method="wilson")
    return f"{100 * hits / len(numbers):.1f} %\n[{100 * wilson.low:.1f}, {100 * wilson.high:.1f}]"


def percentile(numbers: list[int], part: float) -> str:
    """The smallest number that so large a part does not exceed."""
    value = sorted(numbers)[math.ceil(part * len(numbers)) - 1]
    return f">{MOST}" if value > MOST else str(value)


def titled(title: str, *first: str) -> Table:
    """A table with a column a rule."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in first:
        table.add_column(name, no_wrap=True)
    for rule in RULES:
        table.add_column(rule, justify="right", no_wrap=True)
    return table


def promoted_though_equal(options: argparse.Namespace, worlds: tuple[World, ...], versions: int, title: str) -> Table:
    """Share of rotations in which at least one of so many equal versions is promoted."""
    table = titled(title, "measured on")
    for world in worlds:
        taken = study(world, 0, versions, options)
        table.add_row(str(world), *(share(numbers, versions) for numbers in taken.values()))
    return table


def promoted_since_better(options: argparse.Namespace, world: World) -> Table:
    """How soon a better challenger gets through."""
    table = titled(
        f"2. Truly better versions, one after the other ({world}): the first one promoted; how many it takes",
        "gain",
        "promoted",
    )
    for gain in (0.25, 0.5, 1.0, 2.0):
        taken = study(world, gain, MOST, options).values()
        table.add_row(f"{gain:g} sd", "the first", *(share(numbers, 1) for numbers in taken))
        table.add_row("", "median, 90th %", *(f"{percentile(n, 0.5)}, {percentile(n, 0.9)}" for n in taken))
    return table


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description="False promotions, and how soon a better version is promoted.")
    parser.add_argument("--rotations", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start, console = time.process_time(), Console(width=124)
    one = "1. One new version of equal quality: share of rotations that promote it, all of them falsely"
    console.print(promoted_though_equal(options, WORLDS, 1, one))
    console.print(promoted_since_better(options, World(10, 0.1)))
    console.print(promoted_since_better(options, World(30, 0.0, "days")))
    twenty = "3. Twenty equal versions in a row: chance that at least one is promoted. No rule corrects for repeated tries"
    console.print(promoted_though_equal(options, (World(5, 0.2), World(10, 0.1), World(30, 0.0, "days")), 20, twenty))
    console.print(
        f"{options.rotations} rotations a cell, seed {options.seed}, {time.process_time() - start:.0f} s of processor time",
        highlight=False,
    )


if __name__ == "__main__":
    main()
