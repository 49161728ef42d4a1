"""Both model servers of the tabular example behind one daemon, under load, while Promoter moves the alias."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.stage.seeding import make_logged_version
from tests.support.stage.serving_example import EXAMPLE, SECRET, SUPERVISED, Example, RequestStream, save_line
from tests.support.stage.stage import Daemon, Stage, until

BETTER = b"version: 1\ncandidates: {from: any, rank: {metric: auc, order: highest}}\nrules: [{metric: auc, beats: champion}]\n"
THREADS, PAUSE_SECONDS = 4, 0.2
"""Four requests each 0.2 s: 20 a second, less the time that an answer takes."""


class ServingLoad:
    """`serve.py` and `supervise.py` for one alias, each with a stream of requests, and a daemon that sends both each move."""

    def __init__(self, stage: Stage, model: str, folder: Path, slopes: Mapping[int, float]) -> None:
        """Make the versions, the first of which is the champion. Each has a better `auc` than the one before."""
        self.stage, self.model, self._folder, self.slopes = stage, model, folder, slopes
        self._stack = ExitStack()
        self.moved: list[tuple[float, int]] = []
        """When the alias moved, in seconds of the system's clock, and to which version."""
        for number, slope in slopes.items():
            line = save_line(folder / f"line-{number}", slope)
            make_logged_version(stage.client, model, [("auc", 0.5 + number / 100, 0, None)], folder=line)
        stage.client.set_registered_model_alias(model, "champion", "1")

    def __enter__(self) -> Self:
        """Start the servers, the daemon and the streams."""
        self.servers: dict[str, Example] = {}
        for script in (EXAMPLE, SUPERVISED):
            (self._folder / script.stem).mkdir()
            server = Example(self._folder / script.stem, self.stage.tracking_uri, self.model, script=script)
            self.servers[script.stem] = self._stack.enter_context(server)
        for server in self.servers.values():
            server.until_version(1)
        self.daemon = self._start_daemon()
        self.streams = {
            name: self._stack.enter_context(RequestStream(server, self.slopes, THREADS, PAUSE_SECONDS))
            for name, server in self.servers.items()
        }
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End them all."""
        self._stack.close()

    def _start_daemon(self) -> Daemon:
        channels = [
            {"name": name, "url": f"http://127.0.0.1:{server.port}/events", "secret": SECRET, "networks": ["127.0.0.1/32"]}
            | {"events": ["changed"]}
            for name, server in self.servers.items()
        ]
        self.stage.commit(f"{self.model}: {{aliases: {{champion: 1}}}}")
        daemon = self.stage.daemon(PROMOTER_NOTIFICATIONS=json.dumps(channels))
        self._stack.callback(daemon.kill)
        daemon.until_ready()
        return daemon

    def rotate(self, version: int) -> None:
        """Have Promoter rotate to the version, the best of those that are not in quarantine."""
        worse = [each for each in self.slopes if each > version]
        now = self.stage.aliases(self.model)["champion"]
        champion = f"{{version: {now}, policy: better, rotation: commit, quarantine: {worse}}}"
        self.stage.commit(f"{self.model}: {{aliases: {{champion: {champion}}}}}", better=BETTER)
        self.await_version(version)

    def state(self, version: int) -> None:
        """State the version in git, as a person does."""
        self.stage.commit(f"{self.model}: {{aliases: {{champion: {version}}}}}")
        self.await_version(version)

    def roll_back(self, version: int) -> None:
        """Run `promoter rollback`, which goes to that version."""
        words = ("rollback", f"{self.model}@champion", "--reason", "callers complain", "--by", "alice")
        done = subprocess.run(
            [sys.executable, "-m", "promoter", *words],
            env=self.stage.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.await_version(version)

    def await_version(self, version: int) -> None:
        """Note when the alias has moved there, wait until both servers have followed, and give each time for some answers."""
        until(lambda: self.stage.aliases(self.model)["champion"] == version, f"v{version} is champion", told=self.daemon.log)
        self.moved.append((time.time(), version))
        for name, server in self.servers.items():
            server.until_version(version)
            known = len(self.streams[name].answers)
            server.until(lambda stream=self.streams[name], known=known: len(stream.answers) > known + 20)

    def measure_old_answers(self, name: str) -> list[float]:
        """For how many seconds after each move the server went on to answer with the version before. At least 0."""
        times: Any = self.streams[name].times
        found = []
        for place, (moment, version) in enumerate(self.moved):
            end = self.moved[place + 1][0] if place + 1 < len(self.moved) else float("inf")
            old = [at for at, answered in times if moment < at < end and answered != version]
            found.append(max(old, default=moment) - moment)
        return found
