"""A metric over versions: a chart that forges draw (`mermaid`), and the same figures in a line of text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from promoter.application.markdown.text import inline_text

MIN_POINTS = 2
"""So many points make a picture."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_MARGIN = 0.1
_SMALLEST, _LARGEST = 1e-9, 1e12
"""Beyond these, figures get too long for an axis: charts know no exponents."""
_CHART_STYLE = (
    '%%{init: {"xyChart": {"width": 900, "height": 300}, "themeVariables": {"xyChart": {"plotColorPalette": "#4c78d8"}}}}%%'
)
"""Wide enough for the names of all versions; its own line is nearly white, on white."""
_TITLE = re.compile(r"[^\w .:/%()@+-]")

Points = Sequence[tuple[int, float]]
"""Version and value, ascending by version."""


def render_figure(value: float | None) -> str:
    """Six digits; a dash where there is none."""
    return "-" if value is None else "NaN" if math.isnan(value) else f"{value:.6g}"


def render_metric_chart(metric: str, points: Points) -> list[str]:
    """A fenced chart; nothing where there is too little to draw, or figures that it cannot draw."""
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
    """The figures in a line, with blocks whose height says the same; `named`: what to say of some versions."""
    parts = []
    for version, value in points:
        text = f"v{version} {render_figure(value)}"
        parts.append(f"**{text}** ({named[version]})" if version in named else text)
    return f"{inline_text(metric)}: {render_sparkline([value for _, value in points])} " + ", ".join(parts)


def render_sparkline(values: Sequence[float]) -> str:
    """A block for each value, between the lowest and the highest."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    reach = (high - low) if math.isfinite(high - low) else 0.0
    steps = [round((value - low) / reach * (len(_BLOCKS) - 1)) if reach else 0 for value in values]
    return "".join(_BLOCKS[step] for step in steps)


def _render_decimal(value: float) -> str:
    """Without an exponent."""
    return f"{Decimal(f'{value:.6g}'):f}"
