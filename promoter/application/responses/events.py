"""The shape of an event's data, from which the JSON Schema for receivers is generated."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from promoter.application.responses import Moment, Response, enum_words, left_out
from promoter.application.responses.ledger import CopyOriginResponse, ReviewResponse, RuleResponse, VerdictWord
from promoter.domain.audit import ChangeOutcome, RecordKind
from promoter.domain.notifications import EVENT_SCHEMA


class EventLinksResponse(Response):
    """Where people find what the event is about; null: there is no such page, or its address is not known."""

    page: str | None
    """Promoter's page of the model."""
    version: str | None
    """MLflow's page of `version`."""
    run: str | None
    """MLflow's page of the run `run_id`."""
    pull_request: str | None
    """The pull request that brings the change."""


class EventDataResponse(Response):
    """The `data` of every event of Promoter. Fields may be added; those that are required here stay as they are.

    The fields that are not required depend on the event: those of an audit record, of a decision, or of an override.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    schema_version: Annotated[int, WithJsonSchema({"const": EVENT_SCHEMA})] = Field(serialization_alias="schema")
    """The version of this form."""
    ledger: str
    """The name of the ledger. Together with `entry` it names what the event stands for."""
    entry: int | None
    """The number of the ledger's entry; null for a test."""
    summary: str
    """A sentence for people."""
    model: str | None
    """The registered model; null where the event is about none."""
    alias: str | None
    """The alias of the model."""
    version: int | None
    """The version that holds the alias now, or that does not get it; null: none."""
    previous_version: int | None
    """The version that held the alias before; where the change was blocked, the version that holds it still; null: none."""
    run_id: str | None
    """The training run of `version`."""
    model_uri: str | None
    """What MLflow's client loads: `models:/NAME/N`."""
    tracking_uri: str | None
    """The MLflow server, without credentials."""
    policy: str | None
    """The policy that decided."""
    decision: int | None
    """The number of the decision in the ledger."""
    pull_request: str | None
    """The address of the pull request that brings the change."""
    links: EventLinksResponse

    id: int = left_out()
    """The number of the entry, as `entry`."""
    at: Moment = left_out()
    """When it happened."""
    kind: Annotated[str, enum_words(RecordKind)] = left_out()
    """What the audit record is about."""
    from_version: int | None = Field(default=None, serialization_alias="from")
    """The version before; null: none."""
    to_version: int | None = Field(default=None, serialization_alias="to")
    """The version afterwards; null: none."""
    revision: str | None = left_out()
    """The commit."""
    actor: str | None = left_out()
    """Who did it."""
    trigger: str | None = left_out()
    """What made Promoter look."""
    verdict: VerdictWord | None = left_out()
    """The verdict of the policy."""
    outcome: Annotated[str, enum_words(ChangeOutcome)] | None = left_out()
    """How far the change got."""
    reason: str | None = left_out()
    """Why."""
    cause: str | None = left_out()
    """Why the alias had to move."""
    review: ReviewResponse | None = left_out()
    """Who wrote, reviewed and merged the pull request."""
    until: Moment | None = left_out()
    """When the override expires."""
    not_before: Moment | None = left_out()
    """When the registry was last seen as it was before."""
    hold: str | None = left_out()
    """The reason of the hold that git states with it."""
    intent: int | None = left_out()
    """The number of the record that this one closes or ends."""
    hash: str | None = left_out()
    """SHA-256 of the entry in the ledger's chain."""
    from_identity: str = left_out()
    """The identity of the version before, which tells it from another one with that number."""
    to_identity: str = left_out()
    """The identity of the version afterwards."""
    without_artifact_check: bool = left_out()
    """Whether the version of an override returns although its artifact may not pass its check."""
    copied_from: CopyOriginResponse = left_out()
    """The version that the version afterwards is a copy of."""
    workspace: str = left_out()
    """The workspace of the MLflow server that the model is in, where the server has workspaces."""
    policy_digest: str | None = left_out()
    """SHA-256 of the policy."""
    rules: list[RuleResponse] = left_out()
    """What each rule of the policy found."""
    tool: str | None = left_out()
    """The version of Promoter that decided."""
    override: int = left_out()
    """The number of the record of the override."""
    replaces: int | None = left_out()
    """The version that the override took away."""
    by: str = left_out()
    """The person who asked for the override."""
    then: str = left_out()
    """What follows the end of the override."""
    in_force: str | None = left_out()
    """The revision that stays in force; null: none does."""
    author: str | None = left_out()
    """Who wrote the commit that is refused; null: git does not say."""
    missing: list[str] = Field(default=[], serialization_alias="left_out")
    """The fields that are not here, since the event would be too large."""
