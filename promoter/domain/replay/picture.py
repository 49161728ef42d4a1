"""The picture of a replay: for each model what was, and what each policy would have made of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from promoter.domain.past.history import AliasSpan
from promoter.domain.replay.memory import EvidenceBasis
from promoter.domain.replay.notes import describe_evidence_sources
from promoter.domain.replay.report import ModelReplay, PolicyReplay, ReplayReport
from promoter.domain.timeline import ChartBar, ChartGroup, ChartLane, ChartMark, TimeScale, render_chart_svg

_AXIS_MARGIN = 0.03


def render_replay_chart(report: ReplayReport) -> str:
    """An SVG: a group of lanes for each model; a cross where a policy would have blocked a real promotion."""
    names = " and ".join(lens.policy.name for lens in report.lenses)
    title = f"Replay of {names}, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    summaries = [_describe_model_replay(model) for model in report.models]
    description = " ".join([*summaries, describe_evidence_sources(report)])
    groups = [*_build_chart_groups(report)]
    scale = TimeScale(_find_axis_start(report, groups).astimezone(UTC), report.until.astimezone(UTC))
    return render_chart_svg(title, description, scale, groups, "a promotion that the policy would have blocked")


def _find_axis_start(report: ReplayReport, groups: list[ChartGroup]) -> datetime:
    """Where the axis begins: shortly before the first thing that there is to see, however long ago was asked for."""
    seen = [bar.since for group in groups for lane in group.lanes for bar in lane.bars]
    seen += [mark.at for group in groups for lane in group.lanes for mark in lane.marks]
    first = min(seen, default=report.since)
    return max(report.since, first - (report.until - first) * _AXIS_MARGIN)


def _build_chart_groups(report: ReplayReport) -> Iterator[ChartGroup]:
    for model in report.models:
        actual = tuple(_build_actual_bar(span, report.since) for span in model.actual if span.version is not None)
        empty = "the ledger does not know" if model.began is None else "nobody"
        lanes = [ChartLane("as it was (ledger)", actual, empty=empty)]
        lanes += [_build_replay_lane(each, model) for each in model.replays]
        yield ChartGroup(f"{model.model}@{model.alias}", tuple(lanes))


def _build_actual_bar(span: AliasSpan, since: datetime) -> ChartBar:
    return ChartBar(
        span.version or 0, span.since or since, span.until, f"v{span.version} {_format_time_span(span.since, span.until)}"
    )


def _build_replay_lane(replayed: PolicyReplay, model: ModelReplay) -> ChartLane:
    bars = tuple(
        ChartBar(
            span.version,
            span.since,
            span.until,
            f"v{span.version} {_format_time_span(span.since, span.until)}: {span.why}",
            certain=span.judged is not None or model.start_holder.basis is EvidenceBasis.THEN,
        )
        for span in replayed.simulation.spans
    )
    marks = tuple(
        ChartMark(
            each.at,
            f"{replayed.policy_name} would have blocked v{each.to_version} on {each.at:%Y-%m-%d}: {each.decision.summary_line}",
        )
        for each in replayed.blocked_promotions
    )
    return ChartLane(f"under {replayed.policy_name}", bars, marks, "nobody")


def _format_time_span(since: datetime | None, until: datetime | None) -> str:
    started = f"from {since:%Y-%m-%d %H:%M}" if since else "from before the ledger began"
    return f"{started} to {until:%Y-%m-%d %H:%M} UTC" if until else f"{started} UTC on"


def _describe_model_replay(model: ModelReplay) -> str:
    now = f"{model.model}@{model.alias} is {_format_version(model.held_now)}"
    return (
        f"{now}; "
        + ", ".join(f"under {each.policy_name} it would be {_format_version(each.final_holder)}" for each in model.replays)
        + "."
    )


def _format_version(number: int | None) -> str:
    return "nobody" if number is None else f"v{number}"
