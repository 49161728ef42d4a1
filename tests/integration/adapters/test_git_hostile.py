"""What must not happen: programs run by addresses, names or configuration; credentials in texts; links followed."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.command import GitReply, convert_command_failure
from promoter.adapters.git.remote import parse_remote_address
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import ExternalError, PermanentError
from tests.support.fixtures.git import FIRST_FILES, GIT_TOKEN, Colleague


@pytest.mark.parametrize(
    "url",
    [
        "",
        "--upload-pack=touch MARK",
        "-u",
        "ext::sh -c 'touch MARK'",
        "EXT::sh -c touch% MARK",
        "fd::7",
        "git://localhost/x.git",
        "ftp://localhost/x.git",
        "ssh://-oProxyCommand=touch MARK/x.git",
        "ssh://-oProxyCommand=x@host/x.git",
        "-oProxyCommand=touch:x.git",
        "host:-oProxyCommand=touch",
        "http://-x/y.git",
        "http:///y.git",
        "http://host:port/y.git",
        "https://host/x.git\nhttp.proxy=http://evil",
    ],
)
def test_hostile_addresses_are_refused(url: str, tmp_path: Path) -> None:
    """An address that is an option, a program or another transport is refused, and nothing is run or made."""
    mark = tmp_path / "mark"
    with pytest.raises(PermanentError):
        GitRepository(url.replace("MARK", str(mark)), "main", tmp_path / "cache" / "m").fetch_branch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "branch", ["", "--upload-pack=x", "a..b", "a b", "x:refs/heads/y", "a*", "a\n", ".a", "a.lock", "a/", "@{1}"]
)
def test_hostile_branches_are_refused(branch: str, git_remote: GitHttpServer, tmp_path: Path) -> None:
    """What git would not take as a branch, or would take as something else, is refused before git sees it."""
    with pytest.raises(PermanentError, match="not a branch name"):
        GitRepository(git_remote.url, branch, tmp_path / "m")


def test_hostile_revisions_and_paths_are_refused(git_repository: GitRepository) -> None:
    """Revisions are full object ids, and paths stay inside the repository."""
    base = git_repository.fetch_branch()
    for revision in ("HEAD", "main", base[:12], f"{base}^", "--all", f"{base}\n"):
        with pytest.raises(PermanentError, match="full commit id"):
            git_repository.read_sources(revision)
        with pytest.raises(PermanentError, match="full commit id"):
            git_repository.list_commits(None, revision, "registry.yaml")
    for path in ("", "/etc/passwd", "../x", "a/../b", "a\nb", '"x'):
        with pytest.raises(PermanentError, match="not the path"):
            git_repository.commit_file(base, path, b"x", "x")


def test_no_configuration_runs_a_program(
    git_remote: GitHttpServer,
    git_repository: GitRepository,
    colleague: Colleague,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hooks, helpers and rewrites in the mirror, in the user's configuration and in a calling git's variables do nothing."""
    git_repository.fetch_branch()
    mark, script = tmp_path / "mark", tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho ran >> {mark}\n")
    script.chmod(0o755)
    hooks = tmp_path / "cache" / "mirror" / "hooks"
    hooks.mkdir()
    for name in (
        "reference-transaction",
        "pre-push",
        "post-update",
        "pre-auto-gc",
        "post-rewrite",
        "pre-commit",
        "post-commit",
    ):
        (hooks / name).symlink_to(script)
    hostile = f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {script}\n[credential]\n\thelper = {script}\n"
    with (tmp_path / "cache" / "mirror" / "config").open("a") as config:
        config.write(hostile)
    (tmp_path / ".gitconfig").write_text(hostile + '[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://127.0.0.1\n')
    colleague.push({"registry.yaml": b"theirs\n"})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_ASKPASS", str(script))
    monkeypatch.setenv("GIT_DIR", str(colleague.folder / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    new = git_repository.commit_file(git_repository.fetch_branch(), "registry.yaml", b"ours\n", "Ours")
    assert git_repository.read_sources(new)["registry.yaml"] == b"ours\n"
    with pytest.raises(PermanentError, match="credentials"):
        GitRepository(git_remote.url, "main", tmp_path / "cache" / "mirror").commit_file(
            new, "registry.yaml", b"more\n", "No token"
        )
    assert not mark.exists()


def test_links_are_not_followed(git_repository: GitRepository, colleague: Colleague, tmp_path: Path) -> None:
    """A symlinked registry.yaml or policy is told as a link, and never read, whatever it points at."""
    (tmp_path / "secret.yaml").write_text("secret")
    (colleague.folder / "registry.yaml").unlink()
    (colleague.folder / "registry.yaml").symlink_to(tmp_path / "secret.yaml")
    (colleague.folder / "policies" / "link.yaml").symlink_to("champion.yaml")
    head = colleague.push({})
    git_repository.fetch_branch()
    found = git_repository.read_sources(head)
    assert {path: each for path, each in found.items() if isinstance(each, bytes)} == {
        "policies/champion.yaml": FIRST_FILES["policies/champion.yaml"]
    }
    assert "secret" not in str(found)


def test_wrong_token_is_refused_without_showing_it(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """A wrong or missing token is refused, and no credential is in a text, in the mirror or among a program's arguments."""
    address = git_remote.url.replace("http://", "http://alice:pass-word-1@")
    for url, token in ((git_remote.url, "wrong-token-1"), (address, None), (address, "wrong-token-1"), (git_remote.url, None)):
        repository = GitRepository(url, "main", tmp_path / "cache" / "m", SecretStr(token) if token else None)
        with pytest.raises(PermanentError, match="credentials") as caught:
            repository.fetch_branch()
        shown = f"{caught.value!r} {caught.value.fix} {repository!r} {vars(repository)} {caught.value.__cause__!r}"
        assert "wrong-token-1" not in shown
        assert "pass-word-1" not in shown
    written = b"".join(file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file())
    assert b"pass-word-1" not in written


def test_credentials_in_the_url_are_used(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """user:password in a URL opens the remote, and so does a token alone in the place of the user; the token wins over both."""
    for number, user in enumerate((f"alice:{GIT_TOKEN}", GIT_TOKEN)):
        url = git_remote.url.replace("http://", f"http://{user}@")
        assert GitRepository(url, "main", tmp_path / f"m{number}").fetch_branch()
    wrong = git_remote.url.replace("http://", "http://alice:wrong@")
    assert GitRepository(wrong, "main", tmp_path / "m2", SecretStr(GIT_TOKEN)).fetch_branch()


def test_texts_are_redacted() -> None:
    """Whatever git or a proxy echoes: no password, no header, one line, no control characters, at most 300 characters."""
    remote = parse_remote_address("https://al%40ice:p%40ss-word@git.example.org/x.git")
    header = base64.b64encode(b"al@ice:p@ss-word").decode()
    stderr = (
        f"odd: https://al%40ice:p%40ss-word@git.example.org/x.git\nAuthorization: Basic {header}\x1b[31m p@ss-word " + "x" * 900
    )
    message = convert_command_failure("fetch", GitReply(1, b"", stderr), remote).message
    assert not any(secret in message for secret in ("p%40ss", "p@ss", header, "\n", "\x1b"))
    assert len(message) <= 300
    assert remote.url == "https://git.example.org/x.git"


def test_redirects_get_no_credentials(tmp_path: Path) -> None:
    """A remote that redirects to another host is refused, and that host sees no request at all."""
    with _web() as (elsewhere, seen_elsewhere), _web(redirect=elsewhere) as (remote, seen):
        with pytest.raises(PermanentError, match="redirects"):
            GitRepository(f"{remote}/x.git", "main", tmp_path / "m", SecretStr(GIT_TOKEN)).fetch_branch()
        assert any(header.startswith("Basic ") for header in seen)
        assert seen_elsewhere == []


def test_token_stays_with_its_host(git_remote: GitHttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is in no argument list and no environment of ours, only in that of the git that talks to its host."""
    repository = GitRepository(git_remote.url, "main", tmp_path / "m", SecretStr(GIT_TOKEN))
    shim, record = tmp_path / "bin" / "git", tmp_path / "arguments"
    shim.parent.mkdir()
    real = next(f"{folder}/git" for folder in os.environ["PATH"].split(":") if Path(folder, "git").exists())
    shim.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {record}\nexec {real} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    repository.commit_file(repository.fetch_branch(), "registry.yaml", b"ours\n", "Ours")
    arguments = record.read_text()
    assert "ls-remote" in arguments
    assert "push" in arguments
    assert GIT_TOKEN not in arguments
    assert base64.b64encode(f"x-access-token:{GIT_TOKEN}".encode()).decode() not in arguments


def test_errors_name_their_kind(tmp_path: Path) -> None:
    """A web server that fails is worth another try; one that forbids is not."""
    for status, word in ((503, "TransientError"), (429, "TransientError"), (403, "PermanentError"), (404, "PermanentError")):
        with _web(status=status) as (remote, _), pytest.raises(ExternalError) as caught:
            GitRepository(f"{remote}/x.git", "main", tmp_path / "m").fetch_branch()
        assert type(caught.value).__name__ == word


@contextmanager
def _web(status: int = 404, redirect: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """A web server that is no git server; its address, and the Authorization headers that it gets."""
    seen: list[str] = []

    class HostileAnswer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(302 if redirect else status)
            if redirect:
                self.send_header("Location", f"{redirect}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), HostileAnswer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
