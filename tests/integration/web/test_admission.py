"""Who is let in: no page of another site, no name that is not ours, no flood; and no address beyond loopback by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promoter.daemon import PromoterDaemon
from promoter.domain.errors import Faults
from promoter.settings import load_settings
from promoter.web.admission import TrustedHosts
from tests.support.fixtures.web import MakeWebSite
from tests.support.web_site import WebSite
from tests.support.webhook_signing import PUSH, github_headers

EVIL = "evil.example"
BODY = json.dumps(PUSH).encode()
PAGES = ("/", "/api/v1/models", "/api/v1/audit", "/api/v1/openapi.json", "/static/style.css", "/nothing")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{EVIL}"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": EVIL},
        {"Host": f"{EVIL}:8080", "Origin": f"http://{EVIL}:8080"},
        {"Host": f"127.0.0.1.{EVIL}"},
        {"Host": f"127.0.0.1@{EVIL}"},
        {"Host": f"127.0.0.1:80, {EVIL}"},
        {"Host": ""},
        {"Host": EVIL, "X-Forwarded-Host": "127.0.0.1"},
        {"Host": "192.0.2.7"},
    ],
    ids=str,
)
def test_a_page_of_another_site_asks_for_nothing(web_site: WebSite, headers: dict[str, str]) -> None:
    """`POST /api/v1/reconcile` with its `Origin`, or under its name: 403 as problem details, and no work."""
    answer = web_site.ask("/api/v1/reconcile", "POST", b"", headers)
    assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json")
    assert answer.json.keys() >= {"type", "title", "status", "detail"}
    assert answer.json["status"] == 403
    assert web_site.puts == []


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_foreign_name_reads_nothing(web_site: WebSite, path: str, method: str) -> None:
    """A site that points its own name at this address (DNS rebinding) gets neither a page nor the API."""
    assert web_site.ask(path, method, headers={"Host": EVIL}).status == 403


def test_our_own_pages_and_programs_are_let_in(web_site: WebSite) -> None:
    """A browser on our page, and a program that is none, under any port and loopback name."""
    ours = f"127.0.0.1:{web_site.server.port}"
    for headers in (
        {},
        {"Host": "localhost:9999"},
        {"Host": "[::1]:8080"},
        {"Host": "LOCALHOST."},
        {"Host": ours, "Origin": f"http://{ours}", "Sec-Fetch-Site": "same-origin"},
        {"Host": ours, "Sec-Fetch-Site": "none"},
    ):
        assert web_site.ask("/api/v1/reconcile", "POST", b"", headers).status == 202, headers
        assert web_site.ask("/", headers=headers).status == 200, headers


def test_monitors_and_webhooks_come_under_any_name(web_site: WebSite) -> None:
    """Health has nothing to hide, and webhooks are signed; a foreign `Origin` takes nothing from a signature."""
    for path, status in (("/healthz", 200), ("/readyz", 503), ("/metrics", 200)):
        assert web_site.ask(path, headers={"Host": EVIL}).status == status
    signed = github_headers(BODY, "push", "d-1")
    assert web_site.post("/webhooks/github", BODY, {**signed, "Host": EVIL, "Origin": f"http://{EVIL}"}).status == 202
    assert web_site.post("/webhooks/github", BODY, {"Host": EVIL}).status == 401


def test_the_names_of_the_settings_are_ours(make_web_site: MakeWebSite) -> None:
    """`PROMOTER_URL` also where a proxy changes `Host`; `PROMOTER_ALLOWED_HOSTS` besides."""
    site = make_web_site(url="https://promoter.example.com", allowed_hosts="promoter.internal, Other.Example")
    for host in ("promoter.example.com", "promoter.internal:8080", "other.example"):
        assert site.ask("/", headers={"Host": host}).status == 200
    behind = {"Origin": "https://promoter.example.com", "Sec-Fetch-Site": "same-origin"}
    assert site.ask("/api/v1/reconcile", "POST", b"", behind).status == 202
    assert site.ask("/api/v1/reconcile", "POST", b"", {"Origin": "http://promoter.example.com"}).status == 403
    assert site.ask("/", headers={"Host": EVIL}).status == 403


@pytest.mark.parametrize(
    ("listen", "host", "trusted"),
    [
        ("0.0.0.0:8080", "192.0.2.7:8080", True),
        ("[::]:8080", "[2001:db8::7]", True),
        ("0.0.0.0:8080", EVIL, False),
        ("192.0.2.7:8080", "192.0.2.7", True),
        ("192.0.2.7:8080", "192.0.2.8", False),
        ("127.0.0.1:8080", "192.0.2.7", False),
        ("promoter.lan:8080", "promoter.lan", True),
    ],
)
def test_an_address_that_is_listened_on_is_a_name(listen: str, host: str, trusted: bool) -> None:
    """Where it is every address, any address is: only a name can be pointed here by others."""
    assert TrustedHosts(load_settings(listen=listen)).trusts_host(host) is trusted


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "0:0", "192.0.2.7:0", "[::ffff:192.0.2.7]:0"])
def test_the_daemon_does_not_listen_to_others_by_accident(tmp_path: Path, listen: str) -> None:
    """It says what to do before it opens a ledger or a port."""
    settings = load_settings(
        listen=listen, repo="r", mlflow_tracking_uri="http://127.0.0.1:9", database_url=f"sqlite:///{tmp_path}/promoter.db"
    )
    with pytest.raises(Faults, match=r"PROMOTER_LISTEN is .*PROMOTER_ALLOW_ANONYMOUS=true"):
        PromoterDaemon(settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changed", [{"listen": "0.0.0.0:0", "allow_anonymous": "true"}, {"listen": "127.1:0"}])
def test_it_listens_where_it_is_meant_to(tmp_path: Path, changed: dict[str, str]) -> None:
    """On loopback without a word."""
    daemon = PromoterDaemon(
        load_settings(
            repo=str(tmp_path), mlflow_tracking_uri="http://127.0.0.1:9", database_url=f"sqlite:///{tmp_path}/p.db", **changed
        )
    )
    daemon.web.stop()


def test_a_flood_of_valid_webhooks_is_told_to_wait(make_web_site: MakeWebSite) -> None:
    """Each source by itself: 429 with the seconds to wait, and another source goes on."""
    site = make_web_site(webhook_rate="5/minute", gitlab_webhook_secret="lab-token")
    answers = [site.post("/webhooks/github", BODY, github_headers(BODY, "push", f"d-{number}")) for number in range(7)]
    assert [answer.status for answer in answers] == [202] * 5 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert "more than 5/minute (PROMOTER_WEBHOOK_RATE)" in answers[-1].json["error"]
    lab = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "lab-token", "Idempotency-Key": "1"}
    assert site.post("/webhooks/gitlab", BODY, lab).status == 202


def test_invalid_signatures_are_limited_and_take_nothing_from_the_real_sender(make_web_site: MakeWebSite) -> None:
    """After thirty a minute they are 429; a signed delivery from the same address is heard all the same."""
    site = make_web_site(webhook_rate="5/minute")
    statuses = [site.post("/webhooks/github", BODY, {"X-GitHub-Event": "push"}).status for _ in range(33)]
    assert statuses == [401] * 30 + [429] * 3
    refused = site.post("/webhooks/github", BODY, {"X-GitHub-Event": "push"})
    assert refused.headers["Retry-After"] == "60"
    assert site.post("/webhooks/github", BODY, github_headers(BODY, "push", "d-1")).status == 202


@pytest.mark.parametrize("value", ["many", "0/minute", "5", "5 per minute", "5/minute;1/second"])
def test_a_rate_that_is_none_is_a_fault(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """With an example."""
    monkeypatch.setenv("PROMOTER_WEBHOOK_RATE", value)
    with pytest.raises(Faults, match="PROMOTER_WEBHOOK_RATE must be a rate such as 600/minute"):
        load_settings()


@pytest.mark.parametrize("value", ["https://promoter.example.com", "promoter.example.com:8080", "a b/c"])
def test_a_host_that_is_none_is_a_fault(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """It would never match."""
    monkeypatch.setenv("PROMOTER_ALLOWED_HOSTS", value)
    with pytest.raises(Faults, match="PROMOTER_ALLOWED_HOSTS must be names of hosts"):
        load_settings()
