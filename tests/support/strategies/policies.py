"""Hypothesis strategies for policies of every rule kind, and for evidence to judge by them, NaN and absence included."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from promoter.domain.evidence import NOT_REQUESTED, AliasPast, Evidence, HeldStretch, VersionEvidence
from promoter.domain.observed import (
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricSeries,
    MetricValue,
    RunDataset,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.review import ChangeOrigin, PullRequestReview
from tests.support.strategies.plans import NOW

RANKED = {"from": "any", "rank": {"metric": "auc", "order": "highest"}}
_METRICS = ("auc", "live")
_VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.5, 0.9, 1.0, -0.0, 1e300, 0.1 + 0.2, 1e-9, float("nan"), float("inf")]),
)
_WORDS = st.sampled_from(["risk", "", "1.0", "\N{SNOWMAN}", "a\nb", "x" * 40, '"quoted" \\ {}', "\u202e"])
_BOUNDS = st.sampled_from([0.5, 0.9, 1, 0])
_TIMES = st.integers(-200_000, 200_000).map(lambda seconds: NOW + timedelta(seconds=seconds, microseconds=seconds % 1_000))
_SOURCED: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"source": "run"}, {"source": "logged_model"}, {"dataset": "holdout"}]
)


def _metric_rules() -> st.SearchStrategy[dict[str, Any]]:
    terms = st.one_of(
        st.builds(lambda bound: {"at_least": bound}, _BOUNDS),
        st.builds(lambda bound: {"at_most": bound}, _BOUNDS),
        st.sampled_from([
            {"beats": "champion"}, {"beats": "champion", "by": "1%"}, {"beats": "champion", "by": 0.005},
            {"beats": "champion", "confidence": 0.9}, {"beats": "champion", "confidence": 0.9, "steps": "independent"},
        ]),
    )  # fmt: skip
    return st.builds(lambda name, term, where: {"metric": name, **term, **where}, st.sampled_from(_METRICS), terms, _SOURCED)


_PLAIN: st.SearchStrategy[dict[str, Any]] = st.one_of(
    _metric_rules(),
    st.sampled_from([
        {"tag": "approved_by", "present": True}, {"tag": "approved_by", "equals": "risk"},
        {"tag": "approved_by", "one_of": ["risk", ""], "bound": True}, {"tag": "approved_by", "matches": "[a-z]+"},
        {"run": {"status": "FINISHED", "params": {"seed": "11"}, "dataset": {"digest": "d1"}}},
        {"soak": {"alias": "challenger", "at_least": "24h"}}, {"age": {"at_least": "1h", "at_most": "90d"}},
        {"signature": {"present": True}}, {"signature": {"equals": "champion"}}, {"loads": True},
        {"approval": {"from": ["alice"]}}, {"review": {"at_least": 1, "from": ["bob", "acme/risk"]}},
        {"expression": "metrics.auc > holders.champion.metrics.auc * 1.01", "metrics": ["auc"], "holders": ["champion"]},
        {"expression": 'version.tags["approved_by"] == "risk" || version.age > duration("24h")'},
    ]),
)  # fmt: skip


def rules() -> st.SearchStrategy[dict[str, Any]]:
    """Rules of every kind, some in groups."""
    return st.recursive(
        _PLAIN,
        lambda inner: st.one_of(
            st.builds(lambda found: {"any_of": found}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda found: {"all_of": found}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda found: {"not": found}, inner),
        ),
        max_leaves=6,
    )


_GUARDS = st.one_of(_metric_rules(), st.just({"tag": "approved_by", "present": True}))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """With candidates by rank; some with guards, limits, a freeze, a waiver of the first rule."""
    written: dict[str, Any] = {"version": 1, "candidates": RANKED, "rules": draw(st.lists(rules(), min_size=1, max_size=4))}
    written["enforcement"] = draw(st.sampled_from(["enforce", "audit"]))
    if draw(st.booleans()):
        written["metrics"] = draw(
            st.sampled_from([{"source": "logged_model"}, {"source": "logged_model", "dataset": "holdout"}])
        )
    if draw(st.booleans()):
        written["limits"] = {"cooldown": "6h", "max_per_day": 2}
        written["freeze"] = [{"cron": "0 6 * * *", "duration": "12h", "timezone": "Europe/Berlin", "reason": "\N{SNOWMAN}"}]
    if draw(st.booleans()):
        written["guards"] = [{**each, "for": 3} for each in draw(st.lists(_GUARDS, min_size=1, max_size=2))]
    if draw(st.booleans()):
        written["rules"][0] = {**written["rules"][0], "name": "first"}
        until = draw(st.sampled_from([NOW - timedelta(days=9), NOW + timedelta(days=9)]))
        written["waivers"] = [{"model": "m", "version": 2, "rule": "first", "reason": "a test", "until": until}]
    return Policy("champion", "d1", PolicyDocument.model_validate(written))


@st.composite
def versions_evidence(draw: st.DrawFn, number: int) -> VersionEvidence:
    """What is known of a version: anything of it may be missing, unreadable, or no number."""
    metrics = draw(st.dictionaries(st.sampled_from(_METRICS), _VALUES))
    run = TrainingRun(f"run-{number}", draw(st.sampled_from(["FINISHED", "RUNNING"])), metrics, None, "alice", {"seed": "11"},
              (RunDataset("holdout", "d1"),))  # fmt: skip
    measured = st.builds(
        MetricValue, st.sampled_from(_METRICS), _VALUES, st.sampled_from([None, "holdout"]), st.sampled_from([None, "d1", "d2"])
    )
    logged = st.builds(lambda found: LoggedModel("m-1", tuple(found)), st.lists(measured, max_size=4))
    refs = [
        MetricRef(name, *where) for name in _METRICS for where in (("run",), ("logged_model",), ("logged_model", "holdout"))
    ]
    points = st.lists(_VALUES, max_size=8).map(lambda found: tuple(enumerate(found)))
    series = draw(st.dictionaries(st.sampled_from(refs), points, max_size=3))
    tags = draw(st.dictionaries(st.sampled_from(["approved_by", "promoter.approval.champion.alice"]), _WORDS))
    return VersionEvidence(
        version=number,
        tags=tags,
        run_id=draw(st.sampled_from([None, run.run_id])),
        run=draw(st.sampled_from([None, run])),
        created_at=draw(st.one_of(st.none(), _TIMES)),
        source=draw(st.sampled_from([None, "models:/m/1"])),
        copied=draw(st.booleans()),
        witnessed=draw(st.frozensets(st.just("approved_by"))),
        logged_model=draw(st.one_of(st.none(), st.just(NOT_REQUESTED), st.just(Unreadable("no such artifact")), logged)),
        series=tuple(MetricSeries(metric, found) for metric, found in series.items()),
        signature=draw(st.sampled_from([None, NOT_REQUESTED, VersionSignature({"input age": "long"}), VersionSignature({})])),
        loading=draw(st.sampled_from([None, LoadingResult("loaded", "sklearn"), LoadingResult("failed", "boom")])),
        held=draw(st.dictionaries(st.just("challenger"), st.builds(HeldStretch, _TIMES, st.one_of(st.none(), _TIMES)))),
        seen=draw(st.dictionaries(st.just("approved_by"), _TIMES)),
    )


_ORIGINS = st.builds(
    ChangeOrigin,
    number=st.just(12),
    url=st.just("https://forge.example.org/12"),
    author=st.sampled_from(["bob", "carol"]),
    reviews=st.lists(st.builds(PullRequestReview, st.sampled_from(["bob", "dave"]), st.none(), st.booleans()), max_size=2).map(
        tuple
    ),
    merged=st.booleans(),
    teams=st.sampled_from([{}, {"acme/risk": frozenset({"dave"})}]),
)


def evidences() -> st.SearchStrategy[Evidence]:
    """The candidate is v2, champion is held by v1 or nobody, or by nobody knows whom."""
    holders: st.SearchStrategy[dict[str, VersionEvidence | None]] = st.one_of(
        st.just({}), st.just({"champion": None}), versions_evidence(1).map(lambda found: {"champion": found})
    )
    past = st.builds(
        AliasPast, st.lists(_TIMES, max_size=4).map(tuple), st.one_of(st.none(), _TIMES), st.sampled_from([None, "why"])
    )
    return st.builds(
        Evidence,
        at=_TIMES,
        candidate=versions_evidence(2),
        holders=holders,
        past=st.one_of(st.none(), past),
        model=st.just("m"),
        origin=st.one_of(st.none(), st.just(NOT_REQUESTED), st.just(Unreadable("forge gone")), _ORIGINS),
    )
