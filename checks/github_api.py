"""Holds every REST call of the GitHub adapter, and what the hosted GitHub of the tests answers, against GitHub's description.

    make githubapi

Prism stands as a validating proxy, with GitHub's public OpenAPI description of api.github.com, between the adapter and the
hosted forge of the tests. A call whose request does not fit the description is invalid, and so is an answer that does not.
Both come from npm, into a temporary folder. Prints each operation with its calls; exits 1 where anything is invalid.

Auto-merge is asked for over GraphQL, which the description does not cover: those calls go past Prism, and are only counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import requests
import structlog
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from promoter.adapters.forges.github import GitHub
from promoter.application.ports.forge import CommitStatus, CommitStatusState, PullRequest
from promoter.domain.errors import Conflict, ExternalError, PermanentError
from tests.support.forges.under_test import TOKEN, ForgeUnderTest, hosted

PACKAGES = ("@octokit/openapi@^23", "@stoplight/prism-cli@~5.14")
DESCRIPTION = Path("node_modules/@octokit/openapi/generated/api.github.com.json")
PRISM = Path("node_modules/.bin/prism")
BASE = "/api/v3"
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
START_SECONDS = 300


@dataclass(frozen=True)
class Call:
    """One call. `request` and `answer` are what Prism finds wrong with either; None: nothing."""

    operation: str
    status: int
    request: str | None = None
    answer: str | None = None


@dataclass
class Judge:
    """Forwards each call to Prism, keeps what Prism finds wrong, and passes the answer on."""

    prism: str
    forge: str
    templates: list[tuple[str, re.Pattern[str], str]]
    calls: list[Call] = field(default_factory=list)
    graphql: int = 0

    def forward_call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> requests.Response:
        """Forward a call; return the answer. GraphQL goes to the forge itself."""
        if not path.startswith(f"{BASE}/"):
            self.graphql += 1
            return requests.request(method, self.forge + path, data=body, headers=headers, timeout=30)
        short = path.removeprefix(BASE)
        response = requests.request(method, self.prism + short, data=body, headers=headers, timeout=60, allow_redirects=False)
        self.calls.append(self._judged(method, short.partition("?")[0], response))
        return response

    def _judged(self, method: str, path: str, response: requests.Response) -> Call:
        operation = next((name for verb, pattern, name in self.templates if verb == method and pattern.fullmatch(path)), None)
        if operation is None:
            return Call(f"{method} {path}", response.status_code, "no such operation")
        if response.content and "json" in response.headers.get("Content-Type", ""):
            problem = response.json()
            kind = str(problem.get("type", "")) if isinstance(problem, dict) else ""
            if "stoplight.io/prism" in kind:
                return self._wrong(operation, response.status_code, problem)
        return Call(operation, response.status_code)

    def _wrong(self, operation: str, status: int, problem: dict[str, Any]) -> Call:
        rows = problem.get("validation") or [{"location": ["request"], "message": problem.get("detail", problem.get("title"))}]
        sides: dict[str, list[str]] = {"request": [], "response": []}
        for row in rows:
            where = [str(part) for part in row.get("location", ())]
            side = "response" if where[:1] == ["response"] else "request"
            sides[side].append(f"{'.'.join(where)}: {row.get('message')}")
        request_fault, answer_fault = ("; ".join(sides[side][:4]) or None for side in ("request", "response"))
        return Call(operation, status, request_fault, answer_fault)


def main() -> int:
    """Run every call, and print what came of it."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=Path, help="a folder in which npm has installed both already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="promoter-github-") as name:
        folder = options.packages or Path(name)
        if options.packages is None:
            print("Installing GitHub's description and Prism ...", file=sys.stderr)
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", name, *PACKAGES]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        with hosted("github", Path(name)) as scene, prism(folder, scene.server.url + BASE) as url:
            judge = Judge(url, scene.server.url, templates(folder / DESCRIPTION))
            with proxy(judge) as here:
                port = GitHub(here + BASE, scene.home.name, "main", SecretStr(TOKEN), timeout=60)
                try:
                    every_call(scene, port)
                except (ExternalError, AssertionError) as error:
                    report(judge)
                    raise SystemExit(f"The calls ended early: {error}") from None
    return report(judge)


def every_call(scene: ForgeUnderTest, port: GitHub) -> None:
    """Whatever the adapter can ask: with one page and with several, and where the answer is no."""
    scene.home.protected, scene.home.approvals = frozenset({"main"}), 1
    scene.forge.team("acme/risk", "ada", "cy")
    teams = frozenset({"acme/risk", "acme/none"})
    made = opened(scene, port)
    for body in ("Plan", "Note"):
        port.add_comment(made.number, body)
    first, second = port.list_own_comments(made.number)
    port.edit_comment(made.number, first.id, "Plan 2")
    port.delete_comment(made.number, second.id)
    port.delete_comment(made.number, second.id)
    for number in range(120):
        scene.home.remark(made.number, "bob", f"Remark {number}")
        scene.home.set_status(made.head, "bob", f"ci/{number}", "success")
    port.list_own_comments(made.number)
    port.read_commit_status(made.head)
    for state in CommitStatusState:
        port.set_commit_status(
            made.head,
            CommitStatus(state, "words", "https://promoter.example.org" if state is CommitStatusState.SUCCESS else None),
        )
    for login, verdict in (("bob", "commented"), ("cy", "changes_requested"), ("ada", "approved")):
        scene.home.review(made.number, login, verdict)
    merged = port.find_latest_pull_request(made.branch)
    assert merged is not None
    assert merged.merge_commit is not None  # its approval let auto-merge go ahead
    port.read_pull_request_origin(made.number, teams)
    port.find_commit_origin(merged.merge_commit, teams)
    port.find_commit_origin(scene.push({"notes.md": "x\n"}, branch="main"))
    with suppress(PermanentError):
        port.find_commit_origin("0" * 40)
    ends(scene, port)


def opened(scene: ForgeUnderTest, port: GitHub) -> PullRequest:
    """One that is opened, opened again in vain, and revised; and one that is not there."""
    draft = scene.draft("Rotate", "Why", labels=("promoter", "models"), reviewers=("ada", "eve", "acme/risk"), auto_merge=True)
    port.list_open_pull_requests()
    made = port.open_pull_request(draft)
    with suppress(Conflict):
        port.open_pull_request(draft)
    port.update_pull_request(
        made.number, scene.draft("Again", "Because", labels=("urgent",), reviewers=("bob", "promoter-bot"))
    )
    with suppress(PermanentError):
        port.read_pull_request(99)
    return made


def ends(scene: ForgeUnderTest, port: GitHub) -> None:
    """One that is closed, and one that is merged at once."""
    scene.push({"other.md": "y\n"}, by="promoter-bot")
    closed = port.open_pull_request(scene.draft("Other"))
    port.close_pull_request(closed.number)
    port.find_latest_pull_request(closed.branch)
    scene.home.approvals = 0
    at_once = port.open_pull_request(scene.draft("At once", auto_merge=True))
    assert port.read_pull_request(at_once.number).merged_by
    port.list_open_pull_requests()


def report(judge: Judge) -> int:
    """A line for each operation; 1 where something is invalid."""
    counts = Counter(call.operation for call in judge.calls)
    print(f"{'operation':<68}{'calls':>6}  {'answers':<14}{'requests':<10}responses")
    for operation in sorted(counts):
        calls = [call for call in judge.calls if call.operation == operation]
        statuses = ",".join(str(each) for each in sorted({call.status for call in calls}))
        verdict = "invalid" if any(call.request for call in calls) else "valid"
        answered = "invalid" if any(call.answer for call in calls) else "valid"
        print(f"{operation:<68}{counts[operation]:>6}  {statuses:<14}{verdict:<10}{answered}")
    wrong = [call for call in judge.calls if call.request or call.answer]
    for line in sorted({f"{call.operation} {call.status}: {call.request or call.answer}" for call in wrong}):
        print(line)
    print(
        f"{len(judge.calls)} calls of {len(counts)} operations, {len(wrong)} invalid; {judge.graphql} over GraphQL beside them"
    )
    return 1 if wrong or not judge.calls else 0


def templates(description: Path) -> list[tuple[str, re.Pattern[str], str]]:
    """Method, path and name of each operation, those with fewer variable parts first."""
    paths = json.loads(description.read_text())["paths"]
    found = []
    for path in sorted(paths, key=lambda path: path.count("{")):
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
        found += [(verb.upper(), pattern, f"{verb.upper()} {path}") for verb in paths[path] if verb in METHODS]
    return found


@contextmanager
def prism(folder: Path, upstream: str) -> Iterator[str]:
    """Prism in front of the forge; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(folder / PRISM), "proxy", str(folder / DESCRIPTION), upstream, "--errors", "--port", str(port)]
    with (folder / "prism.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            else:
                raise SystemExit("Prism does not start:\n" + (folder / "prism.log").read_text()[-2_000:])
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def proxy(judge: Judge) -> Iterator[str]:
    """Serve the address that the adapter talks to."""

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size) if size else None
            names = ("Authorization", "Accept", "Content-Type", "User-Agent")
            headers = {name: self.headers[name] for name in names if self.headers[name]}
            response = judge.forward_call(self.command, self.path, body, headers)
            self.send_response(response.status_code)
            for name in ("Content-Type", "Link"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            if response.status_code != 204:
                self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815  # http.server's names

        def log_message(self, *_words: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
