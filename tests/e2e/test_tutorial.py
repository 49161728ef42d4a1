"""The tutorial: each of its blocks is run in one shell, in an empty folder, and what it prints is what the page shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pytest

from promoter import __version__
from promoter.demo.servers.mlflow import find_free_port

PROJECT = Path(__file__).parents[2]
PATH = PROJECT / "docs" / "tutorial.md"
PAGE = PATH.read_text()
HOME = "/home/alice/fraud"
"""The folder, as the page shows it."""
INSTALL = "make -C $CHECKOUT dist"
"""In the block of the installation. It is not run, since the tests have it all; test_wheel.py builds the wheel."""
END = "--end of the block--"
DEADLINE_SECONDS = 90.0
QUERIES = ("promoter explain", "promoter history", "promoter plan", "curl ", "git pull", "git log", "sed -n")
"""Commands that may be repeated until they show what the page says: the daemon needs a moment."""
PORTS = ("5000", "8080", "8000")
VARYING = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b(?=[0-9]*[a-f])[0-9a-f]{8,64}\b", "ID"),
    (r"from run \w+ of \w+", "from run ID of USER"),
    (r"\d+ entries", "N entries"),
    (r"head     \d+", "head     N"),
    (r"\d+ vouch for it", "N vouch for it"),
    (r"\n +(?=\S)", " "),  # where a line is broken depends on the length of what varies
)


@dataclass(frozen=True)
class Block:
    """A block of the page, with what it prints."""

    language: str
    text: str
    shown: str | None
    """The output that the page shows; None: none."""


def read_blocks() -> Iterator[Block]:
    """The blocks in order. One of output belongs to the block before it."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for (language, text), (following, output) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "text":
            yield Block(language, text, output if following == "text" else None)


class Shell:
    """One bash, as the reader has it from the beginning to the end."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it in the folder. What it and its children write to standard error is in the file `errors`."""
        self.folder, self.errors = folder, folder.parent / "errors"
        self._process = subprocess.Popen(
            ["bash", "-o", "pipefail"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("wb"),
            start_new_session=True,
        )

    def run(self, commands: str) -> str:
        """Return what they print, once the last one has ended."""
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        stdin.write(f"{commands}\nprintf '\\n%s\\n' '{END}'\n".encode())
        stdin.flush()
        printed = b""
        while not printed.endswith(f"\n{END}\n".encode()):
            line = stdout.readline()
            assert line, self.errors.read_text()
            printed += line
        return printed.decode().removesuffix(f"\n{END}\n")

    def stop(self) -> None:
        """Stop it, and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder, with the environment of the tests in the place of the one that the tutorial installs."""
    folder = tmp_path / "home" / "fraud"
    folder.mkdir(parents=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "HOME": str(folder.parent),
        "COLUMNS": "80",
        "CHECKOUT": str(PROJECT),
        "PYTHONPATH": str(PROJECT),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    started = Shell(folder, environment)
    yield started
    started.stop()


@pytest.mark.slow
def test_every_block_prints_what_the_page_shows(shell: Shell) -> None:
    """From the empty folder to the audit, in the order of the page. `WRITE_GOLDEN=1` writes what is printed into the page."""
    ports = {each: str(find_free_port()) for each in PORTS}
    page, different = PAGE, []
    for block in read_blocks():
        if INSTALL in block.text:
            assert f"promoter-{__version__}-py3-none-any.whl" in block.text
        elif block.language == "yaml":
            file = shell.folder / "models" / "registry.yaml"
            file.write_text(file.read_text().partition("models:\n")[0] + block.text)
        elif (printed := run_block(shell, block, ports)) is not None:
            different.append((block.text, block.shown, printed))
            shown = printed.replace(str(shell.folder), HOME).strip("\n")
            page = page.replace(
                f"{block.text}```\n\n```text\n{block.shown}```\n", f"{block.text}```\n\n```text\n{shown}\n```\n"
            )
    if os.environ.get("WRITE_GOLDEN"):
        PATH.write_text(page)
    assert different == [], shell.errors.read_text()[-3000:]


def run_block(shell: Shell, block: Block, ports: Mapping[str, str]) -> str | None:
    """Run the block's commands, until they print what is shown where they only ask. None, or what is not as shown."""
    commands = re.sub(r"(:|--port )(5000|8080|8000)\b", lambda found: found[1] + ports[found[2]], block.text)
    expected = normalise(block.shown or "", Path(HOME))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        printed = shell.run(commands)
        if normalise(printed, shell.folder) == expected:
            return None
        if not is_query(block) or time.monotonic() > deadline:
            return printed
        time.sleep(0.5)


def is_query(block: Block) -> bool:
    """Whether each of its commands only asks."""
    lines = re.sub(r"\\\n", "", block.text).splitlines()
    return all(line.startswith(QUERIES) for line in lines)


def normalise(printed: str, folder: Path) -> str:
    """What was printed, without what is another thing each time."""
    text = printed.replace(str(folder), "FOLDER").strip()
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text)
    return text


def test_the_blocks_are_commands_and_their_output() -> None:
    """Every block has a language that the test above knows, and there is no output without its command."""
    languages = re.findall(r"^```(\w*)$", PAGE, re.MULTILINE)
    assert set(languages) - {""} == {"sh", "text", "yaml"}
    assert sum(block.shown is not None for block in read_blocks()) == languages.count("text")
    assert len(list(read_blocks())) > 20
