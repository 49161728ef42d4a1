"""An object store that speaks S3 as a child process: moto's server, which keeps everything in memory."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from promoter.demo.servers.mlflow import HOST, find_free_port
from promoter.demo.servers.processes import delay_interrupts, stop_child

_POLL_SECONDS = 0.1
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LOG_LINES_SHOWN = 20


class ObjectStoreServer:
    """A store with one bucket, and its log in one folder."""

    bucket = "mlflow"

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self.folder = folder
        self.url = f"http://{HOST}:{find_free_port()}"
        self.secret_key = secrets.token_hex(20)
        self._access_key = secrets.token_hex(10).upper()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables with which MLflow's clients reach it. No file and no service of the machine adds to them."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @property
    def log_file(self) -> Path:
        """Return the file with the server's output."""
        return self.folder / "object-store.log"

    @property
    def is_running(self) -> bool:
        """Return whether the process that was started is alive."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start. It needs some seconds: `create_bucket` waits for it."""
        port = self.url.rpartition(":")[2]
        with self.log_file.open("ab") as log, delay_interrupts():
            self._child = subprocess.Popen(  # noqa: S603  # a fixed program, its arguments ours
                [sys.executable, "-m", "moto.server", "--host", HOST, "--port", port],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt is for whoever started it, who stops it then
            )

    def create_bucket(self) -> str:
        """Wait until the store answers, and create the bucket. Return its address.

        Raises `RuntimeError` with the end of the log where the store does not answer.
        """
        import boto3

        self._await_answer(time.monotonic() + _START_SECONDS)
        keys = {"aws_access_key_id": self._access_key, "aws_secret_access_key": self.secret_key, "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=self.url, **keys).create_bucket(Bucket=self.bucket)
        return f"s3://{self.bucket}"

    def stop(self) -> None:
        """Stop the server; what it holds is gone."""
        if self._child is not None:
            stop_child(self._child, _STOP_SECONDS)
            self._child = None

    def _await_answer(self, deadline: float) -> None:
        while not self._is_answering():
            if not self.is_running or time.monotonic() > deadline:
                ending = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
                raise RuntimeError(f"the object store does not start; its log ends with:\n{ending}")
            time.sleep(_POLL_SECONDS)

    def _is_answering(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2):  # noqa: S310  # the scheme is ours
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
