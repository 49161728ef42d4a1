"""`promoter demo`: start the system, play the story, check its end, and clean up."""

from __future__ import annotations

import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from rich.text import Text

from promoter.demo import training
from promoter.demo.acts import MODEL, DemoActs
from promoter.demo.narrator import StoryNarrator
from promoter.demo.observer import run_final_checks
from promoter.demo.system import DemoSystem, allow_interrupts, clean_environment, ignore_interrupts
from promoter.domain.errors import ExternalError, Faults

STOPPED = 130
_POLL_SECONDS = 0.5


def run_demo(*, leave: bool, production: bool = False) -> int:
    """Play the story, and return the exit code.

    `leave`: stop everything at its end instead of waiting for Ctrl-C. `production`: on PostgreSQL and S3 instead of files.
    """
    narrator = StoryNarrator()
    clean_environment()
    training.silence_mlflow_output()
    code = 1
    with allow_interrupts():
        system = DemoSystem(production=production)
        try:
            code = _play_and_check(narrator, system, leave=leave)
        except KeyboardInterrupt:
            code = STOPPED
        except (ExternalError, Faults) as error:
            narrator.print_failure(system.hide_secrets(str(error).removeprefix("demo: ")))
        except Exception as error:  # noqa: BLE001  # a demo's user is told in words; the traceback is kept for those who mend it
            (system.folder / "demo.log").write_text(system.hide_secrets(traceback.format_exc()))
            narrator.print_failure(system.hide_secrets(f"{type(error).__name__}: {error}"))
        finally:
            with ignore_interrupts():
                _stop_and_clean_up(narrator, system, code)
    return code


def _play_and_check(narrator: StoryNarrator, system: DemoSystem, *, leave: bool) -> int:
    started = time.monotonic()
    narrator.print_title(
        "Promoter demo: git says which version each alias points at, policies say what a version must show first.",
        f"Times are UTC. Everything lies in {system.folder}",
    )
    acts = DemoActs(narrator, system, _start_system(narrator, system))
    acts.play_story()
    with narrator.track_progress("Checking that registry, git and the ledger agree"):
        found = run_final_checks(acts.observer)
    words = {True: Text("good", style="green"), False: Text("BAD", style="bold red")}
    narrator.print_table(["CHECK", "RESULT", "SEEN"], [(each.name, words[each.good], each.seen) for each in found])
    bad = [each.name for each in found if not each.good]
    if bad:
        narrator.print_failure(f"These checks do not hold: {', '.join(bad)}.")
    else:
        narrator.print_fact("Registry, git and the ledger agree, and the champion predicts.")
    narrator.print_fact(f"The story took {time.monotonic() - started:.0f} s.")
    if not leave:
        _wait_for_interrupt(narrator, system)
    return 1 if bad else 0


def _start_system(narrator: StoryNarrator, system: DemoSystem) -> dict[str, training.FittedModel]:
    """Start the servers while the models are being fitted, and return the models."""
    narrator.print_act_heading("A whole system on this machine")
    pool = ThreadPoolExecutor(1)
    try:
        fitting = pool.submit(training.fit_all_recipes, training.ALL_RECIPES)
        with narrator.track_progress(
            f"Starting {system.topology.name}, a git remote and the daemon, and fitting models meanwhile"
        ) as work:
            system.start_servers(lambda what: work.show_progress(f"Fitting models, and {what}"))
            work.show_progress("Fitting models")
            fitted = fitting.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    training.check_score_order(fitted)
    for description in system.topology.descriptions:
        narrator.print_fact(description)
    narrator.print_fact(f"git remote (smart HTTP) at {system.git.url}")
    narrator.print_fact(f"promoter serve at {system.page_url}")
    command = ("webhooks", "install", "--url", system.page_url)
    narrator.print_command_output(f"promoter {' '.join(command)}", system.run_promoter(*command, cwd=system.folder).output)
    return fitted


def _wait_for_interrupt(narrator: StoryNarrator, system: DemoSystem) -> None:
    """Wait for Ctrl-C, which is no error then."""
    narrator.print_act_heading("Yours now")
    narrator.print_table(
        ["", ""],
        [
            ("Promoter's page", f"{system.page_url}/?live=1"),
            ("MLflow UI", f"{system.mlflow.uri}/#/models/{MODEL}"),
            ("git clone", system.git.url),
        ],
    )
    narrator.print_note(
        "Move an alias in the MLflow UI, or push a change of registry.yaml, and watch. Ctrl-C stops everything."
    )
    try:
        while system.is_running:
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        return
    raise system.build_ended_error("you looked around")


def _stop_and_clean_up(narrator: StoryNarrator, system: DemoSystem, code: int) -> None:
    """Stop everything, and remove the folder unless it is needed to find out what went wrong."""
    with narrator.track_progress("Stopping the daemon, the git remote and the servers"):
        system.stop_servers()
    if code in (0, STOPPED):
        system.remove_folder()
        narrator.print_fact(f"Stopped, and removed {system.folder}.")
        return
    narrator.print_fact(f"Stopped. {system.folder} is kept:")
    narrator.print_table(["LOG OF", "FILE"], [(name, str(path)) for name, path in system.log_files.items() if path.exists()])
