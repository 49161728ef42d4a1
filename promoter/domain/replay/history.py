"""History: one model's real past, and what can be said of its versions as of any moment in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from promoter.domain.evidence import AliasPast, Evidence, HeldStretch, VersionEvidence
from promoter.domain.metrics import MetricRef
from promoter.domain.observed import ModelVersion
from promoter.domain.replay.holding import AliasTimeline
from promoter.domain.replay.memory import (
    EMPTY_TRACK,
    SOURCE_NOW,
    SOURCE_THEN,
    EvidenceBasis,
    VersionTrack,
    EvidenceLog,
    EvidencePart,
    EvidenceSource,
)
from promoter.domain.replay.supposing import APPROVAL_KIND, BOUND_KIND, LOADS_KIND, ReplayPolicy
from promoter.domain.rules import AgeRule, SoakRule
from promoter.domain.rules.base import BaseRule
from promoter.domain.sightings import find_witnessed_tags

_ALWAYS_RECALLED = ("tags", "loading")


@dataclass(frozen=True)
class VersionAsOf:
    """A version as of a moment. `unknown` are the kinds of rules that nobody can answer for it."""

    evidence: VersionEvidence
    source: EvidenceSource
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ReplayHistory:
    """One model, and the alias that is replayed.

    `now` is what MLflow says of its versions now, `memory` what the ledger recorded, `holdings` the past of every alias that
    matters, the replayed one among them.
    """

    model: str
    alias: str
    versions: Mapping[int, ModelVersion]
    now: Mapping[int, VersionEvidence]
    memory: EvidenceLog
    holdings: Mapping[str, AliasTimeline]

    @property
    def replayed_timeline(self) -> AliasTimeline:
        """The past of the replayed alias."""
        return self.holdings[self.alias]

    def build_version_as_of(self, lens: ReplayPolicy, number: int, at: datetime) -> VersionAsOf:
        """The version as of that moment: the ledger's last word by then, else its first after that, else MLflow's now."""
        version, now = self.versions.get(number), self.now.get(number) or VersionEvidence(number)
        known = self.memory.find_version_track(self.model, number, version.created_at if version else None)
        held = self._build_held_stretches(lens, version, number, at)
        unknown = _find_unknown_kinds(lens, known)
        if known is EMPTY_TRACK:
            source = SOURCE_NOW if lens.parts else SOURCE_THEN
            return VersionAsOf(replace(now, held=held) if held else now, source, unknown)
        recalled = {
            part: known.parts[part].recall_value(at) for part in (*lens.parts, *_ALWAYS_RECALLED) if part in known.parts
        }
        tags, of_tags = _recall_tags(lens, known, now, recalled, at)
        sources = {part: recalled[part][1] if part in recalled else SOURCE_NOW for part in lens.parts} | {"tags": of_tags}
        source = SOURCE_THEN
        for part, each in sources.items():
            fixed = part == "run" and now.run_id is None  # nothing that could have been otherwise then
            source |= each if part in lens.parts and not fixed else SOURCE_THEN
        fields: dict[str, Any] = {str(part): value for part, (value, _) in recalled.items() if isinstance(part, str)}
        series = {each.metric: each for each in now.series}
        series |= {part: value for part, (value, _) in recalled.items() if isinstance(part, MetricRef)}
        fields |= {"tags": tags, "held": held, "series": tuple(series.values())}
        if version is not None and known.sightings:
            until = None if of_tags.basis is EvidenceBasis.NOW else of_tags.as_of or at
            by_then = [each for each in known.sightings if until is None or each.at <= until]
            fields["find_witnessed_tags"] = find_witnessed_tags(replace(version, tags=tags), by_then)
        return VersionAsOf(replace(now, **fields), source, unknown)

    def build_evidence_as_of(
        self, lens: ReplayPolicy, number: int, at: datetime, held: int | None, past: AliasPast | None = None
    ) -> tuple[Evidence, VersionAsOf]:
        """Whether that version may take the alias from `held` at that moment: the evidence, and what it rests on."""
        candidate = self.build_version_as_of(lens, number, at)
        source = candidate.source
        holders: dict[str, VersionEvidence | None] = {}
        for alias in lens.policy.needed_evidence.holders:
            holder = held
            if alias != self.alias:
                real = self.holdings[alias].find_holder_at(at)
                holder, source = real.version, source | (SOURCE_THEN if real.basis is EvidenceBasis.THEN else SOURCE_NOW)
            if holder is None:
                holders[alias] = None
                continue
            theirs = self.build_version_as_of(lens, holder, at)
            holders[alias], source = theirs.evidence, source | theirs.source
        evidence = Evidence(at=at, candidate=candidate.evidence, holders=holders, past=past, model=self.model)
        return evidence, replace(candidate, source=source)

    def list_judgement_times(self, lens: ReplayPolicy, version: ModelVersion) -> Iterator[datetime]:
        """When the verdict on that version may change: it becomes a candidate, a wait is over, or something new is known."""
        yield from self.list_candidate_times(lens, version)
        for rule in lens.rules:
            yield from self._list_wait_ends(rule, version)
        # An approval does not count before it was signed, also where it is only known from a later record.
        known = self.memory.find_version_track(self.model, version.number, version.created_at)
        yield from known.list_change_times(first=APPROVAL_KIND in lens.kinds)

    def find_earliest_pass_time(self, lens: ReplayPolicy, version: ModelVersion) -> datetime:
        """Before that moment the version cannot pass: the policy asks for a wait that was not over."""
        document = lens.policy.document
        if any((each.model, each.version) == (self.model, version.number) for each in document.waivers):
            return version.created_at
        waits = [min(self._list_wait_ends(rule, version), default=version.created_at) for rule in document.rules]
        return max([version.created_at, *waits])

    def _list_wait_ends(self, rule: BaseRule, version: ModelVersion) -> Iterator[datetime]:
        """When a wait that the rule asks for was over."""
        if isinstance(rule, AgeRule) and rule.age.at_least:
            yield version.created_at + rule.age.at_least
        elif isinstance(rule, SoakRule):
            yield from (since + rule.soak.at_least for since in self._list_held_since_times(rule.soak.alias, version))

    def list_candidate_times(self, lens: ReplayPolicy, version: ModelVersion) -> Iterator[datetime]:
        """When the version may have become a candidate: when it was registered, or given the alias that they come from."""
        yield version.created_at
        if lens.candidate_alias is not None:
            yield from (
                span.since
                for span in self.holdings[lens.candidate_alias].list_spans_of(version.number)
                if span.since is not None
            )

    def is_candidate(self, lens: ReplayPolicy, version: ModelVersion, at: datetime, held: int | None) -> bool:
        """Whether rotation would look at it. Where nobody knows who held the alias they come from: every newer version."""
        if not version.ready or version.number == held or version.created_at > at:
            return False
        if lens.candidate_alias is not None:
            real = self.holdings[lens.candidate_alias].find_holder_at(at)
            if real.basis is EvidenceBasis.THEN:
                return real.version == version.number
        return version.number > (held or 0)

    def list_assumed_held_aliases(self, lens: ReplayPolicy, version: ModelVersion, at: datetime) -> list[str]:
        """The aliases that the version, judged at that moment, is taken to have held since it was registered."""
        source = lens.candidate_alias
        supposed = {alias for alias in lens.soak_aliases if not self.holdings[alias].knows_version(version)}
        if source is not None and self.holdings[source].find_holder_at(at).basis is not EvidenceBasis.THEN:
            supposed.add(source)
        return sorted(supposed)

    def _list_held_since_times(self, alias: str, version: ModelVersion) -> list[datetime]:
        holding = self.holdings[alias]
        if not holding.knows_version(version):
            return [version.created_at]
        return [span.since for span in holding.list_spans_of(version.number) if span.since is not None]

    def _build_held_stretches(
        self, lens: ReplayPolicy, version: ModelVersion | None, number: int, at: datetime
    ) -> dict[str, HeldStretch]:
        found: dict[str, HeldStretch] = {}
        for alias in lens.soak_aliases:
            supposed = version is not None and not self.holdings[alias].knows_version(version)
            created = version.created_at if version else at
            stretch = HeldStretch(created) if supposed else self.holdings[alias].find_longest_stretch(number, at)
            if stretch:
                found[alias] = stretch
        return found


def _recall_tags(
    lens: ReplayPolicy,
    known: VersionTrack,
    now: VersionEvidence,
    recalled: Mapping[EvidencePart, tuple[Any, EvidenceSource]],
    at: datetime,
) -> tuple[Mapping[str, str], EvidenceSource]:
    """The tags as of then: those recorded with a decision, and over them what was seen of single ones by then.

    Where no decision was recorded, what was first seen of a tag after that counts too, before what it is now.
    """
    base, source = recalled.get("tags", (now.tags, SOURCE_NOW))
    if source.basis is EvidenceBasis.THEN or not known.seen_tags:
        return base, source
    recalled_tags = {tag: track.recall_value(at) for tag, track in known.seen_tags.items()}
    sighted = {
        tag: seen
        for tag, seen in recalled_tags.items()
        if source.basis is EvidenceBasis.NOW or seen[1].basis is EvidenceBasis.THEN
    }
    tags = {tag: value for tag, value in base.items() if tag not in sighted}
    tags |= {tag: value for tag, (value, _) in sighted.items() if value is not None}
    if lens.tags is None or not lens.tags <= sighted.keys():
        return tags, source
    of_tags = SOURCE_THEN
    for tag in lens.tags:
        of_tags |= sighted[tag][1]
    return tags, of_tags


def _find_unknown_kinds(lens: ReplayPolicy, known: VersionTrack) -> frozenset[str]:
    """The kinds of rules that the ledger cannot answer for this version.

    An approval is one of a policy as it was, so that under another one, or an edited one, nobody can have approved.
    """
    if not lens.kinds:
        return lens.kinds
    answered = {LOADS_KIND} if "loading" in known.parts else set()
    answered |= {APPROVAL_KIND} if lens.policy.digest in known.digests else set()
    answered |= {BOUND_KIND} if known.sightings else set()
    return lens.kinds - answered
