"""Confidence: whether one version is better than another beyond the noise of its metric, step by step.

The test is Student's t on the differences of the pairs, one pair a step, one-sided. Pairing takes out what both versions
share: a hard fold or a bad day lowers both. What the steps are decides how sure the mean of the differences is:

`folds`        Folds of one cross-validation share their training data. A model that was lucky in its training is lucky on
               every fold, which the spread between folds does not show; the plain test takes noise for a gain far too often
               (Dietterich 1998). Nadeau and Bengio (2003) correct for it: the variance of the mean is s^2 (1/n + q), where q
               is test size over training size, which is 1/(n - 1) for n folds. The rule's default. It supposes that a
               model's luck correlates its folds by 1/n; where it does more, even this test is too sure.
`independent`  Batches or days, each measured once, on data of its own: the plain paired test, s^2/n.

It assumes that equal step numbers are the same fold, batch or day for both; that the steps are the n folds of one
cross-validation (repeated ones are to be averaged by fold first) or really independent; and differences that are roughly
normal, or many. It corrects for one comparison: who tries twenty equal versions in a row gets twenty chances.

T. G. Dietterich, "Approximate statistical tests for comparing supervised classification learning algorithms", Neural
Computation 10(7), 1998. C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", 1964.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from itertools import count
from statistics import NormalDist
from typing import Literal

from promoter.domain.decision import ConfidenceInterval, Verdict
from promoter.domain.text import format_number

Steps = Literal["folds", "independent"]

LEAST_STEPS = 5
"""The fewest pairs that are compared: below, one odd step decides."""

_ROUNDING = Decimal("1e-14")  # of the largest value: differences that vary by less vary by the rounding of doubles only
_STEPS_SHOWN = 3  # so many steps are named in a message


@dataclass(frozen=True)
class GainComparison:
    """The result of a comparison."""

    verdict: Verdict
    value: float | None
    """The mean gain; None: none could be computed."""
    expected: str
    """The expectation in words."""
    interval: ConfidenceInterval | None = None
    """The confidence interval of the gain."""


def compare_step_values(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    *,
    order: Literal["highest", "lowest"],
    margin: Callable[[Decimal], Decimal],
    confidence: float,
    steps: Steps,
    whom: str = "the holder",
) -> GainComparison:
    """Judge whether the mean gain of `ours` over `theirs` (values by step) is above the margin, at that confidence.

    `margin` computes it from the mean of `theirs`. `whom` is the other side in words. A gain is positive where `ours` is better
    in the direction of `order`. The interval is two-sided at level `2 * confidence - 1`, so that its lower end is the
    one-sided bound: the verdict is a pass exactly where that end is above the margin.

    Fewer than 5 steps, or none on a side, are pending. Steps that only one side has, NaN and infinities, and figures beyond
    the range of a double are errors. Equal values are a difference of 0 and count. Gains that do not vary at all say nothing
    of the noise: an error, unless the gain is not above the margin anyway, which is a fail.
    """
    sought = f"with confidence {confidence!r} against {whom} over"
    if unfit := _find_comparison_obstacle(ours, theirs, steps, whom):
        verdict, instead = unfit
        return GainComparison(verdict, None, f"a gain {sought} {instead}")
    with localcontext(Context()):  # 28 digits, whatever the caller has; a double has 17
        pairs = [(_to_shown_decimal(ours[step]), _to_shown_decimal(theirs[step])) for step in ours]
        # Sorted, so that not even the last digit hangs on which gain came at which step.
        gains = sorted((mine - other) if order == "highest" else (other - mine) for mine, other in pairs)
        mean, reach = _mean_value(gains), margin(_mean_value(sorted(other for _, other in pairs)))
        expected = f"a gain above {format_number(float(reach))} {sought} {len(gains)} steps ({steps})"
        if gains[-1] - gains[0] <= _ROUNDING * max(max(map(abs, pair)) for pair in pairs):
            verdict = Verdict.FAIL if mean <= reach else Verdict.ERROR
            lacking = "" if mean <= reach else f" whose gains vary: each is {float(mean):.6g}"
            return GainComparison(verdict, float(mean), expected + lacking)
        wide = _student_t_quantile(confidence, len(gains) - 1) * _standard_error(gains, mean, steps)
        return _judge_interval(mean, wide, reach, confidence, expected)


def _judge_interval(mean: Decimal, wide: Decimal, reach: Decimal, confidence: float, expected: str) -> GainComparison:
    """Compare the lower end of the interval with the margin; the number that is shown is the one that decides."""
    low, high = float(mean - wide), float(mean + wide)
    if not (math.isfinite(low) and math.isfinite(high)):
        return GainComparison(Verdict.ERROR, None, f"{expected}, in figures that a double can hold")
    verdict = Verdict.PASS if _to_shown_decimal(low) > reach else Verdict.FAIL
    return GainComparison(
        verdict, float(mean), expected, ConfidenceInterval(low, high, float(2 * _to_shown_decimal(confidence) - 1))
    )


def _find_comparison_obstacle(
    ours: Mapping[int, float], theirs: Mapping[int, float], steps: Steps, whom: str
) -> tuple[Verdict, str] | None:
    """Return the verdict and the expectation where the two cannot be compared; None where they can."""
    sides = (("this version", ours), (whom, theirs))
    for who, points in sides:
        if not all(map(math.isfinite, points.values())):
            step = min(step for step, value in points.items() if not math.isfinite(value))
            return Verdict.ERROR, f"finite values: {who} has {points[step]} at step {step}"
    if bare := [who for who, points in sides if not points]:
        return Verdict.PENDING, f"values at steps: {' and '.join(bare)} {'has' if len(bare) == 1 else 'have'} none"
    if lone := [
        (who, sorted(left)) for who, left in (("this version", ours.keys() - theirs), (whom, theirs.keys() - ours)) if left
    ]:
        return Verdict.ERROR, "the same steps: " + "; ".join(f"only {who} has {_list_first_steps(left)}" for who, left in lone)
    if len(ours) < LEAST_STEPS:
        return Verdict.PENDING, f"at least {LEAST_STEPS} steps ({steps}): there {'is' if len(ours) == 1 else 'are'} {len(ours)}"
    return None


def _list_first_steps(steps: Sequence[int]) -> str:
    more = len(steps) - _STEPS_SHOWN
    return ", ".join(map(str, steps[:_STEPS_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _to_shown_decimal(value: float) -> Decimal:
    """Return the value as MLflow shows it, so that 0.3 - 0.2 is 0.1 at every step."""
    return Decimal(repr(float(value)))


def _mean_value(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def _standard_error(gains: Sequence[Decimal], mean: Decimal, steps: Steps) -> Decimal:
    """Return that of the mean gain: the root of s^2 (1/n + 1/(n - 1)) for folds, of s^2/n for independent steps."""
    pairs = len(gains)
    variance = sum(((gain - mean) ** 2 for gain in gains), Decimal(0)) / (pairs - 1)
    share = 1 / Decimal(pairs) + (1 / Decimal(pairs - 1) if steps == "folds" else 0)
    return (variance * share).sqrt()


_DIGITS = 60  # the sum for a confidence just below 1 loses some 20 of them
_SETTLED = Decimal("1e-30")  # of the quantile: a step of so little changes no double
_MOST_STEPS = 500


def _student_t_quantile(confidence: float, freedom: int) -> Decimal:
    """Return the quantile of Student's t at two or more degrees of freedom, right to the last digit of a double.

    NaN for a confidence that is not between 0 and 1. It is Newton's method on the probability, which is a finite sum where the
    degrees of freedom are a whole number.
    """
    if not 0 < confidence < 1:
        return Decimal("nan")
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    with localcontext(Context(prec=_DIGITS)):
        wanted, quantile = 2 * Decimal(confidence) - 1, Decimal(NormalDist().inv_cdf(confidence))
        for _ in range(_MOST_STEPS):
            density = math.exp(scale - (freedom + 1) / 2 * math.log1p(float(quantile) ** 2 / freedom))
            step = (wanted - _central_probability(quantile, freedom)) / (2 * Decimal(density))
            quantile += step
            if abs(step) <= abs(quantile) * _SETTLED:
                break
        return quantile


def _central_probability(t: Decimal, freedom: int) -> Decimal:
    """Return the probability of a value between -t and t: the sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.

    They are sums over powers of the cosine of the angle whose tangent is t / sqrt(freedom).
    """
    odd, tangent = freedom % 2, t / Decimal(freedom).sqrt()
    cosine_squared = 1 / (1 + tangent * tangent)
    term = series = Decimal(1)
    for index in range(1, (freedom - odd) // 2):
        term *= cosine_squared * (2 * index - 1 + odd) / (2 * index + odd)
        series += term
    if not odd:
        return tangent * cosine_squared.sqrt() * series
    half_pi = 2 * _arc_tangent(Decimal(1))
    return (_arc_tangent(tangent) + tangent * cosine_squared * series) / half_pi


def _arc_tangent(value: Decimal) -> Decimal:
    """Return the arc tangent to the digits of the context: by halving the angle, and then by its series."""
    halvings = 0
    while abs(value) > Decimal("0.01"):
        value /= 1 + (1 + value * value).sqrt()
        halvings += 1
    power = series = value
    for exponent in count(3, 2):
        power *= -value * value
        longer = series + power / exponent
        if longer == series:
            break
        series = longer
    return series * Decimal(2**halvings)
