"""Webhooks over real HTTP: what is accepted, what is refused, each with its status and one line, and the daemon works on."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from promoter.web.webhooks import BODY_LIMIT
from tests.support.fixtures.web import MakeWebSite, ReadLines
from tests.support.web_site import WebSite
from tests.support.webhook_signing import ALIAS_SET, PUSH, github_headers, mlflow_headers, send_github, send_mlflow, stand

# What nobody should send

DEEP = b'{"data":' * 90_000 + b"1" + b"}" * 90_000
BAD_BODIES = {
    "empty": b"",
    "text": b"hello",
    "not UTF-8": b'{"entity": "\xff\xfe"}',
    "cut off": json.dumps(ALIAS_SET).encode()[:-2],
    "deep objects": DEEP,
    "deep lists": b"[" * 500_000,
    "NaN": b'{"entity": "registered_model", "action": "created", "data": {"name": "fraud", "auc": NaN}}',
    "Infinity": b'{"entity": "registered_model", "action": "created", "data": {"name": "fraud", "auc": -Infinity}}',
    "endless number": b'{"entity": ' + b"9" * 100_000 + b"}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
}
BAD_FIELDS = {
    "no entity": {"action": "created", "data": {"name": "fraud"}},
    "entity a list": {**ALIAS_SET, "entity": ["model_version_alias"]},
    "entity an object": {**ALIAS_SET, "entity": {"a": 1}},
    "action null": {**ALIAS_SET, "action": None},
    "action a number": {**ALIAS_SET, "action": 3},
    "action too long": {**ALIAS_SET, "action": "x" * 501},
    "data null": {**ALIAS_SET, "data": None},
    "data a list": {**ALIAS_SET, "data": [{"name": "fraud"}]},
    "data a text": {**ALIAS_SET, "data": "fraud"},
    "no name": {**ALIAS_SET, "data": {"alias": "champion"}},
    "name a number": {**ALIAS_SET, "data": {"name": 1}},
    "name true": {**ALIAS_SET, "data": {"name": True}},
    "name empty": {**ALIAS_SET, "data": {"name": ""}},
    "name with a newline": {**ALIAS_SET, "data": {"name": "fraud\n2026-11-23 all is well"}},
    "name with an escape": {**ALIAS_SET, "data": {"name": "\x1b[2Jfraud"}},
    "name with NUL": {**ALIAS_SET, "data": {"name": "fraud\0"}},
    "half a surrogate pair": {**ALIAS_SET, "data": {"name": "fraud\ud83d"}},
    "name too long": {**ALIAS_SET, "data": {"name": "m" * 257}},
}


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_signed_body_that_says_nothing_is_malformed(web_site: WebSite, log_lines: ReadLines, chunked: bool) -> None:
    """400 and one line each, whatever the type of what it says; the next delivery is taken as ever."""
    bodies = BAD_BODIES | {name: json.dumps(payload).encode() for name, payload in BAD_FIELDS.items()}
    statuses = {
        name: web_site.post("/webhooks/mlflow", body, mlflow_headers(body), chunked=chunked).status
        for name, body in bodies.items()
    }
    assert statuses == dict.fromkeys(bodies, 400)
    assert [line["status"] for line in log_lines()] == [400] * len(bodies)
    assert not web_site.puts
    assert send_mlflow(web_site).status == 202


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_the_body_is_capped_at_one_mebibyte(web_site: WebSite, log_lines: ReadLines, chunked: bool) -> None:
    """Exactly that much is read, one byte more is 413, and so are 10 MiB, each with one line."""
    payload = json.dumps(ALIAS_SET).encode()
    statuses = []
    for number, size in enumerate((BODY_LIMIT, BODY_LIMIT + 1, 2 * BODY_LIMIT, 10 * BODY_LIMIT)):
        body = payload + b" " * (size - len(payload))
        headers = mlflow_headers(body, f"d-{number}")
        statuses.append(web_site.post("/webhooks/mlflow", body, headers, chunked=chunked).status)
    assert statuses == [202, 413, 413, 413]
    assert [line["status"] for line in log_lines()] == statuses
    assert len(web_site.puts) == 1
    assert send_mlflow(web_site, delivery="after").status == 202


def test_a_body_in_tiny_chunks_is_read(web_site: WebSite) -> None:
    """The framing of chunks does not count as body, up to a body's worth of it."""
    body = json.dumps(ALIAS_SET).encode()
    headers = mlflow_headers(body) | {"Transfer-Encoding": "chunked"}
    framed = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in body) + b"0\r\n\r\n"
    answer = web_site.ask("/webhooks/mlflow", "POST", framed, headers)
    assert answer.status == 202


def test_another_workspace_is_not_ours(web_site: WebSite, log_lines: ReadLines) -> None:
    """What a webhook of another workspace sends asks for nothing; where the payload names none, or nonsense, it is a hint."""
    web_site.registry.workspace = "team-a"
    stand(web_site)
    log_lines()
    sent = {"team-b": 200, "default": 200, "team-a": 202, "": 202, None: 202, 7: 202}
    for number, (workspace, status) in enumerate(sent.items()):
        answer = send_mlflow(web_site, {**ALIAS_SET, "workspace": workspace}, f"w-{number}")
        assert (answer.status, answer.json["result"]) == (status, "accepted" if status == 202 else "not for us"), workspace
    assert [line["result"] for line in log_lines()] == ["not for us"] * 2 + ["accepted"] * 4
    assert {item for item, _ in web_site.puts} == {"model:fraud"}
    assert len(web_site.puts) == 4


@pytest.mark.parametrize("secret", [None, ""], ids=["none", "empty"])
def test_without_a_secret_everything_is_refused(make_web_site: MakeWebSite, log_lines: ReadLines, secret: str | None) -> None:
    """Also what is signed with nothing, and also what is not signed at all."""
    web_site = make_web_site(mlflow_webhook_secret=secret, github_webhook_secret=secret)
    body, push = json.dumps(ALIAS_SET).encode(), json.dumps(PUSH).encode()
    sent = [
        ("/webhooks/mlflow", body, mlflow_headers(body, secret="")),
        ("/webhooks/mlflow", body, {}),
        ("/webhooks/github", push, github_headers(push, secret="")),
        ("/webhooks/github", push, {"X-GitHub-Event": "push"}),
    ]
    assert [web_site.post(*each).status for each in sent] == [401] * 4
    assert [line["result"] for line in log_lines()] == ["no secret is configured for this webhook"] * 4
    assert not web_site.puts


def test_a_wrong_secret_is_refused(web_site: WebSite, log_lines: ReadLines) -> None:
    """A signature in the wrong form as well, and one that is not ASCII."""
    body = json.dumps(ALIAS_SET).encode()
    good = mlflow_headers(body)
    bare = good["X-MLflow-Signature"].removeprefix("v1,")
    forged = [
        mlflow_headers(body, secret="other"),
        {**good, "X-MLflow-Signature": bare},
        {**good, "X-MLflow-Signature": f"v2,{bare}"},
        {**good, "X-MLflow-Signature": "v1,\xe9\xff"},
        {**good, "X-MLflow-Timestamp": "١٧٩٥٤٥٤٨١٤".encode().decode("latin-1")},
        {**good, "X-MLflow-Timestamp": "-1"},
        {**good, "X-MLflow-Timestamp": "9" * 400},
        {**good, "X-MLflow-Delivery-Id": "d" * 101},
    ]
    assert [web_site.post("/webhooks/mlflow", body, headers).status for headers in forged] == [401] * len(forged)
    lines = log_lines()
    assert len(lines) == len(forged)
    assert bare[:16] not in json.dumps(lines)


def test_authentication_comes_before_parsing(web_site: WebSite) -> None:
    """An unsigned body is not even looked at: it gets 401, not 400."""
    assert web_site.post("/webhooks/mlflow", DEEP, {}).status == 401
    assert web_site.post("/webhooks/github", b"no json", {"X-GitHub-Event": "push"}).status == 401


def test_other_methods_and_paths_are_told_in_one_line(web_site: WebSite, log_lines: ReadLines) -> None:
    """405 and 404, as JSON."""
    assert web_site.ask("/webhooks/mlflow").status == 405
    answer = web_site.ask("/webhooks/nobody", "POST", b"{}")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
    assert [line["status"] for line in log_lines()] == [405, 404]


# Delivered once


def test_a_delivery_counts_once(web_site: WebSite, log_lines: ReadLines) -> None:
    """MLflow repeats an id when it is not sure; a new id is news."""
    assert [send_mlflow(web_site, delivery=name).status for name in ("d-1", "d-1", "d-2", "d-1")] == [202, 200, 202, 200]
    assert len(web_site.puts) == 2
    assert [line["result"] for line in log_lines()] == ["accepted", "duplicate", "accepted", "duplicate"]


def test_the_same_id_from_two_senders_is_two_deliveries(web_site: WebSite) -> None:
    """Ids belong to who made them."""
    assert send_mlflow(web_site, delivery="same").status == 202
    assert send_github(web_site, PUSH, delivery="same").status == 202


def test_a_model_that_git_does_not_manage_is_not_for_us(web_site: WebSite) -> None:
    """It is told so, and nobody looks; before any revision is in force, everything is looked at."""
    other = {**ALIAS_SET, "data": {"name": "other"}}
    assert send_mlflow(web_site, other, "before").status == 202
    stand(web_site)
    answer = send_mlflow(web_site, other, "after")
    assert (answer.status, answer.json) == (200, {"result": "not for us"})
    assert send_mlflow(web_site, {**ALIAS_SET, "entity": "prompt_version", "data": {"name": 7}}, "prompt").status == 200
    assert not web_site.puts


def test_an_event_about_a_source_of_copies_is_about_the_models_that_copy_it(web_site: WebSite) -> None:
    """Also where git does not manage the source. A source of that name in another registry is another model."""
    policies = {"policies/p.yaml": b"version: 1\nrules: [{run: {status: FINISHED}}]\n"}
    lines = {
        "fraud": "{policy: p, rotation: commit, promote_from: {model: fraud-dev, alias: candidate}}",
        "other": "1",
    }
    models = "".join(f"  {name}: {{aliases: {{champion: {line}}}}}\n" for name, line in lines.items())
    web_site.repository.push({"registry.yaml": f"version: 1\nmodels:\n{models}".encode(), **policies})
    for name in ("fraud", "other"):
        web_site.registry.add(name, 1, champion=1)
    web_site.look()
    web_site.puts.clear()
    assert send_mlflow(web_site, {**ALIAS_SET, "data": {"name": "fraud-dev"}}, "source").status == 202
    assert send_mlflow(web_site, {**ALIAS_SET, "data": {"name": "other"}}, "itself").status == 202
    assert send_mlflow(web_site, {**ALIAS_SET, "data": {"name": "fraud-lab"}}, "stranger").status == 200
    assert web_site.puts == [("model:fraud", "webhook:mlflow:source"), ("model:other", "webhook:mlflow:itself")]


def test_models_that_nobody_has_seen_ask_for_one_survey(web_site: WebSite) -> None:
    """Their family matches, and they may not exist: the first delivery since the last survey began is its trigger."""
    families = "families: [{match: 'demand-*', aliases: {champion: {rotation: off}}}]"
    web_site.repository.push({"registry.yaml": f"version: 1\n{families}\nmodels: {{}}\n".encode()})
    web_site.registry.add("demand-a", 1, champion=1)
    web_site.look()

    def send(model: str, delivery: str) -> int:
        return send_mlflow(web_site, {**ALIAS_SET, "data": {"name": model}}, delivery).status

    assert [send(f"demand-x{number}", f"d-{number}") for number in range(3)] == [202, 202, 202]
    assert send("demand-a", "known") == 202
    assert web_site.puts == [
        ("registry", "webhook:mlflow:d-0"),
        *[("registry", "webhook:mlflow")] * 2,
        ("model:demand-a", "webhook:mlflow:known"),
    ]
    assert [send(f"demand-x{number}", f"d-{number}") for number in range(3)] == [200, 200, 200]
    web_site.look()
    assert send("demand-y", "d-9") == 202
    assert web_site.puts[-1] == ("registry", "webhook:mlflow:d-9")
    assert "deliveries" not in {entry.table for entry in web_site.ledger.iterate_entries()}


def test_a_locked_ledger_makes_the_sender_try_again(web_site: WebSite, log_lines: ReadLines) -> None:
    """503 while another program holds the file; the same delivery is taken afterwards, once."""
    other = sqlite3.connect(web_site.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = send_mlflow(web_site)
    assert answer.status == 503
    assert not web_site.puts
    other.execute("ROLLBACK")
    other.close()
    assert [send_mlflow(web_site).status for _ in range(2)] == [202, 200]
    assert [line["status"] for line in log_lines()] == [503, 202, 200]
    assert len(web_site.puts) == 1


def test_a_ledger_that_is_gone_makes_the_sender_try_again(web_site: WebSite) -> None:
    """What is written to a file that was moved away, nobody would ever read."""
    hidden = web_site.file.with_suffix(".away")
    web_site.file.rename(hidden)
    assert send_github(web_site, PUSH).status == 503
    hidden.rename(web_site.file)
    assert send_github(web_site, PUSH).status == 202
    assert web_site.puts == [("git", "webhook:github:g-1")]


# GitHub


def test_github_is_heard_when_the_watched_branch_is_pushed(web_site: WebSite, log_lines: ReadLines) -> None:
    """Every other event, branch or tag is not for us, and neither is the branch's deletion."""
    payload: list[tuple[Any, str]] = [
        ({"zen": "Keep it simple.", "hook_id": 1}, "ping"),
        ({"action": "opened", "number": 1}, "issues"),
        ({**PUSH, "ref": "refs/heads/feature/main"}, "push"),
        ({**PUSH, "ref": "refs/tags/main"}, "push"),
        ({**PUSH, "deleted": True, "after": "0" * 40}, "push"),
        (PUSH, "push"),
    ]
    statuses = [send_github(web_site, body, event, f"g-{number}").status for number, (body, event) in enumerate(payload)]
    assert statuses == [200, 200, 200, 200, 200, 202]
    assert web_site.puts == [("git", "webhook:github:g-5")]
    assert [line["status"] for line in log_lines()] == statuses


def test_github_pushes_of_the_wrong_shape_are_malformed(web_site: WebSite) -> None:
    """A field of the wrong type is told, and hurts nobody."""
    wrong: list[Any] = [[], "push", {}, {**PUSH, "ref": None}, {**PUSH, "ref": ["refs/heads/main"]}, {**PUSH, "ref": {"a": 1}}]
    assert [send_github(web_site, payload).status for payload in wrong] == [400] * len(wrong)
    assert send_github(web_site, {**PUSH, "deleted": "yes"}).status == 202
    assert len(web_site.puts) == 1


def test_github_without_a_delivery_id_is_a_hint_all_the_same(web_site: WebSite) -> None:
    """There is nothing to tell duplicates by, and one look too many does no harm."""
    body = json.dumps(PUSH).encode()
    headers = {key: value for key, value in github_headers(body).items() if key != "X-GitHub-Delivery"}
    assert [web_site.post("/webhooks/github", body, headers).status for _ in range(2)] == [202, 202]
    assert web_site.puts == [("git", "webhook:github")] * 2


def test_the_daemons_own_fault_is_500_and_one_line(web_site: WebSite, log_lines: ReadLines) -> None:
    """An error that nobody foresaw is logged with its traceback, told in a word, and the next request is answered."""
    web_site.watch.revisions._in_force = 7  # type: ignore[assignment]
    answer = send_mlflow(web_site)
    assert (answer.status, answer.json["error"]) == (500, "internal error, see the log")
    (line,) = log_lines()
    assert "Traceback" in line["exception"]
    web_site.watch.revisions._in_force = None
    assert send_mlflow(web_site).status == 202


@pytest.mark.parametrize("forge", ["gitlab", "gitea"])
def test_a_sender_whose_signature_cannot_be_checked_is_refused(web_site: WebSite, forge: str, log_lines: ReadLines) -> None:
    """Whatever secret is configured for it: nothing is taken unproven."""
    assert web_site.post(f"/webhooks/{forge}", b"{}", {"X-Gitlab-Token": "s", "X-Gitea-Signature": "s"}).status == 401
    assert web_site.puts == []
    assert len(log_lines()) == 1
