"""`approvers.yaml`: who may approve, joined to every policy, and named by them rightly."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from promoter.adapters.yaml import YamlDocuments
from promoter.domain.approvals import Approver, ApproverDirectory
from promoter.domain.errors import Faults

KEYS = ["ed25519:" + base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
APPROVERS = f"""\
version: 1
approvers:
  alice: {{key: "{KEYS[0]}", groups: [risk, ml-leads]}}
  bob@example.com: {{key: "{KEYS[1]}", until: 2027-01-01T00:00:00Z}}
"""
REGISTRY = "version: 1\nmodels: {}\n"
HEAD = "version: 1\nrules:\n"


def sources(rules: str, approvers: str | None = APPROVERS) -> dict[str, bytes]:
    """A revision with one policy, and the approvers, unless there are none."""
    files = {"registry.yaml": REGISTRY, "policies/a.yaml": HEAD + rules}
    return {file: text.encode() for file, text in (files | ({"approvers.yaml": approvers} if approvers else {})).items()}


def told(files: dict[str, bytes]) -> list[str]:
    """The faults, as they are printed."""
    with pytest.raises(Faults) as caught:
        YamlDocuments().parse_declaration(files, None)
    return [str(fault) for fault in caught.value.faults]


def test_every_policy_knows_the_approvers_of_its_revision() -> None:
    """Also a policy whose own bytes were read before, under other approvers."""
    documents = YamlDocuments()
    rules = "  - {loads: true}\n"
    assert documents.parse_declaration(sources(rules, None), "a").policies["a"].approvers == ApproverDirectory()
    approvers = documents.parse_declaration(sources(rules), "b").policies["a"].approvers
    assert approvers.known == {
        "alice": Approver(key=KEYS[0], groups=("risk", "ml-leads")),
        "bob@example.com": Approver(key=KEYS[1], until=datetime(2027, 1, 1, tzinfo=UTC)),
    }
    assert documents.parse_declaration(sources(rules), "c").policies["a"].rule_context.approvers is approvers
    assert documents.parse_declaration(sources(rules, None), "d").policies["a"].approvers == ApproverDirectory()


def test_names_and_groups_that_are_there_may_be_named() -> None:
    """In a rule, and deep inside others."""
    rules = "  - any_of: [{not: {approval: {from: [alice]}}}, {approval: {from: [risk, bob@example.com]}}]\n"
    rules += "  - {approval: {from: [ml-leads]}}\n"
    assert YamlDocuments().parse_declaration(sources(rules), None).policies.keys() == {"a"}


@pytest.mark.parametrize(
    ("rules", "approvers", "faults"),
    [
        (
            "  - {approval: {at_least: 2, from: [risk, alcie]}}\n",
            APPROVERS,
            ["policies/a.yaml:3:43: there is no approver or group `alcie` (did you mean `alice`?)"],
        ),
        (
            "  - any_of: [{not: {approval: {from: [zoe]}}}]\nguards:\n  - approval:\n      from:\n      - &z zed\n",
            APPROVERS,
            [
                "policies/a.yaml:3:39: there is no approver or group `zoe` (add it to approvers.yaml)",
                "policies/a.yaml:5:5: an approval cannot guard: it does not fail, and says nothing of how a version serves",
                "policies/a.yaml:7:9: there is no approver or group `zed` (add it to approvers.yaml)",
            ],
        ),
        (
            "  - {approval: {from: [risk]}}\n",
            None,
            ["policies/a.yaml:3:24: there is no approver or group `risk` (add it to approvers.yaml)"],
        ),
        (
            "  - {approval: {from: [risk, zoe]}}\n  - {loads: 2}\n",
            APPROVERS.replace("until:", "untill:"),
            [
                "approvers.yaml:4:82: unknown key `untill` (did you mean `until`?)",
                "policies/a.yaml:3:30: there is no approver or group `zoe` (add it to approvers.yaml)",
                "policies/a.yaml:4:13: `loads` must be `true`",
            ],
        ),
        (
            "  - {approval: {from: [risk]}}\n",
            "version: 1\napprovers: {alice: [}\n",
            ["approvers.yaml:2:21: no value can begin here (quote it if it is text, and close every bracket)"],
        ),
        ("  - {loads: true}\n", "# nobody\n", ["approvers.yaml:1:1: the file is empty"]),
        (
            "  - {loads: true}\n",
            APPROVERS.replace(KEYS[1], KEYS[0]),
            ["approvers.yaml:4:26: `bob@example.com` has the key of `alice`: one person counts once"],
        ),
    ],
)
def test_who_is_named_and_not_there_is_told_at_the_name(rules: str, approvers: str | None, faults: list[str]) -> None:
    """Beside all other faults; and nothing follows from a file that cannot be read but that."""
    assert told(sources(rules, approvers)) == faults


@pytest.mark.parametrize(
    "key", ["", "ed25519:", KEYS[0][8:], KEYS[0][:-4], KEYS[0] + "A", "ed25519:" + "é" * 44, KEYS[0] + "\\n"]
)
def test_a_key_is_a_whole_public_key(key: str) -> None:
    """Anything else is told where it stands."""
    (fault,) = told(sources("  - {loads: true}\n", APPROVERS.replace(KEYS[0], key)))
    assert fault.startswith("approvers.yaml:3:16: a public key is `ed25519:` and 32 bytes in base64")
