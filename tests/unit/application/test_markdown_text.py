"""Words from outside in Markdown: whatever they are, a forge makes nothing but words of them."""

from __future__ import annotations

import pytest

from promoter.application.markdown.plan import code_span, inline_text, render_table, table_cell


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("plain words, 0.93", "plain words, 0.93"),
        ("snake_case and _this_", "snake_case and \\_this\\_"),
        ("cc @risk/team", "cc @&#8203;risk/team"),
        ("&#64;risk", "&amp;#&#8203;64;risk"),
        ("fixes #3, GH-4, !5", "fixes #&#8203;3, GH-&#8203;4, !&#8203;5"),
        ("closes https://f.example/o/r/issues/7", "closes https://f.example/o/r/issues/&#8203;7"),
        ("![pixel](https://spy.example/a.png)", "![pixel\\](https://spy.example/a.png)"),
        ("[a][b] [c]: d [e]", "\\[a\\][b] [c]: d [e]"),
        ("<!-- promoter:x --><script>", "&lt;!-- promoter:x -->&lt;script>"),
        ("/approve", "&#8203;/approve"),
        ("  /merge now", "  &#8203;/merge now"),
        ("a & b, &7, epics/7", "a &amp; b, &amp;&#8203;7, epics/&#8203;7"),
        ("a\n/merge", "a\\\\n/merge"),
        ("one `code @x <b>` and ` alone", "one `code @x <b>` and \\` alone"),
        ("\u202eevil", "\\\\u202eevil"),
    ],
)
def test_inline(told: str, shown: str) -> None:
    """No markup, nobody told, nothing closed; code between backticks stays code."""
    assert inline_text(told) == shown


def test_cell() -> None:
    """A cell ends where we say, also within code."""
    assert table_cell("a|b\n`c|d`") == "a\\|b `c\\|d`"
    assert render_table(["a", "b"], [[table_cell("x|y"), "2"]]) == ["| a | b |", "| --- | --- |", "| x\\|y | 2 |"]


@pytest.mark.parametrize(
    ("told", "shown"), [("m@champion", "`m@champion`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("", "` `"), ("a\nb", "`a\\nb`")]
)
def test_code(told: str, shown: str) -> None:
    """Backticks of others do not end it."""
    assert code_span(told) == shown
