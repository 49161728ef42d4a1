"""Patterns cost time and memory when they are compiled: they are weighed before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import SchemaError, SchemaValidator, core_schema

from promoter.adapters.yaml.load import (
    EXPRESSION_LIMIT,
    PATTERN_COUNT_LIMIT,
    PATTERN_WEIGHT_LIMIT,
    TOO_LARGE_PATTERNS,
    TOO_MANY_EXPRESSIONS,
    TOO_MANY_PATTERNS,
    estimate_pattern_weight,
    read_policy_file,
)
from promoter.domain.errors import Fault
from promoter.domain.policy.rules.tag import TagRule
from tests.support.profiles import examples


def faults_of(*rules: str) -> tuple[Fault, ...]:
    """The faults of a policy with these rules."""
    text = "version: 1\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    return read_policy_file("policies/a.yaml", "a", text.encode()).faults


@pytest.mark.parametrize(
    ("pattern", "units"),
    [
        ("abc", 6),
        ("a{10}", 20),
        ("a{2,10}", 20),
        ("a{10,}", 20),
        ("a{ 10 }", 20),
        ("(ab{10}){10}", 240),
        ("(a|b)*", 10),
        (r"\w{3}", 330),
        (r"\p{Greek}\pL\PN\W", 440),
        (r"[\w.-]{64}", 64 * (110 + 2 + 2 + 2)),
        ("[(]{3}", 12),
        (r"([)\]]{2}){3}", (2 + 6 * 2) * 3 - 2 * 2),
        (r"(\w[(]){10}", 10 * 116 - 9 * 2 + 18),
        ("[]a]{10}", 40),
        ("[^]a]{10}", 40),
        (r"\{3}", 6),
        ("a{x}", 8),
        (r"(?x)\w #(\n{9}", 9 * (110 + 15 * 2)),
    ],
)
def test_the_weight_of_a_pattern(pattern: str, units: int) -> None:
    """The atoms, as often as they are repeated; with brackets inside brackets, and with comments, at least that."""
    assert units <= estimate_pattern_weight(pattern) <= units + 40


ATOMS = [r"\w", r"\pL", r"\p{Greek}", r"\d", r"\S", ".", "a", "[^a]", r"[\w.-]", "[(]", "[)]", r"[]\w]", r"[^\pL]", "é", "|"]
COUNTS = ["", "", "*", "?", "{2}", "{20}", "{100}", "{1000}", "{0,50}", "{3,}", " { 40 }", "{,50}", "#c\n{99}"]
PATTERNS = st.recursive(
    st.sampled_from([*ATOMS, "(?x)", " ", "(?i)"]),
    lambda inner: st.lists(st.tuples(inner, st.sampled_from(COUNTS)), min_size=1, max_size=4).map(
        lambda parts: "(" + "".join(part + count for part, count in parts) + ")"
    ),
    max_leaves=8,
)


def compiling(pattern: str) -> str:
    """What the library says when it compiles the pattern; nothing where it can."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        return str(error)
    return ""


@examples(100)
@given(PATTERNS)
def test_what_is_large_weighs_much(pattern: str) -> None:
    """Whatever the library refuses for its size, 10 MiB, is heavy: the weight is no lower than the truth."""
    assert estimate_pattern_weight(pattern) > 15_000 or "exceeds size limit" not in compiling(pattern)


def test_a_policy_may_have_only_so_many_and_so_large_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that goes too far is told; then nothing is compiled."""
    assert faults_of(*(f"{{tag: a, matches: 'T-[0-9]{{2,9}}-{number}'}}" for number in range(PATTERN_COUNT_LIMIT))) == ()
    assert faults_of(r"{tag: a, matches: '[\w.-]{1,64}@[\w.-]{1,64}'}", r"{tag: b, matches: '\d{4}-\d\d-\d\d'}") == ()
    monkeypatch.setattr(TagRule, "model_validate", None)
    monkeypatch.setattr("promoter.domain.policy.rules.tag._compile_full_match", None)
    (fault,) = faults_of(*["{tag: a, matches: a}"] * PATTERN_COUNT_LIMIT, "not: {tag: a, matches: a}")
    assert (fault.message, fault.line, fault.column) == (TOO_MANY_PATTERNS, 103, 28)
    half = rf"{{tag: a, matches: '\w{{{PATTERN_WEIGHT_LIMIT // 220}}}'}}"
    (fault,) = faults_of(half, half, f"any_of: [{half}, {half}]")
    assert (fault.message, fault.line, fault.column) == (TOO_LARGE_PATTERNS, 5, 32)
    (fault,) = faults_of(rf"&a {half}", "*a", "*a")
    assert (fault.message, fault.line) == (TOO_LARGE_PATTERNS, 3)


def test_there_may_be_a_hundred_expressions() -> None:
    """One more, also inside a group, and none of them is looked at."""
    fine = "{{expression: 'metrics.a > {}.0', metrics: [a]}}"
    assert faults_of(*(fine.format(number) for number in range(EXPRESSION_LIMIT))) == ()
    (fault,) = faults_of(*[fine.format(1)] * EXPRESSION_LIMIT, "not: {expression: 'what is that?'}")
    assert (fault.message, fault.line) == (TOO_MANY_EXPRESSIONS, 103)
