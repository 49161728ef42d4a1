"""The acts of the demo's story. Each is a method: what a person does, and what Promoter does in response."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from promoter.demo import training
from promoter.demo.git_edits import CommitAuthor, WorkingClone, insert_alias_line
from promoter.demo.narrator import StoryNarrator, render_rule_lines
from promoter.demo.observer import ModelObserver, ObservedEffect
from promoter.demo.scoring import ScoredPayments, score_payments
from promoter.demo.system import DemoSystem
from promoter.demo.training import FittedModel, LoggedTraining, ModelRecipe
from promoter.domain.errors import PermanentError

MODEL, EXPERIMENT = "fraud-detector", "fraud-detection"
CAROL = CommitAuthor("Carol")
GOOD_RUNS = f"metrics.val_auc > {training.REFUSED_BELOW:.2f}"
LIVE_AUC, GUARD_CHECKS = 0.81, 3
CHECK_INTERVAL_SECONDS = 1.2
"""Longer than the guard's `every`: checks that lie closer together count once."""
EXPLAIN_NOT_PASSED, PLAN_HAS_CHANGES = 3, 2


@dataclass
class DemoActs:
    """Alice trains models, Bob approves, Carol reviews, Dana audits, Erin moves an alias by hand, monitoring measures."""

    narrator: StoryNarrator
    """Prints the story."""
    system: DemoSystem
    """The servers."""
    fitted: Mapping[str, FittedModel]
    """The fitted models, by name."""
    observer: ModelObserver = field(init=False)
    """Reads what happened."""
    clone: WorkingClone = field(init=False)
    """The clone in which people work."""
    _served: dict[int, ScoredPayments] = field(default_factory=dict)
    _registered: int = 0

    def __post_init__(self) -> None:
        self.observer = ModelObserver(self.system, MODEL)
        self.clone = WorkingClone(self.system.git.url, self.system.folder / "clone")

    def play_story(self) -> None:
        """Play all acts in order."""
        self.train_first_grid()
        first = self.register_first_version()
        self.serve_champion(first)
        weak = self.register_failing_version()
        better, newer = self.register_better_version(weak)
        self.approve_champion(better, first)
        self.merge_registry_change(newer)
        self.revert_manual_move(weak, better)
        self.break_champion_guard(first, better)
        self.audit_served_version(better)

    def train_first_grid(self) -> None:
        """Fit a grid of models, and log each as an MLflow run."""
        self.narrator.print_act_heading("Train: a grid of models, each logged as a run")
        self._train_grid(training.FIRST_GRID)

    def register_first_version(self) -> int:
        """Register the best run; rotation finds a challenger where nobody holds an alias yet, and a champion once approved."""
        self.narrator.print_act_heading("Compare the runs, register the best, and let git move the aliases")
        best = self._compare_runs()
        self.narrator.print_note(
            "registry.yaml names the aliases champion and challenger, and no version yet: rotation finds them."
        )
        version, since = self._register_version(best)
        self._report_alias_move(self.observer.wait_for_alias("challenger", version, since))
        self._tag_lineage(version, best)
        self._approve_version(version, "champion")
        return version

    def serve_champion(self, version: int) -> None:
        """Load the champion by its alias, as production does."""
        self.narrator.print_act_heading("Load by alias, and serve")
        self.narrator.print_code(f'model = mlflow.pyfunc.load_model("models:/{MODEL}@champion")')
        self._score_as_service(version)

    def register_failing_version(self) -> int:
        """Register a version whose metrics are below what the policy asks for."""
        self.narrator.print_act_heading("A version that fails its policy gets no alias")
        version, since = self._register_version(self._find_run(training.WEAK))
        self._expect_unchanged_alias("challenger", version, since)
        return version

    def register_better_version(self, weak: int) -> tuple[int, int]:
        """Train a second grid; rotation chooses the best of the new versions, not the newest."""
        self.narrator.print_act_heading("A better model: train, compare and register again")
        self._train_grid(training.SECOND_GRID)
        best = self._compare_runs()
        self.narrator.print_note(f"policies/challenger.yaml wants more than a newer version, and v{weak} stays where it is.")
        better, since = self._register_version(best)
        self._report_alias_move(self.observer.wait_for_alias("challenger", better, since))
        self._tag_lineage(better, best)
        newer, since = self._register_version(self._find_run(training.NO_BETTER))
        self._expect_unchanged_alias("challenger", newer, since)
        self.narrator.print_note("The champion does not follow by itself: policies/champion.yaml wants an approval.")
        self._show_explanation("champion")
        return better, newer

    def approve_champion(self, version: int, before: int) -> None:
        """Approve a version, and let the champion rotate by a commit."""
        self.narrator.print_act_heading("An approval arrives, and the champion rotates")
        self._approve_version(version, "champion", why=False)
        self._score_as_service(version)
        self.clone.pull_main()
        self.narrator.print_note(f"v{before} is no longer the champion. The commit that says so, and why:")
        self.narrator.print_block(self.clone.read_commit_message())

    def merge_registry_change(self, version: int) -> None:
        """Work as with a pull request: a branch, a plan, a merge commit."""
        self.narrator.print_act_heading("A reviewed change of registry.yaml is merged")
        self.clone.pull_main()
        self.clone.create_branch("add-shadow")
        self.narrator.print_deed("Carol", "wants one more alias, and commits it on a branch")
        self.narrator.print_block(
            self.clone.commit_registry_edit(
                CAROL, "Shadow a smaller model", lambda text: insert_alias_line(text, "shadow", version)
            )
        )
        result = self.system.run_promoter(
            "plan", cwd=self.clone.folder, codes=(PLAN_HAS_CHANGES,), extra=self.narrator.command_environment
        )
        self.narrator.print_command_output("promoter plan", result.output)
        self.clone.merge_branch(CAROL, "add-shadow")
        since = self.narrator.print_deed("Carol", "merges the branch into main, and pushes")
        self.clone.push_main()
        self._report_alias_move(self.observer.wait_for_alias("shadow", version, since))

    def revert_manual_move(self, wrong: int, right: int) -> None:
        """Move an alias by hand, and let Promoter revert the drift."""
        self.narrator.print_act_heading("Somebody moves an alias by hand, and Promoter puts it back")
        since = self.narrator.print_deed("Erin", f"points champion at v{wrong} in the MLflow UI, past git and every policy")
        self.system.mlflow_client.set_registered_model_alias(MODEL, "champion", str(wrong))
        effect = self.observer.wait_for_alias("champion", right, since)
        moved = [
            each
            for each in self.observer.fetch_audit_records()
            if each["alias"] == "champion" and each["id"] <= effect.record["id"]
        ]
        self.narrator.print_effect(effect.seconds, f"champion is v{right} again: {effect.record['reason']}")
        seen = next((each for each in reversed(moved) if each["kind"] == "observed" and each["to"] == wrong), None)
        if seen is None:
            raise PermanentError("demo", f"the ledger does not say that somebody moved champion to v{wrong}")
        self.narrator.print_note(
            f"The ledger keeps both moves: no. {seen['id']}, {seen['reason']}, and no. {effect.record['id']}."
        )

    def break_champion_guard(self, first: int, better: int) -> None:
        """Log a bad live metric, and let the previous champion return under a hold."""
        self.narrator.print_act_heading("Quality drops in production: roll back")
        self.narrator.print_note(
            f"policies/champion.yaml guards the champion: {GUARD_CHECKS} checks in a row that find live_auc too low."
        )
        run_id = self.system.mlflow_client.get_model_version(MODEL, str(better)).run_id
        since = self.narrator.print_deed("Monitoring", f"logs live_auc {LIVE_AUC} on the run of v{better}")
        self.system.mlflow_client.log_metric(run_id, "live_auc", LIVE_AUC)
        for _ in range(1, GUARD_CHECKS):
            seconds, row = self.observer.reconcile_and_wait(since)
            champion = row["champion"]
            if champion["version"] == first:
                break  # the daemon's own polls are looks as well
            if champion["version"] != better or f"of {GUARD_CHECKS} in a row failed" not in champion["failing"]:
                raise PermanentError("demo", f"expected champion at v{better}, and its guard to fail; it is {champion}")
            self.narrator.print_effect(seconds, f"champion stays v{better}: {champion['failing']}")
            time.sleep(CHECK_INTERVAL_SECONDS)
        self.observer.reconcile_and_wait(since)
        self._report_alias_move(self.observer.wait_for_alias("champion", first, since))
        self._score_as_service(first)
        self.narrator.print_note("It held the alias before, so that it needs no new approval, only an artifact that is there.")
        self._check_hold_is_kept(first)

    def audit_served_version(self, version: int) -> None:
        """Show who held the champion when, and load a former champion by its number."""
        self.narrator.print_act_heading("Audit: who served when, from which run, and does everything agree")
        command = ("history", f"{MODEL}@champion")
        self.narrator.print_command_output(
            f"promoter {' '.join(command)}",
            self.system.run_promoter(*command, cwd=self.clone.folder, extra=self.narrator.command_environment).output,
        )
        self.narrator.print_deed("Dana", f"loads v{version} by its number, which never points at another model")
        self.narrator.print_code(f'model = mlflow.pyfunc.load_model("models:/{MODEL}/{version}")')
        scored = score_payments(self.system.mlflow_client, MODEL, f"/{version}")
        if (scored.version, scored.predictions) != (version, self._served[version].predictions):
            raise PermanentError("demo", f"{scored.address} does not answer as it did while it was the champion")
        registered = self.system.mlflow_client.get_model_version(MODEL, str(version))
        run = self.system.mlflow_client.get_run(registered.run_id)
        tags = ", ".join(f"{name}={value}" for name, value in sorted(registered.tags.items()))
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(run.data.params.items()))
        self.narrator.print_table(
            ["", ""],
            [
                ("answers", f"the {len(scored.predictions)} payments as it did while it was the champion"),
                ("run", f"{run.info.run_id} of {run.data.tags['mlflow.user']}, val_auc {run.data.metrics['val_auc']:.4f}"),
                ("parameters", parameters),
                ("tags", tags),
            ],
        )

    def _train_grid(self, recipes: tuple[ModelRecipe, ...]) -> None:
        grid = [self.fitted[recipe.display_name] for recipe in recipes]
        rows = len(training.load_training_data().train)
        self.narrator.print_deed(
            "Alice", f"has fitted {len(grid)} models on {rows:,} payments, and logs each as a run of {EXPERIMENT}"
        )
        with self.narrator.track_progress(
            "Logging parameters, metrics, the data set, models with signature and example"
        ) as work:
            for done, fitted in enumerate(grid):
                work.show_progress(f"Logging run {done + 1} of {len(grid)}: {fitted.recipe.display_name}")
                training.log_training_run(fitted, self.system.mlflow.uri, EXPERIMENT, "alice")
        self.narrator.print_table(
            ["BOOSTING WITH", "val_auc", "fold_auc (mean)", "p99_ms"],
            [
                (f.recipe.display_name, f"{f.val_auc:.4f}", f"{sum(f.fold_auc) / len(f.fold_auc):.4f}", f"{f.p99_ms:.1f}")
                for f in grid
            ],
        )

    def _compare_runs(self) -> LoggedTraining:
        """Search the runs as people do, print them, and return the best."""
        self.narrator.print_code(
            "runs = client.search_runs(\n"
            f'    [experiment_id], filter_string="{GOOD_RUNS}",\n'
            f'    order_by=["{training.BEST_FIRST}"], max_results={training.COMPARED_RUNS},\n'
            ")"
        )
        found = training.find_best_runs(self.system.mlflow_client, EXPERIMENT, GOOD_RUNS)
        self.narrator.print_table(
            ["RUN", "val_auc", "ID"], [(each.run_name, f"{each.val_auc:.4f}", each.run_id) for each in found]
        )
        return found[0]

    def _find_run(self, recipe: ModelRecipe) -> LoggedTraining:
        named = f"attributes.run_name = '{recipe.display_name}'"
        return training.find_best_runs(self.system.mlflow_client, EXPERIMENT, named)[0]

    def _score_as_service(self, expected: int) -> None:
        """Let the service load the champion and answer; it has to be served by that version."""
        with self.narrator.track_progress("The service loads the champion") as work:
            scored = score_payments(self.system.mlflow_client, MODEL, "@champion")
            work.show_progress("The service answers")
        if scored.version != expected or not scored.is_complete:
            raise PermanentError("demo", f"expected v{expected} to answer every payment; {scored.summary}")
        self._served[scored.version] = scored
        self.narrator.print_fact(f"The service answers as champion: {scored.summary}.")

    def _tag_lineage(self, version: int, logged: LoggedTraining) -> None:
        tags = {"library": training.LIBRARY, "data": logged.data_digest}
        shown = " and ".join(f"{name}={value}" for name, value in tags.items())
        self.narrator.print_deed("Alice", f"tags v{version} for lineage: {shown}")
        for name, value in tags.items():
            self.system.mlflow_client.set_model_version_tag(MODEL, str(version), name, value)

    def _check_hold_is_kept(self, held: int) -> None:
        training.log_training_run(self.fitted[training.ANOTHER.display_name], self.system.mlflow.uri, EXPERIMENT, "alice")
        version, since = self._register_version(self._find_run(training.ANOTHER))
        self._report_alias_move(self.observer.wait_for_alias("challenger", version, since))
        head = self.clone.remote_head_revision
        since = self.narrator.print_deed("Bob", f"approves v{version} as well, with approved_by=risk")
        self.system.mlflow_client.set_model_version_tag(MODEL, str(version), "approved_by", "risk")
        seconds, row = self.observer.reconcile_and_wait(since)
        now = self.clone.remote_head_revision
        if row["champion"]["status"] != "held" or row["champion"]["version"] != held or now != head:
            seen = f"champion is {row['champion']}, and main went from {head[:10]} to {now[:10]}"
            raise PermanentError("demo", f"expected the hold to keep v{held} as champion, without a commit; {seen}")
        self.narrator.print_effect(
            seconds, f"champion stays v{held}, and main at {head[:10]}: on hold {row['champion']['detail']}"
        )

    def _register_version(self, logged: LoggedTraining) -> tuple[int, float]:
        """Return the new version, and when its registration was requested."""
        number = self._registered + 1
        what = f"registers the model of the run “{logged.run_name}” as version {number}, val_auc {logged.val_auc:.4f}"
        since = self.narrator.print_deed("Alice", what)
        version = training.register_model_version(self.system.mlflow_client, logged, MODEL)
        if version != number:
            raise PermanentError(
                "demo", f"MLflow calls it version {version}: somebody else registers versions of {MODEL} as well"
            )
        self._registered = number
        return version, since

    def _approve_version(self, version: int, alias: str, *, why: bool = True) -> None:
        since = self.narrator.print_deed("Bob", f"sets approved_by=data-science-team on v{version}")
        self.system.mlflow_client.set_model_version_tag(MODEL, str(version), "approved_by", "data-science-team")
        self._report_alias_move(self.observer.wait_for_alias(alias, version, since), why=why)

    def _expect_unchanged_alias(self, alias: str, version: int, since: float) -> None:
        """Wait for the decision that blocks the candidate."""
        held = self.observer.read_aliases()[alias]
        seconds, decision = self.observer.wait_for_decision(alias, version, "fail", since)
        self.narrator.print_effect(
            seconds, f"{alias} stays v{held}: v{version} does not pass", render_rule_lines(decision, ("fail", "error"))
        )

    def _show_explanation(self, alias: str) -> None:
        """Run `promoter explain` in a clone, and print its output."""
        self.clone.pull_main()
        command = ("explain", f"{MODEL}@{alias}")
        result = self.system.run_promoter(
            *command, cwd=self.clone.folder, codes=(EXPLAIN_NOT_PASSED,), extra=self.narrator.command_environment
        )
        self.narrator.print_command_output(f"promoter {' '.join(command)}", result.output)

    def _report_alias_move(self, effect: ObservedEffect, *, why: bool = True) -> None:
        record = effect.record
        actor = (record["actor"] or "nobody known").partition(" <")[0]
        text = f"{record['alias']} is v{record['to']}: commit {record['revision'][:10]} by {actor}, “{record['reason']}”"
        self.narrator.print_effect(effect.seconds, text, render_rule_lines(effect.decision) if why else ())
