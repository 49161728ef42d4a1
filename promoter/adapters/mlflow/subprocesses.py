"""Runs short-lived Python children: a request comes by standard input, time is bounded, and nothing is left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.25
_MAX_ANSWER_BYTES = 64 * 1024  # what a pipe holds, so that a child never waits for somebody to read


@dataclass(frozen=True)
class ChildResult:
    """How a child ended."""

    answer: Mapping[str, Any] | None
    """What it answered; None for nothing that makes sense."""
    status: int | None
    """Its exit status; None where it had to be killed."""
    garbled: bool = False
    """Whether something came that is no answer."""
    messages: str = ""
    """The last line of what it printed as errors, where it ran under a wrapper."""
    excess: str = ""
    """What it took too much of, where it was killed for that."""


def run_child(
    arguments: Sequence[str],
    request: Mapping[str, Any],
    *,
    seconds: float,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    excessive: Callable[[int], bool] = lambda _pid: False,
) -> ChildResult:
    """Run this Python with these arguments, working in `folder`, until it ends, time is up, or it is excessive.

    `request` travels by standard input, since everybody on the machine can see arguments. The child answers one JSON object
    into the file descriptor `request["answer_to"]`. `environment` None: this process's own. `excessive` gets the child's
    process id.
    """
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        status = _run_process(
            [sys.executable, *arguments],
            {**request, "answer_to": writing},
            seconds,
            excessive,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            pass_fds=(writing,),
        )
        return _build_result(_read_output(reading), status)
    finally:
        os.close(reading)
        os.close(writing)


def run_wrapped_child(
    wrapper: Sequence[str],
    arguments: Sequence[str],
    request: Mapping[str, Any],
    *,
    seconds: float,
    environment: Mapping[str, str],
    excessive: Callable[[int], bool],
) -> ChildResult:
    """Run this Python with these arguments under a wrapper, which confines it, until it ends, time is up, or it is excessive.

    The child answers on its standard output, since not every wrapper hands on other descriptors. `excessive` gets the
    wrapper's process id. What the wrapper starts must end with it.
    """
    pipes = [os.pipe(), os.pipe()]
    (reading, writing), (reading_errors, writing_errors) = pipes
    try:
        for number in (reading, reading_errors, writing_errors):
            os.set_blocking(number, False)
        status = _run_process(
            [*wrapper, sys.executable, *arguments],
            {**request, "answer_to": 1},
            seconds,
            excessive,
            stdout=writing,
            stderr=writing_errors,
            cwd="/",
            env=environment,
        )
        messages = _read_output(reading_errors).decode("utf-8", "replace").strip()
        return _build_result(_read_output(reading), status, messages.rpartition("\n")[2])
    finally:
        for number in (each for pipe in pipes for each in pipe):
            os.close(number)


def _run_process(
    command: Sequence[str],
    request: Mapping[str, Any],
    seconds: float,
    excessive: Callable[[int], bool],
    **options: Any,
) -> int | None:
    """Run the command in a process group of its own, of which nothing is left; return its status as `ChildResult` has it."""
    child = subprocess.Popen(  # noqa: S603  # our own interpreter, with arguments of our own
        command, stdin=subprocess.PIPE, start_new_session=True, **options
    )
    try:
        _send_request(child, request)
        return _wait_for_child(child, seconds, excessive)
    finally:
        _kill_child_group(child)


def _send_request(child: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # how it ended says more
        assert child.stdin is not None  # noqa: S101  # for the type checker
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()


def _wait_for_child(child: subprocess.Popen[bytes], seconds: float, excessive: Callable[[int], bool]) -> int | None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not excessive(child.pid):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(min(left, _POLL_SECONDS))
    return None


def _kill_child_group(child: subprocess.Popen[bytes]) -> None:
    """Kill its whole group, also after it has ended: what it started may still run."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read_output(reading: int) -> bytes:
    try:
        return os.read(reading, _MAX_ANSWER_BYTES)
    except OSError:  # nothing came
        return b""


def _build_result(output: bytes, status: int | None, messages: str = "") -> ChildResult:
    """Take one JSON object for an answer, and nothing else: two of them are none."""
    try:
        parsed = json.loads(output)
    except (ValueError, RecursionError):
        parsed = None
    known = parsed if isinstance(parsed, dict) else None
    return ChildResult(known, status, garbled=known is None and bool(output), messages=messages)


def describe_exit_status(status: int) -> str:
    """Say how a child ended that did not answer."""
    if status >= 0:
        return f"it ended with status {status} before it was done"
    name = signal.Signals(-status).name
    if name == "SIGXCPU":
        return "it took too long"
    return f"it was killed by {name}" + (", most likely for its use of memory" if name == "SIGKILL" else "")
