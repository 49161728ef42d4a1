"""Compare proposed versions with the ones they replace, for their pull requests. Everything is read in bulk."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from promoter.application.ports import EvidenceTarget, Registry, VersionKey
from promoter.domain.comparison import Differences, MetricHistory, MetricRow, VersionComparison, VersionOrigin
from promoter.domain.evidence import VersionEvidence
from promoter.domain.observed import (
    LoggedModel,
    MetricRef,
    ObservedModel,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.policy.document import Policy
from promoter.domain.policy.rules.base import RankOrder
from promoter.domain.proposal import Proposal

_REQUIREMENT_LINE = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)")
_NAME_SEPARATORS = re.compile(r"[-_.]+")


def describe_requirement_changes(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """Return a line for each change from `theirs` to `ours`, ordered by package.

    Lines without the name of a package (options, addresses) count as a whole.
    """
    now, was = _index_by_package(ours), _index_by_package(theirs)
    sentences = []
    for name in sorted(now.keys() | was.keys()):
        mine, other = now.get(name), was.get(name)
        if mine == other:
            continue
        sentences.append(
            f"{name} is new{_format_constraint(mine)}"
            if other is None
            else f"{name} is gone{_format_constraint(other, 'it was ')}"
            if mine is None
            else f"{name} is {mine or 'any'}, was {other or 'any'}"
        )
    return sentences


def _index_by_package(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        text = re.sub(r"(?:^|\s)#.*", "", line).strip()
        match = _REQUIREMENT_LINE.fullmatch(text)
        if match and not text.startswith("-") and "://" not in match[3].partition("@")[0]:
            found[_NAME_SEPARATORS.sub("-", match[1]).lower() + (match[2] or "")] = match[3].strip()
        elif text:
            found[text] = ""
    return found


def _format_constraint(constraint: str | None, words: str = "") -> str:
    return f" ({words}{constraint})" if constraint else ""


MAX_METRIC_ROWS = 40
"""So many metrics are compared beside those that the policy reads."""
MAX_CHART_VERSIONS = 20
"""So many versions are in the picture: the newest, up to the ones that are compared."""


@dataclass(frozen=True)
class ComparisonSubject:
    """One comparison to make."""

    proposal: Proposal
    """The proposal for a version."""
    policy: Policy | None
    """The policy of its alias; None where it has none."""
    observed: ObservedModel
    """The model as observed."""
    compares_files: bool = True
    """Whether signatures and requirements are compared too, which are files, and the ranked metric is charted."""

    @property
    def read_metrics(self) -> Mapping[MetricRef, RankOrder | None]:
        """Return the metrics that the policy reads, each with the direction that is better."""
        return self.policy.read_metrics if self.policy else {}

    @property
    def compared_versions(self) -> tuple[EvidenceTarget, ...]:
        """Return the version and the one that it replaces, as far as they exist."""
        return self.find_targets(each for each in (self.proposal.edit.version, self.proposal.replaces) if each is not None)

    @property
    def charted_versions(self) -> tuple[EvidenceTarget, ...]:
        """Return the versions in the chart."""
        if self.policy is None or self.policy.rank_metric is None or not self.compares_files:
            return ()
        last = max((each.version.number for each in self.compared_versions), default=0)
        return self.find_targets(sorted(each for each in self.observed.versions if each <= last)[-MAX_CHART_VERSIONS:])

    def find_targets(self, numbers: Iterable[int]) -> tuple[EvidenceTarget, ...]:
        """Return the versions with these numbers."""
        versions = self.observed.versions
        return tuple(EvidenceTarget(self.observed.name, versions[number]) for number in numbers if number in versions)


@dataclass
class _ComparisonRequest:
    """What all comparisons need together."""

    run_ids: set[str] = field(default_factory=set)
    """The runs to read."""
    logged_models: dict[VersionKey, EvidenceTarget] = field(default_factory=dict)
    """The logged models to read."""
    pairs: dict[VersionKey, EvidenceTarget] = field(default_factory=dict)
    """The versions whose files are read."""

    def add_subject(self, subject: ComparisonSubject) -> None:
        rank = subject.policy.rank_metric if subject.policy else None
        used = subject.read_metrics
        self.run_ids |= {
            each.version.run_id for each in (*subject.compared_versions, *subject.charted_versions) if each.version.run_id
        }
        if rank is not None and rank.source == "logged_model":
            self.logged_models |= {each.version_key: each for each in subject.charted_versions}
        if any(metric.source == "logged_model" for metric in used):
            self.logged_models |= {each.version_key: each for each in subject.compared_versions}
        if subject.proposal.replaces is not None and subject.compares_files:
            self.pairs |= {each.version_key: each for each in subject.compared_versions}


@dataclass(frozen=True)
class _ComparisonReads:
    runs: Mapping[str, TrainingRun]
    """Each run by its id."""
    logged_models: Mapping[VersionKey, LoggedModel | Unreadable | None]
    """Each logged model by its version."""
    signatures: Mapping[VersionKey, VersionSignature | Unreadable | None]
    """Each signature by its version."""
    requirements: Mapping[VersionKey, tuple[str, ...] | Unreadable | None]
    """The requirements by version."""

    def build_evidence(self, each: EvidenceTarget) -> VersionEvidence:
        run = self.runs.get(each.version.run_id) if each.version.run_id else None
        return VersionEvidence(each.version.number, run=run, logged_model=self.logged_models.get(each.version_key))


class VersionComparer:
    """Compares versions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(
        self, subjects: Iterable[ComparisonSubject], known: Mapping[str, TrainingRun] | None = None
    ) -> list[VersionComparison | None]:
        """Compare each version with the one that it replaces; None where the proposal names no version.

        `known` has runs by their ids that were read already, and are not read again.
        """
        asked, wanted, registry = list(subjects), _ComparisonRequest(), self._registry
        runs = known or {}
        for subject in asked:
            wanted.add_subject(subject)
        pairs, unread = list(wanted.pairs.values()), sorted(wanted.run_ids - runs.keys())
        read = _ComparisonReads(
            {**runs, **(registry.read_runs(unread) if unread else {})},
            registry.read_logged_models(list(wanted.logged_models.values())) if wanted.logged_models else {},
            registry.read_signatures(pairs) if pairs else {},
            registry.read_requirements(pairs) if pairs else {},
        )
        return [_build_comparison(subject, read) for subject in asked]


_SIGNATURE = (VersionSignature.describe_differences, ("it has no signature any more", "it has a signature now"))
_REQUIREMENTS = (describe_requirement_changes, ("it lists none any more", "it lists some now"))


def _build_comparison(subject: ComparisonSubject, read: _ComparisonReads) -> VersionComparison | None:
    edit, replaces = subject.proposal.edit, subject.proposal.replaces
    if edit.version is None:
        return None
    read_rows, rows = _build_metric_rows(subject, read)
    keys = (edit.model, edit.version), (edit.model, replaces or 0)
    both = replaces is not None and subject.compares_files
    return VersionComparison(
        version=edit.version,
        replaces=replaces,
        metrics=read_rows,
        other_metrics=rows[:MAX_METRIC_ROWS],
        more=max(len(rows) - MAX_METRIC_ROWS, 0),
        origin=_find_origin(subject.observed, edit.version),
        replaced_origin=_find_origin(subject.observed, replaces),
        signature=_compare_files(read.signatures, *keys, *_SIGNATURE) if both else None,
        requirements=_compare_files(read.requirements, *keys, *_REQUIREMENTS) if both else None,
        past=_build_metric_history(subject, read),
    )


def _find_origin(observed: ObservedModel, number: int | None) -> VersionOrigin:
    return VersionOrigin(observed.find_run_id(number), observed.find_copy_origin(number))


def _build_metric_rows(
    subject: ComparisonSubject, read: _ComparisonReads
) -> tuple[tuple[MetricRow, ...], tuple[MetricRow, ...]]:
    """Return the metrics that the policy reads, and the other metrics of both runs, those that changed most first.

    Those of the machine are left out, unless the policy reads them: they change most of all, and say nothing of the model.
    """
    found = {each.version.number: read.build_evidence(each) for each in subject.compared_versions}
    ours = found.get(subject.proposal.edit.version or 0)
    theirs = found.get(subject.proposal.replaces or 0)
    used = subject.read_metrics
    logged = {MetricRef(name) for each in (ours, theirs) if each and each.run for name in each.run.metrics}

    def build_row(metric: MetricRef) -> MetricRow:
        return MetricRow(str(metric), _find_metric_value(ours, metric), _find_metric_value(theirs, metric), used.get(metric))

    others = (metric for metric in logged - used.keys() if not metric.is_system_metric)
    rows = sorted(map(build_row, others), key=lambda row: (-row.change_size, row.metric))
    return tuple(map(build_row, used)), tuple(rows)


def _find_metric_value(evidence: VersionEvidence | None, metric: MetricRef) -> float | None:
    measured = evidence.find_measurement(metric) if evidence else None
    return measured.value if measured else None


def _build_metric_history(subject: ComparisonSubject, read: _ComparisonReads) -> MetricHistory | None:
    metric = subject.policy.rank_metric if subject.policy else None
    if metric is None:
        return None
    found = [(each.version.number, _find_metric_value(read.build_evidence(each), metric)) for each in subject.charted_versions]
    return MetricHistory(
        metric, tuple((number, value) for number, value in found if value is not None and math.isfinite(value))
    )


_File = TypeVar("_File")


def _compare_files(
    files: Mapping[VersionKey, _File | Unreadable | None],
    version: VersionKey,
    other: VersionKey,
    describe: Callable[[_File, _File], Iterable[str]],
    one_sided: tuple[str, str],
) -> Differences:
    """Return what differs; one of `one_sided` where only the other version, or only this one, has the file."""
    ours, theirs = files.get(version), files.get(other)
    if isinstance(ours, Unreadable):
        return ours
    if isinstance(theirs, Unreadable):
        return theirs
    if ours is None or theirs is None:
        return () if ours is theirs else (one_sided[0 if ours is None else 1],)
    return tuple(describe(ours, theirs))
