"""The page in a real browser: what it says, how it holds hostile and long names, and that anybody can read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from promoter.application.work_items import WorkItem, WorkKind
from promoter.domain.errors import TimeLimitError, TransientError
from promoter.web.dashboard import format_age
from tests.support import dashboard_states
from tests.support.web_site import NOW, WebSite

Open = Callable[..., Page]


def about_itself(message: ConsoleMessage, page: Page) -> bool:
    """The browser tells that the page is a 404, also where that is what was asked for."""
    return message.location["url"] == page.url and "status of 404" in message.text


@pytest.fixture
def visit(browser: Browser, web_site: WebSite) -> Iterator[Open]:
    """Opens pages of the site, without JavaScript unless told otherwise.

    A word on the console, a dialog, or a request to anywhere else fails the test.
    """
    contexts: dict[bool, BrowserContext] = {}
    said: list[str] = []
    asked: list[str] = []

    def opened(path: str = "/", *, script: bool = False) -> Page:
        if script not in contexts:
            contexts[script] = browser.new_context(viewport={"width": 1400, "height": 900}, java_script_enabled=script)
        page = contexts[script].new_page()
        page.on("console", lambda message: None if about_itself(message, page) else said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(web_site.url + path)
        return page

    yield opened
    for context in contexts.values():
        context.close()
    assert not said
    assert not [url for url in asked if not url.startswith(web_site.url + "/")]


def no_scene(web_site: WebSite) -> None:
    """Before anything was looked at."""
    del web_site


def trouble(web_site: WebSite) -> None:
    """The newest revision is refused, and MLflow stopped answering seven minutes ago."""
    dashboard_states.refused_revision(web_site)
    web_site.registry.error = TransientError("MLflow", "http://mlflow.internal:5000 refuses the connection: is the server up?")
    web_site.clock.ahead(minutes=7)
    web_site.look()


STICKING_OUT = """[...document.querySelectorAll("td, th, li, p, pre, dd")]
    .filter(e => e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)"""
SCENES = {
    "nothing yet": (no_scene, "/"),
    "every status": (dashboard_states.every_status, "/"),
    "trouble": (trouble, "/"),
    "guarded": (dashboard_states.guarded, "/"),
    "many": (lambda web_site: dashboard_states.many(web_site, 53), "/?page=2&q=model"),
    "nowhere": (no_scene, "/nowhere"),
}


@pytest.mark.parametrize(("scene", "path"), SCENES.values(), ids=SCENES.keys())
def test_anybody_can_read_it(web_site: WebSite, visit: Open, scene: Callable[[WebSite], None], path: str) -> None:
    """In light and in dark, on a telephone, a tablet and a screen: no accessibility fault, and nothing sticks out sideways."""
    scene(web_site)
    page = visit(path, script=True)
    for width in (360, 800, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(STICKING_OUT) == [], width
        if width != 800:
            page.emulate_media(color_scheme="dark" if width == 360 else "light")
            found = Axe().run(page)
            assert not found.response["violations"], (width, found.generate_report())
            assert len(found.response["passes"]) > 10


def test_it_says_what_serves_since_when_and_why(web_site: WebSite, visit: Open) -> None:
    """One row an alias: version, status, time, and the commit's own words with its author."""
    dashboard_states.every_status(web_site)
    page = visit()
    model = page.locator("table.serving tbody", has_text="fraud-detector")
    assert "newest v8 · risk-team" in model.inner_text()
    champion = model.get_by_role("row", name="champion")
    assert champion.get_by_role("cell").all_inner_texts() == [
        "v6",
        "synced",
        "2026-11-17 18:17 5 d ago",
        "Fraud: v6 has better recall on card-not-present, by Alice Doe 0101010101",
    ]
    assert champion.locator("time").get_attribute("datetime") == "2026-11-17T18:17:00+00:00"
    moved = page.locator("table.serving tbody", has_text="demand-berlin").get_by_role("row", name="champion")
    assert moved.get_by_role("cell").all_inner_texts()[2:] == ["2026-11-23 14:17 3 h ago", "moved outside Promoter"]


def test_it_says_what_waits_and_for_what(web_site: WebSite, visit: Open) -> None:
    """The urgent first, each with the rules that it waits for, and what was seen."""
    dashboard_states.every_status(web_site)
    waits = [" ".join(text.split()) for text in visit().locator("ul.waits > li").all_inner_texts()]
    tag = "tag approved_by one_of [risk, growth] {}, expected one of [risk, growth]"
    rules = "metric val_auc at_least 0.9 {}, expected at least 0.9 " + tag
    unseen = "pending nothing seen"
    assert waits == [
        "blocked churn@champion v4 → to v5 " + rules.format("fail saw 0.71", f"fail saw {dashboard_states.HOSTILE}"),
        "blocked not-registered the registry has no model of this name: register it, or take it out of registry.yaml",
        "drift demand-berlin@champion v3 → to v2 moved outside Promoter: git says v2; only reported",
        "out of sync prices@champion v2 → to v3 allowed: moves with the next look",
        "out of sync prices@shadow v1 → to none allowed: moves with the next look",
        "candidate Umsatz Süd 東京@champion v1 → to v2 " + tag.format(unseen),
        "candidate recommender@champion v4 → to v5 " + rules.format(unseen, unseen),
    ]


def test_it_says_whether_promoter_is_well(web_site: WebSite, visit: Open) -> None:
    """In one word at the top; what is wrong stands above everything else."""
    assert visit().locator(".state").inner_text() == "No revision in force"
    dashboard_states.every_status(web_site)
    page = visit()
    assert page.locator(".state").inner_text() == "Healthy"
    assert page.locator(".notice").count() == 0
    assert page.locator("header dl").inner_text().split("\n") == [
        "Revision in force", "0101010101", "Last look", "just now", "Blocked", "2", "Drift", "1",
    ]  # fmt: skip
    web_site.registry.error = TransientError("MLflow", "no answer")
    web_site.clock.ahead(minutes=7)
    web_site.look()
    page = visit()
    assert page.locator(".state").inner_text() == "Trouble with MLflow, watching the registry"
    assert page.locator("main > section").first.inner_text().split("\n\n") == [
        "MLflow", "no answer", "Below is what was seen before.",
    ]  # fmt: skip
    assert "7 min ago" in page.locator("header dl").inner_text()


def test_models_that_do_not_answer_are_named(web_site: WebSite, visit: Open) -> None:
    """Above what waits, with the time and the reason, and in their own lines; the daemon itself is well."""
    dashboard_states.every_status(web_site)
    web_site.registry.error = TimeLimitError("MLflow", "it does not answer in time")
    web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "churn"), "test")
    web_site.registry.error = None
    page = visit()
    assert page.locator(".state").inner_text() == "Healthy"
    notice = page.get_by_role("alert").inner_text()
    assert "1 model does not answer in time" in notice
    assert "churn since 2026-11-23" in notice
    assert page.locator("tr.model", has_text="does not answer in time").count() == 1


def test_a_refused_revision_is_told_with_every_fault(web_site: WebSite, visit: Open) -> None:
    """And that the last good one stays in force."""
    dashboard_states.refused_revision(web_site)
    page = visit()
    assert page.locator(".state").inner_text() == "Newest revision refused"
    notice = page.get_by_role("alert").inner_text()
    assert "Revision 0101010101 stays in force" in notice
    assert len([line for line in notice.split("\n") if line.startswith("registry.yaml:")]) == 3


def test_hostile_names_are_shown_as_text(web_site: WebSite, visit: Open) -> None:
    """Of models and owners, of reasons and tags, with scripts allowed in the browser: nothing runs, nothing is drawn."""
    dashboard_states.every_status(web_site)
    page = visit(script=True)
    assert page.title() == "Promoter"
    assert page.locator("script, img").count() == 0
    assert page.get_by_text(dashboard_states.HOSTILE).count() == 3
    assert page.get_by_role("rowheader", name=f"{dashboard_states.HOSTILE_MODEL} newest v1", exact=True).count() == 1
    page = visit(f"/?q={dashboard_states.HOSTILE}", script=True)
    assert (page.title(), page.locator("script, img").count()) == ("Promoter", 0)
    assert page.locator("table.serving tbody").count() == 1
    assert page.get_by_role("searchbox").input_value() == dashboard_states.HOSTILE


def test_many_models_are_paged_and_found(web_site: WebSite, visit: Open) -> None:
    """Fifty a page; pages that do not exist are the nearest that does; a search by model or owner."""
    dashboard_states.many(web_site)
    page = visit()
    assert page.locator("tr.model").count() == 50
    assert page.locator("h2#serves").inner_text() == "Serving 120"
    page.get_by_role("link", name="Next").click()
    expect(page.locator("nav")).to_contain_text("Page 2 of 3")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("nav")).to_contain_text("Page 3 of 3")
    expect(page.locator("tr.model")).to_have_count(20)
    assert page.get_by_role("link", name="Next").count() == 0
    assert visit("/?page=99").locator("tr.model").first.inner_text().startswith("model-100")
    assert visit("/?page=0").locator("tr.model").first.inner_text().startswith("model-000")
    page.get_by_role("searchbox").fill("TEAM-7")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr.model")).to_have_count(12)
    page.get_by_role("searchbox").fill("nobody")
    page.keyboard.press("Enter")
    page.get_by_text("No model and no owner is named like “nobody”.").wait_for()


def test_it_reloads_only_when_asked_to(web_site: WebSite, visit: Open) -> None:
    """Who reads is not interrupted; who watches follows a link, and keeps search and page."""
    dashboard_states.many(web_site)
    page = visit("/?q=model&page=2")
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    page.get_by_role("link", name="Reload every 10 s").click()
    expect(page.locator("meta[http-equiv=refresh]")).to_have_attribute("content", "10")
    expect(page.locator("tr.model").first).to_contain_text("model-050")
    page.get_by_role("link", name="Previous").click()
    expect(page.locator("tr.model").first).to_contain_text("model-000")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(1)
    page.get_by_role("link", name="Stop").click()
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_the_policy_of_the_page_forbids_scripts_and_other_hosts(web_site: WebSite, visit: Open) -> None:
    """Its own style sheet and icon load; nothing else may."""
    headers = web_site.ask("/").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self';")
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
    page = visit(script=True)
    assert page.evaluate("getComputedStyle(document.querySelector('header')).display") == "flex"
    assert web_site.ask("/static/icon.svg").status == 200


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(minutes=119), "1 h ago"),
        (timedelta(days=400), "400 d ago"),
    ],
)
def test_how_long_ago_is_said_in_the_largest_unit(ago: timedelta, said: str) -> None:
    """Rounded down; a clock that runs ahead is no reason for a negative number."""
    assert format_age(NOW - ago, NOW) == said


def test_a_broken_guard_comes_first(web_site: WebSite, visit: Open) -> None:
    """What waits is told with the reason why nothing is proposed; a guard that has failed once is told beside its alias."""
    dashboard_states.guarded(web_site)
    page = visit()
    first = page.locator(".waits > li").first
    expect(first).to_contain_text("guard failing")
    expect(first).to_contain_text("ranker@champion")
    expect(first).to_contain_text("nothing is proposed: `rotation: off`: a person decides")
    expect(page.locator("header dl")).to_contain_text("Guard failing")
    expect(page.locator("table.serving")).to_contain_text("metric live_auc at_least 0.85: fail, 1 of 2 in a row failed")
    expect(page.locator(".waits")).to_contain_text("frozen until 2026-11-23 20:00:00 UTC")
