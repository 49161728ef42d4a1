"""What commands share: the output format, the console, the files of the working tree."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from promoter.adapters.git.checkout import WorkTree
    from promoter.application.responses import Answer
    from promoter.container import Container
    from promoter.domain.desired import Declaration
    from promoter.domain.errors import PermanentError


PIPE_WIDTH = 160
"""Columns of output that goes into a pipe."""


class OutputFormat(StrEnum):
    """The forms in which a command shows its result."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


FormatOption = Annotated[
    OutputFormat,
    typer.Option("--format", "-f", metavar="FORMAT", help=f"The format of the output: {', '.join(OutputFormat)}."),
]


def create_console(*, stderr: bool = False) -> Console:
    """Make a console that suits the terminal; for a pipe it is plain and wide. NO_COLOR and COLUMNS are respected.

    Whatever is printed on it, no text steers the terminal: only the console's own colours and cursor movements do.
    """
    from rich.console import Console
    from rich.segment import Segment

    from promoter.domain.text import escape_lines

    class InertConsole(Console):
        """A console that shows what does not print as an escape."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            """Yield the segments of what is printed, without what would steer the terminal."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(escape_lines(segment.text), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return InertConsole(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def print_json(answer: Answer) -> None:
    """Print the answer as one JSON object. What does not print is an escape of JSON, and means the same."""
    sys.stdout.write(_render_json_text(answer))


def write_json_file(answer: Answer, path: Path) -> None:
    """Write to a file what `print_json` prints. Raises `PermanentError`."""
    from promoter.domain.errors import PermanentError

    try:
        path.write_text(_render_json_text(answer), encoding="utf-8", newline="\n")
    except OSError as error:
        reason = error.strerror or "no reason given"
        raise PermanentError("files", f"{path}: cannot be written: {reason}", "name another") from None


def _render_json_text(answer: Answer) -> str:
    from promoter.domain.text import escape_json_text

    return escape_json_text(json.dumps(answer.to_json(), indent=2, ensure_ascii=False)) + "\n"


def print_lines(*lines: str, stderr: bool = False) -> None:
    """Print lines of text as they are, but for what would steer a terminal."""
    from promoter.domain.text import escape_lines

    (sys.stderr if stderr else sys.stdout).write("".join(f"{escape_lines(line)}\n" for line in lines))


SERVER_PACKAGES = (
    "alembic",
    "apscheduler",
    "cloudevents",
    "flask",
    "flask_limiter",
    "mlflow",
    "prometheus_client",
    "requests",
    "sqlalchemy",
    "waitress",
)
"""What the extra `server` installs, by the names under which it is imported. Commands that check files need none of it."""


def require_server_packages() -> None:
    """Raise `PermanentError` where packages are missing that a command needs which reads a server or the ledger."""
    from importlib.util import find_spec

    if missing := [name for name in SERVER_PACKAGES if find_spec(name) is None]:
        raise _build_missing_packages_error(missing)


def _build_missing_packages_error(names: Iterable[str]) -> PermanentError:
    from promoter.domain.errors import PermanentError

    message = f"this command needs packages that are not installed here: {', '.join(names)}"
    return PermanentError("command line", message, "pip install 'promoter[server]'")


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is done now, and that it goes on, on a terminal's standard error; a pipe sees nothing of it.

    Yield what takes the next step, in a few words. All of it is gone from the screen at the end.
    """
    if not sys.stderr.isatty():
        yield lambda _step: None
        return
    from rich.text import Text

    from promoter.domain.text import escape_lines

    with create_console(stderr=True).status(Text(f"{escape_lines(what)} ...")) as status:
        yield lambda step: status.update(Text(f"{escape_lines(what)}: {escape_lines(step)} ..."))


def build_container(*, creates_ledger: bool = False, report_step: Callable[[str], None] = lambda _step: None) -> Container:
    """Build the adapters from the settings in force. Logs go to standard error, and only warnings.

    A command begins no ledger, unless that is what it is for: one at a wrong address would know nothing, and look like one.
    Raises `PermanentError` where only what checks files is installed.
    """
    require_server_packages()
    from promoter.adapters.git.checkout import WorkTree
    from promoter.container import Container
    from promoter.logs import configure_logging
    from promoter.settings import load_settings

    configure_logging("text", level="warning")
    settings = load_settings()
    place = WorkTree(Path()).find_folder() if settings.folder is None else None
    return Container(settings, creates_ledger=creates_ledger, place=place, report_step=report_step)


def find_work_tree(container: Container) -> WorkTree:
    """Find the files of the working tree that one stands in: those of PROMOTER_PATH, else the nearest ones."""
    from promoter.adapters.git.checkout import WorkTree

    return WorkTree(Path(), container.settings.folder)


def load_declaration(container: Container) -> Declaration:
    """Parse the files of the working tree that one stands in. Raises `Faults`."""
    tree = find_work_tree(container)
    return container.documents.parse_declaration(tree.read_sources(), tree.find_revision())


def parse_alias_argument(name: str) -> tuple[str, str]:
    """Split `MODEL@ALIAS`. Raises a usage error."""
    model, found, alias = name.rpartition("@")
    if not found or not model or not alias:
        raise typer.BadParameter(f"`{name}` is not MODEL@ALIAS, such as fraud-detector@champion")
    return model, alias


def parse_version_argument(name: str) -> tuple[str, int]:
    """Split `MODEL/VERSION`. Raises a usage error."""
    model, _, number = name.rpartition("/")
    if not model or not number.isascii() or not number.isdigit():
        raise typer.BadParameter(f"`{name}` is neither MODEL@ALIAS nor MODEL/VERSION, such as fraud-detector/9")
    return model, int(number)


# Newer versions of typer bring a click of their own, and do not export the base of what it raises.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _run_app(app: typer.Typer) -> object:
    """Run the app. Raises `PermanentError` for a package of the extra `server` that was not looked for before."""
    try:
        return app(standalone_mode=False)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in SERVER_PACKAGES:
            raise
        raise _build_missing_packages_error([name]) from None


def run_command_line(app: typer.Typer) -> int:
    """Run the app, and return its exit code. Faults and errors from outside become lines; only bugs have a traceback."""
    from promoter.domain.errors import ExternalError, Faults

    try:
        _require_usable_surroundings()
        code = _run_app(app)
        sys.stdout.flush()  # a reader who has gone is noticed here, and not when Python ends
    except Faults as faults:
        print_faults(faults)
        return 1
    except ExternalError as error:
        print_lines(f"promoter: {error}", stderr=True)
        return 1
    except typer.Abort:
        print_lines("promoter: stopped", stderr=True)
        return 130
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]  # every ClickException has it
        return 1  # and not click's 2, which `plan` says when there is something to do
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return 0
    return code if isinstance(code, int) else 0


def _require_usable_surroundings() -> None:
    """Raise `PermanentError` for words that no record can hold, and where the folder that one stands in is gone."""
    from promoter.domain.errors import PermanentError

    for word in sys.argv[1:]:
        if not word.isprintable() and any("\ud800" <= each <= "\udfff" for each in word):
            raise PermanentError("command line", f"`{word[:80]}` is not UTF-8", "write it in UTF-8, or see to the locale")
    try:
        Path.cwd()
    except OSError as error:
        why = f"the folder that you stand in cannot be used: {error.strerror}"
        raise PermanentError("command line", why, "go to another one") from None


def print_faults(faults: Exception) -> None:
    """Print every fault on a line of its own, and their number."""
    from promoter.domain.errors import Faults
    from promoter.domain.text import format_count

    if not isinstance(faults, Faults):
        return
    print_lines(*map(str, faults.faults), format_count(len(faults.faults), "fault"), stderr=True)
