"""The timeline as a picture: what is in it, and what must not be."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.replay.chart import (
    GUTTER,
    MARGIN,
    WIDTH,
    ChartBar,
    ChartGroup,
    ChartLane,
    ChartMark,
    TimeScale,
    render_chart_svg,
)
from promoter.domain.text import escape_lines
from tests.support.strategies.plans import NOW

SVG = "{http://www.w3.org/2000/svg}"
WEEK = TimeScale(NOW, NOW + timedelta(days=7))
HOSTILE = "</title><script>alert(1)</script>&\x1b[31m\x00"


def drawn(*lanes: ChartLane, scale: TimeScale = WEEK, name: str = "m@champion") -> ET.Element:
    """The picture of these lanes, parsed."""
    return ET.fromstring(render_chart_svg("A title", "A description", scale, [ChartGroup(name, lanes)], "a mark"))


def texts(picture: ET.Element) -> list[str]:
    """What is written in it, without the titles that only show when pointed at."""
    return [each.text or "" for each in picture.iter(f"{SVG}text") if each.text]


def test_bars_have_labels_where_there_is_room_and_titles_always() -> None:
    """A bar is as long as its time, and ends at the edge where it goes on."""
    bars = (
        ChartBar(7, NOW, NOW + timedelta(days=3), "v7 for three days"),
        ChartBar(8, NOW + timedelta(days=3), NOW + timedelta(days=3, minutes=1), "v8 for a minute"),
        ChartBar(9, NOW + timedelta(days=3, minutes=1), None, "v9 since"),
    )
    picture = drawn(ChartLane("as it was", bars))
    assert {"A title", "m@champion", "v7", "v9", "2026-11-24"} <= set(texts(picture))
    assert "v8" not in texts(picture)
    titles = [each.text for each in picture.iter(f"{SVG}title")]
    assert [each for each in titles if each and each.startswith("v")] == ["v7 for three days", "v8 for a minute", "v9 since"]
    boxes = [each for each in picture.iter(f"{SVG}rect") if each.get("class", "").startswith("bar")]
    assert float(boxes[0].get("width", 0)) == pytest.approx((WIDTH - MARGIN - GUTTER) * 3 / 7, abs=0.1)
    assert float(boxes[2].get("x", 0)) + float(boxes[2].get("width", 0)) == pytest.approx(WIDTH - MARGIN, abs=0.2)


def test_it_can_be_read_out_and_needs_nothing_from_outside() -> None:
    """A title and a description that the picture names; colours for light and dark; no address but that of SVG."""
    told = render_chart_svg("A title", "A description", WEEK, [])
    picture = ET.fromstring(told)
    assert picture.get("role") == "img"
    assert [picture.find(f"{SVG}{tag}[@id='{name}']").text for tag, name in (("title", "title"), ("desc", "desc"))] == [  # type: ignore[union-attr]
        "A title",
        "A description",
    ]
    assert picture.get("aria-labelledby") == "title desc"
    assert "prefers-color-scheme:dark" in told
    assert told.count("http") == 1
    assert "url(" not in told


def test_hostile_names_stay_text() -> None:
    """Names, reasons and tags come from outside: they are escaped, and what does not print is an escape."""
    bar = ChartBar(1, NOW, None, HOSTILE)
    picture = drawn(ChartLane(HOSTILE, (bar,), (ChartMark(NOW, HOSTILE),), HOSTILE), name=HOSTILE)
    assert not list(picture.iter(f"{SVG}script"))
    assert escape_lines(HOSTILE) in texts(picture)
    assert "</title><script>alert(1)</script>&\\x1b[31m" in escape_lines(HOSTILE)


def test_marks_are_explained_and_empty_lanes_say_why() -> None:
    """The legend is there only with a mark."""
    assert "a mark" not in texts(drawn(ChartLane("was", empty="nobody")))
    assert "nobody" in texts(drawn(ChartLane("was", empty="nobody")))
    picture = drawn(ChartLane("was", marks=(ChartMark(NOW + timedelta(days=1), "blocked"),)))
    assert "a mark" in texts(picture)
    assert len(list(picture.iter(f"{SVG}path"))) == 2


@given(st.timedeltas(min_value=timedelta(seconds=0), max_value=timedelta(days=9_000)))
def test_ticks_are_few_and_in_order(length: timedelta) -> None:
    """Whatever the time, there are never more labels than fit, and each is in the picture."""
    scale = TimeScale(NOW, NOW + length)
    ticks = [moment for moment, _ in scale.build_axis_ticks()]
    assert len(ticks) <= 11
    assert ticks == sorted(set(ticks))
    assert all(scale.since <= tick <= scale.until for tick in ticks)
