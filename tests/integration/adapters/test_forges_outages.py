"""What no forge may do to Promoter: cut, stall, redirect, flood, or get at the token."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from promoter.adapters.forges.gitea import Gitea
from promoter.adapters.forges.github import GitHub
from promoter.adapters.forges.gitlab import GitLab
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from tests.support.forges.faults import FaultyAnswer, writing
from tests.support.forges.under_test import BRANCH, KINDS, TOKEN, ForgeUnderTest, hosted


@pytest.fixture(params=KINDS)
def forge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene of each kind."""
    with hosted(request.param, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, PermanentError),
        (403, PermanentError),
        (404, PermanentError),
        (422, PermanentError),
        (301, PermanentError),
        (302, PermanentError),
        (408, TransientError),
        (409, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_each_status_is_for_a_person_or_for_later(forge: ForgeUnderTest, status: int, kind: type[ExternalError]) -> None:
    """Nothing is tried again by itself, nothing waits as long as the forge says, and no redirect is followed."""
    if forge.kind == "github" and status == 403:
        kind = TransientError  # with a time to wait, this is how GitHub says that it was asked too often
    headers = (("Content-Type", "application/json"), ("Retry-After", "3600"), ("Location", "http://127.0.0.1:1/elsewhere"))
    forge.forge.faults.answer(lambda _call: True, FaultyAnswer(status, b'{"message": "Not now"}', headers), times=9)
    with pytest.raises(kind, match=forge.home.name):
        forge.port.read_pull_request(1)
    assert len(forge.forge.faults.hit) == 1


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"{}", b'"x"', b"null", b'{"iid": "x", "number": "x"}', b""])
def test_answers_that_are_none_of_the_api(forge: ForgeUnderTest, body: bytes) -> None:
    """A page of a proxy, or JSON of another form, is told as such; the process goes on."""
    empty = body in (b"[]", b"null")
    lists = (lambda: forge.port.list_own_comments(1), forge.port.list_open_pull_requests)
    for call in (
        lambda: forge.port.read_pull_request(1),
        lambda: forge.port.read_pull_request_origin(1),
        *(() if empty else lists),
    ):
        forge.forge.faults.answer(lambda _call: True, FaultyAnswer(200, body), times=1)
        with pytest.raises(TransientError, match="answer"):
            call()
        forge.forge.faults.clear()


def test_connections_that_are_cut(forge: ForgeUnderTest) -> None:
    """A cut before or after a write is told as one to come back from, and the write is never sent twice."""
    draft = forge.draft()
    forge.forge.faults.fail_before(writing("merge_requests") if forge.kind == "gitlab" else writing("pulls"))
    with pytest.raises(TransientError):
        forge.port.open_pull_request(draft)
    assert forge.home.pulls == {}
    forge.forge.faults.fail_after(writing("merge_requests") if forge.kind == "gitlab" else writing("pulls"))
    with pytest.raises(TransientError):
        forge.port.open_pull_request(draft)
    assert len(forge.home.pulls) == 1
    forge.server.stop()
    with pytest.raises(TransientError, match=r"refused|reached"):
        forge.port.find_latest_pull_request(BRANCH)
    forge.server.start()
    assert forge.port.find_latest_pull_request(BRANCH) is not None


def test_a_slow_forge(forge: ForgeUnderTest) -> None:
    """A forge that does not answer is given up on."""
    kinds: dict[str, Any] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
    slow = kinds[forge.kind](forge.environment["PROMOTER_FORGE_URL"], forge.home.name, "main", SecretStr(TOKEN), timeout=0.1)
    forge.forge.faults.latency = 1.0
    with pytest.raises(TransientError, match="in time"):
        slow.read_pull_request(1)


def test_the_token_is_never_shown(forge: ForgeUnderTest) -> None:
    """Not in `repr`, not in messages, even where the forge repeats it; nor the query of an address."""
    assert TOKEN not in repr(forge.port)
    words = f'{{"message": "bad token {TOKEN} at https://u:{TOKEN}@h/x?private_token={TOKEN}\\n\\u001b[31m"}}'.encode()
    forge.forge.faults.answer(lambda _call: True, FaultyAnswer(403, words))
    with pytest.raises(PermanentError) as caught:
        forge.port.read_pull_request(1)
    assert TOKEN not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is None
    with pytest.raises(PermanentError) as caught:
        forge.connected("tok-of-nobody-1a2b3c").read_pull_request(1)
    assert "1a2b3c" not in str(caught.value)
    assert "PROMOTER_FORGE_TOKEN" in str(caught.value.fix)


def test_a_long_list_is_read_in_pages(forge: ForgeUnderTest) -> None:
    """Everything is found across pages; past a thousand items it ends."""
    made = forge.port.open_pull_request(forge.draft())
    for number in range(130):
        forge.home.remark(made.number, "promoter-bot", f"Note {number}")
    bodies = [comment.body for comment in forge.port.list_own_comments(made.number)]
    assert bodies == [f"Note {number}" for number in range(130)]
    for number in range(130, 1_100):
        forge.home.remark(made.number, "promoter-bot", f"Note {number}")
    assert len(forge.port.list_own_comments(made.number)) == 1_000


def test_a_body_without_end(forge: ForgeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer larger than anything that a forge says is not read to its end."""
    monkeypatch.setattr("promoter.adapters._http.BODY_LIMIT", 100_000)
    forge.forge.faults.answer(lambda _call: True, FaultyAnswer(200, b'"' + b"x" * 200_000 + b'"'))
    with pytest.raises(TransientError, match="too large"):
        forge.port.read_pull_request(1)


def test_no_such_pull_request(forge: ForgeUnderTest) -> None:
    """Refused, as is a project that the token does not show."""
    with pytest.raises(PermanentError):
        forge.port.read_pull_request(99)
    other: Any = forge.connected(project="acme/models/none" if forge.kind == "gitlab" else "acme/none")
    with pytest.raises(PermanentError, match="none"):
        other.list_open_pull_requests()


def test_credentials_of_the_user_do_not_win(forge: ForgeUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .netrc that names the host does not replace the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password tok-ada-5d1c02\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    forge.port.open_pull_request(forge.draft())
    assert {call.account for call in forge.forge.faults.calls} == {"promoter-bot"}


def test_links_to_another_host_are_not_followed(forge: ForgeUnderTest) -> None:
    """The next page is asked for where the first was, whatever address the forge gives itself; else not at all."""
    made = forge.port.open_pull_request(forge.draft())
    for number in range(120):
        forge.home.remark(made.number, "promoter-bot", f"Note {number}")
    assert len(forge.port.list_own_comments(made.number)) == 120
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        link = f'<http://127.0.0.1:{elsewhere.getsockname()[1]}/elsewhere>; rel="next"'
        prepared = FaultyAnswer(200, b"[]", (("Content-Type", "application/json"), ("Link", link)))
        forge.forge.faults.answer(lambda call: "notes" in call.path or "comments" in call.path, prepared)
        with contextlib.suppress(TransientError):
            assert forge.port.list_own_comments(made.number) == []
        assert forge.forge.faults.hit
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
