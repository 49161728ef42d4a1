"""Faults, told for people on standard error."""

from __future__ import annotations

import os
import sys

import typer

# Newer versions of typer bring a click of their own, and do not export the base of what it raises.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run_command_line(app: typer.Typer) -> int:
    """Run the app; its exit code. Faults of files and of the world become lines; only what nobody foresaw has a traceback."""
    from promoter.domain.faults import Faults, ExternalError

    try:
        code = app(standalone_mode=False)
    except Faults as faults:
        print_faults(faults)
        return 1
    except ExternalError as error:
        print(f"promoter: {error}", file=sys.stderr)  # noqa: T201  # the command line's own voice
        return 1
    except typer.Abort:
        print("promoter: stopped", file=sys.stderr)  # noqa: T201
        return 130
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]  # every ClickException has it
        return 1  # and not click's 2, which `plan` says when there is something to do
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return 0
    return code if isinstance(code, int) else 0


def print_faults(faults: Exception) -> None:
    """Every fault on a line of its own, and how many there are."""
    from promoter.domain.faults import Faults

    if not isinstance(faults, Faults):
        return
    for fault in faults.faults:
        print(fault, file=sys.stderr)  # noqa: T201
    count = len(faults.faults)
    print(f"{count} fault{'s' if count != 1 else ''}", file=sys.stderr)  # noqa: T201
