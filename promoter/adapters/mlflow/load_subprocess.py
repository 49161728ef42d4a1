"""Script of the child that loads a model, which may run any code of whoever trained it: without credentials, in a sandbox.

`sandbox.py` runs its text by `python -I -c`, so it imports nothing of Promoter, and writes the request to its standard input.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

_MAX_OPEN_FILES = 1_024
_MAX_MESSAGE_LENGTH = 1_000
_PYFUNC = "python_function"
_FLAVOR = re.compile(r"[a-z][a-z0-9_]*")
_SHORTAGES = (errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.EFBIG)
_NO_MEMORY = re.compile(r"bad_alloc|allocate memory", re.IGNORECASE)  # the messages of native libraries


def run_load_child() -> None:
    """Answer `{"outcome": "loaded" | "failed" | "untried", "detail": ..., "token": ...}`, or what a probe achieved.

    The answer goes to what standard output was at the start. What the model prints goes nowhere. The token is the request's: an
    answer without it comes from somebody else.
    """
    request = json.load(sys.stdin)
    answer_to = _silence_streams()
    _limit_resources(request)
    try:
        if "probe" in request:
            answer: dict[str, Any] = {"leaks": _find_leaks(request["probe"], request["folder"], request["token"])}
        else:
            answer = _load_model(request["folder"], request["flavors"])
            answer["detail"] += _describe_leftovers()
    except BaseException as error:  # noqa: BLE001  # the parent must know, whatever it is
        answer = _describe_load_error(error)
    os.write(answer_to, json.dumps({**answer, "token": request["token"]}).encode())
    os._exit(0)  # threads and exit hooks of the model are not waited for


def _silence_streams() -> int:
    answer_to, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    return answer_to


def _limit_resources(request: dict[str, Any]) -> None:
    signal.alarm(request["seconds"] + 10)  # in case the parent is killed
    cpu = request["seconds"] * (os.cpu_count() or 1)
    for limit, value in (
        (resource.RLIMIT_AS, request["memory"]),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, request["bytes"]),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, request["threads"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # not every system has each of them
            resource.setrlimit(limit, (lower, lower))
    with contextlib.suppress(OSError):  # Linux: where memory runs out, this is what the kernel kills, not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")


def _find_leaks(probe: dict[str, Any], folder: str, token: str) -> list[str]:
    """Attempt what a model must not do; return what worked. What it writes is found, or not, by the parent."""
    leaks = []
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", probe["port"]), timeout=5):
        leaks.append("reach the network")
    if str(Path("/proc/self/ns/pid").readlink()) == probe["processes"] or not _sees_own_processes():
        with contextlib.suppress(OSError):
            Path(f"/proc/{probe['pid']}/environ").read_bytes()
            leaks.append("read the environment of Promoter")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if int(status["CapEff"], 16):
        leaks.append("use rights of root")
    if status["NoNewPrivs"].strip() != "1":
        leaks.append("gain rights")
    for place in [folder, *probe["write"]]:
        with contextlib.suppress(OSError):
            Path(place, token).touch(exist_ok=False)
    return leaks


def _sees_own_processes() -> bool:
    """Whether /proc shows the namespace that this process is in, and no other."""
    return str(Path("/proc/self").readlink()) == str(os.getpid())


def _describe_leftovers() -> str:
    """Say how many processes the model's code left behind; all of them end with this one."""
    left = sum(_is_other_process(each.name) for each in Path("/proc").glob("[0-9]*"))
    return f"; processes that it left behind and that were ended: {left}" if left else ""


def _is_other_process(pid: str) -> bool:
    if int(pid) in (1, os.getpid(), os.getppid()):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _load_model(folder: str, flavors: list[str]) -> dict[str, str]:
    if _PYFUNC in flavors:
        import mlflow.pyfunc

        mlflow.pyfunc.load_model(folder)
        return {"outcome": "loaded", "detail": _PYFUNC}
    for flavor in filter(_FLAVOR.fullmatch, flavors):
        try:
            loader = importlib.import_module(f"mlflow.{flavor}").load_model
        except (ImportError, AttributeError):
            continue
        loader(folder)
        return {"outcome": "loaded", "detail": flavor}
    return {"outcome": "untried", "detail": f"no library is installed that loads {', '.join(flavors)}"}


def _describe_load_error(error: BaseException) -> dict[str, str]:
    message = f"{type(error).__name__}: {error}"[:_MAX_MESSAGE_LENGTH]
    if missing := _find_missing_import(error):
        return {"outcome": "untried", "detail": f"a library is not installed: {missing}"[:_MAX_MESSAGE_LENGTH]}
    short = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES)
    if short or _NO_MEMORY.search(message):
        return {"outcome": "untried", "detail": f"it needs more memory or space than it is given ({message})"}
    return {"outcome": "failed", "detail": message}


def _find_missing_import(error: BaseException | None) -> str | None:
    """Find what could not be imported, also where another error wraps that one."""
    while error is not None:
        if isinstance(error, ImportError):
            return str(error)
        error = error.__cause__
    return None


if __name__ == "__main__":
    run_load_child()
