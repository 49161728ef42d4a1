"""A git remote on this machine: a bare repository over smart HTTP, with webhooks of GitHub's shape after a push.

Git's own `http-backend` does the talking; this serves it through waitress, so that the demo and the tests have a remote
that behaves like a forge, and that can be taken away and brought back.
"""

from __future__ import annotations

import base64
import binascii
import errno
import functools
import hashlib
import hmac
import json
import logging
import os
import secrets
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from waitress import create_server, wasyncore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


log = logging.getLogger(__name__)

_ZERO_REVISION = "0" * 40
_COMMIT_LIMIT = 20
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class PushNotification:
    """Where to send push webhooks, and the secret that signs them."""

    url: str
    """The address."""
    secret: str = field(repr=False)
    """The secret."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("a notification goes to an http:// or https:// URL")


class PushSender:
    """Knows the refs of a repository, and sends what changed since its last run. It tries once, as GitHub does."""

    def __init__(self, repository: Path, name: str) -> None:
        """`name` is OWNER/NAME, as the payload has it."""
        self.statuses: deque[int | None] = deque(maxlen=100)
        self._repository = repository
        self._name = name
        self._lock = threading.Lock()
        self._known_refs = self._read_repository_refs()
        self._executor = ThreadPoolExecutor(1, "git-push-webhook")

    def announce_pushes(self, notify: PushNotification | None) -> None:
        """Read the refs again, and send the differences in the background, in order."""
        with self._lock:
            before, self._known_refs = self._known_refs, self._read_repository_refs()
            after = self._known_refs
            for ref in sorted(before.keys() | after.keys()) if notify else ():
                old, new = before.get(ref, _ZERO_REVISION), after.get(ref, _ZERO_REVISION)
                if old != new and notify:
                    self._executor.submit(self._send_webhook, notify, ref, old, new)

    def close(self) -> None:
        """Wait for what is being sent."""
        self._executor.shutdown()

    def _send_webhook(self, notify: PushNotification, ref: str, old: str, new: str) -> None:
        try:
            self.statuses.append(_post_signed_webhook(notify, self._build_push_payload(ref, old, new)))
        except (OSError, subprocess.CalledProcessError) as error:
            self.statuses.append(None)
            log.warning("the push of %s was not announced: %s", ref, type(error).__name__)

    def _build_push_payload(self, ref: str, old: str, new: str) -> dict[str, Any]:
        created, deleted = old == _ZERO_REVISION, new == _ZERO_REVISION
        commits = [] if deleted else list(self._list_pushed_commits(new if created else f"{old}..{new}"))
        owner, _, short = self._name.partition("/")
        pusher = commits[-1]["author"] if commits else {"name": owner, "email": f"{owner}@localhost"}
        return {
            "ref": ref,
            "before": old,
            "after": new,
            "created": created,
            "deleted": deleted,
            "forced": not created
            and not deleted
            and self._run_in_repository("rev-list", "--max-count=1", f"{new}..{old}") != "",
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "repository": {"name": short, "full_name": self._name, "owner": {"login": owner}},
            "pusher": {"name": pusher["name"], "email": pusher["email"]},
            "sender": {"login": pusher["name"]},
        }

    def _list_pushed_commits(self, span: str) -> Iterator[dict[str, Any]]:
        """Yield the newest commits, oldest first."""
        form = "%H%x00%cI%x00%an%x00%ae%x00%s"
        text = self._run_in_repository("log", "--reverse", f"--max-count={_COMMIT_LIMIT}", f"--format={form}", span)
        for line in text.splitlines():
            revision, at, name, mail, subject = line.split("\0", 4)
            yield {"id": revision, "timestamp": at, "message": subject, "author": {"name": name, "email": mail}}

    def _read_repository_refs(self) -> dict[str, str]:
        lines = self._run_in_repository(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"
        ).splitlines()
        return {name: revision for name, _, revision in (line.partition(" ") for line in lines)}

    def _run_in_repository(self, *arguments: str) -> str:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        command = ["git", f"--git-dir={self._repository}", *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)  # noqa: S603
        return done.stdout.decode("utf-8", "replace").strip("\n")


def _post_signed_webhook(notify: PushNotification, payload: dict[str, Any]) -> int:
    """Send the signed payload, and return the status of the answer."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(notify.secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    request = Request(notify.url, data=body, headers=headers, method="POST")  # noqa: S310  # http or https, see above
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            return int(response.status)
    except HTTPError as error:
        error.close()
        return error.code


_CHUNK = 65_536
_STOP_SECONDS = 10.0


class GitHttpServer:
    """A bare repository under `folder`, served as `http://127.0.0.1:PORT/OWNER/NAME.git` while started.

    `token` is the password that fetches and pushes need, with any user name; None: no authentication. `notify` says where
    pushes are sent; it may be set or changed at any time.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "demo/registry",
        branch: str = "main",
        token: str | None = None,
        notify: PushNotification | None = None,
    ) -> None:
        """Create the repository where it does not exist; nothing is served before `start`."""
        self.name = name
        self.branch = branch
        self.path = folder / f"{name}.git"
        self.notify = notify
        self._folder = folder
        self._token = token
        self._port = 0
        self._server: Any = None
        self._channels: dict[int, Any] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._sender: PushSender | None = None
        if not (self.path / "HEAD").exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _run_git_command(self.path.parent, "init", "--quiet", "--bare", f"--initial-branch={branch}", str(self.path))
            _run_git_command(self.path, "config", "http.receivepack", "true")

    @property
    def url(self) -> str:
        """Return the address without credentials. It is known once started, and stays the same after a restart."""
        return f"http://127.0.0.1:{self._port}/{self.name}.git"

    @property
    def webhook_statuses(self) -> list[int | None]:
        """Return the answers' statuses to the last webhooks, oldest first; None: no answer."""
        return list(self._sender.statuses) if self._sender else []

    def start(self) -> Self:
        """Serve on the port of the last time, if there was one."""
        self._channels = {}
        self._server = self._create_listening_server()
        self._port = int(self._server.effective_port)
        self._sender = PushSender(self.path, self.name)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run_server_loop, name="git-remote", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Let running requests finish, then refuse connections, as in an outage. The repository stays."""
        server, self._server = self._server, None
        if server is None:
            return
        server.trigger.pull_trigger(lambda: wasyncore.dispatcher.close(server))
        server.task_dispatcher.shutdown(timeout=_STOP_SECONDS)
        self._stopping.set()
        server.trigger.pull_trigger()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        if server.task_dispatcher.threads:
            server.trigger.del_channel()  # stays open: a request that ends late writes to that descriptor
        wasyncore.close_all(self._channels, ignore_all=True)
        if self._sender is not None:
            self._sender.close()

    def _create_listening_server(self) -> Any:
        """Return a server on the port of the last time, or on a free one below those that the system hands out to clients.

        Otherwise any client could take the port during an outage.
        """
        ports = [self._port] if self._port else [*secrets.SystemRandom().sample(range(20_000, 32_000), 20), 0]
        for port in ports:
            try:
                return create_server(self._answer_git_request, map=self._channels, host="127.0.0.1", port=port, threads=8)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == ports[-1]:
                    raise
                wasyncore.close_all(self._channels, ignore_all=True)
        raise AssertionError("the last port returns or raises")

    def _run_server_loop(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1, use_poll=True, map=self._channels, count=1)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def commit_files(
        self, files: Mapping[str, bytes], message: str = "First commit", author: str = "Ada <ada@example.org>"
    ) -> str:
        """Commit the files on top of the branch without the server and without a webhook. Return the new revision."""
        head = (
            _run_git_command(self.path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{self.branch}").decode().strip()
        )
        text = message.encode()
        now = int(time.time())
        lines = [
            f"commit refs/heads/{self.branch}\nmark :1\nauthor {author} {now} +0000\ncommitter {author} {now} +0000\n".encode()
        ]
        lines.append(b"data %d\n%s\n" % (len(text), text))
        lines.append(f"from {head}\n".encode() if head else b"")
        for path, content in files.items():
            lines.append(f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n")
        stream = b"".join((*lines, b"\nget-mark :1\ndone\n"))
        revision = _run_git_command(self.path, "fast-import", "--quiet", "--done", stdin=stream).decode().strip()
        if self._sender is not None:
            self._sender.announce_pushes(None)
        return revision

    def _answer_git_request(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes] | list[bytes]:
        """Answer as the WSGI application."""
        user = self._authenticate_user(environ.get("HTTP_AUTHORIZATION", ""))
        if user is None:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Length", "0")])
            return []
        process = self._start_git_backend(environ, user)
        feeder = threading.Thread(target=_feed_request_body, args=(environ["wsgi.input"], process.stdin), daemon=True)
        feeder.start()
        assert process.stdout is not None  # noqa: S101  # the pipe was asked for
        status, headers = _parse_cgi_headers(process.stdout)
        start_response(status, headers)
        pushes = environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"].endswith("/git-receive-pack")
        return self._stream_response(process, feeder, pushes=pushes)

    def _stream_response(self, process: subprocess.Popen[bytes], feeder: threading.Thread, *, pushes: bool) -> Iterator[bytes]:
        """Yield the body as it comes; afterwards, send webhooks for what a push changed."""
        assert process.stdout is not None  # noqa: S101  # the pipe was asked for
        try:
            while chunk := process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]  # a BufferedReader, typed as IO
                yield chunk
        finally:
            process.stdout.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            feeder.join(_STOP_SECONDS)
            if pushes and self._sender is not None:
                self._sender.announce_pushes(self.notify)

    def _authenticate_user(self, authorization: str) -> str | None:
        """Return who asks; None where nobody may."""
        kind, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded if kind.lower() == "basic" else "").decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if self._token is not None and not hmac.compare_digest(password.encode(), self._token.encode()):
            return None
        return user or "anonymous"

    def _start_git_backend(self, environ: WSGIEnvironment, user: str) -> subprocess.Popen[bytes]:
        passed = (
            "REQUEST_METHOD",
            "PATH_INFO",
            "QUERY_STRING",
            "CONTENT_TYPE",
            "CONTENT_LENGTH",
            "REMOTE_ADDR",
            "SERVER_PROTOCOL",
        )
        variables = {name: environ[name] for name in passed if environ.get(name)} | _GIT_ENVIRONMENT
        variables |= {"GIT_PROJECT_ROOT": str(self._folder), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": user}
        variables |= {name: environ[name] for name in ("HTTP_CONTENT_ENCODING",) if name in environ}
        if "HTTP_GIT_PROTOCOL" in environ:
            variables["GIT_PROTOCOL"] = environ["HTTP_GIT_PROTOCOL"]
        return subprocess.Popen(  # noqa: S603  # git's own program, no shell
            [_find_backend_program()], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )


_GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "LC_ALL": "C",
}


def _run_git_command(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in the folder, and return its output. Raises `CalledProcessError`."""
    return subprocess.run(  # noqa: S603  # a fixed argument list, no shell
        ["git", *arguments],  # noqa: S607  # the git of the PATH
        cwd=folder,
        env=_GIT_ENVIRONMENT,
        input=stdin,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


@functools.cache
def _find_backend_program() -> str:
    folder = _run_git_command(Path.cwd(), "--exec-path").decode().strip()
    return f"{folder}/git-http-backend"


def _feed_request_body(body: IO[bytes], stdin: IO[bytes] | None) -> None:
    """Write the request's body to the program, while its answer is read elsewhere."""
    assert stdin is not None  # noqa: S101  # the pipe was asked for
    try:
        while chunk := body.read(_CHUNK):
            stdin.write(chunk)
        stdin.close()
    except (BrokenPipeError, ValueError):
        return  # the program has heard enough


def _parse_cgi_headers(output: IO[bytes]) -> tuple[str, list[tuple[str, str]]]:
    """Return status and headers as a CGI program writes them."""
    status = "200 OK"
    headers: list[tuple[str, str]] = []
    for line in iter(output.readline, b""):
        name, _, value = line.decode("latin-1").strip().partition(":")
        if not name:
            return status, headers
        if name.lower() == "status":
            status = value.strip()
        else:
            headers.append((name, value.strip()))
    return "500 Internal Server Error", []
