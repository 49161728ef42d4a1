"""People's channels: messages in words, through Apprise; and which of its channels are refused."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from promoter.adapters.notifications import AppriseChannel, create_channels, render_message_text
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.errors import Faults, PermanentError, TransientError
from promoter.domain.links import MlflowAddresses
from promoter.domain.notifications import CHANNEL_EVENT_TYPES, EventBuilder, EventType
from promoter.settings import ChannelSettings
from tests.support.http_receiver import plain, serving

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
FACT = NewAuditRecord(
    NOW, RecordKind.CHANGE, "fraud", "champion", 7, 8, "r1", outcome=ChangeOutcome.APPLIED, reason="<b>Grün</b> *now*"
)
REVIEW = {"pull_request": "https://git.example.org/ml/registry/pull/7", "number": 7, "author": "bob", "reviewers": ["carol"]}
MLFLOW = MlflowAddresses.build("https://bot:hunter2@mlflow.example.org/?token=hunter3", None, "https://mlflow.example.org")
(EVENT,) = EventBuilder("led", "https://promoter.example.org", MLFLOW).build_events(
    AuditRecord(12, replace(FACT, run_id="abc", review=REVIEW))
)


def people(url: str) -> AppriseChannel:
    """A channel that wants everything."""
    return AppriseChannel("team", SecretStr(url), event_types=CHANNEL_EVENT_TYPES)


def test_a_message_is_in_words() -> None:
    """Two lines: where to look and to decide, and what happened."""
    title, body = render_message_text(EVENT)
    assert title == "Alias moved: fraud@champion"
    version, run = f"version: {MLFLOW.link_version('fraud', 8)}", "run: https://mlflow.example.org/#/runs/abc"
    words = "fraud@champion moved from v7 to v8: <b>Grün</b> *now*; #7 by bob, reviewed by carol"
    assert body.splitlines() == [
        f"pull request: {REVIEW['pull_request']} | page: https://promoter.example.org/?q=fraud | {version} | {run}",
        f"{words} (entry 12 of the ledger, commit r1)",
    ]
    test = EventBuilder("led").build_test_event("n", NOW)
    assert render_message_text(test) == ("Test: test", "This is a test. Nothing happened.")


def test_a_message_calls_nobody() -> None:
    """Names and reasons come from outside: the title is one line, and no chat obeys what stands in it."""
    fact = replace(FACT, model="m\r\nBcc: x\u202e", reason="<!channel> @everyone [l](http://e)")
    (event,) = EventBuilder("led").build_events(AuditRecord(12, fact))
    title, body = render_message_text(event)
    assert title == "Alias moved: m\\r\\nBcc: x\\u202e@champion"
    assert body.endswith(" moved from v7 to v8: < !channel> @ everyone [l] (http://e) (entry 12 of the ledger, commit r1)")
    assert "\n" not in body, "without an address there are no links"
    hostile = {**REVIEW, "pull_request": "https://git.example.org/<!channel>"}
    (event,) = EventBuilder("led", "https://p.example").build_events(AuditRecord(12, replace(fact, review=hostile)))
    links, _ = render_message_text(event)[1].splitlines()
    assert links == "page: https://p.example/?q=m%0D%0ABcc%3A%20x%E2%80%AE"


def test_a_message_arrives() -> None:
    """At a chat server, as Apprise sends it; the text is told as it is."""
    with serving() as server:
        server.say(plain(200, "Content-Type: text/plain", body=b"ok"))
        people(f"mmost://127.0.0.1:{server.port}/3ccdd113474722377935511fc85d3dd4").send_event(EVENT)
        (came,) = server.came
        assert "<b>Grün</b> *now*" in json.loads(came.body)["text"]


def test_a_message_that_is_refused_waits(caplog: pytest.LogCaptureFixture) -> None:
    """In words that hold no secret, in the log either."""
    token = "3ccdd113474722377935511fc85d3dd4"
    with serving() as server, caplog.at_level(logging.INFO):
        server.say(plain(403))
        with pytest.raises(TransientError, match="Apprise could not deliver") as caught:
            people(f"mmost://127.0.0.1:{server.port}/{token}").send_event(EVENT)
    assert token not in str(caught.value) + repr(caught.value) + caplog.text


@pytest.mark.parametrize("scheme", ["json", "jsons", "xml", "xmls", "form", "forms", "JSON", " json"])
def test_generic_channels_are_refused(scheme: str) -> None:
    """They would go anywhere unsigned: for that there is `url`."""
    with pytest.raises(PermanentError, match="is no channel for people") as caught:
        people(f"{scheme}://hunter2.example.org/")
    assert "hunter2" not in str(caught.value)


def test_every_channel_that_cannot_be_used_is_named() -> None:
    """All at once, without what is secret; those that can be used are of the kind that they say."""
    given = [
        ChannelSettings(name="one", apprise=SecretStr("json://hunter2")),
        ChannelSettings(name="two", apprise=SecretStr("nothing-that-is-known://hunter2")),
        ChannelSettings(name="three", url="https://example.org", secret=SecretStr("hunter2"), events=["changed", "drifted"]),
        ChannelSettings(name="four", apprise=SecretStr("mmost://example.org/3ccdd113474722377935511fc85d3dd4")),
    ]
    with pytest.raises(Faults) as caught:
        create_channels(given)
    assert [str(each).partition(":")[0] for each in caught.value.faults] == [
        "PROMOTER_NOTIFICATIONS, one",
        "PROMOTER_NOTIFICATIONS, two",
    ]
    assert "hunter2" not in str(caught.value)
    server, team = create_channels(given[2:])
    assert (repr(server), repr(team)) == ("WebhookChannel('three', 'https://example.org')", "AppriseChannel('four')")
    assert (server.wanted_event_types, team.wanted_event_types) == (
        frozenset({EventType.CHANGED, EventType.DRIFTED}),
        frozenset(CHANNEL_EVENT_TYPES),
    )


@pytest.mark.parametrize("of", EventType)
def test_every_event_has_a_title(of: EventType) -> None:
    """No message to people fails for want of words."""
    title, _ = render_message_text(replace(EVENT, type=of))
    assert title.endswith(": fraud@champion")
