"""The command at a terminal, as a person has it: a process with a pseudo-terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path


def at_a_terminal(
    folder: Path, environment: Mapping[str, str], arguments: list[str], answers: Mapping[str, str]
) -> tuple[int, str]:
    """Run it in that folder, each prompt answered when it comes; its exit code, and all that was on the screen."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "promoter", *arguments],
        cwd=folder, env=os.environ | environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # getpass asks it
    )  # fmt: skip
    os.close(theirs)
    screen, waiting = "", dict(answers)
    try:
        while piece := _read(ours):
            screen += piece
            if screen.endswith(": "):  # only then it listens: what is typed before is thrown away
                asked = next(prompt for prompt in waiting if prompt in screen.splitlines()[-1])
                os.write(ours, f"{waiting.pop(asked)}\n".encode())
        return command.wait(60), screen
    finally:
        os.close(ours)
        command.kill()
        command.wait()


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:  # nobody is at the other end any more
        return ""
