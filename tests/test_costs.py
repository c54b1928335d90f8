"""Costs against their formulas, derivatives against exact ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import derivative

RATES, FIXED, EXPONENTS = (0.1, 0.0, 2.5, 0.4), (0.0, 0.3, 1.0, 0.2), (1.0, 1.5, 2.0, 3.7)
Plain = Callable[[Sequence[Any]], list[Any]]


def plain_linear(s: Sequence[Any]) -> list[Any]:
    return [g * x + d for g, x, d in zip(RATES, s, FIXED, strict=True)]


def plain_power(s: Sequence[Any]) -> list[Any]:
    return [g * x**e for g, x, e in zip(RATES, s, EXPONENTS, strict=True)]


COSTS = {
    "linear": (fs.LinearCost(RATES, FIXED), plain_linear),
    "power": (fs.PowerCost(RATES, EXPONENTS), plain_power),
}
every_cost = pytest.mark.parametrize(("cost", "plain"), COSTS.values(), ids=COSTS)
PROFILES = [[1.0, 2.0, 3.0, 4.0], [1e-6, 1e6, 1e-3, 1e3], [0.5, 0.1, 7.0, 2.0]]


@every_cost
def test_values_are_the_formula(cost: fs.Cost, plain: Plain) -> None:
    for s in [*PROFILES, [0.0, 0.0, 0.0, 0.0]]:
        assert_allclose(cost.values(s), plain(s), rtol=1e-14)


@every_cost
def test_derivatives_are_the_slopes(cost: fs.Cost, plain: Plain) -> None:
    for s in PROFILES:
        slopes = [derivative(lambda x, i=i: plain(x)[i], s, i) for i in range(4)]
        assert_allclose(cost.derivatives(s), slopes, rtol=1e-13)


@every_cost
def test_second_derivatives_are_the_slopes_of_the_derivatives(cost: fs.Cost, plain: Plain) -> None:
    for s in PROFILES:
        step = 1e-5 * np.array(s)
        ahead, behind = cost.derivatives(np.array(s) + step), cost.derivatives(np.array(s) - step)
        assert_allclose(cost.second_derivatives(s), (ahead - behind) / (2 * step), rtol=1e-8, atol=1e-12)


def test_nothing_costs_the_fixed_part() -> None:
    assert_array_equal(fs.LinearCost(RATES, FIXED).values(np.zeros(4)), FIXED)
    assert_array_equal(fs.LinearCost([1.0, 2.0, 3.0], 0.5).values(np.zeros(3)), [0.5, 0.5, 0.5])
    assert_array_equal(fs.PowerCost(RATES, EXPONENTS).values(np.zeros(4)), np.zeros(4))


def test_derivatives_at_zero_follow_the_exponent() -> None:
    cost = fs.PowerCost([0.1, 0.2, 0.3, 0.4], [1.0, 1.5, 2.0, 3.0])
    assert_array_equal(cost.derivatives(np.zeros(4)), [0.1, 0.0, 0.0, 0.0])
    assert_array_equal(cost.second_derivatives(np.zeros(4)), [0.0, np.inf, 0.6, 0.0])


def test_free_data_has_no_curvature_anywhere() -> None:
    assert_array_equal(fs.PowerCost([0.0, 0.0, 0.0], [1.0, 1.5, 2.0]).second_derivatives(np.zeros(3)), np.zeros(3))


@every_cost
def test_leading_axes_are_mapped_over(cost: fs.Cost, plain: Plain) -> None:
    s = np.random.default_rng(0).uniform(0.1, 3.0, (2, 5, 4))
    for function in (cost.values, cost.derivatives, cost.second_derivatives):
        assert_allclose(function(s), np.array([[function(row) for row in block] for block in s]), rtol=1e-15)


def test_parameters_are_copied_and_contributions_left_alone() -> None:
    rates, fixed, exponents, s = np.ones(3), np.zeros(3), np.full(3, 2.0), np.array([1.0, 2.0, 3.0])
    linear, power = fs.LinearCost(rates, fixed), fs.PowerCost(rates, exponents)
    rates[:], fixed[:], exponents[:] = 9.0, 9.0, 9.0
    assert_array_equal(linear.values(s), [1.0, 2.0, 3.0])
    assert_array_equal(power.values(s), [1.0, 4.0, 9.0])
    linear.derivatives(s)[:] = 5.0  # what is returned is the caller's own
    assert_array_equal(linear.derivatives(s), [1.0, 1.0, 1.0])
    assert_array_equal(s, [1.0, 2.0, 3.0])


# ---- supply ----------------------------------------------------------------------------------------


def test_constant_marginal_costs_are_supplied_all_or_nothing() -> None:
    for cost in (fs.LinearCost([0.1, 0.2, 0.3]), fs.PowerCost([0.1, 0.2, 0.3], exponent=1.0)):
        least, most = cost.supply(0.2)
        assert least.tolist() == [np.inf, 0.0, 0.0]
        assert most.tolist() == [np.inf, np.inf, 0.0]  # the second is indifferent


@pytest.mark.parametrize("price", [0.01, 1.0, 50.0])
def test_increasing_marginal_costs_meet_the_price(price: float) -> None:
    cost = fs.PowerCost([0.1, 0.2, 0.3], exponent=[1.5, 2.0, 4.0])
    least, most = cost.supply(price)
    assert_allclose(cost.derivatives(least), price, rtol=1e-12)
    assert (least == most).all()


def test_free_data_are_supplied_without_end_at_any_price() -> None:
    cost = fs.PowerCost([0.0, 0.2, 0.3], exponent=2.0)
    assert cost.supply(0.1)[0][0] == np.inf
    assert [float(end[0]) for end in cost.supply(0.0)] == [0.0, np.inf]
