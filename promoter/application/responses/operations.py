"""Responses about running Promoter: faults of files, approver keys, checks, webhooks, and events that have not arrived."""

from __future__ import annotations

from promoter.application.responses import Answer, Moment, Response, attribute


class FaultResponse(Response):
    """One fault of a file."""

    file: str
    line: int | None
    column: int | None
    message: str
    fix: str | None


class FaultsResponse(Answer):
    """The faults that keep files from being used."""

    faults: list[FaultResponse]


class ValidationResponse(Answer):
    """Whether the files can be used, and their faults."""

    valid: bool
    faults: list[FaultResponse]


class ApproverKeyResponse(Answer):
    """A new key of an approver: its file, and the line for `approvers.yaml`."""

    file: str
    approver: str
    key: str
    line: str


class RegistryBindingResponse(Answer):
    """The registry as it is, and whether it is the one that the ledger is about."""

    address: str = attribute("server.address")
    workspace: str | None = attribute("server.workspace", left_out=True)
    """The workspace of it that Promoter works in; not there where the server has no workspaces."""
    set_up: Moment | None = attribute("server.created_at")
    """When the registry was set up; null: it does not tell."""
    since: Moment | None = attribute("bound.at", default=None)
    """Since when the ledger is about a registry; null: it is not bound to one yet."""
    accepted_by: str | None = attribute("bound.facts.actor", default=None)
    """The person who accepted that registry in the place of another one."""
    reason: str | None = attribute("bound.facts.reason", default=None)
    mismatch: str | None
    """Why it is another registry than the ledger's; null: nothing speaks for that."""


class RepositoryBindingResponse(Answer):
    """The folder of the repository that the settings name, and whether it is the one that the ledger is about."""

    address: str
    folder: str = attribute("folder.path")
    """Its path in the repository; empty: the top."""
    since: Moment | None = attribute("bound.at", default=None)
    """Since when the ledger is about a folder; null: it is not bound to one yet."""
    accepted_by: str | None = attribute("bound.facts.actor", default=None)
    """The person who accepted that folder in the place of another one."""
    reason: str | None = attribute("bound.facts.reason", default=None)
    mismatch: str | None
    """Why it is another folder or repository than the ledger's; null: nothing speaks for that."""


class DoctorCheckResponse(Response):
    """What one check found."""

    name: str
    good: bool | None
    message: str = attribute("message", "said")
    fix: str | None


class DoctorResponse(Answer):
    """What all checks found."""

    checks: list[DoctorCheckResponse]


class WebhookResponse(Response):
    """A webhook on the MLflow server."""

    id: str
    name: str
    url: str
    events: list[str]
    active: bool


class WebhooksResponse(Answer):
    """Every webhook on the MLflow server."""

    webhooks: list[WebhookResponse]


class InstallResponse(Answer):
    """What became of Promoter's webhook."""

    outcome: str
    id: str = attribute("webhook.id")
    url: str = attribute("webhook.url")


class WebhookTestResponse(Answer):
    """What came of a test event."""

    delivered: bool = attribute("ok", "delivered")
    status: int | None
    """The status that the daemon answered; null: no answer."""
    error: str | None


class RemovedWebhooksResponse(Answer):
    """How many of Promoter's webhooks were removed."""

    removed: int


class DeliveryResponse(Response):
    """An event that has not arrived, and how it stands with it."""

    id: int
    channel: str
    event: str | None
    entry: int
    state: str
    at: Moment
    attempts: int
    since: Moment | None
    due: Moment | None
    detail: str | None


class UndeliveredResponse(Answer):
    """The events that have not arrived."""

    notifications: list[DeliveryResponse]
