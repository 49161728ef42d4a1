"""`promoter demo`: starts the system, has the story told, checks what came of it, and leaves nothing behind."""

from __future__ import annotations

import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from rich.text import Text

from promoter.demo import training
from promoter.demo.acts import MODEL, Acts
from promoter.demo.system import System, interruptible, own_environment, uninterruptible
from promoter.demo.telling import Teller
from promoter.demo.verdict import checks
from promoter.domain.faults import Faults, OutsideError

STOPPED = 130
_LOOK_SECONDS = 0.5


def run(*, leave: bool) -> int:
    """Tell the story; the exit code. `leave`: stop everything at its end, instead of waiting for Ctrl-C."""
    teller = Teller()
    own_environment()
    training.quietly()
    code = 1
    with interruptible():
        system = System()
        try:
            code = _tell(teller, system, leave=leave)
        except KeyboardInterrupt:
            code = STOPPED
        except (OutsideError, Faults) as error:
            teller.failure(str(error).removeprefix("demo: "))
        except Exception as error:  # noqa: BLE001  # a demo's user is told in words; the traceback is kept for those who mend it
            (system.folder / "demo.log").write_text(traceback.format_exc())
            teller.failure(f"{type(error).__name__}: {error}")
        finally:
            with uninterruptible():
                _leave(teller, system, code)
    return code


def _tell(teller: Teller, system: System, *, leave: bool) -> int:
    started = time.monotonic()
    teller.title(
        "Promoter demo: git says which version each alias points at, policies say what a version must show first.",
        f"Times are UTC. Everything lies in {system.folder}",
    )
    acts = Acts(teller, system, _begin(teller, system))
    acts.play()
    teller.act("What came of it")
    command = ("history", f"{MODEL}@champion")
    teller.quote(
        f"promoter {' '.join(command)}", system.promoter(*command, cwd=acts.clone.folder, extra=teller.quote_environment).output
    )
    with teller.working("Checking that registry, git and the ledger agree"):
        found = list(checks(acts.observer))
    words = {True: Text("good", style="green"), False: Text("BAD", style="bold red")}
    teller.table(["CHECK", "RESULT", "SEEN"], [(each.name, words[each.good], each.seen) for each in found])
    bad = [each.name for each in found if not each.good]
    if bad:
        teller.failure(f"These checks do not hold: {', '.join(bad)}.")
    else:
        teller.fact("Registry, git and the ledger agree, and the champion predicts.")
    teller.fact(f"The story took {time.monotonic() - started:.0f} s.")
    if not leave:
        _wait(teller, system)
    return 1 if bad else 0


def _begin(teller: Teller, system: System) -> dict[str, training.Fitted]:
    """Start the servers while the models are being fitted; the models."""
    teller.act("A whole system on this machine")
    pool = ThreadPoolExecutor(1)
    try:
        fitting = pool.submit(training.fit_all, (*training.GRID, training.ANOTHER))
        with teller.working("Starting an MLflow server, a git remote and the daemon, and fitting models meanwhile") as work:
            system.begin(lambda what: work.now(f"Fitting models, and {what}"))
            work.now("Fitting models")
            fitted = fitting.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    training.check_order(fitted)
    teller.fact(f"MLflow server (SQLite) at {system.mlflow.uri}")
    teller.fact(f"git remote (smart HTTP) at {system.git.url}")
    teller.fact(f"promoter serve at {system.page}")
    command = ("webhooks", "install", "--url", system.page)
    teller.quote(f"promoter {' '.join(command)}", system.promoter(*command, cwd=system.folder).output)
    return fitted


def _wait(teller: Teller, system: System) -> None:
    """Until Ctrl-C, which is then no fault."""
    teller.act("Yours now")
    teller.table(
        ["", ""],
        [
            ("Promoter's page", f"{system.page}/?live=1"),
            ("MLflow UI", f"{system.mlflow.uri}/#/models/{MODEL}"),
            ("git clone", system.git.url),
        ],
    )
    teller.note("Move an alias in the MLflow UI, or push a change of registry.yaml, and watch. Ctrl-C stops everything.")
    try:
        while system.running:
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return
    raise system.ended("you looked around")


def _leave(teller: Teller, system: System, code: int) -> None:
    """Stop everything; the folder goes, unless it is needed to find out what went wrong."""
    with teller.working("Stopping the daemon, the git remote and the MLflow server"):
        system.end()
    if code in (0, STOPPED):
        system.remove()
        teller.fact(f"Stopped, and removed {system.folder}.")
        return
    teller.fact(f"Stopped. {system.folder} is kept:")
    teller.table(["LOG OF", "FILE"], [(name, str(path)) for name, path in system.logs.items() if path.exists()])
