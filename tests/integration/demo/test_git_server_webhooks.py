"""The demo's git remote announces pushes as GitHub does."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer, PushNotification
from tests.support.fixtures.git import Colleague, git

SECRET = "hook-secret"
Received = tuple[dict[str, str], bytes]


@pytest.fixture
def received(git_remote: GitHttpServer) -> Iterator[queue.Queue[Received]]:
    """What arrives at the address that `git_remote` announces its pushes to."""
    arrived: queue.Queue[Received] = queue.Queue()

    class WebhookAnswer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), WebhookAnswer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    git_remote.notify = PushNotification(f"http://127.0.0.1:{server.server_port}/webhooks/github", SECRET)
    yield arrived
    git_remote.stop()
    server.shutdown()
    thread.join()
    server.server_close()


def test_push_is_announced_and_signed(
    git_remote: GitHttpServer, git_repository: GitRepository, received: queue.Queue[Received]
) -> None:
    """A commit of Promoter's is announced once, signed, with what GitHub says of it."""
    base = git_repository.fetch_branch()
    new = git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    headers, body = received.get(timeout=20)
    assert headers["x-github-event"] == "push"
    assert headers["x-github-delivery"]
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    said = json.loads(body)
    assert [said[key] for key in ("ref", "before", "after", "created", "deleted", "forced")] == [
        "refs/heads/main", base, new, False, False, False,
    ]  # fmt: skip
    assert (said["repository"]["full_name"], said["pusher"]["name"]) == ("demo/registry", "Promoter")
    assert [(commit["id"], commit["message"]) for commit in said["commits"]] == [(new, "Ours")]
    git_remote.stop()
    assert git_remote.webhook_statuses == [202]
    assert received.empty()


def test_other_moves_are_announced(colleague: Colleague, received: queue.Queue[Received]) -> None:
    """A rewritten branch, a new one and a deleted one are told apart."""
    colleague.push({"registry.yaml": b"two\n"}, force=True)
    git(colleague.folder, "push", "--quiet", "origin", "HEAD:refs/heads/feature")
    git(colleague.folder, "push", "--quiet", "origin", ":refs/heads/feature")
    said = [json.loads(received.get(timeout=20)[1]) for _ in range(3)]
    assert [(one["ref"], one["forced"], one["created"], one["deleted"]) for one in said] == [
        ("refs/heads/main", True, False, False),
        ("refs/heads/feature", False, True, False),
        ("refs/heads/feature", False, False, True),
    ]
    assert (said[1]["before"], said[2]["after"]) == ("0" * 40, "0" * 40)
