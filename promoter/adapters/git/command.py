"""Runs git: fixed argument lists, an environment of our own, and an end to what hangs.

Nothing that a user's or a mirror's configuration says is run: no hooks, no helpers, no prompts. Credentials travel in the
environment, never among the arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess  # nosec: only its exceptions and constants; GitPython starts the processes
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from promoter.adapters.git.remote import RemoteAddress, GitTransport
from promoter.domain.faults import PermanentError, TransientError

_BOUND_ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_TRACE_CURL",
    "GIT_CURL_VERBOSE",
)
"""What a calling git (Promoter run in a hook) sets for its own repository, and traces that would show credentials."""

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "credential.helper": "",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",  # git would carry the credentials to wherever a redirect leads
    "http.lowSpeedLimit": "1000",
}
NO_CONFIGURATION = Path(os.devnull)
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class GitReply:
    """What a git command said. `err` may name the remote with what it echoed: redact before it is shown."""

    status: int
    out: bytes
    err: str

    @property
    def output_text(self) -> str:
        """Standard output as text, without the space around it."""
        return self.out.decode("utf-8", "replace").strip()

    @property
    def output_lines(self) -> list[str]:
        """The lines of standard output, parted by line feeds only: names of refs may have other breaks in them."""
        return [line for line in self.out.decode("utf-8", "replace").split("\n") if line]


class GitCommand:
    """Starts git in a folder, for one remote or for none. `timeout`: seconds after which a command is killed."""

    def __init__(
        self, folder: Path, remote: RemoteAddress | None = None, timeout: float = 60.0, config: Path | None = NO_CONFIGURATION
    ) -> None:
        """`config` stands in for the user's own configuration and the system's; None: those are read, as ever."""
        self.timeout = timeout
        self._folder = folder
        self._environment = _build_environment(remote, timeout, config)

    def run_command(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> GitReply:
        """Run to its end. Any exit status is a reply. Raises `TransientError` on timeout, `PermanentError` where git is not installed."""
        limit = timeout or self.timeout
        with self._start_process(arguments, feed=stdin is not None, variables=variables) as process:
            try:
                out, err = process.communicate(stdin, limit)
            except subprocess.TimeoutExpired:
                raise _build_timeout_error(arguments, limit) from None
            return GitReply(process.returncode, out, err.decode("utf-8", "replace"))

    def read_first_bytes(self, limit: int, *arguments: str) -> bytes:
        """At most the first `limit` bytes of the output; the rest is not waited for."""
        with self._start_process(arguments, feed=False) as process:
            out = process.stdout
            if out is None:  # pragma: no cover - the pipe was asked for
                raise TransientError("git", "git gave no output")
            overdue = threading.Event()

            def expire() -> None:
                overdue.set()
                _kill_process_group(process)

            timer = threading.Timer(self.timeout, expire)
            timer.start()
            try:
                content = out.read(limit)
            finally:
                timer.cancel()
            if overdue.is_set():
                raise _build_timeout_error(arguments, self.timeout)
            return content

    @contextlib.contextmanager
    def _start_process(
        self, arguments: tuple[str, ...], *, feed: bool, variables: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A git process in a session of its own: no terminal to prompt on, and one group to kill with all its children."""
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else the import fails where git is not installed
        from git import Git, GitCommandNotFound

        git = Git(self._folder)
        inherited = [name for name in _BOUND_ELSEWHERE if name in os.environ]
        unset = ["env", *(part for name in inherited for part in ("-u", name))] if inherited else []
        try:
            interrupt = git.execute(
                [*unset, git.GIT_PYTHON_GIT_EXECUTABLE or "git", *arguments],
                istream=subprocess.PIPE if feed else None,
                as_process=True,
                env=self._environment | dict(variables or {}),
                start_new_session=True,
            )
        except GitCommandNotFound:
            raise PermanentError(
                "git", "the git command was not found", "install git 2.39 or newer, and see that it is on PATH"
            ) from None
        except OSError as error:
            raise TransientError("git", f"git could not be started: {error.strerror or 'no reason given'}") from None
        process = cast("subprocess.Popen[bytes]", interrupt.proc)
        try:
            yield process
        finally:
            if process.poll() is None:
                _kill_process_group(process)
                with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
                    process.communicate(timeout=_DRAIN_SECONDS)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _build_environment(remote: RemoteAddress | None, timeout: float, config: Path | None) -> dict[str, str]:
    """The variables for every command. Configuration given here outranks every file."""
    settings = _SETTINGS | {"http.lowSpeedTime": str(max(1, int(timeout / 2)))}
    if remote is not None and remote.header is not None:
        settings[f"http.{remote.http_origin}.extraHeader"] = remote.header.get_secret_value()
    environment = {
        "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TRACE_REDACT": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    if config is not None:
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(config)}
    for index, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    if remote is not None and remote.transport is GitTransport.SSH and not os.environ.keys() & {"GIT_SSH_COMMAND", "GIT_SSH"}:
        environment["GIT_SSH_COMMAND"] = (
            f"ssh -o BatchMode=yes -o ConnectTimeout={max(1, int(timeout / 2))} -o ServerAliveInterval=15 -o ControlMaster=no"
        )
    return environment


def _kill_process_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group: a transport left behind would hold the pipes open."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _build_timeout_error(arguments: tuple[str, ...], limit: float) -> TransientError:
    verb = next((word for word in arguments if re.fullmatch(r"[a-z][a-z-]+", word)), "command")
    return TransientError("git", f"git {verb} gave no answer within {limit:g} s", "see whether the remote answers")
