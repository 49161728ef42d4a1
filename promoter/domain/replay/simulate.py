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

from promoter.domain.desired import AliasIntent
from promoter.domain.evaluate import evaluate
from promoter.domain.evidence import AliasPast
from promoter.domain.limits import DAY
from promoter.domain.policy import PolicyDocument
from promoter.domain.replay.history import History
from promoter.domain.replay.holding import Holder
from promoter.domain.replay.memory import Basis, Source
from promoter.domain.replay.supposing import NOT_REPLAYED, Lens
from promoter.domain.rotation import choose
from promoter.domain.verdict import Decision, Finding, Verdict, all_of

_RULES_SHOWN = 3


class Outcome(StrEnum):
    """What became of a version: it would have held the alias, was turned down, or passed while a better one was there."""

    HELD = "held"
    TURNED_DOWN = "turned down"
    PASSED_OVER = "passed over"


@dataclass(frozen=True)
class Judged:
    """The last judgement of one version. `supposed` are the kinds of rules that were taken as passing."""

    version: int
    at: datetime
    decision: Decision
    source: Source
    outcome: Outcome
    supposed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SimulatedSpan:
    """A time in which the version would have held the alias. `judged` None: it was there when the replay began."""

    version: int
    since: datetime
    until: datetime | None
    replaced_by: int | None
    judged: Judged | None
    why: str


@dataclass(frozen=True)
class Simulation:
    """What came of one policy on one alias: spans in order of time, and the last judgement of every version."""

    start: Holder
    spans: tuple[SimulatedSpan, ...]
    judged: tuple[Judged, ...]
    never: tuple[int, ...]
    """Versions of that time that never were candidates: not ready, or never given the alias that candidates come from."""


def simulate(history: History, lens: Lens, since: datetime, until: datetime) -> Simulation:
    """Who would have held the alias from `since` to `until`."""
    return _Rotation(history, lens, since, until).run()


_EVERYONE, _OPENING = 0, -1
"""In the queue, in the place of a version: something that concerns every version, or those that wait for a limit."""


@dataclass
class _Rotation:
    """The state of one simulation.

    `open` are the versions that have come so far and may yet take the alias, `waiting` those of them that pass and wait for
    a limit or a freeze, `shut` what it says, and `opens` when it is over.
    """

    history: History
    lens: Lens
    since: datetime
    until: datetime
    held: int | None = None
    spans: list[SimulatedSpan] = field(default_factory=list)
    last: dict[int, Judged] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    moves: list[datetime] = field(default_factory=list)
    shut: list[Finding] = field(default_factory=list)
    opens: datetime | None = None
    queue: list[tuple[datetime, int]] = field(default_factory=list)

    def run(self) -> Simulation:
        """Moment by moment."""
        start = self.history.own.at(self.since)
        self.moves = list(self.history.own.gated(self.since))
        if start.version is not None:
            self.held = start.version
            why = "held it when the replay began" + ("" if start.basis is Basis.THEN else ", to judge by who holds it now")
            self.spans.append(SimulatedSpan(start.version, self.since, None, None, None, why))
        self._schedule(start)
        while self.queue:
            at, due = self.queue[0][0], set()
            while self.queue and self.queue[0][0] == at:
                due.add(heapq.heappop(self.queue)[1])
            self._look(at, due)
        held = {span.version for span in self.spans}
        judged = tuple(replace(each, outcome=_outcome(each, held)) for _, each in sorted(self.last.items()))
        new = (each.number for each in self.history.versions.values() if self.since <= each.created_at <= self.until)
        return Simulation(start, tuple(self.spans), judged, tuple(sorted(set(new) - self.last.keys())))

    def _schedule(self, start: Holder) -> None:
        """Every moment at which something may change. What was before the replay counts at its beginning.

        Versions that were there before are candidates as they are for rotation, if it is known who held the alias.
        """
        for number, version in self.history.versions.items():
            if version.created_at > self.until or (version.created_at < self.since and start.basis is None):
                continue
            earliest = min(max(self.since, self.history.earliest(self.lens, version)), self.until)
            moments = {max(each, earliest) for each in self.history.moments(self.lens, version)}
            self.queue += [(moment, number) for moment in moments if moment <= self.until]
        for alias in self.lens.policy.need.holders - {self.history.alias}:
            moved = (span.since for span in self.history.holdings[alias].spans if span.since)
            self.queue += [(moment, _EVERYONE) for moment in moved if self.since <= moment <= self.until]
        heapq.heapify(self.queue)

    def _look(self, at: datetime, due: set[int]) -> None:
        """What a look at that moment would do, until it has nothing left to do."""
        history = self.history
        asked = due - {_EVERYONE, _OPENING}
        self.open |= asked
        if self.opens is not None and at >= self.opens:
            self.opens, self.shut = None, []
            asked |= self.waiting
        others = self.lens.policy.need.holders - {history.alias}
        rivals = {self.held, *(history.holdings[alias].at(at).version for alias in others)}
        if _EVERYONE in due or asked & rivals:
            asked = self._everyone(at)
        while asked and self._move(at, asked):
            asked = self._everyone(at)

    def _everyone(self, at: datetime) -> set[int]:
        """Every version that may be a candidate at that moment."""
        source = self.lens.source
        named = self.history.holdings[source].at(at).version if source else None
        return self.open | ({named} if named in self.history.versions and named is not None else set())

    def _move(self, at: datetime, asked: Collection[int]) -> bool:
        """Judge these; move the alias to the best that passes, unless a limit is in the way. Whether it moved."""
        versions = self.history.versions
        fit = sorted(each for each in asked if self.history.is_candidate(self.lens, versions[each], at, self.held))
        if not fit:
            return False
        judged = {number: self._judge(number, at) for number in fit}
        intent = AliasIntent(self.history.model, self.history.alias)
        standing = choose(intent, self.lens.policy, self.held, {each: one.decision for each, one in judged.items()})
        for decision in standing.decisions:
            self.last[decision.version] = replace(judged[decision.version], decision=decision)
        self.waiting -= judged.keys()
        passing = [decision.version for decision in standing.decisions if decision.verdict is Verdict.PASS]
        best = standing.proposal.edit.version if standing.proposal else None
        if best is None or self._is_shut(at, passing):
            return False
        self._take(at, self.last[best])
        return True

    def _judge(self, number: int, at: datetime) -> Judged:
        evidence, seen = self.history.question(self.lens, number, at, self.held)
        policy = self.lens.supposing(seen.unknown)
        decision = evaluate(policy, self.history.model, self.history.alias, evidence)
        return Judged(number, at, decision, seen.source, Outcome.TURNED_DOWN, seen.unknown)

    def _is_shut(self, at: datetime, passing: Collection[int]) -> bool:
        """Whether a limit or a freeze is in the way; then these wait for its end."""
        if self.opens is None:
            self.shut, self.opens = closing(self.lens.policy.document, self.moves, at)
            if self.opens is not None and self.opens <= self.until:
                heapq.heappush(self.queue, (self.opens, _OPENING))
        if self.opens is None:
            return False
        for number in passing:
            judged = self.last[number]
            findings = (*judged.decision.findings, *self.shut)
            verdict = all_of(finding.verdict for finding in findings)
            self.last[number] = replace(judged, decision=replace(judged.decision, findings=findings, verdict=verdict))
        self.waiting |= set(passing)
        return True

    def _take(self, at: datetime, judged: Judged) -> None:
        if self.spans:
            self.spans[-1] = replace(self.spans[-1], until=at, replaced_by=judged.version)
        self.spans.append(SimulatedSpan(judged.version, at, None, None, judged, _why(judged.decision)))
        self.held = judged.version
        self.moves.append(at)
        self.open = {each for each in self.open if each > judged.version}
        self.waiting &= self.open


def closing(document: PolicyDocument, moves: Sequence[datetime], at: datetime) -> tuple[list[Finding], datetime | None]:
    """What limits and freezes find at that moment, after these moves in order of time, and when all of them are over.

    None: nothing is in the way.
    """
    limits = document.limits
    past = AliasPast(tuple(moves[-(limits.max_per_day or 1) :]))
    findings = [*limits.findings(past, at), *(freeze.finding(past, at) for freeze in document.freeze)]
    if all(finding.verdict is Verdict.PASS for finding in findings):
        return findings, None
    ends = [end for freeze in document.freeze if (end := freeze.until(at))]
    if limits.cooldown and past.moves:
        ends.append(past.moves[-1] + limits.cooldown)
    if limits.max_per_day and len(past.moves) >= limits.max_per_day:
        ends.append(past.moves[-limits.max_per_day] + DAY)
    return findings, max(ends)


def _outcome(judged: Judged, held: Collection[int]) -> Outcome:
    if judged.version in held:
        return Outcome.HELD
    return Outcome.PASSED_OVER if judged.decision.verdict is Verdict.PASS else Outcome.TURNED_DOWN


def _why(decision: Decision) -> str:
    told = [f"{finding.rule}: {_seen(finding)}" for finding in decision.findings[:_RULES_SHOWN]]
    more = len(decision.findings) - _RULES_SHOWN
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def _seen(finding: Finding) -> str:
    if finding.waived:
        return f"waived ({finding.waived.verdict})"
    if finding.value in (None, NOT_REPLAYED):
        return finding.expected if finding.value is None else NOT_REPLAYED
    return f"{finding.value}, {finding.expected}"
