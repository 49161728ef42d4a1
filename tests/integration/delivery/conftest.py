"""Fixtures of the web: sites that are stopped again, log lines as they reach standard error, a browser."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from playwright.sync_api import Browser, sync_playwright

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.logs import configure_logging
from tests.integration.delivery.world import Site
from tests.support.fixtures_ledger import fill

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

MakeSite = Callable[..., Site]
Run = Callable[..., tuple[int, str, str]]
ReadLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def make_site(tmp_path: Path, log_lines: ReadLines) -> Iterator[MakeSite]:
    """Makes sites with the settings given; stops them before standard error is given back."""
    del log_lines
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Site:
            made = Site(tmp_path, settings)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with both secrets set, on an empty world."""
    return make_site()


@pytest.fixture
def log_lines() -> Iterator[ReadLines]:
    """Reads what was logged on standard error since the last time: one object a line."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []  # kept from being closed
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        configure_logging("json")

    def read() -> list[dict[str, Any]]:
        lines = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in lines]

    yield read
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Missing, it fails the run in CI and skips elsewhere: not every machine that builds has one."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        reason = f"no Chromium on PATH (looked for {', '.join(CHROMIUM)}): install it to test the page"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM_OPTIONS))
        yield started
        started.close()


@pytest.fixture
def ledger_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger in it that has an entry of every kind, and no repository around it; one stands in it."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    fill(ledger)
    ledger.close_connections()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def run(ledger_here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `promoter audit` there, in 80 columns: exit code, output, errors."""

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(ledger_here)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["promoter", "audit", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capfd.readouterr()
        return int(str(ended.value.code or 0)), told.out, told.err

    return ran
