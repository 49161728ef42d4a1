"""The picture of a replay: for each model what was, and what each policy would have made of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from promoter.domain.past.history import Span
from promoter.domain.replay.memory import Basis
from promoter.domain.replay.notes import evidence_told
from promoter.domain.replay.report import ModelReplay, Replayed, Report
from promoter.domain.timeline import Bar, Group, Lane, Mark, Scale, draw

_MARGIN = 0.03


def picture(report: Report) -> str:
    """An SVG: a group of lanes for each model; a cross where a policy would have blocked a real promotion."""
    names = " and ".join(lens.policy.name for lens in report.lenses)
    title = f"Replay of {names}, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    told = [_in_words(model) for model in report.models]
    description = " ".join([*told, evidence_told(report)])
    groups = [*_groups(report)]
    scale = Scale(_begin(report, groups).astimezone(UTC), report.until.astimezone(UTC))
    return draw(title, description, scale, groups, "a promotion that the policy would have blocked")


def _begin(report: Report, groups: list[Group]) -> datetime:
    """Where the axis begins: shortly before the first thing that there is to see, however long ago was asked for."""
    seen = [bar.since for group in groups for lane in group.lanes for bar in lane.bars]
    seen += [mark.at for group in groups for lane in group.lanes for mark in lane.marks]
    first = min(seen, default=report.since)
    return max(report.since, first - (report.until - first) * _MARGIN)


def _groups(report: Report) -> Iterator[Group]:
    for model in report.models:
        actual = tuple(_was(span, report.since) for span in model.actual if span.version is not None)
        empty = "the ledger does not know" if model.began is None else "nobody"
        lanes = [Lane("as it was (ledger)", actual, empty=empty)]
        lanes += [_would_be(each, model) for each in model.replays]
        yield Group(f"{model.model}@{model.alias}", tuple(lanes))


def _was(span: Span, since: datetime) -> Bar:
    return Bar(span.version or 0, span.since or since, span.until, f"v{span.version} {_times(span.since, span.until)}")


def _would_be(replayed: Replayed, model: ModelReplay) -> Lane:
    bars = tuple(
        Bar(
            span.version,
            span.since,
            span.until,
            f"v{span.version} {_times(span.since, span.until)}: {span.why}",
            certain=span.judged is not None or model.start.basis is Basis.THEN,
        )
        for span in replayed.simulation.spans
    )
    marks = tuple(
        Mark(each.at, f"{replayed.policy} would have blocked v{each.to_version} on {each.at:%Y-%m-%d}: {each.decision.summary}")
        for each in replayed.blocked
    )
    return Lane(f"under {replayed.policy}", bars, marks, "nobody")


def _times(since: datetime | None, until: datetime | None) -> str:
    started = f"from {since:%Y-%m-%d %H:%M}" if since else "from before the ledger began"
    return f"{started} to {until:%Y-%m-%d %H:%M} UTC" if until else f"{started} UTC on"


def _in_words(model: ModelReplay) -> str:
    now = f"{model.model}@{model.alias} is {_version(model.held_now)}"
    return f"{now}; " + ", ".join(f"under {each.policy} it would be {_version(each.holder)}" for each in model.replays) + "."


def _version(number: int | None) -> str:
    return "nobody" if number is None else f"v{number}"
