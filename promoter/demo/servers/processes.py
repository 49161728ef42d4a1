"""Child processes of the demo: none is left behind when somebody interrupts its start."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def delay_interrupts() -> Iterator[None]:
    """Hold interrupts back inside, and deliver the first of them at the end.

    A child that is being started has no owner yet: an interrupt in that moment would leave it running. Signals are not
    blocked, since the child would inherit that. Threads other than the main one are never interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda seen, _: held.append(seen)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, what in before.items():
            signal.signal(number, what)
    if held:
        signal.raise_signal(held[0])


def stop_child(child: subprocess.Popen[bytes], grace: float, number: signal.Signals = signal.SIGTERM) -> None:
    """End a child: by that signal first, killed after `grace` seconds."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
