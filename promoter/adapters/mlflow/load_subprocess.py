"""Script of the child that loads a model, which may run any code of whoever trained it: without credentials, and confined.

Run by `python -I`, so it imports nothing of Promoter. `loading.py` writes the request to its standard input.
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
    """Answer `{"outcome": "loaded" | "failed" | "untried", "detail": ...}`."""
    request = json.load(sys.stdin)
    _limit_resources(request)
    try:
        answer = _load_model(request["folder"], request["flavors"])
    except BaseException as error:  # noqa: BLE001  # the parent must know, whatever it is
        answer = _describe_load_error(error)
    os.write(request["answer_to"], json.dumps(answer).encode())
    os._exit(0)  # threads and exit hooks of the model are not waited for


def _limit_resources(request: dict[str, Any]) -> None:
    signal.alarm(request["seconds"] + 10)  # in case the parent is killed
    cpu = request["seconds"] * (os.cpu_count() or 1)
    for limit, value in (
        (resource.RLIMIT_AS, request["memory"]),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, request["bytes"]),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # not every system has each of them
            resource.setrlimit(limit, (lower, lower))
    with contextlib.suppress(OSError):  # Linux: where memory runs out, this is what the kernel kills, not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")


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
