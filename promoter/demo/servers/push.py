"""Announces pushes as GitHub does: a signed `push` webhook for each branch or tag that moved."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

log = logging.getLogger(__name__)

_ZERO_REVISION = "0" * 40
_COMMIT_LIMIT = 20
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class PushNotification:
    """Where to announce pushes, and the secret that signs them."""

    url: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Only the web is written to."""
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("a notification goes to an http:// or https:// URL")


class PushSender:
    """Knows the refs of a repository, and tells what changed since it looked last. One attempt, as GitHub makes."""

    def __init__(self, repository: Path, name: str) -> None:
        """`name`: OWNER/NAME, as the payload says it."""
        self.statuses: deque[int | None] = deque(maxlen=100)
        self._repository = repository
        self._name = name
        self._lock = threading.Lock()
        self._known_refs = self._read_repository_refs()
        self._executor = ThreadPoolExecutor(1, "git-push-webhook")

    def announce_pushes(self, notify: PushNotification | None) -> None:
        """Look at the refs again, and announce the difference in the background, in order."""
        with self._lock:
            before, self._known_refs = self._known_refs, self._read_repository_refs()
            after = self._known_refs
            for ref in sorted(before.keys() | after.keys()) if notify else ():
                old, new = before.get(ref, _ZERO_REVISION), after.get(ref, _ZERO_REVISION)
                if old != new and notify:
                    self._executor.submit(self._send_webhook, notify, ref, old, new)

    def close(self) -> None:
        """Wait for what is under way."""
        self._executor.shutdown()

    def _send_webhook(self, notify: PushNotification, ref: str, old: str, new: str) -> None:
        try:
            self.statuses.append(_post_signed_webhook(notify, self._build_push_payload(ref, old, new)))
        except (OSError, subprocess.CalledProcessError) as error:
            self.statuses.append(None)
            log.warning("the push of %s was not announced: %s", ref, type(error).__name__)

    def _build_push_payload(self, ref: str, old: str, new: str) -> dict[str, Any]:
        created, deleted = old == _ZERO_REVISION, new == _ZERO_REVISION
        commits = [] if deleted else list(self._list_pushed_commits(new if created else f"{old}..{new}"))
        owner, _, short = self._name.partition("/")
        pusher = commits[-1]["author"] if commits else {"name": owner, "email": f"{owner}@localhost"}
        return {
            "ref": ref,
            "before": old,
            "after": new,
            "created": created,
            "deleted": deleted,
            "forced": not created
            and not deleted
            and self._run_in_repository("rev-list", "--max-count=1", f"{new}..{old}") != "",
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "repository": {"name": short, "full_name": self._name, "owner": {"login": owner}},
            "pusher": {"name": pusher["name"], "email": pusher["email"]},
            "sender": {"login": pusher["name"]},
        }

    def _list_pushed_commits(self, span: str) -> Iterator[dict[str, Any]]:
        """The newest commits, oldest first."""
        form = "%H%x00%cI%x00%an%x00%ae%x00%s"
        text = self._run_in_repository("log", "--reverse", f"--max-count={_COMMIT_LIMIT}", f"--format={form}", span)
        for line in text.splitlines():
            revision, at, name, mail, subject = line.split("\0", 4)
            yield {"id": revision, "timestamp": at, "message": subject, "author": {"name": name, "email": mail}}

    def _read_repository_refs(self) -> dict[str, str]:
        lines = self._run_in_repository(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"
        ).splitlines()
        return {name: revision for name, _, revision in (line.partition(" ") for line in lines)}

    def _run_in_repository(self, *arguments: str) -> str:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        command = ["git", f"--git-dir={self._repository}", *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)  # noqa: S603
        return done.stdout.decode("utf-8", "replace").strip("\n")


def _post_signed_webhook(notify: PushNotification, payload: dict[str, Any]) -> int:
    """Send it, signed; the status of the answer."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(notify.secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    request = Request(notify.url, data=body, headers=headers, method="POST")  # noqa: S310  # http or https, see above
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            return int(response.status)
    except HTTPError as error:
        error.close()
        return error.code
