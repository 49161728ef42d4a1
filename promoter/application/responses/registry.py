"""Responses about models and aliases: how they stand now, and how they stood."""

from __future__ import annotations

from typing import Annotated

from promoter.application.responses import Answer, Moment, Recorded, Response, attribute, enum_words, left_out
from promoter.application.responses.ledger import DecisionResponse, RecordResponse, ReviewResponse
from promoter.application.status import BLOCKED, DRIFT, GUARD, HELD, OPEN, OUT_OF_SYNC, OVERRIDE, REFUSED, SYNCED
from promoter.domain.history import Certainty
from promoter.domain.refusals import REFUSABLE_REASONS


class OverrideResponse(Response):
    """What stands in for git's word until a pull request is decided."""

    id: int = attribute("override.id")
    version: int = attribute("override.version")
    replaces: int | None = attribute("override.replaces")
    since: Moment = attribute("override.at")
    until: Moment = attribute("override.until")
    by: str = attribute("override.by")
    reason: str = attribute("override.reason")
    returns: int | None = attribute("returning_version")
    """The version that comes back by itself where git does not state `version` by `until`; null: none does."""
    then: str = attribute("consequence")
    """What follows then, in words."""


class RefusalResponse(Response):
    """What a person turned down by closing its pull request; `promoter reconsider` takes it back."""

    model: str
    alias: str
    aim: Annotated[str, enum_words(REFUSABLE_REASONS)]
    """What was proposed: a candidate, the return that a broken guard asks for, the adoption of a move by hand, or that git goes
    back to what the registry has."""
    version: int
    replaces: int | None
    """Of a way back, the version that it leaves."""
    at: Moment
    """When it was closed; without `pull_request`, when Promoter learned of it."""
    by: str | None
    """The account; null: the forge does not tell."""
    pull_request: str | None
    """Its address; null: only the text of a later pull request remembers it."""
    description: str
    way_back: str
    """The command that takes it back."""


class RefusalsResponse(Answer):
    """What people turned down, and what would be considered otherwise, of all managed models, the newest first."""

    refusals: list[RefusalResponse]


class ReconsiderResponse(Answer):
    """A person's no that was taken back."""

    model: str
    alias: str
    version: int
    refused: RefusalResponse
    """The newest no that was taken back; `also` has those to other proposals of the same version."""
    also: list[RefusalResponse]


class AliasResponse(Response):
    """An alias: where it is, where git says it is to be, and what stands in between."""

    model: str
    alias: str
    version: int | None = attribute("held")
    """What the registry holds."""
    stated: int | None
    """What git says; null: nothing, or that it must not exist (`absent`)."""
    absent: bool
    """Git says that it must not exist."""
    status: Annotated[str, enum_words((SYNCED, OUT_OF_SYNC, BLOCKED, DRIFT, HELD, OPEN, GUARD, OVERRIDE, REFUSED))]
    detail: str
    failing: str
    """Guards that failed when they were last asked."""
    override: OverrideResponse | None
    refusals: list[RefusalResponse]
    """What people turned down for the alias, and what would be considered for it otherwise."""
    last_change: RecordResponse | None = attribute("last")


class TroubleResponse(Response):
    """What keeps Promoter's work on the model from succeeding; surveys may still see it."""

    since: Moment
    reason: str


class ModelResponse(Response):
    """A managed model."""

    name: str
    owners: list[str]
    newest_version: int | None = attribute("newest")
    aliases: list[AliasResponse] = attribute("rows")
    late: TroubleResponse | None
    """It does not answer in time. null: it answers."""
    fault: TroubleResponse | None
    """Its own work fails, for a reason that lies in the model. null: nothing failed."""


class OneModelResponse(Answer):
    """One managed model."""

    model: ModelResponse


class ModelPageResponse(Answer):
    """A page of the managed models, by name."""

    total: int
    """How many there are."""
    models: list[ModelResponse]
    workspace: str | None = left_out()
    """The workspace of the MLflow server that they are in, where the server has workspaces."""


class SpanResponse(Response):
    """A stretch of time in which a version held an alias."""

    version: int | None
    """The version; null: absent, or nobody knows."""
    since: Moment | None
    """When it was recorded; null: before the ledger began."""
    until: Moment | None
    """null: still."""
    not_before: Moment | None
    """It began between then and `since`; null: nobody recorded more."""
    revision: str | None
    """The commit."""
    actor: str | None
    reason: str | None
    review: Recorded[ReviewResponse] | None
    record: int | None = attribute("record.id", default=None)
    """The number of the record that put the version there."""
    hash: str | None = attribute("record.hash", default=None)
    """That record's hash."""


class DoubtResponse(Response):
    """A time in which the version is not certain."""

    since: Moment = attribute("since", "from")
    until: Moment = attribute("until", "to")
    versions: list[int | None]
    record: int = attribute("record.id")
    note: str = attribute("description")


class GapResponse(Response):
    """A time in which nobody watched."""

    since: Moment | None = attribute("since", "from")
    until: Moment | None = attribute("until", "to")
    note: str = attribute("description")


class AliasNameResponse(Response):
    """The name of an alias."""

    model: str
    alias: str


class AliasStateResponse(Response):
    """Where an alias stood at a moment."""

    known: Annotated[str, enum_words(Certainty)] = attribute("state.known")
    """`either`: one of `versions`; `no`: before the first record of it."""
    version: int | None = attribute("state.certain_version")
    """The version; null: absent, or nobody knows."""
    versions: list[int | None] = attribute("state.versions")
    """All that it may have been; null among them: absent."""
    span: SpanResponse | None = attribute("state.span")
    doubt: DoubtResponse | None = attribute("state.doubt")


class AliasThenResponse(AliasStateResponse, AliasNameResponse):
    """An alias at a moment."""

    notes: list[str]


class AliasMomentResponse(AliasNameResponse):
    """The name of an alias, and a moment."""

    at: Moment = attribute("state.at")


class AliasAtResponse(AliasStateResponse, AliasMomentResponse, Answer):
    """An alias at a moment, what put it there, and what was decided."""

    record: RecordResponse | None = attribute("placing_record")
    decision: Recorded[DecisionResponse] | None = attribute("decision.numbered_tree", default=None)
    gap: GapResponse | None
    notes: list[str]


class AliasBetweenResponse(AliasNameResponse, Answer):
    """An alias between two moments. Its spans are whole."""

    begin: Moment = attribute("period.begin", "from")
    end: Moment = attribute("period.end", "to")
    known_from: Moment | None = attribute("period.first.fact.at", default=None)
    spans: list[SpanResponse] = attribute("period.spans")
    doubts: list[DoubtResponse] = attribute("period.doubts")
    gaps: list[GapResponse]
    notes: list[str]


class AliasHistoryResponse(AliasNameResponse, Answer):
    """All that the ledger knows of who held an alias when."""

    spans: list[SpanResponse]
    notes: list[str] | None = left_out()
    """What is in force now, and ends by itself; not there where nothing is."""


class RegistryAtResponse(Answer):
    """Every alias at a moment."""

    at: Moment
    aliases: list[AliasThenResponse]
    gap: GapResponse | None
    notes: list[str]
