"""What MLflow and the ledger of the demo stand on: files on a laptop, or PostgreSQL and an object store as in production."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from promoter.demo.servers.mlflow import MlflowServer

if TYPE_CHECKING:
    from promoter.demo.servers.object_store import ObjectStoreServer
    from promoter.demo.servers.postgres import PostgresServer


class DemoTopology(Protocol):
    """The servers below Promoter. Secrets of theirs are in `secret_texts`, so that no message shows them."""

    name: str
    """What they are, for a progress line."""

    @property
    def mlflow(self) -> MlflowServer:
        """Return the MLflow server, once `start_servers` was called."""

    @property
    def database_url(self) -> str:
        """Return the address of the ledger, with its password."""

    @property
    def client_variables(self) -> Mapping[str, str]:
        """Return the variables that whoever reads or writes models needs."""

    @property
    def secret_texts(self) -> Sequence[str]:
        """Return what must not be printed."""

    @property
    def descriptions(self) -> Sequence[str]:
        """Return a line about each server."""

    @property
    def log_files(self) -> Mapping[str, Path]:
        """Return the log file of each server."""

    @property
    def is_running(self) -> bool:
        """Return whether every server is alive."""

    def start_servers(self, cleanup: ExitStack, now: Callable[[str], None]) -> None:
        """Start everything. `cleanup` stops it; `now` is called with what is being started."""

    def remove_folder(self) -> None:
        """Delete what lies outside the demo's folder."""


class LaptopTopology:
    """MLflow on SQLite with its artifacts in a folder, the ledger on SQLite."""

    name = "an MLflow server on SQLite"
    client_variables: Mapping[str, str] = {}
    secret_texts: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self.mlflow = MlflowServer(folder / "mlflow")
        self.database_url = f"sqlite:///{folder / 'promoter.db'}"

    @property
    def descriptions(self) -> Sequence[str]:
        """Return a line about the server."""
        return [f"MLflow on SQLite, with artifacts in a folder, at {self.mlflow.uri}"]

    @property
    def log_files(self) -> Mapping[str, Path]:
        """Return the server's log file."""
        return {"MLflow": self.mlflow.log_file}

    @property
    def is_running(self) -> bool:
        """Return whether the server is alive."""
        return self.mlflow.is_running

    def start_servers(self, cleanup: ExitStack, now: Callable[[str], None]) -> None:
        """Start the MLflow server."""
        now("starting the MLflow server")
        cleanup.callback(self.mlflow.stop)
        self.mlflow.start()

    def remove_folder(self) -> None:
        """Delete nothing: all lies in the demo's folder."""


class ProductionTopology:
    """MLflow on PostgreSQL with its artifacts on S3, the ledger on PostgreSQL."""

    name = "PostgreSQL, an object store and an MLflow server"

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self.database_url = ""
        self._folder = folder
        self._mlflow_database_url = ""
        self._mlflow: MlflowServer | None = None

    @cached_property
    def _postgres(self) -> PostgresServer:
        from promoter.demo.servers.postgres import PostgresServer

        # A folder of its own: where root plays the demo, another user runs the server, who has no business in the demo's.
        folder = Path(tempfile.mkdtemp(prefix="promoter-demo-postgres-"))
        folder.chmod(0o711)
        return PostgresServer(folder)

    @cached_property
    def _store(self) -> ObjectStoreServer:
        from promoter.demo.servers.object_store import ObjectStoreServer

        return ObjectStoreServer(self._folder)

    @property
    def mlflow(self) -> MlflowServer:
        """Return the MLflow server, once `start_servers` was called."""
        if self._mlflow is None:
            raise RuntimeError("the MLflow server needs a database and a bucket first")
        return self._mlflow

    @property
    def client_variables(self) -> Mapping[str, str]:
        """Return the address and the keys of the object store."""
        return self._store.environment

    @property
    def secret_texts(self) -> Sequence[str]:
        """Return the passwords and the secret key."""
        addresses = [url for url in (self.database_url, self._mlflow_database_url) if url]
        passwords = [url.partition("@")[0].rpartition(":")[2] for url in addresses]
        return [*passwords, self._postgres.superuser_password, self._store.secret_key]

    @property
    def descriptions(self) -> Sequence[str]:
        """Return a line about each server, without credentials."""
        return [
            f"MLflow on PostgreSQL with S3, at {self.mlflow.uri}",
            f"PostgreSQL at 127.0.0.1:{self._postgres.port}, with the databases mlflow and promoter (the ledger)",
            f"S3 (moto) at {self._store.url}, with the bucket {self._store.bucket}",
        ]

    @property
    def log_files(self) -> Mapping[str, Path]:
        """Return the log file of each server."""
        mlflow = {"MLflow": self._mlflow.log_file} if self._mlflow else {}
        return {**mlflow, "PostgreSQL": self._postgres.log_file, "S3": self._store.log_file}

    @property
    def is_running(self) -> bool:
        """Return whether every server is alive."""
        return self.mlflow.is_running and self._postgres.is_running and self._store.is_running

    def start_servers(self, cleanup: ExitStack, now: Callable[[str], None]) -> None:
        """Start the object store, PostgreSQL with its two databases, and MLflow on both."""
        now("starting PostgreSQL and the object store")
        cleanup.callback(self._store.stop)
        self._store.start()
        cleanup.callback(self._postgres.stop)
        self._postgres.create_cluster()
        self._postgres.start()
        self.database_url = self._postgres.create_database("promoter")
        self._mlflow_database_url = self._postgres.create_database("mlflow")
        self._mlflow = MlflowServer(
            self._folder / "mlflow",
            backend_store_uri=self._mlflow_database_url,
            artifact_root=f"{self._store.create_bucket()}/artifacts",
            variables=self.client_variables,
        )
        now("starting the MLflow server, which makes its tables in PostgreSQL")
        cleanup.callback(self.mlflow.stop)
        self.mlflow.start()

    def remove_folder(self) -> None:
        """Delete PostgreSQL's folder."""
        shutil.rmtree(self._postgres.folder, ignore_errors=True)
