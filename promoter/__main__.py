"""The command `promoter`: runs it, and turns every foreseen fault into words and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit code 1 for any fault, told on standard error without a traceback."""
    from promoter.cli import app
    from promoter.cli.common import run_command_line

    sys.exit(run_command_line(app))


if __name__ == "__main__":
    main()
