"""Sandboxes for the child that loads a model: an existing tool shuts it in, and nothing is loaded where none of them holds.

The tools are tried in this order: bubblewrap, systemd-run, and a user of its own in namespaces of its own (util-linux). Each is
tried out before it is trusted: a child inside it attempts what a model must not do. In one that holds, the model's code has no
network, cannot see other processes, has no rights, and cannot write anywhere but in a temporary folder that goes with it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from promoter.adapters.mlflow import subprocesses

LOAD_COMMAND = ("-I", "-c", Path(__file__).with_name("load_subprocess.py").read_text())
"""Arguments of Python: the script itself, since the folder of this program is not in the sandbox."""
_MAX_PROCESSES = 256
_MAX_THREADS = 1_024
_PROBE_SECONDS = 60
_RETRY_AFTER_SECONDS = 60.0
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  # a private one, inside
_ROOT = 0
_SIGNALLED, _SIGNALS = 128, 64  # how a wrapper says that a signal ended the child
# What programs need of a system: never all of /etc, where passwords may lie.
_SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/sys/devices/system/cpu")
_CONFIGURATION = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf", "passwd", "group")
_PREFIX_ENTRIES = ("bin", "lib", "lib32", "lib64", "libexec", "share", "pyvenv.cfg")


@dataclass(frozen=True)
class SandboxTerms:
    """What a deployment decides about sandboxes."""

    user: str | None = None
    """The name of the system's user that runs models, where the sandbox is a user of its own."""
    environment: tuple[str, ...] = ()
    """The names of further variables that the model's code gets to see."""
    protected: tuple[Path, ...] = ()
    """Folders that the model's code must not reach, such as the ledger's."""


@dataclass(frozen=True)
class SandboxLimits:
    """What everything in a sandbox may take."""

    seconds: int
    memory: int
    """Bytes of memory, of all processes together."""
    scratch: int
    """Bytes of temporary files."""


@dataclass(frozen=True)
class ModelPaths:
    """Where things lie, as the model's code sees them."""

    artifact: str
    home: str


class Sandbox(ABC):
    """One tool that shuts a child in."""

    name: ClassVar[str]
    """As people read it."""
    paths: ClassVar[ModelPaths] = ModelPaths("/mnt", "/tmp")  # noqa: S108  # a private one, inside

    def __init__(self, terms: SandboxTerms) -> None:
        self._terms = terms

    @abstractmethod
    def find_obstacle(self) -> str | None:
        """Say what is missing here to try it at all; None where nothing is."""

    @abstractmethod
    def build_wrapper(self, artifact: Path, environment: Mapping[str, str], limits: SandboxLimits) -> list[str]:
        """Build the words that go before a command. `artifact`: the folder that the model's code gets to read."""

    def end_wrapper(self, wrapper: Sequence[str]) -> None:
        """End what is left of a command that ran under that wrapper. Most tools leave nothing."""
        del wrapper

    def run_command(
        self,
        arguments: Sequence[str],
        request: Mapping[str, Any],
        artifact: Path,
        environment: Mapping[str, str],
        limits: SandboxLimits,
    ) -> subprocesses.ChildResult:
        """Run this Python with these arguments in here, until it ends, time is up, or it is too many or too large."""
        inner = {**environment, "HOME": self.paths.home, "TMPDIR": self.paths.home}
        bounds = {"memory": limits.memory, "bytes": limits.scratch, "seconds": limits.seconds, "threads": _MAX_THREADS}
        excess: list[str] = []

        def find_excess(pid: int) -> bool:
            excess.extend(_describe_excess(pid, limits))
            return bool(excess)

        wrapper = self.build_wrapper(artifact, inner, limits)
        try:
            ended = subprocesses.run_wrapped_child(
                wrapper,
                arguments,
                {**request, **bounds, "folder": self.paths.artifact},
                seconds=limits.seconds,
                environment=inner,
                excessive=find_excess,
            )
        finally:
            self.end_wrapper(wrapper)
        signalled = ended.status is not None and _SIGNALLED < ended.status < _SIGNALLED + _SIGNALS
        status = _SIGNALLED - (ended.status or 0) if signalled else ended.status
        return replace(ended, status=status, excess=" and ".join(excess))


class Bubblewrap(Sandbox):
    """bubblewrap, as any user, where the kernel lets that user make namespaces."""

    name = "bubblewrap"

    def find_obstacle(self) -> str | None:
        """It must be installed."""
        return None if shutil.which("bwrap") else "bubblewrap (`bwrap`) is not installed"

    def build_wrapper(self, artifact: Path, environment: Mapping[str, str], limits: SandboxLimits) -> list[str]:
        """Show it the system's programs and libraries, this Python's, and the artifact, read-only; nothing else is there."""
        del environment
        program = shutil.which("bwrap") or "bwrap"
        known = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)  # noqa: S603  # ours
        words = known.stdout + known.stderr
        size = ["--size", str(limits.scratch)] if "--size " in words else []
        nested = ["--disable-userns"] if "--disable-userns" in words else []
        hidden = self._find_hidden_paths()
        return [
            program, "--unshare-all", "--unshare-user", *nested, "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL",
            "--die-with-parent", "--new-session", "--hostname", "sandbox",
            *_bind_paths([*_SYSTEM_PATHS, *(f"/etc/{name}" for name in _CONFIGURATION)]),
            *size, "--tmpfs", self.paths.home,
            *(word for path in hidden for word in ("--tmpfs", path)),
            *_bind_paths(_list_python_paths()),
            *(word for path in hidden for word in ("--remount-ro", path)),
            "--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", _SHARED_MEMORY,
            "--ro-bind", str(artifact), self.paths.artifact, "--remount-ro", "/dev", "--remount-ro", "/",
            "--chdir", self.paths.home, "--",
        ]  # fmt: skip

    def _find_hidden_paths(self) -> list[str]:
        return [str(each) for each in self._terms.protected if any(map(each.is_relative_to, _SYSTEM_PATHS))]


class SystemdRun(Sandbox):
    """systemd-run, as root, where systemd runs: a transient unit with a dynamic user."""

    name = "systemd-run"

    def find_obstacle(self) -> str | None:
        """Systemd must be what runs this system; only root may start units there without a person's consent."""
        if not shutil.which("systemd-run"):
            return "`systemd-run` is not installed"
        if not Path("/run/systemd/system").is_dir():
            return "`systemd-run` is of no use, since systemd does not run this system"
        return None if os.geteuid() == _ROOT else "`systemd-run` serves root only"

    def build_wrapper(self, artifact: Path, environment: Mapping[str, str], limits: SandboxLimits) -> list[str]:
        """Name what the unit may do; systemd ends it after its time, whatever becomes of Promoter."""
        _open_artifact(artifact)
        properties = {
            "DynamicUser": "yes",
            "PrivateNetwork": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "PrivateIPC": "yes",
            "PrivateMounts": "yes",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "ProtectProc": "invisible",
            "ProtectKernelTunables": "yes",
            "ProtectControlGroups": "yes",
            "RestrictNamespaces": "yes",
            "RestrictAddressFamilies": "AF_UNIX",
            "RestrictSUIDSGID": "yes",
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": "",
            "BindReadOnlyPaths": f"{artifact}:{self.paths.artifact}",
            "InaccessiblePaths": " ".join(_list_separate_folders(self._terms.protected)),
            "WorkingDirectory": self.paths.home,
            "MemoryMax": str(limits.memory),
            "MemorySwapMax": "0",
            "TasksMax": str(_MAX_THREADS),
            "RuntimeMaxSec": str(limits.seconds),
            "KillMode": "control-group",
            "KillSignal": "SIGKILL",
        }
        return [
            "systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit=promoter-load-{secrets.token_hex(8)}",
            *(f"--property={name}={value}" for name, value in properties.items()),
            *(f"--setenv={name}={value}" for name, value in environment.items()), "--",
        ]  # fmt: skip

    def end_wrapper(self, wrapper: Sequence[str]) -> None:
        """Kill what is left of the unit: it outlives the program that started it."""
        unit = next(word.partition("=")[2] for word in wrapper if word.startswith("--unit="))
        stop = ["systemctl", "kill", "--signal=SIGKILL", unit]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(stop, capture_output=True, check=False, timeout=_PROBE_SECONDS)  # noqa: S603  # our own words


# $1 user, $2 group, $3 bytes of temporary files, $4 the artifact, then folders to hide; then -- and the command. Nothing of it
# comes from a model. What everybody may write to is made read-only, hidden, or private.
_ENTER_NAMESPACES = """
set -e
user=$1 group=$2 size=$3 artifact=$4; shift 4
private="mode=0700,uid=$user,gid=$group,nosuid,nodev"
mount --make-rprivate /
mount -o remount,bind,ro / || true
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /mnt
mkdir /mnt/artifact /mnt/home
mount --bind "$artifact" /mnt/artifact
mount -o remount,bind,ro,nosuid,nodev /mnt/artifact
mount -t tmpfs -o "size=$size,$private" tmpfs /mnt/home
mount -o remount,ro /mnt
for place in /tmp /var/tmp; do
  if [ -d "$place" ]; then mount --bind "$place" "$place"; mount -o remount,bind,ro "$place"; fi
done
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mount -t tmpfs -o size=4k,mode=0555,nosuid,nodev tmpfs "$1"; fi
  shift
done
shift
if [ -d /dev/shm ]; then mount -t tmpfs -o "size=$size,$private" tmpfs /dev/shm; fi
cd /mnt/home
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""
_SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/run"))  # noqa: S108  # they are hidden


class OwnUser(Sandbox):
    """A user of its own, in namespaces of its own: the programs of util-linux, as root."""

    name = "a user of its own"
    paths = ModelPaths("/mnt/artifact", "/mnt/home")

    def find_obstacle(self) -> str | None:
        """A user must be named that is not root, and Promoter must be root to become that one."""
        lacking = [name for name in ("unshare", "setpriv", "mount") if not shutil.which(name)]
        if lacking:
            return f"`{lacking[0]}` of util-linux is not installed"
        if self._terms.user is None:
            return "PROMOTER_LOAD_USER names no user"
        if os.geteuid() != _ROOT:
            return "PROMOTER_LOAD_USER is of use to root only"
        try:
            found = pwd.getpwnam(self._terms.user)
        except KeyError:
            return f"PROMOTER_LOAD_USER names {self._terms.user}, and there is no such user"
        if found.pw_uid == _ROOT:
            return "PROMOTER_LOAD_USER must not be root"
        closed = _find_closed_folder(Path(sys.prefix), found)
        return (
            f"{found.pw_name} of PROMOTER_LOAD_USER cannot reach this Python: {closed} is closed to others" if closed else None
        )

    def build_wrapper(self, artifact: Path, environment: Mapping[str, str], limits: SandboxLimits) -> list[str]:
        """Give it its own processes, network and temporary folders, then the user and none of root's rights."""
        del environment
        _open_artifact(artifact)
        user = pwd.getpwnam(self._terms.user or "")
        hidden = _list_separate_folders([*self._terms.protected, *_SHARED_FOLDERS])
        return [
            "setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork",
            "--kill-child=KILL", "--mount-proc", "--", "sh", "-c", _ENTER_NAMESPACES, "sh", str(user.pw_uid), str(user.pw_gid),
            str(limits.scratch), str(artifact), *hidden, "--",
        ]  # fmt: skip


SANDBOXES: tuple[type[Sandbox], ...] = (Bubblewrap, SystemdRun, OwnUser)
"""In the order in which they are tried."""


class SandboxFinder:
    """Finds the first sandbox that holds here. Safe to share between threads."""

    def __init__(self, terms: SandboxTerms, kinds: Sequence[type[Sandbox]] = SANDBOXES) -> None:
        self._kinds = kinds
        self._terms = terms
        self._turn = Lock()
        self._found: tuple[Sandbox | None, str] | None = None
        self._found_at = 0.0

    def find_sandbox(self) -> tuple[Sandbox | None, str]:
        """Return the sandbox and its name, or None and why there is none. One that held is not tried out again."""
        with self._turn:
            stale = time.monotonic() - self._found_at > _RETRY_AFTER_SECONDS
            if self._found is None or (self._found[0] is None and stale):
                self._found, self._found_at = self._try_kinds(), time.monotonic()
            return self._found

    def _try_kinds(self) -> tuple[Sandbox | None, str]:
        obstacles = []
        for kind in self._kinds:
            sandbox = kind(self._terms)
            obstacle = sandbox.find_obstacle() or find_leak(sandbox, self._terms)
            if obstacle is None:
                return sandbox, sandbox.name
            obstacles.append(obstacle)
        return None, "no sandbox works here: " + "; ".join(obstacles)


def find_leak(sandbox: Sandbox, terms: SandboxTerms) -> str | None:
    """Try the sandbox out: a child in it attempts what a model must not do. Return what it achieved; None for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory(prefix="promoter-") as name:
        folder, token = Path(name, "artifact"), secrets.token_hex(16)
        folder.mkdir()
        places = [folder, Path(name), Path.cwd(), *terms.protected]
        probe = {
            "pid": os.getpid(),
            "processes": _read_namespace(os.getpid()) or "",
            "port": server.getsockname()[1],
            "write": [str(place) for place in places],
        }
        limits = SandboxLimits(_PROBE_SECONDS, 1024**3, 1024**2)
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        ended = sandbox.run_command(LOAD_COMMAND, {"probe": probe, "token": token}, folder, environment, limits)
        written = [place for place in dict.fromkeys(places) if _remove_file(place / token)]
    answer = ended.answer or {}
    if answer.get("token") != token:
        return f"{sandbox.name} does not start: {_describe_end(ended)}"
    leaks = [*map(str, answer.get("leaks", [str(answer.get("detail"))])), *(f"write in {place}" for place in written)]
    return f"{sandbox.name} does not hold: a model could {' and '.join(leaks)}" if leaks else None


def _remove_file(file: Path) -> bool:
    """Remove it; return whether it was there."""
    try:
        file.unlink()
    except OSError:
        return False
    return True


def _describe_end(ended: subprocesses.ChildResult) -> str:
    if ended.messages:
        return ended.messages
    return "it takes too long" if ended.status is None else subprocesses.describe_exit_status(ended.status)


def _bind_paths(paths: Sequence[str]) -> Iterator[str]:
    return (word for path in paths if os.access(path, os.R_OK) for word in ("--ro-bind-try", path, path))


def _list_prefixes() -> list[Path]:
    program = Path(sys.executable).resolve()
    named = (sys.prefix, sys.base_prefix, sys.exec_prefix)
    return list(dict.fromkeys([*(Path(each) for each in named), program.parent.parent]))


def _list_python_paths() -> list[str]:
    """List what this Python consists of. Of a prefix only the usual folders: a project may lie around them."""
    return [str(prefix / entry) for prefix in _list_prefixes() for entry in _PREFIX_ENTRIES]


def _list_separate_folders(folders: Sequence[Path]) -> list[str]:
    """List those folders that exist and that no part of this Python lies in: without that one, nothing would start."""
    prefixes = _list_prefixes()
    return [str(each) for each in folders if each.is_dir() and not any(prefix.is_relative_to(each) for prefix in prefixes)]


def _find_closed_folder(path: Path, user: pwd.struct_passwd) -> Path | None:
    """Find the first folder on the way to a path, itself included, that this user may not enter; None: the user gets there."""
    for folder in (*reversed(path.resolve().parents), path.resolve()):
        found = folder.stat()
        needed = stat.S_IXUSR if found.st_uid == user.pw_uid else stat.S_IXGRP if found.st_gid == user.pw_gid else stat.S_IXOTH
        if not found.st_mode & needed:
            return folder
    return None


def _open_artifact(artifact: Path) -> None:
    """Let another user read it. The folder above cannot be listed, and has a name that nobody can guess."""
    artifact.parent.chmod(0o711)
    for place, _, files in os.walk(artifact):
        Path(place).chmod(0o755)
        for file in files:
            path = Path(place, file)
            if not path.is_symlink():
                path.chmod(0o644)


def _describe_excess(pid: int, limits: SandboxLimits) -> Iterator[str]:
    """Say what those that run under that process take too much of. They are only looked at: one may end at any moment."""
    sizes = list(_iterate_memory(_find_namespace(pid)))
    if len(sizes) > _MAX_PROCESSES:
        yield f"it started more than {_MAX_PROCESSES} processes"
    if sum(sizes) > limits.memory:
        yield f"its processes took more than {limits.memory} bytes of memory"


def _find_namespace(pid: int) -> str | None:
    """Find the namespace of processes that a descendant of this process opened."""
    own = _read_namespace(os.getpid())
    waiting = [pid]
    for _ in range(_MAX_PROCESSES):
        if not waiting:
            return None
        each = waiting.pop()
        namespace = _read_namespace(each)
        if namespace and namespace != own:
            return namespace
        try:
            waiting += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except OSError:
            continue
    return None


def _read_namespace(pid: int | str) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def _iterate_memory(namespace: str | None) -> Iterator[int]:
    """Yield the bytes in memory of each process of that namespace."""
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").glob("[0-9]*") if namespace else ():
        if _read_namespace(entry.name) == namespace:
            try:
                yield int((entry / "statm").read_text().split()[1]) * page
            except (OSError, ValueError, IndexError):
                yield 0
