"""Fixtures of the web: sites that are stopped again, log lines as they reach standard error, a browser."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from playwright.sync_api import Browser, sync_playwright

from promoter.delivery.logs import configure
from tests.delivery.world import Site

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
        configure("json")

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
