"""Costs of one's own: what follows from the values alone, against the formulas of the shipped ones; sums, multiples."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap.costs.base import SomeCosts
from games import MECHANISMS, brute_regret, linear_cost, power_law, properties, utility_of


class ByValues(fs.Cost):
    """Another cost's values, and nothing else of it."""

    def __init__(self, other: fs.Cost) -> None:
        self.other, self.n_agents = other, other.n_agents

    def values(self, s):
        return self.other.values(s)


class ByDerivatives(ByValues):
    def derivatives(self, s):
        return self.other.derivatives(s)


units = st.floats(-15.0, 15.0).map(lambda exponent: 10.0**exponent)
curved = st.lists(st.floats(1.1, 4.0), min_size=3, max_size=3)
exponents = st.lists(st.one_of(st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.floats(1.1, 4.0)), min_size=3, max_size=3)


def in_units(powers: list[float], unit: float, money: float) -> tuple[fs.Cost, np.ndarray]:
    """Power costs of unit size around ``s = unit``, in ``money``; and two profiles, zeros among them."""
    rates = np.array([0.5, 1.0, 2.0]) * money / unit ** np.array(powers)
    return fs.PowerCost(rates, powers), np.array([[0.5, 1.0, 3.0], [0.0, 2.0, 0.0]]) * unit


@properties
@given(powers=exponents, unit=units, money=units)
def test_defaults_are_the_formulas_of_power_costs_in_every_unit(powers: list[float], unit: float, money: float) -> None:
    cost, s = in_units(powers, unit, money)
    slope, bend = money / unit, money / unit**2
    assert_allclose(ByValues(cost).derivatives(s) / slope, cost.derivatives(s) / slope, rtol=1e-8, atol=1e-12)
    for own, digits in ((ByDerivatives(cost), 1e-8), (ByValues(cost), 1e-5)):
        expected = cost.second_derivatives(s)
        assert_allclose(own.second_derivatives(s)[0] / bend, expected[0] / bend, rtol=digits, atol=1e-6)


@pytest.mark.parametrize("own", [ByValues, ByDerivatives])
def test_curvature_at_zero_is_infinite_below_a_square(own: type) -> None:
    cost = fs.PowerCost([0.5, 1.0, 2.0, 0.7], [1.5, 2.0, 3.0, 1.0])
    assert_allclose(own(cost).second_derivatives(np.zeros(4)), [np.inf, 2.0, 0.0, 0.0], rtol=1e-7, atol=1e-30)


@properties
@given(powers=curved, unit=units, money=units, price=st.floats(0.01, 10.0))
def test_supply_by_bisection_is_the_formula(powers: list[float], unit: float, money: float, price: float) -> None:
    cost, _ = in_units(powers, unit, money)
    expected = cost.supply(price * money / unit)
    for own, digits in ((ByDerivatives(cost), 1e-12), (ByValues(cost), 1e-6)):
        for found, end in zip(own.supply(price * money / unit), expected, strict=True):
            assert_allclose(found / unit, end / unit, rtol=digits)


def test_supply_of_constant_marginal_costs_is_all_or_nothing() -> None:
    cost = fs.LinearCost([0.1, 0.2, 0.3])
    for own in (ByDerivatives(cost), ByDerivatives(fs.PowerCost([0.1, 0.2, 0.3], 1.0))):
        assert_array_equal(own.supply(0.2), [[np.inf, 0.0, 0.0], [np.inf, np.inf, 0.0]])
        assert_array_equal(own.supply(np.array([0.0, 0.2, 0.9])), [[0.0, 0.0, np.inf], [0.0, np.inf, np.inf]])


def test_supply_between_two_slopes_is_where_the_cost_bends() -> None:
    class Steps(fs.Cost):
        n_agents = 3

        def values(self, s):
            return np.maximum(0.1 * np.asarray(s), 0.5 * np.asarray(s) - 0.4)

        def derivatives(self, s):
            return np.where(np.asarray(s) < 1.0, 0.1, 0.5)

    assert_allclose(Steps().supply(0.3), np.ones((2, 3)), rtol=1e-15)
    assert_allclose(Steps().supply(0.1), [[0.0] * 3, [1.0] * 3], rtol=1e-15)
    assert_array_equal(Steps().supply(0.05), np.zeros((2, 3)))
    least, most = Steps().supply(0.5)
    assert_allclose(least, np.ones(3), rtol=1e-15)
    assert np.isinf(most).all()


@pytest.mark.parametrize("exponent", [-200.0, -3.0, 0.0, 5.0, 200.0])
def test_supply_is_found_however_far_from_one_it_lies(exponent: float) -> None:
    unit = 10.0**exponent
    least, most = ByDerivatives(fs.PowerCost(np.array([1.0, 2.0, 4.0]) / unit, 2.0)).supply(1.0)
    assert_allclose(least / unit, [0.5, 0.25, 0.125], rtol=1e-14)
    assert_allclose(most / unit, [0.5, 0.25, 0.125], rtol=1e-14)


# ---- some agents ------------------------------------------------------------------------------------------------


def test_some_agents_costs_are_theirs_even_if_named_twice() -> None:
    cost = fs.PowerCost([0.1, 0.2, 0.3, 0.4], [1.5, 2.0, 3.0, 1.0])
    who, rng = np.array([2, 0, 2, 3]), np.random.default_rng(0)
    view, s = ByValues(cost).of(who), rng.uniform(0.1, 3.0, (2, 5, 4))
    assert isinstance(view, SomeCosts)
    for name, digits in (("values", 1e-15), ("derivatives", 1e-8), ("second_derivatives", 1e-5)):
        assert_allclose(getattr(view, name)(s), getattr(cost.of(who), name)(s), rtol=digits, atol=1e-7)
    for found, expected in zip(view.supply(0.7), cost.of(who).supply(0.7), strict=True):
        assert_allclose(found, expected, rtol=1e-6)
    assert_allclose(view.of(np.array([1])).values([2.0]), [0.1 * 2.0**1.5], rtol=1e-15)


RISING, ENDLESS = [0.1, 0.2, 0.3], [np.inf] * 3

# ---- the object decides -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_subclass_that_changes_the_values_changes_all_that_follows() -> None:
    class Taxed(fs.LinearCost):
        def values(self, s):
            return super().values(s) + np.square(s)

    cost, truth = Taxed([0.1, 0.2, 0.3]), fs.LinearCost([0.1, 0.2, 0.3]) + fs.PowerCost([1.0] * 3, 2.0)
    s = [1.0, 0.0, 2.0]
    assert_allclose(cost.derivatives(s), truth.derivatives(s), rtol=1e-8)
    assert_allclose(cost.second_derivatives(s), truth.second_derivatives(s), rtol=1e-5)
    assert_allclose(cost.supply(0.5)[0], truth.supply(0.5)[0], rtol=1e-7)
    assert_allclose(cost.of(np.array([2, 0])).values([2.0, 1.0]), [4.6, 1.1], rtol=1e-15)
    assert cost.constant_rates() is None
    game = fs.Game(fs.PowerLaw(3), cost)
    for mechanism in (fs.NoPayment(), fs.ShapleyPayment()):
        found = fs.find_equilibrium(game, mechanism).contributions.tolist()
        utility = utility_of(mechanism, power_law(np.ones((3, 3))), lambda x, i: RISING[i] * x + x * x, ENDLESS)
        assert brute_regret(utility, found, ENDLESS) < 1e-9


def test_a_mixin_counts_as_a_change() -> None:
    class Doubled:
        def values(self, s):
            return 2.0 * super().values(s)  # type: ignore[misc]

    class Cost(Doubled, fs.PowerCost):
        pass

    cost = Cost([0.1, 0.2, 0.3], 2.0)
    assert_allclose(cost.derivatives([1.0, 1.0, 1.0]), [0.4, 0.8, 1.2], rtol=1e-8)


def test_a_subclass_that_changes_nothing_keeps_the_formulas() -> None:
    class Named(fs.PowerCost):
        """A name of its own."""

    cost = Named([0.1, 0.2, 0.3], 2.0)
    assert cost.has_derivatives
    assert_array_equal(cost.derivatives([1.0, 1.0, 1.0]), [0.2, 0.4, 0.6])
    assert type(cost.of(np.array([0]))) is fs.PowerCost


# ---- sums and multiples -----------------------------------------------------------------------------------------

LINEAR, POWER = fs.LinearCost([0.1, 0.2, 0.3], 0.5), fs.PowerCost([1.0, 2.0, 3.0], [1.5, 2.0, 3.0])
CUBIC = fs.PowerCost([0.3, 0.2, 0.1], 3.0)
COMBINED: dict[str, tuple[fs.Cost, Callable[[Callable[[fs.Cost], np.ndarray]], np.ndarray]]] = {
    "linear and power": (LINEAR + POWER, lambda of: of(LINEAR) + of(POWER)),
    "two powers": (POWER + CUBIC, lambda of: of(POWER) + of(CUBIC)),
    "weighted": (
        2.0 * POWER + np.float64(0.5) * (LINEAR + CUBIC),
        lambda of: 2 * of(POWER) + (of(LINEAR) + of(CUBIC)) / 2,
    ),
    "by sum()": (sum([LINEAR, POWER, CUBIC]), lambda of: of(LINEAR) + of(POWER) + of(CUBIC)),
    "two linear": (LINEAR * 3.0 + LINEAR, lambda of: 4 * of(LINEAR)),
}
every_combination = pytest.mark.parametrize("name", COMBINED)


@every_combination
def test_sums_and_multiples_are_analytic(name: str) -> None:
    cost, rule = COMBINED[name]
    for s in ([1.0, 2.0, 0.5], [0.0, 1e-3, 1e3]):
        for quantity in ("values", "derivatives", "second_derivatives"):
            expected = rule(lambda part, s=s, quantity=quantity: getattr(part, quantity)(s))
            assert_allclose(getattr(cost, quantity)(s), expected, rtol=1e-14)
            assert_allclose(getattr(cost.of(np.array([2, 0])), quantity)([s[2], s[0]]), expected[[2, 0]], rtol=1e-14)
    assert cost.has_derivatives


@every_combination
def test_supply_of_a_sum_meets_the_price(name: str) -> None:
    cost = COMBINED[name][0]
    for price in (0.05, 0.41, 0.83, 2.0, np.array([0.21, 0.83, 5.0])):
        for found, expected in zip(cost.supply(price), ByDerivatives(cost).supply(price), strict=True):
            assert_allclose(found, expected, rtol=1e-12)


def test_markets_clear_with_linear_and_power_costs_together() -> None:
    cost = fs.LinearCost([0.05, 0.1, 0.2]) + fs.PowerCost([0.01, 0.02, 0.05], 2.0)
    game = fs.Game(fs.PowerLaw(3), cost)
    for mechanism in (fs.NoPayment(), fs.CostSharing(0.5), fs.ShapleyPayment()):
        found = fs.find_equilibrium(game, mechanism)
        assert found.regret < 1e-12
        slopes = mechanism.marginal_utilities(game, found.contributions)
        assert np.abs(slopes[found.contributions > 0.0]).max() < 1e-9


def test_combinations_print_as_they_are_written() -> None:
    assert repr(LINEAR + 2.0 * fs.PowerCost([1.0, 2.0, 3.0], 2.0)) == (
        "LinearCost(rates=[0.1, 0.2, 0.3], fixed=[0.5, 0.5, 0.5]) + 2 * PowerCost(rates=[1, 2, 3], exponent=[2, 2, 2])"
    )
    assert repr(3.0 * (LINEAR + LINEAR)).startswith("3 * (LinearCost(")


# ---- costs by a function ----------------------------------------------------------------------------------------


def test_a_function_is_a_cost() -> None:
    with_slope = fs.CustomCost(lambda s: 0.3 * s + s**3, 3, lambda s: 0.3 + 3.0 * s**2)
    for cost in (fs.CustomCost(lambda s: 0.3 * s + s**3, 3), with_slope):
        s = np.array([[0.0, 0.5, 2.0], [1.0, 1.0, 1.0]])
        assert_allclose(cost.values(s), 0.3 * s + s**3, rtol=1e-15)
        assert_allclose(cost.derivatives(s), 0.3 + 3.0 * s**2, rtol=1e-8)
        assert_allclose(cost.second_derivatives(s), 6.0 * s, rtol=1e-5, atol=1e-9)
        assert_allclose(cost.supply(3.3)[0], np.ones(3), rtol=1e-7)
    assert_array_equal(with_slope.derivatives([0.0, 1.0, 2.0]), [0.3, 3.3, 12.3])


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_games_with_a_cost_by_function_have_the_equilibria_of_the_formula(mechanism: fs.Mechanism) -> None:
    formula = fs.PowerCost([0.02, 0.05, 0.1], 2.0)
    games = [fs.Game(fs.PowerLaw(3), cost) for cost in (formula, fs.CustomCost(formula.values, 3))]
    exact, found = (fs.find_equilibrium(game, mechanism) for game in games)
    assert_allclose(found.contributions, exact.contributions, rtol=1e-6)


@pytest.mark.slow
def test_a_cost_may_be_infinite_where_nobody_can_go() -> None:
    def barrier(s: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(s < 5.0, 0.01 / np.maximum(5.0 - s, 0.0), np.inf)

    cost = fs.CustomCost(barrier, 3)
    assert (cost.supply(1e6)[1] < 5.0).all()
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), cost, capacity=4.999), fs.NoPayment())
    assert found.regret < 1e-9


GENERATOR = np.random.default_rng(0)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "not callable": (lambda: fs.CustomCost(0.1, 3), r"function must be callable.* got 0.1"),  # type: ignore[arg-type]
    "a class": (lambda: fs.CustomCost(fs.LinearCost, 3), r"function must be callable.* got LinearCost"),  # type: ignore
    "shape": (lambda: fs.CustomCost(lambda s: s.sum(axis=-1), 3), r"function .*shape \(2, 3, 3\).* \(2, 3\)"),
    "words": (lambda: fs.CustomCost(lambda s: "much", 3), r"function .*numbers; it returned 'much'"),  # type: ignore
    "nan": (lambda: fs.CustomCost(lambda s: np.where(s > 1e3, np.nan, s), 3), r"function .*NaN.* s=2154.*np.inf"),
    "forgotten axis": (lambda: fs.CustomCost(lambda s: s * (s / s.max()), 3), r"function .*leading axes.*axis=-1"),
    "others' data": (lambda: fs.CustomCost(lambda s: s + s.sum(axis=-1, keepdims=True), 3), r"function .*agent 0.*own"),
    "noise": (
        lambda: fs.CustomCost(lambda s: s + GENERATOR.random(s.shape), 3),
        r"function .*same costs when asked again",
    ),
    "falling": (
        lambda: fs.CustomCost(lambda s: np.where(np.arange(3) == 1, 1.0 / (1.0 + s), s), 3),
        r"function .*non-decreasing .*agent 1 .*between s=",
    ),
    "concave": (
        lambda: fs.CustomCost(lambda s: 0.1 * np.minimum(s, 10.0), 3),
        r"function .*convex .*agent 0 .*s=4",
    ),
    "root": (lambda: fs.CustomCost(np.sqrt, 3), r"function .*convex .*agent 0"),
    "infinite at nothing": (lambda: fs.CustomCost(lambda s: s + np.inf, 3), r"function .*finite at 0"),
    "derivative of another": (
        lambda: fs.CustomCost(lambda s: s**2, 3, lambda s: s),
        r"derivative must be the derivative of function; at s=.* agent 0",
    ),
    "derivative's shape": (lambda: fs.CustomCost(np.square, 3, lambda s: 2.0), r"derivative .*shape \(2, 3, 3\)"),
    "no part": (lambda: fs.SumCost([]), r"parts must be costs of equally many agents; got \[\]"),
    "unequal parts": (
        lambda: LINEAR + fs.LinearCost([0.1]),
        r"parts must be costs of equally many agents; got \[3, 1\]",
    ),
    "part that is none": (lambda: fs.SumCost([LINEAR, 3.0]), r"each of parts must be a Cost; got 3.0"),  # type: ignore
    "factor zero": (lambda: 0.0 * LINEAR, r"factor must lie in \(0, inf\).* got 0"),
    "factor a word": (lambda: LINEAR * "2", r"factor must be a number .* got '2'"),  # type: ignore[operator]
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("error")
def test_refused_by_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^{message}"):
        call()


def test_costs_add_up_with_costs_alone() -> None:
    for wrong in (lambda: LINEAR + 1.0, lambda: 1.0 + LINEAR, lambda: LINEAR * POWER):  # type: ignore[operator]
        with pytest.raises(TypeError, match=re.escape("unsupported operand")):
            wrong()


@pytest.mark.parametrize("exponent", [-15, 0, 15])
def test_convex_functions_pass_in_every_unit(exponent: int) -> None:
    unit = 10.0**exponent
    for function in (lambda s: s / unit, lambda s: (s / unit) ** 1.3, lambda s: np.maximum(s / unit - 1.0, 0.0)):
        fs.CustomCost(function, 3)
    fs.CustomCost(lambda s: np.expm1(s / unit), 3)


def test_equilibria_with_fixed_costs_by_function_keep_them() -> None:
    cost = fs.CustomCost(lambda s: 0.1 * s + 0.2, 3)
    utility = utility_of(fs.NoPayment(), power_law(np.ones((3, 3))), linear_cost([0.1] * 3, 0.2)[1], [np.inf] * 3)
    s = [1.0, 0.0, 2.0]
    found = fs.NoPayment().utilities(fs.Game(fs.PowerLaw(3), cost), s)
    assert_allclose(found, [utility(s, i) for i in range(3)], rtol=1e-14)
