"""Installs, lists, tests and removes the webhooks on the MLflow server that send events to Promoter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.client import (
    SERVICE_NAME,
    convert_mlflow_error,
    create_mlflow_client,
    describe_registry_address,
    explain_error_text,
    get_error_code,
    iterate_pages,
    redact_message,
    translate_mlflow_errors,
)
from promoter.domain.errors import ExternalError, PermanentError

WEBHOOK_NAME = "promoter"
WEBHOOK_EVENTS = (
    "model_version.created",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "model_version_tag.deleted",
    "model_version_tag.set",
    "registered_model.created",
)
_PAGE_SIZE = 100
_RIGHT = "the rights of an administrator"
_OLD_SERVER_FIX = "use MLflow 3.3 or newer; until then Promoter finds changes by polling"
_BROKEN_SERVER_FIX = (
    "give the server a SQL database as its backend store, and the MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY that its webhooks were "
    "made with; until then Promoter finds changes by polling"
)


class InstallOutcome(StrEnum):
    """What `install_webhook` did. UNCHANGED: address and events were right already; the secret was written again."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class RegistryWebhook:
    """A webhook on the server. Its secret cannot be read back."""

    id: str
    name: str
    url: str
    """Where it sends to, without user info and query."""
    events: tuple[str, ...]
    active: bool


@dataclass(frozen=True)
class InstallResult:
    """The webhook, and what `install_webhook` did to it."""

    outcome: InstallOutcome
    webhook: RegistryWebhook


@dataclass(frozen=True)
class WebhookTestResult:
    """The result of a test delivery."""

    ok: bool
    """Whether the receiver accepted it."""
    status: int | None
    """The receiver's status; None for no answer."""
    error: str | None
    """What is wrong where it is not `ok`."""


class MlflowWebhooks:
    """Works on the webhooks of one server. MLflow wants admin rights. Raises `TransientError` or `PermanentError`."""

    def __init__(self, tracking_uri: str) -> None:
        """`tracking_uri` may hold user and password: neither is ever shown."""
        self._tracking_uri = tracking_uri
        self.address = describe_registry_address(tracking_uri)

    def install_webhook(self, url: str, secret: str) -> InstallResult:
        """Leave exactly one webhook named `promoter`, with that address and secret and Promoter's events.

        MLflow gives no secret back to compare with, so it is written each time.
        """
        if not secret:
            raise PermanentError(
                SERVICE_NAME, "a webhook without a secret would be refused by Promoter", "set PROMOTER_MLFLOW_WEBHOOK_SECRET"
            )
        with self._translate_errors("install the webhook"):
            found = list(self._iterate_own_webhooks())
            if not found:
                return InstallResult(
                    InstallOutcome.CREATED,
                    _parse_webhook(self._mlflow_client.create_webhook(WEBHOOK_NAME, url, list(WEBHOOK_EVENTS), secret=secret)),
                )
            mine, *surplus = found
            for extra in surplus:
                self._mlflow_client.delete_webhook(extra.webhook_id)
            as_asked = mine.url == url and _parse_event_names(mine) == WEBHOOK_EVENTS and mine.status.is_active()
            written = self._mlflow_client.update_webhook(
                mine.webhook_id, url=url, events=list(WEBHOOK_EVENTS), secret=secret, status="ACTIVE"
            )
            return InstallResult(InstallOutcome.UNCHANGED if as_asked else InstallOutcome.UPDATED, _parse_webhook(written))

    def list_webhooks(self) -> tuple[RegistryWebhook, ...]:
        """List all webhooks on the server by name, Promoter's and others'."""
        with self._translate_errors("list webhooks"):
            return tuple(sorted(map(_parse_webhook, self._iterate_webhooks()), key=lambda webhook: (webhook.name, webhook.id)))

    def send_test_event(self) -> WebhookTestResult:
        """Have the server send a test event to Promoter's webhook."""
        with self._translate_errors("test the webhook"):
            mine = next(self._iterate_own_webhooks(), None)
            if mine is None:
                raise PermanentError(
                    SERVICE_NAME,
                    f"there is no webhook named `{WEBHOOK_NAME}` at {self.address}",
                    "run `promoter webhooks install`",
                )
            result = self._mlflow_client.test_webhook(mine.webhook_id)
            error = (
                None
                if result.success
                else explain_error_text(result.error_message or f"the receiver answers {result.response_status}")
            )
            return WebhookTestResult(bool(result.success), result.response_status or None, error)

    def remove_webhooks(self) -> int:
        """Delete Promoter's webhooks; return how many there were."""
        with self._translate_errors("remove the webhook"):
            mine = list(self._iterate_own_webhooks())
            for webhook in mine:
                self._mlflow_client.delete_webhook(webhook.webhook_id)
            return len(mine)

    @cached_property
    def _mlflow_client(self) -> Any:
        return create_mlflow_client(self._tracking_uri)

    def _iterate_webhooks(self) -> Iterator[Any]:
        return iterate_pages(lambda token: self._mlflow_client.list_webhooks(max_results=_PAGE_SIZE, page_token=token))

    def _iterate_own_webhooks(self) -> Iterator[Any]:
        return (webhook for webhook in self._iterate_webhooks() if webhook.name == WEBHOOK_NAME)

    @contextmanager
    def _translate_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except ExternalError:
            raise
        except Exception as error:
            fault = convert_mlflow_error(error, doing, self.address, _RIGHT)
            if fault is None:
                raise
            raise (self._explain_unsupported(error, fault) or fault) from None

    def _explain_unsupported(self, error: Exception, fault: ExternalError) -> PermanentError | None:
        """Explain that old servers have no webhooks, and that waiting does not help where only webhooks give status 500."""
        if get_error_code(error) == "ENDPOINT_NOT_FOUND":
            return PermanentError(SERVICE_NAME, f"{self.address} has no webhooks", _OLD_SERVER_FIX)
        if "status 500" not in fault.message:
            return None
        with translate_mlflow_errors("read models", self.address):
            self._mlflow_client.search_registered_models(max_results=1)
        return PermanentError(
            SERVICE_NAME, f"{self.address} works, but fails on every request about webhooks", _BROKEN_SERVER_FIX
        )


def _parse_event_names(entity: Any) -> tuple[str, ...]:
    return tuple(sorted(str(event) for event in entity.events))


def _parse_webhook(entity: Any) -> RegistryWebhook:
    return RegistryWebhook(
        entity.webhook_id, entity.name, redact_message(entity.url), _parse_event_names(entity), entity.status.is_active()
    )
