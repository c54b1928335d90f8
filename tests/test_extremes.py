"""Shapley values of contributions from 1e-300 to 1e300: right, or an error that says by how much they miss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import Plain, brute_potential, brute_shapley, game_of, power_law, precise

DIGITS = 700  # 1e300 and 1e-300 in one sum
SIZES = (1e-300, 1e-160, 1e-20, 1.0, 1e20, 1e150, 1e160, 1e300)
PROFILES = [
    *([x, x / 2.0, x / 4.0] for x in SIZES),
    *([x, 1.0, 1e-10] for x in SIZES),
    [1e300, 1e-300, 0.0],
    [1e160, 1e-160, 1.0],
    [1e300, 1e300, 1e-300],
]
LAWS = [(1.0, 1.0), (0.3, 0.7), (1.0, 0.2)]


def exact(quantity: Callable[..., Any], plain: Plain, s: list[float], *more: Any) -> float:
    with mp.workdps(DIGITS):
        return float(quantity(plain, precise(s), *more))


@pytest.mark.parametrize("s", PROFILES, ids=str)
@pytest.mark.parametrize(("alpha", "beta"), LAWS)
def test_values_and_potential_of_the_power_law(alpha: float, beta: float, s: list[float]) -> None:
    game, plain = game_of(fs.PowerLaw(3, alpha=alpha, beta=beta)), power_law(np.ones((3, 3)), alpha, beta)
    expected = [exact(brute_shapley, plain, s, i) for i in range(3)]
    assert_allclose(fs.shapley_values(game, s), expected, rtol=1e-11)
    assert_allclose(fs.shapley_potential(game, s), exact(brute_potential, plain, s), rtol=1e-11)


@pytest.mark.parametrize("s", PROFILES, ids=str)
def test_gradient_of_the_power_law(s: list[float]) -> None:
    """``d phi_i`` is the mean of ``3 / (1 + s_i + rest)^2`` over the coalitions that i joins, in closed form."""
    found = fs.shapley_gradient(game_of(fs.PowerLaw(3)), s)
    with mp.workdps(DIGITS):
        for i in range(3):
            j, k = (x for place, x in enumerate(precise(s)) if place != i)
            rests = [(mp.mpf(0), 1 / mp.mpf(3)), (j, 1 / mp.mpf(6)), (k, 1 / mp.mpf(6)), (j + k, 1 / mp.mpf(3))]
            expected = float(sum(weight * 3 / (1 + mp.mpf(s[i]) + rest) ** 2 for rest, weight in rests))
            assert_allclose(found[i], expected, rtol=1e-11, atol=1e-307)  # below, floating point has few digits


@pytest.mark.parametrize("weight", [1e-300, 1e-150, 1e150, 1e200])
def test_weights_undo_what_contributions_do(weight: float) -> None:
    rng = np.random.default_rng(0)
    weights, s = rng.uniform(0.1, 1.0, (3, 3)), np.array([3.0, 1.0, 0.5])
    for groups in (None, [0, 1, 2]):
        here = game_of(fs.PowerLaw(weights=weights, groups=groups))
        there = game_of(fs.PowerLaw(weights=weights * weight, groups=groups))
        assert_allclose(fs.shapley_values(there, s / weight), fs.shapley_values(here, s), rtol=1e-12)
        assert_allclose(fs.shapley_potential(there, s / weight), fs.shapley_potential(here, s), rtol=1e-12)
        assert_allclose(fs.shapley_gradient(there, s / weight) / weight, fs.shapley_gradient(here, s), rtol=1e-12)


def test_sums_beyond_all_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="weighted sums of s must not exceed 1.8e\\+308"):
        fs.shapley_values(game_of(fs.PowerLaw(weights=np.full((3, 3), 1e200))), [1e200, 1.0, 1e-200])
    with pytest.raises(ValueError, match="in a larger unit"):
        fs.PowerLaw(3).values([1.7e308] * 3)


@pytest.mark.parametrize("size", SIZES)
def test_enumeration_of_tiny_data_counts_from_the_surplus_of_nobody(size: float) -> None:
    s = np.array([1.0, 0.5, 0.25]) * size
    game = game_of(fs.PowerLaw(3, alpha=0.4))
    for quantity in (fs.shapley_values, fs.shapley_potential):
        assert_allclose(quantity(game, s, method="exact"), quantity(game, s, method="quadrature"), rtol=1e-11)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e20, 1e150])
def test_coverage_and_discovery(size: float) -> None:
    q = np.array([[0.5, 0.2], [0.3, 0.3], [0.1, 0.6]])
    s = np.array([1.0, 0.5, 0.25]) * size
    assert_allclose(fs.shapley_values(game_of(fs.RandomDiscovery(q)), s), (q @ q.T).sum(axis=0) * s, rtol=1e-14)
    if size >= 1e20:  # every instance is shown by whoever gives: each of the three adds a third of all
        assert_allclose(fs.shapley_values(game_of(fs.RandomCoverage(q)), s), [q.sum() / 6] * 3, rtol=1e-12)
    if size <= 1e-20:  # linear
        rates = -np.log1p(-q)
        expected = 0.5 * (rates @ q.sum(axis=0)) * s
        assert_allclose(fs.shapley_values(game_of(fs.RandomCoverage(q)), s), expected, rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_diagonal_integral_adds_up_on_all_scales(size: float, beta: float) -> None:
    """Squares of 1e160 are no numbers, and sixty panels resolved exponents up to 1e18 alone."""
    s = np.array([1.0, 0.5, 0.25]) * size
    game = game_of(fs.PowerLaw(3, beta=beta))
    expected = game.payoff.total_gain(s) * (s / s.sum())  # a function of the sum: in proportion to what each gives
    assert_allclose(fs.aumann_shapley_values(game, s), expected, rtol=1e-11)


def test_a_correction_that_is_no_number_is_refused() -> None:
    game = game_of(fs.PowerLaw(3))
    for size in (1e-300, 1e-160):  # linear: nothing to correct
        s = np.array([1.0, 0.5, 0.25]) * size
        assert_allclose(fs.aumann_shapley_values(game, s, correction=True), 3.0 * s, rtol=1e-12)
    with pytest.raises(ValueError, match="correction is no number here: with contributions up to 1e\\+160"):
        fs.aumann_shapley_values(game, [1e160] * 3, correction=True)


@pytest.mark.parametrize("n", [20, 21, 60])
@pytest.mark.parametrize("each", [1.0, 1e3, 1e6, 1e12])
def test_a_slope_that_underflows(n: int, each: float) -> None:
    """Agents who fill an exponential curve: equal agents share what there is evenly; 21 were refused."""
    payoff = fs.LearningCurve(lambda z: -np.expm1(-z / 50.0), lambda z: np.exp(-z / 50.0) / 50.0, n, concave=True)
    found = fs.shapley_values(fs.Game(payoff, fs.LinearCost([0.1] * n)), [each] * n)
    assert_allclose(found, [-np.expm1(-n * each / 50.0)] * n, rtol=1e-9)


def test_values_that_do_not_add_up_say_by_how_much() -> None:
    class Vague(fs.CustomPayoff):
        def total_gain(self, s: Any) -> Any:
            inside = (np.asarray(s) > 0.0).all(axis=-1)
            return super().total_gain(s) * np.where(inside & (np.ndim(s) == 1), 1.0 + 2e-10, 1.0)

    game = game_of(Vague(lambda s: np.sqrt(1.0 + s.sum(axis=-1, keepdims=True)) * np.ones(3) - 1.0, 3))
    with pytest.raises(ValueError, match=r"add up to .* they miss it by 8\.\d+e-10, more than .* not returned"):
        fs.shapley_values(game, [3.0, 1.0, 1.25 - 0.25])


def test_nothing_at_all() -> None:
    for payoff in (fs.PowerLaw(3), fs.RandomDiscovery([[0.5], [0.2], [0.1]])):
        assert_array_equal(fs.shapley_values(game_of(payoff), [0.0] * 3), np.zeros(3))
        assert_array_equal(fs.aumann_shapley_values(game_of(payoff), [0.0] * 3, correction=True), np.zeros(3))
