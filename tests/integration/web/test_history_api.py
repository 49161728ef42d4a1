"""The past over the API: the shapes of the command line, and faults in words."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from promoter.application.history import find_alias_at, find_alias_between, find_registry_at
from promoter.application.responses.registry import AliasAtResponse, AliasBetweenResponse, RegistryAtResponse
from tests.support import ledger_week
from tests.support.ledger_week import NOW, on
from tests.support.web_site import WebSite

HISTORY = "/api/v1/history/fraud-detector/champion"


@pytest.fixture
def week(web_site: WebSite) -> WebSite:
    """A site on the ledger of a week, at the end of it."""
    ledger_week.write(web_site.ledger)
    web_site.clock.time = NOW
    return web_site


def test_an_alias_at_a_time_and_between_two(week: WebSite) -> None:
    """As the application tells it, with the version of the shape."""
    body = week.ask(f"{HISTORY}?at=2026-10-03T14:05Z").json
    found = find_alias_at(week.ledger, "fraud-detector", "champion", on(3, 14, 5), NOW)
    assert body == AliasAtResponse.from_value(found).to_json()
    assert (body["version"], body["record"]["revision"], body["decision"]["verdict"]) == (7, ledger_week.COMMIT, "pass")
    body = week.ask(f"{HISTORY}?from=2026-10-02&to=2026-10-06").json
    between = find_alias_between(week.ledger, "fraud-detector", "champion", on(2), on(6), NOW)
    assert body == AliasBetweenResponse.from_value(between).to_json()
    assert [span["version"] for span in body["spans"]] == [6, 7, 3]
    assert week.ask(f"{HISTORY}?at={quote('2026-10-03T16:05+02:00')}").json["at"] == "2026-10-03T14:05:00+00:00"
    assert week.ask(f"{HISTORY}?at=3%20days%20ago").json["at"] == "2026-10-04T12:30:00+00:00"


def test_all_that_an_alias_went_through(week: WebSite) -> None:
    """Without a time: its spans; of an alias that nobody knows, none."""
    body = week.ask(HISTORY).json
    assert (body["schema"], body["model"], body["alias"]) == (1, "fraud-detector", "champion")
    assert [span["version"] for span in body["spans"]] == [6, 7, 3, 7]
    assert week.ask(f"/api/v1/history/{quote('Umsatz Süd 東京')}/champion").json["spans"] == []


def test_the_registry_at_a_time(week: WebSite) -> None:
    """All of it, or one model."""
    body = week.ask("/api/v1/state?at=2026-10-04").json
    assert body == RegistryAtResponse.from_value(find_registry_at(week.ledger, on(4), NOW)).to_json()
    assert [each["model"] for each in body["aliases"]] == ["churn", "fraud-detector"]
    assert [each["model"] for each in week.ask("/api/v1/state?at=2026-10-04&model=churn").json["aliases"]] == ["churn"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"{HISTORY}?at=soon", "`at`: `soon` is no moment"),
        (f"{HISTORY}?at=2026-10-03T14:05", "write `2026-10-03T14:05Z` for UTC"),
        (f"{HISTORY}?at=2026-10-03T14:05+02:00", "in an address, `+` is written `%2B`"),
        (f"{HISTORY}?from=2026-10-03T14:05+02:00&to=2026-10-04", "in an address, `+` is written `%2B`"),
        (f"{HISTORY}?at=2030-01-01", "is yet to come"),
        (f"{HISTORY}?at=1d&from=2d", "`at` goes without"),
        (f"{HISTORY}?from=2d", "`from` goes with `to`"),
        (f"{HISTORY}?from=2026-10-03&to=2026-10-02", "`from` and `to`: `2026-10-03` is not before `2026-10-02`"),
        ("/api/v1/state", "`at` is missing"),
        ("/api/v1/state?at=%00", "is no moment"),
    ],
)
def test_a_time_that_cannot_be_read_is_400(web_site: WebSite, path: str, words: str) -> None:
    """With the reason in words."""
    answer = web_site.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert words in answer.json["error"]
