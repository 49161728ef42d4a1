"""Responses about plans and what carries them out: plan, the plan of a pull request, apply, rollback, explain, approve."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from promoter.application.responses import Answer, Inlined, Moment, Response, TextOrNull, Tree, attribute
from promoter.application.responses.operations import FaultResponse


class ChangeResponse(Response):
    """A change of a plan, and the decision of its gate."""

    model: str = attribute("difference.model")
    alias: str = attribute("difference.alias")
    from_version: int | None = attribute("difference.from_version", "from")
    to_version: int | None = attribute("difference.to_version", "to")
    cause: str = attribute("difference.cause")
    is_allowed: bool = attribute("is_allowed", "allowed")
    verdict: str | None = attribute("gate_verdict")
    decision: Tree | None
    replacement: str | None = attribute("difference.replacement_note", left_out=True)
    """Where git and the registry agreed on another version of that number: what became of it."""


class BlockedResponse(Response):
    """A model, or one alias of it, that is left as it is, and why."""

    model: str
    alias: str | None
    """null: the whole model."""
    reason: str


class DriftResponse(Response):
    """Drift that is only reported."""

    model: str
    alias: str
    from_version: int | None = attribute("from_version", "from")
    to_version: int | None = attribute("to_version", "to")


class UnmanagedResponse(Response):
    """An alias that git stated something of, and states nothing of any more."""

    model: str
    alias: str
    version: int | None
    """The version that was stated last."""
    similar: str | None
    """An alias that is new, and spelled alike."""
    reason: str = attribute("description")


class PlanResponse(Answer):
    """A plan."""

    revision: str | None
    digest: str
    changes: list[ChangeResponse]
    blocked: list[BlockedResponse]
    drift: list[DriftResponse] = attribute("reported")
    refused: str | None
    unmanaged: list[UnmanagedResponse]
    notes: list[str]


class AppliedPlanResponse(Inlined, Answer):
    """A plan, and what came of carrying it out."""

    plan: PlanResponse = attribute("view.plan")
    applied: list[ChangeResponse] = attribute("changes")
    failed: dict[str, str]


class DivergentVersionResponse(Response):
    """A version of which two policies say different things."""

    version: int
    why: str


class AliasEffectResponse(Response):
    """What a changed policy would have changed on one alias."""

    model: str
    alias: str
    promotions: int | None
    blocks: list[DivergentVersionResponse]
    lets_through: list[DivergentVersionResponse] = attribute("lets")
    turns_down: list[DivergentVersionResponse]
    takes: list[DivergentVersionResponse]
    holder_before: int | None = attribute("before")
    holder_after: int | None = attribute("after")


class PolicyStepResponse(Response):
    """One policy that is another after the merge."""

    policy: str = attribute("name")
    step: str
    before: str | None
    replay: list[AliasEffectResponse] | None = attribute("replayed")
    """null: it was not made."""
    not_replayed: str | None = attribute("replay_error")
    """Why it was not made."""


class BroughtChangeResponse(Inlined):
    """A change that a pull request brings, and what the merged policy says of it, where that is another one."""

    change: ChangeResponse
    later: Tree | None


class PullPlanResponse(Inlined, Answer):
    """The plan of a pull request: the fields of its plan, and then the rest."""

    plan: PlanResponse = attribute("shown_plan")
    digest: str | None = attribute("plan.digest", default=None)
    base: str
    head: str
    state: str = attribute("status_state")
    description: str = attribute("status_description")
    brought: list[BroughtChangeResponse] = attribute("brought.changes_with_later")
    lacking: list[BlockedResponse] = attribute("brought.lacking")
    settings: list[str] = attribute("brought.settings")
    gates: list[str] = attribute("brought.gates")
    notes: list[str] = attribute("brought.notes")
    unmanaged: list[UnmanagedResponse] = attribute("brought.unmanaged")
    policies: list[PolicyStepResponse] = attribute("brought.policies")
    faults: list[FaultResponse]
    conflicts: list[str]
    unjudged: str | None
    folder: TextOrNull = attribute("folder.path", left_out=True)
    """The folder of the repository that has the files; not there for its top."""


class RollbackResponse(Answer):
    """What came of a rollback, a hold or a quarantine."""

    model: str
    alias: str
    act: str
    """`rollback`, `hold`, `release`, `quarantine` or `lift-quarantine`."""
    version: int | None
    """The version that it is about: the one that returns, that is held, or that goes into quarantine or leaves it."""
    from_version: int | None = attribute("from_version", "from")
    to_version: int | None = attribute("to_version", "to")
    path: str | None
    revision: str | None
    pull_request: str | None
    override: int | None = attribute("override.id", default=None)
    until: Moment | None
    """When it ends by itself: the override, or the hold."""
    done: bool
    messages: list[str] = attribute("messages", "told")


class OtherDecisionResponse(Response):
    """The decision on another version, in short."""

    version: int
    verdict: str
    summary: str = attribute("summary_line")


_NO_DECISION: dict[str, Any] = {"model": None, "alias": None, "version": None, "policy": None, "verdict": None, "rules": []}


class ExplanationResponse(Inlined, Answer):
    """A decision, and what else bears on its alias."""

    decision: Annotated[dict[str, Any], BeforeValidator(lambda found: found.to_json() if found else _NO_DECISION)]
    subject: str
    notes: list[str]
    others: list[OtherDecisionResponse]
    guards: list[Tree]


class RankedCandidateResponse(Response):
    """A candidate of an alias."""

    version: int
    rank: float | None
    """The value that it is ranked by; null: it has none, or versions are ranked by number."""
    verdict: str
    summary: str
    proposed: bool


class AliasCandidatesResponse(Response):
    """The candidates of an alias, the best first."""

    alias: str
    held: int | None
    stated: str
    rotation: str
    reason: str
    policy: str | None
    rank_metric: str | None
    candidates: list[RankedCandidateResponse]


class ModelCandidatesResponse(Answer):
    """The candidates of each alias of a model."""

    model: str
    aliases: list[AliasCandidatesResponse]


class WeighedApprovalResponse(Response):
    """One person's approval, and whether it counts."""

    approver: str = attribute("name")
    groups: list[str]
    counts: bool
    message: str = attribute("message", "told")


class ApprovalTallyResponse(Response):
    """Where one approval rule stands."""

    rule: Annotated[str, BeforeValidator(str)]
    count: int
    at_least: int = attribute("rule.approval.at_least")
    approvals: list[WeighedApprovalResponse] = attribute("weighed")


class ApprovalResponse(Inlined, Answer):
    """A decision with the approval that was given, and whether that counts."""

    decision: Tree
    approver: str = attribute("draft.name")
    revision: str | None = attribute("draft.declaration.revision")
    source: str | None = attribute("draft.subject.source")
    tag: dict[str, str]
    counts: bool
    why: TextOrNull
    notes: list[str] = attribute("draft.notes")
    approvals: list[ApprovalTallyResponse] = attribute("tallies")
