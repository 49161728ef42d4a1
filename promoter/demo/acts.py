"""The acts of the story, each a method: what somebody does, and what Promoter makes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from promoter.demo import training
from promoter.demo.observing import Effect, Observer
from promoter.demo.remote_edits import Clone, Person, with_alias
from promoter.demo.system import System
from promoter.demo.telling import Teller, told_rules
from promoter.demo.training import Fitted, Logged, Recipe
from promoter.domain.faults import Refused

MODEL = "tumour-classifier"
CAROL = Person("Carol")
LIVE_AUC, CHECKS = 0.81, 3
APART_SECONDS = 1.2
"""Longer than the guard's `every`: checks that lie closer together count once."""
NOT_PASSED, CHANGES = 3, 2


@dataclass
class Acts:
    """Alice trains models, Bob approves, Carol reviews, Erin is in a hurry, and monitoring measures what is served."""

    teller: Teller
    system: System
    fitted: Mapping[str, Fitted]
    observer: Observer = field(init=False)
    clone: Clone = field(init=False)
    _logged: dict[str, Logged] = field(default_factory=dict)
    _registered: int = 0

    def __post_init__(self) -> None:
        """Everybody works in one clone."""
        self.observer = Observer(self.system, MODEL)
        self.clone = Clone(self.system.git.url, self.system.folder / "clone")

    def play(self) -> None:
        """The whole story."""
        self.the_grid()
        first = self.the_first_champion()
        weak = self.a_version_that_fails()
        better, newer = self.a_challenger(weak)
        self.an_approval(better, first)
        self.a_merged_change(newer)
        self.an_alias_moved_by_hand(weak, better)
        self.a_guard_that_breaks(first, better)

    def the_grid(self) -> None:
        """Six fits, logged as MLflow runs."""
        self.teller.act("A grid of models")
        grid = [self.fitted[recipe.name] for recipe in training.GRID]
        self.teller.deed("Alice", f"has fitted {len(grid)} models on scikit-learn's breast cancer data, and logs each as a run")
        with self.teller.working("Logging parameters, metrics, models, signatures and input examples") as work:
            for done, fitted in enumerate(grid):
                work.now(f"Logging run {done + 1} of {len(grid)}: {fitted.recipe.name}")
                self._log(fitted.recipe)
        self.teller.table(
            ["BOOSTING WITH", "val_auc", "fold_auc (mean)", "p99_ms"],
            [(f.recipe.name, f"{f.val_auc}", f"{sum(f.fold_auc) / len(f.fold_auc):.4f}", f"{f.p99_ms:.1f}") for f in grid],
        )

    def the_first_champion(self) -> int:
        """Nobody holds an alias yet: rotation finds a challenger, and with an approval a champion."""
        self.teller.act("The first champion")
        self.teller.note("registry.yaml names the aliases champion and challenger, and no version yet: rotation finds them.")
        version, since = self._register(training.FIRST)
        self._moved(self.observer.alias_reaches("challenger", version, since))
        self._approve(version, "champion")
        return version

    def a_version_that_fails(self) -> int:
        """Its metrics are below what the policy asks for."""
        self.teller.act("A version that fails the policy")
        version, since = self._register(training.WEAK)
        self._stays("challenger", version, since)
        self._explain("challenger")
        return version

    def a_challenger(self, weak: int) -> tuple[int, int]:
        """The best of the new versions, not the newest."""
        self.teller.act("A challenger is chosen")
        self.teller.note(f"policies/challenger.yaml wants more than a newer version, and v{weak} stays where it is.")
        better, since = self._register(training.BETTER)
        self._moved(self.observer.alias_reaches("challenger", better, since))
        newer, since = self._register(training.NO_BETTER)
        self._stays("challenger", newer, since)
        self.teller.note("The champion does not follow by itself: policies/champion.yaml wants an approval.")
        self._explain("champion")
        return better, newer

    def an_approval(self, version: int, before: int) -> None:
        """The tag arrives, and the champion rotates by a commit."""
        self.teller.act("An approval arrives, and the champion rotates")
        self._approve(version, "champion", why=False)
        self.clone.pull()
        self.teller.note(f"v{before} is no longer the champion. The commit that says so, and why:")
        self.teller.block(self.clone.message())

    def a_merged_change(self, version: int) -> None:
        """What a pull request is on a forge: a branch, a plan, a merge commit."""
        self.teller.act("A change of registry.yaml is merged")
        self.clone.pull()
        self.clone.branch("add-shadow")
        self.teller.deed("Carol", "wants one more alias, and commits it on a branch")
        self.teller.block(self.clone.commit(CAROL, "Shadow a smaller model", lambda text: with_alias(text, "shadow", version)))
        said = self.system.promoter("plan", cwd=self.clone.folder, codes=(CHANGES,), extra=self.teller.quote_environment)
        self.teller.quote("promoter plan", said.output)
        self.clone.merge(CAROL, "add-shadow")
        since = self.teller.deed("Carol", "merges the branch into main, and pushes")
        self.clone.push()
        self._moved(self.observer.alias_reaches("shadow", version, since))

    def an_alias_moved_by_hand(self, wrong: int, right: int) -> None:
        """Drift: the registry is put back to what git says."""
        self.teller.act("Somebody moves an alias by hand")
        since = self.teller.deed("Erin", f"points champion at v{wrong} in the MLflow UI, past git and every policy")
        self.system.client.set_registered_model_alias(MODEL, "champion", str(wrong))
        effect = self.observer.alias_reaches("champion", right, since)
        moved = [each for each in self.observer.records() if each["alias"] == "champion" and each["id"] <= effect.record["id"]]
        self.teller.effect(effect.seconds, f"champion is v{right} again: {effect.record['reason']}")
        seen = next((each for each in reversed(moved) if each["kind"] == "observed" and each["to"] == wrong), None)
        if seen is None:
            raise Refused("demo", f"the ledger does not say that somebody moved champion to v{wrong}")
        self.teller.note(f"The ledger keeps both moves: no. {seen['id']}, {seen['reason']}, and no. {effect.record['id']}.")

    def a_guard_that_breaks(self, first: int, better: int) -> None:
        """What served well no longer does: the previous champion returns, with a hold that rotation respects."""
        self.teller.act("Quality drops in production, and a guard puts the previous champion back")
        self.teller.note(f"policies/champion.yaml guards the champion: {CHECKS} looks in a row that find live_auc too low.")
        run_id = self.system.client.get_model_version(MODEL, str(better)).run_id
        since = self.teller.deed("Monitoring", f"logs live_auc {LIVE_AUC} on the run of v{better}")
        self.system.client.log_metric(run_id, "live_auc", LIVE_AUC)
        for _ in range(1, CHECKS):
            seconds, row = self.observer.look(since)
            champion = row["champion"]
            if champion["version"] == first:
                break  # the daemon's own polls are looks as well
            if champion["version"] != better or f"of {CHECKS} in a row failed" not in champion["failing"]:
                raise Refused("demo", f"expected champion at v{better}, and its guard to fail; it is {champion}")
            self.teller.effect(seconds, f"champion stays v{better}: {champion['failing']}")
            time.sleep(APART_SECONDS)
        self.observer.look(since)
        self._moved(self.observer.alias_reaches("champion", first, since))
        self.clone.pull()
        self.teller.block(self.clone.message())
        self.teller.note("It held the alias before, so that it is asked for no new approval, only whether it loads.")
        self._the_hold_holds(first)

    def _the_hold_holds(self, held: int) -> None:
        version, since = self._register(training.ANOTHER)
        self._moved(self.observer.alias_reaches("challenger", version, since))
        head = self.clone.remote_head
        since = self.teller.deed("Bob", f"approves v{version} as well, with approved_by=risk")
        self.system.client.set_model_version_tag(MODEL, str(version), "approved_by", "risk")
        seconds, row = self.observer.look(since)
        now = self.clone.remote_head
        if row["champion"]["status"] != "hold" or row["champion"]["version"] != held or now != head:
            seen = f"champion is {row['champion']}, and main went from {head[:10]} to {now[:10]}"
            raise Refused("demo", f"expected the hold to keep v{held} as champion, without a commit; {seen}")
        self.teller.effect(seconds, f"champion stays v{held}, and main at {head[:10]}: on hold {row['champion']['detail']}")

    def _log(self, recipe: Recipe) -> Logged:
        if recipe.name not in self._logged:
            self._logged[recipe.name] = training.log(self.fitted[recipe.name], self.system.mlflow.uri, MODEL, "alice")
        return self._logged[recipe.name]

    def _register(self, recipe: Recipe) -> tuple[int, float]:
        """The new version, and when that was asked for."""
        logged, number = self._log(recipe), self._registered + 1
        since = self.teller.deed(
            "Alice", f"registers version {number}: {recipe.name}, val_auc {self.fitted[recipe.name].val_auc}"
        )
        version = training.register(self.system.client, logged, MODEL, recipe.name)
        if version != number:
            raise Refused("demo", f"MLflow calls it version {version}: somebody else registers versions of {MODEL} as well")
        self._registered = number
        return version, since

    def _approve(self, version: int, alias: str, *, why: bool = True) -> None:
        since = self.teller.deed("Bob", f"sets approved_by=data-science-team on v{version}")
        self.system.client.set_model_version_tag(MODEL, str(version), "approved_by", "data-science-team")
        self._moved(self.observer.alias_reaches(alias, version, since), why=why)

    def _stays(self, alias: str, version: int, since: float) -> None:
        """The candidate is judged, and found wanting."""
        held = self.observer.aliases()[alias]
        seconds, decision = self.observer.decision(alias, version, "fail", since)
        self.teller.effect(seconds, f"{alias} stays v{held}: v{version} does not pass", told_rules(decision, ("fail", "error")))

    def _explain(self, alias: str) -> None:
        """The real command, in a clone."""
        self.clone.pull()
        command = ("explain", f"{MODEL}@{alias}")
        said = self.system.promoter(*command, cwd=self.clone.folder, codes=(NOT_PASSED,), extra=self.teller.quote_environment)
        self.teller.quote(f"promoter {' '.join(command)}", said.output)

    def _moved(self, effect: Effect, *, why: bool = True) -> None:
        record = effect.record
        actor = (record["actor"] or "nobody known").partition(" <")[0]
        text = f"{record['alias']} is v{record['to']}: commit {record['revision'][:10]} by {actor}, “{record['reason']}”"
        self.teller.effect(effect.seconds, text, told_rules(effect.decision) if why else ())
