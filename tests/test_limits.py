"""The limit of many small agents: against exact values, and how fast the error falls."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

import fedshap as fs


def game_of(n: int, beta: float = 1.0) -> tuple[fs.Game, np.ndarray]:
    """Three groups of small agents whose total stays the same as n grows."""
    rng = np.random.default_rng(7)
    weights = [[1.0, 0.3, 0.1], [0.2, 0.8, 0.5], [0.0, 0.4, 1.2]]
    payoff = fs.PowerLaw(weights=np.array(weights) / n, groups=np.arange(n) % 3, beta=beta)
    return fs.Game(payoff, fs.LinearCost([1.0] * n)), rng.uniform(0.5, 5.0, n)


def test_it_is_the_integral_along_the_diagonal() -> None:
    game, s = game_of(9, beta=0.5)
    expected = [s[i] * quad(lambda q, i=i: game.payoff.total_gradient(q * s)[i], 0.0, 1.0)[0] for i in range(9)]
    assert_allclose(fs.aumann_shapley_values(game, s), expected, rtol=1e-10)
    assert_allclose(fs.aumann_shapley_values(game, s).sum(), game.surplus(s) - game.surplus(np.zeros(9)), rtol=1e-12)


def test_the_correction_by_differences() -> None:
    """Second and third derivatives of the surplus by central differences, the integral by Gauss-Legendre."""
    game, s = game_of(6)
    x, w = np.polynomial.legendre.leggauss(30)
    q, w, step = (x + 1.0) / 2.0, w / 2.0, 5e-4
    unit = np.eye(6) * step

    def slope(i: int, at: np.ndarray) -> float:
        return float(game.payoff.total_gradient(at)[i])

    for i in range(6):
        second = [(slope(i, k * s + unit[i]) - slope(i, k * s - unit[i])) / (2 * step) for k in q]
        third = [
            sum(
                s[j] ** 2 * (slope(i, k * s + unit[j]) - 2 * slope(i, k * s) + slope(i, k * s - unit[j]))
                for j in range(6)
            )
            / step**2
            for k in q
        ]
        expected = s[i] * (w @ ((1 - 2 * q) / 2 * s[i] * np.array(second) + q * (1 - q) / 2 * np.array(third)))
        found = fs.aumann_shapley_values(game, s, correction=True) - fs.aumann_shapley_values(game, s)
        assert_allclose(found[i], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_errors_fall_as_expansion_says(beta: float) -> None:
    """Like 1/n without the correction and like 1/n^2 with it: ten times the agents, a tenth and a hundredth."""
    errors = []
    for n in (60, 600, 6000):
        game, s = game_of(n, beta)
        exact = fs.shapley_values(game, s)
        row = [abs(fs.aumann_shapley_values(game, s, correction=c) / exact - 1.0).max() for c in (False, True)]
        errors.append(row)
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert_allclose(ratios[:, 0], 10.0, rtol=0.15)
    assert_allclose(ratios[:, 1], 100.0, rtol=0.25)


def test_constant_returns_are_met_exactly() -> None:
    game = fs.Game(fs.RandomDiscovery([[0.5], [0.2], [0.1]]), fs.LinearCost([1.0] * 3))
    s = np.array([1.0, 0.0, 2.0])
    for correction in (False, True):
        assert_allclose(fs.aumann_shapley_values(game, s, correction=correction), fs.shapley_values(game, s))


def test_a_steep_surplus_is_resolved() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([1.0] * 3))
    s = np.array([1e8, 1e-3, 0.0])
    total = s.sum()
    assert_allclose(fs.aumann_shapley_values(game, s), 3.0 * s / (1.0 + total), rtol=1e-10)


def test_other_payoffs_are_refused() -> None:
    custom = fs.CustomPayoff(lambda s: np.sqrt(s + 1.0), 3)
    with pytest.raises(ValueError, match="CustomPayoff"):
        fs.aumann_shapley_values(fs.Game(custom, fs.LinearCost([1.0] * 3)), [1.0, 1.0, 1.0])
