"""The chart of a replay as SVG: for each model what happened, and what each policy would have done."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from promoter.domain.history import AliasSpan
from promoter.domain.replay.as_of import EvidenceBasis
from promoter.domain.replay.report import ModelReplay, PolicyReplay, ReplayReport, describe_evidence_sources
from promoter.domain.text import NO_VERSION, escape_lines, version_label

WIDTH, GUTTER, MARGIN = 1200, 190, 16
LANE_HEIGHT, LANE_GAP, GROUP_HEAD_HEIGHT, CHART_TOP = 24, 4, 26, 64
_CHARACTER_WIDTH = 7.4  # the width of a digit at 12 px, generously
_MOST_TICKS = 9
_TICK_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
_TICK_STEPS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 5, 15, 60, 180, 360, 720, *(1440 * days for days in (1, 2, 7, 14, 28, 91, 182, 364, 1820, 3640)))
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLOURS = (
    ("#c6dbf5", "#24476f"), ("#f9d9b0", "#6b4413"), ("#cdebc5", "#245a2d"), ("#f3c9d6", "#6d2741"),
    ("#dccff0", "#4a3372"), ("#c3ebe7", "#175a55"), ("#efe6a8", "#5a5212"), ("#dcdcdc", "#4b4b4b"),
)  # fmt: skip  # in light, in dark: the text is dark or light, with a contrast above 7


@dataclass(frozen=True)
class ChartBar:
    """A version over a time."""

    version: int
    since: datetime
    until: datetime | None
    """None: to the end of the chart."""
    tooltip: str
    certain: bool = True
    """A bar that is not certain has a broken edge."""


@dataclass(frozen=True)
class ChartMark:
    """A cross at a moment when something went wrong, or would have."""

    at: datetime
    tooltip: str


@dataclass(frozen=True)
class ChartLane:
    """A line of bars that do not overlap."""

    name: str
    bars: tuple[ChartBar, ...] = ()
    marks: tuple[ChartMark, ...] = ()
    empty: str = ""
    """The text of a lane without bars."""


@dataclass(frozen=True)
class ChartGroup:
    """Lanes under a name, those of one model."""

    name: str
    lanes: tuple[ChartLane, ...]


@dataclass(frozen=True)
class TimeScale:
    """The axis, which maps moments to pixels. Both of its ends are in UTC."""

    since: datetime
    until: datetime

    def x_position(self, moment: datetime) -> float:
        """Find the place of a moment; a moment outside lies on the edge."""
        share = (moment - self.since) / max(self.until - self.since, timedelta(seconds=1))
        return GUTTER + min(max(share, 0.0), 1.0) * (WIDTH - MARGIN - GUTTER)

    def build_axis_ticks(self) -> list[tuple[datetime, str]]:
        """Choose round moments, few enough to read, each with its label."""
        whole = self.until - self.since
        step = next((step for step in _TICK_STEPS if whole / step <= _MOST_TICKS), max(whole, _TICK_STEPS[-1]))
        shape = "%Y-%m-%d" if step >= timedelta(days=1) else "%m-%d %H:%M"
        first = _TICK_EPOCH + -((_TICK_EPOCH - self.since) // step) * step
        found = []
        while first <= self.until:
            if first >= self.since:
                found.append((first, f"{first:{shape}}"))
            first += step
        return found


def render_chart_svg(title: str, description: str, scale: TimeScale, groups: Sequence[ChartGroup], legend: str = "") -> str:
    """Draw the chart. All text is escaped. Screen readers read `title` and `description`; `legend` explains the marks."""
    marked = any(lane.marks for group in groups for lane in group.lanes)
    bottom = CHART_TOP + sum(GROUP_HEAD_HEIGHT + (LANE_HEIGHT + LANE_GAP) * len(group.lanes) for group in groups) + MARGIN
    height = bottom + (LANE_HEIGHT if marked else 0) + MARGIN
    body = [*_render_frame(title, description, height), *_render_axis(scale, bottom)]
    top = CHART_TOP
    for group in groups:
        body.append(
            f'<text class="g" x="{MARGIN}" y="{top + GROUP_HEAD_HEIGHT - 8}">{_escape_shortened(group.name, 150)}</text>'
        )
        top += GROUP_HEAD_HEIGHT
        for lane in group.lanes:
            body += _render_lane(lane, scale, top)
            top += LANE_HEIGHT + LANE_GAP
    if marked:
        body += [
            *_render_cross(GUTTER + 8, top + LANE_HEIGHT),
            f'<text class="a" x="{GUTTER + 22}" y="{top + LANE_HEIGHT + 4}">{_escape_shortened(legend, 150)}</text>',
        ]
    return "\n".join([*body, "</svg>"]) + "\n"


def _render_frame(title: str, description: str, height: int) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title desc">'
    )
    yield f'<title id="title">{_escape_svg_text(title)}</title>'
    yield f'<desc id="desc">{_escape_svg_text(description)}</desc>'
    yield f"<style>{_render_style()}</style>"
    yield f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
    yield f'<text class="t" x="{MARGIN}" y="24">{_escape_shortened(title, 140)}</text>'


def _render_style() -> str:
    light = "".join(f".c{number}{{fill:{colour}}}" for number, (colour, _) in enumerate(_COLOURS))
    dark = "".join(f".c{number}{{fill:{colour}}}" for number, (_, colour) in enumerate(_COLOURS))
    return (
        "text{font:12px system-ui,sans-serif;fill:#1c1c1c}.t{font-size:15px;font-weight:600}.g{font-weight:600}"
        ".a{fill:#555}.paper{fill:#fff}.grid{stroke:#e2e2e2}.lane{fill:#f5f5f5}.bar{stroke:#777;stroke-width:.6}"
        ".guess{stroke-dasharray:4 3;fill-opacity:.55}.mark{fill:none;stroke:#b3001b;stroke-width:2}.disc{fill:#fff}"
        + light
        + "@media (prefers-color-scheme:dark){text{fill:#f2f2f2}.a{fill:#b5b5b5}.paper{fill:#16181c}.grid{stroke:#33363c}"
        ".lane{fill:#202329}.bar{stroke:#9a9a9a}.mark{stroke:#ff8a8a}.disc{fill:#16181c}" + dark + "}"
    )


def _render_axis(scale: TimeScale, bottom: int) -> Iterator[str]:
    for moment, label in scale.build_axis_ticks():
        x = scale.x_position(moment)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{CHART_TOP - 8}" y2="{bottom}"/>'
        if x < WIDTH - MARGIN - _CHARACTER_WIDTH * len(label) / 2:
            yield f'<text class="a" x="{x:.1f}" y="{CHART_TOP - 14}" text-anchor="middle">{label}</text>'


def _render_lane(lane: ChartLane, scale: TimeScale, top: int) -> Iterator[str]:
    base = top + 16
    name = f"<title>{_escape_svg_text(lane.name)}</title>{_escape_shortened(lane.name, 24)}"
    yield f'<text class="a" x="{GUTTER - 8}" y="{base}" text-anchor="end">{name}</text>'
    yield f'<rect class="lane" x="{GUTTER}" y="{top}" width="{WIDTH - MARGIN - GUTTER}" height="{LANE_HEIGHT}"/>'
    if not lane.bars and lane.empty:
        yield f'<text class="a" x="{GUTTER + 8}" y="{base}">{_escape_shortened(lane.empty, 120)}</text>'
    for bar in lane.bars:
        left, right = scale.x_position(bar.since), scale.x_position(bar.until or scale.until)
        width, label = max(right - left, 1.0), f"v{bar.version}"
        kind = f"bar c{bar.version % len(_COLOURS)}" + ("" if bar.certain else " guess")
        box = f'x="{left:.1f}" y="{top}" width="{width:.1f}" height="{LANE_HEIGHT}" rx="3"'
        yield f'<g><title>{_escape_svg_text(bar.tooltip)}</title><rect class="{kind}" {box}/>'
        if width >= _CHARACTER_WIDTH * len(label) + 4:
            yield f'<text x="{left + width / 2:.1f}" y="{base}" text-anchor="middle">{label}</text>'
        yield "</g>"
    for mark in lane.marks:
        yield f"<g><title>{_escape_svg_text(mark.tooltip)}</title>"
        yield from _render_cross(scale.x_position(mark.at), top + LANE_HEIGHT // 2)
        yield "</g>"


def _render_cross(x: float, y: int) -> Iterator[str]:
    yield f'<circle class="disc" cx="{x:.1f}" cy="{y}" r="8"/><path class="mark" d="M{x - 4:.1f} {y - 4}l8 8m0-8l-8 8"/>'


def _escape_shortened(text: str, most: int) -> str:
    return _escape_svg_text(text if len(text) <= most else text[: most - 1] + "…")


def _escape_svg_text(text: str) -> str:
    return html.escape(_NOT_XML.sub("\ufffd", escape_lines(text)))


_AXIS_MARGIN = 0.03


def render_replay_chart(report: ReplayReport) -> str:
    """Draw a group of lanes for each model, with a cross where a policy would have blocked a real promotion."""
    names = " and ".join(lens.policy.name for lens in report.lenses)
    title = f"Replay of {names}, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    summaries = [_describe_model_replay(model) for model in report.models]
    description = " ".join([*summaries, describe_evidence_sources(report)])
    groups = [*_build_chart_groups(report)]
    scale = TimeScale(_find_axis_start(report, groups).astimezone(UTC), report.until.astimezone(UTC))
    return render_chart_svg(title, description, scale, groups, "a promotion that the policy would have blocked")


def _find_axis_start(report: ReplayReport, groups: list[ChartGroup]) -> datetime:
    """Begin the axis shortly before the first bar or mark, however early the replay begins."""
    seen = [bar.since for group in groups for lane in group.lanes for bar in lane.bars]
    seen += [mark.at for group in groups for lane in group.lanes for mark in lane.marks]
    first = min(seen, default=report.since)
    return max(report.since, first - (report.until - first) * _AXIS_MARGIN)


def _build_chart_groups(report: ReplayReport) -> Iterator[ChartGroup]:
    for model in report.models:
        actual = tuple(_build_actual_bar(span, report.since) for span in model.actual if span.version is not None)
        empty = "the ledger does not know" if model.began is None else NO_VERSION
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
    return ChartLane(f"under {replayed.policy_name}", bars, marks, NO_VERSION)


def _format_time_span(since: datetime | None, until: datetime | None) -> str:
    started = f"from {since:%Y-%m-%d %H:%M}" if since else "from before the ledger began"
    return f"{started} to {until:%Y-%m-%d %H:%M} UTC" if until else f"{started} UTC on"


def _describe_model_replay(model: ModelReplay) -> str:
    now = f"{model.model}@{model.alias} is {version_label(model.held_now)}"
    return (
        f"{now}; "
        + ", ".join(f"under {each.policy_name} it would be {version_label(each.final_holder)}" for each in model.replays)
        + "."
    )
