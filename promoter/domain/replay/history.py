"""History: one model's real past, and what can be said of its versions as of any moment in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from promoter.domain.evidence import AliasPast, Evidence, Stretch, VersionEvidence
from promoter.domain.metrics import MetricRef
from promoter.domain.observed import ModelVersion
from promoter.domain.replay.holding import Holding
from promoter.domain.replay.memory import NOTHING, NOW, THEN, Basis, Known, Memory, Part, Source
from promoter.domain.replay.supposing import APPROVAL, BOUND, LOADS, Lens
from promoter.domain.rules import AgeRule, SoakRule
from promoter.domain.rules.base import BaseRule
from promoter.domain.sightings import witnessed

_ALWAYS = ("tags", "loading")


@dataclass(frozen=True)
class Seen:
    """A version as of a moment. `unknown` are the kinds of rules that nobody can answer for it."""

    evidence: VersionEvidence
    source: Source
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class History:
    """One model, and the alias that is replayed.

    `now` is what MLflow says of its versions now, `memory` what the ledger recorded, `holdings` the past of every alias that
    matters, the replayed one among them.
    """

    model: str
    alias: str
    versions: Mapping[int, ModelVersion]
    now: Mapping[int, VersionEvidence]
    memory: Memory
    holdings: Mapping[str, Holding]

    @property
    def own(self) -> Holding:
        """The past of the replayed alias."""
        return self.holdings[self.alias]

    def seen(self, lens: Lens, number: int, at: datetime) -> Seen:
        """The version as of that moment: the ledger's last word by then, else its first after that, else MLflow's now."""
        version, now = self.versions.get(number), self.now.get(number) or VersionEvidence(number)
        known = self.memory.of(self.model, number, version.created_at if version else None)
        held = self._held(lens, version, number, at)
        unknown = _unknown(lens, known)
        if known is NOTHING:
            source = NOW if lens.parts else THEN
            return Seen(replace(now, held=held) if held else now, source, unknown)
        recalled = {part: known.parts[part].recall(at) for part in (*lens.parts, *_ALWAYS) if part in known.parts}
        tags, of_tags = _tags(lens, known, now, recalled, at)
        sources = {part: recalled[part][1] if part in recalled else NOW for part in lens.parts} | {"tags": of_tags}
        source = THEN
        for part, each in sources.items():
            fixed = part == "run" and now.run_id is None  # nothing that could have been otherwise then
            source |= each if part in lens.parts and not fixed else THEN
        told: dict[str, Any] = {str(part): value for part, (value, _) in recalled.items() if isinstance(part, str)}
        series = {each.metric: each for each in now.series}
        series |= {part: value for part, (value, _) in recalled.items() if isinstance(part, MetricRef)}
        told |= {"tags": tags, "held": held, "series": tuple(series.values())}
        if version is not None and known.sightings:
            until = None if of_tags.basis is Basis.NOW else of_tags.as_of or at
            by_then = [each for each in known.sightings if until is None or each.at <= until]
            told["witnessed"] = witnessed(replace(version, tags=tags), by_then)
        return Seen(replace(now, **told), source, unknown)

    def question(
        self, lens: Lens, number: int, at: datetime, held: int | None, past: AliasPast | None = None
    ) -> tuple[Evidence, Seen]:
        """Whether that version may take the alias from `held` at that moment: the evidence, and what it rests on."""
        candidate = self.seen(lens, number, at)
        source = candidate.source
        holders: dict[str, VersionEvidence | None] = {}
        for alias in lens.policy.need.holders:
            holder = held
            if alias != self.alias:
                real = self.holdings[alias].at(at)
                holder, source = real.version, source | (THEN if real.basis is Basis.THEN else NOW)
            if holder is None:
                holders[alias] = None
                continue
            theirs = self.seen(lens, holder, at)
            holders[alias], source = theirs.evidence, source | theirs.source
        evidence = Evidence(at=at, candidate=candidate.evidence, holders=holders, past=past, model=self.model)
        return evidence, replace(candidate, source=source)

    def moments(self, lens: Lens, version: ModelVersion) -> Iterator[datetime]:
        """When the verdict on that version may change: it becomes a candidate, a wait is over, or something new is known."""
        yield from self.candidacies(lens, version)
        for rule in lens.rules:
            yield from self._over(rule, version)
        # An approval does not count before it was signed, also where it is only known from a later record.
        known = self.memory.of(self.model, version.number, version.created_at)
        yield from known.changes(first=APPROVAL in lens.kinds)

    def earliest(self, lens: Lens, version: ModelVersion) -> datetime:
        """Before that moment the version cannot pass: the policy asks for a wait that was not over."""
        document = lens.policy.document
        if any((each.model, each.version) == (self.model, version.number) for each in document.waivers):
            return version.created_at
        waits = [min(self._over(rule, version), default=version.created_at) for rule in document.rules]
        return max([version.created_at, *waits])

    def _over(self, rule: BaseRule, version: ModelVersion) -> Iterator[datetime]:
        """When a wait that the rule asks for was over."""
        if isinstance(rule, AgeRule) and rule.age.at_least:
            yield version.created_at + rule.age.at_least
        elif isinstance(rule, SoakRule):
            yield from (since + rule.soak.at_least for since in self._since(rule.soak.alias, version))

    def candidacies(self, lens: Lens, version: ModelVersion) -> Iterator[datetime]:
        """When the version may have become a candidate: when it was registered, or given the alias that they come from."""
        yield version.created_at
        if lens.source is not None:
            yield from (span.since for span in self.holdings[lens.source].starts(version.number) if span.since is not None)

    def is_candidate(self, lens: Lens, version: ModelVersion, at: datetime, held: int | None) -> bool:
        """Whether rotation would look at it. Where nobody knows who held the alias they come from: every newer version."""
        if not version.ready or version.number == held or version.created_at > at:
            return False
        if lens.source is not None:
            real = self.holdings[lens.source].at(at)
            if real.basis is Basis.THEN:
                return real.version == version.number
        return version.number > (held or 0)

    def supposed_held(self, lens: Lens, version: ModelVersion, at: datetime) -> list[str]:
        """The aliases that the version, judged at that moment, is taken to have held since it was registered."""
        source = lens.source
        supposed = {alias for alias in lens.soaks if not self.holdings[alias].knows(version)}
        if source is not None and self.holdings[source].at(at).basis is not Basis.THEN:
            supposed.add(source)
        return sorted(supposed)

    def _since(self, alias: str, version: ModelVersion) -> list[datetime]:
        holding = self.holdings[alias]
        if not holding.knows(version):
            return [version.created_at]
        return [span.since for span in holding.starts(version.number) if span.since is not None]

    def _held(self, lens: Lens, version: ModelVersion | None, number: int, at: datetime) -> dict[str, Stretch]:
        found: dict[str, Stretch] = {}
        for alias in lens.soaks:
            supposed = version is not None and not self.holdings[alias].knows(version)
            created = version.created_at if version else at
            stretch = Stretch(created) if supposed else self.holdings[alias].longest(number, at)
            if stretch:
                found[alias] = stretch
        return found


def _tags(
    lens: Lens, known: Known, now: VersionEvidence, recalled: Mapping[Part, tuple[Any, Source]], at: datetime
) -> tuple[Mapping[str, str], Source]:
    """The tags as of then: those recorded with a decision, and over them what was seen of single ones by then.

    Where no decision was recorded, what was first seen of a tag after that counts too, before what it is now.
    """
    base, source = recalled.get("tags", (now.tags, NOW))
    if source.basis is Basis.THEN or not known.seen_tags:
        return base, source
    recalled_tags = {tag: track.recall(at) for tag, track in known.seen_tags.items()}
    sighted = {tag: seen for tag, seen in recalled_tags.items() if source.basis is Basis.NOW or seen[1].basis is Basis.THEN}
    tags = {tag: value for tag, value in base.items() if tag not in sighted}
    tags |= {tag: value for tag, (value, _) in sighted.items() if value is not None}
    if lens.tags is None or not lens.tags <= sighted.keys():
        return tags, source
    of_tags = THEN
    for tag in lens.tags:
        of_tags |= sighted[tag][1]
    return tags, of_tags


def _unknown(lens: Lens, known: Known) -> frozenset[str]:
    """The kinds of rules that the ledger cannot answer for this version.

    An approval is one of a policy as it was, so that under another one, or an edited one, nobody can have approved.
    """
    if not lens.kinds:
        return lens.kinds
    answered = {LOADS} if "loading" in known.parts else set()
    answered |= {APPROVAL} if lens.policy.digest in known.digests else set()
    answered |= {BOUND} if known.sightings else set()
    return lens.kinds - answered
