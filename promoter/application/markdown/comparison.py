"""Two versions compared, as pull requests show it: where they come from, their metrics, and what else differs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from promoter.application.markdown.plan import (
    code_span,
    inline_text,
    render_details,
    render_link,
    render_table,
    table_cell,
)
from promoter.domain.comparison import Differences, MetricRow, VersionComparison, VersionOrigin
from promoter.domain.links import PageAddresses
from promoter.domain.observed import CopyOrigin, Unreadable
from promoter.domain.text import format_count, format_number, version_label

MIN_POINTS = 2
"""The number of points from which on a chart is drawn."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_MARGIN = 0.1
_SMALLEST, _LARGEST = 1e-9, 1e12
"""The figures beyond which an axis gets too long: charts know no exponents."""
_CHART_STYLE = (
    '%%{init: {"xyChart": {"width": 900, "height": 300}, "themeVariables": {"xyChart": {"plotColorPalette": "#4c78d8"}}}}%%'
)
"""The width has room for the names of all versions; the default colour of lines is nearly white, on white."""
_TITLE = re.compile(r"[^\w .:/%()@+-]")

Points = Sequence[tuple[int, float]]
"""Pairs of version and value, ascending by version."""


def render_figure(value: float | None) -> str:
    """Write a figure with all its digits, since a bound may lie between two that look the same; without a figure, a dash."""
    return "-" if value is None else "NaN" if math.isnan(value) else format_number(value)


def render_metric_chart(metric: str, points: Points) -> list[str]:
    """Draw a fenced chart; nothing where there are too few points, or figures that it cannot draw."""
    values = [value for _, value in points]
    if len(values) < MIN_POINTS or not all(value == 0 or _SMALLEST <= abs(value) <= _LARGEST for value in values):
        return []
    low, high = min(values), max(values)
    margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    versions = ", ".join(f'"v{version}"' for version, _ in points)
    title = _TITLE.sub(" ", metric)[:100]
    return [
        "```mermaid",
        _CHART_STYLE,
        "xychart-beta",
        f'    title "{title}"',
        f"    x-axis [{versions}]",
        f"    y-axis {_render_decimal(low - margin)} --> {_render_decimal(high + margin)}",
        f"    line [{', '.join(map(_render_decimal, values))}]",
        "```",
    ]


def render_points_text(metric: str, points: Points, named: Mapping[int, str]) -> str:
    """Write the figures on a line, behind blocks of their heights. `named` has remarks on some versions."""
    parts = []
    for version, value in points:
        text = f"v{version} {render_figure(value)}"
        parts.append(f"**{text}** ({named[version]})" if version in named else text)
    return f"{inline_text(metric)}: {render_sparkline([value for _, value in points])} " + ", ".join(parts)


def render_sparkline(values: Sequence[float]) -> str:
    """Write a block for each value, as high as it lies between the lowest and the highest."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    reach = (high - low) if math.isfinite(high - low) else 0.0
    steps = [round((value - low) / reach * (len(_BLOCKS) - 1)) if reach else 0 for value in values]
    return "".join(_BLOCKS[step] for step in steps)


def _render_decimal(value: float) -> str:
    """Write a figure without an exponent."""
    return f"{Decimal(f'{value:.6g}'):f}"


MAX_DIFFERENCES = 100
"""The number of differences of signatures, and of dependencies, that are shown."""
_BETTER = {"highest": "higher", "lowest": "lower", None: "not stated"}

Block = Sequence[str]
"""Lines under a heading of their own."""


def render_versions(
    model: str, comparison: VersionComparison, pages: PageAddresses, words: tuple[str, str] = ("replaced", "proposed")
) -> list[str]:
    """Write where the two versions come from, with links as far as the addresses are known.

    `words` name the version that is replaced, and the other.
    """
    replaced, proposed = words
    found = [(proposed, comparison.version, comparison.origin)]
    found += [(replaced, comparison.replaces, comparison.replaced_origin)] if comparison.replaces is not None else []
    copied = any(origin.copied_from for _, _, origin in found)
    rows = [
        [
            word,
            render_link(version_label(number), pages.link_version(model, number)),
            _render_run(origin, pages),
            *([_render_copy_cell(origin, pages)] if copied else []),
        ]
        for word, number, origin in found
    ]
    lines = render_table(["", "version", "training run", *(["copy of"] if copied else [])], rows)
    page = pages.link_page(model)
    return [*lines, *(["", render_link(inline_text(f"{model} in Promoter"), page)] if page else [])]


def render_copy_origin(origin: CopyOrigin, pages: PageAddresses) -> str:
    """Write of which version another one is a copy, and the run that trained it."""
    registry = origin.registry
    version = render_link(version_label(origin.version), pages.link_version(origin.model, origin.version, registry))
    where = f" in registry {code_span(registry)}" if registry else ""
    run = f", run {render_link(code_span(origin.run_id), pages.link_run(origin.run_id, registry))}" if origin.run_id else ""
    return f"{version} of {code_span(origin.model)}{where}{run}"


def _render_copy_cell(origin: VersionOrigin, pages: PageAddresses) -> str:
    return render_copy_origin(origin.copied_from, pages).replace("|", "\\|") if origin.copied_from else "-"


def _render_run(origin: VersionOrigin, pages: PageAddresses) -> str:
    run = origin.run_id
    return render_link(code_span(run), pages.link_run(run)).replace("|", "\\|") if run else "-"


def render_metrics(comparison: VersionComparison) -> Iterator[Block]:
    """Write the metrics that the policy reads, and fold away the others. Without a policy, nothing is folded away."""
    read, others = comparison.metrics, comparison.other_metrics
    if read:
        yield ["### Metrics that the policy reads", "", *render_metric_table(comparison, read, directed=True)]
    if not others:
        return
    lines = render_metric_table(comparison, others)
    if comparison.more:
        lines += ["", f"{format_count(comparison.more, 'more metric')} not shown: those that changed least."]
    number = len(others) + comparison.more
    if read:
        what = f"{format_count(number, 'metric')} that the policy does not read, those that changed most first"
        yield render_details(what, lines)
    else:
        yield ["### Metrics", "", *lines]


def render_metric_table(comparison: VersionComparison, rows: Sequence[MetricRow], *, directed: bool = False) -> list[str]:
    """Write the rows as a table. `directed`: with a column for the direction that is better."""
    single = comparison.replaces is None
    columns = ["metric", *(["better"] if directed else []), version_label(comparison.version)]
    columns += [] if single else [version_label(comparison.replaces), "difference"]
    return render_table(columns, [_build_metric_cells(row, directed=directed, single=single) for row in rows])


def _build_metric_cells(row: MetricRow, *, directed: bool, single: bool) -> list[str]:
    cells = [table_cell(row.metric), *([_BETTER[row.order]] if directed else []), render_figure(row.value)]
    return cells if single else [*cells, render_figure(row.was), _render_difference(row)]


def _render_difference(row: MetricRow) -> str:
    apart = row.difference
    if apart is None:
        return "-"
    if not apart:
        return "none"
    judged = "" if row.is_better is None else ", better" if row.is_better else ", **worse**"
    return f"{_render_signed(apart)}{judged}"


def _render_signed(value: Decimal) -> str:
    return f"{value.normalize():+.6g}"


def render_history_chart(comparison: VersionComparison, words: tuple[str, str]) -> Block:
    """Draw the ranked metric over the versions. `words` are the remarks on the version that is replaced, and on the other."""
    past = comparison.past
    if past is None or not past.points:
        return []
    drawn = render_metric_chart(str(past.metric), past.points)
    named = {comparison.replaces or 0: words[0], comparison.version: words[1]}
    space = [""] if drawn else []
    return ["### Over the versions", "", *drawn, *space, render_points_text(str(past.metric), past.points, named)]


def render_file_differences(comparison: VersionComparison) -> Iterator[Block]:
    """Write what differs in signature and dependencies; nothing where there is no version to compare with."""
    if comparison.replaces is not None:
        yield ["### Signature", "", *_render_differences(comparison.signature, comparison.replaces)]
        yield ["### Dependencies", "", *_render_differences(comparison.requirements, comparison.replaces)]


def _render_differences(found: Differences | None, was: int) -> list[str]:
    if found is None or isinstance(found, Unreadable):
        return [f"Cannot be compared: {inline_text(found.reason if found else 'it was not read')}"]
    if not found:
        return [f"As that of {version_label(was)}."]
    more = [f"- and {len(found) - MAX_DIFFERENCES} more"] if len(found) > MAX_DIFFERENCES else []
    return [*(f"- {inline_text(each)}" for each in found[:MAX_DIFFERENCES]), *more]
