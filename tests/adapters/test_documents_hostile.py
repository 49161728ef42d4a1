"""Files that are made to hurt: refused with a clean fault, early, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promoter.adapters.documents import YamlDocuments, starter, starter_policies
from promoter.adapters.documents.text import FAULT_LIMIT
from promoter.domain.faults import Fault, Faults

LAUGHS = "a: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
HEAD = "version: 1\nmodels:\n"


def faults_of(content: bytes) -> list[str]:
    """The messages."""
    with pytest.raises(Faults) as caught:
        YamlDocuments().parse({"registry.yaml": content}, None)
    return [fault.message for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS, "aliases (`*name`) add more than 10000 values"),
        ("[" * 100_000, "nested deeper than 50 levels"),
        ("{a: " * 100_000, "nested deeper than 50 levels"),
        ("- " * 100_000, "nested deeper than 50 levels"),
        ("".join(" " * depth + "a:\n" for depth in range(2_000)), "nested deeper than 50 levels"),
        ("#" * (6 * 2**20), "larger than 5 MiB: not read"),
        (HEAD + "  a: &a {}\n" + "".join(f"  b{n}: *a\n" for n in range(101)), "more than 100 aliases (`*name`)"),
        ("a: [" + "1," * 500_000 + "]", "more than 500000 values"),
        (
            "a: &a0 [x]\n" + "".join(f"a{n}: &a{n} [[*a{n - 1}]]\n" for n in range(1, 40)),
            "nested deeper than 50 levels",
        ),
    ],
    ids=["laughs", "brackets", "braces", "dashes", "indents", "large", "aliases", "values", "deep-aliases"],
)
def test_a_bomb_does_not_go_off(content: str, message: str) -> None:
    """Refused by a limit, with the one fault that says which."""
    assert faults_of(content.encode()) == [message]


def test_aliases_within_the_limits_are_read() -> None:
    """A hundred aliases of a small value are no bomb."""
    text = HEAD + "  a: &a {aliases: {x: 1}}\n" + "".join(f"  b{n}: *a\n" for n in range(100))
    parsed = YamlDocuments().parse({"registry.yaml": text.encode()}, None)
    assert parsed.desired.listed["b99"].aliases["x"].version == 1


def test_faults_without_end_come_to_one() -> None:
    """A file of nothing but faults is told up to a limit."""
    many = range(2_000)
    assert len(faults_of((HEAD + "".join(f"  a{n}: {n}\n" for n in many)).encode())) == FAULT_LIMIT
    assert len(faults_of((HEAD + "".join(f"  {n}: {{}}\n" for n in many)).encode())) == FAULT_LIMIT
    assert len(faults_of(b"\x01" * 2_000)) == FAULT_LIMIT


def test_patterns_without_end_are_not_compiled() -> None:
    """Each costs time, so that a policy may have only so many."""
    rules = "".join("  - {tag: a, matches: '(\\pL{20}){10}'}\n" for _ in range(101))
    sources = {"registry.yaml": b"version: 1\nmodels: {}\n", "policies/a.yaml": f"version: 1\nrules:\n{rules}".encode()}
    with pytest.raises(Faults, match="more than 100 patterns"):
        YamlDocuments().parse(sources, None)


def faults_in(sources: dict[str, bytes]) -> tuple[Fault, ...]:
    """The faults, none where the files are valid; anything else that is raised is a failure."""
    try:
        YamlDocuments().parse(sources, "revision")
    except Faults as caught:
        return caught.faults
    return ()


VALID = [starter({"fraud": {"champion": 7}, "a b": {}}), *starter_policies().values(), LAUGHS[:400]]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some of its bytes replaced, left out or repeated."""
    content = bytearray(draw(st.sampled_from(VALID)).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(start + draw(st.integers(0, 12)), len(content))
        scrap = draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b"&a", b"*a", b": ", b"- ", b"{", b"]", b"\n", b"'", b"!", b"<<: "])
            )
        )
        content[start:end] = scrap
    return bytes(content)


@settings(deadline=None, max_examples=120)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), mutated()))
@example(b"\xed\xa0\x80")
@example(b"? \n: \n")
@example(b"version: 1\nmodels: {? {a: b} : c}\n")
def test_anything_at_all_is_read_or_refused(content: bytes) -> None:
    """Whatever the bytes: a declaration, or faults that each have words and a file."""
    for sources in ({"registry.yaml": content}, {"registry.yaml": b"version: 1\nmodels: {}\n", "policies/a.yaml": content}):
        assert all(fault.message and fault.file for fault in faults_in(sources))
