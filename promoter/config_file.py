"""The file that `PROMOTER_CONFIG` names. It never lies in the tree that is being judged, and reading it ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

import yaml

from promoter.domain.errors import Fault

CONFIG_VARIABLE = "PROMOTER_CONFIG"
FORMER_FILE = "promoter.yaml"
"""The file that was once read from the working directory."""
_CONFIG_LIMIT = 1_048_576
_PIPE_SECONDS = 10.0
_DUPLICATE_KEY = "a key occurs twice"


@dataclass(frozen=True)
class ConfigFile:
    """The file that `PROMOTER_CONFIG` names."""

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


def read_config_file() -> ConfigFile:
    """Read the file that `PROMOTER_CONFIG` names. Its faults are in the result; its names are not checked here."""
    named = os.environ.get(CONFIG_VARIABLE, "")
    judged = _find_judged_tree()
    if not named:
        return ConfigFile(faults=tuple(_find_former_file(judged)))
    path = Path(named)
    if judged and _lies_inside(path, judged):
        fault = Fault(
            f"{CONFIG_VARIABLE} names a file inside {judged}, the tree that is being judged: whoever writes to that tree would"
            " decide where credentials go",
            fix="keep the file outside of the checkout",
        )
        return ConfigFile(named, faults=(fault,))
    try:
        document = yaml.load(_read_bounded_file(path), _UniqueKeyLoader)  # noqa: S506  # it derives from SafeLoader
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not YAML"
        if isinstance(error, yaml.constructor.ConstructorError) and error.problem == _DUPLICATE_KEY:
            why = _DUPLICATE_KEY
        return ConfigFile(named, faults=(Fault(f"cannot be read: {why}", file=named, fix=f"see {CONFIG_VARIABLE}"),))
    if not isinstance(document, dict | None):
        return ConfigFile(named, faults=(Fault("it is not a mapping", file=named, fix="write `name: value` lines"),))
    return ConfigFile(named, document or {})


def _read_bounded_file(path: Path) -> bytes:
    """Read a file, or a pipe that somebody writes to now. Raises OSError for what has no end, or never begins."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # else a pipe without a writer is waited for
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  # a descriptor
        deadline = time.monotonic() + _PIPE_SECONDS
        content = b""
        while len(content) <= _CONFIG_LIMIT:
            if not select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(errno.ETIMEDOUT, "nothing is written to this pipe")
            chunk = file.read(_CONFIG_LIMIT)
            if not chunk:
                return content
            content += chunk
    raise OSError(errno.EFBIG, f"it is larger than {_CONFIG_LIMIT} bytes")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping in which a key occurs twice, which YAML forbids and its loader takes."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(problem=_DUPLICATE_KEY)
        return super().construct_mapping(node, deep)


def _find_judged_tree() -> Path | None:
    """Find the checkout that one stands in: its files are what commands judge, and anybody may have written them.

    In a submodule, or in a worktree inside of its repository, that is the outer one: there `.git` is a file.
    """
    here = Path.cwd()
    judged = here if (here / "registry.yaml").exists() else None
    for folder in (here, *here.parents):
        if (folder / ".git").is_dir():
            return folder
        judged = folder if (folder / ".git").exists() else judged
    return judged


def _lies_inside(path: Path, folder: Path) -> bool:
    """Whether the path is in the folder as it is written, or where its links lead."""
    written = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow the links
    return written.is_relative_to(folder) or path.resolve().is_relative_to(folder.resolve())


def _find_former_file(judged: Path | None) -> Iterator[Fault]:
    """A file that used to be read must not be passed over in silence: its channels and registries would be missing."""
    file = Path(FORMER_FILE)
    if not file.is_file():
        return
    where = "move it out of the checkout, and " if judged else ""
    path = f"set {CONFIG_VARIABLE} to its new path" if judged else f"set {CONFIG_VARIABLE}={file.absolute()}"
    yield Fault(
        "it is not read from the working directory: settings decide where credentials go, and a checkout may bring any file",
        file=FORMER_FILE,
        fix=f"if it is yours, {where}{path}; if not, remove it, or set {CONFIG_VARIABLE} to the file that counts",
    )
