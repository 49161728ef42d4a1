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
