"""The mirror is a cache: killed while it is made, damaged, locked or lost, it comes back by itself."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import TransientError
from tests.support.fixtures.git import FIRST_FILES, GIT_TOKEN, Colleague, git

_FETCH = """
import sys
from pathlib import Path
from promoter.adapters.git.repository import GitRepository
GitRepository(sys.argv[1], "main", Path(sys.argv[2])).fetch_branch()
"""


def test_killed_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed in the middle of the first fetch leaves no mirror, and nothing that stops the next one."""
    remote = GitHttpServer(tmp_path / "remote")
    remote.commit_files(FIRST_FILES)
    stalled = _stalling_ssh(tmp_path)
    cache = tmp_path / "cache" / "m"
    environment = os.environ | {"GIT_SSH_COMMAND": str(tmp_path / "ssh")}
    process = subprocess.Popen([sys.executable, "-c", _FETCH, f"h:{remote.path}", str(cache)], env=environment)
    try:
        deadline = time.monotonic() + 30
        while not stalled.exists() or not stalled.read_text().strip():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not cache.exists()
        assert list(cache.parent.glob(".m.new-*"))
    finally:
        process.kill()
        process.wait()
        if stalled.exists():
            os.kill(int(stalled.read_text()), signal.SIGKILL)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(tmp_path / "ssh"))
    repository = GitRepository(f"h:{remote.path}", "main", cache)
    assert repository.read_sources(repository.fetch_branch()) == FIRST_FILES
    assert not list(cache.parent.glob(".m.new-*"))


def _emptied(mirror: Path) -> None:
    shutil.rmtree(mirror)
    mirror.mkdir()


def _headless(mirror: Path) -> None:
    (mirror / "HEAD").write_text("")


def _without_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")


def _zeroed_ref(mirror: Path) -> None:
    (mirror / "refs" / "heads" / "main").write_text("\0" * 41)


def _locked_ref(mirror: Path) -> None:
    (mirror / "refs" / "heads" / "main.lock").write_text("")


def _a_file(mirror: Path) -> None:
    shutil.rmtree(mirror)
    mirror.write_text("no folder")


@pytest.mark.parametrize("damage", [shutil.rmtree, _emptied, _headless, _without_objects, _zeroed_ref, _locked_ref, _a_file])
def test_damage_is_mended(
    damage: Callable[[Path], None], git_repository: GitRepository, colleague: Colleague, tmp_path: Path
) -> None:
    """Whatever a crash or a full disk left in the mirror, the next fetch of something new brings a whole one."""
    git_repository.fetch_branch()
    head = colleague.push({"registry.yaml": b"new\n"})
    damage(tmp_path / "cache" / "mirror")
    assert git_repository.fetch_branch() == head
    assert git_repository.read_sources(head)["registry.yaml"] == b"new\n"
    assert not list((tmp_path / "cache").glob(".mirror.new-*"))


def test_damage_found_while_reading(git_repository: GitRepository, tmp_path: Path) -> None:
    """A file's object that is lost makes the read worth another try, and the next fetch mends it, though nothing is new."""
    head = git_repository.fetch_branch()
    mirror = tmp_path / "cache" / "mirror"
    lost = git(mirror, "rev-parse", f"{head}:registry.yaml")
    (mirror / "objects" / lost[:2] / lost[2:]).unlink()
    with pytest.raises(TransientError, match="damaged"):
        git_repository.read_sources(head)
    assert git_repository.fetch_branch() == head
    assert git_repository.read_sources(head) == FIRST_FILES


def test_another_process_holds_the_mirror(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """A mirror in use by another process is waited for, not for ever."""
    repository = GitRepository(git_remote.url, "main", tmp_path / "cache" / "m", SecretStr(GIT_TOKEN), timeout=0.2)
    (tmp_path / "cache").mkdir()
    with (tmp_path / "cache" / ".m.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="another process"):
            repository.fetch_branch()


def test_one_mirror_moves_to_another_remote(git_repository: GitRepository, tmp_path: Path) -> None:
    """A mirror that was another repository's serves the new one."""
    git_repository.fetch_branch()
    other = GitHttpServer(tmp_path / "other")
    head = other.commit_files({"registry.yaml": b"other\n"})
    repository = GitRepository(str(other.path), "main", tmp_path / "cache" / "mirror")
    assert repository.fetch_branch() == head
    assert repository.read_sources(head) == {"registry.yaml": b"other\n"}


def _stalling_ssh(folder: Path) -> Path:
    """An ssh that runs commands here, but hangs in the second, whose pid it leaves in the returned file."""
    stalled = folder / "stalled"
    program = folder / "ssh"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -G ] && exit 1\n'
        'while [ "${1#-}" != "$1" ]; do shift 2; done\n'
        f"echo x >> {folder}/calls\n"
        f"if [ $(wc -l < {folder}/calls) -eq 2 ]; then echo $$ > {stalled}; exec sleep 60; fi\n"
        'shift; exec sh -c "$*"\n'
    )
    program.chmod(0o755)
    return stalled


def test_what_is_in_the_mirror_is_read_without_the_remote(
    git_repository: GitRepository, git_remote: GitHttpServer, tmp_path: Path
) -> None:
    """A daemon that starts while the remote is gone still has the revision that was in force."""
    head = git_repository.fetch_branch()
    git_remote.stop()
    restarted = GitRepository(git_remote.url, "main", tmp_path / "cache" / "mirror", SecretStr(GIT_TOKEN), timeout=20)
    with pytest.raises(TransientError):
        restarted.fetch_branch()
    assert restarted.read_sources(head) == FIRST_FILES
