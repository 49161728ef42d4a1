"""The webhooks on the MLflow server that tell Promoter where to look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.convert import pages
from promoter.adapters.mlflow.errors import WHAT, address, code_of, plain, scrubbed, translate, translated
from promoter.adapters.mlflow.transport import connect
from promoter.domain.faults import OutsideError, Refused

NAME = "promoter"
EVENTS = (
    "model_version.created",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "model_version_tag.deleted",
    "model_version_tag.set",
    "registered_model.created",
)
_PAGE = 100
_OLD_FIX = "use MLflow 3.3 or newer; until then Promoter finds changes by polling"
_BROKEN_FIX = (
    "give the server a SQL database as its backend store, and the MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY that its webhooks were "
    "made with; until then Promoter finds changes by polling"
)


class Outcome(StrEnum):
    """What `install` did. UNCHANGED: address and events were right already; the secret was written again."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Webhook:
    """A webhook on the server. `url` is for people: without user info and query. The secret cannot be read back."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    active: bool


@dataclass(frozen=True)
class Installed:
    """The webhook, and what `install` did to it."""

    outcome: Outcome
    webhook: Webhook


@dataclass(frozen=True)
class Delivered:
    """What came of a test delivery: the receiver's status (None: no answer), and what is wrong where it is not `ok`."""

    ok: bool
    status: int | None
    error: str | None


class MlflowWebhooks:
    """Installs, lists, tests and removes them. MLflow asks for admin rights. Raises `Unavailable` or `Refused`."""

    def __init__(self, tracking_uri: str) -> None:
        """`tracking_uri` may hold user and password: neither is ever shown."""
        self._tracking_uri = tracking_uri
        self.address = address(tracking_uri)

    def install(self, url: str, secret: str) -> Installed:
        """Leave exactly one webhook named `promoter`, with that address and secret and Promoter's events.

        MLflow gives no secret back to compare with, so it is written each time.
        """
        if not secret:
            raise Refused(WHAT, "a webhook without a secret would be refused by Promoter", "set PROMOTER_MLFLOW_WEBHOOK_SECRET")
        with self._asking("install the webhook"):
            found = list(self._mine())
            if not found:
                return Installed(Outcome.CREATED, _webhook(self._client.create_webhook(NAME, url, list(EVENTS), secret=secret)))
            mine, *surplus = found
            for extra in surplus:
                self._client.delete_webhook(extra.webhook_id)
            as_asked = mine.url == url and _events(mine) == EVENTS and mine.status.is_active()
            written = self._client.update_webhook(mine.webhook_id, url=url, events=list(EVENTS), secret=secret, status="ACTIVE")
            return Installed(Outcome.UNCHANGED if as_asked else Outcome.UPDATED, _webhook(written))

    def list(self) -> tuple[Webhook, ...]:
        """All webhooks on the server, by name, Promoter's and others'."""
        with self._asking("list webhooks"):
            return tuple(sorted(map(_webhook, self._rows()), key=lambda webhook: (webhook.name, webhook.id)))

    def test(self) -> Delivered:
        """Have the server send a test event to Promoter's webhook."""
        with self._asking("test the webhook"):
            mine = next(self._mine(), None)
            if mine is None:
                raise Refused(WHAT, f"there is no webhook named `{NAME}` at {self.address}", "run `promoter webhooks install`")
            result = self._client.test_webhook(mine.webhook_id)
            said = None if result.success else plain(result.error_message or f"the receiver answers {result.response_status}")
            return Delivered(bool(result.success), result.response_status or None, said)

    def remove(self) -> int:
        """Delete Promoter's webhook; how many there were."""
        with self._asking("remove the webhook"):
            mine = list(self._mine())
            for webhook in mine:
                self._client.delete_webhook(webhook.webhook_id)
            return len(mine)

    @cached_property
    def _client(self) -> Any:
        return connect(self._tracking_uri)

    def _rows(self) -> Iterator[Any]:
        return pages(lambda token: self._client.list_webhooks(max_results=_PAGE, page_token=token))

    def _mine(self) -> Iterator[Any]:
        return (webhook for webhook in self._rows() if webhook.name == NAME)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OutsideError:
            raise
        except Exception as error:
            fault = translate(error, doing, self.address)
            if fault is None:
                raise
            raise (self._unsupported(error, fault) or fault) from None

    def _unsupported(self, error: Exception, fault: OutsideError) -> Refused | None:
        """Old servers know no such address. Where only webhooks give status 500, waiting does not help either."""
        if code_of(error) == "ENDPOINT_NOT_FOUND":
            return Refused(WHAT, f"{self.address} has no webhooks", _OLD_FIX)
        if "status 500" not in fault.message:
            return None
        with translated("read models", self.address):
            self._client.search_registered_models(max_results=1)
        return Refused(WHAT, f"{self.address} works, but fails on every request about webhooks", _BROKEN_FIX)


def _events(entity: Any) -> tuple[str, ...]:
    return tuple(sorted(str(event) for event in entity.events))


def _webhook(entity: Any) -> Webhook:
    return Webhook(entity.webhook_id, entity.name, scrubbed(entity.url), _events(entity), entity.status.is_active())
