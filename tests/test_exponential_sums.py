"""Exponential sums: power laws in 50 digits, other curves against their own derivatives, and curves that are none."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.payoffs.exponential_sums import ExponentialSum, fit_exponential_sum
from games import DIGITS

betas = pytest.mark.parametrize("beta", [0.05, 0.3, 1.0])


def power_law(beta: float, largest: float, tolerance: float = 1e-14) -> ExponentialSum:
    return fit_exponential_sum(lambda z: beta * (1.0 + z) ** (-beta - 1.0), largest, tolerance)


def derivative(rule: ExponentialSum, order: int, z: np.ndarray) -> np.ndarray:
    """The curve minus its value at zero (order 0), its slope (1) or curvature (2) at ``z``."""
    if order == 0:
        return rule.linear * z - np.expm1(-np.outer(z, rule.rates)) @ rule.weights
    sums = np.exp(-np.outer(z, rule.rates)) @ (rule.weights * rule.rates**order)
    return rule.linear + sums if order == 1 else -sums


def exact(beta: float, order: int, z: np.ndarray) -> list[float]:
    """The same of ``1 - (1+z)^-beta`` in 50 digits."""
    with mp.workdps(DIGITS):
        b = mp.mpf(beta)
        if order == 0:
            return [float(1 - (1 + mp.mpf(x)) ** -b) for x in z.tolist()]
        factor = -mp.fprod(-b - k for k in range(order))
        return [float(factor * (1 + mp.mpf(x)) ** (-b - order)) for x in z.tolist()]


@betas
@pytest.mark.parametrize("largest", [1.0, 10.0, 1e4, 1e8])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_power_laws_to_relative_accuracy(beta: float, largest: float, order: int) -> None:
    z = np.concatenate([[0.0], np.geomspace(1e-9, largest, 200)])
    # Values and slopes are fitted; the curvature loses a digit.
    assert_allclose(
        derivative(power_law(beta, largest), order, z), exact(beta, order, z), rtol=1e-13 if order < 2 else 1e-11
    )


@betas
def test_everything_is_positive(beta: float) -> None:
    rule = power_law(beta, 1e8)
    assert rule.linear >= 0.0
    assert (rule.rates > 0.0).all()
    assert (rule.weights > 0.0).all()


def test_the_error_reported_is_the_error_made() -> None:
    z = np.concatenate([[0.0], np.geomspace(1e-6, 1e3, 5000)])
    for tolerance in (1e-3, 1e-6, 1e-9):
        rule = power_law(0.5, 1e3, tolerance)
        made = np.abs(derivative(rule, 1, z) / (0.5 * (1.0 + z) ** -1.5) - 1.0).max()
        assert 0.3 * made <= rule.error <= tolerance


def test_a_coarser_tolerance_takes_fewer_terms() -> None:
    counts = [len(power_law(0.5, 1e4, tolerance).rates) for tolerance in (1e-3, 1e-6, 1e-10, 1e-14)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] / 2


CURVES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "logarithm": (lambda z: 1.0 / (1.0 + z), 1e6),
    "root": (lambda z: 0.5 / np.sqrt(1.0 + z), 1e6),
    "Hill curve": (lambda z: 0.02 / (1.0 + 0.02 * z) ** 2, 1e5),
    "late saturation": (lambda z: 1e-5 * np.exp(-1e-5 * z) + 1.0 / (1.0 + z) ** 2, 1e5),
    "steep start": (lambda z: 0.5 / np.sqrt(z + 1e-6), 100.0),
    "one exponential": (lambda z: np.exp(-z), 20.0),
    "two exponentials": (lambda z: np.exp(-z) + 0.3 * np.exp(-0.013 * z), 20.0),
    "straight line": (lambda z: np.full_like(z, 2.0), 1e3),
}


@pytest.mark.parametrize("name", CURVES)
def test_completely_monotone_slopes_are_met(name: str) -> None:
    slope, largest = CURVES[name]
    rule = fit_exponential_sum(slope, largest)
    z = np.concatenate([[0.0], np.geomspace(1e-9 * largest, largest, 3000)])
    assert_allclose(derivative(rule, 1, z), slope(z), rtol=1e-12)


@pytest.mark.parametrize(
    "slope",
    [lambda z: 1.0 / (1.0 + z**2), lambda z: 1.0 / np.cosh(z / 10.0) ** 2, lambda z: np.where(z < 1.0, 1.0, 0.5)],
)
def test_other_slopes_are_not_and_the_error_says_so(slope: Callable[[np.ndarray], np.ndarray]) -> None:
    assert fit_exponential_sum(slope, 10.0).error > 1e-3


def test_a_flat_curve_is_a_sum_of_no_exponentials() -> None:
    """A slope of zero has no error at all; one that is zero in places only is no exponential sum."""
    assert fit_exponential_sum(np.zeros_like, 10.0).error == 0.0
    assert fit_exponential_sum(lambda z: np.maximum(1.0 - z, 0.0), 10.0).error > 0.1
    assert fit_exponential_sum(lambda z: np.where(z > 5.0, 1.0, 0.0), 10.0).error == np.inf
    game = fs.Game(fs.LearningCurve(np.ones_like, np.zeros_like, 25, concave=True), fs.LinearCost([0.1] * 25))
    assert (fs.shapley_values(game, np.ones(25)) == 0.0).all()
