"""Files that are made to hurt: refused with a clean fault, early, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promoter.adapters.yaml import YamlDocuments, render_starter_policies, render_starter_registry
from promoter.adapters.yaml.documents import COMPARISON_LIMIT
from promoter.adapters.yaml.load import UNFORESEEN_MESSAGE, read_approvers_file, read_policy_file, read_registry_file
from promoter.adapters.yaml.tree import FAULT_LIMIT
from promoter.domain.errors import Fault, Faults
from tests.support.profiles import examples

LAUGHS = "a: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
HEAD = "version: 1\nmodels:\n"


def faults_of(content: bytes) -> list[str]:
    """The messages."""
    with pytest.raises(Faults) as caught:
        YamlDocuments().parse_declaration({"registry.yaml": content}, None)
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
    parsed = YamlDocuments().parse_declaration({"registry.yaml": text.encode()}, None)
    assert parsed.desired.listed["b99"].aliases["x"].version == 1


def test_faults_without_end_come_to_one() -> None:
    """A file of nothing but faults is told up to a limit."""
    many = range(2_000)
    assert len(faults_of((HEAD + "".join(f"  a{n}: {n}\n" for n in many)).encode())) == FAULT_LIMIT
    assert len(faults_of((HEAD + "".join(f"  {n}: {{}}\n" for n in many)).encode())) == FAULT_LIMIT
    assert len(faults_of(b"\x01" * 2_000)) == FAULT_LIMIT


def test_families_and_models_without_end_are_not_matched() -> None:
    """Each model is held against each family, so that their product has a limit."""
    families = "".join(f"  - {{match: x{number}}}\n" for number in range(1_000))
    models = "".join(f"a{number}: {{}}, " for number in range(2_001))
    (fault,) = read_registry_file(f"version: 1\nfamilies:\n{families}models: {{{models}}}\n".encode()).faults
    assert (fault.line, fault.column) == (3, 3)
    assert fault.message.startswith("`families` and `models` come to more than 2000000 pairs")


def test_missing_policies_without_end_are_not_all_guessed() -> None:
    """To look for the policy that was meant has a limit; that it is missing is told all the same, up to another."""
    models = "".join(f"  a{number}: {{aliases: {{x: {{policy: polcy{number}}}}}}}\n" for number in range(1_200))
    policies = {f"policies/policy{number}.yaml": b"version: 1\nrules: [{loads: true}]\n" for number in range(100)}
    faults = faults_in({"registry.yaml": f"version: 1\nmodels:\n{models}".encode(), **policies})
    assert len(faults) == FAULT_LIMIT
    guesses = [fault.fix for fault in faults]
    assert guesses[:2] == ["did you mean `policy0`?", "did you mean `policy1`?"]
    assert sum(str(guess).startswith("did you mean") for guess in guesses) == COMPARISON_LIMIT // 100
    assert guesses[-1] == "add policies/polcy999.yaml"


@pytest.mark.parametrize(
    "read",
    [read_registry_file, read_approvers_file, lambda content: read_policy_file("policies/a.yaml", "a", content)],
    ids=["r", "a", "p"],
)
def test_what_no_type_foresees_is_a_fault_of_the_file(read: Callable[[bytes], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a type's own, which is no word about the value, refuses the file, and does not stop the daemon."""

    def fails(*_: object) -> None:
        raise OverflowError

    monkeypatch.setattr("pydantic.BaseModel.model_validate", fails)
    (fault,) = read(b"version: 1\n").faults
    assert (fault.message, fault.fix) == (UNFORESEEN_MESSAGE, "please report this: OverflowError")


def faults_in(sources: dict[str, bytes]) -> tuple[Fault, ...]:
    """The faults, none where the files are valid; anything else that is raised is a failure."""
    try:
        YamlDocuments().parse_declaration(sources, "revision")
    except Faults as caught:
        return caught.faults
    return ()


VALID = [render_starter_registry({"fraud": {"champion": 7}, "a b": {}}), *render_starter_policies().values(), LAUGHS[:400]]


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


@examples(120)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), mutated()))
@example(b"\xed\xa0\x80")
@example(b"? \n: \n")
@example(b"version: 1\nmodels: {? {a: b} : c}\n")
def test_anything_at_all_is_read_or_refused(content: bytes) -> None:
    """Whatever the bytes: a declaration, or faults that each have words and a file."""
    for sources in ({"registry.yaml": content}, {"registry.yaml": b"version: 1\nmodels: {}\n", "policies/a.yaml": content}):
        assert all(fault.message and fault.file for fault in faults_in(sources))
