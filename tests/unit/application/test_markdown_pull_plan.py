"""The comment with the plan of a pull request: bounded, and only words of what comes from outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from promoter.application.markdown.pull_plan import COMMENT_MARKER, MAX_COMMENT_LENGTH, render_pull_plan_markdown
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.errors import Fault
from promoter.domain.plan import AliasDifference, BlockedTarget, Change, ChangeCause, Plan
from promoter.domain.policy_diff import AliasEffect, DivergentVersion, PolicyStep, PolicyStepKind
from promoter.domain.pull_plan import MergeEffects, PullPlan

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOSTILE = "<!-- --></details><img src=x> @ada | closes #7 !8 [x](http://e) `\n# big\n\x1b[31m"


OURS = frozenset(
    ["h3", "h4", "p", "code", "strong", "ul", "li", "details", "summary", "table", "thead", "tbody", "tr", "th", "td"]
)


class RenderedPage(HTMLParser):
    """What is on a page: its elements, its text, and apart from that what stands in code."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.tags: set[str] = set()
        self.comments: list[str] = []
        self.text, self.code, self.depth, self._coded = "", "", 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count."""
        assert not attrs
        self.tags.add(tag)
        self.depth += 1
        self._coded = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        """Count."""
        del tag
        self.depth -= 1
        self._coded = False

    def handle_data(self, data: str) -> None:
        """Keep."""
        if self._coded:
            self.code += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        """Keep."""
        self.comments.append(data)


def changes(count: int, model: str, value: str) -> tuple[Change, ...]:
    """Blocked ones, each with a decision."""
    made = []
    for number in range(count):
        finding = RuleFinding("tag t present", Verdict.FAIL, value, value)
        decision = Decision(model, f"a{number}", 2, "p", "d", Verdict.FAIL, (finding,), AT)
        made.append(Change(AliasDifference(model, f"a{number}", 1, 2, ChangeCause.COMMIT), decision))
    return tuple(made)


def full(count: int, model: str, value: str) -> PullPlan:
    """As much of everything."""
    brought, due = changes(count, model, value), changes(count, f"{model}-due", value)
    steps = tuple(
        PolicyStep(f"p{n}", PolicyStepKind.CHANGED, "p", (AliasEffect(model, "a", 1, (DivergentVersion(2, value),)),), value)
        for n in range(count)
    )
    parts = MergeEffects(
        brought,
        (BlockedTarget(model, None, value),) * count,
        (value,) * count,
        (value,) * count,
        (value,) * count,
        policies=steps,
        later={(model, each.difference.alias): each.decision for each in brought if each.decision},
    )
    return PullPlan("b" * 40, "h" * 40, frozenset({"registry.yaml"}), plan=Plan("h" * 40, brought + due), brought=parts)


@pytest.mark.parametrize(("count", "size"), [(1_000, 10), (30, 5_000), (2, 70_000)])
def test_it_has_an_end(count: int, size: int) -> None:
    """However much there is, and however long each part: the marker and the verdict stay, and a note says what does not."""
    told = render_pull_plan_markdown(full(count, "m@" * 100, "@x " * (size // 3)))
    assert len(told) <= MAX_COMMENT_LENGTH
    assert told.startswith(f"{COMMENT_MARKER}\n### ✗ Promoter: failure, ")
    assert re.search(
        r"\nLeft out, since a comment has an end: .*\. `promoter plan --base BASE --head HEAD` shows all\.\n", told
    )
    assert told.count("<details>") == told.count("</details>")


def test_what_is_short_is_whole() -> None:
    """Nothing is left out, and nothing says so."""
    told = render_pull_plan_markdown(full(3, "m", "seen"))
    assert "Left out" not in told
    assert told.count("<details>") == 4


@pytest.mark.parametrize(
    "found",
    [
        full(2, HOSTILE, HOSTILE),
        PullPlan("b", "h", frozenset({HOSTILE}), (Fault(HOSTILE, HOSTILE, fix=HOSTILE),), (HOSTILE,)),
        PullPlan("b", "h", frozenset({HOSTILE}), unjudged=HOSTILE),
    ],
    ids=["plan", "faults", "unjudged"],
)
def test_nothing_from_outside_is_more_than_words(found: PullPlan) -> None:
    """On the page that comes of it there is no element, mention, reference or heading but ours; in code, all of it is text."""
    page = RenderedPage()
    page.feed(MarkdownIt("commonmark").enable("table").render(render_pull_plan_markdown(found)))
    page.close()
    assert page.tags <= OURS
    assert page.comments == [" promoter:plan "]
    assert page.depth == 0
    assert HOSTILE.partition("<img")[0] in page.code + page.text
    assert not re.search(r"[@#!](?=\w)", page.text)
    assert not page.text.count("\x1b")
