"""What was known of a model at a moment.

Evidence from the ledger part by part, who held its aliases, and a policy read for replay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

from promoter.domain.audit import AuditRecord, RecordedDecision, RecordKind
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import (
    AliasPast,
    Evidence,
    HeldStretch,
    Need,
    TagObservation,
    VersionEvidence,
    find_witnessed_tags,
)
from promoter.domain.history import AliasSpan, build_alias_spans
from promoter.domain.identity import IdentityTimes
from promoter.domain.observed import MetricRef, ModelVersion, Unreadable
from promoter.domain.policy.document import ANY_NEWER, Policy
from promoter.domain.policy.rules.base import BaseRule, RecordedFacts, ReplayGap, RuleContext


class EvidenceBasis(StrEnum):
    """Where evidence comes from: the ledger up to THEN, the ledger's first record LATER than that, or MLflow NOW."""

    THEN = "then"
    LATER = "later"
    NOW = "now"


WEAKEST_LAST = (EvidenceBasis.THEN, EvidenceBasis.LATER, EvidenceBasis.NOW)


@dataclass(frozen=True)
class EvidenceSource:
    """The basis of a whole evaluation: that of its weakest part."""

    basis: EvidenceBasis = EvidenceBasis.THEN
    """Where the weakest part comes from."""
    as_of: datetime | None = None
    """The time of the latest record that is LATER."""

    def __or__(self, other: EvidenceSource) -> EvidenceSource:
        basis = max(self.basis, other.basis, key=WEAKEST_LAST.index)
        times = [each.as_of for each in (self, other) if each.as_of]
        return EvidenceSource(basis, max(times, default=None) if basis is EvidenceBasis.LATER else None)


SOURCE_THEN, SOURCE_NOW = EvidenceSource(EvidenceBasis.THEN), EvidenceSource(EvidenceBasis.NOW)


@dataclass
class PartTrack:
    """One part of one version over time. Only changes are kept."""

    times: list[datetime] = field(default_factory=list)
    """When each value began, ascending."""
    values: list[Any] = field(default_factory=list)
    """The value from each of these times on."""

    def add_value(self, at: datetime, value: Any) -> None:
        """Add the value at that time, which is not before the last one."""
        if not self.values or self.values[-1] != value:
            self.times.append(max([at, *self.times[-1:]]))
            self.values.append(value)

    def recall_value(self, at: datetime) -> tuple[Any, EvidenceSource]:
        """Return the last value up to that time, or else the first one after it, and its source."""
        index = bisect_right(self.times, at)
        return (
            (self.values[index - 1], SOURCE_THEN)
            if index
            else (self.values[0], EvidenceSource(EvidenceBasis.LATER, self.times[0]))
        )


EvidencePart = str | MetricRef
"""`tags`, `run`, `loading` or one of `_READABLE_PARTS`; a metric stands for its values over the steps."""
_READABLE_PARTS = ("logged_model", "signature", "description")
"""The parts that are `Unreadable` where they were not read; by these names `Need` asks for them."""


@dataclass
class VersionTrack:
    """What the ledger recorded of one version."""

    parts: dict[EvidencePart, PartTrack] = field(default_factory=dict)
    """Each part of its evidence over time."""
    seen_tags: dict[str, PartTrack] = field(default_factory=dict)
    """Each observed tag over time."""
    sightings: list[TagObservation] = field(default_factory=list)
    """The tag observations in their order."""
    digests: set[str] = field(default_factory=set)
    """The digests of the policies that evaluated it."""

    def list_change_times(self, *, first: bool) -> Iterator[datetime]:
        """Yield when something new was recorded. `first` includes the first record of each part, which is no change."""
        for track in self.parts.values():
            yield from track.times if first else track.times[1:]
        for track in self.seen_tags.values():
            yield from track.times

    def add_evidence(self, evidence: VersionEvidence, at: datetime) -> None:
        """Add the evidence of a decision. A part that no rule of the decision needed is absent, and adds nothing."""
        values: dict[EvidencePart, Any] = {"tags": evidence.tags}
        if evidence.run is not None:
            values["run"] = evidence.run
        if evidence.loading is not None:
            values["loading"] = evidence.loading
        for part in _READABLE_PARTS:
            value = getattr(evidence, part)
            if not isinstance(value, Unreadable):
                values[part] = value
        values |= {series.metric: series for series in evidence.series}
        for key, value in values.items():
            self.parts.setdefault(key, PartTrack()).add_value(at, value)

    def add_observation(self, sighting: TagObservation) -> None:
        """Add a tag that was observed, or observed as absent."""
        self.sightings.append(sighting)
        self.seen_tags.setdefault(sighting.tag, PartTrack()).add_value(sighting.at, sighting.value)


EMPTY_TRACK = VersionTrack()
VersionKey = tuple[str, int]


class EvidenceLog:
    """The tracks of all versions, by model, number and time of creation.

    A model that is registered anew may reuse its numbers.
    """

    def __init__(self) -> None:
        self._known: dict[VersionKey, dict[datetime, VersionTrack]] = {}
        self.pasts: dict[int, AliasPast] = {}
        """What a recorded decision, by its id, knew of its alias."""
        self.unreadable = 0
        """How many records of evidence are in a form that is not known any more."""

    def add_decision(self, recorded: RecordedDecision) -> None:
        """Add a decision of the ledger. Decisions come in order."""
        try:
            evidence = Evidence.from_json(recorded.evidence or {})
        except ValueError:
            self.unreadable += 1
            return
        model = str(recorded.tree.get("model"))
        for version in (evidence.candidate, *evidence.holders.values()):
            if version is not None and version.created_at is not None:
                self._ensure_version_track(model, version.version, version.created_at).add_evidence(version, recorded.at)
        candidate = evidence.candidate
        if candidate.created_at is not None:
            self._ensure_version_track(model, candidate.version, candidate.created_at).digests.add(
                str(recorded.tree.get("policy_digest"))
            )
        if evidence.past is not None:
            self.pasts[recorded.id] = evidence.past

    def add_observation(self, sighting: TagObservation) -> None:
        """Add a tag observation of the ledger. Observations come in order."""
        self._ensure_version_track(sighting.model, sighting.version, sighting.created_at).add_observation(sighting)

    def find_version_track(
        self, model: str, number: int, created_at: datetime | None, at: datetime | None = None
    ) -> VersionTrack:
        """Return the track of that version.

        For one that is gone `created_at` is None: the last one with that number, of those that were there at the moment `at`.
        """
        found: Mapping[datetime, VersionTrack] = self._known.get((model, number), {})
        if created_at is None:
            there = [each for each in found if at is None or each <= at] or found
            return found[max(there)] if found else EMPTY_TRACK
        return found.get(created_at, EMPTY_TRACK)

    def _ensure_version_track(self, model: str, number: int, created_at: datetime) -> VersionTrack:
        return self._known.setdefault((model, number), {}).setdefault(created_at, VersionTrack())


@dataclass(frozen=True)
class AliasHolder:
    """Who held an alias at a moment."""

    version: int | None
    """The version; None where nobody did."""
    basis: EvidenceBasis | None
    """NOW: concluded from the present holder. None: unknown, and taken for nobody."""


class AliasTimeline:
    """The past of one alias of one model."""

    def __init__(self, moves: Sequence[AuditRecord], held_now: int | None, versions: Mapping[int, ModelVersion]) -> None:
        """`moves` are the alias's own, oldest first; `held_now` is its holder in the registry."""
        self.moves = moves
        self.spans: tuple[AliasSpan, ...] = tuple(build_alias_spans(list(moves)))
        self._gated = [each.fact.at for each in moves if each.fact.kind is RecordKind.CHANGE and each.fact.verdict is not None]
        self._known = [span for span in self.spans if span.since is not None]
        self._starts = [span.since for span in self._known if span.since]
        self._stretches: dict[int, list[AliasSpan]] = {}
        for span in self._known:
            if span.version is not None and _is_present_version(span, versions.get(span.version)):
                self._stretches.setdefault(span.version, []).append(span)
        first = moves[0].fact if moves else None
        self._seen_only = first is None or (first.kind is RecordKind.OBSERVED and first.from_version is None)
        self._before = first.from_version if first else None
        self._guess = first.to_version if first else held_now
        self._versions = versions

    @property
    def recorded_since(self) -> datetime | None:
        """Return since when the ledger knows the alias; None where it does not."""
        return self.moves[0].fact.at if self.moves else None

    @property
    def first_observation(self) -> AuditRecord | None:
        """Return the record by which the ledger first saw an alias that was there before. It is no move."""
        return self.moves[0] if self.moves and self._seen_only else None

    def list_gated_moves(self, before: datetime) -> tuple[datetime, ...]:
        """Return when a policy let the alias move before that moment. Limits count these moves."""
        return tuple(self._gated[: bisect_left(self._gated, before)])

    def find_holder_at(self, moment: datetime) -> AliasHolder:
        """Return who held the alias then. Where the ledger cannot know.

        The first or the present holder, if that version existed.
        """
        index = bisect_right(self._starts, moment)
        if index:
            return AliasHolder(self._known[index - 1].version, EvidenceBasis.THEN)
        if not self._seen_only and (self._before not in self._versions or self._was_registered(self._before, moment)):
            return AliasHolder(self._before, EvidenceBasis.THEN)
        if self._guess is not None and self._was_registered(self._guess, moment):
            return AliasHolder(self._guess, EvidenceBasis.NOW)
        return AliasHolder(None, None)

    def knows_version(self, version: ModelVersion) -> bool:
        """Return whether the ledger can tell if that version held the alias."""
        return self.recorded_since is not None and (
            self.recorded_since <= version.created_at or version.number in self._stretches
        )

    def list_spans_of(self, number: int) -> list[AliasSpan]:
        """Return when the version held the alias, as far as the ledger knows."""
        return self._stretches.get(number, [])

    def find_longest_stretch(self, number: int, moment: datetime) -> HeldStretch | None:
        """Return the longest unbroken time for which the version had held the alias by that moment."""
        found = [
            HeldStretch(span.since, span.until if span.until and span.until <= moment else None)
            for span in self.list_spans_of(number)
            if span.since is not None and span.since <= moment
        ]
        return max(found, key=lambda each: (each.until or moment) - each.since, default=None)

    def _was_registered(self, number: int | None, moment: datetime) -> bool:
        version = self._versions.get(number or 0)
        return version is not None and version.created_at <= moment


def _is_present_version(span: AliasSpan, version: ModelVersion | None) -> bool:
    """Return whether the span is of the version that has its number now; true where none has it any more."""
    if version is None or span.since is None:
        return True
    times = IdentityTimes.parse(span.identity)
    return times.created_at == version.created_at if times else version.created_at <= span.since


NOT_REPLAYED = "not replayed"


class AssumedRule(BaseRule):
    """A rule that replay cannot evaluate. It passes and says so; where a `not` would turn that into a fail, it is an error."""

    kind: ClassVar[str] = "supposed"

    inner: BaseRule
    """The rule as the policy has it."""
    gap: ReplayGap
    """Why replay cannot evaluate it."""
    negated: bool
    """Whether it stands inside a `not`."""

    def __str__(self) -> str:
        return str(self.inner)

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return what the assumed rule needs, since some of it can still be asked."""
        return self.inner.needed_evidence(context)

    def used_metrics(self, context: RuleContext) -> frozenset[MetricRef]:
        """Return those of the assumed rule, since an approval of the policy covers them."""
        return self.inner.used_metrics(context)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Evaluate what replay can know of the rule, and assume the rest."""
        unknown = f"the ledger to know {self.gap.fact}"
        if self.negated:
            return self.build_finding(Verdict.ERROR, NOT_REPLAYED, f"{unknown}: inside `not` nothing is taken for granted")
        remaining = self.inner.without_replay_gap()
        if remaining is None:
            return self.build_finding(Verdict.PASS, NOT_REPLAYED, unknown)
        found = remaining.evaluate(evidence, context)
        expected = f"{found.expected} ({NOT_REPLAYED}: {unknown})" if found.verdict is Verdict.PASS else found.expected
        return self.build_finding(found.verdict, found.value, expected)


def _assume_unknown_rules(rule: BaseRule, unknown: frozenset[str], *, negated: bool = False) -> BaseRule:
    if rule.inner_rules:
        negated = negated or rule.negates_inner_rules
        return rule.replace_inner_rules(
            tuple(_assume_unknown_rules(each, unknown, negated=negated) for each in rule.inner_rules)
        )
    gap = rule.replay_gap
    return AssumedRule(inner=rule, gap=gap, negated=negated, name=rule.name) if gap and gap.kind in unknown else rule


@dataclass(frozen=True)
class ReplayPolicy:
    """What a replay has to know of a policy."""

    policy: Policy
    """The policy."""
    parts: frozenset[EvidencePart]
    """The parts of a version that it reads."""
    tags: frozenset[str] | None
    """The tags that it reads; None: it may read any."""
    rules: tuple[BaseRule, ...]
    """Every rule, also those inside others."""
    _variants: dict[frozenset[str], Policy] = field(default_factory=dict, compare=False)

    @classmethod
    def from_policy(cls, policy: Policy) -> ReplayPolicy:
        """Read the policy."""
        rules = tuple(each for rule in policy.document.rules for each in rule.walk_rules())
        need = policy.needed_evidence
        used_tags = [each.used_tags() for each in rules]
        tags = None if None in used_tags else frozenset(tag for each in used_tags for tag in each or ())
        parts: set[EvidencePart] = {part for part in ("run", *_READABLE_PARTS) if getattr(need, part)}
        parts |= {"tags"} if tags is None or tags else set()
        return cls(policy, frozenset(parts | need.series), tags, rules)

    @property
    def candidate_alias(self) -> str | None:
        """Return the alias that candidates come from; None: any newer version is one."""
        candidates = self.policy.document.candidates
        return None if candidates is None or candidates.from_ == ANY_NEWER else candidates.from_

    @property
    def soak_aliases(self) -> frozenset[str]:
        """Return the aliases that a version must have held."""
        return self.policy.needed_evidence.held

    def assume_unknown(self, unknown: frozenset[str]) -> Policy:
        """Return the policy with the rules of these kinds assumed to pass."""
        if not unknown:
            return self.policy
        if unknown not in self._variants:
            rules = tuple(_assume_unknown_rules(rule, unknown) for rule in self.policy.document.rules)
            document = self.policy.document.model_copy(update={"rules": rules})
            self._variants[unknown] = replace(self.policy, document=document)
        return self._variants[unknown]

    def name_rules_of_kinds(self, unknown: frozenset[str]) -> list[str]:
        """Return the rules of these kinds, as they are written."""
        return list(dict.fromkeys(str(each) for each in self.rules if each.replay_gap and each.replay_gap.kind in unknown))

    def find_unknown_kinds(self, known: VersionTrack) -> frozenset[str]:
        """Return the kinds of rules that the ledger cannot answer for a version of which it knows this."""
        facts = RecordedFacts(known.parts, self.policy.digest in known.digests, bool(known.sightings))
        return frozenset(gap.kind for gap in self._gaps if not gap.is_closed(facts))

    @cached_property
    def _gaps(self) -> tuple[ReplayGap, ...]:
        return tuple(gap for each in self.rules if (gap := each.replay_gap))


_ALWAYS_RECALLED = ("tags", "loading")


@dataclass(frozen=True)
class VersionAsOf:
    """A version as it was known at a moment."""

    evidence: VersionEvidence
    """Its evidence."""
    source: EvidenceSource
    """Where the evidence comes from."""
    unknown: frozenset[str] = frozenset()
    """The kinds of rules that nobody can evaluate for it."""


@dataclass(frozen=True)
class ReplayHistory:
    """One model and the alias that is replayed."""

    model: str
    """The registered model."""
    alias: str
    """The alias that is replayed."""
    versions: Mapping[int, ModelVersion]
    """The versions that exist now."""
    now: Mapping[int, VersionEvidence]
    """The evidence that MLflow has for each version now."""
    memory: EvidenceLog
    """What the ledger recorded."""
    holdings: Mapping[str, AliasTimeline]
    """The past of every alias that matters, the replayed one among them."""

    @property
    def replayed_timeline(self) -> AliasTimeline:
        """Return the past of the replayed alias."""
        return self.holdings[self.alias]

    def build_version_as_of(self, lens: ReplayPolicy, number: int, at: datetime) -> VersionAsOf:
        """Return the version as of that moment.

        The ledger's last record by then, else its first after that, else MLflow's now.
        """
        version, now = self.versions.get(number), self.now.get(number) or VersionEvidence(number)
        if version is not None and version.created_at > at:
            version, now = None, VersionEvidence(number)  # another version had the number then
        known = self.memory.find_version_track(self.model, number, version.created_at if version else None, at)
        held = self._build_held_stretches(lens, version, number, at)
        unknown = lens.find_unknown_kinds(known)
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
            fields["witnessed"] = find_witnessed_tags(replace(version, tags=tags), by_then)
        return VersionAsOf(replace(now, **fields), source, unknown)

    def build_evidence_as_of(
        self, lens: ReplayPolicy, number: int, at: datetime, held: int | None, past: AliasPast | None = None
    ) -> tuple[Evidence, VersionAsOf]:
        """Return the evidence for that version taking the alias from `held` at that moment, and what it rests on."""
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
        """Yield when the verdict may change: the version becomes a candidate, a wait ends, or something new is recorded."""
        yield from self.list_candidate_times(lens, version)
        for rule in lens.rules:
            yield from self._list_wait_ends(rule, version)
        # An approval does not count before it was signed, also where it is only known from a later record.
        known = self.memory.find_version_track(self.model, version.number, version.created_at)
        yield from known.list_change_times(first=any(rule.is_dated for rule in lens.rules))

    def find_earliest_pass_time(self, lens: ReplayPolicy, version: ModelVersion) -> datetime:
        """Return the moment before which the version cannot pass, because a wait that the policy asks for was not over."""
        document = lens.policy.document
        if any((each.model, each.version) == (self.model, version.number) for each in document.waivers):
            return version.created_at
        waits = [min(self._list_wait_ends(rule, version), default=version.created_at) for rule in document.rules]
        return max([version.created_at, *waits])

    def _list_wait_ends(self, rule: BaseRule, version: ModelVersion) -> Iterator[datetime]:
        """Yield when each wait that the rule asks for ended."""
        return rule.list_wait_ends(version.created_at, lambda alias: self._list_held_since_times(alias, version))

    def list_candidate_times(self, lens: ReplayPolicy, version: ModelVersion) -> Iterator[datetime]:
        """Yield when the version may have become a candidate: at its registration, or when it got the candidates' alias."""
        yield version.created_at
        if lens.candidate_alias is not None:
            yield from (
                span.since
                for span in self.holdings[lens.candidate_alias].list_spans_of(version.number)
                if span.since is not None
            )

    def is_candidate(self, lens: ReplayPolicy, version: ModelVersion, at: datetime, held: int | None) -> bool:
        """Return whether rotation would consider it.

        Where the holder of the candidates' alias is unknown, every newer version is one.
        """
        if not version.ready or version.number == held or version.created_at > at:
            return False
        if lens.candidate_alias is not None:
            real = self.holdings[lens.candidate_alias].find_holder_at(at)
            if real.basis is EvidenceBasis.THEN:
                return real.version == version.number
        return version.number > (held or 0)

    def list_assumed_held_aliases(self, lens: ReplayPolicy, version: ModelVersion, at: datetime) -> list[str]:
        """Return the aliases that the version is assumed to have held since its registration."""
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
    """Return the tags as of then: those recorded with a decision, and over them single tags that were observed by then.

    Where no decision was recorded, the first later observation of a tag counts too, before its present value.
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
