"""Learning curves of the user's: checks at the gate, and exact Shapley values at any number of agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs

Curve = Callable[[np.ndarray], np.ndarray]
CURVES: dict[str, tuple[Curve, Curve]] = {
    "logarithm": (np.log1p, lambda z: 1.0 / (1.0 + z)),
    "root": (lambda z: np.sqrt(1.0 + z) - 1.0, lambda z: 0.5 / np.sqrt(1.0 + z)),
    "saturating": (lambda z: -np.expm1(-0.3 * z), lambda z: 0.3 * np.exp(-0.3 * z)),
    "power law": (lambda z: 1.0 - 0.9 * (1.0 + z) ** -0.4, lambda z: 0.36 * (1.0 + z) ** -1.4),
}
curves = pytest.mark.parametrize("name", CURVES)


def game_of(name: str, n: int, **settings: Any) -> fs.Game:
    function, slope = CURVES[name]
    return fs.Game(fs.LearningCurve(function, slope, n, concave=True, **settings), fs.LinearCost([0.1] * n))


@curves
def test_quadrature_agrees_with_enumeration(name: str) -> None:
    rng = np.random.default_rng(0)
    weights, groups = rng.uniform(0.0, 1.0, (3, 3)), [0, 1, 2, 0, 1, 2, 0, 0]
    game = game_of(name, 8, weights=weights, groups=groups)
    s = np.append(rng.uniform(0.0, 3.0, 7), 0.0)
    for function in (fs.shapley_values, fs.shapley_gradient, fs.shapley_potential):
        assert_allclose(
            function(game, s, method="quadrature"), function(game, s, method="exact"), rtol=1e-10, atol=1e-12
        )
        assert_allclose(function(game, s), function(game, s, method="exact"), rtol=0, atol=0)  # "auto" enumerates


@curves
def test_many_equal_agents_share_evenly(name: str) -> None:
    n = 5000
    game = game_of(name, n)
    values = fs.shapley_values(game, np.full(n, 10.0 / n))
    total = n * (CURVES[name][0](np.array([10.0])) - CURVES[name][0](np.array([0.0])))
    assert_allclose(values, np.full(n, total[0] / n), rtol=1e-8)


@pytest.mark.slow
def test_the_power_law_is_the_same_either_way() -> None:
    n = 300
    rng = np.random.default_rng(1)
    weights, groups, s = rng.uniform(0, 1, (2, 2)), np.arange(n) % 2, rng.uniform(0, 1, n)
    game = game_of("power law", n, weights=weights, groups=groups)
    twin = fs.Game(fs.PowerLaw(alpha=0.9, beta=0.4, weights=weights, groups=groups), fs.LinearCost([0.1] * n))
    assert_allclose(fs.shapley_values(game, s), fs.shapley_values(twin, s), rtol=1e-12)
    for mechanism in (fs.NoPayment(), fs.ShapleyPayment()):
        ours, theirs = (fs.find_equilibrium(g, mechanism) for g in (game, twin))
        assert_allclose(ours.contributions.sum(), theirs.contributions.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("function", "slope", "message"),
    [
        (3.0, np.cos, "function must be callable"),
        (np.log1p, None, "slope must be callable"),
        (
            np.log1p,
            lambda z: 2.0 / (1.0 + z),
            r"slope must be the derivative of function; at z=0 it is 2, and function rises by 1 ",
        ),
        (lambda z: -z, lambda z: -np.ones_like(z), "slope must not be negative; it is -1"),
        (lambda z: 1.0, lambda z: z, r"function must return an array of shape \(29,\)"),
        (np.log, lambda z: 1.0 / z, "function must return finite numbers; it returned -inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_curves_are_refused(function: Any, slope: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fs.LearningCurve(function, slope, 3)


def test_curves_that_are_no_exponential_sum() -> None:
    """Enumeration serves few agents; for many the refusal says how badly the best sum fits."""
    arctan = fs.LearningCurve(np.arctan, lambda z: 1.0 / (1.0 + z * z), 21, concave=True)
    game = fs.Game(arctan, fs.LinearCost([0.1] * 21))
    with pytest.raises(
        ValueError,
        match=r"surplus of this LearningCurve is no exponential mixture.*relative error of 0\.\d+.*permutation",
    ):
        fs.shapley_values(game, np.ones(21))
    bound = fs.Game(fs.PACBound(30, optimum=0.9, complexity=10.0), fs.LinearCost([0.1] * 30))
    with pytest.raises(ValueError, match="PACBound is no exponential mixture"):
        fs.shapley_values(bound, np.full(30, 100.0))
    small = fs.Game(fs.LearningCurve(np.arctan, lambda z: 1.0 / (1.0 + z * z), 3), fs.LinearCost([0.1] * 3))
    assert_allclose(fs.shapley_values(small, [1.0, 1.0, 1.0]), np.full(3, np.arctan(3.0)))


# ---- error control ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 40, 400])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10, 1e-13])
def test_a_tolerance_is_kept(n: int, tol: float) -> None:
    rng = np.random.default_rng(n)
    payoff = fs.PowerLaw(weights=rng.uniform(0, 1, (3, 3)), groups=np.arange(n) % 3, beta=0.4)
    game, s = fs.Game(payoff, fs.LinearCost([0.1] * n)), rng.uniform(0.0, 5.0, n)
    for function in (fs.shapley_values, fs.shapley_gradient, fs.shapley_potential):
        assert_allclose(function(game, s, tol=tol), function(game, s), rtol=tol)


def test_a_tolerance_out_of_reach_says_what_was_reached() -> None:
    rng = np.random.default_rng(0)
    coverage = fs.Game(fs.RandomCoverage(rng.uniform(0.0, 0.19, (200, 5))), fs.LinearCost([0.1] * 200))  # no fit in it
    with pytest.raises(ValueError, match=r"tol=1e-17 is not reached: two rules differ by a relative \d.*e-1\d"):
        fs.shapley_values(coverage, rng.uniform(0.0, 5.0, 200), tol=1e-17)
    # Two exponentials on a short range are hard to tell apart: the sum found is good to nine digits.
    two = fs.LearningCurve(
        lambda z: -np.expm1(-z) - 0.3 * np.expm1(-0.013 * z),
        lambda z: np.exp(-z) + 0.0039 * np.exp(-0.013 * z),
        30,
    )
    with pytest.raises(ValueError, match=r"tol=1e-15 is not reached: the fitted exponential sum has an error of"):
        fs.shapley_values(fs.Game(two, fs.LinearCost([0.1] * 30)), np.full(30, 0.01), tol=1e-15)


@pytest.mark.parametrize("tol", [0.0, -1.0, 2.0, np.nan])
def test_a_tolerance_lies_between_zero_and_one(tol: float) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1] * 3))
    with pytest.raises(ValueError, match="tol must lie in"):
        fs.shapley_values(game, [1.0, 1.0, 1.0], tol=tol)


def test_a_tolerance_is_for_quadrature() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1] * 3))
    with pytest.raises(ValueError, match="tol is for quadrature"):
        fs.shapley_values(game, [1.0, 1.0, 1.0], method="exact", tol=1e-6)
