"""Runs git with fixed argument lists and an environment of its own, ends what hangs, and says in words what failed.

Nothing that a user's or a mirror's configuration says is run: no hooks, no helpers, no prompts. Credentials travel in the
environment, never among the arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from promoter.adapters._text import redact_secrets, to_one_line, truncate_message
from promoter.adapters.git.remote import GitTransport, RemoteAddress
from promoter.domain.errors import BranchProtected, Conflict, ExternalError, PermanentError, TransientError

# Of `subprocess` only exceptions and constants are used here: GitPython starts the processes.

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
"""The variables that a calling git (Promoter run in a hook) sets for its own repository, and traces that would show secrets."""

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
_LIMIT_FILES = ("sh", "-c", '(ulimit -f "$1") 2>/dev/null && ulimit -f "$1"; shift; exec "$@"', "sh")
_LIMIT_BLOCK = 512
"""The bytes that POSIX gives to a block of `ulimit -f`."""
_NO_QUESTIONS = {"GIT_ASKPASS": "", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}
GitConfiguration = Sequence[tuple[str, str]]
"""Keys and values of git's configuration, in the order in which git reads them."""
NO_CONFIGURATION = Path(os.devnull)
_DRAIN_SECONDS = 5.0
_MOST_SETTINGS = 1_000


@dataclass(frozen=True)
class GitReply:
    """How a git command ended."""

    status: int
    """The exit status."""
    out: bytes
    """Standard output."""
    err: str
    """Standard error. It may repeat what the remote sent: redact it before it is shown."""

    @property
    def output_text(self) -> str:
        """Standard output as text, without the white space around it."""
        return self.out.decode("utf-8", "replace").strip()

    @property
    def output_lines(self) -> list[str]:
        """The lines of standard output. Only line feeds separate them: names of refs may have other breaks in them."""
        return [line for line in self.out.decode("utf-8", "replace").split("\n") if line]


class GitCommand:
    """Starts git in a folder, for one remote or for none. `timeout`: seconds after which a command is killed."""

    def __init__(
        self,
        folder: Path,
        remote: RemoteAddress | None = None,
        timeout: float = 60.0,
        config: Path | None = NO_CONFIGURATION,
        credentials: GitConfiguration = (),
    ) -> None:
        """`config` replaces the configuration of the user and the system; None: git reads those.

        `credentials`: what a person's configuration says of signing in. With it, git may ask that person's helpers.
        """
        self.timeout = timeout
        self._folder = folder
        trusted = _read_trusted_folders() if config is None else ()
        self._environment = _build_environment(remote, timeout, config, credentials, trusted)

    def run_command(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        file_limit: int | None = None,
    ) -> GitReply:
        """Run to the end; any exit status is a reply. Raises `TransientError` on timeout, `PermanentError` without git.

        `file_limit`: bytes beyond which the system lets git and its children write no file.
        """
        limit = timeout or self.timeout
        with self._start_process(arguments, feed=stdin is not None, variables=variables, file_limit=file_limit) as process:
            try:
                out, err = process.communicate(stdin, limit)
            except subprocess.TimeoutExpired:
                raise _build_timeout_error(arguments, limit) from None
            return GitReply(process.returncode, out, err.decode("utf-8", "replace"))

    def read_first_bytes(self, limit: int, *arguments: str) -> bytes:
        """Read at most the first `limit` bytes of the output, and kill what still writes."""
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
        self,
        arguments: tuple[str, ...],
        *,
        feed: bool,
        variables: Mapping[str, str] | None = None,
        file_limit: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start git in a session of its own: no terminal to prompt on, and one group to kill with all its children."""
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else the import fails where git is not installed
        from git import Git, GitCommandNotFound

        git = Git(self._folder)
        try:
            interrupt = git.execute(
                [*_build_wrapper(file_limit), git.GIT_PYTHON_GIT_EXECUTABLE or "git", *arguments],
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


def _build_wrapper(file_limit: int | None) -> list[str]:
    """Build the programs that start git: they limit the files that it writes, and unset what a calling git has set."""
    limited = [] if file_limit is None else [*_LIMIT_FILES, str(max(1, file_limit // _LIMIT_BLOCK))]
    inherited = [name for name in _BOUND_ELSEWHERE if name in os.environ]
    return [*limited, *(["env", *(part for name in inherited for part in ("-u", name))] if inherited else [])]


def read_environment_settings() -> list[tuple[str, str]]:
    """Read git's configuration that the environment itself has (`GIT_CONFIG_COUNT`), as CI systems give it: keys and values."""
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    names = range(min(int(count), _MOST_SETTINGS)) if count.isascii() and count.isdigit() else ()
    pairs = ((os.environ.get(f"GIT_CONFIG_KEY_{name}", ""), os.environ.get(f"GIT_CONFIG_VALUE_{name}", "")) for name in names)
    return [(key.lower(), value) for key, value in pairs]


def _read_trusted_folders() -> list[tuple[str, str]]:
    """Read the folders of other owners that whoever started Promoter lets git read; files that git reads stay in force too."""
    return [(key, value) for key, value in read_environment_settings() if key == "safe.directory"]


def _build_environment(
    remote: RemoteAddress | None,
    timeout: float,
    config: Path | None,
    credentials: GitConfiguration,
    trusted: GitConfiguration = (),
) -> dict[str, str]:
    """Build the variables for every command. Configuration in variables outranks every file, and what comes last counts."""
    own = _SETTINGS | {"http.lowSpeedTime": str(max(1, int(timeout / 2)))}
    if remote is not None and remote.header is not None:
        own[f"http.{remote.http_origin}.extraHeader"] = remote.header.get_secret_value()
    settings = [
        *trusted,
        *credentials,
        *((key, value) for key, value in own.items() if not credentials or key != "credential.helper"),
    ]
    environment = {
        "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        **({} if credentials else _NO_QUESTIONS),
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TRACE_REDACT": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    if config is not None:
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(config)}
    for index, (key, value) in enumerate(settings):
        environment |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    has_ssh = os.environ.keys() & {"GIT_SSH_COMMAND", "GIT_SSH"} or any(key == "core.sshcommand" for key, _ in credentials)
    if remote is not None and remote.transport is GitTransport.SSH and not has_ssh:
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


_READ_OR_WRITE = "set PROMOTER_GIT_TOKEN, or give a key, that may read and write this repository"


@dataclass(frozen=True)
class _FailureCause:
    """A known failure of git."""

    pattern: re.Pattern[str]
    """What git's message matches."""
    kind: type[ExternalError]
    """Whether it may pass by itself."""
    message: str
    """How we say it."""
    fix: str | None = None
    """What a person can do."""
    quoted: bool = False
    """Whether git's own message is added."""


def _compile_failure_cause(
    pattern: str, kind: type[ExternalError], message: str, fix: str | None = None, *, quoted: bool = False
) -> _FailureCause:
    return _FailureCause(re.compile(pattern, re.IGNORECASE), kind, message, fix, quoted)


_FAILURE_CAUSES = (
    _compile_failure_cause(
        r"error: 30\d|unable to update url base",
        PermanentError,
        "the remote redirects elsewhere",
        "give the repository's new URL",
    ),
    _compile_failure_cause(
        r"error: (5\d\d|429|408)|HTTP (5\d\d|429|408)", TransientError, "the remote answers with a server error", quoted=True
    ),
    _compile_failure_cause(
        r"authentication failed|could not read (username|password)|error: 401|HTTP 401|HTTP basic: access denied",
        PermanentError,
        "the remote does not accept the credentials, or wants some",
        _READ_OR_WRITE,
    ),
    _compile_failure_cause(
        r"error: 403|HTTP 403", PermanentError, "the remote does not allow this with these credentials", _READ_OR_WRITE
    ),
    _compile_failure_cause(
        r"permission denied \(", PermanentError, "the ssh server does not accept any of the keys", _READ_OR_WRITE
    ),
    _compile_failure_cause(
        r"host key verification failed",
        PermanentError,
        "the ssh server's host key is not known, or has changed",
        "check the key, and put it into known_hosts",
    ),
    _compile_failure_cause(
        r"certificate|SSL.*verif",
        PermanentError,
        "the remote's TLS certificate is not trusted",
        "name the authority's certificate in GIT_SSL_CAINFO",
        quoted=True,
    ),
    _compile_failure_cause(
        r"could not resolve|couldn't (resolve|connect)|failed to connect|connection (refused|reset|timed out|closed)"
        r"|timed out|no route to host|network is unreachable|operation too slow|empty reply|recv failure|send failure"
        r"|RPC failed|hung up unexpectedly|unexpected disconnect|early EOF|name resolution",
        TransientError,
        "the remote cannot be reached",
        quoted=True,
    ),
    _compile_failure_cause(
        r"error: 404|repository .*not found|does not appear to be a git repository|no such file or directory"
        r"|repository .*does not exist|not a git repository|project you were looking for",
        PermanentError,
        "there is no such repository, or the credentials do not show it",
        "check PROMOTER_REPO and PROMOTER_GIT_TOKEN",
    ),
    _compile_failure_cause(
        r"permission denied|insufficient permission",
        PermanentError,
        "the system does not permit it",
        "see to the permissions",
        quoted=True,
    ),
    _compile_failure_cause(
        r"dubious ownership", PermanentError, "the repository's folder belongs to another user", "change its owner"
    ),
    _compile_failure_cause(
        r"transport .* not allowed",
        PermanentError,
        "this kind of address is not used",
        "give an https:// or ssh:// URL, or a path",
    ),
)

_PREAMBLE = re.compile(r"fatal: (unable to access '[^']*': )?")
_OUTDATED = re.compile(r"stale info|fetch first|non-fast-forward|remote ref updated since checkout|needs force")
_NON_FAST_FORWARD = "[remote rejected] (non-fast-forward)"
_CONTESTED = re.compile(
    r"cannot lock ref|failed to (update|lock)|incorrect old value|reference already exists"
    r"|directory.file conflict|refname conflict",
    re.IGNORECASE,
)
_PROTECTED = re.compile(r"declined|protected|pull request", re.IGNORECASE)
"""GitHub, GitLab and Gitea say that a hook or a rule declined, and the lines above say which. A hook of the user's own may
mean something else; then it declines the branch of a pull request too, and that is reported."""


def convert_known_failure(reply: GitReply, remote: RemoteAddress) -> ExternalError | None:
    """Convert a failure of talking to the remote; None where its cause is not known."""
    for cause in _FAILURE_CAUSES:
        if cause.pattern.search(reply.err):
            quotation = f" ({redact_to_one_line(_PREAMBLE.sub('', reply.err), remote)})" if cause.quoted else ""
            return cause.kind("git", truncate_message(f"{remote.url}: {cause.message}{quotation}"), cause.fix)
    return None


def convert_command_failure(action: str, reply: GitReply, remote: RemoteAddress) -> ExternalError:
    """Convert the failure of a command. An unknown one is worth another try."""
    message = redact_to_one_line(reply.err, remote) or f"exit status {reply.status}"
    return convert_known_failure(reply, remote) or TransientError("git", truncate_message(f"git {action} failed: {message}"))


def convert_push_failure(reply: GitReply, remote: RemoteAddress) -> ExternalError | None:
    """Say why a push did not go through; None where the remote could not move the branch, and only its head now tells why."""
    lines = reply.out.decode("utf-8", "replace").splitlines()
    reasons = [redact_to_one_line(line.rpartition("\t")[2], remote) for line in lines if line.startswith("!\t")]
    if not reasons:
        return convert_command_failure("push", reply, remote)
    if _OUTDATED.search(reasons[0]) and _NON_FAST_FORWARD not in reasons[0]:
        return build_push_conflict()
    if not _PROTECTED.search(reasons[0]) and _CONTESTED.search(reasons[0] + reply.err):
        return None
    return _convert_push_rejection(reasons[0], reply, remote)


_OUTSIDE = re.compile(r"not a git repository \(or any")


def find_clone_refusal(folder: Path, reply: GitReply) -> PermanentError | None:
    """Say why git does not read the clone at that folder, in its own words; None where there is no clone at all."""
    if _OUTSIDE.search(reply.err):
        return None
    reason = to_one_line(redact_secrets(reply.err.partition("To add an exception")[0], ()))
    found = re.search(r"safe\.directory (\S.*)", reply.err)
    if found:
        named = found[1].strip()
        way_out = f"git config --global --add safe.directory {named}"
        variables = f"GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0={named}"
        fix = f"if you trust that folder, run `{way_out}`, or in a container set {variables}; or change its owner"
    else:
        fix = "repair the clone, or make it anew"
    return PermanentError("git", f"git does not read the clone at {folder}: {reason or 'it gives no reason'}", fix)


def convert_missing_ref(reply: GitReply, remote: RemoteAddress) -> PermanentError | None:
    """Convert the failure of fetching a ref that the remote does not have; None for any other."""
    absent = re.search(r"couldn't find remote ref (.*)", reply.err)
    return (
        PermanentError("git", truncate_message(f"{remote.url}: there is no {redact_to_one_line(absent[1], remote)}"))
        if absent
        else None
    )


def build_push_conflict() -> Conflict:
    """Build the error for a branch whose head is not what the commit was made on."""
    return Conflict("git", "somebody else pushed to the branch first")


def _convert_push_rejection(reason: str, reply: GitReply, remote: RemoteAddress) -> ExternalError:
    """Convert the rejection of a commit by the remote's rules, or by its disk."""
    message = redact_to_one_line(" ".join(re.findall(r"^remote: ?(.*)$", reply.err, re.MULTILINE)) or reply.err, remote)
    if "currently checked out" in reason:
        return PermanentError(
            "git",
            f"{remote.url}: the branch is checked out there, and git does not change it under its user",
            "push to a bare repository, or set receive.denyCurrentBranch updateInstead in that one",
        )
    if _NON_FAST_FORWARD in reason:
        fix = "let this account make its own branches anew (receive.denyNonFastForwards, or the forge's rule for forced pushes)"
        return PermanentError("git", f"{remote.url}: the remote does not let a branch be made anew", fix)
    if "unpack" in reason and "permission" not in reply.err.lower():
        return TransientError("git", truncate_message(f"the remote could not store the commit: {message}"))
    if _PROTECTED.search(reason):
        fix = "let this account push to the branch, or use rotation: pull-request"
        return BranchProtected("git", truncate_message(f"the remote declined the commit: {reason}: {message}"), fix)
    return PermanentError("git", truncate_message(f"the remote rejected the commit: {reason}: {message}"), _READ_OR_WRITE)


def redact_to_one_line(text: str, remote: RemoteAddress) -> str:
    """Return git's message on one line, without the remote's credentials."""
    return to_one_line(redact_secrets(text, (secret.get_secret_value() for secret in remote.secrets)))
