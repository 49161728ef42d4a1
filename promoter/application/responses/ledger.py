"""Responses about the ledger: audit records, decisions, and what verification and reruns found."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, WithJsonSchema

from promoter.application.responses import (
    Answer,
    Inlined,
    Moment,
    Recorded,
    Response,
    TextOrNull,
    Tree,
    attribute,
    enum_words,
    left_out,
)
from promoter.domain.audit import ChangeOutcome, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.ledger.rerun import DecisionRerun

VerdictWord = Annotated[str, enum_words(Verdict)]


class ReviewResponse(Response):
    """A pull request."""

    pull_request: str
    number: int
    author: str
    reviewers: list[str]
    merged_by: str | None
    merge_commit: str | None


class CopyOriginResponse(Response):
    """The version that another one is a copy of."""

    registry: str
    """The registry that has it, by its name in the settings; empty: this one."""
    model: str
    version: int
    run_id: str | None
    """Its training run, in that registry."""


class RecordResponse(Response):
    """An audit record."""

    id: int
    """Its number in the ledger."""
    at: Moment = attribute("fact.at")
    """When it was recorded."""
    kind: Annotated[str, enum_words(RecordKind)] = attribute("fact.kind")
    """`observed`: somebody else moved the alias. `replaced`: its version's number stands for another version now."""
    model: str = attribute("fact.model")
    alias: str = attribute("fact.alias")
    from_version: int | None = attribute("fact.from_version", "from")
    """The version; null: absent, or nobody knows."""
    to_version: int | None = attribute("fact.to_version", "to")
    """The version; null: absent, or nobody knows."""
    revision: str | None = attribute("fact.revision")
    """The commit."""
    actor: str | None = attribute("fact.actor")
    trigger: str | None = attribute("fact.trigger")
    policy: str | None = attribute("fact.policy")
    verdict: VerdictWord | None = attribute("fact.verdict")
    outcome: Annotated[str, enum_words(ChangeOutcome)] | None = attribute("fact.outcome")
    reason: str | None = attribute("fact.reason")
    cause: str | None = attribute("fact.cause")
    review: Recorded[ReviewResponse] | None = attribute("fact.review")
    """The pull request that brought it."""
    until: Moment | None = attribute("fact.until")
    """When the override expires."""
    not_before: Moment | None = attribute("fact.not_before")
    """When the registry was last seen as it was before."""
    hold: str | None = attribute("fact.hold")
    """The reason of the hold that git states with it."""
    intent: int | None
    """The intent that it closes."""
    decision: int | None
    """The number of the decision behind it."""
    hash: str | None
    """SHA-256 of the entry in the ledger's chain."""
    from_identity: str | None = attribute("fact.from_identity", left_out=True)
    """The identity of the version `from`, which tells it from another one with that number."""
    to_identity: str | None = attribute("fact.to_identity", left_out=True)
    """The identity of the version `to`."""
    run_id: str | None = attribute("fact.run_id", left_out=True)
    """The training run of the version `to`."""
    without_artifact_check: bool | None = attribute("fact.without_artifact_check", left_out=True)
    """Whether the version of an override returns although its artifact may not pass its check."""
    copied_from: Recorded[CopyOriginResponse] | None = attribute("fact.copied_from", left_out=True)
    """The version that the version `to` is a copy of."""
    workspace: str | None = attribute("fact.workspace", left_out=True)
    """The workspace of the MLflow server, where it has workspaces."""


class NeighboursResponse(Response):
    """What to ask for next; null: there are no more."""

    before: int | None = attribute("older")
    """For the page of older records."""
    after: int | None = attribute("newer")
    """For newer ones."""


class RewriteResponse(Response):
    """A forced push: the branch's head does not follow the one that was known before."""

    at: Moment
    """When it was found."""
    before: str
    after: str
    unrelated: bool = attribute("is_unrelated")
    """Whether the two have no commit in common."""
    dropped: int | None
    """How many commits the branch has lost; null: nobody knows."""
    description: str


class RecordPageResponse(Answer):
    """A page of audit records, oldest first."""

    records: list[RecordResponse]
    next: NeighboursResponse
    rewrites: list[RewriteResponse] | None = left_out()
    """When the branch was rewritten; only in a page without filters other than times, and where that happened."""


class IntervalResponse(Response):
    """A confidence interval."""

    low: float
    high: float
    level: float


class WaivedResponse(Response):
    """What it was without the waiver."""

    verdict: VerdictWord
    waiver: str


class RuleResponse(Response):
    """What a rule found."""

    rule: str
    """As it is written in the policy."""
    verdict: VerdictWord
    value: Annotated[str | float | bool | None, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
    """What was seen; null: nothing."""
    expected: str
    """In words."""
    rules: list[RuleResponse] = left_out()
    interval: IntervalResponse = left_out()
    waived: WaivedResponse = left_out()


class DecisionResponse(Response):
    """Whether a version may hold an alias."""

    id: int
    """Its number in the ledger."""
    revision: str | None
    """The commit."""
    model: str
    alias: str | None
    version: int
    policy: str | None
    """null: no policy's decision, only whether the version is ready."""
    policy_digest: str | None
    """SHA-256 of the policy."""
    verdict: VerdictWord
    enforcement: Annotated[str, enum_words(("enforce", "audit"))] = left_out()
    """`audit`: it only watches, and blocks nothing."""
    at: Moment
    rules: list[RuleResponse]
    identity: str = left_out()
    """The identity of the version, which tells it from another one with that number."""


class EvidencedResponse(DecisionResponse):
    """A decision, and its evidence."""

    evidence: Annotated[dict[str, Any], WithJsonSchema({"type": "object"})] | None
    """What the decision was taken on; null where there was none, or where it was dropped since."""


class DecisionsResponse(Answer):
    """Recorded decisions, the newest first."""

    decisions: list[Recorded[EvidencedResponse]]


class ProblemResponse(Response):
    """A problem of the ledger."""

    kind: str = attribute("kind", "problem")
    entry: int | None
    last: int | None = attribute("last_entry")
    about: TextOrNull
    message: str = attribute("message", "told")


class VerificationResponse(Answer):
    """What a verification of the ledger, or of an export of it, found."""

    is_sound: bool = attribute("is_sound", "sound")
    ledger: TextOrNull = attribute("head.ledger")
    start: Annotated[int, BeforeValidator(lambda start: start + 1)] = attribute("start", "from")
    """The first entry that was looked at."""
    entries: int
    head: str | None = attribute("verified_head")
    vouching: dict[str, int]
    foreign: dict[str, int]
    earlier: int
    keys: dict[str, int]
    trusted: bool
    dropped: int
    problems: list[ProblemResponse]
    more: int


class CheckedLedgerResponse(Inlined, Answer):
    """A verification, and what it could not check."""

    verification: VerificationResponse
    not_checked: list[str]


class RerunDifferenceResponse(Response):
    """A field of which the recorded value is not the one that comes out now."""

    field: str
    recorded: str | None
    now: str | None


class DecisionRerunResponse(Response):
    """What came of making a recorded decision again."""

    decision: int
    at: Moment
    model: Any
    alias: Any
    version: Any
    policy: Any
    policy_digest: Any
    verdict: Any
    purpose: str | None
    approvers: str | None
    evidence: str | None
    revision: str | None
    trigger: str | None
    tool: str | None
    ending: str
    why: TextOrNull
    differences: list[RerunDifferenceResponse]
    tree: Tree | None

    @classmethod
    def from_rerun(cls, rerun: DecisionRerun) -> Self:
        """Read what was recorded, and what came of it."""
        recorded = rerun.recorded
        names = ("model", "alias", "version", "policy", "policy_digest", "verdict")
        kept = ("at", "purpose", "approvers", "revision", "trigger", "tool")
        return cls.from_values(
            decision=recorded.id,
            **{name: recorded.tree.get(name) for name in names},
            **{name: getattr(recorded, name) for name in kept},
            evidence=recorded.evidence_digest,
            ending=rerun.ending,
            why=rerun.why,
            differences=rerun.differences,
            tree=rerun.decision,
        )


class RerunResponse(DecisionRerunResponse, Answer):
    """What came of making one recorded decision again."""


class RerunTotalsResponse(Answer):
    """How many decisions came out how, and those that are not the same."""

    decisions: int
    same: int
    different: int
    dropped: int
    older: int
    broken: int
    alarming: list[DecisionRerunResponse]


class LedgerHeadResponse(Response):
    """The last entry of a ledger."""

    ledger: str
    entry: int
    hash: str


class CheckpointResponse(Answer):
    """A signed checkpoint, under the number of its entry."""

    checkpoint: int
    head: LedgerHeadResponse
    key: str
    signature: str


class SuccessionResponse(Answer):
    """The ledger that this one follows, and the head behind the entry that says so."""

    succeeds: str
    head: LedgerHeadResponse


class PruneResponse(Answer):
    """How many pieces of evidence are older than a moment, and whether they were dropped."""

    before: Moment
    pieces: int
    dropped: bool
