"""Simulate: rotation over a model's real past, with the policy in the place of the one that was in force.

Mirrors `promoter.domain.rotation`: the same candidates, the same evaluation, the same choice. What is simulated is who holds
the replayed alias and when it moves, and hence its limits. What is real is everything else: the versions, their evidence,
the other aliases.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from promoter.domain.audit import AuditRecord, RecordKind
from promoter.domain.decision import Decision, RuleFinding, Verdict, combine_all_of
from promoter.domain.desired import AliasIntent
from promoter.domain.evidence import AliasPast
from promoter.domain.policy.document import ONE_DAY, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.replay.as_of import NOT_REPLAYED, AliasHolder, EvidenceBasis, EvidenceSource, ReplayHistory, ReplayPolicy
from promoter.domain.rotation import choose_best_candidate

_RULES_SHOWN = 3


class CandidateOutcome(StrEnum):
    """What became of a version: it would have held the alias, it was blocked, or it passed while a better one was there."""

    HELD = "held"
    TURNED_DOWN = "turned down"
    PASSED_OVER = "passed over"


@dataclass(frozen=True)
class JudgedVersion:
    """The last evaluation of one version."""

    version: int
    """The version."""
    at: datetime
    """When it was evaluated."""
    decision: Decision
    """The decision."""
    source: EvidenceSource
    """Where its evidence comes from."""
    outcome: CandidateOutcome
    """What became of the version."""
    supposed: frozenset[str] = frozenset()
    """The kinds of rules that were assumed to pass."""


@dataclass(frozen=True)
class SimulatedSpan:
    """A time in which the version would have held the alias."""

    version: int
    """The version."""
    since: datetime
    """Its begin."""
    until: datetime | None
    """Its end; None: it still lasts."""
    replaced_by: int | None
    """The version that followed."""
    judged: JudgedVersion | None
    """The evaluation that let it in; None where it held the alias when the replay began."""
    why: str
    """Why it held the alias."""


@dataclass(frozen=True)
class RotationSimulation:
    """What one policy would have done on one alias."""

    start: AliasHolder
    """Who held the alias when the replay began."""
    spans: tuple[SimulatedSpan, ...]
    """Who would have held the alias, in order of time."""
    judged: tuple[JudgedVersion, ...]
    """The last evaluation of every version."""
    never: tuple[int, ...]
    """Versions of that time that never were candidates: not ready, or never given the alias that candidates come from."""


def simulate_rotation(history: ReplayHistory, lens: ReplayPolicy, since: datetime, until: datetime) -> RotationSimulation:
    """Return who would have held the alias from `since` to `until`."""
    return _RotationSimulator(history, lens, since, until).run_simulation()


_ALL_VERSIONS, _LIMIT_OVER = 0, -1
"""In the queue, in the place of a version: something that concerns every version, or those that wait for a limit."""


@dataclass
class _RotationSimulator:
    """The state of one simulation."""

    history: ReplayHistory
    """The real past."""
    lens: ReplayPolicy
    """The policy."""
    since: datetime
    """The begin of the replay."""
    until: datetime
    """The end of the replay."""
    held: int | None = None
    """Who holds the alias in the simulation."""
    spans: list[SimulatedSpan] = field(default_factory=list)
    """The spans so far."""
    last: dict[int, JudgedVersion] = field(default_factory=dict)
    """The last evaluation of each version."""
    open: set[int] = field(default_factory=set)
    """The versions so far that may still take the alias."""
    waiting: set[int] = field(default_factory=set)
    """Those that pass and wait for a limit or a freeze."""
    moves: list[datetime] = field(default_factory=list)
    """When the alias moved."""
    shut: list[RuleFinding] = field(default_factory=list)
    """What the limit or freeze in the way says."""
    opens: datetime | None = None
    """When that is over."""
    queue: list[tuple[datetime, int]] = field(default_factory=list)
    """The moments to come, each with a version."""

    def run_simulation(self) -> RotationSimulation:
        """Run through the moments in order."""
        start = self.history.replayed_timeline.find_holder_at(self.since)
        self.moves = list(self.history.replayed_timeline.list_gated_moves(self.since))
        if start.version is not None:
            self.held = start.version
            why = "held it when the replay began" + (
                "" if start.basis is EvidenceBasis.THEN else ", to judge by who holds it now"
            )
            self.spans.append(SimulatedSpan(start.version, self.since, None, None, None, why))
        self._schedule_moments(start)
        while self.queue:
            at, due = self.queue[0][0], set()
            while self.queue and self.queue[0][0] == at:
                due.add(heapq.heappop(self.queue)[1])
            self._process_moment(at, due)
        held = {span.version for span in self.spans}
        judged = tuple(replace(each, outcome=_final_outcome(each, held)) for _, each in sorted(self.last.items()))
        new = (each.number for each in self.history.versions.values() if self.since <= each.created_at <= self.until)
        return RotationSimulation(start, tuple(self.spans), judged, tuple(sorted(set(new) - self.last.keys())))

    def _schedule_moments(self, start: AliasHolder) -> None:
        """Schedule every moment at which something may change. What was before the replay counts at its begin.

        Versions that existed before are candidates as for rotation, if it is known who held the alias.
        """
        for number, version in self.history.versions.items():
            if version.created_at > self.until or (version.created_at < self.since and start.basis is None):
                continue
            earliest = min(max(self.since, self.history.find_earliest_pass_time(self.lens, version)), self.until)
            moments = {max(each, earliest) for each in self.history.list_judgement_times(self.lens, version)}
            self.queue += [(moment, number) for moment in moments if moment <= self.until]
        for alias in self.lens.policy.needed_evidence.holders - {self.history.alias}:
            moved = (span.since for span in self.history.holdings[alias].spans if span.since)
            self.queue += [(moment, _ALL_VERSIONS) for moment in moved if self.since <= moment <= self.until]
        heapq.heapify(self.queue)

    def _process_moment(self, at: datetime, due: set[int]) -> None:
        """Rotate at that moment until nothing is left to do."""
        history = self.history
        asked = due - {_ALL_VERSIONS, _LIMIT_OVER}
        self.open |= asked
        if self.opens is not None and at >= self.opens:
            self.opens, self.shut = None, []
            asked |= self.waiting
        others = self.lens.policy.needed_evidence.holders - {history.alias}
        rivals = {self.held, *(history.holdings[alias].find_holder_at(at).version for alias in others)}
        if _ALL_VERSIONS in due or asked & rivals:
            asked = self._list_possible_candidates(at)
        while asked and self._move_to_best(at, asked):
            asked = self._list_possible_candidates(at)

    def _list_possible_candidates(self, at: datetime) -> set[int]:
        """Return every version that may be a candidate at that moment."""
        source = self.lens.candidate_alias
        named = self.history.holdings[source].find_holder_at(at).version if source else None
        return self.open | ({named} if named in self.history.versions and named is not None else set())

    def _move_to_best(self, at: datetime, asked: Collection[int]) -> bool:
        """Evaluate these versions, and move the alias to the best that passes unless a limit stops it.

        Return whether it moved.
        """
        versions = self.history.versions
        fit = sorted(each for each in asked if self.history.is_candidate(self.lens, versions[each], at, self.held))
        if not fit:
            return False
        judged = {number: self._judge_version(number, at) for number in fit}
        intent = AliasIntent(self.history.model, self.history.alias)
        standing = choose_best_candidate(
            intent, self.lens.policy, self.held, {each: one.decision for each, one in judged.items()}
        )
        for decision in standing.decisions:
            self.last[decision.version] = replace(judged[decision.version], decision=decision)
        self.waiting -= judged.keys()
        passing = [decision.version for decision in standing.decisions if decision.verdict is Verdict.PASS]
        best = standing.proposal.edit.version if standing.proposal else None
        if best is None or self._is_limited(at, passing):
            return False
        self._move_alias(at, self.last[best])
        return True

    def _judge_version(self, number: int, at: datetime) -> JudgedVersion:
        evidence, seen = self.history.build_evidence_as_of(self.lens, number, at, self.held)
        policy = self.lens.assume_unknown(seen.unknown)
        decision = evaluate_policy(policy, self.history.model, self.history.alias, evidence)
        return JudgedVersion(number, at, decision, seen.source, CandidateOutcome.TURNED_DOWN, seen.unknown)

    def _is_limited(self, at: datetime, passing: Collection[int]) -> bool:
        """Return whether a limit or a freeze stops the move; these versions then wait for its end."""
        if self.opens is None:
            self.shut, self.opens = find_limit_end(self.lens.policy.document, self.moves, at)
            if self.opens is not None and self.opens <= self.until:
                heapq.heappush(self.queue, (self.opens, _LIMIT_OVER))
        if self.opens is None:
            return False
        for number in passing:
            judged = self.last[number]
            findings = (*judged.decision.findings, *self.shut)
            verdict = combine_all_of(finding.verdict for finding in findings)
            self.last[number] = replace(judged, decision=replace(judged.decision, findings=findings, verdict=verdict))
        self.waiting |= set(passing)
        return True

    def _move_alias(self, at: datetime, judged: JudgedVersion) -> None:
        if self.spans:
            self.spans[-1] = replace(self.spans[-1], until=at, replaced_by=judged.version)
        self.spans.append(SimulatedSpan(judged.version, at, None, None, judged, _explain_decision(judged.decision)))
        self.held = judged.version
        self.moves.append(at)
        self.open = {each for each in self.open if each > judged.version}
        self.waiting &= self.open


def find_limit_end(
    document: PolicyDocument, moves: Sequence[datetime], at: datetime
) -> tuple[list[RuleFinding], datetime | None]:
    """Return what limits and freezes find at that moment after these moves, and when all of them end.

    None: nothing stops it.
    """
    limits = document.limits
    past = AliasPast(tuple(moves[-(limits.max_per_day or 1) :]))
    findings = [*limits.evaluate_limits(past, at), *(freeze.evaluate_freeze(past, at) for freeze in document.freeze)]
    if all(finding.verdict is Verdict.PASS for finding in findings):
        return findings, None
    ends = [end for freeze in document.freeze if (end := freeze.find_freeze_end(at))]
    if limits.cooldown and past.moves:
        ends.append(past.moves[-1] + limits.cooldown)
    if limits.max_per_day and len(past.moves) >= limits.max_per_day:
        ends.append(past.moves[-limits.max_per_day] + ONE_DAY)
    return findings, max(ends)


def _final_outcome(judged: JudgedVersion, held: Collection[int]) -> CandidateOutcome:
    if judged.version in held:
        return CandidateOutcome.HELD
    return CandidateOutcome.PASSED_OVER if judged.decision.verdict is Verdict.PASS else CandidateOutcome.TURNED_DOWN


def _explain_decision(decision: Decision) -> str:
    reasons = [f"{finding.rule}: {_describe_finding(finding)}" for finding in decision.findings[:_RULES_SHOWN]]
    more = len(decision.findings) - _RULES_SHOWN
    return "; ".join(reasons) + (f"; and {more} more" if more > 0 else "")


def _describe_finding(finding: RuleFinding) -> str:
    if finding.waived:
        return f"waived ({finding.waived.verdict})"
    if finding.value in (None, NOT_REPLAYED):
        return finding.expected if finding.value is None else NOT_REPLAYED
    return f"{finding.value}, {finding.expected}"


PROMOTER_ACTOR = "Promoter"
"""The actor of drift that is put back; a rotation's is the author of its commit."""
_MOST_PAST_MOVES = 1_000  # no limit looks back further


@dataclass(frozen=True)
class JudgedPromotion:
    """A real move to a version, and what the policy decides of it."""

    at: datetime
    """When the alias moved."""
    from_version: int | None
    """The version before."""
    to_version: int
    """The version after."""
    actor: str | None
    """Who moved it; None: unknown."""
    decision: Decision
    """The policy's decision."""
    source: EvidenceSource
    """Where its evidence comes from."""
    supposed: frozenset[str] = frozenset()
    """The kinds of rules that were assumed to pass."""

    @property
    def is_blocked(self) -> bool:
        """Return whether the policy would have blocked it; with `enforcement: audit`, would have reported it."""
        return self.decision.verdict is not Verdict.PASS


@dataclass(frozen=True)
class PastPromotions:
    """Every real move of the alias in the replayed time."""

    promotions: tuple[JudgedPromotion, ...] = ()
    """The moves that the policy evaluates."""
    ungated: int = 0
    """How many moves no policy gates."""


def judge_past_promotions(history: ReplayHistory, lens: ReplayPolicy, since: datetime, until: datetime) -> PastPromotions:
    """Evaluate each real move on the evidence of its time, against the real holder, with the limits of that time.

    Deletions are left out, and so is what is no new decision: the record by which the ledger first saw the alias, drift
    that was reverted, and a version that returned under a hold.
    """
    found, ungated = [], 0
    for record in history.replayed_timeline.moves:
        if (
            not since <= record.fact.at <= until
            or record is history.replayed_timeline.first_observation
            or record.fact.to_version is None
        ):
            continue
        if _is_ungated(record):
            ungated += 1
            continue
        found.append(_judge_promotion(history, lens, record, record.fact.to_version))
    return PastPromotions(tuple(found), ungated)


def _judge_promotion(history: ReplayHistory, lens: ReplayPolicy, record: AuditRecord, number: int) -> JudgedPromotion:
    fact = record.fact
    known = history.memory.pasts.get(record.decision or 0, AliasPast())
    past = AliasPast(history.replayed_timeline.list_gated_moves(fact.at)[-_MOST_PAST_MOVES:], known.begun, known.override)
    evidence, seen = history.build_evidence_as_of(lens, number, fact.at, fact.from_version, past)
    decision = evaluate_policy(lens.assume_unknown(seen.unknown), history.model, history.alias, evidence)
    return JudgedPromotion(fact.at, fact.from_version, number, fact.actor, decision, seen.source, seen.unknown)


def _is_ungated(record: AuditRecord) -> bool:
    """Return whether no policy decided the move.

    Reverted drift has no verdict, and a return under a hold only a readiness check.
    """
    fact = record.fact
    drift = fact.verdict is None and fact.actor == PROMOTER_ACTOR
    return fact.kind is RecordKind.CHANGE and (drift or (fact.verdict is not None and fact.policy is None))
