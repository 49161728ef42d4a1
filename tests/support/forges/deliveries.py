"""Sends a hosted forge's webhooks: in order, in the background, one attempt each."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.forges.model import Hook, HostedDelivery


class WebhookPost:
    """`statuses` are what the receivers answered, oldest first; None: no answer."""

    def __init__(self) -> None:
        """Nothing to send yet."""
        self.statuses: list[int | None] = []
        self._pool = ThreadPoolExecutor(1, "forge-webhooks")
        self._lock = threading.Lock()
        self._pending: list[Future[None]] = []

    def send(self, hooks: Iterable[tuple[Hook, HostedDelivery]]) -> None:
        """In the background."""
        with self._lock:
            self._pending = [each for each in self._pending if not each.done()]
            self._pending += [self._pool.submit(self._one, hook.url, delivery) for hook, delivery in hooks]

    def wait(self) -> None:
        """Until everything that happened has been told."""
        with self._lock:
            pending = list(self._pending)
        for each in pending:
            each.result(30)

    def close(self) -> None:
        """What is under way ends."""
        self._pool.shutdown(cancel_futures=True)

    def _one(self, url: str, delivery: HostedDelivery) -> None:
        request = Request(url, data=delivery.body, headers=delivery.headers, method="POST")
        try:
            with urlopen(request, timeout=10) as response:
                self.statuses.append(int(response.status))
        except HTTPError as error:
            error.close()
            self.statuses.append(error.code)
        except OSError:
            self.statuses.append(None)
