"""Other ways to a remote than HTTP: a path, a checked-out repository, ssh; and one that never answers."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import PermanentError, TransientError
from tests.support.fixtures.git import FIRST_FILES, git


@pytest.mark.parametrize("form", ["{}", "file://{}", "relative"])
def test_path_to_a_bare_repository(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, absolute or relative, or a file:// URL is a remote like any other."""
    remote = GitHttpServer(tmp_path / "with space")
    remote.commit_files(FIRST_FILES)
    monkeypatch.chdir(remote.path.parent)
    repository = GitRepository(remote.path.name if form == "relative" else form.format(remote.path), "main", tmp_path / "m")
    base = repository.fetch_branch()
    new = repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert (new, repository.read_sources(new)["registry.yaml"]) == (repository.fetch_branch(), b"ours\n")


def test_path_of_another_owner(tmp_path: Path) -> None:
    """A path that the user named is trusted, whoever owns it."""
    if os.geteuid() != 0:
        tmp_path = tmp_path.resolve()  # only root can give files away; for others this is the plain case
    remote = GitHttpServer(tmp_path / "remote")
    remote.commit_files(FIRST_FILES)
    if os.geteuid() == 0:
        for place in (remote.path, *remote.path.rglob("*")):
            os.chown(place, 65534, 65534)
    repository = GitRepository(str(remote.path), "main", tmp_path / "m")
    assert repository.commit_file(repository.fetch_branch(), "registry.yaml", b"ours\n", "Ours") == repository.fetch_branch()


def test_checked_out_branch_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """A branch that somebody stands on is read but not pushed to, until its owner allows it as the message says."""
    clone = tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(clone))
    (clone / "registry.yaml").write_text("version: 1\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "First")
    repository = GitRepository(str(clone), "main", tmp_path / "m")
    base = repository.fetch_branch()
    with pytest.raises(PermanentError, match="checked out there") as caught:
        repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert "receive.denyCurrentBranch updateInstead" in (caught.value.fix or "")
    git(clone, "config", "receive.denyCurrentBranch", "updateInstead")
    repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert (clone / "registry.yaml").read_text() == "ours\n"


@pytest.mark.parametrize("form", ["git@example.org:{}", "ssh://git@example.org{}"])
def test_ssh(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of an ssh address work, through the command that the user set, which gets host and command and no more."""
    remote = GitHttpServer(tmp_path / "remote")
    remote.commit_files(FIRST_FILES)
    program, record = _ssh(tmp_path), tmp_path / "record"
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    repository = GitRepository(form.format(remote.path), "main", tmp_path / "m")
    base = repository.fetch_branch()
    assert repository.commit_file(base, "registry.yaml", b"ours\n", "Ours") == repository.fetch_branch()
    assert f"git@example.org git-receive-pack '{remote.path}'" in record.read_text()


def test_ssh_failures_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not accepted and an unknown host key are for a person to mend; a host that is away is not."""
    cases = {
        "git@h: Permission denied (publickey).": PermanentError,
        "Host key verification failed.": PermanentError,
        "ssh: connect to host h port 22: Connection refused": TransientError,
        "ssh: Could not resolve hostname h: Name or service not known": TransientError,
    }
    for stderr, kind in cases.items():
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\necho '{stderr}' >&2\nexit 255\n")
        program.chmod(0o755)
        monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
        with pytest.raises(kind):
            GitRepository("git@h:x.git", "main", tmp_path / "m").fetch_branch()


def test_longer_object_ids(tmp_path: Path) -> None:
    """A repository with SHA-256 object ids is mirrored with the same."""
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", "remote/demo/registry.git")
    remote = GitHttpServer(tmp_path / "remote")
    remote.commit_files(FIRST_FILES)
    repository = GitRepository(str(remote.path), "main", tmp_path / "m")
    base = repository.fetch_branch()
    assert len(base) == 64
    assert repository.commit_file(base, "registry.yaml", FIRST_FILES["registry.yaml"], "Same") == base
    assert repository.commit_file(base, "registry.yaml", b"ours\n", "Ours") == repository.fetch_branch()


def test_silent_remote_ends(tmp_path: Path) -> None:
    """A remote that accepts connections and says nothing is given up on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.git"
        with pytest.raises(TransientError, match="no answer within"):
            GitRepository(url, "main", tmp_path / "m", timeout=0.5).fetch_branch()


def test_silent_transport_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a git that is given up on go the programs that it started."""
    alive, program = tmp_path / "alive", tmp_path / "ssh"
    os.mkfifo(alive)
    program.write_text(f'#!/bin/sh\n[ "$1" = -G ] && exit 1\nexec 3> {alive}\nexec sleep 30\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(TransientError, match="no answer within"):
            GitRepository("git@h:x.git", "main", tmp_path / "m", timeout=1).fetch_branch()
        assert select.select([reader], [], [], 10)[0], "the transport still runs"
    finally:
        os.close(reader)


def test_git_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a git command the message says so, and what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PermanentError, match="git command was not found"):
        GitRepository(str(tmp_path / "x.git"), "main", tmp_path / "m").fetch_branch()


def _ssh(folder: Path) -> Path:
    """A stand-in for ssh that runs the command on this machine: options, host, command are what git passes."""
    program = folder / "ssh-here"
    program.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ]; do case "$1" in -G) exit 1;; -o|-p) shift;; esac; shift; done\n'
        f'echo "$*" >> {folder}/record\n'
        'shift; exec sh -c "$*"\n'
    )
    program.chmod(0o755)
    return program


def test_a_remote_that_stops_leaves_a_late_request_what_it_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes the server when it ends at last, and must not write to whatever else got that descriptor meanwhile."""
    entered, leave = threading.Event(), threading.Event()

    def answer(_environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        assert leave.wait(20)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    monkeypatch.setattr("promoter.demo.servers.git._STOP_SECONDS", 0.1)
    remote = GitHttpServer(tmp_path / "remote")
    monkeypatch.setattr(remote, "_answer_git_request", answer)
    remote.start()
    server = remote._server
    with socket.create_connection(("127.0.0.1", server.effective_port), timeout=10) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        remote.stop()
        os.fstat(server.trigger.trigger)
        leave.set()
    deadline = time.monotonic() + 10
    while server.task_dispatcher.threads:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.trigger.close()
