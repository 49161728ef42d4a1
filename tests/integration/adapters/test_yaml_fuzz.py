"""Valid files, spoilt at random: whatever comes out is read, or refused with faults that stand somewhere in the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.adapters.yaml import YamlDocuments, render_starter_policies, render_starter_registry
from promoter.adapters.yaml.load import UNFORESEEN_MESSAGE, read_approvers_file, read_policy_file, read_registry_file
from promoter.domain.desired import Hold
from promoter.domain.errors import Fault, Faults
from promoter.domain.proposal import RegistryEdit
from tests.support.profiles import examples

VALID = Path(__file__).parent / "yaml_samples" / "valid"
REGISTRIES = [(VALID / "registry.yaml").read_bytes(), render_starter_registry({"fraud": {"champion": 7}, "a b": {}}).encode()]
POLICIES = [(VALID / "policy.yaml").read_bytes(), *(text.encode() for text in render_starter_policies().values())]
APPROVERS = [(VALID / "approvers.yaml").read_bytes()]
TOKEN = re.compile(rb"\w+|\s+|[^\w\s]")
WHOLE_FILE = ("larger than ",)

SCRAPS = [
    *(b"&a ", b"*a", b"*who", b"<<: *a", b"<<: {a: 1}", b"!!python/object:os.system ", b"!x ", b"!!binary aGk="),
    *(b": ", b"- ", b"? ", b"{", b"}", b"[", b"]", b"[]", b"{}", b", ", b"#", b"|\n", b">-\n", b"'", b'"', b"---\n", b"...\n"),
    *(b"%YAML 1.3\n", b"\xff"),
    *(b"\r", b"\n", b"\t", b"\x00", b"\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80", b"\\ud800", b'"\\x00"'),
    *(b"~", b"yes", b".nan", b".inf", b"1e999", b"-0", b"0x1", b"9" * 5_000, b"1" * 39, b"2026-02-30"),
    *(b"9999-12-31T23:59:59-12:00", b"quarantine: ", b"hold: "),
    *(b"0000-01-01", b"0 0 30 2 *", b"../../etc/passwd", b"999999d", b"(?x", b"\\pL{1000}", b"[z-a]", b"100%", b"absent"),
    *(b"[" * 60, b"{a: " * 60, b"- " * 60, b"a" * 10_000, b"x: 1\n" * 200, b"  k: {}\n" * 50, b"[" + b"*a," * 120 + b"]"),
    *(b"any_of: ", b"matches: ", b"approval: {from: [x]}", b"metric: a, beats: b", b"for: 1", b"until: ", b"version: "),
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    """A valid file with some tokens left out, repeated, replaced, put elsewhere, or with scraps in between."""
    tokens = TOKEN.findall(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(tokens)))
        end = min(start + draw(st.integers(0, 6)), len(tokens))
        taken = tokens[start:end]
        scrap = draw(st.sampled_from(SCRAPS) | st.binary(max_size=4))
        place = draw(st.integers(0, len(tokens)))
        kind = draw(st.sampled_from(["cut", "twice", "put", "replace", "move"]))
        tokens[start:end] = {"cut": [], "twice": taken * 2, "put": [scrap, *taken], "replace": [scrap], "move": []}[kind]
        if kind == "move":
            tokens[place:place] = taken
    return b"".join(tokens)


def stands_in(fault: Fault, content: bytes) -> bool:
    """Whether the place of a fault is one that the file has."""
    if fault.line is None or fault.column is None:
        return fault.message.startswith(WHOLE_FILE)
    text = content.decode(errors="replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    if fault.message == "not UTF-8 text":
        return 1 <= fault.line <= len(lines) and fault.column >= 1
    return 1 <= fault.line <= len(lines) and 1 <= fault.column <= len(lines[fault.line - 1]) + 1


def check(faults: tuple[Fault, ...], file: str, content: bytes) -> None:
    """Every fault has words, the file, and a place in it; none says that the reader itself was at a loss."""
    for fault in faults:
        assert fault.message
        assert fault.message != UNFORESEEN_MESSAGE
        assert fault.file == file
        assert stands_in(fault, content), fault


@pytest.mark.parametrize("content", [*REGISTRIES, *POLICIES, *APPROVERS])
def test_what_is_spoilt_was_whole(content: bytes) -> None:
    """The files to begin with are valid, each for its reader."""
    read = read_registry_file if content in REGISTRIES else read_approvers_file if content in APPROVERS else None
    reading = read(content) if read else read_policy_file("policies/a.yaml", "a", content)
    assert reading.faults == ()


@examples(150)
@given(spoilt(REGISTRIES))
def test_a_spoilt_registry_is_read_or_refused(content: bytes) -> None:
    """And where it is read, it can be edited, or that is refused."""
    reading = read_registry_file(content)
    check(reading.faults, "registry.yaml", content)
    assert (reading.desired is None) == bool(reading.faults)
    try:
        edited = YamlDocuments().edit_registry_file(
            content, RegistryEdit("fraud", "champion", 3, Hold(reason="r", by="b"), (7,))
        )
    except Faults as caught:
        check(caught.faults, "registry.yaml", content)
    else:
        assert read_registry_file(edited).desired


@examples(200)
@given(spoilt(POLICIES))
def test_a_spoilt_policy_is_read_or_refused(content: bytes) -> None:
    """With a place for everything that is wrong."""
    reading = read_policy_file("policies/a.yaml", "a", content)
    check(reading.faults, "policies/a.yaml", content)
    assert (reading.policy is None) == bool(reading.faults)


@examples(100)
@given(spoilt(APPROVERS))
def test_a_spoilt_list_of_approvers_is_read_or_refused(content: bytes) -> None:
    """Never half of it: somebody could be left out, or counted twice."""
    reading = read_approvers_file(content)
    check(reading.faults, "approvers.yaml", content)
    assert (reading.approvers is None) == bool(reading.faults)


@examples(100)
@given(spoilt(REGISTRIES), spoilt(POLICIES), st.none() | spoilt(APPROVERS))
def test_spoilt_revisions_are_declarations_or_faults(registry: bytes, policy: bytes, approvers: bytes | None) -> None:
    """All files together: each fault names one of them."""
    sources = {"registry.yaml": registry, "policies/champion.yaml": policy}
    sources |= {"approvers.yaml": approvers} if approvers is not None else {}
    try:
        YamlDocuments().parse_declaration(sources, "revision")
    except Faults as caught:
        for fault in caught.faults:
            check((fault,), fault.file, sources[fault.file])
