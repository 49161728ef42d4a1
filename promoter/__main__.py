"""The command `promoter`: runs it, and turns every foreseen fault into words and an exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Exit code 1 for any fault, told on standard error without a traceback."""
    from promoter.cli import app
    from promoter.cli.common import run_command_line
    from promoter.cli.completion import COMPLETION_VARIABLE, run_completion

    sys.exit(run_completion(app) if COMPLETION_VARIABLE in os.environ else run_command_line(app))


if __name__ == "__main__":
    main()
