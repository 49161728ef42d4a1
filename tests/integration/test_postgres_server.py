"""The server that the tests use: it leaves nothing behind, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from promoter.demo.servers.postgres import PostgresServer
from tests.support.fixtures.postgres import SharedPostgres, reap

pytestmark = pytest.mark.slow

CHILD = """
import sys
from promoter.demo.servers.postgres import PostgresServer
from tests.support.fixtures.postgres import SharedPostgres
server = SharedPostgres()
print(server.folder, flush=True)
sys.stdin.read()
"""


def test_a_server_ends_with_the_tests_that_are_killed_and_the_next_ones_remove_its_data(
    postgres_server: SharedPostgres,
) -> None:
    """And not that of tests that are still there."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CHILD]
    child = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        folder = Path(child.stdout.readline().strip())
        server = psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))
        assert str(folder / "data") in server.cmdline()
        reap()
        assert server.is_running()
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    if sys.platform != "linux":
        reap()
    assert psutil.wait_procs([server], timeout=30)[1] == []
    reap()
    assert not folder.exists()
    assert postgres_server.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user runs the server only where root starts it")
def test_a_folder_that_its_user_cannot_enter_is_named(tmp_path: Path) -> None:
    """And what to do, before anything is made in it."""
    tmp_path.chmod(0o700)
    with pytest.raises(RuntimeError, match=f"cannot enter {tmp_path}.*TMPDIR"):
        PostgresServer(tmp_path).create_cluster()
    assert list(tmp_path.iterdir()) == []
