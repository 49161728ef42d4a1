"""Expressions: what they see, each verdict, faults in words with a column, and sources that mean harm."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promoter.domain.decision import RuleFinding
from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.observed import LoggedModel, MetricRef, MetricValue, TrainingRun, Unreadable
from promoter.domain.policy import cel
from promoter.domain.policy.cel import NamedReading, compile_expression, find_named_readings
from promoter.domain.policy.rules.base import RuleContext
from promoter.domain.policy.rules.expression import ExpressionRule
from tests.support.strategies.plans import NOW

NAN, INF = float("nan"), float("inf")
MORE = "metrics.auc > holders.champion.metrics.auc"
OR_NOBODY = f"holders.champion == null || {MORE}"


def version(number: int = 2, params: dict[str, str] | None = None, /, **metrics: float) -> VersionEvidence:
    """A version, three hours old, of a finished run."""
    run = TrainingRun(f"run-{number}", "FINISHED", metrics, "churn", "alice", params or {})
    return VersionEvidence(number, run_id=run.run_id, run=run, created_at=NOW - timedelta(hours=3))


def rule(expression: str, metrics: tuple[str, ...] = ("auc",), holders: tuple[str, ...] = ("champion",)) -> ExpressionRule:
    """The rule, as it is parsed."""
    return ExpressionRule.model_validate({"expression": expression, "metrics": metrics, "holders": holders})


def finding(
    expression: str, candidate: VersionEvidence, holder: VersionEvidence | None = None, setting: RuleContext | None = None
) -> RuleFinding:
    """What it finds where `champion` is held by `holder`."""
    return rule(expression).evaluate(Evidence(NOW, candidate, {"champion": holder}), setting or RuleContext())


def fault(written: dict[str, Any]) -> str:
    """What is wrong with a rule."""
    with pytest.raises(ValidationError) as raised:
        ExpressionRule.model_validate(written)
    (detail,) = raised.value.errors()
    assert detail["loc"] == ("expression",)
    return str(detail["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("expression", "ours", "theirs", "verdict", "value", "expected"),
    [
        ("metrics.auc > 0.5", 0.9, None, "pass", "auc 0.9", "true"),
        ("metrics.auc > 0.5", 0.5, None, "fail", "auc 0.5", "true"),
        ("metrics.auc > 0.5", None, None, "pending", None, "true, and auc of this version"),
        ("metrics.auc > 0.5", NAN, None, "error", "auc nan", "true, and auc of this version to be finite, not nan"),
        ("metrics.auc > 0.5", INF, None, "error", "auc inf", "true, and auc of this version to be finite, not inf"),
        ("true || metrics.auc > 0.5", None, None, "pending", None, "true, and auc of this version"),
        (OR_NOBODY, 0.1, None, "pass", "auc 0.1", "true"),
        (OR_NOBODY, 0.9, 0.8, "pass", "auc 0.9; champion v1: auc 0.8", "true"),
        (OR_NOBODY, 0.7, 0.8, "fail", "auc 0.7; champion v1: auc 0.8", "true"),
        (MORE, 0.7, NAN, "error", "auc 0.7; champion v1: auc nan", "true, and auc of champion v1 to be finite, not nan"),
        (
            f"!({MORE})",
            0.7,
            NAN,
            "error",
            "auc 0.7; champion v1: auc nan",
            "true, and auc of champion v1 to be finite, not nan",
        ),
        (
            MORE,
            0.9,
            None,
            "error",
            "auc 0.9",
            "true, and somebody to hold champion (`holders.champion == null || ...` allows for nobody)",
        ),
        ("version.number / 0 == 1", 0.9, None, "error", "auc 0.9", "true or false, not: divide by zero"),
        ("int('x') == 1", 0.9, None, "error", "auc 0.9", "true or false, not: cannot convert string to int"),
        ("[][0]", 0.9, None, "error", "auc 0.9", "true or false, not: Index error: index=0 size=0"),
        ("[true, 1][1]", 0.9, None, "error", "auc 0.9", "true or false, not: the value 1"),
    ],
)
def test_verdicts(
    expression: str, ours: float | None, theirs: float | None, verdict: str, value: str | None, expected: str
) -> None:
    """True passes, false fails, an absent metric is pending; NaN, and all that is no answer, is an error."""
    candidate = version() if ours is None else version(auc=ours)
    found = finding(expression, candidate, None if theirs is None else version(1, auc=theirs))
    assert (found.verdict, found.value, found.expected) == (verdict, value, expected)


def test_a_holder_without_the_metric() -> None:
    """It is pending where the result hinges on it, and only there."""
    found = finding(MORE, version(auc=0.9), version(1))
    assert (found.verdict, found.expected) == ("pending", "true, and auc of champion v1")
    assert finding(f"version.number == 2 || {MORE}", version(auc=0.9), version(1)).verdict == "pass"
    assert finding(f"version.number == 3 && {MORE}", version(auc=0.9), version(1)).verdict == "fail"


def test_who_holds_it_must_be_known() -> None:
    """An alias of which nothing is known is not an alias that nobody holds."""
    found = rule(OR_NOBODY).evaluate(Evidence(NOW, version(auc=0.9), {}), RuleContext())
    assert (found.verdict, found.expected) == ("error", "true, and who holds champion to be known")


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("version.number == 2", "pass"),
        ("version.age > duration('2h') && version.age < duration('3h1s')", "pass"),
        ("version.age > duration('24h')", "fail"),
        ("version.copied", "fail"),
        ("version.tags.team == 'risk' && has(version.tags.team) && 'team' in version.tags", "pass"),
        ("version.tags['team'].startsWith('ri') && version.tags[\"team\"].contains('s')", "pass"),
        ("version.tags.team in ['ops', 'risk'] && size(version.tags.team) == 4", "pass"),
        ("has(version.tags.waived)", "fail"),
        ("version.tags.waived == 'yes'", "pending"),
        ("double(version.params.rate) < 0.2 && int(version.params.depth) == 3", "pass"),
        ("version.params.nothing == 'x'", "error"),
        ("version.params.rate == 'x'", "fail"),
        ("double(version.params.bad) < 0.2", "error"),
        ("!(double(version.params.bad) < 0.2)", "error"),
        ("double(version.params.huge) > 0.2", "error"),
        ("version.run.status == 'FINISHED' && version.run.experiment == 'churn'", "pass"),
        ("version.run.user == 'alice'", "pass"),
        ("holders.champion.version == 1 && holders.champion.tags.team == 'ops'", "pass"),
        ("holders.champion.params.rate == version.params.rate", "pass"),
        ("holders.champion.run.user == version.run.user", "pass"),
        ("holders.champion == null", "fail"),
        ("metrics.`val/auc` >= 0.5 && metrics.auc > holders.champion.metrics.`val/auc`", "pass"),
        ("version.number - holders.champion.version < 5 && version.number % 2 == 0", "pass"),
    ],
)
def test_what_it_sees(expression: str, verdict: str) -> None:
    """The version, its run, its parameters and tags; and the same of a holder."""
    params = {"rate": "0.1", "depth": "3", "bad": "nan", "huge": "1e999"}
    candidate = replace(version(2, params, **{"auc": 0.9, "val/auc": 0.5}), tags={"team": "risk"})
    holder = replace(version(1, params, **{"auc": 0.8, "val/auc": 0.4}), tags={"team": "ops"})
    tried = rule(expression, ("auc", "val/auc"))
    assert tried.evaluate(Evidence(NOW, candidate, {"champion": holder}), RuleContext()).verdict == verdict


def test_evidence_that_cannot_be_read() -> None:
    """No run, no time of registration, no name of the experiment: an error where it is asked for."""
    bare = VersionEvidence(2, tags={"team": "risk"})
    for expression in ("version.run.status == 'FINISHED'", "version.params.x == 'y'", "version.age > duration('1h')"):
        assert rule(expression, (), ()).evaluate(Evidence(NOW, bare), RuleContext()).verdict == "error"
    assert rule("version.tags.team == 'risk'", (), ()).evaluate(Evidence(NOW, bare), RuleContext()).verdict == "pass"
    assert finding("metrics.auc > 0.5", bare).expected == "true, and the run of this version to be readable"
    run = TrainingRun("r", "FINISHED", {"auc": 0.9})
    found = finding("version.run.experiment == 'churn'", replace(bare, run=run))
    assert (found.verdict, found.expected) == ("error", "true, and the experiment of the run of this version")


def test_a_logged_model() -> None:
    """The policy's source and dataset; on other data than the holder's, or unreadable, is an error."""
    setting = RuleContext(source="logged_model", dataset="holdout")

    def on(digest: str, value: float) -> VersionEvidence:
        return VersionEvidence(2, logged_model=LoggedModel("m-1", (MetricValue("auc", value, "holdout", digest),)))

    assert finding(OR_NOBODY, on("a", 0.9), replace(on("a", 0.8), version=1), setting).verdict == "pass"
    found = finding(OR_NOBODY, on("a", 0.9), replace(on("b", 0.8), version=1), setting)
    assert (found.verdict, "digest b, not a" in found.expected) == ("error", True)
    unread = finding("metrics.auc > 0.5", VersionEvidence(2, logged_model=Unreadable("no answer")), None, setting)
    assert (unread.verdict, "no answer" in unread.expected) == ("error", True)
    elsewhere = finding("metrics.auc > 0.5", version(auc=0.9), None, RuleContext(source="logged_model"))
    assert elsewhere.verdict == "error"


@pytest.mark.parametrize("expression", ["version.tags.ok == 'yes'", "!has(version.tags.ok)", "!('ok' in version.tags)"])
def test_a_tag_that_came_with_a_copy(expression: str) -> None:
    """It does not count, neither for nor against the version, until it is seen being set on the copy."""
    copy = replace(version(auc=0.9), copied=True, tags={"ok": "yes", "other": "x"})
    found = finding(expression, copy)
    assert (found.verdict, "it came with the copy" in found.expected) == ("pending", True)
    seen = finding(expression, replace(copy, witnessed=frozenset({"ok"})))
    assert seen.verdict == ("pass" if expression.startswith("version") else "fail")
    assert finding("version.copied && metrics.auc > 0.5", copy).verdict == "pass"


def test_what_it_needs() -> None:
    """Only what it reads: the run, the name of the experiment, the holders, and when which tags were set."""
    logged = RuleContext(source="logged_model", dataset="holdout")
    assert rule("version.number > 1", (), ()).needed_evidence(logged) == Need()
    assert rule("version.params.x == 'y'", (), ()).needed_evidence(RuleContext()) == Need(run=True)
    assert rule("version.run.experiment == 'y'", (), ()).needed_evidence(RuleContext()) == Need(run=True, experiment=True)
    tried = rule("version.tags.a == 'x' && 'b' in version.tags && holders.champion.tags.c == 'd'")
    expected = Need(run=True, logged_model=True, holders=frozenset({"champion"}), tags=frozenset({"a", "b"}))
    assert tried.needed_evidence(logged) == expected
    assert tried.used_metrics(logged) == {MetricRef("auc", "logged_model", "holdout")}
    assert str(rule("metrics.auc\n   > 0.5")) == "expression metrics.auc > 0.5"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("metrics.auc >", "column 14 of the expression: the expression ends too early"),
        ("metrics.auc > 0.5 and true", "column 19 of the expression: mismatched input 'and'"),
        ("true &&\n  metrics.auc >", "line 2, column 16 of the expression: the expression ends too early"),
        ("metrics.acu > 0.5", "column 8 of the expression: `metrics.acu` is not given: name the metric under `metrics:`"),
        ("metrics['auc'] > 0.5", "column 1 of the expression: metrics are read as `metrics.NAME`"),
        (
            "holders.shadow == null",
            "column 8 of the expression: `holders.shadow` is not given: name the alias under `holders:`",
        ),
        ("auc > 0.5", "column 1 of the expression: `auc` is not known: there are `version`, `metrics`, `holders`, `has`"),
        ("version.age2 == 1", "column 8 of the expression: `version.age2` is not known: a version has `number`, `age`"),
        ("holders.champion.auc > 0.5", "column 17 of the expression: a holder has `version`, `tags`, `params`"),
        ("holders.champion.metrics.acu > 0.5", "column 17 of the expression: a holder has `version`, `tags`, `params`"),
        (
            "metrics.auc > 1",
            "column 13 of the expression: `>` does not go with a decimal number and a whole number (a decimal number has a",
        ),
        (
            "metrics.auc / metrics.auc > 1.0",
            "column 13 of the expression: `/` does not go with a decimal number and a decimal number (by zero it were infinite",
        ),
        ("version.age > 3", "column 13 of the expression: `>` does not go with a duration and a whole number"),
        ("metrics.auc", "an expression is a condition, true or false; this one gives a decimal number"),
        ("version.tags.x", "an expression is a condition, true or false; this one gives text"),
        ("holders.champion", "an expression is a condition, true or false; this one gives a whole number"),
        ("version.tags[version.params.x] == 'y'", "tags are read by name: `version.tags.NAME`"),
        ("version.params == {}", "params are read by name: `version.params.NAME`"),
        ("size(holders.champion.tags) > 1", "tags are read by name: `holders.champion.tags.NAME`"),
        ("[1].all(x, x > 0)", "column 8 of the expression: `all` is left out: an expression has no loops"),
        ("version.tags.x.matches('y')", "column 23 of the expression: `matches` is left out: the rule `{tag: NAME, matches"),
    ],
)
def test_faults(expression: str, said: str) -> None:
    """Syntax, types, and names that are not given are faults of the file: in words, with the column."""
    assert fault({"metrics": ["auc"], "holders": ["champion"], "expression": expression}).startswith(said)


DOUBLING = "['aaaaaaaaaa']" + "".join(f".map(v{level}, v{level} + v{level})" for level in range(20)) + "[0] == 'a'"


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 400 + "true" + ")" * 400,
        "[" * 400 + "]" * 400 + " == []",
        "true ? " * 80 + "true" + " : true" * 80,
        "metrics.auc" + " + metrics.auc" * 60 + " > 0.5",
        "version.tags" + ".a" * 300 + " == 'a'",
        "9" * 900 + " > 1",
        DOUBLING,
        "[1, 2].exists(x, [1, 2].exists(y, x == y))",
        "version.tags.x.matches(version.tags.y)",
        "timestamp('2026-01-01T00:00:00Z').getHours('/dev/stdin') > 1",
        "dyn(metrics.auc) == 1",
        "type(metrics.auc) == double",
        "'" + "a" * 1_000 + "' == 'a'",
        "'\ud800' == 'a'",
        "\x00",
        "'",
        "`",
    ],
)
def test_hostile_sources(expression: str) -> None:
    """Deep, long, looping, doubling, searching and reading ones are refused before they run, in a short line."""
    assert len(fault({"metrics": ["auc"], "expression": expression})) < 700


def test_large_values() -> None:
    """The costliest that an expression may do, with long texts: all within its thirty terms."""
    candidate = replace(version(auc=0.9), tags={"x": "a" * 8_000})
    joined = " + ".join(["version.tags.x"] * 28)
    assert finding(f"size({joined}) == {28 * 8_000}", candidate).verdict == "pass"
    assert finding(" || ".join(["metrics.auc > 1.0"] * 45), candidate).verdict == "fail"
    assert finding("-" * 980 + "metrics.auc > 0.5", candidate).verdict == "pass"


def test_texts_that_the_library_does_not_take() -> None:
    """A tag that is no valid Unicode is an error, and only of an expression that reads it."""
    candidate = replace(version(auc=0.9), tags={"odd": "\ud800"})
    assert finding("version.tags.odd == 'x'", candidate).verdict == "error"
    assert finding("metrics.auc > 0.5", candidate).verdict == "pass"


def test_an_error_is_one_short_line() -> None:
    """Whatever text is in it, an error stays printable and short."""
    candidate = replace(version(auc=0.9), tags={"a\n\x1b[31m" + "b" * 500: "x"})
    expected = finding(f"{'1' * 15} / 0 > 1 || holders.champion.params['{'k' * 500}'] == ''", candidate, version(1)).expected
    assert expected.isprintable()
    assert len(expected) < 250


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("version.tags.tags == 'x'", {NamedReading(None, "tags", "tags")}),
        ("version . tags . a == 'x' // version.tags[q]", {NamedReading(None, "tags", "a")}),
        ("'version.tags[q]' == \"it's version.params\"", set()),
        ("'a\\'' == 'x' && version.tags['b'] == ''", {NamedReading(None, "tags", "b")}),
        (
            "'a' in version.tags && holders.`eu-1`.params.`b c` == 'd'",
            {NamedReading(None, "tags", "a"), NamedReading("eu-1", "params", "b c")},
        ),
        ("holders.version.tags.a == 'x'", {NamedReading("version", "tags", "a")}),
        ("metrics.tags > 0.5 && metrics.`version.params` > 0.5", set()),
    ],
)
def test_what_it_reads_by_name(expression: str, found: set[NamedReading]) -> None:
    """The names of tags and parameters, whatever the spelling; not those in texts and comments."""
    assert find_named_readings(expression) == found


@given(st.text(max_size=1_000), st.dictionaries(st.sampled_from(["a", "b"]), st.text(), max_size=2))
def test_any_text(source: str, tags: dict[str, str]) -> None:
    """Any text is a program or a fault in words, and a program gives an outcome."""
    variables: cel.Variables = (("version.tags", "texts"), ("metrics.auc", "decimal"))
    for written in (source, f"metrics.auc > 0.5 || version.tags.a == '{source}'"):
        told = None
        try:
            outcome = compile_expression(written, variables).evaluate_with({"version.tags": tags, "metrics.auc": 0.1})
            assert isinstance(outcome.value, bool) or outcome.error or outcome.unset
        except ValueError as error:
            told = str(error)
        assert told is None or told.isprintable()


def test_many_threads() -> None:
    """One program for many threads, while others compile: each sees its own values."""
    tried = rule(OR_NOBODY)

    def ask(number: int) -> bool:
        rule(f"metrics.auc > 0.{number}1")
        evidence = Evidence(NOW, version(auc=0.5), {"champion": version(1, auc=number / 1_000)})
        return (tried.evaluate(evidence, RuleContext()).verdict == "pass") == (number < 500)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(1_000)))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy with an expression is a fault where the extra is not installed; all other policies are as before."""
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    compile_expression.cache_clear()
    cel._build_cel_environments.cache_clear()
    assert fault({"expression": "true"}) == "expressions need the extra: pip install promoter[expressions]"
