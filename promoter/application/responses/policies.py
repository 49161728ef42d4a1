"""Responses about policies: their tests and their replays."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator

from promoter.application.responses import Answer, Moment, Response, Tree, attribute
from promoter.application.responses.registry import SpanResponse
from promoter.domain.replay.report import REJECTING_VERDICTS, ReplayReport, list_replay_notes


class MismatchResponse(Response):
    """A verdict that is not what a case expects."""

    part: str | None
    rule: str
    expected: str
    got: str
    value: Any = attribute("finding.json_value", default=None)
    wanted: str | None = attribute("finding.expected", default=None)
    detail: str = attribute("description")


class CaseResponse(Response):
    """A case, and what came of it."""

    file: str
    line: int
    name: str = attribute("run.case.name")
    passed: bool = attribute("run.has_passed")
    expected: str | None = attribute("run.case.expect")
    verdict: str = attribute("run.decision.verdict")
    mismatches: list[MismatchResponse] = attribute("run.mismatches")
    rules: list[Tree] = attribute("run.decision.findings")
    guards: list[Tree] = attribute("run.guards.findings", default=[])


class RuleCoverageResponse(Response):
    """A rule, the verdicts that it found over all cases, and what it was never seen to do."""

    part: str = attribute("target.part")
    place: str = attribute("target.place")
    rule: str = attribute("target.rule")
    name: str | None = attribute("target.name")
    verdicts: list[str]
    never: list[str] = attribute("unseen_outcomes")


class PolicySuiteResponse(Response):
    """The cases of one policy, and its coverage."""

    policy: str
    cases: list[CaseResponse]
    coverage: list[RuleCoverageResponse]


class PolicyTestResponse(Answer):
    """What came of all cases."""

    cases: int = attribute("case_count")
    failed: int = attribute("failed_count")
    rules: int = attribute("rule_count")
    covered: int = attribute("covered_count")
    untested: list[str] = attribute("untested_policies")
    policies: list[PolicySuiteResponse] = attribute("suites")


SortedWords = Annotated[list[str], BeforeValidator(sorted)]


class EvidenceSourceResponse(Response):
    """What a judgement rests on."""

    basis: str
    as_of: Moment | None


class SimulatedSpanResponse(Response):
    """A time in which a version would have held the alias."""

    version: int
    since: Moment
    until: Moment | None
    replaced_by: int | None
    why: str
    evidence: EvidenceSourceResponse | None = attribute("judged.source", default=None)


class PromotionResponse(Response):
    """A real promotion, and what the policy says of it."""

    at: Moment
    from_version: int | None = attribute("from_version", "from")
    to_version: int = attribute("to_version", "to")
    actor: str | None
    is_blocked: bool = attribute("is_blocked", "blocked")
    verdict: str = attribute("decision.verdict")
    rules: list[Tree] = attribute("decision.unmet_findings")
    evidence: EvidenceSourceResponse = attribute("source")
    not_replayed: SortedWords = attribute("supposed")


class JudgedVersionResponse(Response):
    """The last judgement of a version."""

    version: int
    at: Moment
    outcome: str
    verdict: str = attribute("decision.verdict")
    rules: list[Tree] = attribute("decision.unmet_findings")
    evidence: EvidenceSourceResponse = attribute("source")
    not_replayed: SortedWords = attribute("supposed")


class PolicyReplayResponse(Response):
    """What one policy would have made of an alias."""

    policy: str = attribute("policy_name")
    version: int | None = attribute("final_holder")
    spans: list[SimulatedSpanResponse] = attribute("simulation.spans")
    promotions: list[PromotionResponse] = attribute("past.promotions")
    judged: list[JudgedVersionResponse] = attribute("simulation.judged")
    never_candidates: list[int] = attribute("simulation.never")


class StartHolderResponse(Response):
    """Who held the alias when the replay began."""

    version: int | None
    basis: str | None


class ModelReplayResponse(Response):
    """One alias of one model: what was, and what each policy would have made of it."""

    model: str
    alias: str
    version: int | None = attribute("held_now")
    ledger_since: Moment | None = attribute("began")
    start: StartHolderResponse = attribute("start_holder")
    spans: list[SpanResponse] = attribute("actual")
    replays: list[PolicyReplayResponse]


class RejectingRuleResponse(Response):
    """How often one rule kept a version from passing, by what it found."""

    policy: str
    rule: str
    fail: int
    pending: int
    error: int


class AssumedRuleResponse(Response):
    """A rule that was taken as passing, and for how many versions."""

    policy: str
    rule: str
    versions: int


class ReplayResponse(Answer):
    """A replay of one policy, or of two."""

    policy: str
    compare: str | None
    digests: dict[str, str]
    since: Moment
    until: Moment
    evidence: dict[str, int]
    """How many judgements rest on what."""
    models: list[ModelReplayResponse]
    rules: list[RejectingRuleResponse]
    not_replayed: list[AssumedRuleResponse]
    notes: list[str]

    @classmethod
    def from_report(cls, report: ReplayReport) -> Self:
        """Read the report, and count what its rules and its evidence are."""
        first, *others = (lens.policy for lens in report.lenses)
        return cls.from_values(
            policy=first.name,
            compare=others[0].name if others else None,
            digests={policy.name: policy.digest for policy in (first, *others)},
            since=report.since,
            until=report.until,
            evidence=report.count_evidence_bases(),
            models=report.models,
            rules=[
                {"policy": row.policy, "rule": row.rule} | dict(zip(REJECTING_VERDICTS, row.found, strict=True))
                for row in report.count_rejecting_rules()
            ],
            not_replayed=[
                {"policy": policy, "rule": rule, "versions": count} for policy, rule, count in report.count_assumed_rules()
            ],
            notes=list_replay_notes(report),
        )
