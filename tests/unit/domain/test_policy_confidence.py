"""The paired comparison: whole verdicts, SciPy's own test beside it, and what must hold for any numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import astuple
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from promoter.domain.decision import Verdict
from promoter.domain.policy.confidence import GainComparison, _student_t_quantile, compare_step_values

NAN, INF = float("nan"), float("inf")
HOLDER = {1: 0.70, 2: 0.72, 3: 0.74, 4: 0.76, 5: 0.78}
BETTER = {1: 0.71, 2: 0.74, 3: 0.75, 4: 0.78, 5: 0.79}  # by 0.014 in the mean


def by(margin: str) -> Callable[[Decimal], Decimal]:
    """A margin as the rule has it: absolute, or a share of the size of the mean."""
    if margin.endswith("%"):
        return lambda mean: abs(mean) * Decimal(margin.removesuffix("%")) / 100
    return lambda _: Decimal(margin)


def compared(ours: Mapping[int, float], theirs: Mapping[int, float], **terms: Any) -> GainComparison:
    """With the terms of a plain rule, unless said otherwise."""
    plain: dict[str, Any] = {"order": "highest", "margin": by("0"), "confidence": 0.95, "steps": "folds", "whom": "champion v1"}
    return compare_step_values(ours, theirs, **(plain | terms))


def raised(values: Mapping[int, float], *gains: float) -> dict[int, float]:
    """Each value, and its gain in decimal."""
    pairs = zip(values.items(), gains, strict=True)
    return {step: float(Decimal(str(value)) + Decimal(str(gain))) for (step, value), gain in pairs}


FOLDS_AT_95 = (0.00616709, 0.0218329, 0.9)
WORSE_AT_95 = (-0.0218329, -0.00616709, 0.9)


@pytest.mark.parametrize(
    ("ours", "theirs", "terms", "verdict", "value", "above", "interval"),
    [
        (BETTER, HOLDER, {}, "pass", 0.014, "0", FOLDS_AT_95),
        (BETTER, HOLDER, {"steps": "independent"}, "pass", 0.014, "0", (0.00877806, 0.0192219, 0.9)),
        (BETTER, HOLDER, {"confidence": 0.99}, "pass", 0.014, "0", (0.000232836, 0.0277672, 0.98)),
        (BETTER, HOLDER, {"margin": by("0.006")}, "pass", 0.014, "0.006", FOLDS_AT_95),
        (BETTER, HOLDER, {"margin": by("0.007")}, "fail", 0.014, "0.007", FOLDS_AT_95),
        (BETTER, HOLDER, {"margin": by("0.8%")}, "pass", 0.014, "0.00592", FOLDS_AT_95),
        (BETTER, HOLDER, {"margin": by("0.9%")}, "fail", 0.014, "0.00666", FOLDS_AT_95),
        (BETTER, HOLDER, {"order": "lowest"}, "fail", -0.014, "0", WORSE_AT_95),
        (HOLDER, BETTER, {"order": "lowest"}, "pass", 0.014, "0", FOLDS_AT_95),
        (HOLDER, BETTER, {}, "fail", -0.014, "0", WORSE_AT_95),
        (raised(HOLDER, 0.01, 0, 0, 0, 0), HOLDER, {}, "fail", 0.002, "0", (-0.00439554, 0.00839554, 0.9)),
        (HOLDER, HOLDER, {}, "fail", 0.0, "0", None),
        (raised(HOLDER, *[-0.1] * 5), HOLDER, {}, "fail", -0.1, "0", None),
        (raised(HOLDER, *[0.01] * 5), HOLDER, {"margin": by("0.01")}, "fail", 0.01, "0.01", None),
    ],
)
def test_a_comparison(
    ours: dict[int, float],
    theirs: dict[int, float],
    terms: dict[str, Any],
    verdict: str,
    value: float,
    above: str,
    interval: tuple[float, float, float] | None,
) -> None:
    """The mean gain, the expectation in words and the interval; equal pairs count, and no gain at all is a fail."""
    found = compared(ours, theirs, **terms)
    steps, confidence = terms.get("steps", "folds"), terms.get("confidence", 0.95)
    expected = f"a gain above {above} with confidence {confidence} against champion v1 over 5 steps ({steps})"
    assert (found.verdict, found.value, found.expected) == (verdict, value, expected)
    assert (astuple(found.interval) if found.interval else None) == (pytest.approx(interval, rel=1e-5) if interval else None)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "expected"),
    [
        (BETTER, {}, "pending", "values at steps: champion v1 has none"),
        ({}, HOLDER, "pending", "values at steps: this version has none"),
        ({}, {}, "pending", "values at steps: this version and champion v1 have none"),
        ({0: 1.0}, {0: 0.0}, "pending", "at least 5 steps (folds): there is 1"),
        (dict.fromkeys(range(4), 1.0), dict.fromkeys(range(4), 0.0), "pending", "at least 5 steps (folds): there are 4"),
        ({1: 0.7}, HOLDER, "error", "the same steps: only champion v1 has 2, 3, 4 and 1 more"),
        (
            BETTER | dict.fromkeys(range(10, 16), 0.7),
            HOLDER | {9: 0.7},
            "error",
            "the same steps: only this version has 10, 11, 12 and 3 more; only champion v1 has 9",
        ),
        (BETTER | {3: NAN}, HOLDER, "error", "finite values: this version has nan at step 3"),
        ({}, HOLDER | {2: -INF}, "error", "finite values: champion v1 has -inf at step 2"),
    ],
)
def test_what_cannot_be_compared(ours: dict[int, float], theirs: dict[int, float], verdict: str, expected: str) -> None:
    """What may yet come is pending, what can never be paired is an error; neither has a value or an interval."""
    expected = f"a gain with confidence 0.95 against champion v1 over {expected}"
    assert compared(ours, theirs) == GainComparison(Verdict(verdict), None, expected)


@pytest.mark.parametrize(
    ("ours", "theirs", "value", "expected"),
    [
        (raised(HOLDER, *[0.01] * 5), HOLDER, 0.01, " whose gains vary: each is 0.01"),
        # 0.7 + 0.1 is 0.7999999999999999: these gains vary by the rounding of doubles only.
        ({step: value + 0.1 for step, value in HOLDER.items()}, HOLDER, 0.1, " whose gains vary: each is 0.1"),
        (
            {step: 1.7e308 * (-1) ** step for step in HOLDER},
            {step: -1.7e308 * (-1) ** step for step in HOLDER},
            None,
            ", in figures that a double can hold",
        ),
    ],
)
def test_a_gain_without_an_interval_is_an_error(
    ours: dict[int, float], theirs: dict[int, float], value: float | None, expected: str
) -> None:
    """Gains that do not vary say nothing of the noise, and nothing is told beyond the range of a double."""
    found = compared(ours, theirs)
    wanted = f"a gain above 0 with confidence 0.95 against champion v1 over 5 steps (folds){expected}"
    assert (found.verdict, found.expected, found.interval) == ("error", wanted, None)
    assert found.value == pytest.approx(value)


FOLDS = (
    [0.812, 0.845, 0.79, 0.851, 0.833, 0.807, 0.829, 0.861, 0.798, 0.82],
    [0.801, 0.849, 0.781, 0.84, 0.83, 0.799, 0.83, 0.85, 0.79, 0.811],
)


@pytest.mark.parametrize("count", [5, 7, 10])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99, 0.9999])
def test_independent_steps_agree_with_scipy(count: int, confidence: float) -> None:
    """The interval is that of `scipy.stats.ttest_rel`, and it passes just where the p-value says so."""
    ours, theirs = (values[:count] for values in FOLDS)
    found = compared(dict(enumerate(ours)), dict(enumerate(theirs)), steps="independent", confidence=confidence)
    tested = stats.ttest_rel(ours, theirs, alternative="greater")
    assert found.interval is not None
    assert found.interval.low == pytest.approx(tested.confidence_interval(confidence).low, rel=1e-9)
    assert found.interval.high == pytest.approx(2 * found.value - found.interval.low, rel=1e-9)  # type: ignore[operator]
    assert (found.verdict is Verdict.PASS) == (tested.pvalue < 1 - confidence)


@pytest.mark.parametrize("count", [5, 7, 10])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_folds_have_the_corrected_variance(count: int, confidence: float) -> None:
    """By hand: the variance of the mean is s^2 (1/n + 1/(n - 1)), and the quantile that of n - 1 degrees of freedom."""
    ours, theirs = (values[:count] for values in FOLDS)
    found = compared(dict(enumerate(ours)), dict(enumerate(theirs)), confidence=confidence)
    gains = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    wide = stats.t.ppf(confidence, count - 1) * math.sqrt(statistics.variance(gains) * (1 / count + 1 / (count - 1)))
    assert found.interval is not None
    mean = statistics.mean(gains)
    assert found.value == pytest.approx(mean)
    assert (found.interval.low, found.interval.high) == pytest.approx((mean - wide, mean + wide))


def test_a_gain_of_just_the_margin_is_not_above_it() -> None:
    """At confidence 0.5 the bound is the mean itself: 0.005 is not above 0.005, in decimal."""
    ours = raised(HOLDER, 0.004, 0.005, 0.006, 0.003, 0.007)
    assert compared(ours, HOLDER, confidence=0.5, margin=by("0.005")).verdict is Verdict.FAIL
    assert compared(ours, HOLDER, confidence=0.5, margin=by("0.0049999")).verdict is Verdict.PASS


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-9, 1e9, 1e300])
def test_very_small_and_very_large_values_keep_their_verdict(scale: float) -> None:
    """The unit of a metric decides nothing, down to the smallest double."""
    ours = {step: gain * scale for step, gain in enumerate([9, 8, 7, 9, 9])}
    theirs = {step: value * scale for step, value in enumerate([2, 3, 2, 1, 2])}
    assert compared(ours, theirs).verdict is Verdict.PASS
    assert compared(theirs, ours).verdict is Verdict.FAIL


@pytest.mark.parametrize("confidence", [1.0, 1.5, NAN])
def test_a_confidence_that_is_none_is_an_error(confidence: float) -> None:
    """Nothing is certain."""
    assert compared(BETTER, HOLDER, confidence=confidence).verdict is Verdict.ERROR


@pytest.mark.parametrize("freedom", [4, 5, 9, 10, 29, 30, 364, 9_999])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9999, 1 - 1e-9, math.nextafter(1, 0)])
def test_the_quantile_is_that_of_scipy(freedom: int, confidence: float) -> None:
    """To as many digits as SciPy's is right to, for few and many degrees of freedom, near 1 as well."""
    assert float(_student_t_quantile(confidence, freedom)) == pytest.approx(float(stats.t.ppf(confidence, freedom)), rel=1e-13)


@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.99, 1 - 1e-12])
def test_the_quantile_is_right_to_the_last_digit(confidence: float) -> None:
    """For two degrees of freedom there is a formula: (2p - 1) / sqrt(2p (1 - p))."""
    exact = Decimal(confidence)
    with localcontext(Context(prec=60)):
        formula = (2 * exact - 1) / (2 * exact * (1 - exact)).sqrt()
    assert float(_student_t_quantile(confidence, 2)) == float(formula)


def test_the_quantile_has_the_probability_of_the_integral() -> None:
    """Beside SciPy: the density, integrated by Simpson's rule from 0 to the quantile, is the confidence less one half."""
    freedom, confidence, parts = 7, 0.975, 2_000
    end = float(_student_t_quantile(confidence, freedom))
    scale = math.gamma(4) / (math.sqrt(7 * math.pi) * math.gamma(3.5))
    heights = [scale * (1 + (end * each / parts) ** 2 / 7) ** -4 for each in range(parts + 1)]
    area = end / parts / 3 * (heights[0] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]) + heights[-1])
    assert area == pytest.approx(confidence - 0.5, rel=1e-12)


METRIC = st.integers(-(10**6), 10**6).map(lambda number: number / 1_000)
ANY_PAIRS = st.lists(st.tuples(st.floats(), st.floats()), max_size=12)
PAIRS = st.lists(st.tuples(METRIC, METRIC), min_size=5, max_size=12)
TERMS = st.fixed_dictionaries(
    {
        "order": st.sampled_from(["highest", "lowest"]),
        "margin": st.sampled_from(["0", "0.005", "3", "1%", "200%"]).map(by),
        "confidence": st.sampled_from([0.5, 0.8, 0.95, 0.999]),
        "steps": st.sampled_from(["folds", "independent"]),
    }
)


def sides(pairs: list[tuple[float, float]]) -> tuple[dict[int, float], dict[int, float]]:
    """Both sides of the pairs, by step."""
    return {step: mine for step, (mine, _) in enumerate(pairs)}, {step: other for step, (_, other) in enumerate(pairs)}


@given(ANY_PAIRS, TERMS)
def test_a_pass_has_its_bound_above_the_margin(pairs: list[tuple[float, float]], terms: dict[str, Any]) -> None:
    """For any doubles: a pass means 5 finite pairs, `low` above the margin, and no swap of the sides passes too."""
    ours, theirs = sides(pairs)
    found, swapped = compared(ours, theirs, **terms), compared(theirs, ours, **terms)
    assert not (found.verdict is Verdict.PASS and swapped.verdict is Verdict.PASS)
    if not all(math.isfinite(value) for pair in pairs for value in pair):
        assert found.verdict is Verdict.ERROR
    if found.interval is None:
        assert found.verdict is not Verdict.PASS
    else:
        mean = sum((Decimal(repr(value)) for value in theirs.values()), Decimal(0)) / len(theirs)
        assert (found.verdict is Verdict.PASS) == (Decimal(repr(found.interval.low)) > terms["margin"](mean))
        assert found.interval.low <= found.value <= found.interval.high  # type: ignore[operator]
        assert len(pairs) >= 5


@given(PAIRS.flatmap(lambda pairs: st.tuples(st.just(pairs), st.permutations(pairs))), TERMS)
def test_the_order_of_the_pairs_changes_nothing(
    both: tuple[list[tuple[float, float]], list[tuple[float, float]]], terms: dict[str, Any]
) -> None:
    """Which pair came at which step does not matter, to the last digit."""
    assert compared(*sides(both[0]), **terms) == compared(*sides(both[1]), **terms)


@given(PAIRS, METRIC, TERMS)
def test_a_constant_on_both_sides_changes_nothing(
    pairs: list[tuple[float, float]], constant: float, terms: dict[str, Any]
) -> None:
    """Only the differences count: a metric that starts from another zero gives the same interval."""
    terms |= {"margin": by("0.005")}
    moved = [(mine + constant, other + constant) for mine, other in pairs]
    found, after = compared(*sides(pairs), **terms), compared(*sides(moved), **terms)
    assert (found.interval is None) == (after.interval is None)
    assert after.value == pytest.approx(found.value, abs=1e-9)
    if found.interval and after.interval:
        assert (after.interval.low, after.interval.high) == pytest.approx((found.interval.low, found.interval.high), abs=1e-9)
